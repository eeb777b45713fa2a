//! Orders that may go on: whatever they waited for has come, or will not.
//!
//! The part that learns of it puts the order here, and never calls it. `order/` takes the orders out once the event is
//! handled, so what an order does next never runs inside of what woke it. An order that is accepted without waiting never stands here.

use std::collections::VecDeque;

use crate::answer::Unavailable;
use crate::core::state::orders::OrderIndex;

/// What an order was woken by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wake {
    /// Something of its sale is known anew: it sets out from the beginning.
    Again,
    /// It has got its token.
    Admitted,
    /// No token is left for it: to the waiting room.
    TurnedAway,
    /// What it waited for cannot be had.
    Refused(Unavailable),
}

/// The orders of one core that were woken, in the order in which that happened. No more than are under way: each waits in
/// one place.
#[derive(Debug, Default)]
pub(crate) struct Wakes(VecDeque<(OrderIndex, Wake)>);

impl Wakes {
    /// Wakes an order.
    pub(crate) fn push(&mut self, order: OrderIndex, wake: Wake) {
        self.0.push_back((order, wake));
    }

    /// Wakes orders, all by the same.
    pub(crate) fn extend(&mut self, orders: impl IntoIterator<Item = OrderIndex>, wake: Wake) {
        self.0.extend(orders.into_iter().map(|order| (order, wake)));
    }

    /// Whether none is.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The order that was woken first.
    pub(crate) fn pop(&mut self) -> Option<(OrderIndex, Wake)> {
        self.0.pop_front()
    }
}
