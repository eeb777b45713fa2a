//! Who may go on to a reserve call, and who waits: tokens of the rate limit, and the fair queue.

pub(crate) mod fair_queue;
pub(crate) mod tokens;
