//! Audit, rebuild and returns over real servers, with the worker's own program storing meanwhile.
//!
//! The edge's part is played by its scripts: they reserve, and the test publishes what an edge would have published.

mod account;
mod cost;
mod log;
mod operator;
mod redis_loses;
mod unasked;
mod world;
