//! Time to wait for, finer than monoio's: its wheel turns once a millisecond, a timerfd fires to the microsecond.

use std::io;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::descriptor::Counter;

/// One timer on the monotonic clock, for one waiting task. It can be set again while it is waited for.
pub struct Timer {
    counter: Counter,
}

impl Timer {
    /// A timer that is not set. Only inside a runtime. Fails where the process has no descriptor left.
    pub fn new() -> io::Result<Timer> {
        let made = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Timer { counter: Counter::new(made)? })
    }

    /// Lets it fire once, `span` from now, in place of whenever it would have; a span of zero fires at once.
    pub fn set(&self, span: Duration) {
        // A timerfd reads zero as "never", so the shortest span is a nanosecond.
        let span = span.max(Duration::from_nanos(1));
        let value = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: span.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.counter, TimerfdTimerFlags::empty(), &value)
            .expect("timerfd_settime refuses only what is no timerfd or no time");
    }

    /// Waits until it fires. It then stands still until it is set again.
    pub async fn fired(&self) -> io::Result<()> {
        self.counter.take().await.map(|_| ())
    }
}
