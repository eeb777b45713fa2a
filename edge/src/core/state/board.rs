//! What the cores of one process tell each other of the sales: one refresh serves them all.
//!
//! Each product has one [`Sight`], which every core that has it in memory holds: what was last seen of it, as words
//! behind atomics. No core waits. A reader that meets a writer keeps what it knows. A writer that meets another leaves
//! it to that one: both have just looked. Three words stand apart, for they must not be missed: the newest sale that any
//! core knows of, the last that any core knows to be closed, and when a look last found that there is none to be believed. They
//! only rise.
//!
//! The names are behind a lock, which is taken where a product enters a core's memory; never where it is ordered. What stands
//! here is a memory like a core's own: every script checks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use flux_protocol::fence::Standing;
use flux_protocol::order::Identifier;
use flux_protocol::time::Instant;
use foldhash::fast::RandomState;

use crate::core::state::fence_board::FenceBoard;
use crate::core::state::standing::{StandingWords, Torn};
use crate::limits::ASKED_NOTED_EVERY;
use crate::redis::replies::Refreshed;
use crate::sale::{Sale, SaleState};

/// Words of what was seen.
const WORDS: usize = 14;

/// What is known of one product. See the module.
#[derive(Debug, Default)]
pub struct Sight {
    newest_sale: AtomicU64,
    /// When that was heard of, µs.
    newest_at: AtomicU64,
    closed_sale: AtomicU64,
    /// When that was last told, µs.
    closed_at: AtomicU64,
    /// When a look was asked for that found no sale to be believed, µs; the last of them.
    suspended_at: AtomicU64,
    asked: AtomicU64,
    /// The highest fence of it.
    standing: StandingWords,
    /// Odd while a core writes.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Sight {
    /// A sale that a script has told of, in an answer that came now.
    pub fn note_sale(&self, now: Instant, id: u64) {
        if self.newest_sale.load(Ordering::Acquire) < id {
            self.newest_at.fetch_max(now.as_micros(), Ordering::AcqRel);
            self.newest_sale.fetch_max(id, Ordering::AcqRel);
        }
    }

    /// The newest sale, for a look that was asked for at `asked` and has found the earlier one `id`, where it was known by then:
    /// Redis has lost it.
    pub fn lost_since(&self, id: u64, asked: Instant) -> Option<u64> {
        let newest = self.newest_sale.load(Ordering::Acquire);
        (newest > id && asked.as_micros() > self.newest_at.load(Ordering::Acquire)).then_some(newest)
    }

    /// Whether a newer sale than `id` is known.
    pub fn is_replaced(&self, id: u64) -> bool {
        self.newest_sale.load(Ordering::Acquire) > id
    }

    /// Whether a sale of the product is known, or was: what Redis says nothing of then is lost.
    pub fn has_seen_a_sale(&self) -> bool {
        self.newest_sale.load(Ordering::Acquire) > 0
    }

    /// A sale that a script has closed.
    pub fn note_closed(&self, now: Instant, id: u64) {
        self.closed_at.fetch_max(now.as_micros(), Ordering::AcqRel);
        self.closed_sale.fetch_max(id, Ordering::AcqRel);
    }

    /// Whether the sale `id` was closed after it was looked at, at `seen`.
    pub fn is_closed_since(&self, id: u64, seen: Option<Instant>) -> bool {
        self.closed_sale.load(Ordering::Acquire) == id
            && seen.is_none_or(|seen| seen.as_micros() <= self.closed_at.load(Ordering::Acquire))
    }

    /// Whether a look later than `seen` has found no sale to be believed.
    pub fn is_suspended_since(&self, seen: Option<Instant>) -> bool {
        let suspended_at = self.suspended_at.load(Ordering::Acquire);
        suspended_at > 0 && seen.is_none_or(|seen| seen.as_micros() < suspended_at)
    }

    /// The highest fence of it that was read.
    pub(crate) fn standing(&self) -> Result<Option<Standing>, Torn> {
        self.standing.read()
    }

    /// A request asks for the product. Written now and then only, so that cores do not fight for its cache line.
    pub fn note_asked(&self, now: Instant) {
        let noted = Instant::from_micros(self.asked.load(Ordering::Relaxed));
        if now.since(noted) >= ASKED_NOTED_EVERY {
            self.asked.store(now.as_micros(), Ordering::Relaxed);
        }
    }

    /// Whether a request has asked for the product within `span`.
    pub fn is_asked_for(&self, now: Instant, span: Duration) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        asked > 0 && now.since(Instant::from_micros(asked)) < span
    }

    /// Shows what was seen now, asked for at `asked`.
    pub fn publish(&self, now: Instant, asked: Instant, refreshed: &Refreshed) {
        match refreshed {
            Refreshed::Sale { sale, .. } => self.note_sale(now, sale.id),
            Refreshed::Unknown | Refreshed::Suspended { .. } | Refreshed::Foreign(_) => {
                self.suspended_at.fetch_max(asked.as_micros(), Ordering::AcqRel);
            }
        }
        let before = self.sequence.load(Ordering::Relaxed);
        let is_mine = before.is_multiple_of(2)
            && self.sequence.compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !is_mine {
            return;
        }
        fence(Ordering::Release);
        if self.words[0].load(Ordering::Relaxed) <= asked.as_micros() {
            for (word, value) in self.words.iter().zip(to_words(asked, refreshed)) {
                word.store(value, Ordering::Relaxed);
            }
        }
        self.sequence.store(before + 2, Ordering::Release);
    }

    /// What any core has seen since `known`, and when it was asked for. The outbox's ids are left out: the core that
    /// relays looks for itself.
    pub fn take(&self, known: Option<Instant>) -> Option<(Instant, Refreshed)> {
        let before = self.sequence.load(Ordering::Acquire);
        if before == 0 || !before.is_multiple_of(2) {
            return None;
        }
        let asked = Instant::from_micros(self.words[0].load(Ordering::Relaxed));
        if known.is_some_and(|known| asked <= known) {
            return None;
        }
        let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if self.sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        Some((Instant::from_micros(words[0]), from_words(&words)))
    }
}

const STATES: [SaleState; 5] =
    [SaleState::Open, SaleState::Scheduled, SaleState::SoldOut, SaleState::Suspended, SaleState::Closed];
const UNKNOWN: u64 = 16;
const SUSPENDED: u64 = 17;
const FOREIGN: u64 = 18;
/// Beside the state: there is a fair queue.
const FAIR: u64 = 1 << 8;
/// And it is sold under a fence.
const FENCED: u64 = 1 << 9;

fn to_words(asked: Instant, refreshed: &Refreshed) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = asked.as_micros();
    words[1] = match refreshed {
        Refreshed::Unknown => UNKNOWN,
        Refreshed::Suspended { stands, .. } => {
            // No sale has the id 0.
            let (id, generation) = stands.unwrap_or_default();
            words[2] = id;
            SUSPENDED | u64::from(generation) << 32
        }
        Refreshed::Foreign(_) => FOREIGN,
        Refreshed::Sale {
            sale, is_fenced, state, opens_in, stock, outbox_entries, outbox_orders, queue_seed, ..
        } => {
            let opens_us = u64::try_from(opens_in.as_micros()).unwrap_or(u64::MAX);
            words[2..10].copy_from_slice(&[
                sale.id,
                sale.total,
                sale.rate,
                sale.burst,
                opens_us,
                *stock,
                *outbox_entries,
                *outbox_orders,
            ]);
            for (word, bytes) in words[10..].iter_mut().zip(queue_seed.iter().flat_map(|seed| seed.chunks_exact(8))) {
                *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            }
            let state = STATES.iter().position(|known| known == state).expect("every state stands there") as u64;
            let flags = if queue_seed.is_some() { FAIR } else { 0 } | if *is_fenced { FENCED } else { 0 };
            state | flags | u64::from(sale.generation) << 32
        }
    };
    words
}

fn from_words(words: &[u64; WORDS]) -> Refreshed {
    let kind = words[1];
    let generation = (kind >> 32) as u32;
    match kind & u64::from(u32::MAX) {
        UNKNOWN => return Refreshed::Unknown,
        SUSPENDED => {
            let stands = Some((words[2], generation)).filter(|(id, _)| *id > 0);
            return Refreshed::Suspended { reason: "as another core has seen".to_owned(), stands };
        }
        FOREIGN => return Refreshed::Foreign(String::new()),
        _ => {}
    }
    let mut seed = [0; 32];
    for (bytes, word) in seed.chunks_exact_mut(8).zip(&words[10..]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Refreshed::Sale {
        sale: Sale { id: words[2], generation, total: words[3], rate: words[4], burst: words[5] },
        is_fenced: kind & FENCED != 0,
        state: STATES[(kind & 0xf) as usize],
        opens_in: Duration::from_micros(words[6]),
        stock: words[7],
        outbox_entries: words[8],
        outbox_orders: words[9],
        outbox_oldest: None,
        outbox_newest: None,
        queue_seed: (kind & FAIR != 0).then_some(seed),
    }
}

/// Names of a board before it is first looked through for those that no core has any more.
const NAMES_KEPT: usize = 1024;

/// The sights of one process, by product, and what it knows of the fences.
#[derive(Debug, Default)]
pub struct Board {
    /// Whether the process is current, and how far its cores are.
    pub fences: FenceBoard,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    all: HashMap<Identifier, Weak<Sight>, RandomState>,
    /// How many there may be before those that no core has any more are removed.
    kept: usize,
    /// The highest fence of every product that has one, at most [`FENCED_PRODUCTS_MAX`](flux_protocol::fence::member::FENCED_PRODUCTS_MAX).
    fenced: HashMap<Identifier, Standing, RandomState>,
}

impl Board {
    /// That of a product, the same for every core that has it in memory.
    pub fn sight(&self, name: Identifier) -> Arc<Sight> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sight) = names.all.get(&name).and_then(Weak::upgrade) {
            return sight;
        }
        if names.all.len() >= names.kept.max(NAMES_KEPT) {
            names.all.retain(|_, sight| sight.strong_count() > 0);
            names.kept = 2 * names.all.len();
        }
        let sight = Arc::<Sight>::default();
        if let Some(standing) = names.fenced.get(&name) {
            sight.standing.write(standing);
        }
        names.all.insert(name, Arc::downgrade(&sight));
        sight
    }

    /// The highest fence of a product, as the core that reads them obeys it.
    pub(crate) fn note_fence(&self, name: Identifier, standing: Standing) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.fenced.insert(name, standing) == Some(standing) {
            return;
        }
        if let Some(sight) = names.all.get(&name).and_then(Weak::upgrade) {
            sight.standing.write(&standing);
        }
    }

    /// That of a product which some core has in memory.
    pub fn known(&self, name: &Identifier) -> Option<Arc<Sight>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).all.get(name).and_then(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use flux_protocol::fence::Replid;

    use super::*;

    fn name(n: usize) -> Identifier {
        Identifier::new(format!("product-{n}").as_bytes()).expect("an identifier")
    }

    fn refreshed(n: u64) -> Refreshed {
        Refreshed::Sale {
            sale: Sale { id: n, generation: n as u32, total: n, rate: n, burst: n },
            is_fenced: n % 2 == 1,
            state: SaleState::Scheduled,
            opens_in: Duration::from_micros(n),
            stock: n,
            outbox_entries: n,
            outbox_orders: n,
            outbox_oldest: None,
            outbox_newest: None,
            queue_seed: Some([n as u8; 32]),
        }
    }

    fn at(us: u64) -> Instant {
        Instant::from_micros(us)
    }

    #[test]
    fn what_was_seen_comes_back_as_it_was() {
        let sight = Sight::default();
        assert_eq!(sight.take(None), None, "nobody has looked");
        for (n, seen) in [refreshed(7), refreshed(1 << 40), Refreshed::Unknown].into_iter().enumerate() {
            let asked = Instant::from_micros(10 + n as u64);
            sight.publish(at(0), asked, &seen);
            assert_eq!(sight.take(None), Some((asked, seen)));
            assert_eq!(sight.take(Some(asked)), None, "known already");
        }
        sight.publish(at(0), Instant::from_micros(5), &refreshed(3));
        assert_eq!(
            sight.take(None).map(|(_, refreshed)| refreshed),
            Some(Refreshed::Unknown),
            "an earlier refresh came late"
        );
    }

    #[test]
    fn sales_and_closes_only_rise() {
        let sight = Sight::default();
        sight.note_sale(at(4), 7);
        sight.note_sale(at(6), 5);
        assert!(sight.is_replaced(6) && !sight.is_replaced(7));
        assert_eq!(sight.lost_since(6, at(5)), Some(7));
        assert_eq!(sight.lost_since(6, at(4)), None, "the look may have been on its way");
        assert_eq!(sight.lost_since(7, at(5)), None);
        sight.note_closed(at(9), 5);
        assert!(sight.is_closed_since(5, Some(at(8))) && sight.is_closed_since(5, None));
        assert!(!sight.is_closed_since(5, Some(at(10))), "who looked after that has seen it himself");
        assert!(!sight.is_closed_since(7, None), "another sale");
    }

    #[test]
    fn a_look_that_believed_nothing_is_not_missed() {
        let sight = Sight::default();
        sight.publish(at(0), at(5), &refreshed(1));
        assert!(!sight.is_suspended_since(None), "it was believed");
        let fenced = Refreshed::Suspended { reason: "state".to_owned(), stands: Some((7, u32::MAX)) };
        sight.publish(at(0), at(7), &fenced);
        let taken = sight.take(Some(at(5)));
        let Some((_, Refreshed::Suspended { stands, .. })) = taken else { panic!("{taken:?}") };
        assert_eq!(stands, Some((7, u32::MAX)));
        sight.publish(at(0), at(8), &refreshed(1));
        assert!(sight.is_suspended_since(Some(at(5))) && sight.is_suspended_since(None));
        assert!(!sight.is_suspended_since(Some(at(7))), "who has seen that, or what came after it");
    }

    #[test]
    fn readers_beside_writers_see_whole_looks_only() {
        let sight = Sight::default();
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let sight = &sight;
                scope.spawn(move || {
                    for n in 1..20_000 {
                        sight.publish(at(0), Instant::from_micros(2 * n + writer), &refreshed(2 * n + writer));
                    }
                });
            }
            let mut known = None;
            while known.is_none_or(|known: Instant| known.as_micros() < 39_000) {
                if let Some((asked, seen)) = sight.take(known) {
                    assert_eq!(seen, refreshed(asked.as_micros()), "torn");
                    known = Some(asked);
                }
            }
        });
    }

    #[test]
    fn a_fence_is_found_by_whoever_looks_at_the_product_before_and_after() {
        let (board, of) = (Board::default(), |n: u64| {
            let replid = Replid::parse(format!("{n:040x}").as_bytes()).expect("an id");
            Standing { sale_id: n, generation: 1, replid }
        });
        let before = board.sight(name(1));
        assert_eq!(before.standing(), Ok(None));
        board.note_fence(name(1), of(7));
        board.note_fence(name(2), of(8));
        board.note_fence(name(1), of(9));
        assert_eq!(before.standing(), Ok(Some(of(9))));
        assert_eq!(board.sight(name(2)).standing(), Ok(Some(of(8))));
        assert_eq!(board.sight(name(3)).standing(), Ok(None));
    }

    #[test]
    fn names_that_no_core_has_are_let_go() {
        let board = Board::default();
        let kept: Vec<_> = (0..10).map(|n| board.sight(name(n))).collect();
        for n in 10..10_000 {
            board.sight(name(n));
        }
        assert!(board.names.lock().expect("not poisoned").all.len() <= NAMES_KEPT);
        assert!(Arc::ptr_eq(&kept[3], &board.sight(name(3))), "the same for all");
    }
}
