//! What state the server is in and which commands it refuses in it, in Redis' words and in Redis' order.

use super::command::Flags;

/// States that refuse commands. All false: none is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// More memory is used than `maxmemory` allows, and nothing may be evicted.
    pub out_of_memory: bool,
    /// The append-only file cannot be written.
    pub misconfigured: bool,
    /// The data is being read from disk.
    pub loading: bool,
    /// Another client's script has been running for too long.
    pub busy: bool,
}

pub(super) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
pub(super) const MISCONFIGURED: &str = "MISCONF Errors writing to the AOF file: No space left on device";
pub(super) const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
const LOADING: &str = "LOADING Redis is loading the dataset in memory";
const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

impl Limits {
    /// Why a command of these flags is refused before it begins. `may_queue`: it would go into a transaction, which takes
    /// memory whatever the command is.
    pub(super) fn refuse(self, flags: Flags, is_replica: bool, may_queue: bool, is_ping: bool) -> Option<&'static str> {
        let writes = flags.has(Flags::WRITE);
        // A replica does as its master does, whatever its own memory (`replica-ignore-maxmemory`).
        if self.out_of_memory && !is_replica && (flags.has(Flags::DENY_OOM) || may_queue) {
            Some(OUT_OF_MEMORY)
        } else if self.misconfigured && (writes || is_ping) {
            Some(MISCONFIGURED)
        } else if is_replica && writes {
            Some(READ_ONLY)
        } else if self.loading && !flags.has(Flags::LOADING) {
            Some(LOADING)
        } else if self.busy && !flags.has(Flags::ALLOW_BUSY) {
            Some(BUSY)
        } else {
            None
        }
    }
}
