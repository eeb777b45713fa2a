//! The Lua scripts, as they are loaded into Redis. What each takes and answers stands in its first lines.

use flux_protocol::resp::Script;

const TRUST: &str = include_str!("../../lua/trust.lua");
const RIGHTS: &str = include_str!("../../lua/rights.lua");
const OUTBOX: &str = include_str!("../../lua/outbox.lua");
const SALE_PHASE: &str = include_str!("../../lua/sale_phase.lua");
const FAIR_QUEUE: &str = include_str!("../../lua/fair_queue.lua");

/// Every script the edge calls, each with what it shares with the others put in front.
#[derive(Debug)]
pub struct Scripts {
    /// Takes units for up to 64 orders.
    pub reserve: Script,
    /// Takes tokens of the rate limit for a while, and moves the watermark of a fair queue.
    pub lease: Script,
    /// Reads the line of a fair queue, for `GET /queue`.
    pub queue: Script,
    /// Tells whether orders would get through, and what time it is.
    pub probe: Script,
    /// Reads the state of the sales.
    pub refresh: Script,
    /// Opens a sale.
    pub init: Script,
    /// Closes a sale.
    pub close: Script,
    /// Claims outbox entries that their edge has not delivered in time.
    pub relay: Script,
    /// Reads a page of the registry.
    pub page: Script,
    /// Takes names of sales that are over out of the registry.
    pub forget: Script,
    /// Removes records that no repeat can need any more.
    pub retire: Script,
    /// Removes delivered entries and their claims.
    pub settle: Script,
    /// Moves the undelivered orders of an entry into a new one.
    pub split_entry: Script,
    /// Says what became of orders.
    pub status: Script,
    /// Says which orders of sold-out sales have records.
    pub replay_lookup: Script,
}

impl Scripts {
    /// All of them. Their digests are counted here, once: keep the value.
    pub fn new() -> Scripts {
        Scripts {
            reserve: Script::new(include_str!("../../lua/reserve.lua"), &[TRUST, SALE_PHASE, OUTBOX]),
            lease: Script::new(include_str!("../../lua/lease.lua"), &[TRUST, SALE_PHASE, FAIR_QUEUE]),
            queue: Script::new(include_str!("../../lua/queue.lua"), &[TRUST, SALE_PHASE]),
            probe: Script::new(include_str!("../../lua/probe.lua"), &[]),
            refresh: Script::new(include_str!("../../lua/refresh.lua"), &[TRUST, SALE_PHASE, OUTBOX]),
            init: Script::new(include_str!("../../lua/init.lua"), &[TRUST, RIGHTS]),
            close: Script::new(include_str!("../../lua/close.lua"), &[TRUST, RIGHTS]),
            relay: Script::new(include_str!("../../lua/relay.lua"), &[TRUST]),
            page: Script::new(include_str!("../../lua/page.lua"), &[]),
            forget: Script::new(include_str!("../../lua/forget.lua"), &[TRUST]),
            retire: Script::new(include_str!("../../lua/retire.lua"), &[TRUST]),
            settle: Script::new(include_str!("../../lua/settle.lua"), &[]),
            split_entry: Script::new(include_str!("../../lua/split_entry.lua"), &[TRUST]),
            status: Script::new(include_str!("../../lua/status.lua"), &[TRUST]),
            replay_lookup: Script::new(include_str!("../../lua/replay_lookup.lua"), &[TRUST]),
        }
    }

    /// Each of them, in a fixed order: what to load after connecting and after `NOSCRIPT`.
    pub fn all(&self) -> [&Script; 15] {
        [
            &self.reserve,
            &self.lease,
            &self.queue,
            &self.probe,
            &self.refresh,
            &self.init,
            &self.close,
            &self.relay,
            &self.retire,
            &self.page,
            &self.forget,
            &self.settle,
            &self.split_entry,
            &self.status,
            &self.replay_lookup,
        ]
    }
}

impl Default for Scripts {
    fn default() -> Scripts {
        Scripts::new()
    }
}

/// The one value of this process.
pub static SCRIPTS: std::sync::LazyLock<Scripts> = std::sync::LazyLock::new(Scripts::new);
