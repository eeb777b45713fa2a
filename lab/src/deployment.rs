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

mod environment;
mod options;
mod rest;
mod shared;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::options::{DeploymentOptions, Servers};
use self::shared::{lock, shared, start_servers};
use crate::control::Controlled;
use crate::crowd::CrowdOptions;
use crate::error::LabError;
use crate::http_client::{self, HttpAnswer};
use crate::links::Links;
use crate::programs::{self, Edge, Ran, Worker};
use crate::run_dir::RunDir;
use crate::servers::{self, Kafka, Postgres, Redis, Side};
use crate::truth::Sources;

/// How long one administrative request may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// Open files each program should be allowed: many shells allow 1,024.
const FILES_WANTED: u64 = 20_000;
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
}

fn expect_200(what: &str, body: &Value, answer: &HttpAnswer) -> Result<(), LabError> {
    if answer.status == 200 {
        return Ok(());
    }
    Err(LabError::failed(format!("{what} {body}: {} {}", answer.status, answer.text())))
}
