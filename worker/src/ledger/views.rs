//! What the ledger tells beside storing: units to give back, one order's fate, the account of a sale.

use flux_protocol::order::Uuid;

/// Units of a second reservation, to be given back to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingReturn {
    /// The reservation that was dropped.
    pub reservation_id: Uuid,
    /// The order that is stored under another one.
    pub order_id: Uuid,
    pub product_id: String,
    /// The sale its units were taken from.
    pub sale_id: u64,
    /// That sale's generation then.
    pub generation: u32,
    /// Units.
    pub quantity: u16,
    /// Whose.
    pub user_id: String,
}

/// What has become of units that were to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReturnState {
    /// Redis has them again.
    Returned,
    /// A rebuild has counted them in: Redis was told another stock.
    Absorbed,
    /// Their sale is over.
    Withdrawn,
    /// Nobody took them, or they are counted elsewhere: the record that tells of them is stray.
    Unfounded,
}

impl ReturnState {
    /// As the ledger writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ReturnState::Returned => "returned",
            ReturnState::Absorbed => "absorbed",
            ReturnState::Withdrawn => "withdrawn",
            ReturnState::Unfounded => "unfounded",
        }
    }
}

/// Why no Redis can ever take a return, as far as the ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// No rebuild took its generation, and no event told of it.
    Generation,
    /// Only orders tell of its sale, and the product has one that was announced.
    Sale,
}

/// What the ledger knows of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderStatus {
    pub product_id: String,
    /// Why it was rejected; `None`: it is stored.
    pub rejected: Option<String>,
}

/// The account of a product's latest sale, of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    pub product_id: String,
    pub sale_id: u64,
    /// That sale's generation.
    pub generation: u32,
    pub closed: bool,
    /// Units in all.
    pub total: u64,
    /// Units of stored orders.
    pub stored: u64,
    /// Units taken back unsold.
    pub withdrawn: u64,
    /// Units of orders rejected for want of room.
    pub rejected: u64,
    /// Units of dead letters that are known to be orders.
    pub dead_lettered: u64,
    /// Units to be given back.
    pub awaiting_return: u64,
    /// An event has told of the sale; else orders alone have, which may be stray.
    pub announced: bool,
}

impl Units {
    /// The most units that Redis can have left: what is stored only grows, and what was closed sells nothing any more.
    pub fn most_left(&self) -> u64 {
        if self.closed { 0 } else { self.total.saturating_sub(self.stored) }
    }
}

#[cfg(test)]
impl Units {
    /// An announced sale of 100 units of which nothing is sold.
    pub(crate) fn unsold(product: &str, sale_id: u64, generation: u32) -> Units {
        Units {
            product_id: product.into(),
            sale_id,
            generation,
            closed: false,
            total: 100,
            stored: 0,
            withdrawn: 0,
            rejected: 0,
            dead_lettered: 0,
            awaiting_return: 0,
            announced: true,
        }
    }
}

#[cfg(test)]
mod tests {
    /// Whoever asks the table by SQL reads them there.
    #[test]
    fn each_state_of_a_return_is_in_the_manual() {
        let schema = include_str!("../../sql/0006_unfounded_returns.sql");
        let states = schema.split("state IN (").nth(1).and_then(|rest| rest.split(')').next()).expect("all of them");
        let manual = include_str!("../../../docs/SPEC.md");
        let told = manual.split("`returns.state`").nth(1).expect("it is named");
        let told = told.split("\n\n").next().expect("its paragraph");
        for state in states.split(", ") {
            let named = state.replace('\'', "`");
            assert!(told.contains(&named), "{named} is not in {told}");
        }
    }
}
