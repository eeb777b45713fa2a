//! One contestant, running: our edge or a peer, started for one measurement and ended after it.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::contestant::{Contestant, Source};
use super::scenario::Sale;
use super::stage::Certificates;
use super::usage;
use flux_lab::control::Controlled;
use flux_lab::error::LabError;
use flux_lab::http_client;
use flux_lab::ports::Port;
use flux_lab::process::{Ending, Process};
use flux_lab::programs::{self, Edge, Environment};
use flux_lab::run_dir::RunDir;
use flux_lab::servers::balancer::Balancer;
use flux_lab::servers::{Kafka, Redis};
use flux_test_support::certificates::Identity;

const READY_MAX: Duration = Duration::from_secs(30);
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// What a contestant is started with.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// Where its log goes.
    pub run: &'a RunDir,
    /// Names its log.
    pub name: String,
    /// Redis.
    pub redis: &'a Redis,
    /// The broker.
    pub kafka: &'a Kafka,
    /// For links and listeners with TLS.
    pub certificates: &'a Certificates,
    /// The topic of its orders, which exists.
    pub topic: String,
    /// Its threads.
    pub threads: u32,
    /// More of our edge's environment.
    pub edge_environment: Environment,
}

/// A running contestant. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    contestant: Contestant,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Edge(Box<Edge>),
    Behind(Box<Edge>, Balancer),
    Peer(Process, Port),
}

impl Server {
    /// Starts it and waits until it takes requests.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn start(contestant: Contestant, source: &Source, around: &Surroundings<'_>) -> Result<Server, LabError> {
        let running = match source {
            Source::EarlierEdge(program) => Running::Edge(Box::new(start_edge(contestant, program.clone(), around)?)),
            Source::Edge => {
                let edge = start_edge(contestant, programs::edge_binary()?, around)?;
                match contestant.balancer() {
                    None => Running::Edge(Box::new(edge)),
                    Some(kind) => {
                        let Identity { certificate, key } = &around.certificates.balancer;
                        let edges = std::slice::from_ref(&edge);
                        let balancer = Balancer::start_showing(around.run, kind, edges, certificate, key)?;
                        Running::Behind(Box::new(edge), balancer)
                    }
                }
            }
            Source::Peer(program) => {
                let port = Port::reserve()?;
                let mode = if contestant.is_constant() { "constant" } else { "orders" };
                let mut command = Command::new(program);
                command.args(["--listen", &port.address().to_string(), "--redis", &around.redis.address().to_string()]);
                command.args(["--kafka", &around.kafka.bootstrap(), "--topic", &around.topic]);
                command.args(["--threads", &around.threads.to_string(), "--mode", mode]);
                // What it writes beside its log goes when the run does.
                command.env("TMPDIR", around.run.path());
                start_peer(command, port, contestant, around)?
            }
        };
        Ok(Server { contestant, running })
    }

    /// Where requests go.
    pub fn public(&self) -> SocketAddr {
        match &self.running {
            Running::Edge(edge) => edge.public(),
            Running::Behind(_, balancer) => balancer.address(),
            Running::Peer(_, port) => port.address(),
        }
    }

    /// CPU that it has used so far, with what stands in front of it, µs.
    ///
    /// # Errors
    /// Where a process is gone.
    pub fn cpu_us(&self) -> Result<u64, LabError> {
        let in_front = match &self.running {
            Running::Behind(_, balancer) => usage::cpu_us(balancer.pid())?,
            Running::Edge(_) | Running::Peer(..) => 0,
        };
        Ok(usage::cpu_us(self.pid()?)? + in_front)
    }

    /// Its process; the edge's, where something stands in front of it.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pid(&self) -> Result<u32, LabError> {
        match &self.running {
            Running::Edge(edge) | Running::Behind(edge, _) => {
                edge.program.pid().ok_or_else(|| LabError::failed("the edge does not run"))
            }
            Running::Peer(process, _) => Ok(process.pid()),
        }
    }

    /// Opens a sale; nothing where its answers are constant.
    ///
    /// # Errors
    /// Where it answers other than 200.
    pub fn open(&self, sale: &Sale) -> Result<(), LabError> {
        if self.contestant.is_constant() {
            return Ok(());
        }
        let address = match &self.running {
            Running::Edge(edge) | Running::Behind(edge, _) => edge.admin(),
            Running::Peer(_, port) => port.address(),
        };
        let mut body = json!({"productId": sale.product, "quantity": sale.quantity, "rate": sale.rate});
        if let Some(opens_at) = &sale.opens_at {
            body["opensAt"] = json!(opens_at);
        }
        if sale.is_fair {
            body["queue"] = json!("fair");
        }
        let body = body.to_string();
        let headers = [("content-type", "application/json")];
        let answer = http_client::request(address, "POST", "/init", &headers, body.as_bytes(), REQUEST_MAX)?;
        if answer.status == 200 {
            return Ok(());
        }
        let name = self.contestant.name();
        Err(LabError::failed(format!("{name} answers POST /init {body} by {}: {}", answer.status, answer.text())))
    }

    /// Reserve calls and the orders in them so far, of our edge; `None` of others.
    ///
    /// # Errors
    /// Where the edge does not say.
    pub fn reserve_counts(&self) -> Result<Option<ReserveCounts>, LabError> {
        let (Running::Edge(edge) | Running::Behind(edge, _)) = &self.running else { return Ok(None) };
        let text = http_client::request(edge.admin(), "GET", "/metrics", &[], b"", REQUEST_MAX)?.text();
        let read = |name: &str| {
            counter(&text, name).ok_or_else(|| LabError::failed(format!("the edge's metrics have no {name}")))
        };
        let (calls, orders) = (read("flux_edge_reserve_calls_total")?, read("flux_edge_reserve_orders_total")?);
        Ok(Some(ReserveCounts { calls, orders }))
    }
}

/// What an edge has counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReserveCounts {
    /// Reserve calls.
    pub calls: f64,
    /// Orders in them.
    pub orders: f64,
}

fn start_edge(contestant: Contestant, program: PathBuf, around: &Surroundings<'_>) -> Result<Edge, LabError> {
    let driver = if contestant == Contestant::EdgeEpoll { "epoll" } else { "uring" };
    let mut environment: Environment = [
        ("FLUX_REDIS", format!("redis://{}", around.redis.address())),
        ("FLUX_KAFKA", around.kafka.bootstrap()),
        ("FLUX_TOPIC", around.topic.clone()),
        ("FLUX_CORES", around.threads.to_string()),
        ("FLUX_DRIVER", driver.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    // What stands later in the list wins.
    environment.extend(encryption(contestant, around).into_iter().map(|(name, value)| (name.to_owned(), value)));
    environment.extend(around.edge_environment.iter().cloned());
    let mut edge = Edge::of(program, around.run, &around.name, &environment)?;
    edge.program.start()?;
    Ok(edge)
}

/// What its environment says of TLS.
fn encryption(contestant: Contestant, around: &Surroundings<'_>) -> Vec<(&'static str, String)> {
    let path = |path: &Path| path.display().to_string();
    let trusted = path(&around.certificates.authority.file());
    match contestant {
        Contestant::EdgeTlsLinks => vec![
            ("FLUX_REDIS", around.redis.tls_url().unwrap_or_default()),
            ("FLUX_REDIS_TLS_CA", trusted.clone()),
            ("FLUX_KAFKA", around.kafka.bootstrap_encrypted()),
            ("FLUX_KAFKA_SECURITY", "ssl".to_owned()),
            ("FLUX_KAFKA_TLS_CA", trusted),
        ],
        Contestant::EdgeHttps => vec![
            ("FLUX_TLS_CERT", path(&around.certificates.edge.certificate)),
            ("FLUX_TLS_KEY", path(&around.certificates.edge.key)),
        ],
        _ => Vec::new(),
    }
}

fn start_peer(
    command: Command,
    port: Port,
    contestant: Contestant,
    around: &Surroundings<'_>,
) -> Result<Running, LabError> {
    let log = around.run.join(format!("{}.log", around.name));
    let mut process = Process::start(contestant.name(), command, &log, Ending::KILL)?;
    process.wait_ready(READY_MAX, || TcpStream::connect(port.address()).is_ok())?;
    Ok(Running::Peer(process, port))
}

/// The sum of a counter over its labels in Prometheus text; `None` where it is not there.
fn counter(metrics: &str, name: &str) -> Option<f64> {
    let values = metrics.lines().filter_map(|line| {
        let after = line.strip_prefix(name)?;
        let value = if after.starts_with('{') { after.rsplit_once("} ")?.1 } else { after.strip_prefix(' ')? };
        value.split_ascii_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# HELP a_total A.\na_total{core=\"0\"} 3\na_total{core=\"1\"} 4\na_total_more 9\nb_total 5\n";
        assert_eq!(counter(text, "a_total"), Some(7.0));
        assert_eq!(counter(text, "b_total"), Some(5.0));
        assert_eq!(counter(text, "c_total"), None);
    }
}
