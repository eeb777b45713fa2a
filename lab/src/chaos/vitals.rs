//! What a process takes from the machine, read from /proc: the resources half of I6.

use crate::control::Controlled;
use crate::programs::Program;

/// Descriptors that may be open more than before: a reconnect under way, a broker that was not yet known.
const FILES_SLACK: usize = 16;
/// Memory that may be kept: pools and tables that have grown to the load's size, and stay.
const MEMORY_SLACK_KIB: u64 = 96 << 10;

/// One look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vitals {
    /// Resident memory, KiB.
    pub(super) memory_kib: u64,
    /// Open descriptors.
    pub(super) files: usize,
}

impl Vitals {
    /// What `program` takes now; `None` where it does not run.
    pub(super) fn of(program: &Program) -> Option<Vitals> {
        let pid = program.pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let memory_kib = memory.split_ascii_whitespace().next()?.parse().ok()?;
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Vitals { memory_kib, files })
    }

    /// What has grown beyond what is explained, in words.
    pub(super) fn grown_since(&self, before: &Vitals) -> Option<String> {
        if self.files > before.files + FILES_SLACK {
            return Some(format!("{} descriptors are open, {} were before", self.files, before.files));
        }
        if self.memory_kib > before.memory_kib + MEMORY_SLACK_KIB {
            return Some(format!("{} KiB are resident, {} were before", self.memory_kib, before.memory_kib));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_the_slack_is_growth() {
        let before = Vitals { memory_kib: 10_000, files: 20 };
        assert_eq!(
            Vitals { memory_kib: 10_000 + MEMORY_SLACK_KIB, files: 20 + FILES_SLACK }.grown_since(&before),
            None
        );
        let more_files = Vitals { files: 21 + FILES_SLACK, ..before };
        assert!(more_files.grown_since(&before).is_some_and(|what| what.contains("descriptors")));
        let more_memory = Vitals { memory_kib: 10_001 + MEMORY_SLACK_KIB, ..before };
        assert!(more_memory.grown_since(&before).is_some_and(|what| what.contains("KiB")));
    }
}
