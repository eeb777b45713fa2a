//! Apache Kafka of our own in KRaft mode: one broker (or several), the first of them controllers too, on free ports.
//!
//! A broker tells its clients where to find it, so a test that wants a proxy between must let the broker advertise that
//! proxy. With [`KafkaOptions::proxied`] each broker has two more listeners, one advertised to edges and one to workers.

mod broker;
mod installed;
mod options;
mod properties;

use std::path::Path;
use std::sync::Arc;

pub use self::broker::Side;
use self::broker::{Broker, Proxied, STOP_MAX, run};
pub(crate) use self::installed::check_installed;
use self::installed::{java, libs};
pub use self::options::{Jvm, KafkaLogins, KafkaOptions};
use self::properties::{LOG4J, properties};
use crate::control::{Controlled, Slot};
use crate::error::{Doing, LabError};
use crate::kafka_client::KafkaConnection;
use crate::ports::Port;
use crate::proxy::Proxy;
use crate::run_dir::RunDir;
use crate::servers::Data;

/// The mechanisms of SCRAM.
const SCRAMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

/// A running (or stopped) cluster. Dropping it ends it.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Broker>,
    login: Option<KafkaLogins>,
    _run: RunDir,
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
            let slot = Slot::new(libc::SIGTERM, STOP_MAX);
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
                slot,
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
        self.brokers.iter_mut().for_each(|broker| broker.slot.ask_to_end());
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
        self.brokers.iter().filter_map(Broker::pid).collect()
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

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    std::fs::write(path, text).doing(|| format!("writing {}", path.display()))
}
