//! One scenario's stage: a deployment under load, what is noted while it is ill-treated, and the verdict at its end.
//!
//! Never decides by itself what is excused: the scenario says so ([`Trial::allow`]).

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::vitals::Vitals;
use crate::checker::{Allow, Invariant, Untrusted, Violation};
use crate::crowd::{self, Arrival, CrowdOptions, History, Order, Orders, Repeat, Running, Snapshot};
use crate::deployment::{Deployment, DeploymentOptions};
use crate::error::LabError;
use crate::links::Links;
use crate::programs::Program;
use crate::proxy::Proxy;

/// What is for sale.
pub const PRODUCT: &str = "phone";
/// More than any scenario sells.
pub const PLENTY: u64 = 1_000_000;
/// Buyers a second: enough that several orders are at every stage at every moment, and few enough for two cores that run
/// three servers besides.
const BUYERS_PER_SECOND: f64 = 400.0;
/// Connections of the crowd.
const CONNECTIONS: usize = 64;
/// Far beyond every deadline of an edge, on a busy machine too: what is not answered then is stuck.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest wait for anything: the relay's horizon (7 s), a claim (15 s), a session of the group (10 s), on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The shortest fence of a rebuild that is sound: an edge's last request carries nothing that is older.
const FENCE: Duration = Duration::from_secs(15);
/// Accepted orders that show that a sale runs.
const RUNNING_ORDERS: u64 = 100;

/// A scenario under way.
#[derive(Debug)]
pub struct Trial {
    /// The deployment.
    pub deployment: Deployment,
    /// What its checker excuses.
    pub allow: Allow,
    /// Said in the table's last column.
    pub note: String,
    crowd: Option<Running>,
    /// How often a crowd was sent: each has names of its own.
    waves: u32,
    pub(super) history: History,
    /// What each program took when all was quiet, by name.
    pub(super) before: HashMap<String, Vitals>,
    /// When each fault was over.
    pub(super) mended_us: Vec<u64>,
    untrusted_from_us: Option<u64>,
    pub(super) untrusted: Vec<Untrusted>,
    pub(super) broken: Vec<Violation>,
}

/// Now, as the crowd's history counts.
fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// A deployment whose programs reach their servers through proxies.
pub fn proxied() -> DeploymentOptions {
    DeploymentOptions { proxied: true, ..DeploymentOptions::default() }
}

/// The same with a second edge.
pub fn two_edges() -> DeploymentOptions {
    DeploymentOptions { edges: 2, ..proxied() }
}

/// One more of an edge's or worker's environment.
pub fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Trial {
    /// A deployment with a sale of `units` open, and its resources at rest noted.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn start(mut options: DeploymentOptions, units: u64) -> Result<Trial, LabError> {
        // What is idle is to have gone when resources are counted.
        options.edge_environment.push(("FLUX_KEEP_ALIVE".to_owned(), "15s".to_owned()));
        let mut deployment = Deployment::start(options)?;
        deployment.init(PRODUCT, units)?;
        let mut trial = Trial {
            deployment,
            allow: Allow::default(),
            note: String::new(),
            crowd: None,
            waves: 0,
            history: History::default(),
            before: HashMap::new(),
            mended_us: Vec::new(),
            untrusted_from_us: None,
            untrusted: Vec::new(),
            broken: Vec::new(),
        };
        // Every edge has met the sale, Redis and a broker: what is opened once stays open.
        for edge in 0..trial.deployment.edges.len() {
            let order = Order::new(PRODUCT, &format!("first-u{edge}"), "first", 1);
            trial.wait_for("a first order is accepted", |trial| {
                Ok(matches!(trial.ask(edge, &order)?, crowd::Outcome::Accepted { .. }))
            })?;
        }
        let vitals = |program: &Program| Some((program.name().to_owned(), Vitals::of(program)?));
        trial.before = trial.programs().filter_map(vitals).collect();
        Ok(trial)
    }

    pub(super) fn programs(&self) -> impl Iterator<Item = &Program> {
        let edges = self.deployment.edges.iter().map(|edge| &edge.program);
        edges.chain(self.deployment.workers.iter().map(|worker| &worker.program))
    }

    /// The proxies between programs and servers.
    pub fn links(&self) -> Links {
        self.deployment.links().clone()
    }

    /// A crowd for all edges that comes at a constant rate until [`Trial::calm`]; every buyer repeats until it is settled.
    pub fn crowd_options(&mut self) -> CrowdOptions {
        self.waves += 1;
        let mut options = self.deployment.buyers(PRODUCT, 0, CONNECTIONS);
        options.orders = Orders::unique(PRODUCT, &format!("wave{}", self.waves));
        options.arrival = Arrival::Rate { buyers: PLENTY, per_second: BUYERS_PER_SECOND };
        options.repeat = Repeat { replay_share: 0.05, ..Repeat::UNTIL_SETTLED };
        options.timeout = ANSWER_MAX;
        options.length_max = Duration::from_secs(600);
        options
    }

    /// Sends that crowd and waits until orders are accepted.
    ///
    /// # Errors
    /// Where none are.
    pub fn load(&mut self) -> Result<(), LabError> {
        let options = self.crowd_options();
        self.load_with(options)
    }

    /// The same through `front` only, so that it can be led to another edge.
    ///
    /// # Errors
    /// As [`Trial::load`].
    pub fn load_through(&mut self, front: &Proxy) -> Result<(), LabError> {
        let mut options = self.crowd_options();
        options.targets = vec![front.address()];
        self.load_with(options)
    }

    /// Sends a crowd and waits until orders are accepted.
    ///
    /// # Errors
    /// As [`Trial::load`].
    pub fn load_with(&mut self, options: CrowdOptions) -> Result<(), LabError> {
        self.calm()?;
        self.crowd = Some(crowd::start(options)?);
        self.more_accepted(RUNNING_ORDERS)
    }

    /// What the crowd has met so far.
    pub fn progress(&self) -> Snapshot {
        self.crowd.as_ref().map(Running::progress).unwrap_or_default()
    }

    /// The name that all users of the crowd begin with: to be seen in every request that carries an order.
    pub fn mark(&self) -> Vec<u8> {
        format!("wave{}-u", self.waves).into_bytes()
    }

    /// No new buyers; those under way are answered, and what they met is kept.
    ///
    /// # Errors
    /// Where a thread of the crowd has failed.
    pub fn calm(&mut self) -> Result<(), LabError> {
        let Some(crowd) = self.crowd.take() else { return Ok(()) };
        crowd.stop();
        self.keep(&crowd.join()?.history);
        Ok(())
    }

    /// Adds what another crowd of the scenario met.
    pub fn keep(&mut self, history: &History) {
        self.history.extend(history);
    }

    /// One order by hand, kept like the crowd's.
    ///
    /// # Errors
    /// Where the edge does not answer; then it is kept as unknown.
    pub fn ask(&mut self, edge: usize, order: &Order) -> Result<crowd::Outcome, LabError> {
        let mut options = CrowdOptions::buyers(vec![self.deployment.edges[edge].public()], PRODUCT, 1, 1);
        options.orders = Orders::Same(order.clone());
        options.timeout = ANSWER_MAX;
        let history = crowd::run(options)?.history;
        self.keep(&history);
        history.exchanges.first().map(|exchange| exchange.outcome).ok_or_else(|| LabError::failed("nothing was asked"))
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// Where it does not hold within [`WAIT_MAX`], or cannot be looked at.
    pub fn wait_for(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Trial) -> Result<bool, LabError>,
    ) -> Result<(), LabError> {
        let until = Instant::now() + WAIT_MAX;
        while !holds(self)? {
            if Instant::now() >= until {
                return Err(LabError::failed(format!("waited {WAIT_MAX:?} in vain until {what}; {}", self.said())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The last lines of every program, for a failure.
    pub(super) fn said(&self) -> String {
        const LINES: usize = 6;
        let tail = |program: &Program| {
            let output = program.output();
            let lines: Vec<&str> = output.lines().collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        };
        format!("{:?}\n{}", self.progress(), self.programs().map(tail).collect::<Vec<_>>().join("\n--\n"))
    }

    /// Waits until `count` more orders have been accepted.
    ///
    /// # Errors
    /// As [`Trial::wait_for`].
    pub fn more_accepted(&mut self, count: u64) -> Result<(), LabError> {
        let before = self.progress().accepted;
        self.wait_for("orders are accepted", |trial| Ok(trial.progress().accepted >= before + count))
    }

    /// Waits until `count` more requests were refused.
    ///
    /// # Errors
    /// As [`Trial::wait_for`].
    pub fn more_refused(&mut self, count: u64) -> Result<(), LabError> {
        let before = self.progress().other_no;
        self.wait_for("requests are refused", |trial| Ok(trial.progress().other_no >= before + count))
    }

    /// The fault is over: from here on the recovery is measured. Waits until the sale runs.
    ///
    /// # Errors
    /// As [`Trial::wait_for`].
    pub fn mended(&mut self) -> Result<(), LabError> {
        self.mended_us.push(now_us());
        self.more_accepted(RUNNING_ORDERS)
    }

    /// From now on no Redis is there that could confirm a reservation.
    pub fn distrust(&mut self) {
        self.untrusted_from_us.get_or_insert(now_us());
    }

    /// One is there again, or may be in a moment.
    pub fn trust(&mut self) {
        if let Some(from_us) = self.untrusted_from_us.take() {
            self.untrusted.push(Untrusted { from_us, to_us: now_us() });
        }
    }

    /// Something that must hold in this scenario beside what is always checked.
    pub fn expect(&mut self, invariant: Invariant, holds: bool, what: impl Into<String>) {
        if !holds {
            self.broken.push(Violation { invariant, product: PRODUCT.to_owned(), order_id: None, what: what.into() });
        }
    }

    /// Rebuilds the sale, with the shortest fence that is sound.
    ///
    /// # Errors
    /// Where `flux-worker rebuild` does not end with 0.
    pub fn rebuild(&mut self, more: &[&str]) -> Result<(), LabError> {
        let fence = format!("{}s", FENCE.as_secs());
        let ran = self.deployment.rebuild(PRODUCT, &[&["--fence", &fence], more].concat())?;
        if ran.code == Some(0) { Ok(()) } else { Err(LabError::failed(format!("the rebuild failed: {ran:?}"))) }
    }

    /// Rebuilds, and ends the untrusted span within it: it opens the sale before its program ends, and not before the
    /// fence has passed.
    ///
    /// # Errors
    /// As [`Trial::rebuild`].
    pub fn rebuild_trusted(&mut self, more: &[&str]) -> Result<(), LabError> {
        let from_us = self.untrusted_from_us.take().unwrap_or_else(now_us);
        self.untrusted.push(Untrusted { from_us, to_us: now_us() + FENCE.as_micros() as u64 });
        self.rebuild(more)
    }

    /// Waits until the crowd hears that nothing is left.
    ///
    /// # Errors
    /// As [`Trial::wait_for`].
    pub fn sell_out(&mut self) -> Result<(), LabError> {
        self.wait_for("it is sold out", |trial| Ok(trial.progress().sold_out > 100))
    }

    /// How many orders the ledger holds.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub fn stored(&self) -> Result<i64, LabError> {
        let row = self.deployment.ledger()?.query_one("SELECT count(*) FROM orders", &[]);
        row.map(|row| row.get(0)).map_err(|error| LabError::failed(format!("counting orders: {error}")))
    }
}
