//! A whole Flux-Gate of our own: servers, workers, edges, and what a test asks of them.
//!
//! ```no_run
//! # fn main() -> Result<(), flux_lab::error::LabError> {
//! use flux_lab::crowd;
//! use flux_lab::deployment::{Deployment, DeploymentOptions};
//! use std::time::Duration;
//!
//! let mut deployment = Deployment::start(DeploymentOptions { edges: 2, workers: 1, ..DeploymentOptions::default() })?;
//! deployment.init("p", 100)?;
//! let report = crowd::run(deployment.buyers("p", 5_000, 500))?;
//! deployment.settle(&report.history, Duration::from_secs(30))?;
//! deployment.check(&report.history)?.assert_holds();
//! # Ok(())
//! # }
//! ```

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use flux_protocol::order::Uuid;
use serde_json::{Value, json};

use crate::checker::{self, Allow, Verdict};
use crate::crowd::{CrowdOptions, History};
use crate::error::{Doing, LabError};
use crate::http_client::{self, HttpAnswer};
use crate::links::Links;
use crate::programs::{self, Edge, Environment, Ran, Worker};
use crate::run_dir::RunDir;
use crate::servers::{self, Kafka, KafkaOptions, Postgres, PostgresOptions, Redis, RedisOptions, Side};
use crate::truth::{self, Sources, Truth};

/// How long one administrative request may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// Open files each program should be allowed: many shells allow 1,024.
const FILES_WANTED: u64 = 20_000;
/// How long a deployment that is checked may take to come to rest, where nobody has waited for it: the worker's batches, and an
/// outbox that its edge has left to the relay.
const REST_MAX: Duration = Duration::from_secs(60);
/// How often [`Deployment::settle`] looks.
const SETTLE_LOOK: Duration = Duration::from_millis(50);

/// Whose Kafka and PostgreSQL a deployment uses. Redis is always its own, topic and database too.
#[derive(Clone, Debug, Default)]
pub enum Servers {
    /// Those of this process, started by the first deployment that asks: for tests that leave them running.
    #[default]
    Shared,
    /// Its own: for tests that stop, kill or pause them.
    Own {
        /// How Kafka is set up.
        kafka: KafkaOptions,
        /// How PostgreSQL is set up.
        postgres: PostgresOptions,
    },
}

impl Servers {
    /// Its own, set up as usual.
    pub fn own() -> Servers {
        Servers::Own { kafka: KafkaOptions::default(), postgres: PostgresOptions::default() }
    }
}

/// What a deployment consists of.
#[derive(Clone, Debug)]
pub struct DeploymentOptions {
    /// Edges, each on ports of its own.
    pub edges: usize,
    /// Workers of one group.
    pub workers: usize,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Kafka and PostgreSQL.
    pub servers: Servers,
    /// Redis.
    pub redis: RedisOptions,
    /// Edge and worker reach Redis over its Unix socket.
    pub redis_by_socket: bool,
    /// Edge and worker reach every server through proxies: [`Deployment::links`]. A Kafka of one's own needs
    /// [`KafkaOptions::proxied`] for it.
    pub proxied: bool,
    /// Edge and worker reach every server through TLS, and trust this issuer (a file, PEM): each server needs an
    /// [`Encryption`](servers::Encryption) of its own for it.
    pub trusted: Option<PathBuf>,
    /// What they show to servers that want to know their clients: a certificate and its key (files, PEM).
    pub shown: Option<(PathBuf, PathBuf)>,
    /// More of each edge's environment, such as `("FLUX_RATE", "0")`; wins over what is set here.
    pub edge_environment: Environment,
    /// More of each worker's.
    pub worker_environment: Environment,
}

impl Default for DeploymentOptions {
    fn default() -> DeploymentOptions {
        DeploymentOptions {
            edges: 1,
            workers: 1,
            partitions: 4,
            servers: Servers::Shared,
            redis: RedisOptions::default(),
            redis_by_socket: false,
            proxied: false,
            trusted: None,
            shown: None,
            edge_environment: vec![("FLUX_CORES".to_owned(), "1".to_owned())],
            worker_environment: Vec::new(),
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // Other deployments may use the same Kafka, and its proxies with it.
        if let Some(links) = &self.links {
            links.pass();
        }
    }
}

/// A running Flux-Gate. Dropping it ends all of it.
#[derive(Debug)]
pub struct Deployment {
    // Programs before servers: they are ended first.
    /// The edges.
    pub edges: Vec<Edge>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// Its Redis.
    pub redis: Redis,
    kafka: Arc<Mutex<Kafka>>,
    postgres: Arc<Mutex<Postgres>>,
    links: Option<Links>,
    options: DeploymentOptions,
    topic: String,
    database: String,
    sources: Sources,
    /// Edges and workers started so far: the numbers in their logs' names.
    started: (u32, u32),
    run: RunDir,
}

type Shared = (Arc<Mutex<Kafka>>, Arc<Mutex<Postgres>>);

impl Deployment {
    /// Starts servers, workers and edges and waits until every edge and worker is ready.
    ///
    /// # Errors
    /// Where something is missing or does not come up; the text says what, with the end of its log.
    pub fn start(options: DeploymentOptions) -> Result<Deployment, LabError> {
        // Found first: nobody wants to wait for Kafka to hear that a binary is missing.
        programs::edge_binary()?;
        programs::worker_binary()?;
        servers::check_installed()?;
        // The programs inherit the limit, and an edge needs a descriptor for each buyer. Where so many are not allowed
        // they do with fewer and say so themselves.
        let _ = crate::crowd::raise_file_limit(FILES_WANTED);
        let run = RunDir::new()?;
        let (kafka, postgres) = match &options.servers {
            Servers::Shared => shared()?,
            Servers::Own { kafka, postgres } => start_servers(&run, kafka.clone(), postgres.clone())?,
        };
        let redis = Redis::start(&run, options.redis.clone())?;
        // One process may have many deployments on the same servers.
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (topic, database) = (format!("orders-{number}"), format!("flux_{number}"));
        let sources = {
            let postgres = lock(&postgres);
            postgres.create_database(&database)?;
            let (redis, kafka) = (redis.url(), lock(&kafka).bootstrap());
            Sources { redis, kafka, topic: topic.clone(), postgres: postgres.url(&database) }
        };
        let links = if options.proxied { Some(Links::new(&redis, &lock(&kafka), &lock(&postgres))?) } else { None };
        let (edges, workers) = (options.edges, options.workers);
        let mut deployment = Deployment {
            edges: Vec::new(),
            workers: Vec::new(),
            redis,
            kafka,
            postgres,
            links,
            options,
            topic,
            database,
            sources,
            started: (0, 0),
            run,
        };
        for _ in 0..workers {
            deployment.launch_worker()?;
        }
        for _ in 0..edges {
            deployment.launch_edge()?;
        }
        deployment.wait_ready()?;
        Ok(deployment)
    }

    /// Waits until every edge and worker is ready.
    ///
    /// # Errors
    /// Where one ends or is not ready in time.
    pub fn wait_ready(&mut self) -> Result<(), LabError> {
        self.workers.iter_mut().try_for_each(|worker| worker.program.wait_ready(programs::READY_MAX))?;
        self.edges.iter_mut().try_for_each(|edge| edge.program.wait_ready(programs::READY_MAX))
    }

    /// Starts one more edge and waits until it is ready. Returns its index.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn add_edge(&mut self) -> Result<usize, LabError> {
        self.launch_edge()?;
        let index = self.edges.len() - 1;
        self.edges[index].program.wait_ready(programs::READY_MAX)?;
        Ok(index)
    }

    /// Starts one more worker and waits until it is ready. Returns its index.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn add_worker(&mut self) -> Result<usize, LabError> {
        self.launch_worker()?;
        let index = self.workers.len() - 1;
        self.workers[index].program.wait_ready(programs::READY_MAX)?;
        Ok(index)
    }

    fn launch_edge(&mut self) -> Result<(), LabError> {
        self.started.0 += 1;
        let mut environment = self.environment(Side::Edges);
        let workers: Vec<String> = self.workers.iter().map(|worker| worker.admin().to_string()).collect();
        environment.push(("FLUX_WORKERS".to_owned(), workers.join(",")));
        // Pages show when an order is stored; any worker can tell.
        if let Some(worker) = self.workers.first() {
            environment.push(("FLUX_LEDGER_URL".to_owned(), format!("http://{}", worker.admin())));
        }
        environment.extend(self.options.edge_environment.iter().cloned());
        let mut edge = Edge::new(&self.run, &format!("edge-{}", self.started.0), &environment)?;
        edge.program.launch()?;
        self.edges.push(edge);
        Ok(())
    }

    /// Starts one more edge with more of an environment, and does not wait for it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn launch_edge_with(&mut self, environment: &[(String, String)]) -> Result<(), LabError> {
        let before = self.options.edge_environment.clone();
        self.options.edge_environment.extend_from_slice(environment);
        let launched = self.launch_edge();
        self.options.edge_environment = before;
        launched
    }

    fn launch_worker(&mut self) -> Result<(), LabError> {
        self.started.1 += 1;
        let environment = self.worker_environment();
        let mut worker = Worker::new(&self.run, &format!("worker-{}", self.started.1), &environment)?;
        worker.program.launch()?;
        self.workers.push(worker);
        Ok(())
    }

    fn environment(&self, side: Side) -> Environment {
        if let Some(trusted) = &self.options.trusted {
            return self.encrypted_environment(trusted);
        }
        let proxy = self.links.as_ref().map(|links| match side {
            Side::Edges => links.edge_redis.address(),
            Side::Workers => links.worker_redis.address(),
        });
        let redis = match proxy {
            Some(proxy) => format!("redis://{proxy}"),
            None if self.options.redis_by_socket => self.redis.socket_url(),
            None => self.redis.url(),
        };
        let kafka = if self.links.is_some() { self.kafka().bootstrap_for(side) } else { self.sources.kafka.clone() };
        [("FLUX_REDIS", redis), ("FLUX_KAFKA", kafka), ("FLUX_TOPIC", self.topic.clone())]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    fn encrypted_environment(&self, trusted: &Path) -> Environment {
        let trusted = trusted.display().to_string();
        let mut environment = vec![
            ("FLUX_REDIS", self.redis.tls_url().expect("Redis has TLS")),
            ("FLUX_REDIS_TLS_CA", trusted.clone()),
            ("FLUX_KAFKA", self.kafka().bootstrap_encrypted()),
            ("FLUX_KAFKA_SECURITY", "ssl".to_owned()),
            ("FLUX_KAFKA_TLS_CA", trusted),
            ("FLUX_TOPIC", self.topic.clone()),
        ];
        if let Some((certificate, key)) = &self.options.shown {
            let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
            environment.extend([
                ("FLUX_REDIS_TLS_CERT", certificate.clone()),
                ("FLUX_REDIS_TLS_KEY", key.clone()),
                ("FLUX_KAFKA_TLS_CERT", certificate),
                ("FLUX_KAFKA_TLS_KEY", key),
            ]);
        }
        environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The environment of a worker, and of `flux-worker audit` and `rebuild`.
    pub fn worker_environment(&self) -> Environment {
        let mut environment = self.environment(Side::Workers);
        let postgres = match &self.links {
            Some(links) => format!("postgres://postgres@{}/{}", links.worker_postgres.address(), self.database),
            None => self.sources.postgres.clone(),
        };
        let postgres = match &self.options.trusted {
            Some(trusted) => format!("{postgres}?sslmode=verify-full&sslrootcert={}", trusted.display()),
            None => postgres,
        };
        let postgres = match &self.options.shown {
            Some((certificate, key)) => {
                format!("{postgres}&sslcert={}&sslkey={}", certificate.display(), key.display())
            }
            None => postgres,
        };
        environment.push(("FLUX_POSTGRES".to_owned(), postgres));
        environment.push(("FLUX_GROUP".to_owned(), self.group()));
        environment.push(("FLUX_TOPIC_PARTITIONS".to_owned(), self.options.partitions.to_string()));
        environment.extend(self.options.worker_environment.iter().cloned());
        environment
    }

    /// The workers' group. Worlds share Kafka: a group of several topics would leave the members of all but one without
    /// partitions.
    pub fn group(&self) -> String {
        format!("workers-of-{}", self.topic)
    }

    /// The proxies between programs and servers.
    ///
    /// # Panics
    /// Where the deployment was not started with [`DeploymentOptions::proxied`].
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("the deployment was started with proxies")
    }

    /// `other` takes the place of Redis, as a replica that was promoted does: proxies lead there, and it is what is
    /// checked. Returns the one before.
    pub fn replace_redis(&mut self, other: Redis) -> Redis {
        self.sources.redis = other.url();
        if let Some(links) = &self.links {
            links.edge_redis.aim(other.address());
            links.worker_redis.aim(other.address());
        }
        std::mem::replace(&mut self.redis, other)
    }

    /// Kafka, to stop, kill or pause it (its own only: see [`Servers`]).
    pub fn kafka(&self) -> MutexGuard<'_, Kafka> {
        lock(&self.kafka)
    }

    /// PostgreSQL, to stop, kill or pause it (its own only: see [`Servers`]).
    pub fn postgres(&self) -> MutexGuard<'_, Postgres> {
        lock(&self.postgres)
    }

    /// A connection to its database.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub fn ledger(&self) -> Result<postgres::Client, LabError> {
        self.postgres().client(&self.database)
    }

    /// The topic of its orders.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Where its data and logs are.
    pub fn run(&self) -> &RunDir {
        &self.run
    }

    /// Where Redis, topic and ledger are.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The public listeners of all edges that run.
    pub fn targets(&mut self) -> Vec<SocketAddr> {
        self.edges.iter_mut().filter_map(|edge| edge.program.is_running().then(|| edge.public())).collect()
    }

    /// `POST path` on an admin listener with a JSON body; the first edge that runs is asked.
    ///
    /// # Errors
    /// Where no edge runs or it does not answer.
    pub fn admin(&mut self, path: &str, body: &Value) -> Result<HttpAnswer, LabError> {
        let mut running = self.edges.iter_mut().filter_map(|edge| edge.program.is_running().then(|| edge.admin()));
        let address = running.next().ok_or_else(|| LabError::failed("no edge is running"))?;
        let headers = [("content-type", "application/json")];
        http_client::request(address, "POST", path, &headers, body.to_string().as_bytes(), REQUEST_MAX)
    }

    /// Opens a sale of `quantity` units without a rate limit.
    ///
    /// # Errors
    /// Where the answer is not a 200; the text holds it.
    pub fn init(&mut self, product: &str, quantity: u64) -> Result<(), LabError> {
        self.init_with(json!({"productId": product, "quantity": quantity, "rate": 0}))
    }

    /// Opens a sale with `/init`'s options (`rate`, `burst`, `perUser`, `force`, …).
    ///
    /// # Errors
    /// As [`Deployment::init`].
    pub fn init_with(&mut self, body: Value) -> Result<(), LabError> {
        let answer = self.admin("/init", &body)?;
        expect_200("POST /init", &body, &answer)
    }

    /// Closes a sale.
    ///
    /// # Errors
    /// As [`Deployment::init`].
    pub fn close(&mut self, product: &str) -> Result<(), LabError> {
        let body = json!({"productId": product});
        let answer = self.admin("/close", &body)?;
        expect_200("POST /close", &body, &answer)
    }

    /// One order by hand, to the first edge that runs.
    ///
    /// # Errors
    /// Where no edge runs or it does not answer: the outcome is unknown.
    pub fn order(&mut self, product: &str, user: &str, key: &str, quantity: u64) -> Result<HttpAnswer, LabError> {
        let target = *self.targets().first().ok_or_else(|| LabError::failed("no edge is running"))?;
        let body = json!({"productId": product, "userId": user, "quantity": quantity}).to_string();
        let headers = [("content-type", "application/json"), ("x-idempotency-key", key)];
        http_client::request(target, "POST", "/order", &headers, body.as_bytes(), REQUEST_MAX)
    }

    /// `GET path` on the public listener of the first edge that runs, such as `/stock/p`.
    ///
    /// # Errors
    /// Where no edge runs or it does not answer.
    pub fn get(&mut self, path: &str) -> Result<HttpAnswer, LabError> {
        let target = *self.targets().first().ok_or_else(|| LabError::failed("no edge is running"))?;
        http_client::request(target, "GET", path, &[], b"", REQUEST_MAX)
    }

    /// A crowd for all its edges; see [`CrowdOptions::buyers`] for what it does, and change it as you like.
    pub fn buyers(&mut self, product: &str, buyers: u64, connections: usize) -> CrowdOptions {
        CrowdOptions::buyers(self.targets(), product, buyers, connections)
    }

    /// Runs `flux-worker audit`, of one product or of all.
    ///
    /// # Errors
    /// Where it cannot be executed. A breach is not an error here: it is its exit code.
    pub fn audit(&self, product: Option<&str>) -> Result<Ran, LabError> {
        let mut arguments = vec!["audit"];
        arguments.extend(product.iter().flat_map(|product| ["--product", product]));
        programs::run_to_end(&programs::worker_binary()?, &arguments, &self.worker_environment())
    }

    /// Runs `flux-worker rebuild --product` with more arguments (such as `["--fence", "15s"]`).
    ///
    /// # Errors
    /// Where it cannot be executed.
    pub fn rebuild(&self, product: &str, more: &[&str]) -> Result<Ran, LabError> {
        let arguments = [&["rebuild", "--product", product], more].concat();
        programs::run_to_end(&programs::worker_binary()?, &arguments, &self.worker_environment())
    }

    /// Waits until every order that `history` was promised (200 or 202) is stored or rejected, and nothing is on its way: every
    /// outbox empty, the topic read to its ends, no return pending. Returns how long that took.
    ///
    /// # Errors
    /// Where it is not so after `timeout`; the text says how much is left. Servers out of reach are waited for too.
    pub fn settle(&self, history: &History, timeout: Duration) -> Result<Duration, LabError> {
        let begun = Instant::now();
        let mut open: HashSet<Uuid> = history.promised().into_iter().collect();
        loop {
            let left = self.unsettled(&mut open);
            if begun.elapsed() >= timeout || matches!(left, Ok(None)) {
                return match left {
                    Ok(None) => Ok(begun.elapsed()),
                    Ok(Some(what)) => Err(LabError::failed(format!("not settled after {timeout:?}: {what}"))),
                    Err(error) => Err(LabError::failed(format!("not settled after {timeout:?}: {error}"))),
                };
            }
            std::thread::sleep(SETTLE_LOOK);
        }
    }

    /// What is still open, in words; takes what is settled out of `open`.
    fn unsettled(&self, open: &mut HashSet<Uuid>) -> Result<Option<String>, LabError> {
        /// Asked for at once.
        const IDS_MAX: usize = 5_000;
        let mut ledger = crate::servers::postgres::connect(&self.sources.postgres)?;
        loop {
            let asked: Vec<String> = open.iter().take(IDS_MAX).map(Uuid::to_string).collect();
            let sql = "SELECT id::text FROM orders WHERE id = ANY ($1::text[]::uuid[]) UNION \
                       SELECT order_id::text FROM rejected WHERE order_id = ANY ($1::text[]::uuid[])";
            let rows = ledger.query(sql, &[&asked]).doing(|| "looking for orders".to_owned())?;
            for row in &rows {
                Uuid::parse(row.get::<_, &str>(0).as_bytes()).inspect(|id| {
                    open.remove(id);
                });
            }
            if rows.is_empty() || open.is_empty() {
                break;
            }
        }
        if !open.is_empty() {
            return Ok(Some(format!("{} promised orders are not stored", open.len())));
        }
        drop(ledger);
        truth::rest::moves(&self.sources)
    }

    /// What Redis, topic and ledger hold, as of one moment.
    ///
    /// # Errors
    /// Where one of them cannot be read, or they change all the time.
    pub fn truth(&self) -> Result<Truth, LabError> {
        Truth::read(&self.sources, REST_MAX)
    }

    /// Checks I1 to I4 of a deployment that has come to rest, nothing excused.
    ///
    /// # Errors
    /// Where a server cannot be read, or they change all the time. A broken promise is not an error here: it is in the
    /// verdict.
    pub fn check(&self, history: &History) -> Result<Verdict, LabError> {
        self.check_allowing(history, Allow::default())
    }

    /// The same, with what is excused.
    ///
    /// # Errors
    /// As [`Deployment::check`].
    pub fn check_allowing(&self, history: &History, allow: Allow) -> Result<Verdict, LabError> {
        Ok(checker::check(&Truth::at_rest(&self.sources, REST_MAX)?, history, allow))
    }
}

fn expect_200(what: &str, body: &Value, answer: &HttpAnswer) -> Result<(), LabError> {
    if answer.status == 200 {
        return Ok(());
    }
    Err(LabError::failed(format!("{what} {body}: {} {}", answer.status, answer.text())))
}

fn start_servers(run: &RunDir, kafka: KafkaOptions, postgres: PostgresOptions) -> Result<Shared, LabError> {
    let (kafka, postgres) = std::thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::start(run, kafka));
        let postgres = Postgres::start(run, postgres);
        (kafka.join().unwrap_or_else(|_| Err(LabError::failed("starting Kafka panicked"))), postgres)
    });
    Ok((Arc::new(Mutex::new(kafka?)), Arc::new(Mutex::new(postgres?))))
}

/// Kafka and PostgreSQL of this process. They end with it.
fn shared() -> Result<Shared, LabError> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| {
        // Many small tests: the disk is not what they test.
        let postgres = PostgresOptions { fsync: false, ..PostgresOptions::default() };
        let kafka = KafkaOptions { proxied: true, ..KafkaOptions::default() };
        let started = RunDir::new().and_then(|run| start_servers(&run, kafka, postgres));
        started.map_err(|error| error.to_string())
    });
    started.clone().map_err(LabError::Failed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked while it held the lock has left a server, not half a data structure.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
