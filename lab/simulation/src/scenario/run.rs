//! One run, from an empty world to a quiet one.
//!
//! ```text
//! servers, workers, edges ─▶ sales opened ─▶ crowd and faults ─▶ everything mended ─▶ suspended sales rebuilt
//!      ─▶ every buyer has his last word, every order its place ─▶ verdict
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use flux_edge::counters::ORDER_OUTCOMES;
use flux_edge::limits::RECORDS_MAX;
use flux_lab::crowd::History;
use flux_net::simulated::Task;
use flux_protocol::observed;
use flux_protocol::order::{Record, Uuid};
use flux_protocol::rare;
use serde_json::json;

use super::distrust::Distrust;
use super::faults::{Fault, Stray};
use super::mend::{Alarm, Rebuild};
use super::observers::Observers;
use super::patience::Pause;
use super::shape::{Bounds, START, Sale, Shape};
use crate::crowd::{Crowd, buy, look};
use crate::edge::{self, Edge};
use crate::kafka::{HOST, Kafka};
use crate::operator;
use crate::postgres::{Pace, Postgres};
use crate::random::Random;
use crate::redis::Redis;
use crate::worker::{self, Worker};
use crate::world::{ProcessId, World};

/// The topic's name, the programs' default.
const TOPIC: &str = "orders";
/// The first moment of the world, milliseconds since the Unix epoch.
pub(super) const EPOCH_MS: u64 = 1_705_234_700_000;
/// How often the operator looks meanwhile.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long anybody may take to write to a socket who is to stand still when they have.
const WRITES_WITHIN: Duration = Duration::from_millis(500);

impl Sale {
    /// When it opens, milliseconds since the Unix epoch; `None`: from the start.
    pub(super) fn opens_at(&self) -> Option<u64> {
        (!self.opens_after.is_zero()).then(|| EPOCH_MS + self.opens_after.as_millis() as u64)
    }
}

/// See the module.
pub struct Run {
    /// What was drawn.
    pub shape: Shape,
    /// Where it happens.
    pub world: World,
    /// The one Redis.
    pub redis: Rc<RefCell<Redis>>,
    /// All brokers.
    pub kafka: Rc<RefCell<Kafka>>,
    /// The ledger's server.
    pub postgres: Rc<RefCell<Postgres>>,
    /// Edges, the latest of each place.
    pub edges: Vec<Edge>,
    /// Workers, the latest of each place.
    pub workers: Vec<Worker>,
    /// Who buys.
    pub crowd: Rc<Crowd>,
    pub(super) distrust: BTreeMap<String, Distrust>,
    /// How many rebuilds that have let a sale go on `distrust` knows of.
    pub(super) restored_noted: usize,
    /// Redis lost data at some time.
    pub(super) lost_data: bool,
    /// A Redis that had been given up took its successor's place.
    pub(super) old_master_woke: bool,
    /// Spans in which an edge stood still.
    pub(super) pauses: Vec<Pause>,
    pub(super) observers: Observers,
    /// What the operator could not bring about.
    pub(super) troubles: Vec<String>,
    pub(super) rebuilds: u32,
    pub(super) under_way: Vec<Rebuild>,
    pub(super) failed_rebuilds: BTreeMap<String, String>,
    /// By product, what the operator says beside its name to the next rebuild, because the last one has asked.
    pub(super) answers: BTreeMap<String, Vec<String>>,
    /// How long the world was let go on until a rebuild died.
    pub(super) waited_for_deaths: Duration,
    /// Of each product what an operator has seen of it who rebuilds at once.
    pub(super) alarms: BTreeMap<String, Alarm>,
    /// Reservations that nobody had when all was quiet.
    pub(super) unsettled: Vec<String>,
    random: Random,
}

impl Run {
    /// A world that was just started.
    pub fn new(seed: u64) -> Run {
        let mut random = Random::new(seed);
        let shape = Shape::draw(&mut random.fork());
        Run::of(shape, random)
    }

    /// The same with a shape of one's own.
    pub fn of(shape: Shape, mut random: Random) -> Run {
        drop(observed::tokens());
        rare::allow(&shape.rares, random.clone().bits());
        let redis = Rc::new(RefCell::new(Redis::new(6379, random.fork())));
        let kafka = Rc::new(RefCell::new(Kafka::new(shape.nodes, TOPIC, 0, random.fork())));
        let postgres = Rc::new(RefCell::new(Postgres::new(random.fork(), Pace::default())));
        let mut world = World::new(random.fork(), EPOCH_MS);
        redis.borrow_mut().expect_outbox_orders_max(shape.bounds.outbox_orders_max);
        world.add_peer("redis", Rc::<RefCell<Redis>>::clone(&redis));
        world.add_peer(HOST, Rc::<RefCell<Kafka>>::clone(&kafka));
        world.add_peer("postgres", Rc::<RefCell<Postgres>>::clone(&postgres));
        let doors =
            shape.edges.iter().enumerate().flat_map(|(edge, cores)| {
                (0..*cores).map(move |core| (format!("edge-{edge}"), edge::PORT + core as u16))
            });
        let crowd = Crowd::new(doors.collect(), Rc::clone(&kafka));
        let mut run = Run {
            world,
            redis,
            kafka,
            postgres,
            edges: Vec::new(),
            workers: Vec::new(),
            crowd,
            distrust: BTreeMap::new(),
            restored_noted: 0,
            lost_data: false,
            old_master_woke: false,
            pauses: Vec::new(),
            observers: Observers::default(),
            troubles: Vec::new(),
            rebuilds: 0,
            under_way: Vec::new(),
            failed_rebuilds: BTreeMap::new(),
            answers: BTreeMap::new(),
            waited_for_deaths: Duration::ZERO,
            alarms: BTreeMap::new(),
            unsettled: Vec::new(),
            random,
            shape,
        };
        for worker in 0..run.shape.workers {
            let started = run.start_worker(worker);
            run.workers.push(started);
        }
        for edge in 0..run.shape.edges.len() {
            let started = run.start_edge(edge);
            run.edges.push(started);
        }
        run.world.run_for(START);
        run
    }

    fn start_edge(&mut self, edge: usize) -> Edge {
        let Bounds { redis_deadline, publish_deadline, outbox_orders_max, .. } = self.shape.bounds;
        let flags = [
            "--rate=0".to_owned(),
            format!("--redis-deadline={}ms", redis_deadline.as_millis()),
            format!("--publish-deadline={}ms", publish_deadline.as_millis()),
            format!("--outbox-orders-max={outbox_orders_max}"),
        ];
        let (cores, ttl) = (self.shape.edges[edge], self.shape.idempotency_ttl);
        edge::start(&mut self.world, &format!("edge-{edge}"), cores, &flags, ttl)
    }

    fn start_worker(&mut self, worker: usize) -> Worker {
        let rebuild = if self.shape.rebuilds_by_itself { "auto" } else { "off" };
        let Bounds { batch_orders, batch_wait, .. } = self.shape.bounds;
        let flags = [
            format!("--topic-partitions={}", self.shape.partitions),
            format!("--rebuild={rebuild}"),
            format!("--batch-orders={batch_orders}"),
            format!("--batch-wait={}ms", batch_wait.as_millis()),
        ];
        worker::start(&mut self.world, &format!("worker-{worker}"), &flags, self.shape.idempotency_ttl)
    }

    /// A new edge in the place of an old one, which is gone then if it was not yet.
    pub(super) fn restart_edge(&mut self, edge: usize) {
        self.world.kill(self.edges[edge].process);
        self.edges[edge] = self.start_edge(edge);
    }

    /// The same for a worker.
    pub(super) fn restart_worker(&mut self, worker: usize) {
        self.world.kill(self.workers[worker].process);
        self.workers[worker] = self.start_worker(worker);
    }

    /// Names of all programs, as the network knows them.
    pub(super) fn everyone(&self) -> Vec<String> {
        let edges = (0..self.shape.edges.len()).map(|edge| format!("edge-{edge}"));
        edges.chain((0..self.shape.workers).map(|worker| format!("worker-{worker}"))).collect()
    }

    /// The body that opens a sale.
    pub(super) fn opening(sale: &Sale, quantity: u64, force: bool) -> String {
        let mut body = json!({ "productId": sale.product, "quantity": quantity, "rate": sale.rate, "force": force });
        if sale.rate > 0 {
            body["burst"] = sale.burst.into();
        }
        if sale.per_user > 0 {
            body["perUser"] = sale.per_user.into();
        }
        if sale.is_fair {
            body["queue"] = "fair".into();
        }
        if let Some(at) = sale.opens_at() {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at);
            body["opensAt"] = humantime::format_rfc3339_millis(at).to_string().into();
        }
        body.to_string()
    }

    /// Says something to some edge that is there, without waiting for what comes of it.
    pub(super) fn tell(&mut self, path: &str, body: String) {
        let edge = self.random.below(self.shape.edges.len() as u64);
        drop(operator::start_post(&mut self.world, &format!("edge-{edge}"), path, &body));
    }

    /// Opens the sales; returns when all are open.
    fn open(&mut self) {
        for sale in self.shape.sales.clone() {
            let body = Run::opening(&sale, sale.quantity, false);
            for _ in 0..20 {
                let told = operator::post(&mut self.world, "edge-0", "/init", &body);
                if told.is_some_and(|(status, _)| status == 200) {
                    break;
                }
                self.world.run_for(LOOK);
            }
        }
    }

    fn let_in(&mut self) {
        let crowd = Rc::clone(&self.crowd);
        let mut random = self.random.fork();
        let Shape { buyers, lookers, .. } = self.shape.clone();
        self.world.start("crowd", || {
            let mut tasks: Vec<Task> = Vec::new();
            for buyer in buyers {
                tasks.push(Box::pin(buy(Rc::clone(&crowd), buyer, random.fork())));
            }
            for looker in lookers {
                tasks.push(Box::pin(look(Rc::clone(&crowd), looker, random.fork())));
            }
            tasks
        });
    }

    /// All of it.
    pub fn go(&mut self) {
        self.open();
        self.let_in();
        self.let_things_happen();
        self.settle();
        if self.settle_what_was_replaced() {
            self.settle();
        }
        self.note_restored();
        self.note_unsettled();
        self.note_behind();
    }

    fn let_things_happen(&mut self) {
        let mut steps: Vec<(Duration, bool, Fault)> = Vec::new();
        for planned in &self.shape.faults {
            steps.push((planned.at, true, planned.fault.clone()));
            steps.push((planned.at + planned.lasts, false, planned.fault.clone()));
        }
        steps.sort_by_key(|(at, ..)| *at);
        let began = self.world.now().instant;
        for (at, begins, fault) in steps {
            let passed = self.world.now().instant.since(began);
            self.pass_watched(at.saturating_sub(passed));
            self.note_restored();
            for sale in fault.distrusts(self, begins) {
                self.distrust(sale, fault.noticed_within());
            }
            if begins {
                fault.begin(self);
            } else {
                fault.end(self);
            }
        }
        let passed = self.world.now().instant.since(began);
        self.pass_watched(self.shape.unrest.saturating_sub(passed));
    }

    /// Lets time pass in which the operator may rebuild, whatever else goes wrong still.
    fn pass_watched(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let some = left.min(LOOK);
            self.pass(some);
            left -= some;
            self.note_rebuilds();
            if self.shape.rebuilds_at_once {
                self.rebuild_what_is_suspended();
            }
        }
    }

    /// Lets time pass until a process has written so many times more to a socket, but not for long.
    pub(super) fn await_writes(&mut self, process: ProcessId, writes: u64) {
        if writes > 0 {
            let until = self.world.writes(process) + writes;
            self.world.await_writes(process, until, WRITES_WITHIN);
        }
    }

    /// Lets time pass, and looks now and then at what everybody believes.
    pub(super) fn pass(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let some = left.min(LOOK);
            self.world.run_for(some);
            left -= some;
            let now_us = self.world.now().instant.as_micros();
            self.observers.look(now_us, &self.edges, &self.postgres.borrow());
        }
    }

    /// From now on this sale may not be believed, until it is rebuilt.
    fn distrust(&mut self, sale: usize, noticed_within: Duration) {
        self.lost_data = true;
        let at_us = self.world.now().instant.as_micros();
        let product = self.shape.sales[sale].product.clone();
        self.distrust.entry(product).or_default().note_loss(at_us, noticed_within);
    }

    /// Whether Redis has lost something of this product and was not rebuilt since.
    pub(super) fn is_distrusted(&self, product: &str) -> bool {
        self.distrust.get(product).is_some_and(|distrust| distrust.first_open().is_some())
    }

    /// A Redis that had been given up took its successor's place: it has lost nothing of its own. Whether its successor had
    /// been rebuilt by then is not looked at.
    pub(super) fn old_master_woke(&mut self) {
        self.old_master_woke = true;
        self.distrust.values_mut().for_each(Distrust::forget);
    }

    /// What edges hold of orders that were all answered long ago: nothing, once all is quiet.
    pub(super) fn held_by_edges(&self) -> Vec<String> {
        let mut held = Vec::new();
        for (place, edge) in self.edges.iter().enumerate().filter(|(_, edge)| self.world.is_alive(edge.process)) {
            for (core, counters) in edge.counters.iter().enumerate() {
                let of = &counters.decisions;
                // A core that has just started has not counted yet.
                let records = (RECORDS_MAX as u64).saturating_sub(of.producer_room.get()) % RECORDS_MAX as u64;
                let counts =
                    [of.orders_pending.get(), records, of.queues.awaiting_token.get(), of.queues.awaiting_status.get()];
                if counts != [0; 4] {
                    held.push(format!(
                        "core {core} of edge {place} holds {counts:?}: orders, records, some that wait for tokens, some for a status"
                    ));
                }
            }
        }
        held
    }

    /// How often each core has said what to orders, in words.
    pub(super) fn said_by_edges(&self) -> String {
        let mut said = Vec::new();
        for (place, edge) in self.edges.iter().enumerate() {
            for (core, counters) in edge.counters.iter().enumerate() {
                let outcomes = ORDER_OUTCOMES.iter().zip(&counters.decisions.orders);
                let counts = outcomes.filter(|(_, count)| count.get() > 0);
                let counts: Vec<String> = counts.map(|(name, count)| format!("{name} {}", count.get())).collect();
                said.push(format!("edge-{place}/{core}: {}", counts.join(", ")));
            }
        }
        said.join("; ")
    }

    /// Everybody served, the outbox empty, the topic stored, and nothing left in the hands of an edge.
    pub(super) fn is_quiet(&self) -> bool {
        self.unrest().is_none()
    }

    /// What is not quiet yet, in words.
    pub(super) fn unrest(&self) -> Option<String> {
        let redis = self.redis.borrow();
        if self.crowd.under_way.get() > 0 {
            return Some(format!("{} buyers have not had their last word", self.crowd.under_way.get()));
        }
        for sale in &self.shape.sales {
            match redis.outbox(&sale.product) {
                Ok(entries) if entries.is_empty() => {}
                entries => return Some(format!("the outbox of {} holds {entries:?}", sale.product)),
            }
        }
        if !super::truth::is_stored(&self.kafka.borrow(), &self.postgres.borrow()) {
            return Some("the ledger has not stored all of the topic".to_owned());
        }
        if self.postgres.borrow().returns().any(|row| row.state == "pending") {
            return Some("units wait to be given back".to_owned());
        }
        self.held_by_edges().pop()
    }

    /// Whether an operator puts one sale in another's place: a key is good for one sale only.
    pub(super) fn replaces_sales(&self) -> bool {
        let replaces = |fault: &Fault| {
            let is_opening = matches!(fault, Fault::OperationCut { closes: false, .. });
            is_opening || matches!(fault, Fault::SaleReplaced(..) | Fault::SaleReopened(_))
        };
        self.shape.faults.iter().any(|planned| replaces(&planned.fault))
    }

    /// Whether something happens to a bucket of tokens or to the clocks by which it is judged.
    pub(super) fn tampers_with_rates(&self) -> bool {
        self.replaces_sales()
            || self.rebuilds > 0
            || self.shape.faults.iter().any(|planned| {
                matches!(
                    planned.fault,
                    Fault::RedisClock(_) | Fault::EdgeClock(..) | Fault::EdgePaused(..) | Fault::RedisPaused
                )
            })
    }

    /// Somebody writes into the topic.
    pub(super) fn write_stray(&mut self, partition: usize, stray: Stray) {
        let records = self.kafka.borrow().records();
        let value = match stray {
            Stray::Garbage => b"{\"orderId\":\"no".to_vec(),
            Stray::Copy(number) if !records.is_empty() => {
                let at = number as usize % records.len();
                records[at].2.to_vec()
            }
            Stray::Copy(_) => return,
            Stray::WrongTotal => {
                // Before the ledger was told of a sale whoever may write may say what they like of it (GUARANTEES.md).
                let postgres = self.postgres.borrow();
                let Some(sale) = postgres.sales().find(|row| row.opened_at.is_some()) else { return };
                let number = self.random.bits();
                let id = |tail: &str| Uuid::parse(format!("{:08x}-0000-8000-8000-{tail}", number >> 32).as_bytes());
                let (Some(order_id), Some(reservation_id)) = (id("00000000000a"), id("00000000000b")) else { return };
                let record = Record {
                    order_id,
                    reservation_id,
                    product_id: &sale.product_id,
                    user_id: "stranger",
                    quantity: 1,
                    sale_id: sale.sale_id as u64,
                    sale_total: sale.total as u64 + 7,
                    generation: sale.generation as u32,
                    timestamp: EPOCH_MS,
                };
                let mut value = Vec::new();
                record.write_json(&mut value);
                value
            }
        };
        let now = self.world.now();
        self.kafka.borrow_mut().write_stray(now, partition, &value);
    }

    /// What the crowd was told.
    pub fn history(&self) -> History {
        self.crowd.history.borrow().clone()
    }
}
