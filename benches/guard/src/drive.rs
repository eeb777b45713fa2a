//! One core, driven as the shell drives it: requests by many connections, turns, answers in the place of their requests.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use flux_edge::answer::Site;
use flux_edge::core::Core;
use flux_edge::core::config::CoreConfig;
use flux_edge::core::machine::Machine;
use flux_edge::core::request::{Outcome, Role};
use flux_edge::counters::Counters;
use flux_edge::pages::{PageSettings, Pages};
use flux_edge::redis::connection::Login;
use flux_edge::shell::burst::PendingResponse;
use flux_edge::shell::connection_table::{ConnectionId, Connections};
use flux_protocol::http::{Date, Limits, Read, Reader};
use flux_protocol::kafka::client::{BrokerAction, BrokerKey};
use flux_protocol::time::{Instant, Now};

use crate::kafka::{HOST, Kafka, PORT, TOPIC};
use crate::path::{Path, Template};
use crate::redis::Redis;

/// Connections, each with one request a burst: what gathers for a reserve call under load.
pub const CLIENTS: usize = 35;
/// From the end of a burst to the next.
const PAUSE: Duration = Duration::from_micros(100);
/// Turns after which a core that is still not done is at fault.
const TURNS_MAX: usize = 1000;
const WALL_MS: u64 = 1_705_234_800_000;
/// Not the first core of its edge, which alone relays.
const CORE: usize = 1;

#[derive(Debug)]
struct Client {
    id: ConnectionId,
    reader: Reader,
    request: Template,
}

/// A core between its clients and its servers, all of them in one process.
#[derive(Debug)]
pub struct Drive {
    path: Path,
    core: Core,
    connections: Connections,
    clients: Vec<Client>,
    redis: Redis,
    kafka: Kafka,
    broker: Option<BrokerKey>,
    redis_inbound: BytesMut,
    kafka_inbound: BytesMut,
    /// What a turn writes, and what is answered to it.
    written: Vec<u8>,
    answered: Vec<u8>,
    response: Vec<u8>,
    date: Date,
    now: Instant,
    buyers: u64,
}

fn config() -> CoreConfig {
    CoreConfig {
        redis: Login::default(),
        kafka: vec![(HOST.into(), PORT)],
        kafka_login: None,
        topic: TOPIC.into(),
        rate: 0,
        burst: 2,
        idempotency_ttl: Duration::from_secs(24 * 3600),
        outbox_orders_max: 100_000,
        site: Site::new("http://localhost:4000/", "http://localhost:4000", Duration::from_secs(75)),
        cors_origin: "http://localhost:4000".into(),
        cors_headers: String::new(),
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

impl Drive {
    /// A core that is connected to both servers and knows the sale.
    pub fn new(path: Path) -> Drive {
        let now = Instant::from_micros(1_000_000);
        let core = Core::new(Rc::new(config()), Arc::<Counters>::default(), CORE, [7; 32], at(now));
        let mut connections = Connections::default();
        let clients = (0..CLIENTS as i32).map(|descriptor| Client {
            id: connections.enter(descriptor, Role::Public, 0),
            reader: Reader::new(Limits::DEFAULT),
            request: path.template(),
        });
        let clients = clients.collect();
        let mut drive = Drive {
            path,
            core,
            connections,
            clients,
            redis: Redis::new(path),
            kafka: Kafka::default(),
            broker: None,
            redis_inbound: BytesMut::new(),
            kafka_inbound: BytesMut::new(),
            written: Vec::new(),
            answered: Vec::new(),
            response: Vec::new(),
            date: Date::new(WALL_MS / 1000),
            now,
            buyers: 0,
        };
        drive.core.handle_redis_open(at(now));
        while drive.turn() {}
        assert!(drive.core.redis_is_ready() && drive.core.kafka_is_ready(), "both servers are reached");
        drive
    }

    /// One request of each client, another buyer's each time, until all are answered as the path wants it.
    pub fn burst(&mut self) {
        for at in 0..self.clients.len() {
            self.ask(at);
        }
        for _ in 0..TURNS_MAX {
            while self.turn() {}
            if self.clients.iter().all(|client| self.connections.poll_answered(client.id, Waker::noop())) {
                self.take_answers();
                self.now = self.now + PAUSE;
                return;
            }
            self.now = self.core.next_deadline().max(self.now);
        }
        panic!("the core never answers");
    }

    fn ask(&mut self, at: usize) {
        let Client { id, reader, request } = &mut self.clients[at];
        request.set_buyer(self.buyers);
        self.buyers += 1;
        let Read::Request(request, _) = reader.read(&mut request.bytes) else { panic!("a whole request") };
        let framing = self.core.framing(&request);
        let place = match self.core.handle_request(crate::drive::at(self.now), Role::Public, &request, id.reply_to(0)) {
            Outcome::Now(answer) => PendingResponse::Answered(answer, framing),
            Outcome::Later => PendingResponse::Later(framing),
        };
        self.connections.push(*id, place);
    }

    /// Whether anything moved.
    fn turn(&mut self) -> bool {
        let now = at(self.now);
        let mut moved = false;
        if self.core.next_deadline() <= self.now {
            self.core.handle_time(now);
        }
        while let Some(action) = self.core.poll_broker_action() {
            moved = true;
            match action {
                BrokerAction::Connect { broker, .. } => {
                    self.broker = Some(broker);
                    self.core.handle_broker_open(now, broker);
                }
                BrokerAction::Close { .. } => panic!("the broker does nothing for which one would leave it"),
            }
        }
        self.core.poll_redis_write(now, &mut self.written);
        if !self.written.is_empty() {
            moved = true;
            self.redis.answer(&self.written, &mut self.answered);
            self.redis_inbound.extend_from_slice(&self.answered);
            self.core.handle_redis_bytes(now, &mut self.redis_inbound).expect("replies are well-formed");
            self.written.clear();
            self.answered.clear();
        }
        if let Some(broker) = self.broker {
            self.core.poll_broker_write(broker, &mut self.written);
            if !self.written.is_empty() {
                moved = true;
                self.kafka.answer(&self.written, &mut self.answered);
                self.kafka_inbound.extend_from_slice(&self.answered);
                self.core.handle_broker_bytes(now, broker, &mut self.kafka_inbound).expect("answers are well-formed");
                self.written.clear();
                self.answered.clear();
            }
        }
        while let Some((reply_to, answer)) = self.core.poll_completion() {
            self.connections.complete(reply_to, answer);
        }
        moved
    }

    fn take_answers(&mut self) {
        for client in &self.clients {
            self.response.clear();
            for place in self.connections.take_burst(client.id) {
                let PendingResponse::Answered(answer, framing) = place else { panic!("an answer of the core") };
                answer.write(self.core.site(), &self.date, framing, &mut self.response);
            }
            let wanted = self.path.status_line();
            assert!(self.response.starts_with(wanted), "{}", self.response.escape_ascii());
        }
    }
}

fn at(instant: Instant) -> Now {
    Now { instant, wall_ms: WALL_MS + instant.as_micros() / 1000 }
}
