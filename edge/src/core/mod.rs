//! All decisions of one core, as one machine: requests, bytes and time in; answers, bytes and deadlines out.
//!
//! The shell (`shard.rs` and its tasks) owns sockets and clocks and drives this; so does a simulation. Nothing here
//! opens a socket, reads a clock or waits. The story of an order is in `order.rs`; most fields of [`Core`] have a file
//! of their own, which says what they are.

pub mod admission;
pub mod machine;
pub mod operator;
pub mod order;
pub(crate) mod planted;
pub mod reads;
pub(crate) mod relay;
pub mod routes;
pub mod sales;
pub mod schedule;
pub mod servers;
pub mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey, ClusterError};
use flux_protocol::kafka::producer::{Producer, ProducerConfig};
use flux_protocol::order::Uuid;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::resp::Reply;
use flux_protocol::time::{Instant, Now};
use sha2::{Digest, Sha256};

use crate::answer::{Answer, Site, Unavailable};
use crate::core::admission::fair_queue::LineCall;
use crate::core::operator::sale_admin::{OperationIndex, Operations};
use crate::core::reads::order_status::Statuses;
use crate::core::sales::discover::Discovery;
use crate::core::sales::refresh::Refreshes;
use crate::core::sales::registry::Registry;
use crate::core::schedule::{Scheduled, Turns, Work};
use crate::core::servers::broker_clocks::BrokerClocks;
use crate::core::servers::probe::Probe;
use crate::core::servers::server_settings::{Question, ServerSettings};
use crate::core::servers::witness::Witness;
use crate::core::state::board::Board;
use crate::core::state::orders::{OrderIndex, Orders, ReplyTo};
use crate::core::state::outbox::{Entries, EntryIndex};
use crate::core::state::product::ProductIndex;
use crate::core::state::products::Products;
use crate::core::state::reserve_calls::{BatchIndex, LookupIndex, ReserveCalls};
use crate::core::state::shown::Shown;
use crate::core::state::waiting::Waiting;
use crate::core::state::work_queue::WorkQueue;
use crate::counters::Counters;
use crate::limits::{
    BATCH_BYTES_MAX, DEADLINE_TICK, LINGER, PRODUCE_IN_FLIGHT_MAX, PRODUCE_TIME_MAX, RECORD_AGE_MAX, RECORDS_MAX,
    REFRESH_INTERVAL, RELAY_HORIZON_EXTRA, REMOVAL_DELAY_MAX, RESERVED_AGE_MAX,
};
use crate::pages::Pages;
use crate::redis::connection::{ConnectionError, Login, RedisConnection, Step};
use crate::redis::refusals::Refusals;

/// What one core is built with. Validated by `config.rs`.
#[derive(Debug)]
pub struct CoreConfig {
    pub redis: Login,
    /// Kafka brokers to begin with.
    pub kafka: Vec<(String, u16)>,
    /// The topic of accepted orders.
    pub topic: String,
    /// Rate and burst of sales that name none: orders a second, orders.
    pub rate: u64,
    /// See `rate`.
    pub burst: u64,
    /// Life of an idempotency record.
    pub idempotency_ttl: Duration,
    /// Undelivered orders of one product; beyond: 503.
    pub outbox_orders_max: u64,
    /// From reading an order to Redis' answer.
    pub redis_deadline: Duration,
    /// From the reservation to Kafka's acknowledgement; then 202.
    pub publish_deadline: Duration,
    /// Prebuilt pieces of answers.
    pub site: Site,
    /// The origin whose scripts may read answers.
    pub cors_origin: String,
    /// The pages, the same of all cores.
    pub pages: Pages,
    /// What `/init` and `/close` ask for on the public listener. Never shown.
    pub admin_token: Option<Secret>,
    /// The admin listener is not on loopback and asks for the token too.
    pub admin_needs_token: bool,
    /// Names this edge in outbox claims.
    pub edge_id: String,
}

impl CoreConfig {
    /// How long an outbox entry stands before a relay takes it over.
    pub fn relay_horizon(&self) -> Duration {
        self.publish_deadline + RELAY_HORIZON_EXTRA
    }
}

/// A token that is never shown and compared in constant time.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Of the configured text.
    pub fn new(text: &str) -> Secret {
        Secret(text.as_bytes().to_vec())
    }

    /// Whether an `authorization` field carries it as a bearer token (RFC 6750 section 2.1).
    pub fn matches_bearer(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|field| field.split_at_checked(7)) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.is(token.trim_ascii())
    }

    /// Whether `other` is the same; the time it takes tells nothing.
    pub fn is(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        Sha256::digest(&self.0).ct_eq(&Sha256::digest(other)).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a request gets at once.
#[derive(Debug)]
pub enum Outcome {
    Now(Answer),
    /// It comes through [`Core::poll_completion`], exactly once.
    Later,
}

/// What a record handed to the producer stands for.
#[derive(Clone, Copy, Debug)]
pub enum RecordTag {
    /// An order of this core.
    Order {
        /// Gone where it was answered 202 meanwhile.
        order: OrderIndex,
        /// Its outbox entry.
        entry: EntryIndex,
        /// Its place in the entry, from 0.
        place: u8,
    },
    /// An order of an entry that the relay took over.
    Relayed {
        entry: EntryIndex,
        /// The order's place in it, from 0.
        place: u8,
    },
    /// A sale opened or closed.
    Operation(OperationIndex),
}

/// What a call to Redis was for.
#[derive(Debug)]
pub enum PendingCall {
    Reserve(BatchIndex),
    /// Whether orders of sold-out sales have records.
    Lookup(LookupIndex),
    /// A lease of tokens.
    Lease(ProductIndex),
    /// The same where there is a fair queue: a report, and news of the line.
    Line(LineCall),
    /// The document of `GET /queue`.
    Queue(ProductIndex),
    /// A look at products in memory.
    Refresh(Vec<ProductIndex>),
    /// A look at unknown names.
    Discover,
    /// Whether there is a registry, behind a look that did not find some of them.
    RegistryExists,
    /// A page of the registry.
    Registry,
    /// A look at names of the registry that are not in memory.
    Survey,
    /// Taking names out of the registry.
    Forget,
    /// Who Redis is; asked then.
    Identity(Instant),
    /// An outbox walk for the relay.
    Relay(ProductIndex),
    /// How far orders are.
    Status,
    /// Opening a sale.
    Init(OperationIndex),
    /// Adding its name to the registry.
    Register(OperationIndex),
    /// Closing a sale.
    Close(OperationIndex),
    /// Removing records that no repeat can need any more.
    Retire(ProductIndex),
    /// A sign of life.
    Probe,
    /// How Redis is set up.
    Settings(Question),
    /// Moving the undelivered orders of an entry to one of their own.
    SplitEntry,
    /// A command whose reply tells nothing we act on: deletions of entries, names put back in the registry.
    Quiet,
}

impl Scheduled for PendingCall {
    fn work(&self) -> Work {
        match self {
            PendingCall::Reserve(_) => Work::Reserve,
            PendingCall::Lookup(_) => Work::Lookup,
            PendingCall::Lease(_) | PendingCall::Line(_) => Work::Tokens,
            PendingCall::Status => Work::Status,
            PendingCall::Discover | PendingCall::RegistryExists => Work::Discover,
            PendingCall::Refresh(_) => Work::Refresh,
            PendingCall::Queue(_) => Work::Queue,
            PendingCall::Init(_) | PendingCall::Register(_) | PendingCall::Close(_) => Work::Operation,
            PendingCall::Registry
            | PendingCall::Survey
            | PendingCall::Forget
            | PendingCall::Identity(_)
            | PendingCall::Relay(_)
            | PendingCall::Retire(_)
            | PendingCall::Settings(_)
            | PendingCall::SplitEntry
            | PendingCall::Probe
            | PendingCall::Quiet => Work::Upkeep,
        }
    }
}

#[derive(Debug)]
pub struct Core {
    pub(crate) config: Rc<CoreConfig>,
    pub(crate) counters: std::sync::Arc<Counters>,
    /// The first core of an edge relays; the others do not.
    pub(crate) is_first: bool,
    pub(crate) products: Products,
    pub(crate) orders: Orders,
    pub(crate) entries: Entries,
    pub(crate) reserve_calls: ReserveCalls,
    pub(crate) discovery: Discovery,
    pub(crate) statuses: Statuses,
    pub(crate) turns: Turns,
    pub(crate) operations: Operations,
    pub(crate) redis: RedisConnection<PendingCall>,
    redis_failed: Option<ConnectionError>,
    pub(crate) probe: Probe,
    pub(crate) broker_clocks: BrokerClocks,
    pub(crate) shown: Shown,
    pub(crate) refusals: Refusals,
    pub(crate) producer: Producer<RecordTag>,
    settled: Vec<RecordTag>,
    /// Places with the producer promised to orders on their way through Redis.
    pub(crate) promised: usize,
    /// Calls whose replies were lost; they are asked again.
    pub(crate) lost_calls: Vec<BatchIndex>,
    /// Orders by when they were read, for the Redis deadline.
    pub(crate) by_received: VecDeque<(Instant, OrderIndex)>,
    /// Orders by when they were reserved, for the publish deadline.
    pub(crate) by_reserved: VecDeque<(Instant, OrderIndex)>,
    /// Called orders that wait for a token at the door, by when they came there.
    pub(crate) by_held: VecDeque<(Instant, OrderIndex)>,
    /// Products with a fair queue.
    pub(crate) fair_products: Vec<ProductIndex>,
    /// Products that have outbox entries to delete, and since when.
    pub(crate) removals: Vec<ProductIndex>,
    pub(crate) removals_since: Option<Instant>,
    pub(crate) relay_line: WorkQueue,
    pub(crate) retire_line: WorkQueue,
    pub(crate) server_settings: ServerSettings,
    /// Requests, other than orders, that are answered later.
    pub(crate) waiting: Waiting,
    completions: VecDeque<(ReplyTo, Answer)>,
    next_tick: Instant,
    pub(crate) next_refresh: Instant,
    pub(crate) refreshes: Refreshes,
    /// Products that are looked at every second.
    pub(crate) active: Vec<ProductIndex>,
    pub(crate) registry: Registry,
    pub(crate) witness: Witness,
    /// Topics of sales on this Redis that are not this edge's, as far as they were named in the log.
    pub(crate) foreign_topics: Vec<String>,
    nonce: [u8; 8],
    pub(crate) secret: [u8; 32],
    drawn: u64,
    pub(crate) draining: bool,
}

impl Core {
    /// A core that knows nothing yet. `secret` is 32 random bytes of its own: reservation ids and sale seeds come
    /// from it.
    pub fn new(
        config: Rc<CoreConfig>,
        counters: std::sync::Arc<Counters>,
        index: usize,
        secret: [u8; 32],
        now: Now,
    ) -> Core {
        let mut nonce = [0; 8];
        nonce.copy_from_slice(&Sha256::digest(secret)[..8]);
        let producer = ProducerConfig {
            topic: config.topic.clone(),
            bootstrap: config.kafka.clone(),
            client_id: "flux-edge".into(),
            linger: LINGER,
            batch_bytes_max: BATCH_BYTES_MAX,
            in_flight_max: PRODUCE_IN_FLIGHT_MAX,
            request_timeout: config.publish_deadline.min(PRODUCE_TIME_MAX),
            records_max: RECORDS_MAX,
            record_age_max: record_age_max(&config),
            seed: u64::from_le_bytes(nonce),
        };
        let mut producer = Producer::new(producer, now.instant);
        producer.watch_silence();
        Core {
            redis: RedisConnection::new(config.redis.clone(), now.instant),
            config,
            counters,
            is_first: index == 0,
            products: Products::default(),
            orders: Orders::default(),
            entries: Entries::default(),
            reserve_calls: ReserveCalls::default(),
            discovery: Discovery::default(),
            statuses: Statuses::default(),
            turns: Turns::default(),
            operations: Operations::default(),
            redis_failed: None,
            probe: Probe::default(),
            broker_clocks: BrokerClocks::default(),
            shown: Shown::default(),
            refusals: Refusals::default(),
            producer,
            settled: Vec::new(),
            promised: 0,
            lost_calls: Vec::new(),
            by_received: VecDeque::new(),
            by_reserved: VecDeque::new(),
            by_held: VecDeque::new(),
            fair_products: Vec::new(),
            removals: Vec::new(),
            removals_since: None,
            relay_line: WorkQueue::default(),
            retire_line: WorkQueue::default(),
            server_settings: ServerSettings::default(),
            waiting: Waiting::default(),
            completions: VecDeque::new(),
            next_tick: now.instant,
            next_refresh: now.instant,
            refreshes: Refreshes::default(),
            active: Vec::new(),
            registry: Registry::default(),
            witness: Witness::default(),
            foreign_topics: Vec::new(),
            nonce,
            secret,
            drawn: 0,
            draining: false,
        }
    }

    /// The same beside the other cores of a process: what one of them sees of the sales, all know. Before anything is asked
    /// of it.
    #[must_use]
    pub fn beside(mut self, board: std::sync::Arc<Board>) -> Core {
        assert!(self.products.is_empty(), "a core that knows nothing yet");
        self.products = Products::new(board);
        self
    }

    /// The next answer to a request that was told [`Outcome::Later`].
    pub fn poll_completion(&mut self) -> Option<(ReplyTo, Answer)> {
        self.completions.pop_front()
    }

    /// Answers the request that has this ticket, unless it was answered at its deadline.
    pub(crate) fn complete(&mut self, reply_to: ReplyTo, answer: Answer) {
        let is_forgotten = is_planted(Bug::WaiterForgotten) && answer == Answer::Unavailable(Unavailable::Redis);
        if let Some(reply_to) = self.waiting.take(reply_to).filter(|_| !is_forgotten) {
            self.completions.push_back((reply_to, answer));
        }
    }

    /// Requests whose time is up.
    pub(crate) fn expire_waiting(&mut self, now: Now) {
        while let Some(late) = self.waiting.poll_late(now.instant) {
            self.completions.push_back(late);
        }
    }

    /// A reservation id that no other core draws: this core's nonce and a count.
    pub(crate) fn draw_reservation_id(&mut self) -> Uuid {
        self.drawn += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.nonce);
        // The low 60 bits of the count: version and variant take the rest.
        bytes[8..].copy_from_slice(&self.drawn.to_be_bytes());
        Uuid::version_8(bytes)
    }

    /// Prebuilt pieces for [`Answer::write`].
    pub fn site(&self) -> &Site {
        &self.config.site
    }

    /// Whether calls to Redis may be written now.
    pub fn redis_is_ready(&self) -> bool {
        self.redis.is_ready()
    }

    /// For how long Redis could not be asked, or has not answered what it was asked.
    pub fn redis_down_for(&self, now: Now) -> Duration {
        self.redis.down_for(now.instant)
    }

    /// For how long Kafka has taken no records; zero while it does.
    pub fn kafka_down_for(&self, now: Now) -> Duration {
        self.producer.down_for(now.instant)
    }

    /// Whether Kafka takes records now.
    pub fn kafka_is_ready(&self) -> bool {
        self.producer.ready()
    }

    /// No new orders from now on; those under way are completed.
    pub fn drain(&mut self, _now: Now) {
        self.draining = true;
    }

    /// Whether nothing is under way any more.
    pub fn is_drained(&self) -> bool {
        self.orders.is_empty() && self.entries.is_empty() && self.removals.is_empty() && self.operations.is_empty()
    }

    // Redis.

    /// The connection to Redis is there.
    pub fn redis_open(&mut self, now: Now) {
        self.redis.handle_open(now.instant);
    }

    /// Bytes came from Redis; `buffer` holds all that were not read yet.
    ///
    /// # Errors
    /// Close the connection, then say [`Core::redis_closed`].
    pub fn redis_bytes(&mut self, now: Now, buffer: &mut BytesMut) -> Result<(), ConnectionError> {
        loop {
            match self.redis.next(now.instant, buffer)? {
                Step::Nothing => return Ok(()),
                Step::Own => {}
                Step::Opened => self.redis_opened(now),
                Step::Reply(call, reply) => self.redis_reply(now, call, reply),
            }
        }
    }

    fn redis_reply(&mut self, now: Now, call: PendingCall, reply: Reply<'_>) {
        match call {
            PendingCall::Reserve(index) => self.handle_reserved(now, index, reply),
            PendingCall::Lookup(index) => self.handle_looked_up(now, index, Some(reply)),
            PendingCall::Lease(product) => self.handle_lease(now, product, Some(reply)),
            PendingCall::Line(call) => self.handle_line(now, call, Some(reply)),
            PendingCall::Queue(product) => self.handle_queue_reply(product, Some(reply)),
            PendingCall::Refresh(products) => self.handle_refreshed(now, &products, Some(reply)),
            PendingCall::RegistryExists => self.handle_registry_exists(now, Some(reply)),
            PendingCall::Discover => self.handle_discovered(now, Some(reply)),
            PendingCall::Registry => self.handle_registry(now, Some(reply)),
            PendingCall::Survey => self.handle_surveyed(now, Some(reply)),
            PendingCall::Forget => self.handle_forgotten(now, Some(reply)),
            PendingCall::Identity(asked) => self.handle_identity(now, asked, reply),
            PendingCall::Relay(product) => self.handle_relay(now, product, Some(reply)),
            PendingCall::Retire(product) => self.handle_retired(now, product, Some(reply)),
            PendingCall::SplitEntry => self.handle_split(reply),
            PendingCall::Probe => self.handle_probe(now, Some(reply)),
            PendingCall::Settings(question) => self.handle_redis_settings(question, reply),
            PendingCall::Status => self.handle_statuses(Some(reply)),
            PendingCall::Init(operation) => self.handle_init_reply(now, operation, Some(reply)),
            PendingCall::Register(operation) => self.handle_registered(now, operation, Some(reply)),
            PendingCall::Close(operation) => self.handle_close_reply(now, operation, Some(reply)),
            PendingCall::Quiet => {
                if let Err(error) = reply.items() {
                    self.note_error(error);
                }
            }
        }
    }

    /// The login is done: what was lost is asked again, what waited goes out.
    fn redis_opened(&mut self, now: Now) {
        for index in std::mem::take(&mut self.lost_calls) {
            self.repeat_reserve(now, index);
        }
        self.probe_now(now);
        self.next_refresh = now.instant;
        self.suspect_all();
        self.refresh_if_due(now);
        self.ask_redis_settings(now);
    }

    /// The connection to Redis is gone, or could not be made.
    pub fn redis_closed(&mut self, now: Now) {
        let mut lost = Vec::new();
        self.redis.handle_closed(now.instant, |call| lost.push(call));
        self.redis_failed = None;
        self.witness.forget();
        for call in lost {
            match call {
                PendingCall::Reserve(index) => self.lost_calls.push(index),
                PendingCall::Lookup(index) => self.handle_looked_up(now, index, None),
                PendingCall::Lease(product) => self.handle_lease(now, product, None),
                PendingCall::Line(call) => self.handle_line(now, call, None),
                PendingCall::Queue(product) => self.handle_queue_reply(product, None),
                PendingCall::Refresh(products) => self.handle_refreshed(now, &products, None),
                PendingCall::Discover => self.handle_discovered(now, None),
                PendingCall::RegistryExists => self.handle_registry_exists(now, None),
                PendingCall::Relay(product) => self.handle_relay(now, product, None),
                PendingCall::Retire(product) => self.handle_retired(now, product, None),
                PendingCall::Status => self.handle_statuses(None),
                PendingCall::Init(operation) => self.handle_init_reply(now, operation, None),
                PendingCall::Register(operation) => self.handle_registered(now, operation, None),
                PendingCall::Close(operation) => self.handle_close_reply(now, operation, None),
                PendingCall::Probe => self.handle_probe(now, None),
                PendingCall::Registry => self.handle_registry(now, None),
                PendingCall::Survey => self.handle_surveyed(now, None),
                PendingCall::Forget => self.handle_forgotten(now, None),
                PendingCall::Identity(_) | PendingCall::SplitEntry | PendingCall::Settings(_) | PendingCall::Quiet => {}
            }
        }
        self.refuse_statuses();
        self.refuse_queues();
        // Orders for which no call was on its way.
        for place in 0..self.products.places() {
            let Some(index) = self.products.named_at(place) else { continue };
            self.refuse_token_waiters(now, index, Unavailable::Redis);
            self.refuse_line_waiters(now, index, Unavailable::Redis);
        }
    }

    /// Whether what was reserved by a call first written at `first_sent` is the relay's by now: the producer might send
    /// it for the last time when a rebuild has looked already.
    pub(crate) fn is_too_old(&self, now: Now, first_sent: Instant) -> bool {
        let age = now.instant.since(first_sent) + record_age_max(&self.config);
        age >= RESERVED_AGE_MAX && !is_planted(Bug::AgelessReservations)
    }

    /// Appends what should go to Redis now, in the order that `schedule.rs` gives.
    pub fn redis_poll_write(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.redis.is_ready() {
            self.write_in_turn(now);
        }
        self.redis.poll_write(out);
    }

    // Kafka.

    /// What the shell should do about connections to brokers.
    pub fn kafka_action(&mut self) -> Option<BrokerAction> {
        self.producer.poll_action()
    }

    /// A connection to a broker is there.
    pub fn kafka_open(&mut self, now: Now, broker: BrokerKey) {
        self.producer.handle_broker_open(now.instant, broker);
    }

    /// Bytes came from a broker.
    ///
    /// # Errors
    /// Close the connection, then say [`Core::kafka_closed`].
    pub fn kafka_bytes(&mut self, now: Now, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), ClusterError> {
        let result = self.producer.handle_broker_bytes(now.instant, broker, buffer);
        self.settle_published(now);
        result
    }

    /// A connection to a broker is gone, or could not be made.
    pub fn kafka_closed(&mut self, now: Now, broker: BrokerKey) {
        self.producer.handle_broker_closed(now.instant, broker);
        self.settle_published(now);
    }

    /// Appends what should go to a broker now.
    pub fn kafka_poll_write(&mut self, now: Now, broker: BrokerKey, out: &mut Vec<u8>) {
        self.producer.poll_broker_write(now.instant, broker, out);
    }

    fn settle_published(&mut self, now: Now) {
        let mut tokens = std::mem::take(&mut self.settled);
        while let Some(settled) = self.producer.poll_settled(&mut tokens) {
            for token in tokens.drain(..) {
                self.handle_settled(now, token, settled);
            }
        }
        self.settled = tokens;
        // What was settled has made room for more.
        self.relay_next(now);
    }

    // Time.

    /// When [`Core::handle_time`] is due.
    pub fn next_deadline(&self) -> Instant {
        let removals = self
            .removals_since
            .filter(|_| self.redis.is_ready())
            .map_or(Instant::FAR_FUTURE, |since| since + REMOVAL_DELAY_MAX);
        let tick = if self.has_deadlines() { self.next_tick } else { self.next_refresh };
        let probe = if self.redis.is_ready() { self.probe.next_deadline() } else { Instant::FAR_FUTURE };
        self.producer.next_deadline().min(tick).min(self.next_refresh).min(removals).min(probe)
    }

    fn has_deadlines(&self) -> bool {
        !(self.by_received.is_empty()
            && self.by_reserved.is_empty()
            && self.by_held.is_empty()
            && self.fair_products.is_empty()
            && self.waiting.is_empty()
            && self.discovery.is_idle()
            && self.statuses.is_idle())
    }

    /// Looks at the time: deadlines, looks, lingering batches.
    pub fn handle_time(&mut self, now: Now) {
        self.producer.handle_time(now.instant);
        self.settle_published(now);
        if now.instant >= self.next_tick {
            self.next_tick = now.instant + DEADLINE_TICK;
            self.expire_orders(now);
            self.expire_waiting(now);
            self.expire_discoveries(now);
            self.expire_statuses(now);
            self.poll_queues(now);
            if let Err(error) = self.redis.handle_time(now.instant) {
                self.redis_failed = Some(error);
            }
        }
        self.probe_if_due(now);
        if now.instant >= self.next_refresh {
            self.refusals.tell();
            self.note_untimed();
            self.note_broker_times(now);
            self.next_refresh = now.instant + REFRESH_INTERVAL;
            self.refresh_if_due(now);
            self.check_topic_settings(now);
            self.publish_gauges(now);
        }
    }

    /// Once a second, for `/metrics` and the dashboard.
    fn publish_gauges(&mut self, now: Now) {
        self.counters.orders_pending.set(self.orders.len() as u64);
        self.counters.producer_room.set(self.producer.room() as u64);
        self.counters.lines.at_door.set(self.orders_at_door() as u64);
        self.counters.lines.awaiting_news.set(self.orders_awaiting_news() as u64);
        self.counters.products_known.set(self.products.len() as u64);
        self.choose_shown();
        let shown = self.shown.chosen.iter().map(|index| self.products[*index].gauge(now));
        let mut products = self.counters.products.lock().unwrap_or_else(PoisonError::into_inner);
        // Its memory is used again.
        products.clear();
        products.extend(shown);
    }

    /// Set where the connection to Redis is to be closed although its socket is quiet.
    pub fn redis_poll_failure(&mut self) -> Option<ConnectionError> {
        self.redis_failed.take()
    }
}

/// How long the producer may hold a record. With the age it may have when it is handed over, and with the time its
/// last request may take, this stays below a rebuild's fence.
fn record_age_max(config: &CoreConfig) -> Duration {
    RECORD_AGE_MAX.min(config.publish_deadline + Duration::from_secs(1))
}
