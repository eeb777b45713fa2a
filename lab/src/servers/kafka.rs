//! Apache Kafka of our own in KRaft mode: one broker (or several), the first of them controllers too, on free ports.
//!
//! A broker tells its clients where to find it, so a test that wants a proxy between must let the broker advertise that
//! proxy. With [`KafkaOptions::proxied`] each broker has two more listeners, one advertised to edges and one to workers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Doing, LabError};
use crate::kafka_client::KafkaConnection;
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::proxy::Proxy;
use crate::run_dir::RunDir;
use crate::servers::{Data, Encryption, find_in_path};

const READY_MAX: Duration = Duration::from_secs(90);
const STOP_MAX: Duration = Duration::from_secs(60);
/// Any 16 bytes in URL-safe base64; every cluster of the lab may have the same.
const CLUSTER_ID: &str = "Rmx1eC1HYXRlLWxhYi0xMA";

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Brokers, 1 to 9. Internal topics have as many replicas, three at most.
    pub brokers: usize,
    /// How many of them, the first ones, are controllers too. With one, the others can be stopped without stopping the
    /// cluster's decisions.
    pub controllers: usize,
    /// Whether edges and workers can reach every broker through proxies ([`Kafka::proxies`]).
    pub proxied: bool,
    /// One more listener, on which clients have to log in ([`Kafka::login_bootstrap`]).
    pub login: Option<KafkaLogins>,
    /// Whether each broker has a listener with TLS, too: [`Kafka::bootstrap_encrypted`].
    pub tls: Option<Box<Encryption>>,
    /// More of server.properties.
    pub properties: Vec<(String, String)>,
    /// The JVM's heap, in MiB, by broker.
    pub heap_mib: u32,
    /// How the JVM compiles and collects.
    pub jvm: Jvm,
}

/// Who may log in by SASL: every user by PLAIN and both SCRAMs, and anybody by OAUTHBEARER whose token is an unsigned one.
#[derive(Clone, Debug, Default)]
pub struct KafkaLogins {
    /// Names and passwords, of letters and digits.
    pub users: Vec<(String, String)>,
    /// How long a login lasts at most (`connections.max.reauth.ms`).
    pub session: Option<Duration>,
}

/// The mechanisms of SCRAM.
const SCRAMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

/// How a broker's JVM is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jvm {
    /// Ready soon and small: for tests, where a quick start matters more than the last of its speed.
    #[default]
    QuickStart,
    /// As Kafka's own start script sets it (`kafka-run-class.sh`): for measurements.
    Production,
}

impl Default for KafkaOptions {
    fn default() -> KafkaOptions {
        KafkaOptions {
            brokers: 1,
            controllers: 3,
            proxied: false,
            login: None,
            tls: None,
            properties: Vec::new(),
            heap_mib: 512,
            jvm: Jvm::QuickStart,
        }
    }
}

/// A running (or stopped) cluster. Dropping it ends it.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Broker>,
    login: Option<KafkaLogins>,
    _run: RunDir,
}

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
struct Proxied {
    side: Side,
    port: Port,
    proxy: Arc<Proxy>,
}

impl Proxied {
    fn new(side: Side) -> Result<Proxied, LabError> {
        let port = Port::reserve()?;
        let proxy = Arc::new(Proxy::before(port.address())?);
        Ok(Proxied { side, port, proxy })
    }

    fn listener(&self) -> &'static str {
        match self.side {
            Side::Edges => "EDGES",
            Side::Workers => "WORKERS",
        }
    }
}

/// One of its brokers.
#[derive(Debug)]
pub struct Broker {
    id: usize,
    java: PathBuf,
    libs: PathBuf,
    heap_mib: u32,
    jvm: Jvm,
    home: PathBuf,
    log: PathBuf,
    port: Port,
    /// Where it is a controller too.
    controller: Option<Port>,
    proxied: Vec<Proxied>,
    /// Where clients log in, if anywhere.
    login: Option<Port>,
    /// What formatting sets up of it.
    scram_users: Vec<String>,
    encrypted: Option<Port>,
    process: Option<Process>,
}

impl Kafka {
    /// Starts a cluster in `run` and waits until every broker has registered.
    ///
    /// # Errors
    /// Where Java or Kafka's jars are missing or the cluster does not come up.
    pub fn start(run: &RunDir, options: KafkaOptions) -> Result<Kafka, LabError> {
        if !(1..=9).contains(&options.brokers) {
            return Err(LabError::failed(format!("{} brokers: 1 to 9", options.brokers)));
        }
        let (java, libs) = (java()?, libs()?);
        let mut brokers = Vec::new();
        for id in 1..=options.brokers {
            let port = Port::reserve()?;
            let controller = (id <= options.controllers.max(1)).then(Port::reserve).transpose()?;
            let sides: &[Side] = if options.proxied { &[Side::Edges, Side::Workers] } else { &[] };
            let proxied = sides.iter().map(|side| Proxied::new(*side)).collect::<Result<_, _>>()?;
            let home = run.join(format!("kafka-{}", port.number()));
            std::fs::create_dir_all(&home).doing(|| format!("making {}", home.display()))?;
            let log = run.join(format!("kafka-{}.log", port.number()));
            let (java, libs) = (java.clone(), libs.clone());
            let (heap_mib, jvm) = (options.heap_mib, options.jvm);
            let encrypted = options.tls.as_ref().map(|_| Port::reserve()).transpose()?;
            let process = None;
            let login = options.login.as_ref().map(|_| Port::reserve()).transpose()?;
            let users = options.login.iter().flat_map(|login| &login.users);
            let scram_users = users
                .flat_map(|(user, password)| SCRAMS.map(|scram| format!("{scram}=[name={user},password={password}]")))
                .collect();
            brokers.push(Broker {
                id,
                java,
                libs,
                heap_mib,
                jvm,
                home,
                log,
                port,
                controller,
                proxied,
                login,
                scram_users,
                encrypted,
                process,
            });
        }
        let voter = |broker: &Broker| Some(format!("{}@{}", broker.id, broker.controller.as_ref()?.address()));
        let voters = brokers.iter().filter_map(voter).collect::<Vec<_>>().join(",");
        for broker in &brokers {
            write(&broker.home.join("server.properties"), &properties(broker, &voters, &options))?;
            if let Some(tls) = &options.tls {
                // A PEM keystore is key and chain in one file (KIP-651).
                let read = |path: &Path| std::fs::read_to_string(path).doing(|| format!("reading {}", path.display()));
                write(&broker.home.join("keystore.pem"), &(read(&tls.key)? + &read(&tls.certificate)?))?;
            }
            write(&broker.home.join("log4j2.properties"), LOG4J)?;
            broker.format()?;
        }
        let mut kafka = Kafka { brokers, login: options.login, _run: run.clone() };
        kafka.up()?;
        Ok(kafka)
    }

    /// Starts every broker that does not run and waits until all of them have registered.
    ///
    /// # Errors
    /// Where one does not come up.
    pub fn up(&mut self) -> Result<(), LabError> {
        for broker in &mut self.brokers {
            broker.launch()?;
        }
        let count = self.brokers.len();
        self.brokers.iter_mut().try_for_each(|broker| broker.wait_ready(count))
    }

    /// Whether every broker's process is there (paused counts as there).
    pub fn is_running(&mut self) -> bool {
        self.brokers.iter_mut().all(Broker::is_running)
    }

    /// Ends all brokers by SIGTERM, a controlled shutdown.
    ///
    /// # Errors
    /// Where one does not end.
    pub fn stop(&mut self) -> Result<(), LabError> {
        // All at once: a controlled shutdown of the last ones would wait for the controllers that are gone.
        for process in self.brokers.iter_mut().filter_map(|broker| broker.process.as_mut()) {
            process.resume();
            process.signal(libc::SIGTERM);
        }
        self.brokers.iter_mut().try_for_each(Broker::stop)
    }

    /// SIGKILL to all brokers.
    pub fn kill(&mut self) {
        self.brokers.iter_mut().for_each(Broker::kill);
    }

    /// SIGSTOP to all brokers.
    ///
    /// # Errors
    /// See [`LabError`].
    pub fn pause(&mut self) -> Result<(), LabError> {
        self.brokers.iter_mut().try_for_each(Broker::pause)
    }

    /// SIGCONT after [`Kafka::pause`].
    pub fn resume(&mut self) {
        self.brokers.iter_mut().for_each(Broker::resume);
    }

    /// Ends all brokers and starts them again, with their logs or as a new, empty cluster.
    ///
    /// # Errors
    /// Where one does not end or come up.
    pub fn restart(&mut self, data: Data) -> Result<(), LabError> {
        self.stop()?;
        if data == Data::Lose {
            self.brokers.iter().try_for_each(Broker::wipe)?;
        }
        self.up()
    }

    /// `host:port` of every broker, comma between.
    pub fn bootstrap(&self) -> String {
        self.brokers.iter().map(|broker| broker.port.address().to_string()).collect::<Vec<_>>().join(",")
    }

    /// `host:port` of every broker's listener with TLS, comma between; empty where they have none.
    pub fn bootstrap_encrypted(&self) -> String {
        let ports = self.brokers.iter().filter_map(|broker| broker.encrypted.as_ref());
        ports.map(|port| port.address().to_string()).collect::<Vec<_>>().join(",")
    }

    /// The same for edges or workers: their proxies, where it has any.
    pub fn bootstrap_for(&self, side: Side) -> String {
        let proxies = self.proxies(side);
        if proxies.is_empty() {
            return self.bootstrap();
        }
        proxies.iter().map(|proxy| proxy.address().to_string()).collect::<Vec<_>>().join(",")
    }

    /// `host:port` of every broker's listener that wants a login, comma between; none unless [`KafkaOptions::login`].
    pub fn login_bootstrap(&self) -> String {
        let ports = self.brokers.iter().filter_map(|broker| broker.login.as_ref());
        ports.map(|port| port.address().to_string()).collect::<Vec<_>>().join(",")
    }

    /// Takes SCRAM's passwords of a user away, or gives those of [`KafkaOptions::login`] back. By Kafka's own tool, which takes
    /// some seconds.
    ///
    /// # Errors
    /// Where the tool fails.
    pub fn set_scram(&self, user: &str, may_log_in: bool) -> Result<(), LabError> {
        let users = self.login.iter().flat_map(|login| &login.users);
        let password = users.into_iter().find(|(its, _)| its == user).map_or("", |(_, password)| password);
        // A request changes one of a user's passwords.
        SCRAMS.into_iter().try_for_each(|scram| {
            let change = if may_log_in { format!("{scram}=[password={password}]") } else { scram.to_owned() };
            let mut command = self.brokers[0].java();
            command.args(["kafka.admin.ConfigCommand", "--bootstrap-server"]);
            command.arg(self.brokers[0].port.address().to_string());
            command.args(["--alter", "--entity-type", "users", "--entity-name", user]);
            command.args([if may_log_in { "--add-config" } else { "--delete-config" }, &change]);
            run(command, "kafka.admin.ConfigCommand")
        })
    }

    /// The proxies between edges or workers and each broker; none unless [`KafkaOptions::proxied`].
    pub fn proxies(&self, side: Side) -> Vec<Arc<Proxy>> {
        let all = self.brokers.iter().flat_map(|broker| &broker.proxied);
        all.filter(|proxied| proxied.side == side).map(|proxied| Arc::clone(&proxied.proxy)).collect()
    }

    /// One of the brokers, counted from 0, to stop, kill or pause it alone.
    ///
    /// # Panics
    /// Where there are not so many.
    pub fn broker(&mut self, index: usize) -> &mut Broker {
        &mut self.brokers[index]
    }

    /// Creates a topic; one that exists is left as it is. (flux-worker creates its own.)
    ///
    /// # Errors
    /// Where the broker refuses or does not answer.
    pub fn create_topic(&self, topic: &str, partitions: i32, replicas: i16) -> Result<(), LabError> {
        self.connection()?.create_topic(topic, partitions, replicas)
    }

    /// Deletes a topic, its records with it.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`]; where there is no such topic too.
    pub fn delete_topic(&self, topic: &str) -> Result<(), LabError> {
        self.connection()?.delete_topic(topic)
    }

    /// The processes of its brokers that run.
    pub fn pids(&self) -> Vec<u32> {
        self.brokers.iter().filter_map(|broker| broker.process.as_ref().map(Process::pid)).collect()
    }

    /// Raises the number of a topic's partitions to `partitions`.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn add_partitions(&self, topic: &str, partitions: i32) -> Result<(), LabError> {
        self.connection()?.add_partitions(topic, partitions)
    }

    /// Sets one of a topic's settings, such as `max.message.bytes`.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn set_topic(&self, topic: &str, name: &str, value: &str) -> Result<(), LabError> {
        self.connection()?.set_topic(topic, name, value)
    }

    /// Deletes every record of a partition, as a retention that is too short would. Its leader must be the first broker.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn delete_records(&self, topic: &str, partition: i32) -> Result<(), LabError> {
        self.connection()?.delete_records(topic, partition)
    }

    /// Deletes a consumer group without members, committed offsets and all. Its coordinator must be the first broker.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`]; where the group has members too.
    pub fn delete_group(&self, group: &str) -> Result<(), LabError> {
        self.connection()?.delete_group(group)
    }

    pub(super) fn connection(&self) -> Result<KafkaConnection, LabError> {
        KafkaConnection::open(&self.brokers[0].port.address().to_string())
    }
}

impl Broker {
    /// Its node id, from 1.
    pub fn id(&self) -> usize {
        self.id
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.exited().is_none())
    }

    /// Starts it and waits until it has registered. Nothing happens where it runs.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn up(&mut self) -> Result<(), LabError> {
        self.launch()?;
        self.wait_ready(1)
    }

    /// SIGTERM, a controlled shutdown.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn stop(&mut self) -> Result<(), LabError> {
        if let Some(process) = &mut self.process {
            process.stop(libc::SIGTERM, STOP_MAX)?;
        }
        self.process = None;
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// See [`LabError`].
    pub fn pause(&mut self) -> Result<(), LabError> {
        self.process.as_mut().map_or(Ok(()), Process::pause)
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        if let Some(process) = &mut self.process {
            process.resume();
        }
    }

    fn launch(&mut self) -> Result<(), LabError> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = self.java();
        command.arg(format!("-Dlog4j2.configurationFile={}", self.home.join("log4j2.properties").display()));
        command.arg("kafka.Kafka").arg(self.home.join("server.properties"));
        self.process = Some(Process::start("kafka", command, &self.log, Ending::KILL)?);
        Ok(())
    }

    /// Waits until this broker shows at least `brokers` registered ones, itself among them.
    fn wait_ready(&mut self, brokers: usize) -> Result<(), LabError> {
        let address = self.port.address().to_string();
        let port = i32::from(self.port.number());
        let Some(process) = &mut self.process else { return Err(LabError::failed("the broker was not started")) };
        process.wait_ready(READY_MAX, || {
            KafkaConnection::open(&address).and_then(|mut broker| broker.metadata(None)).is_ok_and(|answer| {
                answer.brokers.len() >= brokers && answer.brokers.iter().any(|broker| broker.port == port)
            })
        })
    }

    /// Prepares the data directory with Kafka's own tool.
    fn format(&self) -> Result<(), LabError> {
        let mut command = self.java();
        command.args(["-Dlog4j2.level=ERROR", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
        command.arg(self.home.join("server.properties"));
        for user in &self.scram_users {
            command.args(["--add-scram", user]);
        }
        run(command, "kafka.tools.StorageTool")
    }

    fn wipe(&self) -> Result<(), LabError> {
        let data = self.home.join("data");
        std::fs::remove_dir_all(&data).doing(|| format!("emptying {}", data.display()))?;
        self.format()
    }

    fn java(&self) -> Command {
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

/// Runs one of Kafka's tools to its end.
fn run(mut command: Command, tool: &str) -> Result<(), LabError> {
    let output = command.output().doing(|| format!("starting {tool}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(LabError::failed(format!("{tool} failed: {}", said.lines().collect::<Vec<_>>().join(" | "))))
}

const LOG4J: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
";

fn properties(broker: &Broker, voters: &str, options: &KafkaOptions) -> String {
    let replicas = options.brokers.min(3);
    let mut text = String::new();
    let mut set = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name}={value}").expect("writing to a string cannot fail");
    };
    let own = format!("PLAINTEXT://{}", broker.port.address());
    let (mut listeners, mut advertised) = (vec![own.clone()], vec![own]);
    for proxied in &broker.proxied {
        listeners.push(format!("{}://{}", proxied.listener(), proxied.port.address()));
        advertised.push(format!("{}://{}", proxied.listener(), proxied.proxy.address()));
    }
    if let Some(port) = &broker.encrypted {
        listeners.push(format!("ENCRYPTED://{}", port.address()));
        advertised.push(format!("ENCRYPTED://{}", port.address()));
    }
    if let Some(controller) = &broker.controller {
        listeners.push(format!("CONTROLLER://{}", controller.address()));
    }
    if let Some(login) = &broker.login {
        listeners.push(format!("LOGIN://{}", login.address()));
        advertised.push(format!("LOGIN://{}", login.address()));
    }
    let plain = ["PLAINTEXT", "CONTROLLER", "EDGES", "WORKERS"].map(|listener| format!("{listener}:PLAINTEXT"));
    // Where there are certificates, users log in through TLS.
    let login = if options.tls.is_some() { "LOGIN:SASL_SSL" } else { "LOGIN:SASL_PLAINTEXT" };
    let protocols = format!("{},{login},ENCRYPTED:SSL", plain.join(","));
    set("process.roles", &if broker.controller.is_some() { "broker,controller" } else { "broker" });
    set("node.id", &broker.id);
    set("controller.quorum.voters", &voters);
    set("listeners", &listeners.join(","));
    set("advertised.listeners", &advertised.join(","));
    set("listener.security.protocol.map", &protocols);
    set("controller.listener.names", &"CONTROLLER");
    set("inter.broker.listener.name", &"PLAINTEXT");
    set("log.dirs", &broker.home.join("data").display());
    set("auto.create.topics.enable", &false);
    set("offsets.topic.replication.factor", &replicas);
    set("offsets.topic.num.partitions", &4);
    set("transaction.state.log.replication.factor", &replicas);
    set("transaction.state.log.min.isr", &1);
    set("share.coordinator.state.topic.replication.factor", &replicas);
    set("share.coordinator.state.topic.min.isr", &1);
    set("group.initial.rebalance.delay.ms", &0);
    // A killed member is noticed within the session timeout the worker asks for; nothing here may forbid a short one.
    set("group.min.session.timeout.ms", &1000);
    if let Some(logins) = &options.login {
        let security = "org.apache.kafka.common.security";
        let users = logins.users.iter().map(|(user, password)| format!(" user_{user}=\"{password}\""));
        let jaas = [
            ("plain", format!("{security}.plain.PlainLoginModule required{};", users.collect::<String>())),
            ("scram-sha-256", format!("{security}.scram.ScramLoginModule required;")),
            ("scram-sha-512", format!("{security}.scram.ScramLoginModule required;")),
            ("oauthbearer", format!("{security}.oauthbearer.OAuthBearerLoginModule required;")),
        ];
        for (mechanism, module) in &jaas {
            set(&format!("listener.name.login.{mechanism}.sasl.jaas.config"), module);
        }
        set("listener.name.login.sasl.enabled.mechanisms", &"PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER");
        if let Some(session) = logins.session {
            set("connections.max.reauth.ms", &session.as_millis());
        }
    }
    if let Some(tls) = &options.tls {
        set("ssl.keystore.type", &"PEM");
        set("ssl.keystore.location", &broker.home.join("keystore.pem").display());
        if let Some(clients) = &tls.clients {
            set("ssl.client.auth", &"required");
            set("ssl.truststore.type", &"PEM");
            set("ssl.truststore.location", &clients.display());
        }
    }
    for (name, value) in &options.properties {
        set(name, value);
    }
    text
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    std::fs::write(path, text).doing(|| format!("writing {}", path.display()))
}

/// Whether it could be started.
pub(crate) fn check_installed() -> Result<(), LabError> {
    java().and_then(|_| libs()).map(drop)
}

fn java() -> Result<PathBuf, LabError> {
    let home =
        std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
    home.or_else(|| find_in_path("java")).ok_or_else(|| LabError::Missing {
        what: "java (not in PATH nor in JAVA_HOME)".to_owned(),
        install: "sudo apt-get install openjdk-17-jre-headless".to_owned(),
    })
}

/// The directory with Kafka's jars: `FLUX_KAFKA_LIBS`, or `target/kafka/libs` of the workspace, found upwards from this
/// program and from the current directory.
fn libs() -> Result<PathBuf, LabError> {
    let holds_kafka = |directory: &Path| {
        std::fs::read_dir(directory).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"kafka_2.")))
        })
    };
    let missing =
        |looked: &str| LabError::Missing { what: format!("Apache Kafka ({looked})"), install: "make setup".to_owned() };
    if let Some(named) = std::env::var_os("FLUX_KAFKA_LIBS") {
        let named = PathBuf::from(named);
        let looked = format!("FLUX_KAFKA_LIBS={} holds no kafka_2.*.jar", named.display());
        return if holds_kafka(&named) { Ok(named) } else { Err(missing(&looked)) };
    }
    let program = std::env::current_exe().ok();
    let above_program = program.iter().flat_map(|path| path.ancestors()).map(|above| above.join("kafka/libs"));
    let here = std::env::current_dir().ok();
    let above_here = here.iter().flat_map(|path| path.ancestors()).map(|above| above.join("target/kafka/libs"));
    above_program
        .chain(above_here)
        .find(|directory| holds_kafka(directory))
        .ok_or_else(|| missing("no kafka_2.*.jar in target/kafka/libs, FLUX_KAFKA_LIBS is not set"))
}
