//! When a product's Redis may not be believed, by what befell it and by rebuilds: what I5 is judged by. Never looks at Redis.

/// When the Redis of a run lost data, and when a rebuild of the product began; µs of the world.
#[derive(Clone, Debug, Default)]
pub(super) struct Distrust {
    /// From when on nothing may be sold, until `rebuilt`.
    since: Option<u64>,
    /// Closed spans.
    spans: Vec<(u64, u64)>,
}

impl Distrust {
    /// Redis has lost something, of which edges must know from then on.
    pub(super) fn note_loss(&mut self, from_us: u64) {
        self.since.get_or_insert(from_us);
    }

    /// A rebuild that began then has opened the sale again; Redis may have lost more before it had ended.
    pub(super) fn end(&mut self, began_us: u64, has_met_a_loss: bool) {
        if let Some(since) = self.since.take_if(|since| *since <= began_us || has_met_a_loss) {
            self.spans.push((since, began_us.max(since)));
        }
    }

    /// What was lost is there again.
    pub(super) fn forget(&mut self) {
        self.since = None;
    }

    /// From when on nothing may be sold until it is rebuilt; `None`: it may.
    pub(super) fn since(&self) -> Option<u64> {
        self.since
    }

    /// All spans, the last of which may be open.
    pub(super) fn spans(&self) -> impl Iterator<Item = (u64, u64)> {
        self.spans.iter().copied().chain(self.since.map(|since| (since, u64::MAX)))
    }
}
