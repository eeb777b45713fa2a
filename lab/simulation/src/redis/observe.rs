//! What a checker reads: the state of the server, and the sales in types of their own. Never changes anything.

use std::collections::{BTreeMap, BTreeSet};

use flux_protocol::queue::Seed;
use flux_protocol::time::Instant;

use super::Redis;
use super::accounts::{Grant, Reservation, Restored, Second, Stood, Terms};
use super::keyspace::{Hash, Kind, Set, Text};
use super::limits::Limits;
use super::stream::Stream;
use super::watch::Taken;

/// A value that none of our scripts wrote: where, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign(pub String);

/// An outbox entry as `edge/lua/reserve.lua` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The stream's id.
    pub id: String,
    /// Where its orders are published.
    pub partition: i32,
    /// Their sale.
    pub sale_id: u64,
    /// Units of that sale in all.
    pub sale_total: u64,
    /// The sale's generation when they were reserved.
    pub generation: u32,
    /// Them.
    pub orders: Vec<OutboxOrder>,
}

/// One undelivered order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxOrder {
    /// Which taking of units.
    pub reservation_id: String,
    /// Units.
    pub quantity: u64,
    /// Which order.
    pub order_id: String,
    /// Whose.
    pub user_id: String,
    /// When the edge read it, ms since the epoch.
    pub timestamp: u64,
}

/// The server.
impl Redis {
    /// The process' id.
    pub fn run_id(&self) -> &str {
        &self.server.store.identity.run_id
    }

    /// `master_replid`.
    pub fn replication_id(&self) -> &str {
        &self.server.store.identity.replication_id
    }

    /// Whether it is a replica, which takes no writes.
    pub fn is_replica(&self) -> bool {
        self.server.store.identity.is_replica
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether it has died and was not restarted.
    pub fn has_crashed(&self) -> bool {
        self.crashed_at.is_some()
    }

    /// What it refuses.
    pub fn limits(&self) -> Limits {
        self.server.store.limits
    }

    /// How many connections stand.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Everything that was asked and is not known here, in the words of the error, oldest first. A run of the programs
    /// that ship leaves it empty.
    pub fn unknown(&self) -> &[String] {
        &self.server.store.unknown
    }
}

/// The sales.
impl Redis {
    fn read<K: Kind>(&self, product: &str, name: &str) -> Option<&K> {
        K::of(self.server.store.data.get(format!("product:{{{product}}}:{name}").as_bytes())?)
    }

    /// One of a product's keys; `records` are those of its sale.
    pub fn key(&self, product: &str, name: &str) -> String {
        match (name, self.sale(product)) {
            ("records", Some(sale)) => {
                format!("idempotency:{{{product}}}:{}", sale.get("id").map_or("", String::as_str))
            }
            _ => format!("product:{{{product}}}:{name}"),
        }
    }

    /// The products of the registry.
    pub fn products(&self) -> BTreeSet<String> {
        let products = self.server.store.data.get(b"flux:products").and_then(Set::of);
        // Its member `.` keeps it from vanishing.
        products.into_iter().flatten().map(text).filter(|name| name != ".").collect()
    }

    /// All that was ever taken, in order of time.
    pub fn taken(&self) -> &[Taken] {
        &self.server.watch.taken
    }

    /// Seeds of all sales with a fair queue that there were, with their product and sale id.
    pub fn seeds(&self) -> impl Iterator<Item = (&str, u64, &Seed)> {
        self.server.watch.seeds()
    }

    /// Watermarks that went back though nothing was lost, in words.
    pub fn retreats(&self) -> &[String] {
        &self.server.watch.retreats
    }

    /// Edges were told to allow so many undelivered orders of one product.
    pub fn expect_outbox_orders_max(&mut self, most: u64) {
        self.server.accounts.outbox_orders_max = most;
    }

    /// What a product's stock was, in order of time.
    pub fn past(&self, product: &str) -> &[Stood] {
        self.server.accounts.past(product)
    }

    /// When units of this sale could first be bought.
    pub fn first_sold(&self, product: &str, sale_id: u64) -> Option<Instant> {
        let mut past = self.past(product).iter();
        past.find(|stood| stood.sale_id == sale_id && stood.left.is_some()).map(|stood| stood.from)
    }

    /// Every reservation that was ever made, by its id.
    pub fn reservations(&self) -> &BTreeMap<String, Reservation> {
        &self.server.accounts.reservations
    }

    /// Orders that were reserved again.
    pub fn seconds(&self) -> &[Second] {
        &self.server.accounts.seconds
    }

    /// What each sale was opened with, by product and id.
    pub fn terms(&self) -> &BTreeMap<(String, u64), Terms> {
        &self.server.accounts.terms
    }

    /// All tokens that were granted, in order of time.
    pub fn grants(&self) -> &[Grant] {
        &self.server.accounts.grants
    }

    /// All rebuilds that have set a stock, in order of time.
    pub fn restored(&self) -> &[Restored] {
        &self.server.accounts.restored
    }

    /// Units that do not add up, in words.
    pub fn miscounts(&self) -> &[String] {
        &self.server.accounts.faults
    }

    /// How often it has lost something.
    pub fn losses(&self) -> u32 {
        self.server.accounts.losses
    }

    /// Units left; `None`: the key is missing or holds no number.
    pub fn stock(&self, product: &str) -> Option<u64> {
        text(self.read::<Text>(product, "stock")?).parse().ok()
    }

    /// The sale's fields; `None`: the key is missing or of another type.
    pub fn sale(&self, product: &str) -> Option<BTreeMap<String, String>> {
        self.read::<Hash>(product, "sale").map(pairs)
    }

    /// The line's fields, where the sale has one.
    pub fn line(&self, product: &str) -> Option<BTreeMap<String, String>> {
        self.read::<Hash>(product, "queue").map(pairs)
    }

    /// Earlier sales as they were noted when the next was opened, by id; with the mark `.`.
    pub fn sales(&self, product: &str) -> Option<BTreeMap<String, String>> {
        self.read::<Hash>(product, "sales").map(pairs)
    }

    /// Units by user; with the mark `.`.
    pub fn users(&self, product: &str) -> Option<BTreeMap<String, String>> {
        self.read::<Hash>(product, "users").map(pairs)
    }

    /// Reservations whose units were given back; with the mark.
    pub fn returned(&self, product: &str) -> Option<BTreeSet<String>> {
        self.read::<Set>(product, "returned").map(|set| set.iter().map(text).collect())
    }

    /// Undelivered orders, oldest entry first; none where the stream is missing.
    ///
    /// # Errors
    /// An entry is none of ours.
    pub fn outbox(&self, product: &str) -> Result<Vec<OutboxEntry>, Foreign> {
        let Some(stream) = self.read::<Stream>(product, "outbox") else { return Ok(Vec::new()) };
        let entries = stream.entries.iter().map(|(id, fields)| {
            let fields: Vec<String> = fields.iter().map(text).collect();
            OutboxEntry::parse(id.to_string(), &fields).ok_or_else(|| Foreign(format!("entry {id}: {fields:?}")))
        });
        entries.collect()
    }
}

impl OutboxEntry {
    fn parse(id: String, fields: &[String]) -> Option<OutboxEntry> {
        let [h, head, o, lines, c, _] = fields else { return None };
        if [h, o, c] != ["h", "o", "c"] {
            return None;
        }
        let [partition, sale_id, sale_total, generation, count] = words(head)?;
        let orders: Vec<OutboxOrder> = lines.lines().map(OutboxOrder::parse).collect::<Option<_>>()?;
        if count.parse() != Ok(orders.len()) {
            return None;
        }
        Some(OutboxEntry {
            id,
            partition: partition.parse().ok()?,
            sale_id: sale_id.parse().ok()?,
            sale_total: sale_total.parse().ok()?,
            generation: generation.parse().ok()?,
            orders,
        })
    }
}

impl OutboxOrder {
    pub(super) fn parse(line: &str) -> Option<OutboxOrder> {
        let [reservation_id, quantity, order_id, user_id, timestamp] = words(line)?;
        Some(OutboxOrder {
            reservation_id: reservation_id.to_owned(),
            quantity: quantity.parse().ok()?,
            order_id: order_id.to_owned(),
            user_id: user_id.to_owned(),
            timestamp: timestamp.parse().ok()?,
        })
    }
}

/// Exactly five words, one blank between.
fn words(text: &str) -> Option<[&str; 5]> {
    text.split(' ').collect::<Vec<_>>().try_into().ok()
}

fn text(bytes: &Text) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pairs(hash: &Hash) -> BTreeMap<String, String> {
    hash.iter().map(|(field, value)| (text(field), text(value))).collect()
}
