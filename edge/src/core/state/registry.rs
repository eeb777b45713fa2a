//! How far the registry of names has been read, and which of its names are in hand (`sales/registry.rs` reads it).

use std::collections::VecDeque;

use flux_protocol::order::Identifier;
use flux_protocol::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Where the next page begins, as Redis has it.
    pub(crate) cursor: u64,
    /// Whole scans begun, this one among them.
    pub(crate) scan: u64,
    /// When the next scan may begin.
    pub(crate) next_scan: Instant,
    /// Pages still to be read in this second.
    pub(crate) pages_left: usize,
    pub(crate) is_reading: bool,
    /// Names that may be needless: those of the page read last that are not in memory, and of sales seen to be over.
    pub(crate) doubted: VecDeque<Identifier>,
    pub(crate) doubts_left: usize,
    /// Those of which the script is being asked.
    pub(crate) judged: Vec<Identifier>,
    /// Names that are needed and not in memory.
    pub(crate) strangers: VecDeque<Identifier>,
    pub(crate) surveys_left: usize,
    /// Those being looked at, and since when.
    pub(crate) surveyed: Vec<Identifier>,
    pub(crate) surveyed_at: Instant,
    /// Names that it lacks.
    pub(crate) lacking: Vec<Identifier>,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            cursor: 0,
            scan: 1,
            next_scan: Instant::default(),
            pages_left: 0,
            is_reading: false,
            doubted: VecDeque::new(),
            doubts_left: 0,
            judged: Vec::new(),
            strangers: VecDeque::new(),
            surveys_left: 0,
            surveyed: Vec::new(),
            surveyed_at: Instant::default(),
            lacking: Vec::new(),
        }
    }
}
