//! The commands over the data, by type; what their arguments have in common.

pub(super) mod hashes;
pub(super) mod keys;
pub(super) mod server;
pub(super) mod sets;
pub(super) mod streams;
pub(super) mod strings;

use super::keyspace::Text;
use super::reply::{Failure, NOT_AN_INTEGER, SYNTAX};

/// A whole number as Redis reads one (`string2ll`): no sign but a minus, no leading zero, no blank.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

/// An argument that must be a whole number.
fn number(text: &[u8]) -> Result<i64, Failure> {
    integer(text).ok_or(NOT_AN_INTEGER)
}

/// Options are not case-sensitive.
fn is(argument: &[u8], option: &str) -> bool {
    argument.eq_ignore_ascii_case(option.as_bytes())
}

/// The argument of an option.
fn following<'a>(arguments: &mut impl Iterator<Item = &'a Text>) -> Result<&'a Text, Failure> {
    arguments.next().ok_or(SYNTAX)
}

fn overflow() -> Failure {
    Failure::words("ERR increment or decrement would overflow")
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
