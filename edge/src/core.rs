//! Stand-in for the decisions of one core: answers every request at once with a constant. Replaced by the real one.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::http::Request;
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey};
use flux_protocol::time::{Instant, Now};
use sha2::{Digest, Sha256};

use crate::answer::{Answer, Framing, Site};
use crate::counters::Counters;
use crate::pending::Ticket;
use crate::redis::{LinkError, Login};
use crate::routes::Role;

/// What one core is built with. Validated by `config.rs`.
#[derive(Debug)]
pub struct CoreConfig {
    /// Redis login.
    pub redis: Login,
    /// Kafka brokers to begin with.
    pub kafka: Vec<(String, u16)>,
    /// The topic of accepted orders.
    pub topic: String,
    /// Rate and burst of sales that name none: orders a second, orders.
    pub rate: u64,
    /// See `rate`.
    pub burst: u64,
    /// Life of an idempotency record.
    pub idempotency_ttl: Duration,
    /// Undelivered orders of one product; beyond: 503.
    pub outbox_orders_max: u64,
    /// From reading an order to Redis' answer.
    pub redis_deadline: Duration,
    /// From the reservation to Kafka's acknowledgement; then 202.
    pub publish_deadline: Duration,
    /// Prebuilt pieces of answers.
    pub site: Site,
    /// The origin whose scripts may read answers.
    pub cors_origin: String,
    /// The public listener's port, which the waiting room's page is told.
    pub public_port: u16,
    /// What `/init` and `/close` ask for on the public listener. Never shown.
    pub admin_token: Option<Secret>,
    /// The admin listener is not on loopback and asks for the token too.
    pub admin_needs_token: bool,
    /// Names this edge in outbox claims.
    pub edge_id: String,
}

/// A token that is never shown and compared in constant time.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Of the configured text.
    pub fn new(text: &str) -> Secret {
        Secret(text.as_bytes().to_vec())
    }

    /// Whether an `authorization` field carries it as a bearer token (RFC 6750 section 2.1).
    pub fn matches_bearer(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|field| field.split_at_checked(7)) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.is(token.trim_ascii())
    }

    /// Whether `other` is the same; the time it takes tells nothing.
    pub fn is(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        Sha256::digest(&self.0).ct_eq(&Sha256::digest(other)).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a request gets at once.
#[derive(Debug)]
pub enum Outcome {
    /// Its answer.
    Now(Answer),
    /// The answer comes through [`Core::poll_completion`], exactly once.
    Later,
}

/// One core.
#[derive(Debug)]
pub struct Core {
    config: Rc<CoreConfig>,
    draining: bool,
}

#[allow(missing_docs, clippy::needless_pass_by_value)]
impl Core {
    pub fn new(
        config: Rc<CoreConfig>,
        _counters: std::sync::Arc<Counters>,
        _index: usize,
        _secret: [u8; 32],
        _now: Now,
    ) -> Core {
        Core { config, draining: false }
    }
    pub fn handle_request(&mut self, _now: Now, _role: Role, _request: &Request<'_>, _ticket: Ticket) -> Outcome {
        Outcome::Now(Answer::SoldOut)
    }
    pub fn framing(&self, request: &Request<'_>) -> Framing {
        Framing { connection: request.connection(), head_only: request.head_only(), cors: false }
    }
    pub fn poll_completion(&mut self) -> Option<(Ticket, Answer)> {
        None
    }
    pub fn site(&self) -> &Site {
        &self.config.site
    }
    pub fn redis_is_ready(&self) -> bool {
        true
    }
    pub fn redis_down_for(&self, _now: Now) -> Duration {
        Duration::ZERO
    }
    pub fn kafka_is_ready(&self) -> bool {
        true
    }
    pub fn drain(&mut self, _now: Now) {
        self.draining = true;
    }
    pub fn is_drained(&self) -> bool {
        self.draining
    }
    pub fn redis_open(&mut self, _now: Now) {}
    pub fn redis_bytes(&mut self, _now: Now, _buffer: &mut BytesMut) -> Result<(), LinkError> {
        Ok(())
    }
    pub fn redis_closed(&mut self, _now: Now) {}
    pub fn redis_poll_write(&mut self, _now: Now, _out: &mut Vec<u8>) {}
    pub fn redis_poll_failure(&mut self) -> Option<LinkError> {
        None
    }
    pub fn kafka_action(&mut self) -> Option<BrokerAction> {
        None
    }
    pub fn kafka_open(&mut self, _now: Now, _broker: BrokerKey) {}
    pub fn kafka_bytes(&mut self, _now: Now, _broker: BrokerKey, _buffer: &mut BytesMut) -> Result<(), LinkError> {
        Ok(())
    }
    pub fn kafka_closed(&mut self, _now: Now, _broker: BrokerKey) {}
    pub fn kafka_poll_write(&mut self, _now: Now, _broker: BrokerKey, _out: &mut Vec<u8>) {}
    pub fn next_deadline(&self) -> Instant {
        Instant::FAR_FUTURE
    }
    pub fn handle_time(&mut self, _now: Now) {}
}
