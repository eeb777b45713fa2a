//! The clocks of a simulated process.

use flux_protocol::time::{Instant, Now};

use super::host;

/// As the real one; all clocks of a process share their origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock(());

impl Clock {
    /// A clock.
    pub fn start() -> Clock {
        Clock(())
    }

    /// Microseconds since the origin.
    pub fn instant(&self) -> Instant {
        host().now().instant
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        host().now()
    }
}
