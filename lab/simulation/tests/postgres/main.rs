//! The fake PostgreSQL: driven by the client that ships, and held against a real PostgreSQL.

mod client;
mod crossing;
mod differential;
mod fake;
mod faults;
mod random_statements;
mod real;
mod words;

use flux_test_support::postgres as server;
