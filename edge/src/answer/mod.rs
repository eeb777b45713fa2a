//! What a caller is told. How it is written stands in [`write`]. Never decides what is true; that is the core's work.

mod write;

use bytes::Bytes;
use flux_protocol::http::problem;
use flux_protocol::order::{Identifier, Uuid};

pub use write::{Framing, Site};

use crate::sale::{SaleState, TicketText};

/// Where an answer goes: a request's place in a connection's burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The connection's place in its core's slab.
    pub conn: u32,
    /// Which of the connections that had this place.
    pub generation: u32,
    /// Which request of the burst.
    pub position: u32,
}

/// Why nothing was sold, told with 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Redis cannot be reached, or refuses to write.
    Redis,
    /// Redis is reached, but not the one the sale was opened on; or a key of it is missing.
    Suspended,
    /// Kafka's topic is not known yet.
    Kafka,
    /// A queue of this edge is full.
    Full,
    /// So many orders of the product wait for Kafka that no more are taken.
    OutboxFull,
    /// The edge is shutting down.
    Draining,
    /// The sale changed while the order was under way.
    Changed,
    /// Another order with the same key is under way, and whether it will stand is not known yet.
    Busy,
    /// The sale's orders belong into another topic than this edge's.
    OtherTopic,
    /// The sale is sold under a fence, and this edge has not lately read that it may sell it.
    Fenced,
}

impl Unavailable {
    /// Its name in metrics and in the body's `msg`.
    pub fn message(self) -> &'static str {
        match self {
            Unavailable::Redis => "Redis unavailable",
            Unavailable::Suspended => "Sale suspended",
            Unavailable::Kafka => "Kafka unavailable",
            Unavailable::Full => "Edge full",
            Unavailable::OutboxFull => "Too many undelivered orders",
            Unavailable::Draining => "Edge draining",
            Unavailable::Changed => "Sale changed, repeat with the same key",
            Unavailable::Busy => "Another order with this key is under way",
            Unavailable::OtherTopic => "Sale of another topic",
            Unavailable::Fenced => "Not certain which Redis may sell",
        }
    }
}

/// One answer. Small and without heap data, but for the rare [`Answer::Document`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: reserved in Redis and acknowledged by Kafka.
    Accepted {
        /// The order.
        id: Uuid,
        /// It had been accepted, or was under way, before this request.
        replayed: bool,
    },
    /// 202: reserved, not yet acknowledged.
    Pending {
        /// The order.
        id: Uuid,
        /// It was under way before this request.
        replayed: bool,
    },
    /// 302 to the waiting room.
    Redirect(Identifier),
    /// 429: the same for a caller that asked for JSON.
    Waiting(Identifier),
    /// Either of them, with a place in the sale's queue.
    InQueue {
        product: Identifier,
        /// The place, signed.
        ticket: TicketText,
        /// 429 in place of 302.
        wants_json: bool,
    },
    /// 429 of `GET /order`.
    StatusWaiting,
    /// 409, also of a closed sale.
    SoldOut,
    /// 409.
    Insufficient {
        /// Units left.
        available: u64,
    },
    /// 409.
    LimitReached,
    /// 422.
    KeyReused,
    /// 404.
    UnknownProduct,
    /// 429: the caller, by address or user, comes too often. Nothing was sold.
    Limited {
        /// When they may come again.
        seconds: u32,
    },
    /// 503: nothing was sold.
    Unavailable(Unavailable),
    /// 503: a unit may have been taken.
    Unknown,
    /// 200 of `GET /stock`.
    Stock {
        product: Identifier,
        /// Units left; `None` where that is not known, the sale being suspended.
        available: Option<u64>,
        /// The sale's state.
        state: SaleState,
    },
    /// 200 of `GET /queue`: the document, JSON.
    Queue(Bytes),
    /// 200 of `GET /order`.
    Status {
        /// The order.
        id: Uuid,
        /// Acknowledged by Kafka, as opposed to still in the outbox.
        accepted: bool,
    },
    /// Anything that is not asked for thousands of times a second.
    Document(Box<Document>),
}

/// A rare answer, spelled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// HTTP status.
    pub status: u16,
    /// Fields beyond `content-type`, `content-length`, `date` and `connection`.
    pub fields: Vec<(&'static str, String)>,
    /// Media type; none is written for an empty body.
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Answer {
    /// Over the limit: where to go.
    pub fn waiting_room(product: Identifier, wants_json: bool) -> Answer {
        if wants_json { Answer::Waiting(product) } else { Answer::Redirect(product) }
    }

    /// To the queue, with a place in it; where the queue's status is not known, there is none to give.
    pub fn in_queue(product: Identifier, ticket: Option<TicketText>, wants_json: bool) -> Answer {
        match ticket {
            Some(ticket) => Answer::InQueue { product, ticket, wants_json },
            None => Answer::Unavailable(Unavailable::Redis),
        }
    }

    /// What a request that joined an order is told: the same, marked as a replay.
    #[must_use]
    pub fn replayed(&self) -> Answer {
        match self {
            Answer::Accepted { id, .. } => Answer::Accepted { id: *id, replayed: true },
            Answer::Pending { id, .. } => Answer::Pending { id: *id, replayed: true },
            other => other.clone(),
        }
    }

    /// A JSON document.
    pub fn json(status: u16, body: &serde_json::Value) -> Answer {
        let body = Bytes::from(body.to_string());
        Answer::Document(Box::new(Document { status, fields: Vec::new(), content_type: JSON, body }))
    }

    /// No body at all.
    pub fn empty(status: u16) -> Answer {
        Answer::Document(Box::new(Document { status, fields: Vec::new(), content_type: "", body: Bytes::new() }))
    }

    /// `{"error": …}`, with the members of RFC 9457.
    pub fn error(status: u16, error: &str) -> Answer {
        let body = Bytes::from(problem::error(status, error));
        Answer::Document(Box::new(Document { status, fields: Vec::new(), content_type: JSON, body }))
    }

    /// 503 in other words than [`Unavailable`] has: nothing was done.
    pub fn unavailable(msg: &str) -> Answer {
        let body = Bytes::from(problem::refusal(503, "unavailable", msg));
        let document =
            Document { status: 503, fields: vec![("retry-after", "1".to_owned())], content_type: JSON, body };
        Answer::Document(Box::new(document))
    }

    /// With one more field; of documents only.
    pub fn with_field(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        match &mut self {
            Answer::Document(document) => document.fields.push((name, value.into())),
            _ => unreachable!("fields of prebuilt answers are fixed"),
        }
        self
    }

    /// Its HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Answer::Accepted { .. } | Answer::Stock { .. } | Answer::Status { .. } | Answer::Queue(_) => 200,
            Answer::Pending { .. } => 202,
            Answer::Redirect(_) | Answer::InQueue { wants_json: false, .. } => 302,
            Answer::UnknownProduct => 404,
            Answer::SoldOut | Answer::Insufficient { .. } | Answer::LimitReached => 409,
            Answer::KeyReused => 422,
            Answer::Waiting(_)
            | Answer::StatusWaiting
            | Answer::Limited { .. }
            | Answer::InQueue { wants_json: true, .. } => 429,
            Answer::Unavailable(_) | Answer::Unknown => 503,
            Answer::Document(document) => document.status,
        }
    }
}

/// Media type of every body but the pages.
pub const JSON: &str = "application/json";
