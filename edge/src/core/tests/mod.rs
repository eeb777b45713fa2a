//! One core under virtual time, between a Redis and a Kafka that answer as they are told.
//!
//! The machine is driven as the shell drives it. Nothing here opens a socket or reads a clock, so hours of an outage
//! take milliseconds, and each test is the same each time.

mod admin_token;
mod ages;
mod broker;
mod cors;
mod fair;
mod fenced;
mod figures;
mod limits;
mod links;
mod many;
mod opening;
mod operations;
mod parting;
mod redis;
mod refreshes;
mod relay;
mod repeats;
mod retire;
mod routes;
mod schedule;
mod settings;
mod statuses;
mod waiting;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flux_protocol::http::{Date, Fields, KeyField, LastLines, Method, Persistence, Request};
use flux_protocol::order::Uuid;
use flux_protocol::time::{Instant, Now};

use self::broker::Broker;
use self::redis::Redis;
use crate::answer::{Answer, Framing, ReplyTo, Site};
use crate::core::Core;
use crate::core::config::CoreConfig;
use crate::core::machine::Machine;
use crate::core::request::{Outcome, Role};
use crate::core::state::board::Board;
use crate::counters::Counters;
use crate::pages::{PageSettings, Pages};
use crate::redis::connection::Login;

/// The origin whose pages may read answers.
const ORIGIN: &[u8] = b"http://localhost:4000";
/// What a request says that says nothing special.
const FIELDS: Fields<'static> = Fields {
    host: Some(b"localhost"),
    content_type: Some(b"application/json"),
    content_encoding: None,
    idempotency_key: KeyField::Absent,
    accept: None,
    authorization: None,
    origin: None,
    access_control_request_method: None,
    x_queue_ticket: None,
    if_none_match: None,
    accept_encoding: None,
    forwarded: LastLines::NONE,
    x_forwarded_for: LastLines::NONE,
};

/// One core and what it is connected to.
struct Bench {
    core: Core,
    redis: Redis,
    broker: Broker,
    counters: Arc<Counters>,
    now: Instant,
    answers: HashMap<u32, Answer>,
    asked: u32,
    /// What requests say of themselves.
    accept: Option<&'static [u8]>,
    ticket: Option<String>,
    origin: Option<&'static [u8]>,
}

fn config() -> CoreConfig {
    CoreConfig {
        redis: Login::default(),
        kafka: vec![("broker".into(), 9092)],
        kafka_login: None,
        topic: "orders".into(),
        rate: 0,
        burst: 2,
        idempotency_ttl: Duration::from_secs(24 * 3600),
        outbox_orders_max: 100_000,
        site: Site::new("http://localhost:4000/", "http://localhost:4000", Duration::from_secs(75)),
        cors_origin: "http://localhost:4000".into(),
        cors_headers: "content-type, traceparent".into(),
        users: None,
        redis_deadline: Duration::from_millis(500),
        publish_deadline: Duration::from_secs(2),
        pages: Pages::new(PageSettings::default(), 3000),
        admin_token: None,
        admin_needs_token: false,
        identity: None,
        edge_id: "edge".into(),
        only_asks: false,
    }
}

impl Bench {
    /// Connected to both, with one open sale of "p".
    fn new() -> Bench {
        Bench::with(config(), |_| {})
    }

    fn with(config: CoreConfig, prepare: impl FnOnce(&mut Redis)) -> Bench {
        Bench::beside(config, &Arc::default(), 0, prepare)
    }

    /// The same as core `index` of a process, whose cores share the board. Its Redis is its own: what the cores are to see
    /// there is prepared for each.
    fn beside(config: CoreConfig, board: &Arc<Board>, index: usize, prepare: impl FnOnce(&mut Redis)) -> Bench {
        let now = Instant::from_micros(1_000_000);
        let counters = Arc::<Counters>::default();
        let core = Core::new(Rc::new(config), Arc::clone(&counters), index, [7; 32], at(now)).beside(Arc::clone(board));
        let mut redis = Redis::new();
        redis.open_sale("p", 100);
        prepare(&mut redis);
        let mut bench = Bench {
            core,
            redis,
            broker: Broker::new(),
            counters,
            now,
            answers: HashMap::new(),
            asked: 0,
            accept: None,
            ticket: None,
            origin: None,
        };
        bench.connect();
        bench.pass(100);
        assert!(bench.core.redis_is_ready() && bench.core.kafka_is_ready());
        bench
    }

    fn connect(&mut self) {
        self.redis.connected = true;
        self.core.handle_redis_open(at(self.now));
        self.run();
    }

    /// The connection to Redis is lost, with all that was not answered.
    fn lose_redis(&mut self) {
        self.redis.lose();
        self.core.handle_redis_closed(at(self.now));
        self.run();
    }

    /// An order of one unit of "p"; its answer is found under what is returned.
    fn order(&mut self, user: &str) -> u32 {
        self.order_under(user, user)
    }

    /// The same under a key of its own.
    fn order_under(&mut self, user: &str, key: &str) -> u32 {
        let position = self.asked;
        self.asked += 1;
        let body = format!(r#"{{"productId":"p","userId":"{user}","quantity":1}}"#);
        let outcome = self.request("/order", Some(key.as_bytes()), body.as_bytes(), Role::Public, position);
        if let Outcome::Now(answer) = outcome {
            self.answers.insert(position, answer);
        }
        position
    }

    /// A request without a body.
    fn get(&mut self, path: &str) -> u32 {
        let position = self.ask(path);
        self.run();
        position
    }

    /// The same, in a turn that goes on.
    fn ask(&mut self, path: &str) -> u32 {
        let position = self.asked;
        self.asked += 1;
        let fields = Fields { origin: self.origin, ..FIELDS };
        let request =
            Request { method: Method::Get, version_minor: 1, path, query: None, fields, body: b"", keep_alive: true };
        let ticket = ReplyTo { conn: 0, generation: 0, position };
        if let Outcome::Now(answer) = self.core.handle_request(at(self.now), Role::Public, &request, ticket) {
            self.answers.insert(position, answer);
        }
        position
    }

    /// An operator's request.
    fn operate(&mut self, path: &str, body: &str) -> u32 {
        let position = self.asked;
        self.asked += 1;
        if let Outcome::Now(answer) = self.request(path, None, body.as_bytes(), Role::Admin, position) {
            self.answers.insert(position, answer);
        }
        position
    }

    fn request(&mut self, path: &str, key: Option<&[u8]>, body: &[u8], role: Role, position: u32) -> Outcome {
        let key = key.map_or(KeyField::Absent, KeyField::One);
        let fields = Fields {
            idempotency_key: key,
            accept: self.accept,
            origin: self.origin,
            x_queue_ticket: self.ticket.as_ref().map(String::as_bytes),
            ..FIELDS
        };
        let request =
            Request { method: Method::Post, version_minor: 1, path, query: None, fields, body, keep_alive: true };
        self.core.handle_request(at(self.now), role, &request, ReplyTo { conn: 0, generation: 0, position })
    }

    /// An answer as it goes over the wire.
    fn written(&self, position: u32) -> String {
        let cors = self.origin == Some(ORIGIN);
        let framing = Framing { connection: Persistence::KeepAlive, head_only: false, cors };
        let mut out = Vec::new();
        self.answers[&position].write(self.core.site(), &Date::new(0), framing, &mut out);
        String::from_utf8(out).expect("text")
    }

    /// Orders of these users, in one call where none is outstanding.
    fn orders(&mut self, users: &[&str]) -> Vec<u32> {
        let positions = users.iter().map(|user| self.order(user)).collect();
        self.run();
        positions
    }

    fn statuses(&self, positions: &[u32]) -> Vec<Option<u16>> {
        positions.iter().map(|position| self.answers.get(position).map(Answer::status)).collect()
    }

    /// Carries bytes until nobody has any.
    fn run(&mut self) {
        for _ in 0..10_000 {
            let now = at(self.now);
            let mut quiet = true;
            if self.core.next_deadline() <= self.now {
                self.core.handle_time(now);
            }
            while let Some((ticket, answer)) = self.core.poll_completion() {
                let earlier = self.answers.insert(ticket.position, answer);
                assert!(earlier.is_none(), "a request is answered once");
            }
            if self.redis.connected {
                let mut out = Vec::new();
                self.core.poll_redis_write(now, &mut out);
                quiet &= out.is_empty();
                self.redis.now = self.now;
                self.redis.take(&out);
                if self.redis.answer() {
                    quiet = false;
                    self.core.handle_redis_bytes(now, &mut self.redis.to_core).expect("replies are well-formed");
                }
            }
            quiet &= !self.broker.carry(now, &mut self.core);
            if quiet {
                return;
            }
        }
        panic!("the core and its servers never come to rest");
    }

    /// Lets time pass, from deadline to deadline.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            self.run();
            let next = self.core.next_deadline().max(self.now + Duration::from_micros(500));
            if next > end {
                break;
            }
            self.now = next;
        }
        self.now = end;
        self.run();
    }

    /// Time passes while the process is stopped: nothing is done, nothing is read.
    fn sleep(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    /// The process was stopped just when Redis answered, and goes on after so long. The shell may read what lay in the socket
    /// before it looks at the time.
    fn wake_after(&mut self, ms: u64) {
        self.redis.answer();
        self.sleep(ms);
        self.core.handle_redis_bytes(at(self.now), &mut self.redis.to_core).expect("well-formed");
        self.pass(5_000);
    }
}

fn at(instant: Instant) -> Now {
    Now { instant, wall_ms: 1_705_234_800_000 + instant.as_micros() / 1000 }
}

/// An outbox entry as the relay is handed it: id, head, lines of `orders` orders.
fn entry(id: &str, orders: u8) -> [String; 3] {
    let line = |n: u8| format!("{} 1 {} user-{n} 1705234800123", uuid(n, 1), uuid(n, 2));
    let lines: Vec<String> = (1..=orders).map(line).collect();
    [id.to_owned(), format!("0 {} 100 1 {orders}", redis::SALE_ID), lines.join("\n")]
}

fn uuid(n: u8, kind: u8) -> Uuid {
    let mut bytes = [kind; 16];
    bytes[15] = n;
    Uuid::version_8(bytes)
}
