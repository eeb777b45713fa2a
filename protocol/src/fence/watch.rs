//! The wait of a rebuild behind its fences: until every edge has said that it obeys them and that nothing is under way of what
//! they forbid, or until nobody who says nothing can answer 200 any more.
//!
//! Its shell hands it the partition from the first record that there is, up to the high watermark and on, in their order. The
//! wait begins when the last of its own fences is *read*: when it was sent says nothing, and a broker's word for it is not
//! needed. Every edge that the topic names is waited for, those too whose heartbeats stand behind the fence alone: compaction may
//! have taken the earlier ones. An edge is not waited for once it is gone as of the last heartbeat that was read of it.
//!
//! No clock of a broker or of an edge is looked at.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::record::{Fence, FenceRecord, Heartbeat, Replid};
use super::spans::Spans;
use crate::order::{Identifier, Uuid};
use crate::time::Instant;

/// Edges that are waited for by name. Where there are more, the longest wait is waited.
pub const EDGES_MAX: usize = 16 << 10;

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its fences do not all stand in the log yet.
    NotFenced,
    /// So many edges have not said that they are done with what was fenced off; over at the latest then.
    Edges(usize, Instant),
    /// Nobody answers 200 any more for what was sold under an older fence.
    Over,
}

/// One of its own fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Own {
    sale_id: u64,
    generation: u32,
    replid: Replid,
    is_read: bool,
}

/// The most that was heard of one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Heard {
    beat: u64,
    drained: i64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    spans: Spans,
    own: BTreeMap<Identifier, Own>,
    superseded: BTreeSet<Identifier>,
    edges: BTreeMap<Uuid, Heard>,
    /// There are edges that are not among those.
    has_nameless: bool,
    /// Behind the last of its own fences, and when that was read.
    fenced: Option<(i64, Instant)>,
}

impl Watch {
    /// Waits behind these fences, one of a product.
    pub fn new(fences: &[Fence], spans: Spans) -> Watch {
        let own = |fence: &Fence| {
            let Fence { product, sale_id, generation, replid, .. } = fence;
            (*product, Own { sale_id: *sale_id, generation: *generation, replid: *replid, is_read: false })
        };
        Watch {
            spans,
            own: fences.iter().map(own).collect(),
            superseded: BTreeSet::new(),
            edges: BTreeMap::new(),
            has_nameless: false,
            fenced: None,
        }
    }

    /// What is fenced off was sold by edges of whom the topic does not tell: the longest wait is waited, whatever the others say.
    pub fn expect_nameless(&mut self) {
        self.has_nameless = true;
    }

    /// A record of the partition, read at `now`.
    pub fn handle_record(&mut self, offset: i64, record: &FenceRecord, now: Instant) {
        match record {
            FenceRecord::Fence(fence) => self.see_fence(offset, fence, now),
            FenceRecord::Heartbeat(heartbeat) => self.see_heartbeat(heartbeat),
            FenceRecord::Gone(gone) => {
                if self.edges.get(&gone.edge).is_some_and(|heard| heard.beat <= gone.beat) {
                    self.edges.remove(&gone.edge);
                }
            }
            FenceRecord::LetGo => {}
        }
    }

    fn see_heartbeat(&mut self, heartbeat: &Heartbeat) {
        let has_room = self.edges.len() < EDGES_MAX;
        match self.edges.entry(heartbeat.edge) {
            Entry::Occupied(mut heard) => {
                let Heard { beat, drained } = *heard.get();
                heard.insert(Heard { beat: beat.max(heartbeat.beat), drained: drained.max(heartbeat.drained) });
            }
            Entry::Vacant(free) if has_room => {
                free.insert(Heard { beat: heartbeat.beat, drained: heartbeat.drained });
            }
            Entry::Vacant(_) => self.has_nameless = true,
        }
    }

    fn see_fence(&mut self, offset: i64, fence: &Fence, now: Instant) {
        let Some(own) = self.own.get_mut(&fence.product) else { return };
        let is_same_generation = (fence.sale_id, fence.generation) == (own.sale_id, own.generation);
        if is_same_generation && fence.replid == own.replid {
            if std::mem::replace(&mut own.is_read, true) {
                return;
            }
            if self.own.values().all(|own| own.is_read) {
                self.fenced = Some((offset + 1, now));
            }
        } else if fence.is_above(own.sale_id, own.generation) || (is_same_generation && !own.is_read) {
            self.superseded.insert(fence.product);
        }
    }

    /// Whether somebody else has fenced this product higher, or the same generation for another Redis before: what this rebuild
    /// opens nobody sells.
    pub fn is_superseded(&self, product: &Identifier) -> bool {
        self.superseded.contains(product)
    }

    /// How far it is.
    pub fn wait(&self, now: Instant) -> Wait {
        let Some((behind, since)) = self.fenced else { return Wait::NotFenced };
        let awaited = self.edges.values().filter(|heard| heard.drained < behind).count();
        let is_silence_over = now.since(since) >= self.spans.wait;
        if is_silence_over || (awaited == 0 && !self.has_nameless) {
            return Wait::Over;
        }
        Wait::Edges(awaited, since + self.spans.wait)
    }

    /// Edges that have not said so yet, for a line of the log.
    pub fn awaited(&self) -> impl Iterator<Item = Uuid> + '_ {
        let behind = self.fenced.map_or(i64::MAX, |(behind, _)| behind);
        self.edges.iter().filter(move |(_, heard)| heard.drained < behind).map(|(edge, _)| *edge)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gone;
    use super::*;

    fn fence(product: &str, sale_id: u64, generation: u32, of: char) -> Fence {
        let replid = Replid::parse(of.to_string().repeat(40).as_bytes()).expect("an id");
        let product = Identifier::new(product.as_bytes()).expect("an identifier");
        Fence { product, sale_id, generation, replid, run_id: replid, node: String::new(), timestamp: 0 }
    }

    /// A heartbeat, numbered by what it says.
    fn says(edge: u8, drained: i64) -> FenceRecord {
        let (edge, beat) = (Uuid([edge; 16]), drained as u64);
        FenceRecord::Heartbeat(Heartbeat { edge, beat, obeyed: drained, drained, timestamp: 0 })
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    /// A watch behind fences of two products that stand at offsets 10 and 12, read at 5 s, beside edges 1 and 2.
    fn fenced() -> Watch {
        let fences = [fence("p", 7, 2, 'b'), fence("q", 9, 3, 'b')];
        let mut watch = Watch::new(&fences, Spans::SHIPPED);
        watch.handle_record(3, &says(1, 2), at(1));
        watch.handle_record(4, &says(2, 3), at(1));
        let [first, second] = fences.map(FenceRecord::Fence);
        watch.handle_record(10, &first, at(4));
        assert_eq!(watch.wait(at(100)), Wait::NotFenced, "one of two");
        watch.handle_record(12, &second, at(5));
        watch
    }

    #[test]
    fn every_edge_has_to_be_drained_behind_the_last_fence() {
        let mut watch = fenced();
        let until = at(5) + Spans::SHIPPED.wait;
        assert_eq!(watch.wait(at(5)), Wait::Edges(2, until));
        watch.handle_record(13, &says(1, 13), at(6));
        watch.handle_record(14, &says(2, 12), at(6));
        assert_eq!(watch.wait(at(6)), Wait::Edges(1, until), "drained of the first product only");
        assert_eq!(watch.awaited().collect::<Vec<_>>(), [Uuid([2; 16])]);
        // Its earlier word comes late, and takes nothing back.
        watch.handle_record(15, &says(2, 13), at(7));
        watch.handle_record(16, &says(2, 3), at(7));
        assert_eq!(watch.wait(at(7)), Wait::Over);
    }

    #[test]
    fn who_says_nothing_is_waited_for_no_longer_than_the_wait() {
        let watch = fenced();
        let until = at(5) + Spans::SHIPPED.wait;
        assert_eq!(watch.wait(until - std::time::Duration::from_micros(1)), Wait::Edges(2, until));
        assert_eq!(watch.wait(until), Wait::Over);
    }

    #[test]
    fn edges_that_are_gone_are_not_waited_for_and_newcomers_are_until_they_have_said_so() {
        let mut watch = fenced();
        let gone = |beat| FenceRecord::Gone(Gone { edge: Uuid([1; 16]), beat });
        watch.handle_record(13, &gone(1), at(6));
        assert!(matches!(watch.wait(at(6)), Wait::Edges(2, _)), "word of it that came late: it wrote a second one");
        watch.handle_record(13, &FenceRecord::LetGo, at(6));
        watch.handle_record(13, &gone(2), at(6));
        watch.handle_record(14, &says(2, 13), at(6));
        watch.handle_record(15, &says(3, 0), at(6));
        assert!(
            matches!(watch.wait(at(6)), Wait::Edges(1, _)),
            "its heartbeats before the fence may have been compacted"
        );
        watch.handle_record(16, &says(3, 15), at(7));
        assert_eq!(watch.wait(at(7)), Wait::Over);
        watch.handle_record(17, &says(1, 3), at(7));
        assert!(matches!(watch.wait(at(7)), Wait::Edges(1, _)), "it was not gone");
    }

    #[test]
    fn of_more_edges_than_are_known_by_name_the_longest_wait_is_waited() {
        let mut watch = fenced();
        for edge in 0..=EDGES_MAX as u128 {
            let heartbeat =
                Heartbeat { edge: Uuid(edge.to_be_bytes()), beat: 1, obeyed: 99, drained: 99, timestamp: 0 };
            watch.handle_record(20, &FenceRecord::Heartbeat(heartbeat), at(6));
        }
        watch.handle_record(21, &says(1, 99), at(6));
        watch.handle_record(22, &says(2, 99), at(6));
        assert_eq!(watch.wait(at(6)), Wait::Edges(0, at(5) + Spans::SHIPPED.wait));
        assert_eq!(watch.wait(at(5) + Spans::SHIPPED.wait), Wait::Over);
    }

    #[test]
    fn edges_of_whom_the_topic_does_not_tell_are_waited_for_as_those_who_say_nothing() {
        let mut watch = fenced();
        watch.expect_nameless();
        watch.handle_record(13, &says(1, 13), at(6));
        watch.handle_record(14, &says(2, 13), at(6));
        assert_eq!(watch.wait(at(6)), Wait::Edges(0, at(5) + Spans::SHIPPED.wait));
        assert_eq!(watch.wait(at(5) + Spans::SHIPPED.wait), Wait::Over);
    }

    #[test]
    fn a_higher_fence_of_anybody_ends_it_and_a_lower_one_does_not() {
        for (other, is_over) in [
            (fence("p", 7, 1, 'a'), false),
            (fence("p", 6, 9, 'a'), false),
            (fence("p", 7, 3, 'a'), true),
            (fence("p", 8, 1, 'a'), true),
            // Behind its own of the same generation: everybody obeys the first.
            (fence("p", 7, 2, 'a'), false),
            (fence("other", 8, 1, 'a'), false),
        ] {
            let mut watch = fenced();
            watch.handle_record(20, &FenceRecord::Fence(other.clone()), at(6));
            assert_eq!(watch.is_superseded(&fence("p", 7, 2, 'b').product), is_over, "{other:?}");
            assert!(!watch.is_superseded(&fence("q", 9, 3, 'b').product));
        }
        let own = fence("p", 7, 2, 'b');
        let mut watch = Watch::new(std::slice::from_ref(&own), Spans::SHIPPED);
        watch.handle_record(1, &FenceRecord::Fence(fence("p", 7, 2, 'a')), at(1));
        watch.handle_record(2, &FenceRecord::Fence(own.clone()), at(1));
        assert!(watch.is_superseded(&own.product), "another Redis' fence of this generation stands before it");
    }

    #[test]
    fn its_own_fence_read_twice_is_read_when_it_was_read_first() {
        let mut watch = fenced();
        watch.handle_record(20, &FenceRecord::Fence(fence("q", 9, 3, 'b')), at(15));
        assert_eq!(watch.wait(at(6)), Wait::Edges(2, at(5) + Spans::SHIPPED.wait));
    }
}
