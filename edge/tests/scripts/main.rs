//! The contract of the Lua scripts, held against a real Redis that each test starts for itself.

mod believed;
mod conservation;
mod lease;
mod lookup;
mod probe;
mod queue;
mod registry;
mod relay;
mod reserve;
mod retire;
mod sale;
mod sales;
mod server;
mod topics;
mod trust;
mod turns;
