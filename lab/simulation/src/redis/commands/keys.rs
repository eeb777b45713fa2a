//! Keys of any type: whether they are there, what they hold, how long they live.

use super::super::keyspace::{Keyspace, Text};
use super::super::reply::{Failure, Outcome, Reply};
use super::{is, lossy, number};

pub(crate) fn del(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::count(arguments[1..].iter().filter(|key| data.remove(key)).count()))
}

pub(crate) fn exists(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::count(arguments[1..].iter().filter(|key| data.get(key).is_some()).count()))
}

pub(crate) fn kind(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let kind = data.get(&arguments[1]).map_or("none", |value| value.kind());
    Ok(Reply::Status(kind.into()))
}

pub(crate) fn expire(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    live_for(data, arguments, 1000, "expire")
}

pub(crate) fn pexpire(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    live_for(data, arguments, 1, "pexpire")
}

fn live_for(data: &mut Keyspace, arguments: &[Text], scale: i64, name: &str) -> Outcome {
    let (mut only_new, mut only_old, mut greater, mut less) = (false, false, false, false);
    for option in &arguments[3..] {
        match option {
            nx if is(nx, "NX") => only_new = true,
            xx if is(xx, "XX") => only_old = true,
            gt if is(gt, "GT") => greater = true,
            lt if is(lt, "LT") => less = true,
            other => return Err(Failure::Words(format!("ERR Unsupported option {}", lossy(other)).into())),
        }
    }
    if only_new && (only_old || greater || less) {
        return Err(Failure::words("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if greater && less {
        return Err(Failure::words("ERR GT and LT options at the same time are not compatible"));
    }
    let key = &arguments[1];
    let span = number(&arguments[2])?.checked_mul(scale);
    let when = span.and_then(|span| span.checked_add(data.now_ms().cast_signed()));
    let when = when.ok_or_else(|| Failure::Words(format!("ERR invalid expire time in '{name}' command").into()))?;
    if data.get(key).is_none() {
        return Ok(Reply::Integer(0));
    }
    let until = data.expires_ms(key).map(u64::cast_signed);
    // Without an end a key lives for ever: nothing is later than that.
    let refused = (only_new && until.is_some())
        || (only_old && until.is_none())
        || (greater && until.is_none_or(|until| when <= until))
        || (less && until.is_some_and(|until| when >= until));
    if refused {
        return Ok(Reply::Integer(0));
    }
    if when <= data.now_ms().cast_signed() {
        data.remove(key);
    } else {
        data.expire_at(key, when.cast_unsigned());
    }
    Ok(Reply::Integer(1))
}

pub(crate) fn ttl(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::Integer(left_ms(data, &arguments[1]).map_or_else(|none| none, |left| (left + 500) / 1000)))
}

pub(crate) fn pttl(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::Integer(left_ms(data, &arguments[1]).unwrap_or_else(|none| none)))
}

/// How long the key lives yet, else what is answered instead.
fn left_ms(data: &Keyspace, key: &Text) -> Result<i64, i64> {
    let until = data.get(key).map(|_| data.expires_ms(key)).ok_or(-2)?.ok_or(-1)?;
    Ok(until.saturating_sub(data.now_ms()).cast_signed())
}

pub(crate) fn dbsize(data: &mut Keyspace, _: &[Text]) -> Outcome {
    Ok(Reply::count(data.len()))
}

pub(crate) fn flushall(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    match &arguments[1..] {
        [] => {}
        [how] if is(how, "SYNC") || is(how, "ASYNC") => {}
        _ => return Err(super::SYNTAX),
    }
    data.clear();
    Ok(Reply::OK)
}
