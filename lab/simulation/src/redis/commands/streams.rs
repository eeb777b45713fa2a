//! Streams: entries are added, read by id and removed.

use std::ops::RangeInclusive;

use super::super::keyspace::{Keyspace, Text};
use super::super::reply::{Failure, Outcome, Reply, SYNTAX};
use super::super::stream::{EntryId, Stream};
use super::{following, is, number};

const INVALID_ID: Failure = Failure::words("ERR Invalid stream ID specified as stream command argument");

fn part(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// `<ms>-<sequence>` or `<ms>` alone, which takes the sequence given.
fn id(text: &[u8], missing_sequence: u64) -> Result<EntryId, Failure> {
    let id = match text.iter().position(|byte| *byte == b'-') {
        Some(dash) => part(&text[..dash]).zip(part(&text[dash + 1..])),
        None => part(text).map(|ms| (ms, missing_sequence)),
    };
    id.map(|(ms, sequence)| EntryId { ms, sequence }).ok_or(INVALID_ID)
}

/// One end of an interval, and whether the end itself is left out.
fn end(text: &[u8], missing_sequence: u64) -> Result<(EntryId, bool), Failure> {
    match text {
        b"-" => Ok((EntryId::default(), false)),
        b"+" => Ok((EntryId::MAX, false)),
        [b'(', exclusive @ ..] if !exclusive.is_empty() => Ok((id(exclusive, missing_sequence)?, true)),
        inclusive => Ok((id(inclusive, missing_sequence)?, false)),
    }
}

fn interval(from: &[u8], to: &[u8]) -> Result<Option<RangeInclusive<EntryId>>, Failure> {
    let start = match end(from, 0)? {
        (start, true) => start.next().ok_or(Failure::words("ERR invalid start ID for the interval"))?,
        (start, false) => start,
    };
    let stop = match end(to, u64::MAX)? {
        (stop, true) => stop.previous().ok_or(Failure::words("ERR invalid end ID for the interval"))?,
        (stop, false) => stop,
    };
    Ok((start <= stop).then_some(start..=stop))
}

pub(crate) fn xrange(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    range(data, arguments, false)
}

pub(crate) fn xrevrange(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    range(data, arguments, true)
}

fn range(data: &Keyspace, arguments: &[Text], backwards: bool) -> Outcome {
    let (from, to) = if backwards { (&arguments[3], &arguments[2]) } else { (&arguments[2], &arguments[3]) };
    let interval = interval(from, to)?;
    let mut count = usize::MAX;
    let mut options = arguments[4..].iter();
    while let Some(option) = options.next() {
        if !is(option, "COUNT") {
            return Err(SYNTAX);
        }
        let wanted = number(following(&mut options)?)?;
        // -1 is no limit to Redis only where COUNT is not given.
        count = usize::try_from(wanted).unwrap_or(0);
    }
    let Some(stream) = data.read::<Stream>(&arguments[1])? else { return Ok(Reply::Array(Vec::new())) };
    if count == 0 {
        return Ok(Reply::NullArray);
    }
    let Some(interval) = interval else { return Ok(Reply::Array(Vec::new())) };
    let entries = stream.entries.range(interval);
    Ok(Reply::Array(if backwards {
        entries.rev().take(count).map(entry).collect()
    } else {
        entries.take(count).map(entry).collect()
    }))
}

fn entry((id, fields): (&EntryId, &Vec<Text>)) -> Reply {
    let fields = fields.iter().map(|text| Reply::Bulk(text.clone())).collect();
    Reply::Array(vec![Reply::bulk(id.to_string()), Reply::Array(fields)])
}

/// Which id an entry is to have.
enum NewId {
    /// `*`
    Any,
    /// `<ms>-*`
    AnyAt(u64),
    Given(EntryId),
}

impl NewId {
    fn parse(text: &[u8]) -> Result<NewId, Failure> {
        match text {
            b"*" => Ok(NewId::Any),
            [ms @ .., b'-', b'*'] => part(ms).map(NewId::AnyAt).ok_or(INVALID_ID),
            given => Ok(NewId::Given(id(given, 0)?)),
        }
    }

    /// `None`: no id of this kind is greater than the last.
    fn after(self, last: EntryId, now_ms: u64) -> Option<EntryId> {
        let id = match self {
            NewId::Any if now_ms > last.ms => EntryId { ms: now_ms, sequence: 0 },
            NewId::Any => last.next()?,
            NewId::AnyAt(ms) if ms == last.ms => EntryId { ms, sequence: last.sequence.checked_add(1)? },
            NewId::AnyAt(ms) => EntryId { ms, sequence: 0 },
            NewId::Given(id) => id,
        };
        (id > last).then_some(id)
    }
}

pub(crate) fn xadd(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let key = &arguments[1];
    let mut make_stream = true;
    let mut at = 2;
    while let Some(option) = arguments.get(at) {
        if is(option, "NOMKSTREAM") {
            make_stream = false;
            at += 1;
        } else if ["MAXLEN", "MINID", "LIMIT"].iter().any(|trim| is(option, trim)) {
            return Err(Failure::Beyond("XADD that trims".to_owned()));
        } else {
            break;
        }
    }
    let wrong_number = Failure::words("ERR wrong number of arguments for 'xadd' command");
    let Some(id) = arguments.get(at) else { return Err(wrong_number) };
    let id = NewId::parse(id)?;
    let fields = &arguments[at + 1..];
    if fields.len() < 2 || fields.len() % 2 == 1 {
        return Err(wrong_number);
    }
    if let NewId::Given(EntryId { ms: 0, sequence: 0 }) = id {
        return Err(Failure::words("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let now_ms = data.now_ms();
    if !make_stream && data.read::<Stream>(key)?.is_none() {
        return Ok(Reply::Null);
    }
    let stream = data.make::<Stream>(key)?;
    if stream.last == EntryId::MAX {
        return Err(Failure::words("ERR The stream has exhausted the last possible ID, unable to add more items"));
    }
    let id = id
        .after(stream.last, now_ms)
        .ok_or(Failure::words("ERR The ID specified in XADD is equal or smaller than the target stream top item"))?;
    stream.last = id;
    stream.entries.insert(id, fields.to_vec());
    Ok(Reply::bulk(id.to_string()))
}

pub(crate) fn xdel(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let Some(stream) = data.change::<Stream>(&arguments[1])? else { return Ok(Reply::Integer(0)) };
    let ids: Vec<EntryId> = arguments[2..].iter().map(|text| id(text, 0)).collect::<Result<_, _>>()?;
    Ok(Reply::count(ids.iter().filter(|id| stream.entries.remove(id).is_some()).count()))
}

pub(crate) fn xlen(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    Ok(Reply::count(data.read::<Stream>(&arguments[1])?.map_or(0, |stream| stream.entries.len())))
}

/// The only use of it: a group that is made to make the stream, and removed.
pub(crate) fn xgroup_create(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let (key, group, start) = (&arguments[2], &arguments[3], &arguments[4]);
    let make_stream = match &arguments[5..] {
        [] => false,
        [option] if is(option, "MKSTREAM") => true,
        _ => return Err(Failure::Beyond("XGROUP CREATE with other options than MKSTREAM".to_owned())),
    };
    if data.read::<Stream>(key)?.is_none() && !make_stream {
        return Err(NO_STREAM);
    }
    if start.as_ref() != b"$" {
        id(start, 0)?;
    }
    if !data.make::<Stream>(key)?.groups.insert(group.clone()) {
        return Err(Failure::words("BUSYGROUP Consumer Group name already exists"));
    }
    Ok(Reply::OK)
}

pub(crate) fn xgroup_destroy(data: &mut Keyspace, arguments: &[Text]) -> Outcome {
    let stream = data.change::<Stream>(&arguments[2])?.ok_or(NO_STREAM)?;
    Ok(Reply::Integer(i64::from(stream.groups.remove(&arguments[3]))))
}

const NO_STREAM: Failure = Failure::words(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);
