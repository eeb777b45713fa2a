//! A word from one task to another of the same thread: "look again".

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// One task waits, any task of the same thread notifies. A word given while nobody waits is kept, but only one.
///
/// The waiting task's waker is kept between waits: a task that notifies while the other waits for something else
/// makes it run once for nothing, and that is cheaper than taking a new waker each time.
#[derive(Default)]
pub struct Notify {
    notified: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Notify {
    /// Nobody waits, nothing is said.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Says the word. Costs next to nothing where it has been said already and not been heard yet.
    pub fn notify(&self) {
        if self.notified.replace(true) {
            return;
        }
        if let Some(waiter) = &*self.waiter.borrow() {
            waiter.wake_by_ref();
        }
    }

    /// Waits for the word and takes it.
    pub async fn notified(&self) {
        poll_fn(|context| {
            if self.notified.replace(false) {
                return Poll::Ready(());
            }
            let mut waiter = self.waiter.borrow_mut();
            if !waiter.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *waiter = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
