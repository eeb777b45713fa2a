//! The shell around consumer and intake: sockets to brokers, the ledger's task, and the turn that lets each of them do
//! what has become possible.
//!
//! ```text
//!  brokers ──bytes──▶ Consumer ──records──▶ Intake ──batch──▶ ledger task ──stored──▶ Intake, Consumer (commit)
//! ```
//!
//! One thread. The ledger's task has one question at a time; it asks the same one again, with growing pauses, for as
//! long as the answer matters. Decided here: when a rebalance may go on, when the ledger is asked again, and when the
//! process may end. Never decides what a batch is ([`crate::intake`]) nor what is stored ([`crate::ledger`]).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use flux_net::{Clock, Notify, Timer};
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey};
use flux_protocol::kafka::consumer::{Consumer, ConsumerConfig, Event};
use flux_protocol::kafka::fetch::Position;
use flux_protocol::order::Uuid;
use flux_protocol::time::Instant;
use tracing::{debug, error, info, warn};

use crate::batch::{Batch, Stored};
use crate::brokers::{BrokerSink, BrokerSource, Brokers};
use crate::config::Config;
use crate::health::Health;
use crate::intake::{Claim, Fenced, Intake, IntakeConfig, Tenure};
use crate::ledger::{Ledger, LedgerError, StoreError};
use crate::limits::*;
use crate::metrics::{Metrics, Server};

/// What the ledger's task is asked.
enum Job {
    Claim(Vec<Claim>),
    Store(Tenure, Box<Batch>),
}

/// What all tasks of consuming share.
struct Shared {
    clock: Clock,
    health: Rc<Health>,
    metrics: Rc<Metrics>,
    state: RefCell<State>,
    /// Something has happened: the main task is to take a turn.
    turn: Notify,
    /// There is a job.
    job: Notify,
    /// A pause of the ledger's task is to end: what it waits for may matter no more.
    hurry: Notify,
}

struct State {
    consumer: Consumer,
    intake: Intake,
    job: Option<Job>,
    /// From the moment a job is set until its outcome is in.
    is_ledger_busy: bool,
    /// A rebalance waits for what is in hand.
    is_releasing: bool,
    stopping: Option<Stopping>,
    /// When what is in hand is dropped rather than waited for.
    stop_deadline: Instant,
    /// When the partitions became ours.
    assigned_at: Instant,
    observe_due: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// What is in hand is being stored.
    Flushing,
    /// The group is being left.
    Leaving,
    /// The end.
    Left,
}

impl BrokerSource for Consumer {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        Consumer::poll_action(self)
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        Consumer::poll_broker_write(self, broker, out);
    }
}

impl BrokerSink for Shared {
    fn broker_opened(&self, broker: BrokerKey) {
        self.state.borrow_mut().consumer.handle_broker_open(self.clock.instant(), broker);
        self.turn.notify();
    }

    fn broker_read(&self, broker: BrokerKey, buffer: &mut BytesMut) -> bool {
        let result = self.state.borrow_mut().consumer.handle_broker_bytes(self.clock.instant(), broker, buffer);
        if let Err(error) = &result {
            warn!(%error, "a broker is not understood; the connection is closed");
            self.metrics.failed(Server::kafka);
        }
        self.turn.notify();
        result.is_ok()
    }

    fn broker_closed(&self, broker: BrokerKey) {
        self.metrics.failed(Server::kafka);
        self.state.borrow_mut().consumer.handle_broker_closed(self.clock.instant(), broker);
        self.turn.notify();
    }
}

/// What consuming needs beside the configuration.
pub struct Surroundings {
    /// Shown in the brokers' logs.
    pub client_id: String,
    /// For jitter.
    pub seed: u64,
    /// Connected, its schema migrated.
    pub ledger: Ledger,
    /// Told what is out of reach.
    pub health: Rc<Health>,
    /// Told what is counted.
    pub metrics: Rc<Metrics>,
    pub clock: Clock,
    /// Notified when the process is to end.
    pub stop: Rc<Notify>,
}

/// Consumes until told to stop; then stores what is in hand, leaves the group and returns.
///
/// # Errors
/// The process has no descriptor left for a timer.
pub async fn run(config: &Config, surroundings: Surroundings) -> std::io::Result<()> {
    let Surroundings { client_id, seed, ledger, health, metrics, clock, stop } = surroundings;
    let consumer = ConsumerConfig {
        topic: config.topic.clone(),
        group: config.group.clone(),
        bootstrap: config.kafka.clone(),
        client_id,
        session_timeout: SESSION_TIMEOUT,
        rebalance_timeout: REBALANCE_TIMEOUT,
        heartbeat_interval: HEARTBEAT_INTERVAL,
        answer_bytes_max: FETCH_ANSWER_BYTES_MAX,
        buffered_bytes_max: FETCH_BUFFERED_BYTES_MAX,
        fetch_wait: FETCH_WAIT,
        seed,
    };
    let intake = IntakeConfig { batch_orders: config.batch_orders, batch_wait: config.batch_wait };
    let shared = Rc::new(Shared {
        clock,
        health,
        metrics,
        state: RefCell::new(State {
            consumer: Consumer::new(consumer, clock.instant()),
            intake: Intake::new(&config.topic, intake),
            job: None,
            is_ledger_busy: false,
            is_releasing: false,
            stopping: None,
            stop_deadline: Instant::FAR_FUTURE,
            assigned_at: clock.instant(),
            observe_due: clock.instant(),
        }),
        turn: Notify::new(),
        job: Notify::new(),
        hurry: Notify::new(),
    });
    let mut brokers = Brokers::new(Rc::<Shared>::clone(&shared));
    flux_net::spawn(answer_jobs(Rc::clone(&shared), ledger));
    let stopper = Rc::clone(&shared);
    flux_net::spawn(async move {
        stop.notified().await;
        stopper.stop();
    });
    let timer = Rc::new(Timer::new()?);
    let (ticking, ticked) = (Rc::clone(&timer), Rc::clone(&shared));
    flux_net::spawn(async move {
        // The descriptor lives as long as the task, so a failure is the end of the ring: the process is ending.
        while ticking.fired().await.is_ok() {
            ticked.turn.notify();
        }
    });
    loop {
        let now = clock.instant();
        let deadline = {
            let state = &mut *shared.state.borrow_mut();
            let deadline = shared.take_turn(state, now);
            brokers.turn(&mut state.consumer);
            if state.stopping == Some(Stopping::Left) {
                brokers.close();
                return Ok(());
            }
            deadline
        };
        timer.set(deadline.since(now));
        shared.turn.notified().await;
    }
}

impl Shared {
    fn stop(&self) {
        let state = &mut *self.state.borrow_mut();
        if state.stopping.is_none() {
            info!("stopping: storing what is in hand, then leaving the group");
            state.stopping = Some(Stopping::Flushing);
            state.stop_deadline = self.clock.instant() + FLUSH_DEADLINE;
            self.health.is_draining.set(true);
            state.intake.flush();
            self.hurry.notify();
            self.turn.notify();
        }
    }

    /// Lets everything that can go on go on. When to come back at the latest.
    fn take_turn(&self, state: &mut State, now: Instant) -> Instant {
        state.consumer.handle_time(now);
        while let Some(event) = state.consumer.poll_event() {
            self.handle_event(state, now, event);
        }
        state.intake.fill(now);
        while state.intake.wants_records()
            && let Some(fetched) = state.consumer.poll_records()
        {
            if let Some(gap) = state.intake.offer(now, fetched) {
                error!(
                    ?gap,
                    "records that do not follow those before them: dropped, and the position is asked for anew"
                );
                state.consumer.pause(gap.partition); // Until it is started anew.
            }
            state.consumer.handle_time(now); // There is room to fetch more.
        }
        self.hand_out_job(state, now);
        self.finish(state, now);
        self.observe(state, now);
        let rest = if state.intake.rests() { now } else { Instant::FAR_FUTURE };
        // While the ledger is asked something no batch can be handed to it, however long it has waited.
        let batch = if state.is_ledger_busy { Instant::FAR_FUTURE } else { state.intake.next_deadline() };
        let deadlines = state.consumer.next_deadline(now).min(batch);
        deadlines.min(rest).min(state.observe_due)
    }

    fn handle_event(&self, state: &mut State, now: Instant, event: Event) {
        match event {
            Event::Assigned { topic_id, generation, partitions } => {
                info!(generation, ?partitions, "assigned");
                self.metrics.assigned();
                state.assigned_at = now;
                if state.stopping.is_none() {
                    state.intake.assigned(Uuid(topic_id), &partitions);
                }
            }
            Event::Release => {
                info!("a rebalance: storing what is in hand");
                state.is_releasing = true;
                state.intake.flush();
                self.hurry.notify();
            }
            Event::Lost(reason) => {
                warn!(?reason, "partitions lost");
                self.drop_all(state);
            }
            Event::TopicReplaced { was, is } => {
                error!(
                    was = %Uuid(was), is = %Uuid(is),
                    "the topic was deleted and made anew: orders that were not stored are gone with it"
                );
                self.drop_all(state);
            }
            Event::OffsetOutOfRange { partition, offset } => error!(
                partition,
                offset,
                "the ledger's offset is not in the log: records were deleted before they were stored, or the log was \
                 truncated; nothing is skipped, the partition stands still"
            ),
            Event::Diverged { partition, offset, end_offset } => error!(
                partition,
                offset,
                end_offset,
                "the log is another one from end_offset on than the ledger has read: its tail was lost in an unclean \
                 election and others have written since; nothing is skipped, the partition stands still until somebody \
                 has set the ledger's offset (docs/GUARANTEES.md)"
            ),
            Event::Damaged { partition, error } => {
                error!(partition, %error, "damaged records; asked for again");
                self.metrics.damaged();
            }
            Event::Refused { partition, code } => {
                warn!(?partition, code, "a broker refuses; asked again");
                self.metrics.failed(Server::kafka);
            }
            Event::Left => state.stopping = Some(Stopping::Left),
        }
    }

    fn drop_all(&self, state: &mut State) {
        state.intake.lost();
        state.is_releasing = false;
        self.hurry.notify();
    }

    fn hand_out_job(&self, state: &mut State, now: Instant) {
        if state.is_ledger_busy {
            return;
        }
        let tenure = state.intake.tenure();
        let claims = state.intake.take_claims();
        let job = if claims.is_empty() {
            state.intake.take_due(now).map(|batch| Job::Store(tenure, Box::new(batch)))
        } else {
            Some(Job::Claim(claims))
        };
        if job.is_some() {
            state.job = job;
            state.is_ledger_busy = true;
            self.job.notify();
        }
    }

    /// Ends a release or the process where what was in hand is stored, or where the ledger is away: it is in Kafka still.
    fn finish(&self, state: &mut State, now: Instant) {
        let is_done = state.intake.is_flushed() || self.health.postgres.is_failing() || now >= state.stop_deadline;
        if state.stopping == Some(Stopping::Flushing) && is_done {
            state.intake.lost();
            state.stopping = Some(Stopping::Leaving);
            state.is_releasing = false;
            self.hurry.notify();
            state.consumer.leave(now);
        } else if state.is_releasing && is_done {
            state.is_releasing = false;
            state.intake.lost();
            self.hurry.notify();
            state.consumer.release(now);
        } else {
            return;
        }
        while let Some(event) = state.consumer.poll_event() {
            self.handle_event(state, now, event);
        }
    }

    fn observe(&self, state: &mut State, now: Instant) {
        if now < state.observe_due {
            return;
        }
        state.observe_due = now + OBSERVE_INTERVAL;
        // A topic that was known and is gone is an error too, though brokers and group are well.
        if let Some(code) = state.consumer.topic_error() {
            self.health.kafka.fails(now, &format!("the brokers answer error {code} for the topic"));
        } else if state.consumer.is_ready(now) {
            self.health.kafka.works();
        } else {
            self.health.kafka.fails(now, "no broker answers, or not a member of the group");
        }
        let State { consumer, intake, assigned_at, .. } = &*state;
        let is_unread =
            |partition: &i32| now.since(consumer.read_at(*partition).unwrap_or(*assigned_at)) >= UNREAD_PATIENCE;
        let unread: Vec<i32> = intake.partitions().filter(is_unread).collect();
        self.health.set_unread(&unread);
        let held = intake.partitions().count();
        self.metrics.set_reading(held, unread.len(), consumer.standing_still(), consumer.buffered_bytes());
        self.metrics.set_lag(intake.lag(|partition| consumer.end_offset(now, partition)));
    }

    /// Whether the answer to a question of this tenure still matters.
    fn matters(&self, tenure: Tenure) -> bool {
        self.state.borrow().intake.tenure() == tenure
    }
}

/// The ledger's task: one job after the other.
async fn answer_jobs(shared: Rc<Shared>, mut ledger: Ledger) {
    loop {
        let job = shared.state.borrow_mut().job.take();
        match job {
            None => {
                shared.job.notified().await;
                continue;
            }
            Some(Job::Claim(claims)) => shared.claim(&mut ledger, claims).await,
            Some(Job::Store(tenure, batch)) => shared.store(&mut ledger, tenure, *batch).await,
        }
        shared.state.borrow_mut().is_ledger_busy = false;
        shared.turn.notify();
    }
}

impl Shared {
    /// Asks for the positions of all of them, then begins to read them all.
    async fn claim(&self, ledger: &mut Ledger, claims: Vec<Claim>) {
        let mut pause = RETRY_WAIT_MIN;
        let mut positions = Vec::with_capacity(claims.len());
        while let Some(claim) = claims.get(positions.len()) {
            if !self.matters(claim.tenure) {
                return;
            }
            match ledger.claim(claim.topic_id, claim.partition).await {
                Ok(position) => positions.push(position),
                Err(error) => self.pause(&mut pause, &error, error.is_retryable()).await,
            }
        }
        self.health.postgres.works();
        let State { intake, consumer, .. } = &mut *self.state.borrow_mut();
        let claimed = claims.iter().zip(positions).filter(|(claim, position)| intake.claimed(claim, position.offset));
        let positions: Vec<Position> = claimed.map(|(_, position)| position).collect();
        info!(?positions, "reading");
        consumer.start(self.clock.instant(), positions);
    }

    async fn store(&self, ledger: &mut Ledger, tenure: Tenure, mut batch: Batch) {
        let mut pause = RETRY_WAIT_MIN;
        let mut table_pause = TABLE_WAIT_MIN;
        let began = self.clock.instant();
        // A batch is begun even where its partitions were lost meanwhile: the ledger's fence decides, and orders that
        // are stored by us need not be read again by another.
        loop {
            match ledger.store(&mut batch).await {
                Ok(stored) => return self.stored(tenure, &batch, &stored, began),
                Err(StoreError::Fenced { partition, expected }) => return self.fenced(tenure, partition, expected),
                Err(StoreError::Retry(error)) => self.pause(&mut pause, &error, true).await,
                Err(StoreError::Fatal(error)) => self.pause(&mut pause, &error, false).await,
                Err(error @ StoreError::Systematic(_)) => {
                    self.rest(table_pause, &format!("{error} (somebody has to mend the tables)")).await;
                    table_pause = (table_pause * 2).min(TABLE_WAIT_MAX);
                }
            }
            if !self.matters(tenure) {
                debug!(partition = batch.origin().partition, "a batch is dropped: its partition is another's");
                return;
            }
        }
    }

    fn stored(&self, tenure: Tenure, batch: &Batch, stored: &Stored, began: Instant) {
        let now = self.clock.instant();
        self.health.postgres.works();
        self.metrics.stored(stored, now.since(began).as_secs_f64());
        let partition = batch.origin().partition;
        debug!(partition, next_offset = batch.next_offset(), ?stored, "stored");
        if stored.rejected > 0 {
            error!(partition, orders = stored.rejected, "orders were rejected: table `rejected` says why");
        }
        if stored.dead_letters > 0 {
            error!(
                partition,
                records = stored.dead_letters,
                "records could not be stored: table `dead_letters` has them"
            );
        }
        let state = &mut *self.state.borrow_mut();
        if state.intake.stored(now, tenure, batch) {
            state.consumer.commit(now, [(partition, batch.next_offset())]);
        }
    }

    fn fenced(&self, tenure: Tenure, partition: i32, expected: i64) {
        self.health.postgres.works();
        self.metrics.fenced();
        warn!(partition, expected, "another worker has gone on with the partition; its position is asked for anew");
        let now = self.clock.instant();
        let state = &mut *self.state.borrow_mut();
        match state.intake.fenced(now, tenure, partition) {
            Some(Fenced::ClaimAgain) => state.consumer.pause(partition), // Until it is started anew.
            Some(Fenced::Rejoin) => {
                warn!("fenced again and again: joining the group anew");
                state.consumer.rejoin(now);
            }
            None => {}
        }
    }

    /// Waits before the ledger is asked again; less where what is waited for stops to matter.
    async fn pause(&self, pause: &mut Duration, error: &LedgerError, is_retryable: bool) {
        let mut reason = error.to_string();
        if !is_retryable {
            reason.push_str(" (waiting does not mend this)");
        }
        let span = if is_retryable { *pause } else { FATAL_WAIT };
        *pause = (*pause * 2).min(RETRY_WAIT_MAX);
        self.rest(span, &reason).await;
    }

    async fn rest(&self, span: Duration, reason: &str) {
        self.metrics.failed(Server::postgres);
        self.health.postgres.fails(self.clock.instant(), reason);
        self.turn.notify();
        if flux_net::within(span, self.hurry.notified()).await.is_err() {
            // No descriptor for a timer: others are being closed meanwhile. Let them.
            self.hurry.notified().await;
        }
    }
}
