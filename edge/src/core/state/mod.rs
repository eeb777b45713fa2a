//! What one core remembers, part by part. No part knows the whole (`Core`): each is handed what it needs.

pub mod board;
pub mod orders;
pub mod outbox;
pub mod product;
pub mod products;
pub mod queue_state;
pub mod reserve_calls;
pub(crate) mod shown;
pub mod token_lease;
pub(crate) mod waiting;
pub(crate) mod work_queue;
