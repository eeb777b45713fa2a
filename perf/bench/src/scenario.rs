//! What is measured: which requests go out, what is for sale, and how each is answered.
//!
//! Never starts anything; [`super::measure`] does.

use clap::ValueEnum;
use serde::Serialize;

use super::contestant::Contestant;

/// Products of [`Scenario::Zipf`].
pub const ZIPF_PRODUCTS: u32 = 1_000;
/// Keys that [`Scenario::Replay`] asks for again in turn: more than connections, so that two requests for one order
/// seldom meet.
pub const REPLAY_KEYS: u32 = 20_000;
/// Requests of one write in [`Scenario::Pipelined`].
pub const PIPELINED: u32 = 16;
/// Orders a second of a sale with a line, which needs a limit; nobody in it is called.
const LINE_RATE: u64 = 10_000;
/// Units of a sale that must not run out.
const ENDLESS: u64 = 1_000_000_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Orders, each with a key and a user of its own: the full path, 200.
    Accepted,
    /// Accepted orders asked for again with their key: 200 from the record.
    Replay,
    /// Orders of a product of which nothing is left: 409.
    SoldOut,
    /// Orders over the rate limit: 302 from memory.
    Redirect,
    /// `GET /stock`: 200 from memory.
    Stock,
    /// Redirects, 16 in one write.
    Pipelined,
    /// Orders of 1,000 products drawn by Zipf's law, beside the same of one product.
    Zipf,
    /// What [`Scenario::Zipf`] is compared with, from the same script.
    #[value(skip)]
    OneProduct,
    /// Redirects, each on a connection of its own, as a sale's opening looks.
    OpeningStorm,
    /// Accepted orders over links to Redis and Kafka with TLS, beside plain ones.
    TlsLinks,
    /// Accepted orders of clients that speak TLS, on connections that are kept.
    HttpsKept,
    /// The same, each on a connection of its own, with a full handshake.
    HttpsNew,
    /// Memory of connections that rest.
    Idle,
    /// A million tickets of a fair queue: what is kept of them, and what Redis is asked.
    Queued,
    /// When two edges open a scheduled sale, by Redis' clock.
    Opening,
    /// Buyers beside a flood of one public route after the other.
    Flood,
    /// Products that nobody asks for, and pages that show a thousand stocks.
    IdleProducts,
    /// From the topic to committed rows, beside `psql \copy`.
    Worker,
}

/// One sale to open before the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The product.
    pub product: String,
    /// Units.
    pub quantity: u64,
    /// Orders a second; 0 is no limit.
    pub rate: u64,
    /// When it opens, RFC 3339; `None`: at once. Our edge alone knows of it, and of the next.
    pub opens_at: Option<String>,
    /// Whether it has a fair queue.
    pub is_fair: bool,
}

impl Sale {
    fn of(product: &str, quantity: u64, rate: u64) -> Sale {
        Sale { product: product.to_owned(), quantity, rate, opens_at: None, is_fair: false }
    }

    /// A sale of so many orders a second.
    pub fn limited(product: &str, quantity: u64, rate: u64) -> Sale {
        Sale::of(product, quantity, rate)
    }

    /// A sale without a limit that opens at `opens_at`, RFC 3339.
    pub fn opening(product: &str, opens_at: String) -> Sale {
        Sale { opens_at: Some(opens_at), ..Sale::of(product, ENDLESS, 0) }
    }
}

/// A request sent once before the load, and the status that shows that the contestant plays this scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// An order of this product; the status.
    Order(&'static str, u16),
    /// `GET /stock` of this product; 200.
    Stock(&'static str),
}

impl Scenario {
    /// All that a person can choose.
    pub fn all() -> Vec<Scenario> {
        Scenario::value_variants().iter().copied().filter(|scenario| scenario.to_possible_value().is_some()).collect()
    }

    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Accepted => "accepted",
            Scenario::Replay => "replay",
            Scenario::SoldOut => "sold-out",
            Scenario::Redirect => "redirect",
            Scenario::Stock => "stock",
            Scenario::Pipelined => "pipelined",
            Scenario::Zipf => "zipf",
            Scenario::OneProduct => "one-product",
            Scenario::OpeningStorm => "opening-storm",
            Scenario::TlsLinks => "tls-links",
            Scenario::HttpsKept => "https-kept",
            Scenario::HttpsNew => "https-new",
            Scenario::Idle => "idle",
            Scenario::Queued => "queued",
            Scenario::Opening => "opening",
            Scenario::Flood => "flood",
            Scenario::IdleProducts => "idle-products",
            Scenario::Worker => "worker",
        }
    }

    /// Whether it is measured at every number of connections and threads; the others at one.
    pub fn is_swept(self) -> bool {
        use Scenario::*;
        matches!(self, Accepted | Replay | SoldOut | Redirect | Stock)
    }

    /// Whether it is measured at a constant arrival rate as well. The crowd sends orders with fresh keys only;
    /// of those that open connections 3,000 a second.
    pub fn has_open_loop(self) -> bool {
        matches!(self, Scenario::Accepted | Scenario::SoldOut | Scenario::Redirect | Scenario::HttpsNew)
    }

    /// Who takes turns: with each contestant what it does, in this order.
    pub fn turns(self, contestants: &[Contestant]) -> Vec<(Scenario, Contestant)> {
        let parts = match self {
            Scenario::Zipf => vec![Scenario::OneProduct, Scenario::Zipf],
            _ => vec![self],
        };
        let playing = contestants.iter().filter(|contestant| contestant.plays(self));
        playing.flat_map(|contestant| parts.iter().map(|part| (*part, *contestant))).collect()
    }

    /// The sales it needs.
    pub fn sales(self) -> Vec<Sale> {
        match self {
            Scenario::Accepted
            | Scenario::Replay
            | Scenario::Stock
            | Scenario::TlsLinks
            | Scenario::HttpsKept
            | Scenario::HttpsNew
            | Scenario::Idle => {
                vec![Sale::of("bench", ENDLESS, 0)]
            }
            Scenario::SoldOut => vec![Sale::of("gone", 1, 0)],
            Scenario::Redirect | Scenario::Pipelined | Scenario::OpeningStorm => vec![Sale::of("trickle", ENDLESS, 1)],
            Scenario::OneProduct => vec![Sale::of("zipf-1", ENDLESS, 0)],
            Scenario::Zipf => (1..=ZIPF_PRODUCTS).map(|n| Sale::of(&format!("zipf-{n}"), ENDLESS, 0)).collect(),
            // Nobody is called before it opens, so everyone who comes is given a ticket.
            Scenario::Queued => {
                let line = Sale::opening("line", "2100-01-01T00:00:00Z".to_owned());
                vec![Sale { rate: LINE_RATE, is_fair: true, ..line }]
            }
            Scenario::Opening | Scenario::Flood | Scenario::IdleProducts | Scenario::Worker => Vec::new(),
        }
    }

    /// The product that is ordered, by the crowd among others.
    pub fn product(self) -> &'static str {
        match self {
            Scenario::SoldOut => "gone",
            Scenario::Redirect | Scenario::Pipelined | Scenario::OpeningStorm => "trickle",
            Scenario::Zipf | Scenario::OneProduct => "zipf-1",
            Scenario::Queued => "line",
            _ => "bench",
        }
    }

    /// Orders that are placed, and must be accepted, before the load.
    pub fn orders_before(self) -> u32 {
        match self {
            Scenario::Replay => REPLAY_KEYS,
            Scenario::SoldOut => 1,
            _ => 0,
        }
    }

    /// The wrk script in `perf/wrk` and its arguments.
    pub fn script(self) -> (&'static str, Vec<String>) {
        let words = |words: &[&dyn ToString]| words.iter().map(|word| word.to_string()).collect();
        match self {
            Scenario::Replay => ("replay.lua", words(&[&"bench", &REPLAY_KEYS])),
            Scenario::Redirect => ("redirect.lua", words(&[&"trickle"])),
            Scenario::Pipelined => ("redirect.lua", words(&[&"trickle", &PIPELINED])),
            Scenario::OpeningStorm => ("redirect.lua", words(&[&"trickle", &1, &"close"])),
            Scenario::HttpsNew => ("order.lua", words(&[&self.product(), &1, &"close"])),
            Scenario::Stock | Scenario::Idle => ("stock.lua", words(&[&"bench"])),
            Scenario::Zipf => ("zipf.lua", words(&[&"zipf-", &ZIPF_PRODUCTS])),
            Scenario::OneProduct => ("zipf.lua", words(&[&"zipf-", &1])),
            Scenario::Accepted
            | Scenario::TlsLinks
            | Scenario::HttpsKept
            | Scenario::SoldOut
            | Scenario::Queued
            | Scenario::Opening
            | Scenario::Flood
            | Scenario::IdleProducts
            | Scenario::Worker => ("order.lua", words(&[&self.product()])),
        }
    }

    /// What is asked once before the load.
    pub fn probe(self) -> Probe {
        match self {
            Scenario::Stock | Scenario::Idle => Probe::Stock("bench"),
            Scenario::SoldOut => Probe::Order("gone", 409),
            Scenario::Redirect | Scenario::Pipelined | Scenario::OpeningStorm | Scenario::Queued => {
                Probe::Order(self.product(), 302)
            }
            _ => Probe::Order(self.product(), 200),
        }
    }

    /// Whether every answer is one that wrk counts as an error (400 and above).
    pub fn is_refused(self) -> bool {
        self == Scenario::SoldOut
    }

    /// Whether every answer stands for a new record in the topic.
    pub fn writes_records(self) -> bool {
        use Scenario::{Accepted, HttpsKept, HttpsNew, OneProduct, TlsLinks, Zipf};
        matches!(self, Accepted | Zipf | OneProduct | TlsLinks | HttpsKept | HttpsNew)
    }

    /// Whether each request has a connection of its own.
    pub fn opens_connections(self) -> bool {
        matches!(self, Scenario::OpeningStorm | Scenario::HttpsNew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for scenario in Scenario::all() {
            assert_eq!(scenario.to_possible_value().unwrap().get_name(), scenario.name());
        }
        assert!(!Scenario::all().contains(&Scenario::OneProduct));
    }

    #[test]
    fn zipf_is_measured_in_turns_with_one_product() {
        let turns = Scenario::Zipf.turns(&[Contestant::Edge, Contestant::Nginx]);
        assert_eq!(turns, [(Scenario::OneProduct, Contestant::Edge), (Scenario::Zipf, Contestant::Edge)]);
        assert_eq!(Scenario::Zipf.sales().len(), ZIPF_PRODUCTS as usize);
    }
}
