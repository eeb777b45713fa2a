//! The names of the keys in Redis: one place for edge and worker.
//!
//! Every key of a product has its name in braces, so that all of them are in one slot of a Redis Cluster.

/// The set of the products that have a sale.
pub const REGISTRY: &str = "flux:products";

/// A product's keys in the order in which the scripts take them.
pub const OF_PRODUCT: [&str; 9] = ["stock", "sale", "outbox", "claims", "users", "returned", "rate", "sales", "queue"];

/// One of a product's keys: `name` is one of [`OF_PRODUCT`].
pub fn of(product: &str, name: &str) -> String {
    format!("product:{{{product}}}:{name}")
}

/// All of a product's keys, in the order of [`OF_PRODUCT`].
pub fn all_of(product: &str) -> [String; 9] {
    OF_PRODUCT.map(|name| of(product, name))
}

/// What the key of a sale's records begins with; the sale's id follows.
pub fn records_prefix(product: &str) -> String {
    format!("idempotency:{{{product}}}:")
}

/// The key of a sale's records.
pub fn records(product: &str, sale_id: u64) -> String {
    format!("{}{sale_id}", records_prefix(product))
}
