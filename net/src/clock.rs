//! The clocks, read here and handed down as values: nothing that decides reads one itself.

use flux_protocol::time::{Instant, Now};
use rustix::time::{ClockId, clock_gettime};

/// A monotonic clock with an origin of its own, and the wall clock beside it. Copies share the origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Clock {
        Clock { origin: std::time::Instant::now() }
    }

    /// Microseconds since the origin.
    pub fn instant(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Both clocks. The wall clock is the kernel's coarse one, some milliseconds behind at most: it decides nothing,
    /// and costs a quarter of the exact one.
    pub fn now(&self) -> Now {
        Now { instant: self.instant(), wall_ms: wall_ms() }
    }
}

fn wall_ms() -> u64 {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}
