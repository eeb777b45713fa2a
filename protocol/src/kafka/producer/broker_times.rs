//! What acknowledgements tell of the brokers' clocks, until the owner takes it.

use crate::kafka::limits::BROKER_TIMES_MAX;
use crate::kafka::metadata::NodeId;
use crate::time::Instant;

/// What an acknowledgement tells of a broker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerTime {
    /// Whose.
    pub node: NodeId,
    /// It showed this, in milliseconds since the epoch, …
    pub shown_ms: u64,
    /// … between here …
    pub asked: Instant,
    /// … and here.
    pub answered: Instant,
}

/// Of each broker what was last told and not yet taken, the most exact of it.
#[derive(Debug, Default)]
pub(super) struct BrokerTimes(Vec<BrokerTime>);

impl BrokerTimes {
    /// The longer an answer was under way, the less it proves.
    pub(super) fn note(&mut self, time: BrokerTime) {
        let BrokerTimes(times) = self;
        let span = |time: &BrokerTime| time.answered.since(time.asked);
        match times.iter().position(|known| known.node == time.node) {
            Some(place) if span(&times[place]) <= span(&time) => {}
            Some(place) => times[place] = time,
            None if times.len() < BROKER_TIMES_MAX => times.push(time),
            None => {}
        }
    }

    pub(super) fn poll(&mut self) -> Option<BrokerTime> {
        self.0.pop()
    }
}
