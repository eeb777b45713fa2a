//! How another thread gets the attention of a runtime: an eventfd that the runtime waits for.
//!
//! It carries no message: what there is to know stands in an atomic or behind a lock that both sides hold.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::descriptor::Counter;

/// The button. Any thread may press it; pressing it often before it is heard counts once.
#[derive(Clone, Debug)]
pub struct Doorbell {
    descriptor: Arc<OwnedFd>,
}

impl Doorbell {
    /// A new doorbell. Fails where the process has no descriptor left.
    pub fn new() -> io::Result<Doorbell> {
        Ok(Doorbell { descriptor: Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?) })
    }

    /// Presses it. The listener that hears it sees what was written to memory before.
    pub fn ring(&self) {
        // The only failure left is a full counter, and a full counter rings.
        let _ = rustix::io::write(&*self.descriptor, &1_u64.to_ne_bytes());
    }

    /// The listening end, for a task of the runtime that this is called in. One listener a doorbell.
    pub fn listen(&self) -> io::Result<DoorbellListener> {
        Ok(DoorbellListener { counter: Counter::new(self.descriptor.try_clone()?)? })
    }
}

/// Where a [`Doorbell`] is heard.
pub struct DoorbellListener {
    counter: Counter,
}

impl DoorbellListener {
    /// Waits until it has been pressed since the last time, once or more often.
    pub async fn rung(&self) -> io::Result<()> {
        self.counter.take().await.map(|_| ())
    }
}
