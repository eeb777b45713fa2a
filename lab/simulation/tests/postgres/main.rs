//! The fake PostgreSQL: driven by the client that ships, and held against a real PostgreSQL.

mod client;
mod crossing;
mod differential;
mod fake;
mod faults;
mod random_statements;
mod real;
mod words;

#[allow(dead_code)]
#[path = "../../../../worker/tests/server/mod.rs"]
mod server;
