//! The fake by itself: what a real Redis in a test cannot show, or not at will.

mod connections;
mod faults;
mod replication;
mod sales;

use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::resp::command;
use flux_protocol::time::{Instant, Now};

use super::Redis;
use crate::peer::{Peer, SocketId};
use crate::random::Random;

const PORT: u16 = 6379;

/// A Redis, the time, and the network's part: what it sent, by connection.
struct Bench {
    redis: Redis,
    now: Now,
    sockets: u64,
}

impl Bench {
    fn new() -> Bench {
        let now = Now { instant: Instant::from_micros(5_000_000), wall_ms: 1_700_000_000_000 };
        Bench { redis: Redis::new(PORT, Random::new(7)), now, sockets: 0 }
    }

    fn connect(&mut self) -> SocketId {
        assert!(self.redis.is_listening(PORT), "refused");
        self.sockets += 1;
        self.redis.handle_open(self.now, SocketId(self.sockets), PORT);
        SocketId(self.sockets)
    }

    fn pass(&mut self, span: Duration) {
        self.now.instant = self.now.instant + span;
        self.now.wall_ms += u64::try_from(span.as_millis()).expect("short");
    }

    fn send(&mut self, socket: SocketId, wire: &[u8]) {
        self.redis.handle_bytes(self.now, socket, &mut BytesMut::from(wire));
    }

    /// What was written to `socket` since this was last asked; nothing may have gone to another.
    fn received(&mut self, socket: SocketId) -> String {
        let mut text = String::new();
        while let Some((to, bytes)) = self.redis.poll_write() {
            assert_eq!(to, socket);
            text += std::str::from_utf8(&bytes).expect("text");
        }
        text
    }

    fn closed(&mut self) -> Vec<SocketId> {
        std::iter::from_fn(|| self.redis.poll_close()).collect()
    }

    /// One command over `socket`, and its reply as it came.
    fn ask_over(&mut self, socket: SocketId, line: &str) -> String {
        self.send(socket, &wire(line));
        self.received(socket)
    }

    /// One command over a connection of its own.
    fn ask(&mut self, line: &str) -> String {
        let socket = self.connect();
        let reply = self.ask_over(socket, line);
        self.redis.handle_closed(self.now, socket);
        reply
    }

    fn info(&mut self, section: &str, name: &str) -> String {
        let text = self.ask(&format!("INFO {section}"));
        let field = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        field.expect("INFO names it").to_owned()
    }
}

/// A command whose arguments stand in `line`, blanks between; `_` in an argument is a blank.
fn wire(line: &str) -> Vec<u8> {
    let arguments: Vec<Vec<u8>> = line.split(' ').map(|argument| argument.replace('_', " ").into_bytes()).collect();
    let mut wire = Vec::new();
    command(&mut wire, &arguments.iter().map(Vec::as_slice).collect::<Vec<_>>());
    wire
}
