//! Building a monoio runtime: which driver, which ring flags, and what was refused on the way.
//!
//! monoio's own choice only asks whether io_uring exists; a kernel that refuses a flag is a build error there. So the
//! flag sets are tried here, best first, and `auto` ends with epoll. The plain ring is not among what `auto` tries:
//! without COOP_TASKRUN each completion interrupts the thread, and that costs more than epoll does.
//!
//! DEFER_TASKRUN is deliberately absent: with it, completions are reaped only by a waiting enter, and tasks that are
//! always ready would starve all I/O. COOP_TASKRUN costs the same and has no such trap.

use std::fmt;
use std::io;
use std::str::FromStr;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use thiserror::Error;

use crate::limits::{RING_COMPLETION_ENTRIES, RING_SUBMISSION_ENTRIES};

/// What the operator asked for (`--driver`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring with cooperative task running, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing; plain flags too, where the kernel knows no better.
    Uring,
    /// epoll, never a ring.
    Epoll,
}

impl FromStr for DriverChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<DriverChoice, String> {
        match text {
            "auto" => Ok(DriverChoice::Auto),
            "uring" => Ok(DriverChoice::Uring),
            "epoll" => Ok(DriverChoice::Epoll),
            _ => Err("must be auto, uring or epoll".into()),
        }
    }
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverChoice::Auto => "auto",
            DriverChoice::Uring => "uring",
            DriverChoice::Epoll => "epoll",
        })
    }
}

/// The driver that a runtime was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring, with these flags.
    Uring(RingFlags),
    /// epoll.
    Epoll,
}

/// Ring set-up flags (io_uring_setup(2)), beside CQSIZE, which is always given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFlags {
    /// COOP_TASKRUN (Linux 5.19): completions wait for the next entry to the kernel and interrupt nobody.
    CoopTaskrun,
    /// No flag.
    Plain,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Driver::Uring(RingFlags::CoopTaskrun) => "io_uring (COOP_TASKRUN)",
            Driver::Uring(RingFlags::Plain) => "io_uring (no flags)",
            Driver::Epoll => "epoll",
        })
    }
}

/// How to build a runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuntimeOptions {
    /// The driver asked for.
    pub driver: DriverChoice,
    /// Whether `monoio::time` works. It costs two readings of the clock a loop turn and knows whole milliseconds only;
    /// [`crate::Timer`] and [`crate::sleep`] work either way.
    pub monoio_timers: bool,
}

/// A driver that was tried and refused by the kernel on the way to the one that runs.
#[derive(Debug)]
pub struct Refused {
    /// What was tried.
    pub driver: Driver,
    /// What the kernel said.
    pub error: io::Error,
}

/// No runtime could be built: nothing runs.
#[derive(Debug, Error)]
#[error("{}", self.line())]
pub struct RuntimeError {
    choice: DriverChoice,
    refused: Vec<Refused>,
}

impl RuntimeError {
    fn line(&self) -> String {
        let tried: Vec<String> = self.refused.iter().map(|r| format!("{}: {}", r.driver, r.error)).collect();
        format!("no runtime for driver {}: {}", self.choice, tried.join("; "))
    }
}

/// A runtime of one thread. Build it on the thread that will run it.
pub struct Runtime {
    inner: Inner,
    driver: Driver,
    refused: Vec<Refused>,
}

enum Inner {
    Uring(monoio::Runtime<IoUringDriver>),
    UringTimers(monoio::Runtime<TimeDriver<IoUringDriver>>),
    Epoll(monoio::Runtime<LegacyDriver>),
    EpollTimers(monoio::Runtime<TimeDriver<LegacyDriver>>),
}

impl Runtime {
    /// Tries what `options.driver` allows, best first, and keeps the first that the kernel accepts.
    pub fn build(options: RuntimeOptions) -> Result<Runtime, RuntimeError> {
        let candidates: &[Driver] = match options.driver {
            DriverChoice::Auto => &[Driver::Uring(RingFlags::CoopTaskrun), Driver::Epoll],
            DriverChoice::Uring => &[Driver::Uring(RingFlags::CoopTaskrun), Driver::Uring(RingFlags::Plain)],
            DriverChoice::Epoll => &[Driver::Epoll],
        };
        let mut refused = Vec::new();
        for &driver in candidates {
            match build(driver, options.monoio_timers) {
                Ok(inner) => return Ok(Runtime { inner, driver, refused }),
                Err(error) => refused.push(Refused { driver, error }),
            }
        }
        Err(RuntimeError { choice: options.driver, refused })
    }

    /// What it runs on.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// What was tried before and refused, in order; empty where the first choice was had.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Runs `future` on this thread until it ends. Tasks it has started and that are still there end with it.
    ///
    /// The future itself is looked at once a loop turn, after all tasks that were ready: work that should be done once
    /// for everything that happened in a turn belongs there.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match &mut self.inner {
            Inner::Uring(runtime) => runtime.block_on(future),
            Inner::UringTimers(runtime) => runtime.block_on(future),
            Inner::Epoll(runtime) => runtime.block_on(future),
            Inner::EpollTimers(runtime) => runtime.block_on(future),
        }
    }
}

fn build(driver: Driver, monoio_timers: bool) -> io::Result<Inner> {
    match driver {
        Driver::Uring(flags) => {
            if !monoio::utils::detect_uring() {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring is not to be had here"));
            }
            let mut ring = io_uring::IoUring::builder();
            ring.setup_cqsize(RING_COMPLETION_ENTRIES);
            if flags == RingFlags::CoopTaskrun {
                ring.setup_coop_taskrun();
            }
            let builder =
                RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_SUBMISSION_ENTRIES).uring_builder(ring);
            if monoio_timers {
                builder.enable_timer().build().map(Inner::UringTimers)
            } else {
                builder.build().map(Inner::Uring)
            }
        }
        Driver::Epoll => {
            let builder = RuntimeBuilder::<LegacyDriver>::new();
            if monoio_timers {
                builder.enable_timer().build().map(Inner::EpollTimers)
            } else {
                builder.build().map(Inner::Epoll)
            }
        }
    }
}

#[cfg(not(feature = "simulated"))]
/// Whether the runtime of this thread stands on epoll. Only inside [`Runtime::block_on`].
pub(crate) fn on_epoll() -> bool {
    monoio::utils::is_legacy()
}
