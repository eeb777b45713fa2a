//! Virtual time to wait for.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
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

/// Waits for `span`.
pub async fn sleep(span: Duration) -> io::Result<()> {
    let timer = Timer::new()?;
    timer.set(span);
    timer.fired().await
}

/// What `future` gives, or `Ok(None)` where it takes longer than `limit`; it is dropped then.
pub async fn within<F: Future>(limit: Duration, future: F) -> io::Result<Option<F::Output>> {
    let timer = Timer::new()?;
    timer.set(limit);
    let mut future = pin!(future);
    let mut fired = pin!(timer.fired());
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(Some(output)));
        }
        fired.as_mut().poll(context).map(|result| result.map(|()| None))
    })
    .await
}
