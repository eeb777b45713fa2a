//! One line of the log when a server has been out of reach for so long that `/readyz` says so, and one when it is back.
//!
//! Links tell of connections that fail; a server that holds its connections and answers late, or not at all, ends none.

use std::cell::Cell;
use std::time::Duration;

use tracing::{info, warn};

use crate::limits::shell::READY_OUTAGE_MAX;

/// What was said of one server.
#[derive(Debug)]
pub(crate) struct Outage {
    server: &'static str,
    /// The longest that it has been away, since that was told of; zero while it was not.
    told: Cell<Duration>,
}

impl Outage {
    pub(crate) fn of(server: &'static str) -> Outage {
        Outage { server, told: Cell::new(Duration::ZERO) }
    }

    /// It has been away for so long; zero is not at all. Whether a line was logged.
    pub(crate) fn note(&self, core: usize, away: Duration) -> bool {
        let (server, told) = (self.server, self.told.get());
        if away >= READY_OUTAGE_MAX {
            self.told.set(away);
            if told.is_zero() {
                warn!(core, server, "no answer from {server} for {} ms", away.as_millis());
            }
            return told.is_zero();
        }
        if away.is_zero() && !told.is_zero() {
            self.told.set(Duration::ZERO);
            info!(core, server, "{server} answers again, after {} ms", told.as_millis());
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let outage = Outage::of("Redis");
        let ms = Duration::from_millis;
        let shortly = READY_OUTAGE_MAX - ms(1);
        let told =
            [ms(0), shortly, ms(0), READY_OUTAGE_MAX, 2 * READY_OUTAGE_MAX, shortly, READY_OUTAGE_MAX, ms(0), ms(0)]
                .map(|away| outage.note(0, away));
        assert_eq!(told, [false, false, false, true, false, false, false, true, false]);
    }
}
