//! Virtual time to wait for.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use super::{Descriptor, host};

/// As the real one.
#[derive(Debug)]
pub struct Timer(Descriptor);

impl Timer {
    /// A timer that is not set.
    pub fn new() -> io::Result<Timer> {
        Ok(Timer(Descriptor(host().timer())))
    }

    /// Lets it fire once, `span` from now, in place of whenever it would have.
    pub fn set(&self, span: Duration) {
        host().set_timer(self.0.0, span);
    }

    /// Waits until it fires.
    pub async fn fired(&self) -> io::Result<()> {
        poll_fn(|context| host().poll_timer(self.0.0, context)).await;
        Ok(())
    }
}
