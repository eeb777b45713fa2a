//! What the shell of a Kafka machine calls, whichever machine it is: one trait for producer, consumer, admin and log reader.
//!
//! After any call, what is to be done and what is to be written may have changed: ask for actions until there is none, then
//! for the writes of every open connection (one comparison where there is nothing).

use bytes::BytesMut;

use super::connection::ConnectionError;
use super::metadata::MetadataError;
use super::wire::WireError;
use crate::time::Instant;

/// One connection, from its [`BrokerAction::Connect`] to its end. A broker reconnected gets a new key, so that late bytes
/// of an old socket can never be mistaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerKey(pub u32);

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerAction {
    /// Open a socket; then [`KafkaClient::handle_broker_open`], or [`KafkaClient::handle_broker_closed`] where it cannot be opened.
    Connect {
        /// Names this socket from now on.
        broker: BrokerKey,
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Close the socket, or stop opening it. The key is forgotten already: `handle_broker_closed` may follow or not.
    Close {
        /// Which.
        broker: BrokerKey,
    },
}

/// Why the shell is to close a connection. The cluster has forgotten it already; no [`BrokerAction::Close`] follows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The broker broke the protocol.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A metadata answer that cannot be.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The connection had been given up before.
    #[error("bytes from a connection that was given up")]
    Forgotten,
}

impl ClusterError {
    /// Whether we were not let in. It is tried again by itself; what was missing is told once ([`super::cluster::Cluster::refusal`]).
    pub fn is_login(&self) -> bool {
        matches!(self, ClusterError::Connection(ConnectionError::Login(_)))
    }
}

impl From<WireError> for ClusterError {
    fn from(error: WireError) -> ClusterError {
        ClusterError::Connection(ConnectionError::Wire(error))
    }
}

/// A machine that speaks with brokers. Its shell owns the sockets, and knows the time.
pub trait KafkaClient {
    /// What the shell is to do next.
    fn poll_action(&mut self) -> Option<BrokerAction>;
    /// The socket is open.
    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey);
    /// Bytes have arrived at the end of `buffer`; whole answers are taken off its front.
    ///
    /// # Errors
    /// [`ClusterError`]: close the socket. What was in flight on it is lost, or sent again over the next.
    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError>;
    /// The socket is gone, or could not be opened. Nothing where it was given up before.
    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey);
    /// Moves what should go out over this connection now to the end of `out`, all of it in one piece.
    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>);
    /// When [`KafkaClient::handle_time`] is to be called at the latest. Any call may bring it nearer.
    fn next_deadline(&self) -> Instant;
    /// Does what has become due.
    fn handle_time(&mut self, now: Instant);
}
