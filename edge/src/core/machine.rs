//! What the shell drives: the decisions of one core, seen from outside. The real ones are those of
//! [`Core`](crate::core::Core); tests of the shell put a script in their place.
//!
//! The contract is that of the protocol's machines: what happens goes in by `handle_*`, what is to be done comes out by
//! `poll_*`, and [`Machine::next_deadline`] says when time itself is due. Every call hands over the time it is made at. None
//! of them waits.

use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::http::Request;
use flux_protocol::kafka::client::{BrokerAction, BrokerKey};
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, Framing, ReplyTo, Site};
use crate::core::request::{Outcome, Role};

/// The peer broke its protocol: its connection must be closed. The text is for the log.
#[derive(Debug)]
pub struct PeerFault(pub String);

/// The decisions of one core.
pub trait Machine: 'static {
    /// A whole request. Where the answer comes later, it comes through [`Machine::poll_completion`] exactly once.
    fn handle_request(&mut self, now: Now, role: Role, request: &Request<'_>, reply_to: ReplyTo) -> Outcome;
    /// How the answer to `request` is framed.
    fn framing(&self, request: &Request<'_>) -> Framing;
    /// Prebuilt pieces of answers.
    fn site(&self) -> &Site;
    /// The next answer that was promised for later.
    fn poll_completion(&mut self) -> Option<(ReplyTo, Answer)>;

    /// The connection to Redis is there.
    fn handle_redis_open(&mut self, now: Now);
    /// Bytes came from Redis, behind those that were left in `buffer`.
    fn handle_redis_bytes(&mut self, now: Now, buffer: &mut BytesMut) -> Result<(), PeerFault>;
    /// The connection to Redis is gone, or could not be made.
    fn handle_redis_closed(&mut self, now: Now);
    /// Appends what should go to Redis now.
    fn poll_redis_write(&mut self, now: Now, out: &mut Vec<u8>);
    /// Why the connection to Redis must be closed although nothing came by it.
    fn poll_redis_failure(&mut self) -> Option<PeerFault>;
    /// For how long Redis could not be asked, or has not answered; zero while it does.
    fn redis_down_for(&self, now: Now) -> Duration;

    /// What to do about connections to brokers.
    fn poll_broker_action(&mut self) -> Option<BrokerAction>;
    /// A broker's connection is there.
    fn handle_broker_open(&mut self, now: Now, broker: BrokerKey);
    /// Bytes came from a broker, behind those that were left in `buffer`.
    fn handle_broker_bytes(&mut self, now: Now, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), PeerFault>;
    /// A broker's connection is gone, or could not be made.
    fn handle_broker_closed(&mut self, now: Now, broker: BrokerKey);
    /// Appends what should go to a broker now.
    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>);
    /// For how long Kafka has taken no records; zero while it does.
    fn kafka_down_for(&self, now: Now) -> Duration;

    /// When [`Machine::handle_time`] is due.
    fn next_deadline(&self) -> Instant;
    /// Looks at the time.
    fn handle_time(&mut self, now: Now);
    /// No new orders from now on.
    fn handle_drain(&mut self, now: Now, until: Instant);
    /// Whether nothing is under way any more.
    fn is_drained(&self) -> bool;
}
