//! The fake, behind the client that ships, under virtual time.

use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::order::Uuid;
use flux_protocol::postgres::{PostgresConfig, Session, SessionOptions, Statement};
use flux_protocol::time::{Instant, Now};
use flux_simulation::peer::{Peer, SocketId};
use flux_simulation::postgres::{EPOCH_MICROS, PORT, Pace, Postgres};
use flux_simulation::random::Random;

use crate::client::{Answer, Asked, Collector, Server};

/// A wall clock after every time that the tests name.
pub(crate) const WALL_MS: u64 = 1_790_000_000_000;
/// How long nothing must come for a session to be silent.
const SILENCE: Duration = Duration::from_millis(500);
/// Longer than any limit of a session.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fake {
    pub(crate) server: Postgres,
    now: Instant,
    clients: Vec<Client>,
}

struct Client {
    session: Session,
    received: BytesMut,
    sent: BytesMut,
    collector: Collector,
    is_whole: bool,
    is_open: bool,
}

impl Fake {
    pub(crate) fn new(seed: u64) -> Fake {
        Fake::with_pace(seed, Pace::default())
    }

    pub(crate) fn with_pace(seed: u64, pace: Pace) -> Fake {
        let server = Postgres::new(Random::new(seed), pace).with_changed_statements();
        Fake { server, now: Instant::from_micros(1), clients: Vec::new() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { instant: self.now, wall_ms: WALL_MS + self.now.as_micros() / 1000 }
    }

    pub(crate) fn connect_with(&mut self, options: SessionOptions) -> usize {
        let client = self.clients.len();
        let config = PostgresConfig::parse("postgres://postgres").expect("a URL");
        let mut session = Session::new(config, options);
        assert!(self.server.is_listening(PORT));
        self.server.handle_open(self.now(), socket(client), PORT);
        session.handle_open(self.now);
        self.clients.push(Client {
            session,
            received: BytesMut::new(),
            sent: BytesMut::new(),
            collector: Collector::default(),
            is_whole: false,
            is_open: true,
        });
        self.run_until(PATIENCE, |fake| fake.clients[client].is_whole || !fake.clients[client].is_open);
        client
    }

    /// The client's end of a connection goes away.
    pub(crate) fn drop_client(&mut self, client: usize) {
        self.clients[client].is_open = false;
        self.server.handle_closed(self.now(), socket(client));
    }

    pub(crate) fn is_open(&self, client: usize) -> bool {
        self.clients[client].is_open
    }

    pub(crate) fn collected(&self, client: usize) -> Answer {
        self.clients[client].collector.answer()
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    pub(crate) fn simple(&mut self, client: usize, text: &str) -> Answer {
        let now = self.now;
        let it = &mut self.clients[client];
        it.collector.begin(&[]);
        it.is_whole = false;
        it.session.simple(now, text);
        self.answer(client)
    }

    fn run_until(&mut self, span: Duration, is_done: impl Fn(&Fake) -> bool) {
        let end = self.now + span;
        loop {
            self.carry();
            if is_done(self) {
                return;
            }
            let next = self.server.next_deadline();
            if next > end {
                self.now = end;
                return;
            }
            self.now = next.max(self.now);
            self.server.handle_time(self.now());
        }
    }

    /// Carries bytes until nobody has any.
    fn carry(&mut self) {
        loop {
            let mut is_still = true;
            for at in 0..self.clients.len() {
                let now = self.now();
                let client = &mut self.clients[at];
                let mut out = Vec::new();
                client.session.poll_write(&mut out);
                if client.is_open && !out.is_empty() {
                    client.sent.extend_from_slice(&out);
                    self.server.handle_bytes(now, socket(at), &mut client.sent);
                    is_still = false;
                }
            }
            while let Some((to, bytes)) = self.server.poll_write() {
                is_still = false;
                let client = &mut self.clients[to.0 as usize];
                if !client.is_open {
                    continue;
                }
                client.received.extend_from_slice(&bytes);
                let outcome = client.session.handle_bytes(self.now, &mut client.received);
                client.is_whole |= client.collector.take(&mut client.session);
                if let Err(error) = outcome {
                    client.collector.end(error.to_string());
                    client.is_open = false;
                    self.server.handle_closed(self.now(), to);
                }
            }
            while let Some(closed) = self.server.poll_close() {
                is_still = false;
                let client = &mut self.clients[closed.0 as usize];
                if client.is_open {
                    client.is_open = false;
                    client.collector.end("closed".to_owned());
                }
            }
            if is_still {
                return;
            }
        }
    }
}

impl Server for Fake {
    fn connect(&mut self) -> usize {
        let client = self.connect_with(SessionOptions::default());
        assert!(self.is_open(client), "{:?}", self.collected(client));
        client
    }

    fn send(&mut self, client: usize, run: &[Asked]) {
        let now = self.now;
        let it = &mut self.clients[client];
        it.collector.begin(run);
        it.is_whole = false;
        for Asked { sql, params, copy, .. } in run {
            it.session.statement(Statement { sql, params, copy: copy.as_ref() });
        }
        it.session.sync(now);
        self.carry();
    }

    fn is_silent(&mut self, client: usize) -> bool {
        self.run_until(SILENCE, |fake| fake.clients[client].is_whole || !fake.clients[client].is_open);
        !self.clients[client].is_whole && self.clients[client].is_open
    }

    fn answer(&mut self, client: usize) -> Answer {
        self.run_until(PATIENCE, |fake| fake.clients[client].is_whole || !fake.clients[client].is_open);
        let client = &self.clients[client];
        assert!(client.is_whole || !client.is_open, "no answer to {:?}", client.collector);
        client.collector.answer()
    }

    fn tables(&mut self) -> Vec<String> {
        let server = &self.server;
        let null = |number: Option<i64>| number.map_or("".to_owned(), |number| number.to_string());
        let bytes = |bytes: &Option<bytes::Bytes>| {
            bytes.as_ref().map_or("".to_owned(), |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let id = |id: Uuid| id.to_string();
        let mut lines = Vec::new();
        lines.extend(server.products().map(|row| format!("products {} {} {}", row.id, row.stock, row.sale_id)));
        lines.extend(server.sales().map(|row| {
            format!(
                "sales {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
                row.product_id,
                row.sale_id,
                row.generation,
                row.total,
                row.sold,
                row.withdrawn,
                if row.is_closed { "closed" } else { "open" },
                null(row.rate),
                null(row.burst),
                text(&row.seed),
                row.opened_at.map_or("".to_owned(), time),
                row.closed_at.map_or("".to_owned(), time),
                null(row.per_user.map(i64::from)),
                row.opens_at.map_or("".to_owned(), time),
                text(&row.queue),
                row.raised,
                row.log_topic.map_or("".to_owned(), id),
                row.log_ends
                    .as_ref()
                    .map_or("".to_owned(), |ends| { ends.iter().map(i64::to_string).collect::<Vec<_>>().join(",") })
            )
        }));
        lines.extend(server.orders().map(|row| {
            format!(
                "orders {} {} {} {} {} {} {} {} {} {}",
                id(row.id),
                row.product_id,
                row.user_id,
                row.quantity,
                row.sale_id,
                row.generation,
                id(row.reservation_id),
                row.partition,
                row.kafka_offset,
                time(row.created_at)
            )
        }));
        lines.extend(server.offsets().map(|row| {
            let (topic, epoch, of) = (id(row.topic_id), row.leader_epoch.unwrap_or(-1), row.epoch_offset.unwrap_or(-1));
            format!("offsets {topic} {} {} {epoch} {of}", row.partition, row.next_offset)
        }));
        lines.extend(server.returns().map(|row| {
            format!(
                "returns {} {} {} {} {} {} {} {} {}",
                id(row.reservation_id),
                id(row.order_id),
                row.product_id,
                row.sale_id,
                row.generation,
                row.quantity,
                row.user_id,
                row.state,
                row.settled_at.is_some()
            )
        }));
        lines.extend(server.rejected().map(|row| {
            format!(
                "rejected {} {} {} {} {} {} {} {} {} {} {}",
                id(row.order_id),
                id(row.reservation_id),
                row.reason,
                row.product_id,
                row.user_id,
                row.quantity,
                row.sale_id,
                row.generation,
                row.partition,
                row.kafka_offset,
                time(row.created_at)
            )
        }));
        lines.extend(server.dead_letters().map(|row| {
            format!(
                "dead_letters {} {} {} {} {} {} {} {} {} {}",
                row.topic,
                id(row.topic_id),
                row.partition,
                row.kafka_offset,
                bytes(&row.key),
                bytes(&row.value),
                row.reason,
                text(&row.product_id),
                null(row.sale_id),
                null(row.quantity.map(i64::from))
            )
        }));
        lines.sort();
        lines
    }
}

/// As `timestamptz_send` writes it; what the server's clock said is `now`.
fn time(micros: i64) -> String {
    let clock = 1_700_000_000_000_000 - EPOCH_MICROS..2_000_000_000_000_000 - EPOCH_MICROS;
    if clock.contains(&micros) { "now".to_owned() } else { format!("{micros:016x}") }
}

pub(crate) fn socket(client: usize) -> SocketId {
    SocketId(client as u64)
}
