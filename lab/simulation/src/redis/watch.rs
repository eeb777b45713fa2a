//! What nobody can read afterwards, noted as it is written: how the lines of fair queues move, and how the line stood when
//! units were taken. Never changes anything, and never looks at what a script answered: only at what it left.

use std::collections::{BTreeMap, BTreeSet};

use flux_protocol::queue::limits::READY_WEIGHT;
use flux_protocol::queue::{Place, Seed, Slot, Watermark, slot_at};
use flux_protocol::time::Instant;

use super::journal::Write;
use super::keyspace::{Hash, Keyspace, Text};
use super::observe::OutboxOrder;
use super::server::Moment;

/// A unit or more that an order took, as Redis then stood.
#[derive(Clone, Debug)]
pub struct Taken {
    /// When, on the world's clock.
    pub at: Instant,
    /// When, on Redis' clock; ms since the epoch.
    pub clock_ms: u64,
    /// Of what.
    pub product: String,
    /// In which sale.
    pub sale_id: u64,
    /// When that opens, ms since the epoch; 0: from the start.
    pub opens_at_ms: u64,
    /// By which order.
    pub order: OutboxOrder,
    /// The line, where the sale has a fair queue.
    pub line: Option<LineThen>,
    /// Which second of the sale it was, as its places count them.
    pub second: Slot,
    /// How often Redis had lost writes before: it may have forgotten who was served.
    pub losses: u32,
}

/// How a line stood.
#[derive(Clone, Copy, Debug)]
pub struct LineThen {
    /// The furthest that it was ever called in this sale: edges do not forget what a Redis that lost its last writes has.
    pub called: Watermark,
    /// When it last was such that whoever came might take a token.
    pub free: Option<Instant>,
}

/// A line and its past.
#[derive(Debug)]
struct Line {
    seed: Seed,
    then: LineThen,
    /// Where it stands; `None`: Redis has lost writes since it was seen.
    stands: Option<Watermark>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) taken: Vec<Taken>,
    /// Reservations that were seen: an entry that is put anew takes nothing.
    reservations: BTreeSet<String>,
    /// By product and sale.
    lines: BTreeMap<(String, u64), Line>,
    /// Watermarks that went back though nothing was lost, in words.
    pub(super) retreats: Vec<String>,
    losses: u32,
}

impl Watch {
    /// The seeds of all lines there were, by product and sale.
    pub(super) fn seeds(&self) -> impl Iterator<Item = (&str, u64, &Seed)> {
        self.lines.iter().map(|((product, sale_id), line)| (product.as_str(), *sale_id, &line.seed))
    }

    /// Redis has lost writes, or somebody has laid hands on its data: a line may stand where it stood before.
    pub(super) fn handle_loss(&mut self) {
        self.lines.values_mut().for_each(|line| line.stands = None);
        self.losses += 1;
    }

    /// One command, script or transaction has done this to the data.
    pub(super) fn handle_writes(&mut self, moment: Moment, writes: &[Write], data: &Keyspace) {
        for write in writes {
            let Some(key) = write.arguments.get(1).and_then(|key| std::str::from_utf8(key).ok()) else { continue };
            let Some((product, name)) = key.strip_prefix("product:{").and_then(|rest| rest.split_once("}:")) else {
                continue;
            };
            match (&*write.arguments[0], name) {
                (b"HSET", "queue") => self.line_moved(moment, product, data),
                (b"XADD", "outbox") => self.units_taken(moment, product, &write.arguments, data),
                _ => {}
            }
        }
    }

    fn line_moved(&mut self, moment: Moment, product: &str, data: &Keyspace) {
        let hash = |name: &str| data.read::<Hash>(format!("product:{{{product}}}:{name}").as_bytes()).ok().flatten();
        let (Some(queue), Some(sale), Some(rate)) = (hash("queue"), hash("sale"), hash("rate")) else { return };
        let Some(seed) = sale.get(&b"seed"[..]).and_then(|seed| Seed::parse(seed)) else { return };
        let sale_id = number(sale, "id");
        let line = self.lines.entry((product.to_owned(), sale_id)).or_insert_with(|| Line {
            seed,
            then: LineThen { called: Watermark::default(), free: None },
            stands: None,
        });
        let place = Place { slot: number(queue, "slot") as u32, rank: number(queue, "rank") as u32 };
        let stands = Watermark(place);
        if let Some(before) = line.stands.filter(|before| stands < *before) {
            self.retreats.push(format!("line of {product}, sale {sale_id}: from {before:?} back to {stands:?}"));
        }
        line.stands = Some(stands);
        line.then.called = line.then.called.max(stands);
        if number(sale, "opens_at") <= moment.clock_us / 1000 && is_free(queue, rate) {
            line.then.free = Some(moment.instant);
        }
    }

    fn units_taken(&mut self, moment: Moment, product: &str, arguments: &[Text], data: &Keyspace) {
        let field = |name: &[u8]| {
            let at = arguments.iter().position(|argument| &**argument == name)?;
            std::str::from_utf8(arguments.get(at + 1)?).ok()
        };
        let sale_id = field(b"h").and_then(|head| head.split(' ').nth(1)?.parse().ok());
        let (Some(sale_id), Some(lines)) = (sale_id, field(b"o")) else { return };
        let sale = data.read::<Hash>(format!("product:{{{product}}}:sale").as_bytes()).ok().flatten();
        let line = self.lines.get(&(product.to_owned(), sale_id)).map(|line| line.then);
        let opens_at_ms = sale.map_or(0, |sale| number(sale, "opens_at"));
        let opened_at_ms = sale.map_or(0, |sale| number(sale, "opened_at"));
        let opens_us = 1000 * if opens_at_ms > 0 { opens_at_ms } else { opened_at_ms };
        for order in lines.lines().filter_map(OutboxOrder::parse) {
            if self.reservations.insert(order.reservation_id.clone()) {
                self.taken.push(Taken {
                    at: moment.instant,
                    clock_ms: moment.clock_us / 1000,
                    product: product.to_owned(),
                    sale_id,
                    opens_at_ms,
                    order,
                    line,
                    second: slot_at(moment.clock_us, opens_us),
                    losses: self.losses,
                });
            }
        }
    }
}

/// Whether the tokens that lie idle suffice for all who wait and all who were called: what `fair_queue.lua` calls free, worked out
/// from what it left.
fn is_free(queue: &Hash, rate: &Hash) -> bool {
    let cohorts: Vec<u64> = queue.get(&b"cohorts"[..]).map_or_else(Vec::new, |text| {
        String::from_utf8_lossy(text).split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
    });
    let to_come: u64 = cohorts.chunks_exact(4).map(|cohort| cohort[2].saturating_sub(cohort[3])).sum();
    let ready = number(queue, "arrived").saturating_sub(number(queue, "served"));
    let waiting = number(queue, "issued").saturating_sub(number(queue, "called"));
    waiting + to_come + READY_WEIGHT * ready <= number(rate, "tokens") / 1_000_000
}

fn number(hash: &Hash, field: &str) -> u64 {
    let text = hash.get(field.as_bytes()).and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
