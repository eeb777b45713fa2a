//! The ledger against a real PostgreSQL: each test has a database of its own in one isolated server, or a server of
//! its own where it kills it.

mod cost;
mod cutter;
mod doubt;
mod fixture;
mod poison;
mod sales;
mod sessions;
mod storing;
