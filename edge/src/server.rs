//! The edge as a whole: sockets bound, one thread a core, and the way to its end.
//!
//! The thread that starts it keeps nothing to do but to wait: for a signal, or for a core that ends. Cores are told of
//! a drain through an atomic and a doorbell each; nothing else passes between threads but counters.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flux_net::listener::bind;
use flux_net::{
    Address, Clock, Doorbell, Driver, DriverChoice, ListenOptions, Listener, Runtime, RuntimeOptions, Timer, affinity,
    spawn,
};
use flux_protocol::time::Now;
use thiserror::Error;
use tracing::{error, info, warn};

use crate::machine::Machine;
use crate::metrics::CoreCounters;
use crate::routes::Role;
use crate::shard::{DrainEnd, Shard};
use crate::{accept, random, redis_link, ticker};

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Public listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Admin listener.
    pub admin: SocketAddr,
    /// Waiting room listener.
    pub waiting_room: Option<SocketAddr>,
    /// The driver asked for.
    pub driver: DriverChoice,
    /// A thread for each of these processors, tied to it.
    pub cores: Vec<usize>,
    /// Connections that each core serves at once.
    pub connections_per_core_max: usize,
    /// Redis.
    pub redis: Address,
    /// Longest drain.
    pub drain_deadline: Duration,
}

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({flag}): {error}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// The flag that names it.
        flag: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A core cannot run.
    #[error("core {index}: {why}")]
    Core {
        /// Which one, from 0.
        index: usize,
        /// Why.
        why: String,
    },
    /// A thread or a descriptor was not to be had.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What a core says to whoever started it.
enum Word {
    Started { index: usize, driver: Driver, refused: Vec<String> },
    Failed { index: usize, why: String },
    Ended { index: usize, end: Option<DrainEnd> },
    Drain,
}

/// An edge that serves.
#[derive(Debug)]
pub struct Running {
    /// Where the public listener is.
    pub listen: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// Where the waiting room is.
    pub waiting_room: Option<SocketAddr>,
    /// What all cores run on.
    pub driver: Driver,
    counters: Arc<[CoreCounters]>,
    control: Arc<Control>,
    threads: Vec<JoinHandle<()>>,
    words: mpsc::Receiver<Word>,
    drain: Drain,
}

/// Asks a running edge to drain, from any thread.
#[derive(Clone, Debug)]
pub struct Drain {
    words: mpsc::Sender<Word>,
}

impl Drain {
    /// Asks. Asking again changes nothing.
    pub fn request(&self) {
        // Nobody is there to hear it where the edge has ended.
        let _ = self.words.send(Word::Drain);
    }
}

/// Shared by the cores and the thread that started them.
#[derive(Debug)]
struct Control {
    draining: AtomicBool,
    doorbells: Vec<Doorbell>,
}

/// Listening sockets of one core, on their way to its thread.
struct Sockets {
    public: TcpListener,
    admin: Option<TcpListener>,
    waiting_room: Option<TcpListener>,
}

/// Serves: returns when every core does, or with what keeps one from it. `make` builds the machine of a core.
pub fn start<M, F>(plan: Plan, make: F) -> Result<Running, StartError>
where
    M: Machine,
    F: Fn(usize, SocketAddr, &CoreCounters, Now) -> M + Send + Sync + 'static,
{
    assert!(!plan.cores.is_empty(), "a plan has a core");
    let count = plan.cores.len();
    let (listen, mut sockets) = bind_public(&plan)?;
    let (admin, socket) = bind_one(plan.admin, "--admin")?;
    sockets[0].admin = Some(socket);
    let waiting_room = match plan.waiting_room {
        None => None,
        Some(address) => {
            let (address, socket) = bind_one(address, "--waiting-room")?;
            sockets[0].waiting_room = Some(socket);
            Some(address)
        }
    };
    let doorbells = (0..count).map(|_| Doorbell::new()).collect::<io::Result<_>>()?;
    let control = Arc::new(Control { draining: AtomicBool::new(false), doorbells });
    let counters: Arc<[CoreCounters]> = (0..count).map(|_| CoreCounters::default()).collect();
    let clock = Clock::start();
    let (sender, words) = mpsc::channel();
    let make = Arc::new(make);
    let mut threads = Vec::with_capacity(count);
    for (index, sockets) in sockets.into_iter().enumerate() {
        let core = CoreStart {
            index,
            clock,
            plan: plan.clone(),
            control: Arc::clone(&control),
            counters: Arc::clone(&counters),
            words: sender.clone(),
        };
        let make = Arc::clone(&make);
        let body = move || core.run(sockets, |counters, now| make(index, listen, counters, now));
        threads.push(thread::Builder::new().name(format!("core-{index}")).spawn(body)?);
    }
    let mut driver = Driver::Epoll;
    for _ in 0..count {
        match words.recv().map_err(io::Error::other)? {
            Word::Started { index, driver: built, refused } => {
                driver = built;
                for refused in refused {
                    warn!(core = index, refused, "a better driver was refused");
                }
            }
            Word::Failed { index, why } => return Err(StartError::Core { index, why }),
            Word::Ended { index, .. } => return Err(StartError::Core { index, why: "ended at once".into() }),
            Word::Drain => unreachable!("nobody can ask before it runs"),
        }
    }
    let drain = Drain { words: sender };
    Ok(Running { listen, admin, waiting_room, driver, counters, control, threads, words, drain })
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
            match self.words.recv().expect("a sender is kept beside the receiver") {
                Word::Drain => {
                    if !self.control.draining.swap(true, Ordering::Release) {
                        info!("draining");
                        self.control.doorbells.iter().for_each(Doorbell::ring);
                    }
                }
                Word::Ended { index, end } => {
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
                Word::Started { .. } | Word::Failed { .. } => unreachable!("every core has started"),
            }
        }
        for thread in self.threads {
            well &= thread.join().is_ok();
        }
        well
    }
}

fn bind_public(plan: &Plan) -> Result<(SocketAddr, Vec<Sockets>), StartError> {
    let options = ListenOptions { shared_port: true, wait_for_data: true };
    let mut address = plan.listen;
    let mut sockets = Vec::with_capacity(plan.cores.len());
    for _ in &plan.cores {
        let public = bind(address, options).map_err(|error| StartError::Listen { address, flag: "--listen", error })?;
        // With port 0 the first one chooses for all.
        address = public.local_addr()?;
        sockets.push(Sockets { public, admin: None, waiting_room: None });
    }
    Ok((address, sockets))
}

fn bind_one(address: SocketAddr, flag: &'static str) -> Result<(SocketAddr, TcpListener), StartError> {
    let options = ListenOptions { shared_port: false, wait_for_data: true };
    let socket = bind(address, options).map_err(|error| StartError::Listen { address, flag, error })?;
    Ok((socket.local_addr()?, socket))
}

/// What a core's thread is given.
struct CoreStart {
    index: usize,
    clock: Clock,
    plan: Plan,
    control: Arc<Control>,
    counters: Arc<[CoreCounters]>,
    words: mpsc::Sender<Word>,
}

impl CoreStart {
    fn run<M: Machine>(self, sockets: Sockets, make: impl FnOnce(&CoreCounters, Now) -> M) {
        let index = self.index;
        // Said even where the thread unwinds: whoever waits must not wait for ever.
        let mut farewell = Farewell { words: self.words.clone(), index, end: None };
        let failed = |why: String| {
            let _ = self.words.send(Word::Failed { index, why });
        };
        let cpu = self.plan.cores[index];
        if let Err(error) = affinity::pin(cpu) {
            return failed(format!("cannot be tied to processor {cpu}: {error}"));
        }
        let options = RuntimeOptions { driver: self.plan.driver, monoio_timers: false };
        let mut runtime = match Runtime::build(options) {
            Ok(runtime) => runtime,
            Err(error) => return failed(error.to_string()),
        };
        let refused = runtime.refused().iter().map(|one| format!("{}: {}", one.driver, one.error)).collect();
        let driver = runtime.driver();
        farewell.end = runtime.block_on(async {
            let machine = make(&self.counters[index], self.clock.now());
            match self.furnish(sockets, machine) {
                Err(error) => {
                    failed(error.to_string());
                    None
                }
                Ok(shard) => {
                    let _ = self.words.send(Word::Started { index, driver, refused });
                    Some(shard.run().await)
                }
            }
        });
    }

    /// Starts the tasks of a core.
    fn furnish<M: Machine>(&self, sockets: Sockets, machine: M) -> io::Result<Rc<Shard<M>>> {
        let max = self.plan.connections_per_core_max;
        let shard = Shard::new(self.index, machine, self.clock, max, Arc::clone(&self.counters))?;
        let listen = |socket: Option<TcpListener>, role| -> io::Result<Option<Rc<Listener>>> {
            let Some(socket) = socket else { return Ok(None) };
            let listener = Rc::new(Listener::new(socket)?);
            accept::start(&shard, &listener, role)?;
            Ok(Some(listener))
        };
        let public = listen(Some(sockets.public), Role::Public)?;
        listen(sockets.admin, Role::Admin)?;
        let waiting_room = listen(sockets.waiting_room, Role::WaitingRoom)?;
        let seed = u64::from_ne_bytes(random::draw());
        spawn(Rc::clone(&shard).watch_timer());
        spawn(ticker::run(Rc::clone(&shard), Timer::new()?));
        spawn(redis_link::keep_connected(Rc::clone(&shard), self.plan.redis.clone(), Timer::new()?, seed));
        let listeners = [public, waiting_room].into_iter().flatten().collect();
        let bell = self.control.doorbells[self.index].listen()?;
        let control = Arc::clone(&self.control);
        spawn(watch_control(Rc::clone(&shard), control, bell, listeners, self.plan.drain_deadline));
        Ok(shard)
    }
}

/// Begins the drain of a core when it is asked for. The admin listener stays: it says why the edge is not ready.
async fn watch_control<M: Machine>(
    shard: Rc<Shard<M>>,
    control: Arc<Control>,
    bell: flux_net::DoorbellListener,
    listeners: Vec<Rc<Listener>>,
    drain_deadline: Duration,
) {
    while !control.draining.load(Ordering::Acquire) {
        if let Err(error) = bell.rung().await {
            error!(core = shard.index, %error, "the doorbell failed: this core cannot be told to drain");
            return;
        }
    }
    for listener in &listeners {
        listener.close();
    }
    shard.drain(drain_deadline);
    ticker::end_idle(&shard);
}

/// Says that a core has ended, however it did.
struct Farewell {
    words: mpsc::Sender<Word>,
    index: usize,
    end: Option<DrainEnd>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.words.send(Word::Ended { index: self.index, end: self.end });
    }
}
