//! What the crowd asks for: one order a buyer, the same again at every repeat.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One order as a buyer sends it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order {
    /// The product's identifier.
    pub product: String,
    /// The buyer's identifier.
    pub user: String,
    /// The idempotency key.
    pub key: String,
    /// Units asked for.
    pub quantity: u16,
}

impl Order {
    /// An order of `quantity` units.
    pub fn new(product: &str, user: &str, key: &str, quantity: u16) -> Order {
        Order { product: product.to_owned(), user: user.to_owned(), key: key.to_owned(), quantity }
    }
}

/// Which order each buyer sends.
#[derive(Clone, Debug)]
pub enum Orders {
    /// Buyer *n* is a user with a key of its own and asks for product *n* modulo the products, quantity *n* modulo the
    /// quantities (a product keeps meeting all quantities where their counts share no divisor).
    Unique {
        /// Products in turn; at least one.
        products: Vec<String>,
        /// Quantities in turn; at least one.
        quantities: Vec<u16>,
        /// Begins every user and key, so that two crowds do not meet.
        name: String,
    },
    /// Every buyer sends this very order.
    Same(Order),
    /// Buyer *n* sends order *n*; there are as many buyers as orders.
    List(Vec<Order>),
}

impl Orders {
    /// Unique buyers who each want one unit of `product`.
    pub fn unique(product: &str, name: &str) -> Orders {
        Orders::Unique { products: vec![product.to_owned()], quantities: vec![1], name: name.to_owned() }
    }

    /// How many buyers it can name at most.
    pub(crate) fn buyers_max(&self) -> u64 {
        match self {
            Orders::List(orders) => orders.len() as u64,
            Orders::Unique { .. } | Orders::Same(_) => u64::MAX,
        }
    }

    /// The order of buyer `index`; below [`Orders::buyers_max`].
    pub(crate) fn order(&self, index: u64) -> Arc<Order> {
        match self {
            Orders::Unique { products, quantities, name } => Arc::new(Order {
                product: products[(index % products.len() as u64) as usize].clone(),
                user: format!("{name}-u{index}"),
                key: format!("{name}-k{index}"),
                quantity: quantities[(index % quantities.len() as u64) as usize],
            }),
            Orders::Same(order) => Arc::new(order.clone()),
            Orders::List(orders) => Arc::new(orders[index as usize].clone()),
        }
    }
}
