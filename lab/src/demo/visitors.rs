//! Visitors of a fair sale, who do what the pages do: come, keep the ticket, read the line, order again when called.
//!
//! One reader of the line is enough for all of them, so visitors who wait cost nothing; [`crate::demo::fair_crowd`] moves thousands.
//! Never looks behind the public listener.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flux_protocol::order::Uuid;
use flux_protocol::queue::{Place, Seed, Ticket, Watermark};
use serde_json::{Value, json};

use crate::error::LabError;
use crate::http_client::{self, HttpAnswer};

/// How long a request may take: a called visitor waits for a token for up to a second, and the machine may be busy.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What a visitor does with a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Waits to be called, and comes.
    Waits,
    /// Never comes back.
    Leaves,
    /// Tries again and again, called or not.
    Hammers,
}

/// How an order was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Bought.
    Accepted,
    /// Not yet: the ticket says which place is held.
    InLine,
    /// Nothing is left.
    SoldOut,
    /// No outcome yet (202, 503): the same order, again.
    Again,
}

/// An order that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Purchase {
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered.
    pub answered: Instant,
}

/// Somebody who wants one unit.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The user's identifier, and the order's key.
    pub user: String,
    /// What they do with a ticket.
    pub patience: Patience,
    /// The place in line, as the edge last signed it.
    pub ticket: Option<String>,
    /// What they got.
    pub bought: Option<Purchase>,
}

impl Visitor {
    /// Somebody who has not come yet.
    pub fn new(user: String, patience: Patience) -> Visitor {
        Visitor { user, patience, ticket: None, bought: None }
    }

    /// The place that the ticket claims.
    pub fn place(&self) -> Option<Place> {
        self.claimed().map(|ticket| ticket.place)
    }

    /// Whether the ticket holds the lot that the sale's seed gives to this user.
    pub fn has_true_lot(&self, seed: &Seed) -> bool {
        self.claimed().is_some_and(|ticket| ticket.is_true_lot(seed, self.user.as_bytes()))
    }

    fn claimed(&self) -> Option<Ticket> {
        self.ticket.as_ref().and_then(|text| Ticket::claimed(text.as_bytes()))
    }

    /// Whether they order now: who has no ticket draws one.
    pub fn is_due(&self, called: Watermark) -> bool {
        match (self.place(), self.patience) {
            (None, _) | (Some(_), Patience::Hammers) => true,
            (Some(place), Patience::Waits) => called.has_called(place),
            (Some(_), Patience::Leaves) => false,
        }
    }

    /// Orders one unit of `product`, with the ticket if there is one, under the same key each time.
    ///
    /// # Errors
    /// Where there is no answer, one that no page could make sense of, or another place than the one that was held.
    pub fn order(&mut self, edge: SocketAddr, product: &str) -> Result<Answer, LabError> {
        let body = json!({"productId": product, "userId": self.user}).to_string();
        let mut fields = vec![
            ("content-type", "application/json"),
            ("x-idempotency-key", &self.user),
            ("accept", "application/json"),
        ];
        fields.extend(self.ticket.as_deref().map(|ticket| ("x-queue-ticket", ticket)));
        let sent = Instant::now();
        let answer = http_client::request(edge, "POST", "/order", &fields, body.as_bytes(), REQUEST_MAX)?;
        let told = edges_own(&answer);
        let has_order = told["orderId"].as_str().is_some_and(|id| Uuid::parse(id.as_bytes()).is_some());
        match (answer.status, told["status"].as_str()) {
            (200, Some("success")) if has_order => {
                self.bought = Some(Purchase { sent, answered: Instant::now() });
                Ok(Answer::Accepted)
            }
            (409, Some("sold_out")) => Ok(Answer::SoldOut),
            (429, Some("waiting")) => self.keep(&told).map(|()| Answer::InLine),
            (202, Some("pending")) if has_order => Ok(Answer::Again),
            (503, Some("unavailable" | "unknown")) => Ok(Answer::Again),
            _ => Err(unexpected("POST /order", &answer)),
        }
    }

    /// Takes the ticket of an answer, which must hold the same place as the one before.
    fn keep(&mut self, told: &Value) -> Result<(), LabError> {
        let held = self.place();
        self.ticket = told["ticket"].as_str().map(str::to_owned);
        match (held, self.place()) {
            (_, None) => Err(LabError::failed(format!("{}: sent to the line without a ticket: {told}", self.user))),
            (Some(held), Some(place)) if held != place => {
                Err(LabError::failed(format!("{}: the place moved from {held:?} to {place:?}", self.user)))
            }
            _ => Ok(()),
        }
    }
}

/// The line at one moment, as `GET /queue` tells it to everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Everybody before it may order.
    pub called: Watermark,
    /// When this was so, milliseconds since the Unix epoch on Redis' clock.
    pub now_ms: u64,
    /// The sale has begun.
    pub is_open: bool,
    /// Nothing is left, or the sale was closed.
    pub is_over: bool,
    /// Units left.
    pub available: u64,
}

impl Line {
    /// Of the body of `GET /queue`; `None` where it is none.
    pub fn parse(document: &Value) -> Option<Line> {
        let mark = &document["watermark"];
        let part = |name: &str| mark[name].as_u64().and_then(|number| u32::try_from(number).ok());
        let state = document["state"].as_str()?;
        Some(Line {
            called: Watermark(Place { slot: part("slot")?, rank: part("rank")? }),
            now_ms: document["now"].as_u64()?,
            is_open: state == "open",
            is_over: matches!(state, "sold_out" | "closed"),
            available: document["available"].as_u64()?,
        })
    }
}

/// Reads one sale's line.
#[derive(Debug)]
pub struct LineReader {
    edge: SocketAddr,
    product: String,
    latest: Line,
}

impl LineReader {
    /// Of an edge's public listener.
    pub fn new(edge: SocketAddr, product: &str) -> LineReader {
        LineReader { edge, product: product.to_owned(), latest: Line::default() }
    }

    /// The latest that is known of the line. Each core has its own document, some older than others: by their own time the
    /// watermark never moves back. An edge that is busy (503) is asked again the next time.
    ///
    /// # Errors
    /// Where there is no answer, none that is a line, or the watermark moved back.
    pub fn look(&mut self) -> Result<Line, LabError> {
        let answer = self.document()?;
        let told = edges_own(&answer);
        if answer.status == 503 && told["status"] == "unavailable" {
            return Ok(self.latest);
        }
        let told = if answer.status == 200 { told } else { Value::Null };
        let line = Line::parse(&told).ok_or_else(|| unexpected("GET /queue", &answer))?;
        if line.now_ms >= self.latest.now_ms {
            if line.called < self.latest.called {
                return Err(LabError::failed(format!("the line moved back: {:?}, then {line:?}", self.latest)));
            }
            self.latest = line;
        }
        Ok(self.latest)
    }

    /// The seed, once it is told: when the sale was closed.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn seed(&self) -> Result<Option<Seed>, LabError> {
        Ok(edges_own(&self.document()?)["seed"].as_str().and_then(|text| Seed::parse(text.as_bytes())))
    }

    fn document(&self) -> Result<HttpAnswer, LabError> {
        http_client::request(self.edge, "GET", &format!("/queue/{}", self.product), &[], b"", REQUEST_MAX)
    }
}

/// What the edge says in an answer; null where the answer is not JSON, and so somebody else's.
fn edges_own(answer: &HttpAnswer) -> Value {
    if answer.header("content-type") == Some("application/json") { answer.json() } else { Value::Null }
}

fn unexpected(what: &str, answer: &HttpAnswer) -> LabError {
    LabError::failed(format!("{what}: {} {}", answer.status, answer.text()))
}
