//! What one core is built with.

use std::sync::Arc;
use std::time::Duration;

use flux_protocol::kafka::sasl::identity::Identity;
use flux_protocol::planted::{Bug, is_planted};
use flux_protocol::secret::SharedSecret;
use flux_protocol::time::Instant;
use sha2::{Digest, Sha256};

use crate::answer::Site;
use crate::identity::IdentityProvider;
use crate::limits::{RECORD_AGE_MAX, RELAY_HORIZON_EXTRA, RESERVED_AGE_MAX};
use crate::pages::Pages;
use crate::redis::connection::Login;
use crate::throttle::Throttle;

/// What one core is built with. Validated by `config/`.
#[derive(Debug)]
pub struct CoreConfig {
    pub redis: Login,
    /// Kafka brokers to begin with.
    pub kafka: Vec<(String, u16)>,
    /// Who we are to them, where they want a login: the same of all cores.
    pub kafka_login: Option<Identity>,
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
    /// The header fields that they may send.
    pub cors_headers: String,
    /// How often one user may order, over all cores; `None`: as often as they like.
    pub users: Option<Arc<Throttle>>,
    /// The pages, the same of all cores.
    pub pages: Pages,
    /// What `/init` and `/close` ask for on the public listener.
    pub admin_token: Option<AdminToken>,
    /// The admin listener is not on loopback and asks for the token too.
    pub admin_needs_token: bool,
    /// Whose bearer tokens orders need; `None`: the user is whom the body says.
    pub identity: Option<Arc<IdentityProvider>>,
    /// Names this edge in outbox claims.
    pub edge_id: String,
    /// It is here to ask how the servers are kept: it reads no registry, so it knows of no product and relays nothing.
    pub only_asks: bool,
}

impl CoreConfig {
    /// From reading an order to its answer, at most.
    pub fn order_time_max(&self) -> Duration {
        self.redis_deadline + self.publish_deadline
    }

    /// How long an outbox entry stands before a relay takes it over.
    pub fn relay_horizon(&self) -> Duration {
        self.publish_deadline + RELAY_HORIZON_EXTRA
    }

    /// How long the producer may hold a record. With the age it may have when it is handed over, and with the time its
    /// last request may take, this stays below a rebuild's fence.
    pub fn record_age_max(&self) -> Duration {
        RECORD_AGE_MAX.min(self.publish_deadline + Duration::from_secs(1))
    }

    /// Whether what was reserved by a call first written at `first_sent` is the relay's by now: the producer might send
    /// it for the last time when a rebuild has looked already.
    pub fn is_too_old(&self, now: Instant, first_sent: Instant) -> bool {
        let age = now.since(first_sent) + self.record_age_max();
        age >= RESERVED_AGE_MAX && !is_planted(Bug::AgelessReservations)
    }
}

/// The token of `/init` and `/close`, compared in constant time. It may be replaced while the edge runs.
#[derive(Clone, Debug)]
pub struct AdminToken(SharedSecret);

impl AdminToken {
    /// Of the configured secret, which is not empty.
    pub fn new(secret: SharedSecret) -> AdminToken {
        AdminToken(secret)
    }

    /// Whether an `authorization` field carries it as a bearer token (RFC 6750 section 2.1).
    pub fn matches_bearer(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|field| field.split_at_checked(7)) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && self.is(token.trim_ascii())
    }

    /// Whether `other` is the same; the time it takes tells nothing.
    pub fn is(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        Sha256::digest(self.0.get().expose()).ct_eq(&Sha256::digest(other)).into()
    }
}
