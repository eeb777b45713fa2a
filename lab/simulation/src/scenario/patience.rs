//! Every request is answered, or its connection ends, within the bound that follows from an edge's own deadlines: whatever has
//! happened to Redis, to Kafka and to the sale meanwhile. Time in which the edge itself stood still does not count.

use std::time::Duration;

use flux_protocol::queue::limits::HOLD_US;

use super::run::Run;
use super::shape::Bounds;
use crate::crowd::{Asked, PATIENCE};

/// The way there and back, the ticks of an edge, its turns under load.
const MARGIN_US: u64 = 1_000_000;
/// A run with one fault of this kind has many.
const SHOWN_MAX: usize = 5;

/// What an order may wait for, one after the other: its turn at the door, Redis, Kafka.
fn answered_within_us(bounds: &Bounds) -> u64 {
    let within_us = HOLD_US + (bounds.redis_deadline + bounds.publish_deadline).as_micros() as u64 + MARGIN_US;
    assert!(within_us < PATIENCE.as_micros() as u64, "who is not answered in time is still there");
    within_us
}

/// A span in which an edge stood still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) edge: usize,
    pub(super) from_us: u64,
    pub(super) to_us: u64,
}

/// A line for each of the first faults.
pub(super) fn judge(run: &Run, faults: &mut Vec<String>) {
    let doors = run.shape.edges.iter().enumerate().flat_map(|(edge, cores)| std::iter::repeat_n(edge, *cores));
    let edge_of_door: Vec<usize> = doors.collect();
    let asked = run.crowd.asked.borrow();
    let within_us = answered_within_us(&run.shape.bounds);
    let late = asked.iter().filter(|asked| is_late(asked, within_us, edge_of_door[asked.door], &run.pauses));
    faults.extend(late.take(SHOWN_MAX).map(|asked| {
        let took = match asked.ended_us {
            Some(ended_us) => format!("after {:?}", Duration::from_micros(ended_us - asked.sent_us)),
            None => format!("not within {PATIENCE:?}"),
        };
        let within = Duration::from_micros(within_us);
        format!("patience: {asked:?} was answered {took}, {within:?} are allowed")
    }));
}

fn is_late(asked: &Asked, within_us: u64, edge: usize, pauses: &[Pause]) -> bool {
    let until_us = asked.ended_us.unwrap_or(asked.sent_us + PATIENCE.as_micros() as u64);
    let stood = pauses.iter().filter(|pause| pause.edge == edge);
    let stood: u64 =
        stood.map(|pause| pause.to_us.min(until_us).saturating_sub(pause.from_us.max(asked.sent_us))).sum();
    until_us - asked.sent_us > within_us + stood
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_in_which_its_edge_went_counts() {
        let within_us = answered_within_us(&Bounds::default());
        let is_late = |asked: &Asked, edge, pauses: &[Pause]| is_late(asked, within_us, edge, pauses);
        let asked =
            |ended_us| Asked { what: "/stock/p".to_owned(), door: 0, sent_us: 10_000_000, ended_us, told: None };
        let pause = Pause { edge: 0, from_us: 9_000_000, to_us: 12_000_000 };
        assert!(!is_late(&asked(Some(10_000_000 + within_us)), 0, &[]));
        let late = asked(Some(10_000_001 + within_us));
        assert!(is_late(&late, 0, &[]) && is_late(&late, 1, &[pause]));
        assert!(!is_late(&late, 0, &[pause]), "two seconds of it do not count");
        assert!(is_late(&asked(None), 0, &[]), "never");
        assert!(!is_late(&asked(None), 0, &[Pause { to_us: u64::MAX, ..pause }]), "it stands still");
    }
}
