//! One core inside a runtime: its listeners, its tasks, and the way to its end.
//!
//! [`crate::shell::server`] runs one of these on a thread of its own for each core; a simulation runs several in one. Nothing
//! here knows which.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flux_net::listener::{bind, is_taken};
use flux_net::{Bound, Clock, Doorbell, DoorbellListener, ListenOptions, Listener, Timer, random, spawn};
use thiserror::Error;
use tracing::{error, warn};

use crate::core::machine::Machine;
use crate::core::request::Role;
use crate::counters::CoreCounters;
use crate::limits::shell::{LAST_ACCEPTS_PAUSE, LAST_ACCEPTS_PAUSES_MAX};
use crate::monitoring::history::History;
use crate::shell::plan::Plan;
use crate::shell::shard::{DrainEnd, Shard};
use crate::shell::{accept, redis_socket, ticker, turn};

/// An address that cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({flag}): {error}")]
pub struct ListenError {
    pub address: SocketAddr,
    /// The flag that names it.
    pub flag: &'static str,
    pub error: io::Error,
}

/// Listening sockets of one core, on their way to its runtime.
#[derive(Debug)]
pub struct Sockets {
    public: Bound,
    admin: Option<Bound>,
    waiting_room: Option<Bound>,
}

/// All sockets of an edge, and where they are.
#[derive(Debug)]
pub struct Listening {
    /// Where the public listeners are.
    pub listen: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// Where the waiting room is.
    pub waiting_room: Option<SocketAddr>,
    /// For each core; the first one holds what there is only one of.
    pub sockets: Vec<Sockets>,
}

/// Binds all that a plan names. That somebody may listen there already is told, not refused: it may be the edge before, which drains.
///
/// # Errors
/// The first address that cannot be bound.
pub fn listen(plan: &Plan) -> Result<Listening, ListenError> {
    // First: the kernel gives newcomers to a public socket from the moment it listens, also where this process ends at once.
    let (admin, admin_socket) = bind_one(plan.admin, "--admin", false)?;
    let waiting_room = plan.waiting_room.map(|address| bind_one(address, "--waiting-room", false)).transpose()?;
    let mut address = plan.listen;
    let mut sockets = Vec::with_capacity(plan.cores.len());
    let is_shared = is_taken(address).map_err(|error| ListenError { address, flag: "--listen", error })?;
    for _ in &plan.cores {
        let public = bind_one(address, "--listen", true)?;
        // With port 0 the first one chooses for all.
        address = public.0;
        sockets.push(Sockets { public: public.1, admin: None, waiting_room: None });
    }
    if is_shared {
        warn!(
            %address,
            "another socket has the port of --listen, too: where a process listens there, the kernel gives each a part of the connections"
        );
    }
    sockets[0].admin = Some(admin_socket);
    let (waiting_room, socket) = waiting_room.unzip();
    sockets[0].waiting_room = socket;
    Ok(Listening { listen: address, admin, waiting_room, sockets })
}

fn bind_one(address: SocketAddr, flag: &'static str, shared_port: bool) -> Result<(SocketAddr, Bound), ListenError> {
    let options = ListenOptions { shared_port, wait_for_data: true };
    let bound = bind(address, options).and_then(|socket| Ok((socket.local_addr()?, socket)));
    bound.map_err(|error| ListenError { address, flag, error })
}

/// Tells all cores of an edge to drain, from any thread.
#[derive(Debug)]
pub struct Control {
    draining: AtomicBool,
    doorbells: Vec<Doorbell>,
}

impl Control {
    /// For so many cores.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(cores: usize) -> io::Result<Control> {
        let doorbells = (0..cores).map(|_| Doorbell::new()).collect::<io::Result<_>>()?;
        Ok(Control { draining: AtomicBool::new(false), doorbells })
    }

    /// Asks every core to drain; whether this was the first time.
    pub fn drain(&self) -> bool {
        let first = !self.draining.swap(true, Ordering::Release);
        if first {
            self.doorbells.iter().for_each(Doorbell::ring);
        }
        first
    }
}

/// What a core is started with.
#[derive(Clone, Debug)]
pub struct CoreTasks {
    /// Its number, from 0.
    pub index: usize,
    /// The edge's clock.
    pub clock: Clock,
    /// What is served.
    pub plan: Plan,
    /// By which it is told to drain.
    pub control: Arc<Control>,
    /// Of all cores.
    pub counters: Arc<[CoreCounters]>,
    /// For the dashboard.
    pub history: History,
}

impl CoreTasks {
    /// Serves until the core is drained. `started` is called when it does. Only inside a runtime.
    ///
    /// # Errors
    /// What keeps it from serving.
    pub async fn run<M: Machine>(&self, sockets: Sockets, machine: M, started: impl FnOnce()) -> io::Result<DrainEnd> {
        let _notice = ExitNotice(&self.counters[self.index]);
        let shard = self.start_tasks(sockets, machine)?;
        started();
        Ok(turn::run(&shard).await)
    }

    /// Starts the tasks of the core.
    fn start_tasks<M: Machine>(&self, sockets: Sockets, machine: M) -> io::Result<Rc<Shard<M>>> {
        let counters = Arc::clone(&self.counters);
        let shard = Shard::new(self.index, machine, self.clock, &self.plan, counters, self.history.clone())?;
        let listen = |socket: Option<Bound>, role| -> io::Result<Option<Rc<Listener>>> {
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
        spawn(redis_socket::keep_connected(Rc::clone(&shard), self.plan.redis.clone(), Timer::new()?, seed));
        let listeners = [public, waiting_room].into_iter().flatten().collect();
        let bell = self.control.doorbells[self.index].listen()?;
        // Made in advance: when it is needed no descriptor may be left.
        let delay = Timer::new()?;
        spawn(watch_control(Rc::clone(&shard), self.clone(), bell, delay, listeners));
        Ok(shard)
    }
}

/// Notes that a core has ended, also where its thread unwinds: the core that holds the admin listener waits for the others.
struct ExitNotice<'a>(&'a CoreCounters);

impl Drop for ExitNotice<'_> {
    fn drop(&mut self) {
        self.0.shell.ended_core.set(1);
    }
}

/// Accepts the connections that have begun by now, and none after them: what stands in the kernel's queue when a listener is
/// closed is reset, and with it requests that have been sent.
async fn take_the_last<M: Machine>(shard: &Shard<M>, listeners: &[Rc<Listener>], pause: &Timer) {
    for listener in listeners {
        if let Err(error) = listener.ignore_newcomers() {
            warn!(core = shard.index, %error, "the kernel cannot hold newcomers back: the last of them may be reset");
        }
    }
    for _ in 0..LAST_ACCEPTS_PAUSES_MAX {
        pause.set(LAST_ACCEPTS_PAUSE);
        if pause.fired().await.is_err() {
            return;
        }
        // Whoever cannot be asked has nobody waiting.
        if !listeners.iter().any(|listener| listener.has_waiting().unwrap_or(false)) {
            return;
        }
    }
}

/// Begins the drain of a core when it is asked for: first the edge says that it leaves, then, when those who balance load have
/// had the time to hear of it, it stops listening. The admin listener stays: it says why the edge is not ready.
async fn watch_control<M: Machine>(
    shard: Rc<Shard<M>>,
    core: CoreTasks,
    bell: DoorbellListener,
    delay: Timer,
    listeners: Vec<Rc<Listener>>,
) {
    while !core.control.draining.load(Ordering::Acquire) {
        if let Err(error) = bell.rung().await {
            error!(core = shard.index, %error, "the doorbell failed: this core cannot be told to drain");
            return;
        }
    }
    shard.leave();
    if !core.plan.drain_delay.is_zero() {
        delay.set(core.plan.drain_delay);
        if let Err(error) = delay.fired().await {
            warn!(core = shard.index, %error, "the timer of the drain's delay failed; the drain begins now");
        }
    }
    take_the_last(&shard, &listeners, &delay).await;
    for listener in &listeners {
        listener.close();
    }
    shard.drain(core.plan.drain_deadline);
    ticker::end_idle(&shard);
}
