//! The shell around consumer and [`crate::pipeline`]: sockets to brokers, the ledger's task, logs and figures, and the turn
//! that lets each of them do what has become possible.
//!
//! ```text
//!  brokers ──bytes──▶ Consumer ──events, records──▶ Pipeline ──job──▶ ledger task
//!                        ▲                            │  ▲                │
//!                        └──────────commands──────────┘  └────answer──────┘
//! ```
//!
//! One thread. Never decides anything: what is in hand is the pipeline's, and what is stored the ledger's.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;
use flux_net::failures::{BrokerFailures, Failures};
use flux_net::{Address, BrokerEnd, BrokerOwner, Brokers, Clock, Notify, Timer};
use flux_protocol::kafka::client::{BrokerKey, KafkaClient};
use flux_protocol::kafka::consumer::{Consumer, ConsumerConfig, Event, Standing};
use flux_protocol::kafka::fetch::Position;
use flux_protocol::order::Uuid;
use flux_protocol::time::Instant;
use tracing::{debug, error, info, warn};

use crate::config::Config;
use crate::health::Health;
use crate::intake::{Gap, Intake, IntakeConfig};
use crate::kafka_driver::{BROKER_OPTIONS, note_answer, note_end};
use crate::ledger::Ledger;
use crate::limits::*;
use crate::metrics::{Metrics, Server};
use crate::pipeline::{Command, Job, Outcome, Pipeline};

/// What all tasks of consuming share.
struct Shared {
    clock: Clock,
    health: Rc<Health>,
    metrics: Rc<Metrics>,
    failures: BrokerFailures,
    refusals: Failures,
    state: RefCell<State>,
    /// Something has happened: the main task is to take a turn.
    turn: Rc<Notify>,
    /// There is a job.
    job: Notify,
}

struct State {
    consumer: Consumer,
    pipeline: Pipeline,
    /// On its way to the ledger's task.
    job: Option<Job>,
    observe_due: Instant,
}

impl BrokerOwner for Shared {
    fn broker_opened(&self, broker: BrokerKey, address: &Address) {
        debug!(%address, "connected to a broker");
        self.failures.unreachable.clear();
        self.state.borrow_mut().consumer.handle_broker_open(self.clock.instant(), broker);
        self.turn.notify();
    }

    fn broker_bytes(&self, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), String> {
        let result = self.state.borrow_mut().consumer.handle_broker_bytes(self.clock.instant(), broker, buffer);
        note_answer(self.clock.instant(), &self.failures, &result);
        if result.is_err() {
            self.metrics.failed(Server::kafka);
        }
        self.turn.notify();
        result.map_err(|error| error.to_string())
    }

    fn broker_closed(&self, broker: BrokerKey, address: &Address, end: &BrokerEnd) {
        note_end(self.clock.instant(), &self.failures, address, end);
        if !matches!(end, BrokerEnd::Abandoned) {
            self.metrics.failed(Server::kafka);
        }
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
        login: config.kafka_login.clone(),
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
    let now = clock.instant();
    let shared = Rc::new(Shared {
        clock,
        health,
        metrics,
        failures: BrokerFailures::default(),
        refusals: Failures::default(),
        state: RefCell::new(State {
            consumer: Consumer::new(consumer, now),
            pipeline: Pipeline::new(Intake::new(&config.topic, intake), now),
            job: None,
            observe_due: now,
        }),
        turn: Rc::new(Notify::new()),
        job: Notify::new(),
    });
    let (brokers, mut scratch) =
        (Brokers::new(BROKER_OPTIONS, config.kafka_tls.clone(), Rc::clone(&shared.turn)), Vec::new());
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
            brokers.turn(&shared, &mut state.consumer, &mut scratch);
            if state.pipeline.has_left() {
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
        if self.state.borrow_mut().pipeline.handle_stop(self.clock.instant()) {
            info!("stopping: storing what is in hand, then leaving the group");
            self.health.is_draining.set(true);
            self.turn.notify();
        }
    }

    /// Lets everything that can go on go on. When to come back at the latest.
    fn take_turn(&self, state: &mut State, now: Instant) -> Instant {
        state.consumer.handle_time(now);
        self.carry(state, now);
        state.pipeline.handle_time(now);
        while state.pipeline.wants_records()
            && let Some(fetched) = state.consumer.poll_records()
        {
            if let Some(Gap { partition, expected, found }) = state.pipeline.handle_records(now, fetched) {
                error!(
                    partition,
                    expected,
                    found,
                    "records that do not follow those before them: dropped, and the position is asked for anew"
                );
            }
            self.carry(state, now);
            state.consumer.handle_time(now); // There is room to fetch more.
        }
        if let Some(job) = state.pipeline.poll_job(now) {
            state.job = Some(job);
            self.job.notify();
        }
        self.carry(state, now);
        self.observe(state, now);
        let deadline = state.consumer.next_deadline().min(state.pipeline.next_deadline(now));
        deadline.min(state.observe_due)
    }

    /// Carries events and commands between consumer and pipeline until neither has any.
    fn carry(&self, state: &mut State, now: Instant) {
        loop {
            if let Some(event) = state.consumer.poll_event() {
                let denied = match event {
                    Event::Refused { code, .. } => state.consumer.denial(code),
                    _ => None,
                };
                self.note_event(&event, denied.as_deref());
                state.pipeline.handle_event(now, event);
            } else if let Some(command) = state.pipeline.poll_command(now) {
                match command {
                    Command::Start(positions) => state.consumer.start(now, positions),
                    Command::Pause(partition) => state.consumer.pause(partition),
                    Command::Commit { partition, next_offset } => {
                        state.consumer.commit(now, [(partition, next_offset)]);
                    }
                    Command::Release => state.consumer.release(now),
                    Command::Rejoin => state.consumer.rejoin(now),
                    Command::Leave => state.consumer.leave(now),
                }
            } else {
                return;
            }
        }
    }

    /// Logs and counts what the consumer says; `denied`: the right that is missing, where it says so.
    fn note_event(&self, event: &Event, denied: Option<&str>) {
        match event {
            Event::Assigned { generation, partitions, .. } => {
                info!(generation, ?partitions, "assigned");
                self.metrics.assigned();
            }
            Event::Release => info!("a rebalance: storing what is in hand"),
            Event::Lost(reason) => warn!(%reason, "partitions lost"),
            Event::TopicReplaced { was, is } => error!(
                was = %Uuid(*was), is = %Uuid(*is),
                "the topic was deleted and made anew: orders that were not stored are gone with it"
            ),
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
                let why = denied.map_or_else(|| format!("error {code}"), str::to_owned);
                if let Some(times) = self.refusals.note(self.clock.instant(), &why) {
                    warn!(partition, code, why, times, "a broker refuses; asked again");
                }
                self.metrics.failed(Server::kafka);
            }
            Event::Left => {}
        }
    }

    fn observe(&self, state: &mut State, now: Instant) {
        if now < state.observe_due {
            return;
        }
        state.observe_due = now + OBSERVE_INTERVAL;
        // A topic that was known and is gone is an error too, though brokers and group are well.
        if let Some(code) = state.consumer.topic_error() {
            let told = state.consumer.refusal();
            let why = told.unwrap_or_else(|| format!("the brokers answer error {code} for the topic"));
            self.health.kafka.fails(now, &why);
        } else if let Some(denied) = state.consumer.denied() {
            self.health.kafka.fails(now, &denied);
        } else {
            match lacking(state.consumer.standing(now)) {
                None => self.health.kafka.works(),
                Some(reason) => match state.consumer.refusal() {
                    Some(refusal) => self.health.kafka.fails(now, &refusal),
                    None => self.health.kafka.fails(now, reason),
                },
            }
        }
        let State { consumer, pipeline, .. } = &*state;
        let unread = pipeline.unread(now, |partition| consumer.read_at(partition));
        let partitions = pipeline.partitions().count();
        self.health.set_unread(&unread, partitions);
        self.metrics.set_reading(partitions, unread.len(), consumer.standing_still(), consumer.buffered_bytes());
        self.metrics.set_lag(pipeline.lag(|partition| consumer.end_offset(now, partition)));
    }

    /// Logs and counts what an answer of the ledger has led to.
    fn note_outcome(&self, now: Instant, outcome: &Outcome) {
        match outcome {
            Outcome::AskedAgain(reason) | Outcome::Dropped(Some(reason)) => {
                self.metrics.failed(Server::postgres);
                self.health.postgres.fails(now, reason);
                return;
            }
            Outcome::GoesOn => {}
            Outcome::Dropped(None) => debug!("positions are not asked for any more: the partitions are another's"),
            Outcome::Reading(positions) => {
                let positions: Vec<String> = positions.iter().map(Position::to_string).collect();
                info!(positions = positions.join(", "), "reading");
            }
            Outcome::Stored { partition, next_offset, stored, took } => {
                self.metrics.stored(stored, took.as_secs_f64());
                debug!(partition, next_offset, ?stored, "stored");
                if stored.rejected > 0 {
                    error!(partition, orders = stored.rejected, "orders were rejected: table `rejected` says why");
                }
                if stored.late > 0 {
                    warn!(
                        partition,
                        orders = stored.late,
                        "orders came too late for a rebuild to count them, and are not stored: table `rejected` names them"
                    );
                }
                if stored.dead_letters > 0 {
                    error!(
                        partition,
                        records = stored.dead_letters,
                        "records could not be stored: table `dead_letters` has them"
                    );
                }
            }
            Outcome::Fenced { partition, expected, rejoins } => {
                self.metrics.fenced();
                warn!(
                    partition,
                    expected, "another worker has gone on with the partition; its position is asked for anew"
                );
                if *rejoins {
                    warn!("fenced again and again: joining the group anew");
                }
            }
        }
        self.health.postgres.works();
    }
}

/// What a consumer that stands so lacks, for people; `None`: nothing.
fn lacking(standing: Standing) -> Option<&'static str> {
    match standing {
        Standing::Member => None,
        Standing::NoBroker => Some("no broker answers"),
        Standing::NoCoordinator => Some("brokers answer, but the one that coordinates the group is not reached"),
        Standing::Waiting => {
            Some("brokers answer; waiting for the group, which takes members in when each of the others has let go")
        }
        Standing::Outside => Some("brokers answer, but this worker is not a member of the group; it asks to be"),
    }
}

/// The ledger's task: one job after the other.
async fn answer_jobs(shared: Rc<Shared>, mut ledger: Ledger) {
    loop {
        let job = shared.state.borrow_mut().job.take();
        let outcome = match job {
            None => {
                shared.job.notified().await;
                continue;
            }
            Some(Job::Claim { topic_id, partition }) => {
                let answer = ledger.claim(topic_id, partition).await;
                shared.state.borrow_mut().pipeline.handle_claim(shared.clock.instant(), answer)
            }
            Some(Job::Store(mut batch)) => {
                let answer = ledger.store(&mut batch).await;
                shared.state.borrow_mut().pipeline.handle_store(shared.clock.instant(), batch, answer)
            }
        };
        shared.note_outcome(shared.clock.instant(), &outcome);
        shared.turn.notify();
    }
}
