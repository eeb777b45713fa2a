//! A fake Redis: its data, the commands that the programs use, and the Lua that ships, run by a real Lua 5.1.
//!
//! Redis 7.0 as a client sees it over RESP2, a master with one database and an append-only file synced every second. Held
//! against a real one by `tests/redis_differential.rs`. It never opens a socket, reads a clock or draws chance that was not
//! handed to it: one seed and one sequence of calls give the same bytes each time. What it does not know it answers with an
//! error, and keeps for [`Redis::unknown`].
//!
//! - `wire`, `reply`: requests in, replies out; `peer`: its connections, as [`crate::peer::Peer`] has them.
//! - `server`: what is checked before a command; `command`: all of them; `commands`: what they do.
//! - `keyspace`, `stream`, `store`, `journal`: the data, and what of it is on disk.
//! - `script`, `lua`, `values`: the scripts; `planted`: bugs on purpose in them.
//! - `faults`: what can happen to it; `observe`: what a checker reads; `watch`, `accounts`: what it could not read afterwards.
//!
//! Two liberties: hashes and sets are read in the order of their members, where Redis has none; and keys leave the moment
//! they expire, where Redis takes a while but never shows them.

mod accounts;
mod command;
mod commands;
mod faults;
mod identity;
mod journal;
mod keyspace;
mod limits;
mod lua;
mod observe;
mod peer;
mod planted;
pub mod reach;
mod reply;
mod script;
mod server;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod values;
mod watch;
mod wire;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use flux_protocol::time::{Instant, Now};

pub use self::accounts::{Grant, Reservation, Restored, Second, Stood, Terms};
use self::identity::Identity;
pub use self::journal::LOSS_MAX;
use self::keyspace::Keyspace;
pub use self::limits::Limits;
pub use self::observe::{Foreign, OutboxEntry, OutboxOrder};
use self::server::{Connection, Moment, Server};
pub use self::watch::{LineThen, Taken};
use crate::peer::SocketId;
use crate::random::Random;

/// See the module. Faults are in `faults.rs`, what a checker reads in `observe.rs`.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    random: Random,
    server: Server,
    connections: BTreeMap<SocketId, Connection>,
    /// Replies that the network has not fetched; it does so after every call.
    outgoing: VecDeque<(SocketId, Bytes)>,
    closing: VecDeque<SocketId>,
    is_listening: bool,
    is_paused: bool,
    clock_offset_ms: i64,
    crashed_at: Option<Instant>,
    /// A master that was given up and lives on out of reach: who it is, and what it holds.
    old_master: Option<(Identity, Keyspace)>,
}

impl Redis {
    /// An empty Redis that listens on `port`.
    pub fn new(port: u16, mut random: Random) -> Redis {
        let mut server = Server::default();
        server.store.identity = Identity::new(&mut random, port);
        Redis {
            port,
            random,
            server,
            connections: BTreeMap::new(),
            outgoing: VecDeque::new(),
            closing: VecDeque::new(),
            is_listening: true,
            is_paused: false,
            clock_offset_ms: 0,
            crashed_at: None,
            old_master: None,
        }
    }

    /// Lets in only who knows this password (`requirepass`).
    pub fn require_password(&mut self, password: &str) {
        self.server.password = Some(password.to_owned());
    }

    /// Redis' own clock: the wall's with its offset; the microseconds of the millisecond are the instant's.
    fn moment(&self, now: Now) -> Moment {
        let clock_ms = now.wall_ms.saturating_add_signed(self.clock_offset_ms);
        Moment { instant: now.instant, clock_us: clock_ms * 1000 + now.instant.as_micros() % 1000 }
    }
}
