//! The Lua scripts that the worker calls. What each takes and answers stands in its first lines.

use flux_protocol::resp::Script;

/// What must hold before a sale is believed: one text for edge and worker.
const TRUST: &str = include_str!("../../edge/lua/trust.lua");

/// Which of its user's rights a script lacks.
const RIGHTS: &str = include_str!("../../edge/lua/rights.lua");

/// Every script the worker calls.
#[derive(Debug)]
pub struct Scripts {
    /// Gives units back.
    pub returns: Script,
    /// Suspends a sale whose units do not add up.
    pub suspend: Script,
    /// Notes that Redis has lost a sale.
    pub lost: Script,
    /// Binds a sale to this Redis under a new generation, suspended.
    pub rebuild_fence: Script,
    /// Sets the proved stock and lets the sale go on.
    pub rebuild_restore: Script,
}

impl Scripts {
    /// All of them; their digests are counted here.
    pub fn new() -> Scripts {
        Scripts {
            returns: Script::new(include_str!("../lua/returns.lua"), &[TRUST, RIGHTS]),
            suspend: Script::new(include_str!("../lua/suspend.lua"), &[TRUST]),
            lost: Script::new(include_str!("../lua/lost.lua"), &[TRUST]),
            rebuild_fence: Script::new(include_str!("../lua/rebuild_fence.lua"), &[TRUST]),
            rebuild_restore: Script::new(include_str!("../lua/rebuild_restore.lua"), &[TRUST]),
        }
    }
}

impl Default for Scripts {
    fn default() -> Scripts {
        Scripts::new()
    }
}
