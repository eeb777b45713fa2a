//! One broker: its ports, its process, and the tools of Kafka that prepare it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::options::Jvm;
use crate::control::{Controlled, Slot};
use crate::error::{Doing, LabError};
use crate::kafka_client::KafkaConnection;
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::proxy::Proxy;

const READY_MAX: Duration = Duration::from_secs(90);
pub(super) const STOP_MAX: Duration = Duration::from_secs(60);
/// Any 16 bytes in URL-safe base64; every cluster of the lab may have the same.
const CLUSTER_ID: &str = "Rmx1eC1HYXRlLWxhYi0xMA";

/// Who is behind a proxied listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Edges.
    Edges,
    /// Workers.
    Workers,
}

/// A listener whose advertised address is a proxy's.
#[derive(Debug)]
pub(super) struct Proxied {
    pub(super) side: Side,
    pub(super) port: Port,
    pub(super) proxy: Arc<Proxy>,
}

impl Proxied {
    pub(super) fn new(side: Side) -> Result<Proxied, LabError> {
        let port = Port::reserve()?;
        let proxy = Arc::new(Proxy::before(port.address())?);
        Ok(Proxied { side, port, proxy })
    }

    pub(super) fn listener(&self) -> &'static str {
        match self.side {
            Side::Edges => "EDGES",
            Side::Workers => "WORKERS",
        }
    }
}

/// One of its brokers.
#[derive(Debug)]
pub struct Broker {
    pub(super) id: usize,
    pub(super) java: PathBuf,
    pub(super) libs: PathBuf,
    pub(super) heap_mib: u32,
    pub(super) jvm: Jvm,
    pub(super) home: PathBuf,
    pub(super) log: PathBuf,
    pub(super) port: Port,
    /// Where it is a controller too.
    pub(super) controller: Option<Port>,
    pub(super) proxied: Vec<Proxied>,
    /// Where clients log in, if anywhere.
    pub(super) login: Option<Port>,
    /// What formatting sets up of it.
    pub(super) scram_users: Vec<String>,
    pub(super) encrypted: Option<Port>,
    pub(super) slot: Slot,
}

impl Broker {
    /// Its node id, from 1.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Starts it and waits until it has registered. Nothing happens where it runs.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn up(&mut self) -> Result<(), LabError> {
        self.launch()?;
        self.wait_ready(1)
    }

    pub(super) fn launch(&mut self) -> Result<(), LabError> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = self.java();
        command.arg(format!("-Dlog4j2.configurationFile={}", self.home.join("log4j2.properties").display()));
        command.arg("kafka.Kafka").arg(self.home.join("server.properties"));
        self.slot.put(Process::start("kafka", command, &self.log, Ending::KILL)?);
        Ok(())
    }

    /// Waits until this broker shows at least `brokers` registered ones, itself among them.
    pub(super) fn wait_ready(&mut self, brokers: usize) -> Result<(), LabError> {
        let address = self.port.address().to_string();
        let port = i32::from(self.port.number());
        let Some(process) = self.slot.process() else { return Err(LabError::failed("the broker was not started")) };
        process.wait_ready(READY_MAX, || {
            KafkaConnection::open(&address).and_then(|mut broker| broker.metadata(None)).is_ok_and(|answer| {
                answer.brokers.len() >= brokers && answer.brokers.iter().any(|broker| broker.port == port)
            })
        })
    }

    /// Prepares the data directory with Kafka's own tool.
    pub(super) fn format(&self) -> Result<(), LabError> {
        let mut command = self.java();
        command.args(["-Dlog4j2.level=ERROR", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
        command.arg(self.home.join("server.properties"));
        for user in &self.scram_users {
            command.args(["--add-scram", user]);
        }
        run(command, "kafka.tools.StorageTool")
    }

    pub(super) fn wipe(&self) -> Result<(), LabError> {
        let data = self.home.join("data");
        std::fs::remove_dir_all(&data).doing(|| format!("emptying {}", data.display()))?;
        self.format()
    }

    pub(super) fn java(&self) -> Command {
        let mut command = Command::new(&self.java);
        command.arg(format!("-Xmx{}m", self.heap_mib));
        command.args(match self.jvm {
            Jvm::QuickStart => ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].as_slice(),
            Jvm::Production => &[
                "-server",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-XX:InitiatingHeapOccupancyPercent=35",
                "-XX:+ExplicitGCInvokesConcurrent",
            ],
        });
        command.args(["-XX:-UsePerfData", "-Xshare:auto"]);
        command.arg("-cp").arg(self.libs.join("*"));
        command.env_remove("KAFKA_OPTS").env_remove("JAVA_TOOL_OPTIONS");
        command
    }
}

impl Controlled for Broker {
    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn slot_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

/// Runs one of Kafka's tools to its end.
pub(super) fn run(mut command: Command, tool: &str) -> Result<(), LabError> {
    let output = command.output().doing(|| format!("starting {tool}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(LabError::failed(format!("{tool} failed: {}", said.lines().collect::<Vec<_>>().join(" | "))))
}
