//! Waits until the ledger has stored what the log holds: partition by partition, to the high watermark, by name.
//!
//! The high watermark and not the last stable offset: an order that was acknowledged may stand behind a foreign
//! transaction that is open, where the worker cannot read it yet, and is sold all the same. [`Progress`] decides, and
//! is pure.

use std::fmt::Write as _;
use std::time::Duration;

use flux_net::sleep;
use flux_protocol::kafka::log_reader::Ends;
use flux_protocol::planted::{Bug, is_planted};
use tracing::info;

use crate::ledger::Ledger;
use crate::limits::PROGRESS_INTERVAL;
use crate::oneshot::{self, Ended, Log};

/// How often the ledger is asked how far it has come.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one partition may come no further before it is said that no worker stores it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Partitions named in one line; beyond, their number.
const NAMED_MAX: usize = 10;

/// A partition on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    partition: usize,
    stored: i64,
    end: i64,
    /// Looks since it came further.
    looks_without: u32,
}

/// How far each partition is, look by look.
#[derive(Clone, Debug, Default)]
struct Progress {
    behind: Vec<Place>,
}

impl Progress {
    /// A look: where the ledger stands, and where the log ended when the drain began. What is behind still, and whether
    /// each of those comes on is told by [`Progress::stuck`].
    fn look(&mut self, stored: &[i64], ends: &[i64]) -> bool {
        let before = std::mem::take(&mut self.behind);
        for (partition, (stored, end)) in stored.iter().zip(ends).enumerate().filter(|(_, (stored, end))| stored < end)
        {
            let earlier = before.iter().find(|place| place.partition == partition && place.stored == *stored);
            let looks_without = earlier.map_or(0, |place| place.looks_without + 1);
            self.behind.push(Place { partition, stored: *stored, end: *end, looks_without });
        }
        self.behind.is_empty()
    }

    /// Those that have not come further for `looks` looks, whatever the others do.
    fn stuck(&self, looks: u32) -> Vec<Place> {
        self.behind.iter().filter(|place| place.looks_without >= looks).copied().collect()
    }
}

/// Waits until the ledger has stored what the log holds now, in every partition there is; where that ends.
///
/// # Errors
/// [`Ended::Refused`] names the partitions that come no further.
pub(super) async fn drain(ledger: &mut Ledger, log: &mut Log) -> Result<Ends, Ended> {
    loop {
        let ends = if is_planted(Bug::DrainedToTheStable) { log.stable_ends().await? } else { log.ends().await? };
        drain_to(ledger, log, &ends).await?;
        let now = log.ends().await?;
        if now.topic_id != ends.topic_id {
            return Err(Ended::Refused("the topic was deleted and made anew meanwhile: run again".to_owned()));
        }
        if now.offsets.len() == ends.offsets.len() {
            return Ok(ends);
        }
        info!(partitions = now.offsets.len(), "partitions were added meanwhile: they are waited for, too");
    }
}

async fn drain_to(ledger: &mut Ledger, log: &mut Log, ends: &Ends) -> Result<(), Ended> {
    let looks_of = |span: Duration| (span.as_millis() / PAUSE.as_millis()) as u32;
    let (patience, telling) = (looks_of(PATIENCE), looks_of(PROGRESS_INTERVAL));
    let mut progress = Progress::default();
    let mut looks = 0_u32;
    loop {
        let stored = oneshot::stored_offsets(ledger, ends).await?;
        if progress.look(&stored, &ends.offsets) {
            return Ok(());
        }
        let stuck = progress.stuck(patience);
        if !stuck.is_empty() {
            let stable = log.stable_ends().await?;
            return Err(Ended::Refused(refusal(&stuck, &stable.offsets)));
        }
        looks += 1;
        if looks.is_multiple_of(telling) {
            let places = named(&progress.behind, |place, line| {
                let Place { partition, stored, end, .. } = place;
                let _ = write!(line, "partition {partition}: {} records to go, at {stored} of {end}", end - stored);
            });
            info!(places, "the ledger has not stored what the log holds yet");
        }
        sleep(PAUSE).await?;
    }
}

fn named(places: &[Place], mut write: impl FnMut(&Place, &mut String)) -> String {
    let mut line = String::new();
    for (at, place) in places.iter().take(NAMED_MAX).enumerate() {
        line.push_str(if at == 0 { "" } else { "; " });
        write(place, &mut line);
    }
    if places.len() > NAMED_MAX {
        let _ = write!(line, "; and {} more", places.len() - NAMED_MAX);
    }
    line
}

/// Why nothing comes of it: `stable` is how far each partition can be read.
fn refusal(stuck: &[Place], stable: &[i64]) -> String {
    let places = named(stuck, |place, line| {
        let Place { partition, stored, end, .. } = place;
        let _ = write!(line, "partition {partition} is stored to {stored} and ends at {end}");
        if let Some(stable) = stable.get(*partition).filter(|stable| **stable <= *stored) {
            let _ = write!(line, ", held back at {stable} by a transaction of somebody else that is still open");
        }
    });
    format!("{places}: not stored for {} s; a worker must run that reads it", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_that_stands_is_named_while_others_move() {
        let mut progress = Progress::default();
        let ends = [1000, 10, 50, 0];
        for look in 0..300 {
            assert!(!progress.look(&[look, 10, 7, 0], &ends));
            assert_eq!(progress.stuck(300), [], "look {look}");
        }
        progress.look(&[300, 10, 7, 0], &ends);
        let stuck = progress.stuck(300);
        assert_eq!(stuck.iter().map(|place| place.partition).collect::<Vec<_>>(), [2]);
        let said = refusal(&stuck, &[1000, 10, 50, 0]);
        assert!(said.contains("partition 2 is stored to 7 and ends at 50") && !said.contains("transaction"), "{said}");
        let said = refusal(&stuck, &[1000, 10, 7, 0]);
        assert!(said.contains("held back at 7 by a transaction"), "{said}");
    }

    #[test]
    fn what_comes_on_now_and_then_is_waited_for() {
        let mut progress = Progress::default();
        for look in 0..3000 {
            progress.look(&[look / 299], &[100]);
            assert_eq!(progress.stuck(300), []);
        }
        assert!(progress.look(&[100], &[100]), "all of it");
        assert!(progress.look(&[200], &[100]), "and more");
    }

    #[test]
    fn a_line_names_so_many() {
        let place = |partition| Place { partition, stored: 0, end: 1, looks_without: 9 };
        let said = refusal(&(0..25).map(place).collect::<Vec<_>>(), &[]);
        assert!(
            said.contains("partition 9 ") && !said.contains("partition 10 ") && said.contains("and 15 more"),
            "{said}"
        );
    }
}
