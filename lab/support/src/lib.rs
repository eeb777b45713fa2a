//! What the tests of several crates share. Never part of a program that ships.
//!
//! - `redis`: a `redis-server` of the test's own and a connection to it; `sale`: a sale as the edge's scripts see it
//!   (feature `redis`);
//! - `postgres`: a PostgreSQL of the test's own (feature `postgres`);
//! - `certificates`: an issuer of the test's own (feature `certificates`);
//! - `records`: batches of records as they stand in a Kafka log (feature `records`);
//! - `identity`: an identity provider that signs tokens (feature `identity`);
//! - [`skip`]: a test that cannot run here.

use std::io::Write as _;

#[cfg(feature = "certificates")]
pub mod certificates;
#[cfg(feature = "identity")]
pub mod identity;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "records")]
pub mod records;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis")]
pub mod sale;

/// Says that a test, or a part of it, cannot run on this machine, past the test harness, which would swallow it. Where `CI`
/// is `true` nothing may be skipped: the test fails.
pub fn skip(why: &str) {
    // Where nobody reads standard error there is nobody to be told.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    assert!(!is_ci(std::env::var("CI").ok().as_deref()), "on CI no test may be skipped: {why}");
}

fn is_ci(ci: Option<&str>) -> bool {
    ci == Some("true")
}

#[test]
fn only_ci_takes_no_excuse() {
    assert!(is_ci(Some("true")));
    assert!(!is_ci(None) && !is_ci(Some("")) && !is_ci(Some("false")));
}
