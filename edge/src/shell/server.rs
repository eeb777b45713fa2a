//! The edge as a whole: sockets bound, one thread a core, and the way to its end.
//!
//! The thread that starts it keeps nothing to do but to wait: for a signal, or for a core that ends. Cores are told of
//! a drain through an atomic and a doorbell each; nothing else passes between threads but counters.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use flux_net::{Clock, Driver, Runtime, RuntimeOptions, affinity};
use flux_protocol::time::Now;
use thiserror::Error;
use tracing::{error, info, warn};

use crate::core::machine::Machine;
use crate::counters::CoreCounters;
use crate::monitoring::history::History;
use crate::shell::core_tasks::{self, Control, CoreTasks, ListenError, Listening, Sockets};
use crate::shell::plan::Plan;
use crate::shell::shard::DrainEnd;

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A core cannot run.
    #[error("core {index}: {why}")]
    Core {
        /// Which one, from 0.
        index: usize,
        why: String,
    },
    /// A thread or a descriptor was not to be had.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What a core tells the thread that started it.
enum CoreEvent {
    Started { index: usize, driver: Driver, refused: Vec<String> },
    Failed { index: usize, why: String },
    Ended { index: usize, end: Option<DrainEnd> },
    Drain,
}

/// An edge that serves.
#[derive(Debug)]
pub struct Running {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub waiting_room: Option<SocketAddr>,
    /// What all cores run on.
    pub driver: Driver,
    counters: Arc<[CoreCounters]>,
    control: Arc<Control>,
    threads: Vec<JoinHandle<()>>,
    events: mpsc::Receiver<CoreEvent>,
    drain: Drain,
}

/// Asks a running edge to drain, from any thread.
#[derive(Clone, Debug)]
pub struct Drain {
    events: mpsc::Sender<CoreEvent>,
}

impl Drain {
    /// Asks. Asking again changes nothing.
    pub fn request(&self) {
        // Sending fails only where the edge has ended.
        let _ = self.events.send(CoreEvent::Drain);
    }
}

/// Serves: returns when every core does, or with what keeps one from it. `make` builds the machine of a core.
pub fn start<M, F>(plan: Plan, make: F) -> Result<Running, StartError>
where
    M: Machine,
    F: Fn(usize, SocketAddr, &CoreCounters, Now) -> M + Send + Sync + 'static,
{
    assert!(!plan.cores.is_empty(), "a plan has a core");
    let count = plan.cores.len();
    let Listening { listen, admin, waiting_room, sockets } = core_tasks::listen(&plan)?;
    let control = Arc::new(Control::new(count)?);
    let counters: Arc<[CoreCounters]> = (0..count).map(|_| CoreCounters::default()).collect();
    let clock = Clock::start();
    let history = History::default();
    history.keep(Arc::clone(&counters), plan.workers.clone(), clock)?;
    let (sender, events) = mpsc::channel();
    let make = Arc::new(make);
    let mut threads = Vec::with_capacity(count);
    for (index, sockets) in sockets.into_iter().enumerate() {
        let core = CoreTasks {
            index,
            clock,
            plan: plan.clone(),
            control: Arc::clone(&control),
            counters: Arc::clone(&counters),
            history: history.clone(),
        };
        let thread = CoreThread { core, events: sender.clone() };
        let make = Arc::clone(&make);
        let body = move || thread.run(sockets, |counters, now| make(index, listen, counters, now));
        threads.push(thread::Builder::new().name(format!("core-{index}")).spawn(body)?);
    }
    let mut driver = Driver::Epoll;
    for _ in 0..count {
        match events.recv().map_err(io::Error::other)? {
            CoreEvent::Started { index, driver: built, refused } => {
                driver = built;
                for refused in refused {
                    warn!(core = index, refused, "a better driver was refused");
                }
            }
            CoreEvent::Failed { index, why } => return Err(StartError::Core { index, why }),
            CoreEvent::Ended { index, .. } => return Err(StartError::Core { index, why: "ended at once".into() }),
            CoreEvent::Drain => unreachable!("nobody can ask before it runs"),
        }
    }
    let drain = Drain { events: sender };
    Ok(Running { listen, admin, waiting_room, driver, counters, control, threads, events, drain })
}

impl Running {
    /// What each core counts.
    pub fn counters(&self) -> &[CoreCounters] {
        &self.counters
    }

    /// Asks it to drain.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Waits until it has been asked to drain and every core has ended. `false` where a core ended unasked or broke down.
    pub fn wait(self) -> bool {
        let mut left = self.threads.len();
        let mut well = true;
        while left > 0 {
            match self.events.recv().expect("a sender is kept beside the receiver") {
                CoreEvent::Drain => {
                    if self.control.drain() {
                        info!("draining");
                    }
                }
                CoreEvent::Ended { index, end } => {
                    left -= 1;
                    match end {
                        Some(DrainEnd::Complete) => {}
                        Some(DrainEnd::OutOfTime) => {
                            warn!(core = index, "the drain deadline came first; the relay delivers what is left");
                        }
                        None => {
                            error!(core = index, "the core broke down");
                            well = false;
                            self.drain.request();
                        }
                    }
                }
                CoreEvent::Started { .. } | CoreEvent::Failed { .. } => unreachable!("every core has started"),
            }
        }
        for thread in self.threads {
            well &= thread.join().is_ok();
        }
        well
    }
}

/// A core on its way to a thread.
struct CoreThread {
    core: CoreTasks,
    events: mpsc::Sender<CoreEvent>,
}

impl CoreThread {
    fn run<M: Machine>(self, sockets: Sockets, make: impl FnOnce(&CoreCounters, Now) -> M) {
        let CoreTasks { index, clock, plan, counters, .. } = &self.core;
        let index = *index;
        // Sent even where the thread unwinds: the thread that waits must not wait for ever.
        let mut notice = ExitNotice { events: self.events.clone(), index, end: None };
        let failed = |why: String| {
            let _ = self.events.send(CoreEvent::Failed { index, why });
        };
        let cpu = plan.cores[index];
        if let Err(error) = affinity::pin(cpu) {
            return failed(format!("cannot be tied to processor {cpu}: {error}"));
        }
        let options = RuntimeOptions { driver: plan.driver, monoio_timers: false };
        let mut runtime = match Runtime::build(options) {
            Ok(runtime) => runtime,
            Err(error) => return failed(error.to_string()),
        };
        let refused = runtime.refused().iter().map(|one| format!("{}: {}", one.driver, one.error)).collect();
        let driver = runtime.driver();
        let started = || {
            let _ = self.events.send(CoreEvent::Started { index, driver, refused });
        };
        let served = runtime.block_on(async {
            let machine = make(&counters[index], clock.now());
            self.core.run(sockets, machine, started).await
        });
        match served {
            Ok(end) => notice.end = Some(end),
            Err(error) => failed(error.to_string()),
        }
    }
}

struct ExitNotice {
    events: mpsc::Sender<CoreEvent>,
    index: usize,
    end: Option<DrainEnd>,
}

impl Drop for ExitNotice {
    fn drop(&mut self) {
        let _ = self.events.send(CoreEvent::Ended { index: self.index, end: self.end });
    }
}
