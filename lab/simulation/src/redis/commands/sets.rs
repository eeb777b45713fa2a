//! Sets. Members come in their own order, where Redis has none.

use super::super::keyspace::{Keyspace, Set, Text};
use super::super::reply::{Outcome, Reply};

pub(crate) fn sadd(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let set = data.make::<Set>(&arguments[1])?;
    Ok(Reply::count(arguments[2..].iter().filter(|member| set.insert((*member).clone())).count()))
}

/// With its last member the set goes.
pub(crate) fn srem(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let Some(set) = data.change::<Set>(&arguments[1])? else { return Ok(Reply::Integer(0)) };
    let removed = arguments[2..].iter().filter(|member| set.remove(*member)).count();
    if set.is_empty() {
        data.remove(&arguments[1]);
    }
    Ok(Reply::count(removed))
}

pub(crate) fn sismember(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let set = data.read::<Set>(&arguments[1])?;
    Ok(Reply::Integer(i64::from(set.is_some_and(|set| set.contains(&arguments[2])))))
}

pub(crate) fn smembers(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let set = data.read::<Set>(&arguments[1])?;
    Ok(Reply::Array(set.into_iter().flatten().map(|member| Reply::Bulk(member.clone())).collect()))
}

/// A page of members in their order, as many as `COUNT` says or ten; the cursor is the place of the next one. Redis promises no
/// order and may say a member twice.
pub(crate) fn sscan(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let number = |at: usize| std::str::from_utf8(&arguments[at]).ok().and_then(|text| text.parse::<usize>().ok());
    let from = number(2).unwrap_or(0);
    let count = if arguments.len() > 4 { number(4).unwrap_or(10) } else { 10 };
    let set = data.read::<Set>(&arguments[1])?;
    let length = set.map_or(0, Set::len);
    let page = set.into_iter().flatten().skip(from).take(count).map(|member| Reply::Bulk(member.clone())).collect();
    let next = if from + count < length { from + count } else { 0 };
    Ok(Reply::Array(vec![Reply::bulk(next.to_string()), Reply::Array(page)]))
}

pub(crate) fn scard(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::count(data.read::<Set>(&arguments[1])?.map_or(0, Set::len)))
}
