//! A doorbell inside one simulated process.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
struct Bell {
    rung: bool,
    waiter: Option<Waker>,
}

/// As the real one.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<Mutex<Bell>>);

/// As the real one.
#[derive(Debug)]
pub struct DoorbellListener(Arc<Mutex<Bell>>);

impl Doorbell {
    /// A new doorbell.
    pub fn new() -> io::Result<Doorbell> {
        Ok(Doorbell(Arc::default()))
    }

    /// Presses it.
    pub fn ring(&self) {
        let mut bell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bell.rung = true;
        if let Some(waiter) = bell.waiter.take() {
            waiter.wake();
        }
    }

    /// The listening end.
    pub fn listen(&self) -> io::Result<DoorbellListener> {
        Ok(DoorbellListener(Arc::clone(&self.0)))
    }
}

impl DoorbellListener {
    /// Waits until it has been pressed since the last time.
    pub async fn rung(&self) -> io::Result<()> {
        poll_fn(|context| {
            let mut bell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut bell.rung) {
                return Poll::Ready(Ok(()));
            }
            bell.waiter = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
