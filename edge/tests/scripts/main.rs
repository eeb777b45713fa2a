//! The contract of the Lua scripts, held against a real Redis that each test starts for itself.

mod believed;
mod conservation;
mod fenced;
mod lease;
mod probe;
mod queue;
mod registry;
mod relay;
mod replay_lookup;
mod reserve;
mod retire;
mod rights;
mod sales;
mod topics;
mod trust;
mod turns;

use flux_test_support::{redis as server, sale};
