//! Strings and counters.

use super::super::keyspace::{Keyspace, Kind, Text, Value};
use super::super::reply::{Failure, NOT_AN_INTEGER, Outcome, Reply, SYNTAX};
use super::{following, integer, is, number, overflow};

pub(crate) fn get(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::bulk_or_null(data.read::<Text>(&arguments[1])?))
}

/// What is of another type counts as missing.
pub(crate) fn mget(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let values = arguments[1..].iter().map(|key| Reply::bulk_or_null(data.get(key).and_then(Text::of)));
    Ok(Reply::Array(values.collect()))
}

#[derive(Default)]
struct SetOptions {
    only_new: bool,
    only_old: bool,
    get: bool,
    keep_ttl: bool,
    expires_ms: Option<u64>,
}

impl SetOptions {
    fn parse(data: &Keyspace, arguments: &[Text]) -> Result<SetOptions, Failure> {
        let mut options = SetOptions::default();
        let (mut unit, mut expire) = ("", None);
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            if is(option, "NX") && !options.only_old {
                options.only_new = true;
            } else if is(option, "XX") && !options.only_new {
                options.only_old = true;
            } else if is(option, "GET") {
                options.get = true;
            } else if is(option, "KEEPTTL") && unit.is_empty() {
                options.keep_ttl = true;
            } else {
                let known = ["EX", "PX", "EXAT", "PXAT"].into_iter().find(|known| is(option, known)).ok_or(SYNTAX)?;
                if options.keep_ttl || (!unit.is_empty() && unit != known) {
                    return Err(SYNTAX);
                }
                (unit, expire) = (known, Some(following(&mut rest)?));
            }
        }
        if let Some(expire) = expire {
            options.expires_ms = Some(moment(data, unit, number(expire)?)?);
        }
        Ok(options)
    }
}

fn moment(data: &Keyspace, unit: &str, time: i64) -> Result<u64, Failure> {
    let scale = if unit.starts_with('E') { 1000 } else { 1 };
    let base = if unit.ends_with("AT") { 0 } else { data.now_ms().cast_signed() };
    let when = time.checked_mul(scale).filter(|_| time > 0).and_then(|time| time.checked_add(base));
    when.map(i64::cast_unsigned).ok_or(Failure::words("ERR invalid expire time in 'set' command"))
}

pub(crate) fn set(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let (key, value) = (&arguments[1], &arguments[2]);
    let options = SetOptions::parse(data, &arguments[3..])?;
    let before = if options.get { Some(Reply::bulk_or_null(data.read::<Text>(key)?)) } else { None };
    let exists = data.get(key).is_some();
    if (options.only_new && exists) || (options.only_old && !exists) {
        return Ok(before.unwrap_or(Reply::Null));
    }
    let expires_ms = if options.keep_ttl { data.expires_ms(key) } else { options.expires_ms };
    data.set(key, Value::Text(value.clone()), expires_ms);
    Ok(before.unwrap_or(Reply::OK))
}

pub(crate) fn incrby(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    add(data, &arguments[1], number(&arguments[2])?)
}

pub(crate) fn decrby(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let step = number(&arguments[2])?.checked_neg().ok_or(Failure::words("ERR decrement would overflow"))?;
    add(data, &arguments[1], step)
}

fn add(data: &mut Keyspace, key: &Text, step: i64) -> Outcome {
    let before = match data.read::<Text>(key)? {
        Some(text) => integer(text).ok_or(NOT_AN_INTEGER)?,
        None => 0,
    };
    let sum = before.checked_add(step).ok_or_else(overflow)?;
    *data.make::<Text>(key)? = Text::from(sum.to_string().as_bytes());
    Ok(Reply::Integer(sum))
}
