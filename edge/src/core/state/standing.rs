//! The highest fence of one product, as the cores of a process hold it: written by the one core that reads the fences, read by
//! all. Words behind a sequence; no core waits.
//!
//! Only ever rises: its writer is handed what [`Member`](flux_protocol::fence::Member) obeys.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use flux_protocol::fence::{Replid, Standing};

/// Sale id, generation, and the forty characters of a `master_replid`.
const WORDS: usize = 7;
/// How often a reader that meets the writer looks again. It writes seven words.
const LOOKS_MAX: u32 = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct StandingWords {
    /// 0: no fence is known. Odd while the writer writes.
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// The writer was met at every look: not known now, and so nothing that may be sold by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn;

impl StandingWords {
    /// Of one thread at a time: whoever holds the board's names.
    pub(crate) fn write(&self, standing: &Standing) {
        let before = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let mut values = [0; WORDS];
        (values[0], values[1]) = (standing.sale_id, u64::from(standing.generation));
        for (value, characters) in values[2..].iter_mut().zip(standing.replid.as_str().as_bytes().chunks_exact(8)) {
            *value = u64::from_le_bytes(characters.try_into().expect("eight characters"));
        }
        for (word, value) in self.words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        self.sequence.store(before + 2, Ordering::Release);
    }

    /// The fence, where one is known.
    pub(crate) fn read(&self) -> Result<Option<Standing>, Torn> {
        for _ in 0..LOOKS_MAX {
            let before = self.sequence.load(Ordering::Acquire);
            if before == 0 {
                return Ok(None);
            }
            let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return from_words(&words).map(Some).ok_or(Torn);
            }
            std::hint::spin_loop();
        }
        Err(Torn)
    }
}

fn from_words(words: &[u64; WORDS]) -> Option<Standing> {
    let mut replid = [0; 40];
    for (characters, word) in replid.chunks_exact_mut(8).zip(&words[2..]) {
        characters.copy_from_slice(&word.to_le_bytes());
    }
    let generation = u32::try_from(words[1]).ok()?;
    Some(Standing { sale_id: words[0], generation, replid: Replid::parse(&replid)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(n: u64) -> Standing {
        let replid = Replid::parse(format!("{n:040x}").as_bytes()).expect("an id");
        Standing { sale_id: n, generation: n as u32, replid }
    }

    #[test]
    fn readers_beside_the_writer_see_whole_fences_only() {
        let words = StandingWords::default();
        assert_eq!(words.read(), Ok(None));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..50_000 {
                    words.write(&standing(n));
                }
            });
            let mut last = 0;
            while last < 49_999 {
                if let Ok(Some(seen)) = words.read() {
                    assert_eq!(seen, standing(seen.sale_id), "torn");
                    assert!(seen.sale_id >= last, "went back");
                    last = seen.sale_id;
                }
            }
        });
    }
}
