//! What acknowledgements tell of the brokers' clocks: how far they are from this machine's.
//!
//! A broker that gives records their times (LogAppendTime) says with each acknowledgement what its clock showed when it
//! appended them, somewhere between the request and the answer. The difference is shown in the metrics and warned of. Never
//! decides anything: orders are dated by Redis' clock, and a record that a broker refuses for its time is sent again without one.

use std::collections::BTreeMap;

use flux_protocol::kafka::metadata::NodeId;
use flux_protocol::kafka::producer::{BrokerTime, Producer};
use flux_protocol::time::Now;
use tracing::{error, info, warn};

use crate::counters::Counters;
use crate::limits::{BROKER_CLOCKS_MAX, CLOCK_SKEW_MAX_MS};

/// By broker its clock less this machine's, ms.
#[derive(Debug, Default)]
pub(crate) struct BrokerClocks {
    by_node: BTreeMap<NodeId, i64>,
    is_told: bool,
}

impl BrokerClocks {
    /// What is believed changes by no more than `time` proves: an acknowledgement that was seconds on its way proves little.
    fn note(&mut self, now: Now, time: BrokerTime) {
        if self.by_node.len() >= BROKER_CLOCKS_MAX && !self.by_node.contains_key(&time.node) {
            // Brokers come and go; those that are still there tell again.
            self.by_node.clear();
        }
        let ago_ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let (now_ms, shown_ms) = (now.wall_ms.cast_signed(), time.shown_ms.cast_signed());
        // Rounded so that the span becomes no narrower.
        let asked_ms = now_ms.saturating_sub(ago_ms(now.instant.since(time.asked)).saturating_add(1));
        let answered_ms = now_ms.saturating_sub(ago_ms(now.instant.since(time.answered))).saturating_add(1);
        let skew = self.by_node.entry(time.node).or_default();
        *skew = (*skew).clamp(shown_ms.saturating_sub(answered_ms), shown_ms.saturating_sub(asked_ms));
    }

    /// The broker whose clock is furthest away, and by how much.
    fn furthest(&self) -> Option<(NodeId, i64)> {
        self.by_node.iter().map(|(node, skew)| (*node, *skew)).max_by_key(|(_, skew)| skew.unsigned_abs())
    }

    /// Once a second.
    pub(crate) fn note_times<T: Copy>(&mut self, now: Now, producer: &mut Producer<T>, counters: &Counters) {
        while let Some(time) = producer.poll_broker_time() {
            self.note(now, time);
        }
        let Some((broker, skew_ms)) = self.furthest() else { return };
        counters.kafka_clock_skew_ms.set(skew_ms.cast_unsigned());
        let (is_large, is_small) =
            (skew_ms.unsigned_abs() >= CLOCK_SKEW_MAX_MS, skew_ms.unsigned_abs() < CLOCK_SKEW_MAX_MS / 2);
        if is_large && !self.is_told {
            self.is_told = true;
            warn!(
                broker,
                skew_ms,
                "this machine's clock is not the broker's, one of the two is wrong: a topic whose records carry times of their \
                 own (message.timestamp.type CreateTime) would refuse them beyond an hour"
            );
        } else if is_small && self.is_told {
            self.is_told = false;
            info!(broker, skew_ms, "this machine's clock and the brokers' agree again");
        }
    }

    /// Says once that a broker has refused the records' times.
    pub(crate) fn note_untimed<T: Copy>(producer: &Producer<T>, counters: &Counters, skew_ms: i64) {
        if producer.is_untimed() && counters.records_untimed.get() == 0 {
            counters.records_untimed.set(1);
            error!(
                skew_ms,
                "a broker refuses the times of records: its clock and Redis' are far apart; records travel without times now, \
                 and none is lost by it: set message.timestamp.type LogAppendTime, and mend the clocks"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flux_protocol::kafka::producer::ProducerConfig;
    use flux_protocol::time::Instant;

    use super::*;

    /// Whoever is warned of clocks that are right looks for a fault that is none, and believes no warning any more.
    #[test]
    fn a_clock_is_called_wrong_only_where_it_is_and_until_it_is_right_again() {
        let now = Now { instant: Instant::from_micros(1_000_000), wall_ms: 1_705_234_800_000 };
        let config = ProducerConfig {
            topic: "orders".to_owned(),
            bootstrap: vec![("broker".to_owned(), 9092)],
            login: None,
            client_id: "test".to_owned(),
            linger: Duration::ZERO,
            batch_bytes_max: 1 << 10,
            in_flight_max: 1,
            request_timeout: Duration::from_secs(1),
            records_max: 1,
            record_age_max: Duration::from_secs(1),
            seed: 5,
        };
        let mut producer: Producer<u32> = Producer::new(config, now.instant);
        let (mut clocks, counters) = (BrokerClocks::default(), Counters::default());
        let far = CLOCK_SKEW_MAX_MS as i64;
        let told = [0, far - 1, far, far / 2, -far, far / 2 - 1, far / 2].map(|skew_ms| {
            clocks.by_node.insert(1, skew_ms);
            clocks.note_times(now, &mut producer, &counters);
            clocks.is_told
        });
        assert_eq!(told, [false, false, true, true, true, false, false]);
    }
}
