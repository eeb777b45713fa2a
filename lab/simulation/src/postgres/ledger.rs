//! What is committed, for a checker.

use super::Postgres;
use super::rows::{DeadLetter, Migration, Offset, Order, Product, Rejected, Return, Sale};

impl Postgres {
    /// All products, by id.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        self.database.products.committed()
    }

    /// All sales, by product and sale id.
    pub fn sales(&self) -> impl Iterator<Item = &Sale> {
        self.database.sales.committed()
    }

    /// All orders, by id.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.database.orders.committed()
    }

    /// Where each partition goes on, by topic and partition.
    pub fn offsets(&self) -> impl Iterator<Item = &Offset> {
        self.database.offsets.committed()
    }

    /// All returns, by reservation.
    pub fn returns(&self) -> impl Iterator<Item = &Return> {
        self.database.returns.committed()
    }

    /// All rejections, by order and reservation.
    pub fn rejected(&self) -> impl Iterator<Item = &Rejected> {
        self.database.rejected.committed()
    }

    /// All dead letters, by topic, partition and offset.
    pub fn dead_letters(&self) -> impl Iterator<Item = &DeadLetter> {
        self.database.dead_letters.committed()
    }

    /// All migrations, by version.
    pub fn migrations(&self) -> impl Iterator<Item = &Migration> {
        self.database.migrations.committed()
    }
}
