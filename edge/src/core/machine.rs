//! What the shell drives: the decisions of one core, seen from outside. The real ones are [`Core`]; tests of the shell
//! put a script in their place.
//!
//! Every call hands over the time it is made at. None of them waits.

use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::http::Request;
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey};
use flux_protocol::time::{Instant, Now};

use crate::answer::{Answer, Framing, Site};
use crate::core::routes::Role;
use crate::core::state::orders::ReplyTo;
use crate::core::{Core, Outcome};

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
    fn redis_open(&mut self, now: Now);
    /// Bytes came from Redis, behind those that were left in `buffer`.
    fn redis_bytes(&mut self, now: Now, buffer: &mut BytesMut) -> Result<(), PeerFault>;
    /// The connection to Redis is gone, or could not be made.
    fn redis_closed(&mut self, now: Now);
    /// Appends what should go to Redis now.
    fn redis_poll_write(&mut self, now: Now, out: &mut Vec<u8>);
    /// Why the connection to Redis must be closed although nothing came by it.
    fn redis_poll_failure(&mut self) -> Option<PeerFault>;
    /// For how long Redis could not be asked, or has not answered; zero while it does.
    fn redis_down_for(&self, now: Now) -> Duration;

    /// What to do about connections to brokers.
    fn kafka_action(&mut self) -> Option<BrokerAction>;
    /// A broker's connection is there.
    fn kafka_open(&mut self, now: Now, broker: BrokerKey);
    /// Bytes came from a broker, behind those that were left in `buffer`.
    fn kafka_bytes(&mut self, now: Now, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), PeerFault>;
    /// A broker's connection is gone, or could not be made.
    fn kafka_closed(&mut self, now: Now, broker: BrokerKey);
    /// Appends what should go to a broker now.
    fn kafka_poll_write(&mut self, now: Now, broker: BrokerKey, out: &mut Vec<u8>);
    /// For how long Kafka has taken no records; zero while it does.
    fn kafka_down_for(&self, now: Now) -> Duration;

    /// When [`Machine::handle_time`] is due.
    fn next_deadline(&self) -> Instant;
    /// Looks at the time.
    fn handle_time(&mut self, now: Now);
    /// No new orders from now on.
    fn drain(&mut self, now: Now);
    /// Whether nothing is under way any more.
    fn is_drained(&self) -> bool;
}

impl Machine for Core {
    fn handle_request(&mut self, now: Now, role: Role, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        Core::handle_request(self, now, role, request, reply_to)
    }
    fn framing(&self, request: &Request<'_>) -> Framing {
        Core::framing(self, request)
    }
    fn site(&self) -> &Site {
        Core::site(self)
    }
    fn poll_completion(&mut self) -> Option<(ReplyTo, Answer)> {
        Core::poll_completion(self)
    }
    fn redis_open(&mut self, now: Now) {
        Core::redis_open(self, now);
    }
    fn redis_bytes(&mut self, now: Now, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        Core::redis_bytes(self, now, buffer).map_err(|error| PeerFault(error.to_string()))
    }
    fn redis_closed(&mut self, now: Now) {
        Core::redis_closed(self, now);
    }
    fn redis_poll_write(&mut self, now: Now, out: &mut Vec<u8>) {
        Core::redis_poll_write(self, now, out);
    }
    fn redis_poll_failure(&mut self) -> Option<PeerFault> {
        Core::redis_poll_failure(self).map(|error| PeerFault(error.to_string()))
    }
    fn redis_down_for(&self, now: Now) -> Duration {
        Core::redis_down_for(self, now)
    }
    fn kafka_action(&mut self) -> Option<BrokerAction> {
        Core::kafka_action(self)
    }
    fn kafka_open(&mut self, now: Now, broker: BrokerKey) {
        Core::kafka_open(self, now, broker);
    }
    fn kafka_bytes(&mut self, now: Now, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        Core::kafka_bytes(self, now, broker, buffer).map_err(|error| PeerFault(error.to_string()))
    }
    fn kafka_closed(&mut self, now: Now, broker: BrokerKey) {
        Core::kafka_closed(self, now, broker);
    }
    fn kafka_poll_write(&mut self, now: Now, broker: BrokerKey, out: &mut Vec<u8>) {
        Core::kafka_poll_write(self, now, broker, out);
    }
    fn kafka_down_for(&self, now: Now) -> Duration {
        Core::kafka_down_for(self, now)
    }
    fn next_deadline(&self) -> Instant {
        Core::next_deadline(self)
    }
    fn handle_time(&mut self, now: Now) {
        Core::handle_time(self, now);
    }
    fn drain(&mut self, now: Now) {
        Core::drain(self, now);
    }
    fn is_drained(&self) -> bool {
        Core::is_drained(self)
    }
}
