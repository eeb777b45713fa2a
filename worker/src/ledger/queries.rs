//! What the worker asks of the ledger beside storing: where partitions stand, units to give back, one order's fate.

use flux_protocol::kafka::fetch::Position;
use flux_protocol::order::Uuid;
use flux_protocol::postgres::{Param, Row};

use super::Ledger;
use super::error::LedgerError;
use super::statements::statement;
use super::views::{OrderStatus, PendingReturn, ReturnState, Stray, Units};

impl Ledger {
    /// Where a partition goes on; 0 where the ledger has never seen it. Waits for a transaction that is just advancing it.
    pub async fn claim(&mut self, topic_id: Uuid, partition: i32) -> Result<Position, LedgerError> {
        let params = [Param::Uuid(topic_id), Param::I32(partition)];
        let rows = self.query(statement!("claim"), &params).await?;
        let row = rows.first().ok_or(LedgerError::Unexpected("no offset"))?;
        let leader_epoch = row.text(1).map(|_| number(row, 1)).transpose()?;
        Ok(Position { partition, offset: number(row, 0)?, leader_epoch })
    }

    /// Topics, by id, whose records the ledger holds. One that is not the topic read now was deleted or replaced.
    pub async fn known_topics(&mut self) -> Result<Vec<Uuid>, LedgerError> {
        let rows = self.query("SELECT DISTINCT topic_id FROM offsets WHERE next_offset > 0", &[]).await?;
        rows.iter().map(|row| uuid(row, 0)).collect()
    }

    /// Units to give back: at most `limit`, in the order of their reservations, behind the one given.
    pub async fn pending_returns(&mut self, limit: u32, behind: Uuid) -> Result<Vec<PendingReturn>, LedgerError> {
        let params = [Param::I64(i64::from(limit)), Param::Uuid(behind)];
        let rows = self.query(statement!("pending_returns"), &params).await?;
        rows.iter().map(pending_return).collect()
    }

    /// Notes what has become of returns. Those that are settled already stay as they are. Returns how many changed.
    pub async fn mark_returned(&mut self, reservations: &[Uuid], state: ReturnState) -> Result<u64, LedgerError> {
        let params = [Param::Uuids(reservations.to_vec()), Param::Text(state.as_str().to_owned())];
        self.execute(statement!("mark_returned"), &params).await
    }

    /// Notes returns that end otherwise than they ask for, and why. Those that are settled already stay as they are. Returns how
    /// many changed.
    pub async fn end_returns(
        &mut self,
        reservations: Vec<Uuid>,
        state: ReturnState,
        why: &str,
    ) -> Result<u64, LedgerError> {
        let params = [Param::Uuids(reservations), Param::Text(state.as_str().to_owned()), Param::Text(why.to_owned())];
        self.execute(statement!("end_returns"), &params).await
    }

    /// Which of these returns no Redis can ever take, where one holds sale `held` of the product, or none of it (0); and why.
    pub async fn stray_returns(
        &mut self,
        reservations: Vec<Uuid>,
        held: u64,
    ) -> Result<Vec<(Uuid, Stray)>, LedgerError> {
        let params = [Param::Uuids(reservations), Param::I64(held as i64)];
        let rows = self.query(statement!("stray_returns"), &params).await?;
        let read = |row: &Row| {
            let why = if row.text(1) == Some("generation") { Stray::Generation } else { Stray::Sale };
            Ok((uuid(row, 0)?, why))
        };
        rows.iter().map(read).collect()
    }

    /// What becomes of these returns, whose sale is over.
    pub async fn over_returns(&mut self, reservations: Vec<Uuid>) -> Result<Vec<(Uuid, ReturnState)>, LedgerError> {
        let rows = self.query(statement!("over_returns"), &[Param::Uuids(reservations)]).await?;
        let read = |row: &Row| {
            let states = [ReturnState::Absorbed, ReturnState::Withdrawn, ReturnState::Unfounded];
            let state = states.into_iter().find(|state| row.text(1) == Some(state.as_str()));
            Ok((uuid(row, 0)?, state.ok_or(UNREADABLE)?))
        };
        rows.iter().map(read).collect()
    }

    /// Which of these returns are settled and of an earlier sale than `before`.
    pub async fn settled_returns(&mut self, reservations: Vec<Uuid>, before: u64) -> Result<Vec<Uuid>, LedgerError> {
        let params = [Param::Uuids(reservations), Param::I64(before as i64)];
        let rows = self.query(statement!("settled_returns"), &params).await?;
        rows.iter().map(|row| uuid(row, 0)).collect()
    }

    /// What has become of an order; `None` where the ledger knows nothing of it (yet).
    pub async fn order_status(&mut self, order_id: Uuid) -> Result<Option<OrderStatus>, LedgerError> {
        let rows = self.query(statement!("order_status"), &[Param::Uuid(order_id)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let product_id = text(row, 0)?;
        Ok(Some(OrderStatus { product_id, rejected: row.text(1).map(str::to_owned) }))
    }

    /// The account of the latest sale of each product.
    pub async fn units(&mut self) -> Result<Vec<Units>, LedgerError> {
        self.query(statement!("units"), &[]).await?.iter().map(units).collect()
    }
}

const UNREADABLE: LedgerError = LedgerError::Unexpected("a value of another type");

fn number<T: std::str::FromStr>(row: &Row, column: usize) -> Result<T, LedgerError> {
    row.get(column).ok_or(UNREADABLE)
}

fn text(row: &Row, column: usize) -> Result<String, LedgerError> {
    row.text(column).map(str::to_owned).ok_or(UNREADABLE)
}

fn uuid(row: &Row, column: usize) -> Result<Uuid, LedgerError> {
    row.text(column).and_then(|text| Uuid::parse(text.as_bytes())).ok_or(UNREADABLE)
}

fn pending_return(row: &Row) -> Result<PendingReturn, LedgerError> {
    Ok(PendingReturn {
        reservation_id: uuid(row, 0)?,
        order_id: uuid(row, 1)?,
        product_id: text(row, 2)?,
        sale_id: number(row, 3)?,
        generation: number(row, 4)?,
        quantity: number(row, 5)?,
        user_id: text(row, 6)?,
    })
}

fn units(row: &Row) -> Result<Units, LedgerError> {
    Ok(Units {
        product_id: text(row, 0)?,
        sale_id: number(row, 1)?,
        generation: number(row, 2)?,
        closed: row.text(3) == Some("closed"),
        total: number(row, 4)?,
        stored: number(row, 5)?,
        withdrawn: number(row, 6)?,
        rejected: number(row, 7)?,
        dead_lettered: number(row, 8)?,
        awaiting_return: number(row, 9)?,
        announced: row.text(10) == Some("t"),
    })
}
