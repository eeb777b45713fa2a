//! What can go wrong in a run, how it begins and how it ends.
//!
//! Each fault is a value that was drawn in advance; applying it draws nothing, so that a run that is shortened by leaving
//! faults out is otherwise the same.

use std::time::Duration;

use super::patience::Pause;
use super::run::Run;
use super::shape::{FAULT_MAX, Sale, Shape};
use super::told::CUT_OPENING_UNITS;
use crate::kafka::{HOST, PORT, ProduceFault};
use crate::operator;
use crate::postgres::CommitFault;
use crate::random::Random;
use crate::redis::{Limits, Redis};

/// One thing that goes wrong. What lasts is ended by [`Fault::end`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An edge is killed; at the end another takes its place.
    EdgeKilled(usize),
    /// An edge stands still, when it has written so many times to a socket since: what it asked for last is on its way.
    EdgePaused(usize, u64),
    /// An edge is told to drain; at the end another takes its place.
    EdgeDrained(usize),
    /// An edge's wall clock is wrong by so much.
    EdgeClock(usize, i64),
    /// A worker is killed; at the end another takes its place.
    WorkerKilled(usize),
    /// A worker stands still, when it has written so many times to a socket since.
    WorkerPaused(usize, u64),
    /// A worker is told to stop; at the end another takes its place.
    WorkerStopped(usize),

    /// Redis stands still.
    RedisPaused,
    /// Redis refuses connections and has dropped those it had.
    RedisAway,
    /// Every connection to Redis is reset.
    RedisReset,
    /// Redis is slow.
    RedisSlow(Duration),
    /// Redis refuses commands.
    RedisLimited(&'static str),
    /// Redis has forgotten the scripts.
    ScriptsFlushed,
    /// Redis' clock is wrong by so much, from now on.
    RedisClock(i64),
    /// A first replica is attached.
    ReplicaAttached,
    /// Redis dies and comes back empty.
    RedisEmptied,
    /// Redis dies and comes back without its last writes.
    RedisRolledBack(Duration),
    /// A replica takes Redis' place, without the last writes.
    RedisFailedOver(Duration),
    /// Redis follows a stale master and is promoted again, under the same run id.
    RedisThereAndBack(Duration),
    /// Somebody says FLUSHALL.
    RedisFlushed,
    /// Somebody deletes a key of the sale.
    KeyDeleted(&'static str),
    /// Somebody puts something else in place of a key of the sale.
    KeySpoilt(&'static str),

    /// A broker is down.
    BrokerDown(usize),
    /// A broker stands still.
    BrokerPaused(usize),
    /// A partition gets another leader.
    LeaderMoved(usize),
    /// What becomes of the next produce requests.
    ProduceSpoilt(Vec<ProduceFault>),
    /// Records of users whose names begin so are refused by the brokers; behind a whole name stands a quotation mark.
    RecordRefused(String, i16),
    /// Replicas are slow.
    ReplicationSlow(Duration),
    /// The brokers forget producers.
    ProducersForgotten,
    /// The coordinator has lost its group.
    GroupLost,
    /// Records are damaged on their way to a consumer.
    FetchDamaged,
    /// The topic gets more partitions.
    PartitionsAdded(usize),

    /// PostgreSQL is killed; at the end it comes back.
    LedgerKilled,
    /// PostgreSQL is shut down in order; at the end it comes back.
    LedgerStopped,
    /// PostgreSQL stands still.
    LedgerPaused,
    /// Its sessions are ended.
    LedgerSessionsEnded,
    /// What becomes of the next commit.
    CommitFails(CommitFault),
    /// The next statement fails with this code.
    StatementFails([u8; 5]),
    /// Nobody is let in.
    LoginsRefused([u8; 5]),
    /// Its disk is full.
    DiskFull,
    /// It is a standby for a while.
    LedgerStandby,
    /// The way from a worker to PostgreSQL is cut.
    CutWorkerLedger(usize),

    /// The way from an edge to Redis, and from no other, is slow.
    SlowEdgeRedis(usize, Duration),
    /// The way from an edge to a broker is slow.
    SlowEdgeKafka(usize, usize, Duration),
    /// The way from an edge to Redis is cut.
    CutEdgeRedis(usize),
    /// The way from an edge to a broker is cut.
    CutEdgeKafka(usize, usize),
    /// The way from a worker to a broker is cut.
    CutWorkerKafka(usize, usize),
    /// The way from a worker to Redis is cut.
    CutWorkerRedis(usize),
    /// Every connection of the programs to a broker is reset.
    KafkaReset(usize),

    /// An operator closes the sale.
    SaleClosed(usize),
    /// An operator rebuilds the sale, suspended or not.
    SaleRebuilt(usize),
    /// A rebuild of the sale is begun, suspended or not, and killed.
    RebuildKilled(usize, KillAt),
    /// An operator opens another in its place.
    SaleReplaced(usize, u64),
    /// An operator opens another in its place, with other options.
    SaleReopened(Box<Sale>),
    /// An edge is told to close a sale, or to open another in its place, and killed when it has written so many times to a
    /// socket since; at the end another takes its place.
    OperationCut {
        /// The edge.
        edge: usize,
        /// The sale.
        sale: usize,
        /// Closed, and not replaced.
        closes: bool,
        /// After how many writes.
        writes: u64,
    },
    /// All replicas of Redis are gone, and their backlog is released.
    BacklogReleased,
    /// Somebody writes into the topic.
    Stray(usize, Stray),
    /// A replica takes Redis' place without the last writes, every sale is rebuilt there, and at the end the old master,
    /// which knows nothing of it, is the Redis that everybody reaches.
    OldMasterWakes(Duration),
    /// Somebody else has a transaction open on every partition.
    TransactionOpen,
}

/// What a stranger writes into the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// No record of ours.
    Garbage,
    /// An order of a sale that the ledger was told of, with another total.
    WrongTotal,
    /// A copy of a record that stands there.
    Copy(u64),
}

/// Where a rebuild dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillAt {
    /// When it has written so many times to a socket.
    Write(u64),
    /// When the ledger has given it a number.
    Raised,
}

const KEYS: [&str; 9] = ["stock", "sale", "outbox", "claims", "users", "returned", "rate", "sales", "records"];
/// Where the ledger is.
const LEDGER: &str = "postgres:5432";
const HOUR_MS: i64 = 3_600_000;
/// About as many as a rebuild writes.
const REBUILD_WRITES: u64 = 120;

/// One fault that the shape has the parts for.
pub fn draw(random: &mut Random, shape: &Shape) -> Fault {
    drawn(random, shape, |random| random.below(56))
}

/// Faults that have to do with each other, by their numbers in [`draw_of`]: what leads to harm is often one after the other of
/// the same theme.
pub const THEMES: [&[u64]; 12] = [
    // Processes of edges, and whoever works over them.
    &[0, 3, 5, 0, 3, 62],
    // Processes of workers.
    &[7, 9, 11, 39],
    // Redis' process and the way there.
    &[12, 14, 15, 17, 18, 19, 42, 68, 69],
    // Who Redis is: replicas that come and go, while somebody does not look.
    &[3, 21, 59, 25, 26, 3, 26, 21, 59],
    // What Redis holds.
    &[22, 23, 27, 28, 29, 55, 61, 9],
    // Operators.
    &[55, 60, 61, 62, 64, 64, 66, 27],
    // Brokers.
    &[30, 32, 33, 33, 37, 44, 38],
    // Records.
    &[34, 36, 36, 40, 41, 65, 67],
    // The ledger.
    &[45, 47, 48, 49, 50, 51, 52, 53, 54],
    // Ways that are cut.
    &[42, 43, 54, 68, 15, 44, 69],
    // Clocks.
    &[57, 58, 57, 3],
    // An old master that comes back.
    &[63, 55, 25, 9],
];

/// Who stands still, is cut off or slow, or is refused, while other things happen: what comes back finds another world.
pub const WHILE: &[u64] = &[3, 3, 3, 3, 9, 9, 65, 65, 12, 17, 69, 69, 32, 42, 48, 54, 68, 36, 36, 37];

/// The fault of this number, as far as the shape has the parts for it.
pub fn draw_of(kind: u64, random: &mut Random, shape: &Shape) -> Fault {
    drawn(random, shape, |_| kind)
}

fn drawn(random: &mut Random, shape: &Shape, kind: impl FnOnce(&mut Random) -> u64) -> Fault {
    let edge = random.below(shape.edges.len() as u64) as usize;
    let worker = random.below(shape.workers as u64) as usize;
    let node = random.below(shape.nodes as u64) as usize;
    let sale = random.below(shape.sales.len() as u64) as usize;
    let hour = if random.per_mille(500) { HOUR_MS } else { -HOUR_MS };
    let second = Duration::from_millis(random.below(1000));
    let key = KEYS[random.below(KEYS.len() as u64) as usize];
    match kind(random) {
        0..=2 => Fault::EdgeKilled(edge),
        3..=4 => Fault::EdgePaused(edge, 0),
        5 => Fault::EdgeDrained(edge),
        6 => Fault::EdgeClock(edge, hour),
        7..=8 => Fault::WorkerKilled(worker),
        9..=10 => Fault::WorkerPaused(worker, 0),
        11 => Fault::WorkerStopped(worker),
        12..=13 => Fault::RedisPaused,
        14 => Fault::RedisAway,
        15..=16 => Fault::RedisReset,
        17 => Fault::RedisSlow(second),
        18 => {
            let states = ["oom", "misconf", "loading", "busy"];
            Fault::RedisLimited(states[random.below(4) as usize])
        }
        19 => Fault::ScriptsFlushed,
        // Set back, it would have a sale that opens by it wait for longer than anybody does.
        20 => Fault::RedisClock(if shape.has_countdown() { HOUR_MS } else { hour }),
        21 => Fault::ReplicaAttached,
        22 => Fault::RedisEmptied,
        23..=24 => Fault::RedisRolledBack(second),
        25 => Fault::RedisFailedOver(second),
        26 => Fault::RedisThereAndBack(second),
        27 => Fault::RedisFlushed,
        28 => Fault::KeyDeleted(key),
        29 => Fault::KeySpoilt(key),
        30..=31 => Fault::BrokerDown(node),
        32 => Fault::BrokerPaused(node),
        33 => Fault::LeaderMoved(random.below(shape.partitions as u64) as usize),
        34..=35 => Fault::ProduceSpoilt((0..1 + random.below(4)).map(|_| produce_fault(random)).collect()),
        36 => {
            let buyer = random.below(shape.buyers.len() as u64) as usize;
            let codes = [10, 2, 87];
            Fault::RecordRefused(format!("{}\"", shape.buyers[buyer].order.user), codes[random.below(3) as usize])
        }
        37 => Fault::ReplicationSlow(second * 3),
        38 => Fault::ProducersForgotten,
        39 => Fault::GroupLost,
        40 => Fault::FetchDamaged,
        41 => Fault::PartitionsAdded(1 + random.below(2) as usize),
        42 => Fault::CutEdgeRedis(edge),
        43 => match random.below(3) {
            0 => Fault::CutEdgeKafka(edge, node),
            1 => Fault::CutWorkerKafka(worker, node),
            _ => Fault::CutWorkerRedis(worker),
        },
        44 => Fault::KafkaReset(node),
        45..=46 => Fault::LedgerKilled,
        47 => Fault::LedgerStopped,
        48 => Fault::LedgerPaused,
        49 => Fault::LedgerSessionsEnded,
        50 => Fault::CommitFails(CommitFault::AnswerLost),
        51 => Fault::CommitFails(CommitFault::NeverArrives),
        52 => {
            let codes = [b"40P01", b"40001", b"53100", b"57P01", b"25006", b"55P03"];
            Fault::StatementFails(*codes[random.below(6) as usize])
        }
        53 => match random.below(3) {
            0 => Fault::LoginsRefused(*b"53300"),
            1 => Fault::DiskFull,
            _ => Fault::LedgerStandby,
        },
        54 => Fault::CutWorkerLedger(worker),
        55 if random.per_mille(500) => Fault::SaleRebuilt(sale),
        55 if random.per_mille(500) => Fault::SaleClosed(sale),
        55 => Fault::SaleReplaced(sale, 5 + random.below(40)),
        // Those behind are drawn by their themes only.
        57 => Fault::EdgeClock(edge, hour * (1 + random.below(30)) as i64),
        58 => {
            let hours = HOUR_MS * (1 + random.below(30)) as i64;
            Fault::RedisClock(if shape.has_countdown() || shape.has_line() || hour > 0 { hours } else { -hours })
        }
        59 => Fault::BacklogReleased,
        60 => Fault::SaleClosed(sale),
        61 => match random.per_mille(300) {
            true => Fault::RebuildKilled(sale, KillAt::Raised),
            false => Fault::RebuildKilled(sale, KillAt::Write(1 + random.below(REBUILD_WRITES))),
        },
        62 => {
            let (closes, writes) = (random.per_mille(500), 1 + random.below(12));
            Fault::OperationCut { edge, sale, closes, writes }
        }
        63 => Fault::OldMasterWakes(second),
        64 => Fault::SaleReopened(Box::new(Sale::follows(random, &shape.sales[sale]))),
        65 => Fault::TransactionOpen,
        66 => Fault::SaleReplaced(sale, 5 + random.below(40)),
        67 => {
            let what = [Stray::Garbage, Stray::WrongTotal, Stray::Copy(random.bits() >> 32)];
            Fault::Stray(random.below(12) as usize, what[random.below(3) as usize])
        }
        68 => Fault::CutWorkerRedis(worker),
        69 => Fault::SlowEdgeRedis(edge, second),
        unknown => unreachable!("there is no fault of number {unknown}"),
    }
}

fn produce_fault(random: &mut Random) -> ProduceFault {
    match random.below(5) {
        0 => ProduceFault::Refuse([19, 6, 5, 56][random.below(4) as usize]),
        1 => ProduceFault::AppendAndSay([20, 7, -1][random.below(3) as usize]),
        2 => ProduceFault::LoseAnswer,
        3 => ProduceFault::Delay(Duration::from_millis(random.below(8000))),
        _ => ProduceFault::Refuse(45),
    }
}

impl Fault {
    /// Whether somebody may see a replica of Redis by it.
    pub fn is_of_replicas(&self) -> bool {
        matches!(
            self,
            Fault::ReplicaAttached | Fault::RedisFailedOver(_) | Fault::RedisThereAndBack(_) | Fault::OldMasterWakes(_)
        )
    }

    /// Whether Redis may know nothing of a sale behind it.
    pub fn loses_a_sale(&self) -> bool {
        matches!(self, Fault::RedisEmptied | Fault::RedisFlushed | Fault::KeyDeleted(_) | Fault::KeySpoilt(_))
    }

    /// Whether it is somebody who stands still, or is cut off, and goes on where they were.
    pub(super) fn may_outlast_a_rebuild(&self) -> bool {
        matches!(
            self,
            Fault::EdgePaused(..)
                | Fault::WorkerPaused(..)
                | Fault::TransactionOpen
                | Fault::CutWorkerRedis(_)
                | Fault::CutWorkerLedger(_)
                | Fault::BrokerPaused(_)
        )
    }

    /// Whether a core may be late by it in telling whom it has sent to a line, or may never tell.
    pub(super) fn delays_reports(&self) -> bool {
        !matches!(
            self,
            Fault::WorkerKilled(_)
                | Fault::WorkerPaused(..)
                | Fault::WorkerStopped(_)
                | Fault::BrokerDown(_)
                | Fault::BrokerPaused(_)
                | Fault::LeaderMoved(_)
                | Fault::ReplicationSlow(_)
                | Fault::ProduceSpoilt(_)
                | Fault::RecordRefused(..)
                | Fault::ProducersForgotten
                | Fault::GroupLost
                | Fault::FetchDamaged
                | Fault::PartitionsAdded(_)
                | Fault::TransactionOpen
                | Fault::Stray(..)
                | Fault::LedgerKilled
                | Fault::LedgerStopped
                | Fault::LedgerPaused
                | Fault::LedgerSessionsEnded
                | Fault::CommitFails(_)
                | Fault::StatementFails(_)
                | Fault::LoginsRefused(_)
                | Fault::DiskFull
                | Fault::LedgerStandby
                | Fault::CutWorkerLedger(_)
                | Fault::CutWorkerKafka(..)
                | Fault::CutWorkerRedis(_)
                | Fault::SaleClosed(_)
                | Fault::SaleReopened(_)
                | Fault::SaleReplaced(..)
        )
    }

    /// How long edges may go on after it: what only their looks see is noticed within a second.
    pub(super) fn noticed_within(&self) -> Duration {
        match self {
            Fault::KeyDeleted(key) | Fault::KeySpoilt(key) if is_seen_by_looks_only(key) => Duration::from_millis(1200),
            _ => Duration::ZERO,
        }
    }

    /// The sales that may not be believed from when it begins (or ends), because Redis has lost something of them.
    pub(super) fn distrusts(&self, run: &Run, begins: bool) -> Vec<usize> {
        let redis = run.redis.borrow();
        match self {
            Fault::RedisEmptied | Fault::RedisRolledBack(_) => (0..run.shape.sales.len()).collect(),
            Fault::RedisFailedOver(_) | Fault::RedisFlushed | Fault::OldMasterWakes(_) if begins => {
                (0..run.shape.sales.len()).collect()
            }
            Fault::RedisThereAndBack(_) if begins && !redis.is_replica() && !redis.has_crashed() => {
                (0..run.shape.sales.len()).collect()
            }
            // A suspended sale's stock is nobody's to believe: the rebuild that lets it go on sets it.
            Fault::KeyDeleted("stock") | Fault::KeySpoilt("stock") if is_suspended(&redis, &run.shape) => Vec::new(),
            // A sale without a fair queue has neither of these keys: nothing of it is lost.
            Fault::KeyDeleted(key) | Fault::KeySpoilt(key) if is_of_lines(key) && !is_fair(&redis, &run.shape) => {
                Vec::new()
            }
            // Only a look notices these, and a Redis that refuses commands answers none.
            Fault::KeyDeleted(key) | Fault::KeySpoilt(key)
                if is_seen_by_looks_only(key) && redis.limits() != Limits::default() =>
            {
                Vec::new()
            }
            Fault::KeyDeleted(_) | Fault::KeySpoilt(_) if begins => vec![0],
            _ => Vec::new(),
        }
    }

    /// It happens.
    pub fn begin(&self, run: &mut Run) {
        let now = run.world.now();
        let (redis, kafka) = (std::rc::Rc::clone(&run.redis), std::rc::Rc::clone(&run.kafka));
        let product = |run: &Run, sale: usize| run.shape.sales[sale].product.clone();
        match self {
            Fault::EdgeKilled(edge) => run.world.kill(run.edges[*edge].process),
            Fault::EdgePaused(edge, writes) => {
                let process = run.edges[*edge].process;
                run.await_writes(process, *writes);
                run.world.pause(process, true);
                let from_us = run.world.now().instant.as_micros();
                run.pauses.push(Pause { edge: *edge, from_us, to_us: u64::MAX });
            }
            Fault::EdgeDrained(edge) => drop(run.edges[*edge].control.drain()),
            Fault::EdgeClock(edge, offset) => run.world.set_wall_offset(run.edges[*edge].process, *offset),
            Fault::WorkerKilled(worker) => run.world.kill(run.workers[*worker].process),
            Fault::WorkerPaused(worker, writes) => {
                let process = run.workers[*worker].process;
                run.await_writes(process, *writes);
                run.world.pause(process, true);
            }
            Fault::WorkerStopped(worker) => run.workers[*worker].stop.notify(),
            Fault::RedisPaused => redis.borrow_mut().pause(),
            Fault::RedisAway => {
                redis.borrow_mut().stop_listening();
                redis.borrow_mut().close_connections();
            }
            Fault::RedisReset => run.everyone().iter().for_each(|name| run.world.reset(name, "redis:6379")),
            Fault::RedisSlow(by) => run.everyone().iter().for_each(|name| run.world.slow(name, "redis:6379", *by)),
            Fault::RedisLimited(state) => redis.borrow_mut().set_limits(Limits {
                out_of_memory: *state == "oom",
                misconfigured: *state == "misconf",
                loading: *state == "loading",
                busy: *state == "busy",
            }),
            Fault::ScriptsFlushed => redis.borrow_mut().flush_scripts(),
            Fault::RedisClock(offset) => redis.borrow_mut().set_clock_offset_ms(*offset),
            Fault::ReplicaAttached => redis.borrow_mut().attach_replica(),
            Fault::RedisEmptied | Fault::RedisRolledBack(_) => redis.borrow_mut().crash(now),
            Fault::RedisFailedOver(missed) => redis.borrow_mut().fail_over(now, *missed),
            Fault::RedisThereAndBack(missed) => {
                if !redis.borrow().is_replica() && !redis.borrow().has_crashed() {
                    redis.borrow_mut().demote(now, *missed);
                }
            }
            Fault::RedisFlushed => redis.borrow_mut().flushall(now),
            Fault::KeyDeleted(key) => {
                let key = redis.borrow().key(&product(run, 0), key);
                redis.borrow_mut().delete(now, &key);
            }
            Fault::KeySpoilt(key) => {
                let key = redis.borrow().key(&product(run, 0), key);
                redis.borrow_mut().put_wrong_type(now, &key);
            }
            Fault::BrokerDown(node) => kafka.borrow_mut().stop(now, *node),
            Fault::BrokerPaused(node) => kafka.borrow_mut().pause(now, *node),
            Fault::LeaderMoved(partition) => kafka.borrow_mut().move_leader(now, *partition),
            Fault::ProduceSpoilt(faults) => kafka.borrow_mut().spoil_produce(faults.iter().copied()),
            Fault::RecordRefused(user, code) => {
                kafka.borrow_mut().poison(format!("\"userId\":\"{user}").as_bytes(), *code);
            }
            Fault::ReplicationSlow(by) => kafka.borrow_mut().slow_replication(*by),
            Fault::ProducersForgotten => kafka.borrow_mut().forget_producers(),
            Fault::GroupLost => kafka.borrow_mut().lose_group(),
            Fault::FetchDamaged => kafka.borrow_mut().damage_next_fetch(),
            Fault::PartitionsAdded(count) => kafka.borrow_mut().grow(now, *count),
            Fault::LedgerKilled => run.postgres.borrow_mut().kill(now),
            Fault::LedgerStopped => run.postgres.borrow_mut().stop(now),
            Fault::LedgerPaused => run.postgres.borrow_mut().pause(),
            Fault::LedgerSessionsEnded => run.postgres.borrow_mut().terminate_sessions(now),
            Fault::CommitFails(fault) => run.postgres.borrow_mut().fail_next_commit(*fault),
            Fault::StatementFails(code) => run.postgres.borrow_mut().fail_next_statement(None, *code),
            Fault::LoginsRefused(code) => {
                run.postgres.borrow_mut().refuse_logins(*code, now.instant + FAULT_MAX);
                run.postgres.borrow_mut().terminate_sessions(now);
            }
            Fault::DiskFull => run.postgres.borrow_mut().set_disk_full(true),
            Fault::LedgerStandby => run.postgres.borrow_mut().set_standby(true),
            Fault::CutWorkerLedger(worker) => run.world.cut(&format!("worker-{worker}"), LEDGER),
            Fault::SlowEdgeRedis(edge, by) => run.world.slow(&format!("edge-{edge}"), "redis:6379", *by),
            Fault::SlowEdgeKafka(edge, node, by) => run.world.slow(&format!("edge-{edge}"), &broker(*node), *by),
            Fault::CutEdgeRedis(edge) => run.world.cut(&format!("edge-{edge}"), "redis:6379"),
            Fault::CutEdgeKafka(edge, node) => run.world.cut(&format!("edge-{edge}"), &broker(*node)),
            Fault::CutWorkerKafka(worker, node) => run.world.cut(&format!("worker-{worker}"), &broker(*node)),
            Fault::CutWorkerRedis(worker) => run.world.cut(&format!("worker-{worker}"), "redis:6379"),
            Fault::KafkaReset(node) => run.everyone().iter().for_each(|name| run.world.reset(name, &broker(*node))),
            Fault::SaleClosed(sale) => {
                let body = format!(r#"{{"productId":"{}"}}"#, product(run, *sale));
                run.tell("/close", body);
            }
            Fault::SaleRebuilt(sale) => {
                let product = product(run, *sale);
                run.begin_rebuild(&product);
            }
            Fault::RebuildKilled(sale, at) => {
                let product = product(run, *sale);
                run.begin_rebuild(&product);
                run.kill_rebuild(&product, *at);
            }
            Fault::TransactionOpen => {
                let partitions = kafka.borrow().ends().len();
                (0..partitions).for_each(|partition| kafka.borrow_mut().open_transaction(partition));
            }
            // What Redis has lost is rebuilt first: an edge that was started since knows of nothing that it could refuse.
            Fault::SaleReplaced(sale, _) if run.is_distrusted(&product(run, *sale)) => {}
            Fault::SaleReplaced(sale, quantity) => {
                let body = Run::opening(&run.shape.sales[*sale], *quantity, true);
                run.tell("/init", body);
            }
            Fault::SaleReopened(sale) if run.is_distrusted(&sale.product) => {}
            Fault::SaleReopened(sale) => run.tell("/init", Run::opening(sale, sale.quantity, true)),
            Fault::OperationCut { sale, closes: false, .. } if run.is_distrusted(&product(run, *sale)) => {}
            Fault::OperationCut { edge, sale, closes, writes } => {
                let (path, body) = match closes {
                    true => ("/close", format!(r#"{{"productId":"{}"}}"#, product(run, *sale))),
                    false => ("/init", Run::opening(&run.shape.sales[*sale], CUT_OPENING_UNITS, true)),
                };
                let process = run.edges[*edge].process;
                let until = run.world.writes(process) + writes;
                if run.world.is_alive(process) {
                    drop(operator::start_post(&mut run.world, &format!("edge-{edge}"), path, &body));
                    run.world.kill_when(process, Duration::from_millis(500), |writes| writes >= until);
                }
            }
            Fault::BacklogReleased => {
                redis.borrow_mut().detach_replicas();
                redis.borrow_mut().release_backlog();
            }
            Fault::Stray(partition, stray) => run.write_stray(*partition, *stray),
            Fault::OldMasterWakes(missed) => {
                redis.borrow_mut().fail_over_beside(now, *missed);
                for sale in run.shape.sales.clone() {
                    run.begin_rebuild(&sale.product);
                }
            }
        }
        ["redis", HOST, "postgres"].iter().for_each(|host| run.world.stir(host));
    }

    /// It is over: whatever was stopped, cut or limited goes on.
    pub fn end(&self, run: &mut Run) {
        let now = run.world.now();
        let (redis, kafka) = (std::rc::Rc::clone(&run.redis), std::rc::Rc::clone(&run.kafka));
        match self {
            Fault::EdgeKilled(edge) | Fault::EdgeDrained(edge) | Fault::OperationCut { edge, .. } => {
                run.restart_edge(*edge);
            }
            Fault::EdgePaused(edge, _) => {
                run.world.pause(run.edges[*edge].process, false);
                for pause in run.pauses.iter_mut().filter(|pause| pause.edge == *edge && pause.to_us == u64::MAX) {
                    pause.to_us = now.instant.as_micros();
                }
            }
            Fault::EdgeClock(edge, _) => run.world.set_wall_offset(run.edges[*edge].process, 0),
            Fault::WorkerKilled(worker) | Fault::WorkerStopped(worker) => run.restart_worker(*worker),
            Fault::WorkerPaused(worker, _) => run.world.pause(run.workers[*worker].process, false),
            Fault::RedisPaused => redis.borrow_mut().resume(now),
            Fault::RedisAway if !redis.borrow().has_crashed() => redis.borrow_mut().listen(),
            Fault::RedisSlow(_) => {
                run.everyone().iter().for_each(|name| run.world.slow(name, "redis:6379", Duration::ZERO));
            }
            Fault::RedisLimited(_) => redis.borrow_mut().set_limits(Limits::default()),
            Fault::RedisEmptied => redis.borrow_mut().restart_empty(),
            Fault::RedisRolledBack(lost) => redis.borrow_mut().restart_from_disk(now, *lost),
            Fault::RedisThereAndBack(_) if redis.borrow().is_replica() => redis.borrow_mut().promote(),
            Fault::OldMasterWakes(_) => {
                redis.borrow_mut().wake_old_master();
                run.old_master_woke();
            }
            Fault::BrokerDown(node) => kafka.borrow_mut().start(now, *node),
            Fault::BrokerPaused(node) => kafka.borrow_mut().resume(now, *node),
            Fault::ProduceSpoilt(_) => kafka.borrow_mut().spoil_no_produce(),
            Fault::RecordRefused(..) => kafka.borrow_mut().refuse_nothing(),
            Fault::ReplicationSlow(_) => kafka.borrow_mut().slow_replication(Duration::ZERO),
            Fault::LedgerKilled | Fault::LedgerStopped => {
                run.postgres.borrow_mut().start(now, Duration::from_millis(500));
            }
            Fault::TransactionOpen => {
                let partitions = kafka.borrow().ends().len();
                (0..partitions).for_each(|partition| kafka.borrow_mut().end_transaction(now, partition));
            }
            Fault::LedgerPaused => run.postgres.borrow_mut().resume(now),
            Fault::LoginsRefused(code) => run.postgres.borrow_mut().refuse_logins(*code, now.instant),
            Fault::DiskFull => run.postgres.borrow_mut().set_disk_full(false),
            Fault::LedgerStandby => run.postgres.borrow_mut().set_standby(false),
            Fault::CutWorkerLedger(worker) => run.world.mend(&format!("worker-{worker}"), LEDGER),
            Fault::SlowEdgeRedis(edge, _) => run.world.slow(&format!("edge-{edge}"), "redis:6379", Duration::ZERO),
            Fault::SlowEdgeKafka(edge, node, _) => {
                run.world.slow(&format!("edge-{edge}"), &broker(*node), Duration::ZERO);
            }
            Fault::CutEdgeRedis(edge) => run.world.mend(&format!("edge-{edge}"), "redis:6379"),
            Fault::CutEdgeKafka(edge, node) => run.world.mend(&format!("edge-{edge}"), &broker(*node)),
            Fault::CutWorkerKafka(worker, node) => run.world.mend(&format!("worker-{worker}"), &broker(*node)),
            Fault::CutWorkerRedis(worker) => run.world.mend(&format!("worker-{worker}"), "redis:6379"),
            _ => {}
        }
        ["redis", HOST, "postgres"].iter().for_each(|host| run.world.stir(host));
    }
}

/// Keys that no order reads: a look misses them, and what asks for tokens.
fn is_seen_by_looks_only(key: &str) -> bool {
    matches!(key, "rate" | "sales" | "queue")
}

/// Keys that sales with a fair queue have, and no others.
fn is_of_lines(key: &str) -> bool {
    matches!(key, "queue" | "turns")
}

/// Whether the first product's sale, as Redis has it now, has a fair queue: one may have been opened in the place of another.
fn is_fair(redis: &Redis, shape: &Shape) -> bool {
    redis.sale(&shape.sales[0].product).is_some_and(|fields| fields.get("queue").is_some_and(|queue| queue == "fair"))
}

/// Whether the first sale is, in Redis.
fn is_suspended(redis: &Redis, shape: &Shape) -> bool {
    redis
        .sale(&shape.sales[0].product)
        .is_some_and(|fields| fields.get("state").is_some_and(|state| state == "suspended"))
}

fn broker(node: usize) -> String {
    format!("{HOST}:{}", PORT + node as u16)
}
