//! Every request of a run and what it came to: what the checker compares with the servers.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use flux_protocol::order::Uuid;
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::outcome::{Doubt, Outcome, Refusal};

/// One request and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked; shared by all repeats.
    pub order: Arc<Order>,
    /// 0 for the first time, counted up by repeats.
    pub attempt: u32,
    /// When the request was sent, µs since the Unix epoch.
    pub sent_us: u64,
    /// When the outcome was known, µs since the Unix epoch.
    pub answered_us: u64,
    /// The outcome.
    pub outcome: Outcome,
}

/// All exchanges of one or several crowds, in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The exchanges.
    pub exchanges: Vec<Exchange>,
}

impl History {
    /// Adds all that `other` holds.
    pub fn extend(&mut self, other: &History) {
        self.exchanges.extend_from_slice(&other.exchanges);
    }

    /// The orders that got a 200 or a 202, each once, in order of their ids.
    pub fn promised(&self) -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = self.exchanges.iter().filter_map(|exchange| exchange.outcome.order_id()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The orders that got a 200, each once, in order of their ids.
    pub fn accepted(&self) -> Vec<Uuid> {
        let accepted = |exchange: &Exchange| match exchange.outcome {
            Outcome::Accepted { order_id, .. } => Some(order_id),
            _ => None,
        };
        let mut ids: Vec<Uuid> = self.exchanges.iter().filter_map(accepted).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// How many exchanges satisfy `which`.
    pub fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.exchanges.iter().filter(|exchange| which(&exchange.outcome)).count()
    }

    /// Writes one JSON object a line.
    ///
    /// # Errors
    /// Where `out` does.
    pub fn write_lines(&self, mut out: impl Write) -> io::Result<()> {
        for exchange in &self.exchanges {
            serde_json::to_writer(&mut out, &Line::from(exchange))?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads what [`History::write_lines`] wrote.
    ///
    /// # Errors
    /// Where a line is not such an object; the text says which.
    pub fn read_lines(lines: impl BufRead) -> io::Result<History> {
        let mut history = History::default();
        for (number, line) in (1..).zip(lines.lines()) {
            let parsed = serde_json::from_str::<Line>(&line?).map_err(|error| error.to_string());
            let exchange = parsed.and_then(|line| Exchange::try_from(line).map_err(str::to_owned));
            history.exchanges.push(exchange.map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {number} of the history: {error}"))
            })?);
        }
        Ok(history)
    }
}

/// An exchange as a line of a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(flatten)]
    order: Order,
    attempt: u32,
    sent_us: u64,
    answered_us: u64,
    /// `ok`, `pending`, `no` or `unknown`.
    outcome: String,
    /// Why, for `no` and `unknown`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    order_id: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    replayed: bool,
}

impl From<&Exchange> for Line {
    fn from(exchange: &Exchange) -> Line {
        let (outcome, kind, replayed) = match exchange.outcome {
            Outcome::Accepted { replayed, .. } => ("ok", None, replayed),
            Outcome::Pending { replayed, .. } => ("pending", None, replayed),
            Outcome::No(refusal) => ("no", Some(refusal_word(refusal)), false),
            Outcome::Unknown(doubt) => ("unknown", Some(doubt_word(doubt).to_owned()), false),
        };
        Line {
            order: Order::clone(&exchange.order),
            attempt: exchange.attempt,
            sent_us: exchange.sent_us,
            answered_us: exchange.answered_us,
            outcome: outcome.to_owned(),
            kind,
            order_id: exchange.outcome.order_id().map(|id| id.to_string()),
            replayed,
        }
    }
}

impl TryFrom<Line> for Exchange {
    type Error = &'static str;

    fn try_from(line: Line) -> Result<Exchange, &'static str> {
        let order_id = || {
            let text = line.order_id.as_deref().ok_or("no orderId")?;
            Uuid::parse(text.as_bytes()).ok_or("orderId is no UUID")
        };
        let kind = line.kind.as_deref().unwrap_or_default();
        let outcome = match line.outcome.as_str() {
            "ok" => Outcome::Accepted { order_id: order_id()?, replayed: line.replayed },
            "pending" => Outcome::Pending { order_id: order_id()?, replayed: line.replayed },
            "no" => Outcome::No(parse_refusal(kind).ok_or("unknown kind of refusal")?),
            "unknown" => {
                let doubt = DOUBTS.into_iter().find(|doubt| doubt_word(*doubt) == kind);
                Outcome::Unknown(doubt.ok_or("unknown kind of doubt")?)
            }
            _ => return Err("outcome is none of ok, pending, no, unknown"),
        };
        Ok(Exchange {
            order: Arc::new(line.order),
            attempt: line.attempt,
            sent_us: line.sent_us,
            answered_us: line.answered_us,
            outcome,
        })
    }
}

const DOUBTS: [Doubt; 4] = [Doubt::Timeout, Doubt::Reset, Doubt::Said, Doubt::Garbled];
const REFUSALS: [(Refusal, &str); 9] = [
    (Refusal::Redirected, "redirected"),
    (Refusal::Waiting, "waiting"),
    (Refusal::SoldOut, "sold_out"),
    (Refusal::Insufficient, "insufficient"),
    (Refusal::LimitReached, "limit_reached"),
    (Refusal::KeyReused, "key_reused"),
    (Refusal::UnknownProduct, "unknown_product"),
    (Refusal::Unavailable, "unavailable"),
    (Refusal::NotSent, "not_sent"),
];

fn doubt_word(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Timeout => "timeout",
        Doubt::Reset => "reset",
        Doubt::Said => "said",
        Doubt::Garbled => "garbled",
    }
}

fn refusal_word(refusal: Refusal) -> String {
    match REFUSALS.iter().find(|(other, _)| *other == refusal) {
        Some((_, word)) => (*word).to_owned(),
        None => match refusal {
            Refusal::Rejected(status) => status.to_string(),
            _ => unreachable!("every other refusal stands in the table"),
        },
    }
}

fn parse_refusal(word: &str) -> Option<Refusal> {
    let named = REFUSALS.iter().find(|(_, other)| *other == word).map(|(refusal, _)| *refusal);
    named.or_else(|| word.parse().ok().map(Refusal::Rejected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_as_they_were_written() {
        let order_id = flux_protocol::order::order_id(b"p", 1, b"u", b"k");
        let mut outcomes = vec![
            Outcome::Accepted { order_id, replayed: true },
            Outcome::Pending { order_id, replayed: false },
            Outcome::No(Refusal::Rejected(413)),
        ];
        outcomes.extend(REFUSALS.map(|(refusal, _)| Outcome::No(refusal)));
        outcomes.extend(DOUBTS.map(Outcome::Unknown));
        let order = Arc::new(Order::new("p", "u", "k", 3));
        let exchange =
            |outcome| Exchange { order: Arc::clone(&order), attempt: 1, sent_us: 5, answered_us: 9, outcome };
        let history = History { exchanges: outcomes.into_iter().map(exchange).collect() };
        let mut file = Vec::new();
        history.write_lines(&mut file).unwrap();
        assert_eq!(History::read_lines(&file[..]).unwrap(), history);
        assert!(History::read_lines(&b"{}\n"[..]).unwrap_err().to_string().contains("line 1"));
        assert_eq!(history.promised(), [order_id]);
    }
}
