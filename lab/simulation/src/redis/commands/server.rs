//! What is asked of the server itself.

use bytes::Bytes;

use super::super::reply::{Failure, Outcome, Reply};
use super::super::store::Store;
use super::is;

pub(crate) fn ping(_: &Store, arguments: &[Bytes]) -> Outcome {
    match &arguments[1..] {
        [] => Ok(Reply::Status(Bytes::from_static(b"PONG"))),
        [message] => Ok(Reply::Bulk(message.clone())),
        _ => Err(Failure::words("ERR wrong number of arguments for 'ping' command")),
    }
}

pub(crate) fn time(store: &Store, _: &[Bytes]) -> Outcome {
    let now_us = store.data.now_us();
    let parts = [now_us / 1_000_000, now_us % 1_000_000];
    Ok(Reply::Array(parts.map(|part| Reply::Bulk(Bytes::from(part.to_string()))).to_vec()))
}

/// The sections that somebody reads: server, replication, persistence.
pub(crate) fn info(store: &Store, arguments: &[Bytes]) -> Outcome {
    Ok(Reply::Bulk(match &arguments[1..] {
        [section] if is(section, "replication") => store.identity.replication(),
        [section] if is(section, "server") => store.identity.server(),
        sections => {
            let everything = sections.is_empty() || sections.iter().any(|section| is(section, "all"));
            let wanted = |name: &str| everything || sections.iter().any(|section| is(section, name));
            let persistence =
                || Bytes::from(format!("# Persistence\r\nloading:{}\r\n", u8::from(store.limits.loading)));
            let mut said = Vec::new();
            if wanted("server") {
                said.push(store.identity.server());
            }
            if wanted("persistence") {
                said.push(persistence());
            }
            if wanted("replication") {
                said.push(store.identity.replication());
            }
            Bytes::from(said.join(&b"\r\n"[..]))
        }
    }))
}

/// The settings that decide whether writes survive, as the fake has them.
pub(crate) fn config_get(_: &Store, arguments: &[Bytes]) -> Outcome {
    const SETTINGS: [(&str, &str); 5] = [
        ("appendfsync", "everysec"),
        ("appendonly", "yes"),
        ("maxmemory-policy", "noeviction"),
        ("databases", "1"),
        ("save", ""),
    ];
    let asked = SETTINGS.iter().filter(|(name, _)| arguments[2..].iter().any(|asked| is(asked, name)));
    let text = |text: &'static str| Reply::Bulk(Bytes::from_static(text.as_bytes()));
    Ok(Reply::Array(asked.flat_map(|(name, value)| [text(name), text(value)]).collect()))
}
