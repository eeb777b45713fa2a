//! Statements as they are asked of the ledger's database, and what it answers to a run of them.

use flux_protocol::postgres::{CopyRows, Param, Row, ServerError, TransactionStatus};

/// What a statement is for. Its answer is found by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Opens the transaction.
    Begin,
    /// Advances the offset, if it still stands where it was read.
    Fence,
    /// Copies orders.
    Orders,
    /// Adds to what sales have sold, as far as they have room.
    Take,
    /// Opens sales that are missing.
    OpenSales,
    /// Locks sales and reads their room.
    LockSales,
    /// Looks for orders that are stored.
    KnownOrders,
    /// Looks for orders that were rejected.
    KnownRejected,
    /// Notes units to give back.
    Returns,
    /// Notes rejected orders.
    Rejected,
    /// Keeps dead letters.
    DeadLetters,
    /// Corrects the total of a sale that only orders have spoken of.
    SaleTotal,
    /// Writes what an event says of a sale.
    SaleEvent,
    /// Withdraws less of a sale that was over.
    WithdrawLess,
    /// Writes the products' stock.
    Products,
    /// Reads what tells whether a commit took place: the offset, or the dead letters that are left.
    ReadOffset,
    /// Reads an order that was stored before.
    Sample,
    /// Ends the transaction.
    Commit,
    /// Undoes the transaction.
    Rollback,
    /// Anything that is no part of a batch.
    Other,
}

/// One statement with its values.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What it is for.
    pub purpose: Purpose,
    /// Its text.
    pub sql: &'static str,
    /// Its values.
    pub params: Vec<Param>,
    /// The rows of a COPY.
    pub copy: Option<CopyRows>,
}

impl Prepared {
    /// A statement without rows to copy.
    pub fn new(purpose: Purpose, sql: &'static str, params: Vec<Param>) -> Prepared {
        Prepared { purpose, sql, params, copy: None }
    }
}

/// One statement that was carried out.
#[derive(Clone, Debug, Default)]
pub struct Completed {
    /// Rows written or read, as the server counts them.
    pub count: u64,
    /// Rows read.
    pub rows: Vec<Row>,
}

/// The answer to a run of statements.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Those that were carried out, in order.
    pub completed: Vec<Completed>,
    /// Why the one after them failed, for certain; those behind it were skipped.
    pub failed: Option<ServerError>,
    /// Whether a transaction is open now.
    pub status: TransactionStatus,
}

impl Reply {
    /// The answer to the statement of `purpose` among those `asked`; `None` where it was not reached.
    pub fn of(&self, asked: &[Prepared], purpose: Purpose) -> Option<&Completed> {
        let place = asked.iter().position(|statement| statement.purpose == purpose)?;
        self.completed.get(place)
    }
}
