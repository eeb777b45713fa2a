//! One core: its machine, its connections, its links, and the order in which they are served.
//!
//! Everything happens as an event in a task of this thread: a request was read, Redis answered, a broker did, time
//! came. An event enters the machine, hands the answers that it gave to the connections that wait for them, and asks
//! for a *turn*. The turn is the runtime's main future, so it comes once, after every task that was ready: it sends what the
//! machine wants to send (so that all requests of a turn travel together), opens and closes links, and sets the one
//! timer. Nothing here waits while the machine is borrowed, and nothing is shared with another core but counters.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flux_net::failures::BrokerFailures;
use flux_net::tls::Certificates;
use flux_net::{BrokerOptions, Brokers, Clock, Notify, SocketWriter, Timer};
use flux_protocol::http::Date;
use flux_protocol::time::{Instant, Now};
use tracing::warn;

use crate::core::machine::Machine;
use crate::counters::CoreCounters;
use crate::limits::KAFKA_SILENCE_MAX;
use crate::limits::shell::{LINK_CONNECT_TIME_MAX, LINK_READ_BYTES, OVERDUE_STEP};
use crate::monitoring::history::History;
use crate::monitoring::workers::Workers;
use crate::shell::buffers::Buffers;
use crate::shell::connection_table::Connections;
use crate::shell::front::Front;
use crate::shell::outage::Outage;
use crate::shell::plan::Plan;

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainEnd {
    /// Every client was answered and everything under way was completed.
    Complete,
    /// The time for it was up. What was reserved stands in the outbox and is delivered by another edge's relay.
    OutOfTime,
}

/// How a core connects to brokers. Where the kernel holds bytes for a broker that is silent, they must not leave too late.
const BROKER_OPTIONS: BrokerOptions = BrokerOptions {
    connect_time_max: LINK_CONNECT_TIME_MAX,
    silence_max: Some(KAFKA_SILENCE_MAX),
    read_bytes: LINK_READ_BYTES,
};

/// One core. Its tasks hold it together, all on one thread.
pub(crate) struct Shard<M> {
    pub(crate) index: usize,
    pub(crate) machine: RefCell<M>,
    pub(crate) connections: RefCell<Connections>,
    pub(crate) connections_max: usize,
    pub(crate) front: Front,
    /// How long an idle connection is kept.
    pub(crate) keep_alive: Duration,
    pub(crate) buffers: RefCell<Buffers>,
    pub(crate) clock: Clock,
    pub(crate) date: RefCell<Date>,
    /// Ticks of the ticker since the start: the clock of the connections' bounds on time.
    pub(crate) tick: Cell<u32>,
    /// The core is about to drain, or does: every answer closes its connection.
    pub(crate) leaving: Cell<bool>,
    pub(crate) draining: Cell<bool>,
    drain_until: Cell<Instant>,
    pub(crate) counters: CoreCounters,
    /// Of all cores, this one among them.
    pub(crate) all_counters: Arc<[CoreCounters]>,
    pub(crate) workers: Workers,
    pub(crate) certificates: Certificates,
    pub(crate) history: History,
    /// Asks for a turn.
    pub(crate) pump: Rc<Notify>,
    pub(crate) redis: RefCell<Option<Rc<SocketWriter>>>,
    pub(crate) brokers: Brokers,
    pub(crate) kafka_failures: BrokerFailures,
    pub(crate) redis_outage: Outage,
    pub(crate) kafka_outage: Outage,
    timer: Timer,
    /// When the timer fires; [`Instant::FAR_FUTURE`] while it is not set.
    armed: Cell<Instant>,
    pub(crate) scratch: RefCell<Vec<u8>>,
}

impl<M: Machine> Shard<M> {
    /// A core without connections. Only inside a runtime.
    pub(crate) fn new(
        index: usize,
        machine: M,
        clock: Clock,
        plan: &Plan,
        all_counters: Arc<[CoreCounters]>,
        history: History,
    ) -> io::Result<Rc<Shard<M>>> {
        let pump = Rc::new(Notify::new());
        Ok(Rc::new(Shard {
            index,
            machine: RefCell::new(machine),
            connections: RefCell::default(),
            connections_max: plan.connections_per_core_max,
            front: plan.front.clone(),
            keep_alive: plan.keep_alive,
            buffers: RefCell::default(),
            date: RefCell::new(Date::new(clock.now().wall_ms / 1000)),
            clock,
            tick: Cell::new(0),
            leaving: Cell::new(false),
            draining: Cell::new(false),
            drain_until: Cell::new(Instant::FAR_FUTURE),
            counters: all_counters[index].clone(),
            all_counters,
            workers: plan.workers.clone(),
            certificates: plan.certificates.clone(),
            history,
            pump: Rc::clone(&pump),
            redis: RefCell::default(),
            brokers: Brokers::new(BROKER_OPTIONS, plan.kafka_tls.clone(), pump),
            kafka_failures: BrokerFailures::default(),
            redis_outage: Outage::of("Redis"),
            kafka_outage: Outage::of("Kafka"),
            timer: Timer::new()?,
            armed: Cell::new(Instant::FAR_FUTURE),
            scratch: RefCell::default(),
        }))
    }

    /// Something happened: lets the machine know, hands out the answers that follow, and asks for a turn.
    pub(crate) fn event<R>(&self, happen: impl FnOnce(&mut M, Now) -> R) -> R {
        let now = self.clock.now();
        let mut machine = self.machine.borrow_mut();
        let result = happen(&mut machine, now);
        self.hand_out(&mut machine);
        self.pump.notify();
        result
    }

    pub(crate) fn hand_out(&self, machine: &mut M) {
        let mut connections = self.connections.borrow_mut();
        while let Some((reply_to, answer)) = machine.poll_completion() {
            connections.complete(reply_to, answer);
        }
    }

    /// Sets the timer where it would fire too late. One that fires too early does no harm: the turn it brings finds
    /// nothing due and sets it anew.
    pub(crate) fn arm(&self, next: Instant, now: Instant) {
        // A machine whose deadline has passed and that can do nothing about it now is asked again soon, not at once.
        let due = if next <= now { now + OVERDUE_STEP } else { next };
        if due >= self.armed.get() {
            return;
        }
        self.armed.set(due);
        self.timer.set(due.since(now) + Duration::from_micros(1));
    }

    /// Turns when the timer fires; runs for as long as the core does.
    pub(crate) async fn watch_timer(self: Rc<Shard<M>>) {
        loop {
            if let Err(error) = self.timer.fired().await {
                warn!(core = self.index, %error, "the timer failed; the ticker takes its place");
                return;
            }
            self.armed.set(Instant::FAR_FUTURE);
            self.pump.notify();
        }
    }

    /// The core is about to drain: `/readyz` says 503, so that no balancer sends anything new, and every answer closes its
    /// connection, so that none keeps one. All else goes on.
    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        self.counters.shell.draining.set(1);
    }

    /// No new work, and an end in `limit` at the latest. The machine is told.
    pub(crate) fn drain(&self, limit: Duration) {
        self.leave();
        if !self.draining.replace(true) {
            let until = self.clock.instant() + limit;
            self.drain_until.set(until);
            self.event(|machine, now| machine.handle_drain(now, until));
        }
    }

    /// Whether the last public client has gone, every answer is out, an operator's too, and the machine has nothing
    /// under way. The first core, which holds the admin listener, is the last to end: until then it answers probes.
    fn is_drained(&self) -> bool {
        let others = &self.all_counters[1..];
        if self.index == 0 && others.iter().any(|core| core.shell.ended_core.get() == 0) {
            return false;
        }
        let connections = self.connections.borrow();
        connections.open_public() == 0 && !connections.is_answering() && self.machine.borrow().is_drained()
    }

    /// How the core ends, where it does now.
    pub(crate) fn end(&self) -> Option<DrainEnd> {
        if !self.draining.get() {
            None
        } else if self.is_drained() {
            Some(DrainEnd::Complete)
        } else if self.clock.instant() >= self.drain_until.get() {
            Some(DrainEnd::OutOfTime)
        } else {
            None
        }
    }
}
