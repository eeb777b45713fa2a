//! Every unit by its reservation, as it is written: who took it, who gave it back, and what a product's stock was when.
//!
//! Looks only at what scripts and commands have left in the data, never at what they answered. Where Redis has lost something
//! the account begins anew with the stock that is found then: what a rebuild sets is proved by others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flux_protocol::order::Uuid;
use flux_protocol::time::Instant;

use super::journal::Write;
use super::keyspace::{Hash, Keyspace, Text};
use super::observe::OutboxOrder;
use super::reply::Reply;
use super::server::Moment;
use super::stream::Stream;

/// A stock, from a moment on until the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stood {
    /// From when on, on the world's clock.
    pub from: Instant,
    /// Of which sale.
    pub sale_id: u64,
    /// Units that could be bought; `None`: nobody may say, the sale is suspended, lost, or of another Redis.
    pub left: Option<u64>,
    /// The sale was closed.
    pub is_closed: bool,
}

/// A sale as Redis had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Orders a second; 0: no limit.
    pub rate: u64,
    /// Orders at once on top of that.
    pub burst: u64,
    /// When Redis first lost something, a rebuild made its bucket anew, or another sale took its place; `None`: none of it.
    pub broken_at: Option<Instant>,
}

impl Terms {
    fn break_at(&mut self, now: Instant) {
        self.broken_at.get_or_insert(now);
    }
}

/// A reservation that was made.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// Of which product.
    pub product: String,
    /// In which sale.
    pub sale_id: u64,
    /// Under which generation.
    pub generation: u64,
    /// Of which order.
    pub order_id: String,
    /// How many units.
    pub quantity: u64,
    /// How often Redis had lost something before.
    pub losses: u32,
    /// When.
    pub at: Instant,
}

/// Tokens that a core was granted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// When, on the world's clock.
    pub at: Instant,
    /// Of which product.
    pub product: String,
    /// How many.
    pub tokens: u64,
    /// How long they may be spent at most.
    pub life: Duration,
}

/// A rebuild has set what is left of a sale.
#[derive(Clone, Debug)]
pub struct Restored {
    /// When, on the world's clock.
    pub at: Instant,
    /// Of which product.
    pub product: String,
    /// Which sale.
    pub sale_id: u64,
    /// Under which generation it goes on.
    pub generation: u64,
}

/// An order that was reserved a second time, though Redis had lost nothing since the first.
#[derive(Clone, Debug)]
pub struct Second {
    /// The first reservation.
    pub first: String,
    /// The second.
    pub second: String,
    /// The order.
    pub order_id: String,
    /// When.
    pub at: Instant,
    /// How long after the first.
    pub after: Duration,
    /// For how long nobody ordered between them at most.
    pub rested: Duration,
    /// The sale's generation was another by then.
    pub is_rebuilt: bool,
}

#[derive(Debug, Default)]
struct Product {
    /// What the stock has to be; `None`: whatever it is found to be.
    left: Option<u64>,
    past: Vec<Stood>,
    /// By order the reservation that was made last, since Redis lost something.
    reserved: BTreeMap<String, String>,
    /// Of which sale orders were reserved last, and when each of them was.
    ordered: (u64, Vec<Instant>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    products: BTreeMap<String, Product>,
    pub(super) reservations: BTreeMap<String, Reservation>,
    given_back: BTreeSet<(String, u32)>,
    pub(super) seconds: Vec<Second>,
    pub(super) terms: BTreeMap<(String, u64), Terms>,
    pub(super) grants: Vec<Grant>,
    pub(super) restored: Vec<Restored>,
    pub(super) faults: Vec<String>,
    /// Undelivered orders of one product that edges were told to allow; 0: not known.
    pub(super) outbox_orders_max: u64,
    pub(super) losses: u32,
    now: Instant,
}

impl Accounts {
    /// Something is asked of Redis now.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = now;
    }

    /// What the product's stock was, in order of time.
    pub(super) fn past(&self, product: &str) -> &[Stood] {
        self.products.get(product).map_or(&[], |product| &product.past)
    }

    /// A script was called with these keys, and has answered this: tokens, where it is the one that grants them.
    pub(super) fn handle_reply(&mut self, keys: &[Text], reply: &Reply) {
        let [rate, sale, ..] = keys else { return };
        let product = |key: &Text, name: &str| {
            let (product, of) = std::str::from_utf8(key).ok()?.strip_prefix("product:{")?.split_once("}:")?;
            (of == name).then(|| product.to_owned())
        };
        let (Some(product), Some(_), Reply::Array(told)) = (product(rate, "rate"), product(sale, "sale"), reply) else {
            return;
        };
        let [Reply::Integer(tokens), Reply::Integer(life_us), ..] = told[..] else { return };
        if let (Ok(tokens @ 1..), Ok(life_us)) = (u64::try_from(tokens), u64::try_from(life_us)) {
            self.grants.push(Grant { at: self.now, product, tokens, life: Duration::from_micros(life_us) });
        }
    }

    /// Redis has lost something, or somebody has laid hands on its data.
    pub(super) fn handle_loss(&mut self) {
        self.losses += 1;
        let now = self.now;
        self.terms.values_mut().for_each(|terms| terms.break_at(now));
        for product in self.products.values_mut() {
            product.left = None;
            product.reserved.clear();
            product.ordered = (0, Vec::new());
            let sale_id = product.past.last().map_or(0, |stood| stood.sale_id);
            product.past.push(Stood { from: self.now, sale_id, left: None, is_closed: false });
        }
    }

    /// One command, script or transaction has done this to the data.
    pub(super) fn handle_writes(&mut self, moment: Moment, writes: &[Write], data: &Keyspace, replication_id: &str) {
        let mut touched: BTreeMap<&str, Touched> = BTreeMap::new();
        for write in writes {
            let Some((product, name)) = product_of(&write.arguments) else { continue };
            let of = touched.entry(product).or_default();
            match (&*write.arguments[0], name) {
                (b"XADD", "outbox") => self.take(moment, product, &write.arguments, data, of),
                (b"SADD", "returned") => {
                    // What is no reservation is a mark, or whatever a stranger has put there.
                    let members = write.arguments[2..].iter().filter(|member| Uuid::parse(member).is_some());
                    of.back.extend(members.filter_map(|member| std::str::from_utf8(member).ok()).map(str::to_owned));
                }
                (b"SET", "stock") => of.is_set = true,
                (b"HSET" | b"UNLINK" | b"DEL", "sale") => of.is_sale_changed = true,
                // The last word of `rebuild_restore.lua`.
                (b"HDEL", "sale") => of.is_restored = &*write.arguments[2] == b"rebuilding",
                (b"DECRBY" | b"INCRBY" | b"UNLINK" | b"DEL", "stock") => {}
                _ => continue,
            }
            of.counts = true;
        }
        for (product, of) in touched.iter().filter(|(_, of)| of.counts) {
            self.settle(product, of, data, replication_id);
        }
    }

    /// Units were taken, if this is not an entry that was put anew.
    fn take(&mut self, moment: Moment, product: &str, arguments: &[Text], data: &Keyspace, of: &mut Touched) {
        let field = |name: &[u8]| {
            let at = arguments.iter().position(|argument| &**argument == name)?;
            std::str::from_utf8(arguments.get(at + 1)?).ok()
        };
        let Some(lines) = field(b"o") else { return };
        let head: Vec<u64> = field(b"h").unwrap_or("").split(' ').filter_map(|word| word.parse().ok()).collect();
        let [_, sale_id, _, generation, _] = head[..] else { return };
        let mut is_new = false;
        for OutboxOrder { reservation_id, quantity, order_id, .. } in lines.lines().filter_map(OutboxOrder::parse) {
            if self.reservations.contains_key(&reservation_id) {
                continue;
            }
            is_new = true;
            of.taken += quantity;
            let its = self.products.entry(product.to_owned()).or_default();
            if let Some(first) = its.reserved.insert(order_id.clone(), reservation_id.clone()) {
                let (second, at) = (reservation_id.clone(), moment.instant);
                let made = self.reservations.get(&first);
                let first_at = made.map_or(at, |made| made.at);
                let is_rebuilt = made.is_none_or(|made| made.generation != generation);
                let rested = longest_rest(&its.ordered.1, first_at, at);
                if stands(data, product, &first) {
                    self.faults.push(format!(
                        "I3: order {order_id} is reserved as {second}, and its reservation {first} is under way"
                    ));
                }
                let after = at.since(first_at);
                self.seconds.push(Second { first, second, order_id: order_id.clone(), at, after, rested, is_rebuilt });
            }
            let made = Reservation {
                product: product.to_owned(),
                sale_id,
                generation,
                order_id,
                quantity,
                losses: self.losses,
                at: moment.instant,
            };
            self.reservations.insert(reservation_id, made);
        }
        if is_new {
            let its = self.products.entry(product.to_owned()).or_default();
            if its.ordered.0 != sale_id {
                its.ordered = (sale_id, Vec::new());
            }
            its.ordered.1.push(moment.instant);
            let undelivered = undelivered(data, product);
            if self.outbox_orders_max > 0 && undelivered > self.outbox_orders_max {
                let most = self.outbox_orders_max;
                self.faults
                    .push(format!("bounds: {undelivered} orders of {product} in the outbox, {most} are allowed"));
            }
        }
    }

    fn settle(&mut self, product: &str, of: &Touched, data: &Keyspace, replication_id: &str) {
        let sale = hash(data, product, "sale");
        let text =
            |name: &str| sale.and_then(|sale| sale.get(name.as_bytes())).map(|text| String::from_utf8_lossy(text));
        let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let (sale_id, generation) = (number("id"), number("gen"));
        let mut back = 0;
        for reservation in &of.back {
            back += self.give_back(product, reservation, (sale_id, generation));
        }
        let stock = data.read::<Text>(key(product, "stock").as_bytes()).ok().flatten();
        let stock: Option<u64> = stock.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let its = self.products.entry(product.to_owned()).or_default();
        let is_account_of_sale = its.past.last().is_some_and(|stood| stood.sale_id == sale_id);
        if let (Some(before), Some(stock), false, true) = (its.left, stock, of.is_set, is_account_of_sale)
            && stock + of.taken != before + back
        {
            let taken = of.taken;
            self.faults.push(format!(
                "units: {before} units of {product} were left, {taken} were taken and {back} given back, {stock} are left"
            ));
        }
        its.left = stock;
        if of.is_restored {
            self.restored.push(Restored { at: self.now, product: product.to_owned(), sale_id, generation });
        }
        let state = text("state");
        let is_believed = text("replid").as_deref() == Some(replication_id);
        let is_closed = state.as_deref() == Some("closed");
        let is_for_sale = is_believed && state.as_deref() == Some("open");
        let left = if is_for_sale || (is_believed && is_closed) { stock } else { None };
        let stood = Stood { from: self.now, sale_id, left, is_closed };
        if its.past.last().is_none_or(|last| Stood { from: last.from, ..stood } != *last) {
            its.past.push(stood);
        }
        if of.is_sale_changed && sale_id > 0 {
            let terms = Terms { rate: number("rate"), burst: number("burst"), broken_at: None };
            let known = self.terms.entry((product.to_owned(), sale_id)).or_insert(terms);
            if generation > 1 || (known.rate, known.burst) != (terms.rate, terms.burst) {
                known.break_at(self.now);
            }
            // From now on edges that have not heard of it yet are given its tokens for those of the sale before.
            let is_before = |(of, id): &(String, u64)| of == product && *id != sale_id;
            self.terms.iter_mut().filter(|(of, _)| is_before(of)).for_each(|(_, terms)| terms.break_at(self.now));
        }
    }

    /// Units that this one brings back.
    fn give_back(&mut self, product: &str, reservation: &str, (sale_id, generation): (u64, u64)) -> u64 {
        let Some(made) = self.reservations.get(reservation) else {
            self.faults.push(format!("units: {reservation} of {product} is given back, and nobody took it"));
            return 0;
        };
        if (made.sale_id, made.generation) != (sale_id, generation) {
            self.faults.push(format!(
                "units: {reservation} of {product} was taken in sale {}, generation {}, and is given back in sale {sale_id}, \
                 generation {generation}, whose stock was set since",
                made.sale_id, made.generation
            ));
        }
        if !self.given_back.insert((reservation.to_owned(), self.losses)) {
            self.faults.push(format!("units: {reservation} of {product} is given back a second time"));
        }
        made.quantity
    }
}

/// The longest pause between two of these moments, or the last of them and `until`, from `from` on.
fn longest_rest(ordered: &[Instant], from: Instant, until: Instant) -> Duration {
    let first = ordered.partition_point(|at| *at < from);
    let behind = ordered[first..].iter().copied().chain([until]);
    behind.clone().zip(behind.skip(1)).map(|(one, next)| next.since(one)).max().unwrap_or_default()
}

/// What one script has done to a product.
#[derive(Debug, Default)]
struct Touched {
    taken: u64,
    back: Vec<String>,
    is_set: bool,
    is_sale_changed: bool,
    is_restored: bool,
    counts: bool,
}

fn product_of(arguments: &[Text]) -> Option<(&str, &str)> {
    let key = std::str::from_utf8(arguments.get(1)?).ok()?;
    key.strip_prefix("product:{")?.split_once("}:")
}

fn key(product: &str, name: &str) -> String {
    format!("product:{{{product}}}:{name}")
}

fn hash<'a>(data: &'a Keyspace, product: &str, name: &str) -> Option<&'a Hash> {
    data.read::<Hash>(key(product, name).as_bytes()).ok().flatten()
}

fn outbox<'a>(data: &'a Keyspace, product: &str) -> impl Iterator<Item = &'a str> {
    let stream = data.read::<Stream>(key(product, "outbox").as_bytes()).ok().flatten();
    let entries = stream.into_iter().flat_map(|stream| stream.entries.values());
    entries.filter_map(|fields| std::str::from_utf8(fields.get(3)?).ok())
}

/// Whether a reservation waits in the outbox.
fn stands(data: &Keyspace, product: &str, reservation: &str) -> bool {
    outbox(data, product).any(|lines| lines.lines().any(|line| line.starts_with(reservation)))
}

fn undelivered(data: &Keyspace, product: &str) -> u64 {
    outbox(data, product).map(|lines| lines.lines().count() as u64).sum()
}
