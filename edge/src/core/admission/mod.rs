//! Which orders may go on to a reserve call, and which wait: tokens of the rate limit, and the fair queue. One machine: a sale with a fair
//! queue takes its tokens by the call that tells of the queue.
//!
//! Never answers an order and never moves it on: it wakes it (`state/wakes.rs`), and `order/` does the rest.

pub(crate) mod admit;
pub(crate) mod ask;
pub(crate) mod granted;

use crate::answer::Answer;
use crate::core::state::orders::{OrderIndex, Stage, Turn};

/// The way an order takes, as far as this core's memory tells.
pub(crate) enum Way {
    Answer(Answer),
    /// The same order is under way.
    Join(OrderIndex),
    /// Its queue's status is being asked for.
    AwaitStatus,
    /// It waits where that stage waits: for a place in a reserve call; for a token, called in its queue or not; for the look-up
    /// of its record, where its sale is sold out or closed as far as is remembered, or its place in the queue is used up: so a
    /// repeat gets its first answer.
    Go(Stage, Turn),
}
