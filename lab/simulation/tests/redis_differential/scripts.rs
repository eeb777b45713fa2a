//! The scripts that ship.

use std::sync::LazyLock;

use flux_protocol::resp::Script;

use crate::{Step, ask};

const TRUST: &str = include_str!("../../../../edge/lua/trust.lua");
const OUTBOX: &str = include_str!("../../../../edge/lua/outbox.lua");

/// Put together as `edge/src/scripts.rs` and `worker/src/scripts.rs` do.
pub(crate) struct Scripts {
    pub(crate) reserve: Script,
    pub(crate) lease: Script,
    pub(crate) look: Script,
    pub(crate) init: Script,
    pub(crate) close: Script,
    pub(crate) relay: Script,
    pub(crate) settle: Script,
    pub(crate) part: Script,
    pub(crate) status: Script,
    pub(crate) returns: Script,
    pub(crate) fence: Script,
    pub(crate) restore: Script,
}

pub(crate) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    reserve: Script::new(include_str!("../../../../edge/lua/reserve.lua"), &[TRUST, OUTBOX]),
    lease: Script::new(include_str!("../../../../edge/lua/lease.lua"), &[TRUST]),
    look: Script::new(include_str!("../../../../edge/lua/look.lua"), &[TRUST, OUTBOX]),
    init: Script::new(include_str!("../../../../edge/lua/init.lua"), &[TRUST]),
    close: Script::new(include_str!("../../../../edge/lua/close.lua"), &[TRUST]),
    relay: Script::new(include_str!("../../../../edge/lua/relay.lua"), &[TRUST]),
    settle: Script::new(include_str!("../../../../edge/lua/settle.lua"), &[]),
    part: Script::new(include_str!("../../../../edge/lua/part.lua"), &[TRUST]),
    status: Script::new(include_str!("../../../../edge/lua/status.lua"), &[TRUST]),
    returns: Script::new(include_str!("../../../../worker/lua/returns.lua"), &[TRUST]),
    fence: Script::new(include_str!("../../../../worker/lua/rebuild_fence.lua"), &[TRUST]),
    restore: Script::new(include_str!("../../../../worker/lua/rebuild_restore.lua"), &[TRUST]),
});

impl Scripts {
    fn all(&self) -> [&Script; 12] {
        [
            &self.reserve,
            &self.lease,
            &self.look,
            &self.init,
            &self.close,
            &self.relay,
            &self.settle,
            &self.part,
            &self.status,
            &self.returns,
            &self.fence,
            &self.restore,
        ]
    }
}

/// Loads all of them.
pub(crate) fn load() -> impl Iterator<Item = Step> {
    SCRIPTS.all().into_iter().map(|script| ask(&["SCRIPT", "LOAD", script.source()]))
}

/// Calls one by its digest.
pub(crate) fn call(script: &Script, keys: &[String], arguments: &[String]) -> Step {
    let digest = String::from_utf8(script.digest().to_vec()).expect("digits");
    let head = ["EVALSHA".to_owned(), digest, keys.len().to_string()];
    Step::Ask(head.into_iter().chain(keys.iter().cloned()).chain(arguments.iter().cloned()).collect())
}
