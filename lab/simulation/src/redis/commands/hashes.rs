//! Hashes. Fields come in their own order, where Redis has none.

use super::super::keyspace::{Hash, Keyspace, Text};
use super::super::reply::{Failure, Outcome, Reply};
use super::{integer, number, overflow};

pub(crate) fn hset(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let (pairs, odd) = arguments[2..].as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Failure::words("ERR wrong number of arguments for 'hset' command"));
    }
    let hash = data.make::<Hash>(&arguments[1])?;
    let mut added = 0;
    for [field, value] in pairs {
        added += usize::from(hash.insert(field.clone(), value.clone()).is_none());
    }
    Ok(Reply::count(added))
}

pub(crate) fn hget(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let hash = data.read::<Hash>(&arguments[1])?;
    Ok(Reply::bulk_or_null(hash.and_then(|hash| hash.get(&arguments[2]))))
}

pub(crate) fn hmget(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let hash = data.read::<Hash>(&arguments[1])?;
    let values = arguments[2..].iter().map(|field| Reply::bulk_or_null(hash.and_then(|hash| hash.get(field))));
    Ok(Reply::Array(values.collect()))
}

pub(crate) fn hgetall(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let hash = data.read::<Hash>(&arguments[1])?;
    let pairs = hash.into_iter().flatten().flat_map(|(field, value)| [field, value]);
    Ok(Reply::Array(pairs.map(|text| Reply::Bulk(text.clone())).collect()))
}

/// `HRANDFIELD key count WITHVALUES` with a count above 0, as `edge/lua/relay.lua` asks. Which fields come is chance in
/// Redis; here they are the first ones.
pub(crate) fn hrandfield(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let count = usize::try_from(number(&arguments[2])?)
        .map_err(|_| Failure::words("ERR the fake Redis draws no field twice"))?;
    if !arguments[3].eq_ignore_ascii_case(b"withvalues") {
        return Err(Failure::words("ERR syntax error"));
    }
    let hash = data.read::<Hash>(&arguments[1])?;
    let pairs = hash.into_iter().flatten().take(count).flat_map(|(field, value)| [field, value]);
    Ok(Reply::Array(pairs.map(|text| Reply::Bulk(text.clone())).collect()))
}

pub(crate) fn hexists(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let hash = data.read::<Hash>(&arguments[1])?;
    Ok(Reply::Integer(i64::from(hash.is_some_and(|hash| hash.contains_key(&arguments[2])))))
}

pub(crate) fn hlen(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::count(data.read::<Hash>(&arguments[1])?.map_or(0, Hash::len)))
}

/// With its last field the hash goes.
pub(crate) fn hdel(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let Some(hash) = data.change::<Hash>(&arguments[1])? else { return Ok(Reply::Integer(0)) };
    let removed = arguments[2..].iter().filter(|field| hash.remove(*field).is_some()).count();
    if hash.is_empty() {
        data.remove(&arguments[1]);
    }
    Ok(Reply::count(removed))
}

pub(crate) fn hincrby(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let step = number(&arguments[3])?;
    let before = match data.read::<Hash>(&arguments[1])?.and_then(|hash| hash.get(&arguments[2])) {
        Some(text) => integer(text).ok_or(Failure::words("ERR hash value is not an integer"))?,
        None => 0,
    };
    let sum = before.checked_add(step).ok_or_else(overflow)?;
    data.make::<Hash>(&arguments[1])?.insert(arguments[2].clone(), Text::from(sum.to_string().as_bytes()));
    Ok(Reply::Integer(sum))
}
