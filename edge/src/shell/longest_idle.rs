//! Which connection has been idle for longest, for when there is no place for a new one.
//!
//! Nothing is noted while connections come, wait and go: a request costs nothing for it. When one has to make room the table is
//! walked once, as the ticker walks it, and those that are idle are put in order. Whoever becomes idle after that is younger
//! than all of them, so the next ones are taken from the same list, oldest first, without another walk. A list is made at most
//! once a tick: to find a victim costs a look at the list, whatever crowd stands at the door.

use crate::slab::Key;

/// Connections that were idle at one tick, the longest idle last.
#[derive(Debug, Default)]
pub(super) struct LongestIdle {
    /// Since which tick, and which.
    candidates: Vec<(u32, Key)>,
    /// When the list was made.
    made_at: Option<u32>,
}

impl LongestIdle {
    /// The one that has been idle for longest, of those that still are as they were: `is_idle` says so of one that was idle
    /// since a tick. `all` gives those that are idle now, with the ticks since which they are; it is asked once a tick at most.
    pub(super) fn take<I: Iterator<Item = (u32, Key)>>(
        &mut self,
        tick: u32,
        is_idle: impl Fn(u32, Key) -> bool,
        all: impl FnOnce() -> I,
    ) -> Option<Key> {
        if let Some(key) = self.pop(&is_idle) {
            return Some(key);
        }
        if self.made_at == Some(tick) {
            return None;
        }
        self.made_at = Some(tick);
        self.candidates.clear();
        self.candidates.extend(all());
        // By their age, since ticks are numbers that begin anew.
        self.candidates.sort_unstable_by_key(|(since, _)| tick.wrapping_sub(*since));
        self.pop(&is_idle)
    }

    fn pop(&mut self, is_idle: impl Fn(u32, Key) -> bool) -> Option<Key> {
        while let Some((since, key)) = self.candidates.pop() {
            if is_idle(since, key) {
                return Some(key);
            }
        }
        None
    }

    /// A crowd has left: its list with it.
    pub(super) fn trim(&mut self) {
        self.candidates = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const fn key(place: u32) -> Key {
        Key { place, generation: 0 }
    }

    #[test]
    fn the_longest_idle_comes_first_and_the_table_is_walked_once_a_tick() {
        let mut longest = LongestIdle::default();
        let walks = Cell::new(0);
        let mut take = |tick, gone: &[u32], idle: &[(u32, u32)]| {
            let all = || {
                walks.set(walks.get() + 1);
                idle.iter().map(|(since, place)| (*since, key(*place)))
            };
            let taken = longest.take(tick, |_, key| !gone.contains(&key.place), all);
            (taken.map(|key| key.place), walks.get())
        };
        // Ticks begin anew after 2^32: the first two are the older ones.
        let idle = [(3, 0), (u32::MAX - 1, 1), (0, 2), (u32::MAX, 3)];
        assert_eq!(take(9, &[], &idle), (Some(1), 1));
        assert_eq!(take(9, &[3], &[]), (Some(2), 1), "one that is no longer idle is passed over");
        assert_eq!(take(10, &[], &[]), (Some(0), 1), "those that came since are younger");
        assert_eq!(take(10, &[], &[(10, 4)]), (Some(4), 2));
        assert_eq!(take(10, &[], &[(10, 5)]), (None, 2), "no other walk in the same tick");
        assert_eq!(take(11, &[], &[(10, 5)]), (Some(5), 3));
    }
}
