//! What clients read: documents of the queue, statuses of orders.

pub mod order_status;
pub(crate) mod queue_document;
