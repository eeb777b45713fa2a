//! A fake server as the simulated network sees it: bytes and time in, bytes out, no socket and no clock.
//!
//! After any call the network asks [`Peer::poll_write`] and [`Peer::poll_close`] until both have nothing, and comes back
//! with [`Peer::handle_time`] when [`Peer::next_deadline`] is reached. One peer may listen on several ports (the brokers of
//! a cluster); what it decides from a port is its own matter.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::{Instant, Now};

/// One connection to a peer, from its opening to its end. Never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// See the module. Time never goes back in [`Now::instant`]; [`Now::wall_ms`] may (clock jumps are a fault).
pub trait Peer {
    /// Whether something listens on `port` now; else connecting is refused.
    fn is_listening(&self, port: u16) -> bool;
    /// A connection was made to `port`.
    fn handle_open(&mut self, now: Now, socket: SocketId, port: u16);
    /// Bytes have arrived, in any pieces; `received` holds all that were not consumed yet.
    fn handle_bytes(&mut self, now: Now, socket: SocketId, received: &mut BytesMut);
    /// The connection has ended, or was reset.
    fn handle_closed(&mut self, now: Now, socket: SocketId);
    /// The time that [`Peer::next_deadline`] named has come.
    fn handle_time(&mut self, now: Now);
    /// When [`Peer::handle_time`] is due; [`Instant::FAR_FUTURE`]: never.
    fn next_deadline(&self) -> Instant;
    /// The next bytes to send, over any of its connections; in order for each of them.
    fn poll_write(&mut self) -> Option<(SocketId, Bytes)>;
    /// The next connection that the peer itself ends; what was written before is still delivered.
    fn poll_close(&mut self) -> Option<SocketId>;
    /// How long the peer's kernel bears that the other side has vanished without a word; `None`: longer than any run.
    fn silence_max(&self, _socket: SocketId) -> Option<Duration> {
        None
    }
}
