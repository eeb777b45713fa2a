//! The scripts that ship.

use std::sync::LazyLock;

use flux_protocol::resp::Script;

use crate::{Step, ask};

pub(crate) use flux_edge::redis::scripts::SCRIPTS as EDGE;

pub(crate) static WORKER: LazyLock<flux_worker::scripts::Scripts> = LazyLock::new(flux_worker::scripts::Scripts::new);

/// Loads all of them.
pub(crate) fn load() -> impl Iterator<Item = Step> {
    let worker = [&WORKER.returns, &WORKER.rebuild_fence, &WORKER.rebuild_restore];
    EDGE.all().into_iter().chain(worker).map(|script| ask(&["SCRIPT", "LOAD", script.source()]))
}

/// Calls one by its digest.
pub(crate) fn call(script: &Script, keys: &[String], arguments: &[String]) -> Step {
    let digest = String::from_utf8(script.digest().to_vec()).expect("digits");
    let head = ["EVALSHA".to_owned(), digest, keys.len().to_string()];
    Step::Ask(head.into_iter().chain(keys.iter().cloned()).chain(arguments.iter().cloned()).collect())
}
