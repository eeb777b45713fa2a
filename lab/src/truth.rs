//! What Redis, the raw topic and PostgreSQL hold, read from outside, as of one moment (`snapshot`), and whether anything is
//! on its way between them (`rest`).
//!
//! Never writes anything; knows nothing of what edge and worker keep in memory.

pub(crate) mod rest;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use flux_protocol::order::{OwnedRecord, Uuid};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `redis://…`
    pub redis: String,
    /// `host:port`, comma between.
    pub kafka: String,
    /// The topic of the orders.
    pub topic: String,
    /// `postgres://…`
    pub postgres: String,
}

/// A sale by product and sale id.
pub type SaleKey = (String, u64);

/// Everything that the servers hold about orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Current sales, by product.
    pub redis: BTreeMap<String, RedisSale>,
    /// Sales of which Redis had units for sale at some moment, as far as that is known: on real servers nobody can tell of one that
    /// Redis has lost, and it is empty.
    pub sold: BTreeSet<SaleKey>,
    /// Sales before the current ones.
    pub earlier: BTreeMap<SaleKey, EarlierSale>,
    /// Orders in the topic, in order of partition and offset; redeliveries included.
    pub topic: Vec<TopicOrder>,
    /// Totals of the sales as the topic's events tell them.
    pub opened: BTreeMap<SaleKey, u64>,
    /// Records that are neither order nor event.
    pub poison: u64,
    /// Where each partition of the topic ends.
    pub ends: BTreeMap<i32, i64>,
    /// Where the ledger goes on in each partition; none where it has read nothing of it.
    pub positions: BTreeMap<i32, i64>,
    /// The ledger's sales.
    pub sales: BTreeMap<SaleKey, LedgerSale>,
    /// The ledger's products: stock and sale id.
    pub products: BTreeMap<String, (i64, u64)>,
    /// The ledger's orders.
    pub orders: Vec<StoredOrder>,
    /// Orders that the ledger refused.
    pub rejected: Vec<RejectedOrder>,
    /// Second reservations of stored orders.
    pub returns: Vec<ReturnedUnits>,
    /// Records that could not be stored.
    pub dead_letters: Vec<DeadLetter>,
}

/// A sale as Redis has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisSale {
    /// Its id, generation and total; 0 where they are missing.
    pub sale_id: u64,
    /// How often it was rebuilt, plus one.
    pub generation: u64,
    /// Units in all.
    pub total: u64,
    /// `open`, `closed` or `suspended`.
    pub state: String,
    /// Units left; `None` where the key is missing or no number.
    pub stock: Option<u64>,
    /// Units taken back unsold.
    pub withdrawn: u64,
    /// Orders in the outbox, of any sale of the product.
    pub outbox: Vec<OutboxOrder>,
    /// Reservations whose units were given back.
    pub returned: BTreeSet<Uuid>,
}

/// A sale that was followed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierSale {
    /// Units in all.
    pub total: u64,
    /// Units that were left when it ended.
    pub withdrawn: u64,
    /// The generation that it ended with.
    pub generation: u64,
}

/// One order in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxOrder {
    /// Its sale.
    pub sale_id: u64,
    /// Which taking of units.
    pub reservation_id: Uuid,
    /// Which order.
    pub order_id: Uuid,
    /// Units.
    pub quantity: u64,
}

/// One order in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOrder {
    /// Where it stands.
    pub partition: i32,
    /// Where it stands in the partition.
    pub offset: i64,
    /// What it says.
    pub record: OwnedRecord,
}

/// A sale as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSale {
    /// Units in all.
    pub total: u64,
    /// Units stored, as counted by the worker.
    pub sold: u64,
    /// Units taken back unsold.
    pub withdrawn: u64,
    /// `open` or `closed`.
    pub state: String,
    /// How often it was rebuilt, plus one.
    pub generation: u64,
    /// An event has told of it, or a rebuild: else only orders do.
    pub is_announced: bool,
}

/// A row of `orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// Which order.
    pub order_id: Uuid,
    /// Its product.
    pub product: String,
    /// Its user.
    pub user: String,
    /// Units.
    pub quantity: u64,
    /// Its sale.
    pub sale_id: u64,
    /// Which taking of units.
    pub reservation_id: Uuid,
}

/// A row of `rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedOrder {
    /// Which order.
    pub order_id: Uuid,
    /// Which taking of units.
    pub reservation_id: Uuid,
    /// `no_room`, `key_reused` or `late`.
    pub reason: String,
    /// Its product.
    pub product: String,
    /// Its sale.
    pub sale_id: u64,
    /// Units.
    pub quantity: u64,
}

/// A row of `returns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnedUnits {
    /// Which taking of units.
    pub reservation_id: Uuid,
    /// Its product.
    pub product: String,
    /// Its sale.
    pub sale_id: u64,
    /// Units.
    pub quantity: u64,
    /// `pending`, `returned`, `absorbed`, `withdrawn` or `unfounded`.
    pub state: String,
}

/// A row of `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stood.
    pub partition: i32,
    /// Where it stood in the partition.
    pub offset: i64,
    /// Product, sale and units, where they are known.
    pub units: Option<(String, u64, u64)>,
}

impl Truth {
    /// The ids of all sales of `product` that any of the servers knows.
    pub fn sale_ids(&self, product: &str) -> BTreeSet<u64> {
        let of_product = |(name, id): &SaleKey| (name == product).then_some(*id);
        let mut ids: BTreeSet<u64> = self.sales.keys().filter_map(of_product).collect();
        ids.extend(self.opened.keys().filter_map(of_product));
        ids.extend(self.earlier.keys().filter_map(of_product));
        ids.extend(self.redis.get(product).map(|sale| sale.sale_id).filter(|id| *id != 0));
        ids
    }

    /// Those, and the ones that a Redis sold and has lost before anybody else knew of them: a 202 may have told an order of them.
    pub fn sale_ids_ever(&self, product: &str) -> BTreeSet<u64> {
        let mut ids = self.sale_ids(product);
        ids.extend(self.sold.iter().filter(|(name, _)| name == product).map(|(_, id)| *id));
        ids
    }
}
