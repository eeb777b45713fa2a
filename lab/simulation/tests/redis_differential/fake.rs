//! The fake.

use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::resp::{Decoder, Limits, OwnedFrame};
use flux_protocol::time::{Instant, Now};
use flux_simulation::peer::{Peer, SocketId};
use flux_simulation::random::Random;
use flux_simulation::redis::{Limits as Refusals, Redis};

use crate::mask::Names;
use crate::sides::{Side, decode, encode};

/// The fake under a clock that moves a little with every request.
pub(crate) struct Fake {
    redis: Redis,
    now: Now,
    decoder: Decoder,
    buffer: BytesMut,
    names: Names,
    has_backlog: bool,
}

const SOCKET: SocketId = SocketId(1);
const ADMIN: SocketId = SocketId(2);
const PORT: u16 = 6379;

impl Fake {
    pub(crate) fn new(seed: u64) -> Fake {
        let now = Now { instant: Instant::from_micros(1_000_000), wall_ms: 1_700_000_000_000 };
        let mut redis = Redis::new(PORT, Random::new(seed));
        redis.handle_open(now, SOCKET, PORT);
        redis.handle_open(now, ADMIN, PORT);
        let (decoder, buffer) = (Decoder::new(Limits::DEFAULT), BytesMut::new());
        let mut fake = Fake { redis, now, decoder, buffer, names: Names::default(), has_backlog: false };
        fake.look_who();
        fake
    }

    fn exchange_over(&mut self, over: SocketId, arguments: &[String]) -> OwnedFrame {
        self.pass(Duration::from_micros(333));
        let mut wire = BytesMut::from(encode(arguments).as_slice());
        self.redis.handle_bytes(self.now, over, &mut wire);
        while let Some((socket, bytes)) = self.redis.poll_write() {
            assert_eq!(socket, over);
            self.buffer.extend_from_slice(&bytes);
        }
        decode(&mut self.decoder, &mut self.buffer).expect("a whole reply to a whole request")
    }

    fn pass(&mut self, span: Duration) {
        let before_ms = self.now.instant.as_micros() / 1000;
        self.now.instant = self.now.instant + span;
        self.now.wall_ms += self.now.instant.as_micros() / 1000 - before_ms;
    }
}

impl Side for Fake {
    fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    fn exchange(&mut self, arguments: &[String]) -> OwnedFrame {
        self.exchange_over(SOCKET, arguments)
    }

    fn info(&mut self, section: &str) -> OwnedFrame {
        self.exchange_over(ADMIN, &["INFO".to_owned(), section.to_owned()])
    }

    fn wait(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    fn set_full(&mut self, full: bool) {
        self.redis.set_limits(Refusals { out_of_memory: full, ..Refusals::default() });
    }

    fn set_replica(&mut self, replica: bool) {
        match (replica, self.redis.is_replica()) {
            (true, _) => self.redis.demote(self.now, Duration::ZERO),
            (false, true) => self.redis.promote(),
            (false, false) => {}
        }
        self.look_who();
    }

    fn renew(&mut self) {
        if self.has_backlog {
            self.redis.release_backlog();
        } else {
            self.redis.attach_replica();
            self.redis.detach_replicas();
        }
        self.has_backlog = !self.has_backlog;
        self.look_who();
    }
}
