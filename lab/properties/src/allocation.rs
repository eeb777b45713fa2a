//! An allocator that counts what a thread holds: a property says how much memory its input may cost.
//!
//! It serves every program that this crate is linked into. Memory that C libraries take (zstd, lz4, aws-lc) passes it by.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

fn note(bytes: isize) {
    // Of a thread that is ending nothing is counted any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is handed on to the system's allocator as it came; counting neither allocates nor touches the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new stand beside each other for a moment.
        note(size as isize);
        note(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What `run` gives, and the most bytes that it held at once beyond what this thread held before.
pub fn most_held<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = run();
    (result, usize::try_from(MOST.get() - before).unwrap_or_default())
}

/// What `run` gives. Panics where it held more than `bytes_max` at once.
pub fn within<T>(bytes_max: usize, what: &str, run: impl FnOnce() -> T) -> T {
    let (result, held) = most_held(run);
    assert!(held <= bytes_max, "{what} held {held} bytes, where at most {bytes_max} are allowed");
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_is_held_at_once_is_counted() {
        let (_, held) = most_held(|| {
            drop(std::hint::black_box(vec![0u8; 4000]));
            std::hint::black_box(vec![1u8; 1000])
        });
        assert_eq!(held, 4000);
        within(100, "nothing", || ());
    }

    #[test]
    #[should_panic(expected = "held 101 bytes, where at most 100")]
    fn more_than_is_allowed_is_told() {
        within(100, "a vector", || std::hint::black_box(vec![1u8; 101]));
    }
}
