//! What clients read: the stock, documents of the queue, statuses of orders.

pub(crate) mod order_status;
pub(crate) mod queue_document;
pub(crate) mod stock;
