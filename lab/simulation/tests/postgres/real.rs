//! A real PostgreSQL behind the same client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::postgres::{PostgresConfig, Session, SessionOptions, Statement};
use flux_protocol::time::Instant;

use crate::client::{Answer, Asked, Collector, Server};
use crate::words;

/// How long nothing must come for a session to be silent.
const SILENCE: Duration = Duration::from_millis(150);
/// Longer than any limit of a session.
const PATIENCE: Duration = Duration::from_secs(30);

/// One database.
pub(crate) struct Real {
    config: PostgresConfig,
    clients: Vec<Client>,
}

struct Client {
    session: Session,
    stream: UnixStream,
    received: BytesMut,
    collector: Collector,
    is_whole: bool,
    is_open: bool,
}

impl Real {
    pub(crate) fn new(config: PostgresConfig) -> Real {
        Real { config, clients: Vec::new() }
    }

    pub(crate) fn simple(&mut self, client: usize, text: &str) -> Answer {
        let it = &mut self.clients[client];
        it.collector.begin(&[]);
        it.is_whole = false;
        it.session.simple(Instant::default(), text);
        it.write();
        self.answer(client)
    }

    /// Waits until the server ends the connection; why.
    pub(crate) fn ended(&mut self, client: usize) -> Option<String> {
        self.clients[client].is_whole = false;
        self.answer(client).ended
    }

    /// The same database, empty again, without its clients.
    pub(crate) fn emptied(mut self) -> Real {
        for client in 0..self.clients.len() {
            self.drop_client(client);
        }
        let mut real = Real::new(self.config);
        let client = real.connect();
        let tables = "products, sales, orders, offsets, returns, rejected, dead_letters";
        let answer = real.simple(client, &format!("TRUNCATE {tables}"));
        assert_eq!(answer.failed, None);
        real
    }

    /// The connection is closed without a word.
    pub(crate) fn drop_client(&mut self, client: usize) {
        let client = &mut self.clients[client];
        client.is_open = false;
        client.stream.shutdown(std::net::Shutdown::Both).expect("an open socket");
    }
}

impl Client {
    fn write(&mut self) {
        let mut out = Vec::new();
        self.session.poll_write(&mut out);
        self.stream.write_all(&out).expect("a server that reads");
    }

    /// Reads until the answer is whole, or nothing has come for `patience`. Whether it is whole, or the connection over.
    fn read(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).expect("a socket");
        let mut buffer = [0; 65536];
        while !self.is_whole && self.is_open {
            let read = match self.stream.read(&mut buffer) {
                Ok(read) => read,
                Err(_) => return false,
            };
            self.received.extend_from_slice(&buffer[..read]);
            let outcome = self.session.handle_bytes(Instant::default(), &mut self.received);
            self.is_whole = self.collector.take(&mut self.session);
            if let Err(error) = outcome {
                self.collector.end(error.to_string());
                self.is_open = false;
            } else if read == 0 {
                self.collector.end("closed".to_owned());
                self.is_open = false;
            }
        }
        true
    }
}

impl Server for Real {
    fn connect(&mut self) -> usize {
        let path = self.config.socket_path().expect("a Unix socket");
        let options = SessionOptions::default();
        let mut client = Client {
            session: Session::new(self.config.clone(), options),
            stream: UnixStream::connect(path).expect("a server"),
            received: BytesMut::new(),
            collector: Collector::default(),
            is_whole: false,
            is_open: true,
        };
        client.session.handle_open(Instant::default());
        client.write();
        assert!(client.read(PATIENCE) && client.is_open, "{:?}", client.collector);
        self.clients.push(client);
        self.clients.len() - 1
    }

    fn send(&mut self, client: usize, run: &[Asked]) {
        let client = &mut self.clients[client];
        client.collector.begin(run);
        client.is_whole = false;
        for Asked { sql, params, copy, .. } in run {
            client.session.statement(Statement { sql, params, copy: copy.as_ref() });
        }
        client.session.sync(Instant::default());
        client.write();
    }

    fn is_silent(&mut self, client: usize) -> bool {
        !self.clients[client].read(SILENCE)
    }

    fn answer(&mut self, client: usize) -> Answer {
        let client = &mut self.clients[client];
        assert!(client.read(PATIENCE), "no answer to {:?}", client.collector);
        client.collector.answer()
    }

    fn tables(&mut self) -> Vec<String> {
        let client = self.connect();
        let answer = self.ask(client, &[words::literal(TABLES)]);
        assert_eq!(answer.failed, None);
        let mut lines: Vec<String> = answer.completed[0].1.iter().map(|row| row[0].clone().expect("a line")).collect();
        lines.sort();
        self.drop_client(client);
        lines
    }
}

/// The tables as [`crate::fake::Fake`] writes them.
const TABLES: &str = "
    WITH said AS (SELECT timestamptz '2023-11-14 22:13:20 UTC' AS first, timestamptz '2033-05-18 03:33:20 UTC' AS past)
    SELECT concat_ws(' ', 'products', id, stock, sale_id) FROM products
    UNION ALL SELECT concat_ws(' ', 'sales', product_id, sale_id, generation, total, sold, withdrawn, state,
        coalesce(rate::text, ''), coalesce(burst::text, ''), coalesce(seed, ''),
        CASE WHEN opened_at IS NULL THEN '' WHEN opened_at >= first AND opened_at < past THEN 'now'
            ELSE encode(timestamptz_send(opened_at), 'hex') END,
        CASE WHEN closed_at IS NULL THEN '' WHEN closed_at >= first AND closed_at < past THEN 'now'
            ELSE encode(timestamptz_send(closed_at), 'hex') END,
        coalesce(per_user::text, ''),
        CASE WHEN opens_at IS NULL THEN '' WHEN opens_at >= first AND opens_at < past THEN 'now'
            ELSE encode(timestamptz_send(opens_at), 'hex') END, coalesce(queue, ''), raised,
        coalesce(log_topic::text, ''), coalesce(array_to_string(log_ends, ','), '')) FROM sales, said
    UNION ALL SELECT concat_ws(' ', 'orders', id, product_id, user_id, quantity, sale_id, generation, reservation_id,
        partition, kafka_offset, encode(timestamptz_send(created_at), 'hex')) FROM orders
    UNION ALL SELECT concat_ws(' ', 'offsets', topic_id, partition, next_offset, coalesce(leader_epoch, -1),
        coalesce(epoch_offset, -1)) FROM offsets
    UNION ALL SELECT concat_ws(' ', 'returns', reservation_id, order_id, product_id, sale_id, generation, quantity,
        user_id, state, CASE WHEN settled_at IS NULL THEN 'false' ELSE 'true' END) FROM returns
    UNION ALL SELECT concat_ws(' ', 'rejected', order_id, reservation_id, reason, product_id, user_id, quantity,
        sale_id, generation, partition, kafka_offset, encode(timestamptz_send(created_at), 'hex')) FROM rejected
    UNION ALL SELECT concat_ws(' ', 'dead_letters', topic, topic_id, partition, kafka_offset,
        coalesce(encode(key, 'hex'), ''), coalesce(encode(value, 'hex'), ''), reason, coalesce(product_id, ''),
        coalesce(sale_id::text, ''), coalesce(quantity::text, '')) FROM dead_letters";
