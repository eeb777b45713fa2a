//! The way of an order, from its request to its answer.

pub(crate) mod deadlines;
mod join;
#[expect(clippy::module_inception, reason = "the story of one order, by its name")]
pub(crate) mod order;
mod parse;
pub(crate) mod replay_lookup;
pub(crate) mod reserve;
pub(crate) mod respond;
pub(crate) mod settle;
