//! All decisions of one core, as one machine: requests, bytes and time in; answers, bytes and deadlines out.
//!
//! The shell (`shell/shard.rs` and its tasks) owns sockets and clocks and drives this; so does a simulation. Nothing here
//! opens a socket, reads a clock or waits. The story of an order is in `order/order.rs`.
//!
//! Three floors, and calls go downwards only:
//!
//! 1. this file: the entry points. It alone knows which part an answer is for, and it alone calls all of them;
//! 2. `order/`, `relay.rs`, `operator/`; below them `sales/` and `reads/`; below them `admission/` and `servers/`. Each is a
//!    part of what `Core` does. What a lower part has to tell a higher one it leaves where that one looks: orders that may go
//!    on in `wakes`, answers in `replies`, what is to be looked at in `refreshes`, what is to be changed in an outbox in
//!    `outbox`;
//! 3. `state/`: what is remembered. Nothing in it knows `Core`.
//!
//! `lab/floors.py`, part of the lint, keeps it so.

pub mod admission;
pub mod calls;
pub mod config;
pub mod machine;
pub mod operator;
pub mod order;
pub(crate) mod planted;
pub mod reads;
pub(crate) mod relay;
pub mod request;
pub(crate) mod routes;
pub mod sales;
pub mod servers;
pub mod state;
#[cfg(test)]
mod tests;
pub(crate) mod write_turn;

use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::fence::FenceLogConfig;
use flux_protocol::http::Request;
use flux_protocol::kafka::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use flux_protocol::kafka::producer::{Producer, ProducerConfig, Settled};
use flux_protocol::kafka::strands::Strand;
use flux_protocol::resp::Reply;
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, Framing, ReplyTo, Site, Unavailable};
use crate::core::calls::{PendingCall, RecordTag};
use crate::core::config::CoreConfig;
use crate::core::machine::{Machine, PeerFault};
use crate::core::request::{Outcome, Role};
use crate::core::state::board::Board;
use crate::core::state::broker_clocks::BrokerClocks;
use crate::core::state::discovery::Discovery;
use crate::core::state::fences::Fences;
use crate::core::state::gauges::Gauges;
use crate::core::state::ids::Ids;
use crate::core::state::kafka_refusal::KafkaRefusal;
use crate::core::state::lookups::Lookups;
use crate::core::state::operations::Operations;
use crate::core::state::orders::Orders;
use crate::core::state::outbox::Outbox;
use crate::core::state::probe::Probe;
use crate::core::state::products::Products;
use crate::core::state::queues::Queues;
use crate::core::state::refreshes::Refreshes;
use crate::core::state::registry::Registry;
use crate::core::state::replies::Replies;
use crate::core::state::reserve_calls::ReserveCalls;
use crate::core::state::server_settings::ServerSettings;
use crate::core::state::statuses::Statuses;
use crate::core::state::waiting_products::WaitingProducts;
use crate::core::state::wakes::Wakes;
use crate::core::state::witness::Witness;
use crate::core::state::work_queue::WorkQueue;
use crate::counters::Counters;
use crate::identity::Bearers;
use crate::limits::{
    BATCH_BYTES_MAX, DEADLINE_TICK, LINGER, PRODUCE_IN_FLIGHT_MAX, PRODUCE_TIME_MAX, RECORDS_MAX, REFRESH_INTERVAL,
};
use crate::redis::connection::{RedisConnection, Step};
use crate::redis::refusals::Refusals;

/// All that one core decides by. See the module.
#[derive(Debug)]
pub struct Core {
    config: Rc<CoreConfig>,
    counters: Arc<Counters>,
    /// The first core of an edge relays, reads the registry and looks after the servers' settings; the others do not.
    is_first: bool,
    drain_until: Option<Instant>,
    /// Where orders need a bearer token.
    bearers: Option<Bearers>,
    /// When deadlines are looked at next.
    next_tick: Instant,

    // What is under way.
    ids: Ids,
    products: Products,
    orders: Orders,
    wakes: Wakes,
    replies: Replies,
    reserve_calls: ReserveCalls,
    lookups: Lookups,
    outbox: Outbox,
    operations: Operations,
    /// Fair queues, and calls for tokens.
    queues: Queues,

    // What is known of sales, and how it is learnt.
    refreshes: Refreshes,
    discovery: Discovery,
    registry: Registry,
    witness: Witness,
    retire_queue: WorkQueue,
    relay_queue: WorkQueue,

    // What is read.
    statuses: Statuses,
    /// Products whose document of `GET /queue` is wanted.
    documents_wanted: WaitingProducts,
    gauges: Gauges,

    // Redis.
    redis: RedisConnection<PendingCall>,
    /// Which kind of work comes first in the next write.
    next_in_turn: usize,
    refusals: Refusals,
    probe: Probe,
    server_settings: ServerSettings,

    // Kafka.
    producer: Producer<RecordTag>,
    /// Memory for tags of records that were settled.
    settled: Vec<RecordTag>,
    broker_clocks: BrokerClocks,
    kafka_refusal: KafkaRefusal,
    /// Its place on the board of the fences, where the process reads them.
    fence_place: Option<usize>,
    /// The first core reads them for all.
    fences: Option<Box<Fences>>,
}

impl Core {
    /// A core that knows nothing yet. `secret` is 32 random bytes of its own: reservation ids and sale seeds come
    /// from it.
    pub fn new(config: Rc<CoreConfig>, counters: Arc<Counters>, index: usize, secret: [u8; 32], now: Now) -> Core {
        let ids = Ids::new(secret);
        let producer = ProducerConfig {
            topic: config.topic.clone(),
            bootstrap: config.kafka.clone(),
            login: config.kafka_login.clone(),
            client_id: "flux-edge".into(),
            linger: LINGER,
            batch_bytes_max: BATCH_BYTES_MAX,
            in_flight_max: PRODUCE_IN_FLIGHT_MAX,
            request_timeout: config.publish_deadline.min(PRODUCE_TIME_MAX),
            records_max: RECORDS_MAX,
            record_age_max: config.record_age_max(),
            seed: u64::from_le_bytes(ids.nonce()),
        };
        let mut producer = Producer::new(producer, now.instant);
        producer.watch_silence();
        Core {
            redis: RedisConnection::new(config.redis.clone(), now.instant),
            bearers: config.identity.clone().map(Bearers::new),
            config,
            counters,
            is_first: index == 0,
            drain_until: None,
            next_tick: now.instant,
            ids,
            products: Products::default(),
            orders: Orders::default(),
            wakes: Wakes::default(),
            replies: Replies::default(),
            reserve_calls: ReserveCalls::default(),
            lookups: Lookups::default(),
            outbox: Outbox::default(),
            operations: Operations::default(),
            queues: Queues::default(),
            refreshes: Refreshes::new(now.instant),
            discovery: Discovery::default(),
            registry: Registry::default(),
            witness: Witness::default(),
            retire_queue: WorkQueue::default(),
            relay_queue: WorkQueue::default(),
            statuses: Statuses::default(),
            documents_wanted: WaitingProducts::default(),
            gauges: Gauges::default(),
            next_in_turn: 0,
            refusals: Refusals::default(),
            probe: Probe::default(),
            server_settings: ServerSettings::default(),
            producer,
            settled: Vec::new(),
            broker_clocks: BrokerClocks::default(),
            kafka_refusal: KafkaRefusal::default(),
            fence_place: None,
            fences: None,
        }
    }

    /// The same beside the other cores of a process: what one of them sees of the sales, all know. Before anything is asked
    /// of it.
    #[must_use]
    pub fn beside(mut self, board: Arc<Board>) -> Core {
        assert!(self.products.is_empty(), "a core that knows nothing yet");
        self.products = Products::new(board);
        self
    }

    /// The same of a process that reads the fences and writes heartbeats. Once all its cores share a board ([`Core::beside`]).
    #[must_use]
    pub fn reading_fences(mut self, now: Now) -> Core {
        self.fence_place = Some(self.products.board().fences.join());
        if self.is_first {
            let config = FenceLogConfig {
                orders: self.config.topic.clone(),
                bootstrap: self.config.kafka.clone(),
                login: self.config.kafka_login.clone(),
                client_id: "flux-edge".to_owned(),
                seed: u64::from_le_bytes(self.ids.nonce()).wrapping_add(1),
            };
            self.fences = Some(Box::new(Fences::new(config, self.ids.draw(), now)));
        }
        self
    }

    /// Whether calls to Redis may be written now.
    pub fn redis_is_ready(&self) -> bool {
        self.redis.is_ready()
    }

    /// Whether Kafka takes records now.
    pub fn kafka_is_ready(&self) -> bool {
        self.producer.ready()
    }

    /// The answer to a call, for the part that made it. `None`: the connection is gone, and what became of the call is unknown.
    fn handle_reply(&mut self, now: Now, call: PendingCall, reply: Option<Reply<'_>>) {
        match call {
            PendingCall::Reserve(index) => self.handle_reserved(now, index, reply),
            PendingCall::Lookup(index) => self.handle_looked_up(now, index, reply),
            PendingCall::Lease(product) => self.handle_lease(now, product, reply),
            PendingCall::QueueStatus(call) => self.handle_queue_status(now, call, reply),
            PendingCall::Document(product) => self.handle_document(product, reply),
            PendingCall::Refresh(products) => self.handle_refreshed(now, &products, reply),
            PendingCall::Discover => self.handle_discovered(now, reply),
            PendingCall::RegistryExists => self.handle_registry_exists(now, reply),
            PendingCall::Registry => self.handle_registry(now, reply),
            PendingCall::Survey => self.handle_surveyed(now, reply),
            PendingCall::Forget => self.handle_forgotten(now, reply),
            PendingCall::Identity(asked) => self.handle_identity(now, asked, reply),
            PendingCall::Relay(product) => self.handle_relay(now, product, reply),
            PendingCall::Retire(product) => self.handle_retired(now, product, reply),
            PendingCall::SplitEntry => self.handle_split(reply),
            PendingCall::Probe => self.handle_probe(now, reply),
            PendingCall::Settings(question) => self.handle_redis_settings(question, reply),
            PendingCall::Status => self.handle_statuses(reply),
            PendingCall::Init(operation) => self.handle_init_reply(now, operation, reply),
            PendingCall::Register(operation) => self.handle_registered(now, operation, reply),
            PendingCall::Close(operation) => self.handle_close_reply(now, operation, reply),
            PendingCall::Quiet => {
                self.refusals.items_of(&self.counters, reply);
            }
        }
        self.drive_woken(now);
    }

    /// The login is done: what was lost is asked again, what waited goes out.
    fn handle_redis_ready(&mut self, now: Now) {
        self.repeat_lost(now);
        self.probe_now(now);
        self.refreshes.next_round = now.instant;
        self.refreshes.suspect_all(&self.products);
        self.begin_refresh(now);
        self.ask_redis_settings(now);
        self.drive_woken(now);
    }

    /// Kafka's word on records that has come since, each for the part that published it.
    fn settle_published(&mut self, now: Now) {
        let mut tags = std::mem::take(&mut self.settled);
        while let Some(settled) = self.producer.poll_settled(&mut tags) {
            for tag in tags.drain(..) {
                self.handle_settled(now, tag, settled);
            }
        }
        self.settled = tags;
        // What was settled has made room for more.
        self.relay_next(now);
    }

    fn handle_settled(&mut self, now: Now, tag: RecordTag, settled: Settled) {
        let acknowledged = self.is_acknowledged(settled);
        match tag {
            RecordTag::Order { order, entry, place } => self.published(now, order, entry, place, acknowledged),
            RecordTag::Relayed { entry, place } => self.handle_relayed(now, entry, place, acknowledged),
            RecordTag::Operation(operation) => self.handle_event_settled(now, operation, acknowledged),
        }
    }

    fn has_deadlines(&self) -> bool {
        !(self.orders.by_received.is_empty()
            && self.orders.by_reserved.is_empty()
            && self.queues.called.is_empty()
            && self.queues.products.is_empty()
            && self.replies.is_empty()
            && self.discovery.is_idle()
            && self.statuses.is_idle())
    }

    /// Whatever has waited for as long as it may.
    fn handle_tick(&mut self, now: Now) {
        self.next_tick = now.instant + DEADLINE_TICK;
        self.expire_orders(now);
        self.replies.expire(now.instant);
        self.expire_discoveries(now);
        self.expire_statuses(now);
        self.poll_queues(now);
        self.redis.handle_time(now.instant);
        self.obey_fences();
    }

    /// What the other cores and the topic are to know of this one: it acts by every fence that was read.
    fn obey_fences(&mut self) {
        let Some(place) = self.fence_place else { return };
        let fences = &self.products.board().fences;
        if self.drain_until.is_some() && self.is_idle() {
            fences.leave(place);
        } else {
            fences.note_obeyed(place);
        }
    }

    fn drive_fences(&mut self, now: Now) {
        if let Some(reader) = &mut self.fences {
            reader.drive(now, self.products.board(), &self.counters);
        }
    }

    /// Whether nothing is under way.
    fn is_idle(&self) -> bool {
        self.orders.is_empty() && self.outbox.entries.is_empty() && self.outbox.is_clean() && self.operations.is_empty()
    }

    /// Bytes for the machine of the fences.
    fn handle_fence_bytes(&mut self, now: Now, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        let Some(fences) = &mut self.fences else { return Ok(()) };
        let result = fences.log().handle_broker_bytes(now.instant, broker, buffer);
        self.drive_fences(now);
        result.map_err(|error| PeerFault(error.to_string()))
    }

    fn note_kafka_refusal(&mut self) {
        self.kafka_refusal.note(&self.counters, self.is_first, self.producer.refusal());
    }

    /// What is done once a second.
    fn handle_round(&mut self, now: Now) {
        self.note_kafka_refusal();
        self.refusals.tell();
        if let Some(reader) = &mut self.fences {
            reader.tell();
        }
        self.obey_fences();
        self.config.site.retry_after.note_round();
        BrokerClocks::note_untimed(&self.producer, &self.counters, self.probe.skew_ms());
        self.broker_clocks.note_times(now, &mut self.producer, &self.counters);
        self.refreshes.next_round = now.instant + REFRESH_INTERVAL;
        self.begin_refresh(now);
        self.check_topic_settings(now);
        self.publish_gauges(now);
    }

    /// For `/metrics` and the dashboard.
    fn publish_gauges(&mut self, now: Now) {
        let counters = &self.counters;
        counters.orders_pending.set(self.orders.len() as u64);
        counters.producer_room.set(self.producer.room() as u64);
        counters.queues.awaiting_token.set(self.queues.orders_awaiting_token(&self.orders) as u64);
        let awaiting = self.queues.orders_awaiting_status(&self.products, &self.orders);
        counters.queues.awaiting_status.set(awaiting as u64);
        counters.products_known.set(self.products.len() as u64);
        let mut gauges = counters.products.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges.poll(now, &self.products, &mut gauges);
    }
}

impl Machine for Core {
    fn handle_request(&mut self, now: Now, role: Role, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        let outcome = self.route(now, role, request, reply_to);
        self.drive_woken(now);
        outcome
    }

    fn framing(&self, request: &Request<'_>) -> Framing {
        self.framing_of(request)
    }

    fn site(&self) -> &Site {
        &self.config.site
    }

    fn poll_completion(&mut self) -> Option<(ReplyTo, Answer)> {
        self.replies.poll()
    }

    fn handle_redis_open(&mut self, now: Now) {
        self.redis.handle_open(now.instant);
    }

    fn handle_redis_bytes(&mut self, now: Now, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        loop {
            match self.redis.next(now.instant, buffer) {
                Ok(Step::Nothing) => return Ok(()),
                Ok(Step::Own) => {}
                Ok(Step::Opened) => self.handle_redis_ready(now),
                Ok(Step::Reply(call, reply)) => self.handle_reply(now, call, Some(reply)),
                Err(error) => {
                    if let Some(words) = error.refusal() {
                        self.probe.handle_login_refused(words);
                    }
                    return Err(PeerFault(error.to_string()));
                }
            }
        }
    }

    fn handle_redis_closed(&mut self, now: Now) {
        let mut lost = Vec::new();
        self.redis.handle_closed(now.instant, |call| lost.push(call));
        self.witness.forget();
        for call in lost {
            self.handle_reply(now, call, None);
        }
        self.probe.handle_closed(&self.counters);
        self.refuse_statuses();
        self.refuse_documents();
        // Orders for which no call was on its way.
        for place in 0..self.products.places() {
            let Some(index) = self.products.named_at(place) else { continue };
            self.refuse_token_waiters(index, Unavailable::Redis);
            self.refuse_status_waiters(index, Unavailable::Redis);
        }
        self.drive_woken(now);
    }

    /// In the order that `write_turn.rs` gives.
    fn poll_redis_write(&mut self, now: Now, out: &mut Vec<u8>) {
        if self.redis.is_ready() {
            self.write_in_turn(now);
        }
        self.redis.poll_write(out);
    }

    fn poll_redis_failure(&mut self) -> Option<PeerFault> {
        self.redis.poll_failure().map(|error| PeerFault(error.to_string()))
    }

    fn redis_down_for(&self, now: Now) -> Duration {
        self.redis.down_for(now.instant)
    }

    fn poll_broker_action(&mut self) -> Option<BrokerAction> {
        let action = self.producer.poll_action().map(|action| Strand::First.outer_action(action));
        action.or_else(|| Some(Strand::Second.outer_action(self.fences.as_mut()?.log().poll_action()?)))
    }

    fn handle_broker_open(&mut self, now: Now, broker: BrokerKey) {
        match (Strand::of(broker), &mut self.fences) {
            ((Strand::First, broker), _) => self.producer.handle_broker_open(now.instant, broker),
            ((Strand::Second, broker), Some(fences)) => fences.log().handle_broker_open(now.instant, broker),
            ((Strand::Second, _), None) => {}
        }
    }

    fn handle_broker_bytes(&mut self, now: Now, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        let broker = match Strand::of(broker) {
            (Strand::First, broker) => broker,
            (Strand::Second, broker) => return self.handle_fence_bytes(now, broker, buffer),
        };
        let result = self.producer.handle_broker_bytes(now.instant, broker, buffer);
        if result.as_ref().is_err_and(ClusterError::is_login) {
            self.note_kafka_refusal();
        }
        self.settle_published(now);
        result.map_err(|error| PeerFault(error.to_string()))
    }

    fn handle_broker_closed(&mut self, now: Now, broker: BrokerKey) {
        match (Strand::of(broker), &mut self.fences) {
            ((Strand::First, broker), _) => {
                self.producer.handle_broker_closed(now.instant, broker);
                self.settle_published(now);
            }
            ((Strand::Second, broker), Some(fences)) => fences.log().handle_broker_closed(now.instant, broker),
            ((Strand::Second, _), None) => {}
        }
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        match (Strand::of(broker), &mut self.fences) {
            ((Strand::First, broker), _) => self.producer.poll_broker_write(broker, out),
            ((Strand::Second, broker), Some(fences)) => fences.log().poll_broker_write(broker, out),
            ((Strand::Second, _), None) => {}
        }
    }

    fn kafka_down_for(&self, now: Now) -> Duration {
        self.producer.down_for(now.instant)
    }

    fn next_deadline(&self) -> Instant {
        let of_redis = if self.redis.is_ready() {
            self.outbox.next_deadline().min(self.probe.next_deadline())
        } else {
            Instant::FAR_FUTURE
        };
        let round = self.refreshes.next_round;
        let tick = if self.has_deadlines() { self.next_tick.min(round) } else { round };
        let of_fences = self.fences.as_ref().map_or(Instant::FAR_FUTURE, |fences| fences.next_deadline());
        self.producer.next_deadline().min(tick).min(of_redis).min(of_fences)
    }

    fn handle_time(&mut self, now: Now) {
        self.producer.handle_time(now.instant);
        self.settle_published(now);
        if self.fences.as_ref().is_some_and(|fences| now.instant >= fences.next_deadline()) {
            self.drive_fences(now);
        }
        if now.instant >= self.next_tick {
            self.handle_tick(now);
        }
        self.probe_if_due(now);
        if now.instant >= self.refreshes.next_round {
            self.handle_round(now);
        }
        self.drive_woken(now);
    }

    fn handle_drain(&mut self, _now: Now, until: Instant) {
        self.drain_until = Some(until);
    }

    fn is_drained(&self) -> bool {
        self.is_idle() && self.fences.as_ref().is_none_or(|fences| fences.have_left())
    }
}
