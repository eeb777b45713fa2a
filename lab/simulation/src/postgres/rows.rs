//! The ledger's rows (`worker/sql/000*.sql`), with the check constraints of their tables.
//!
//! Times are microseconds since 2000-01-01 UTC, as PostgreSQL keeps them.

use bytes::Bytes;
use flux_protocol::order::Uuid;

use super::error::SqlError;
use super::table::Record;

/// A row of `products`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Primary key.
    pub id: String,
    /// Units left of the latest sale.
    pub stock: i64,
    /// The latest sale.
    pub sale_id: i64,
}

/// A row of `sales`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are explained in the migration")]
pub struct Sale {
    pub product_id: String,
    pub sale_id: i64,
    pub generation: i32,
    pub total: i64,
    pub sold: i64,
    pub withdrawn: i64,
    pub is_closed: bool,
    pub rate: Option<i64>,
    pub burst: Option<i64>,
    pub seed: Option<String>,
    pub opened_at: Option<i64>,
    pub closed_at: Option<i64>,
    pub per_user: Option<i32>,
    pub opens_at: Option<i64>,
    pub queue: Option<String>,
    pub raised: i32,
    pub log_topic: Option<Uuid>,
    pub log_ends: Option<Vec<i64>>,
}

/// A row of `orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are explained in the migration")]
pub struct Order {
    pub id: Uuid,
    pub product_id: String,
    pub user_id: String,
    pub quantity: i32,
    pub sale_id: i64,
    pub generation: i32,
    pub reservation_id: Uuid,
    pub partition: i32,
    pub kafka_offset: i64,
    pub created_at: i64,
    pub stored_at: i64,
}

/// A row of `offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are explained in the migration")]
pub struct Offset {
    pub topic_id: Uuid,
    pub partition: i32,
    pub next_offset: i64,
    pub leader_epoch: Option<i32>,
    pub epoch_offset: Option<i64>,
    pub updated_at: i64,
}

/// A row of `returns`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are explained in the migration")]
pub struct Return {
    pub reservation_id: Uuid,
    pub order_id: Uuid,
    pub product_id: String,
    pub sale_id: i64,
    pub generation: i32,
    pub quantity: i32,
    pub user_id: String,
    pub state: String,
    pub noted_at: i64,
    pub settled_at: Option<i64>,
    pub why: Option<String>,
}

/// A row of `rejected`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are explained in the migration")]
pub struct Rejected {
    pub order_id: Uuid,
    pub reservation_id: Uuid,
    pub reason: String,
    pub product_id: String,
    pub user_id: String,
    pub quantity: i32,
    pub sale_id: i64,
    pub generation: i32,
    pub partition: i32,
    pub kafka_offset: i64,
    pub created_at: i64,
    pub rejected_at: i64,
}

/// A row of `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns are explained in the migration")]
pub struct DeadLetter {
    pub topic: String,
    pub topic_id: Uuid,
    pub partition: i32,
    pub kafka_offset: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub reason: String,
    pub product_id: Option<String>,
    pub sale_id: Option<i64>,
    pub quantity: Option<i32>,
    pub at: i64,
}

/// A row of `flux_schema`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Primary key.
    pub version: i32,
    /// The file's name.
    pub name: String,
}

/// A table as the catalog knows it: made in a transaction like any row.
#[derive(Clone, Debug)]
pub(super) struct Relation(pub(super) &'static str);

impl Record for Product {
    type Key = String;
    const TABLE: &'static str = "products";
    fn key(&self) -> String {
        self.id.clone()
    }
    fn check(&self) -> Result<(), SqlError> {
        Ok(())
    }
}

impl Record for Sale {
    type Key = (String, i64);
    const TABLE: &'static str = "sales";
    fn key(&self) -> (String, i64) {
        (self.product_id.clone(), self.sale_id)
    }
    fn check(&self) -> Result<(), SqlError> {
        if !(self.total > 0 && self.sold >= 0 && (0..=self.total).contains(&self.withdrawn)) {
            return Err(SqlError::check(Sale::TABLE, "sales_numbers"));
        }
        if self.sold > self.total {
            return Err(SqlError::check(Sale::TABLE, "sales_room"));
        }
        Ok(())
    }
}

impl Record for Order {
    type Key = Uuid;
    const TABLE: &'static str = "orders";
    fn key(&self) -> Uuid {
        self.id
    }
    fn check(&self) -> Result<(), SqlError> {
        positive(self.quantity, Order::TABLE, "orders_quantity_check")
    }
}

impl Record for Offset {
    type Key = (Uuid, i32);
    const TABLE: &'static str = "offsets";
    fn key(&self) -> (Uuid, i32) {
        (self.topic_id, self.partition)
    }
    fn check(&self) -> Result<(), SqlError> {
        if self.next_offset < 0 {
            return Err(SqlError::check(Offset::TABLE, "offsets_next_offset_check"));
        }
        Ok(())
    }
}

impl Record for Return {
    type Key = Uuid;
    const TABLE: &'static str = "returns";
    fn key(&self) -> Uuid {
        self.reservation_id
    }
    fn check(&self) -> Result<(), SqlError> {
        positive(self.quantity, Return::TABLE, "returns_quantity_check")?;
        if !matches!(&*self.state, "pending" | "returned" | "absorbed" | "withdrawn" | "unfounded") {
            return Err(SqlError::check(Return::TABLE, "returns_state"));
        }
        Ok(())
    }
}

impl Record for Rejected {
    type Key = (Uuid, Uuid);
    const TABLE: &'static str = "rejected";
    fn key(&self) -> (Uuid, Uuid) {
        (self.order_id, self.reservation_id)
    }
    fn check(&self) -> Result<(), SqlError> {
        Ok(())
    }
}

impl Record for DeadLetter {
    type Key = (Uuid, i32, i64);
    const TABLE: &'static str = "dead_letters";
    fn key(&self) -> (Uuid, i32, i64) {
        (self.topic_id, self.partition, self.kafka_offset)
    }
    fn check(&self) -> Result<(), SqlError> {
        Ok(())
    }
}

impl Record for Migration {
    type Key = i32;
    const TABLE: &'static str = "flux_schema";
    fn key(&self) -> i32 {
        self.version
    }
    fn check(&self) -> Result<(), SqlError> {
        Ok(())
    }
}

impl Record for Relation {
    type Key = &'static str;
    const TABLE: &'static str = "pg_class";
    fn key(&self) -> &'static str {
        self.0
    }
    fn check(&self) -> Result<(), SqlError> {
        Ok(())
    }
}

fn positive(quantity: i32, table: &'static str, constraint: &str) -> Result<(), SqlError> {
    if quantity > 0 { Ok(()) } else { Err(SqlError::check(table, constraint)) }
}
