//! Waiting for time, and for something within a time.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::timer::Timer;

/// Waits for `span`. Makes a descriptor for it: for backoff and the like, not for each request.
pub async fn sleep(span: Duration) -> io::Result<()> {
    let timer = Timer::new()?;
    timer.set(span);
    timer.fired().await
}

/// What `future` gives, or `Ok(None)` where it takes longer than `limit`; it is dropped then.
///
/// A read that is dropped loses what it had already taken from the socket: only where the connection is closed then.
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
