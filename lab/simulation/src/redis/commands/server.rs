//! What is asked of the server itself.

use super::super::keyspace::Text;
use super::super::reply::{Failure, Outcome, Reply};
use super::super::store::Store;
use super::is;

pub(crate) fn ping(_: &Store, arguments: &[Text]) -> Outcome {
    match &arguments[1..] {
        [] => Ok(Reply::Status("PONG".into())),
        [message] => Ok(Reply::Bulk(message.clone())),
        _ => Err(Failure::words("ERR wrong number of arguments for 'ping' command")),
    }
}

pub(crate) fn time(store: &Store, _: &[Text]) -> Outcome {
    let now_us = store.data.now_us();
    let parts = [now_us / 1_000_000, now_us % 1_000_000];
    Ok(Reply::Array(parts.map(|part| Reply::bulk(part.to_string())).to_vec()))
}

/// The sections that somebody reads: server, replication, persistence.
pub(crate) fn info(store: &Store, arguments: &[Text]) -> Outcome {
    let asked = &arguments[1..];
    let everything = asked.is_empty() || asked.iter().any(|section| is(section, "all"));
    let wanted = |name: &str| everything || asked.iter().any(|section| is(section, name));
    let persistence = format!("# Persistence\r\nloading:{}\r\n", u8::from(store.limits.loading));
    let sections = [
        ("server", store.identity.server()),
        ("persistence", &persistence),
        ("replication", store.identity.replication()),
    ];
    let said: Vec<&str> = sections.into_iter().filter(|(name, _)| wanted(name)).map(|(_, text)| text).collect();
    Ok(Reply::bulk(said.join("\r\n")))
}

/// The settings that decide whether writes survive, as the fake has them.
pub(crate) fn config_get(_: &Store, arguments: &[Text]) -> Outcome {
    const SETTINGS: [(&str, &str); 5] = [
        ("appendfsync", "everysec"),
        ("appendonly", "yes"),
        ("maxmemory-policy", "noeviction"),
        ("databases", "1"),
        ("save", ""),
    ];
    let asked = SETTINGS.iter().filter(|(name, _)| arguments[2..].iter().any(|asked| is(asked, name)));
    let text = |text: &'static str| Reply::bulk(text);
    Ok(Reply::Array(asked.flat_map(|(name, value)| [text(name), text(value)]).collect()))
}
