//! The keys of a product in Redis. Never reads or writes one.

use flux_protocol::order::{Identifier, decimal};
use flux_protocol::redis_keys;
use flux_protocol::resp;

/// The keys of a product in Redis; the braces are the cluster's hash tag.
#[derive(Debug)]
pub struct Keys {
    /// Units left, a plain integer.
    pub stock: Box<[u8]>,
    /// The sale's fields.
    pub sale: Box<[u8]>,
    /// Earlier sales.
    pub sales: Box<[u8]>,
    /// The stream of orders reserved and not yet acknowledged.
    pub outbox: Box<[u8]>,
    /// Which edge relays which entry, until when.
    pub claims: Box<[u8]>,
    /// Units by user.
    pub users: Box<[u8]>,
    /// Reservations given back.
    pub returned: Box<[u8]>,
    /// The token bucket.
    pub rate: Box<[u8]>,
    /// The line of a fair queue.
    pub queue: Box<[u8]>,
    /// `idempotency:{P}:`, to which a sale's id is added.
    records_prefix: Box<[u8]>,
}

impl Keys {
    /// Of a product's name.
    pub fn new(product: &Identifier) -> Keys {
        let product = product.as_str();
        let key = |name: &str| redis_keys::of(product, name).into_bytes().into_boxed_slice();
        Keys {
            stock: key("stock"),
            sale: key("sale"),
            sales: key("sales"),
            outbox: key("outbox"),
            claims: key("claims"),
            users: key("users"),
            returned: key("returned"),
            rate: key("rate"),
            queue: key("queue"),
            records_prefix: redis_keys::records_prefix(product).into_bytes().into_boxed_slice(),
        }
    }

    /// All nine keys, in the order that refresh, init and close take them.
    pub fn of_product(&self) -> [&[u8]; 9] {
        let [stock, sale, outbox, claims, users, returned] = self.of_sale();
        [stock, sale, outbox, claims, users, returned, &self.rate, &self.sales, &self.queue]
    }

    /// The six keys that reserve takes before the records, in their order.
    pub fn of_sale(&self) -> [&[u8]; 6] {
        [&self.stock, &self.sale, &self.outbox, &self.claims, &self.users, &self.returned]
    }

    /// Appends the key of a sale's idempotency records as one bulk string.
    pub fn write_records(&self, out: &mut Vec<u8>, sale_id: u64) {
        resp::bulk_parts(out, &[&self.records_prefix, decimal(sale_id, &mut [0; 20])]);
    }
}
