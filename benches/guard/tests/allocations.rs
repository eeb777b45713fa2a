//! Nothing on the way of a request allocates, once buffers and pools have grown.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use flux_guard::{CLIENTS, Drive, Path};

/// Bursts before the count begins, and bursts that are counted: in all less than the 100 ms for which a stock or a
/// sold-out is remembered, and than the second after which every sale is looked at. A look does allocate.
const WARM_UP_BURSTS: usize = 100;
const BURSTS: usize = 400;

/// The system's allocator, which counts how often it is asked for memory.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    run();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

fn main() {
    for path in Path::ALL {
        let mut drive = None;
        assert!(allocations_of(|| drive = Some(Drive::new(path))) > 0, "what a core begins with is counted");
        let mut drive = drive.expect("made just now");
        (0..WARM_UP_BURSTS).for_each(|_| drive.burst());
        let allocations = allocations_of(|| (0..BURSTS).for_each(|_| drive.burst()));
        println!("{}: {allocations} allocations for {} requests", path.name(), BURSTS * CLIENTS);
        assert_eq!(allocations, 0, "{}", path.name());
    }
}
