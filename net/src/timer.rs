//! Time to wait for, finer than monoio's: its wheel turns once a millisecond, a timerfd fires to the microsecond.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::descriptor::{Counter, owned};

/// One timer on the monotonic clock, for one waiting task. It can be set again while it is waited for.
pub struct Timer {
    counter: Counter,
}

impl Timer {
    /// A timer that is not set. Only inside a runtime. Fails where the process has no descriptor left.
    pub fn new() -> io::Result<Timer> {
        // SAFETY: a plain system call without pointers.
        let made = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        Ok(Timer { counter: Counter::new(owned(made)?)? })
    }

    /// Lets it fire once, `span` from now, in place of whenever it would have; a span of zero fires at once.
    pub fn set(&self, span: Duration) {
        // A timerfd reads zero as "never", so the shortest span is a nanosecond.
        let span = span.max(Duration::from_nanos(1));
        let value = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::from(span.subsec_nanos()),
            },
        };
        // SAFETY: the structure lives through the call, and no old value is asked for.
        let result =
            unsafe { libc::timerfd_settime(self.counter.as_raw_fd(), 0, &raw const value, std::ptr::null_mut()) };
        assert_eq!(
            result,
            0,
            "timerfd_settime refuses only what is no timerfd or no time: {}",
            io::Error::last_os_error()
        );
    }

    /// Waits until it fires. It then stands still until it is set again.
    pub async fn fired(&self) -> io::Result<()> {
        self.counter.take().await.map(|_| ())
    }
}
