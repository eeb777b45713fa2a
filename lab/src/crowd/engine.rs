//! The threads of a crowd: each a monoio runtime with its connections, one ticker that wakes those that rest when work
//! is due and cuts off requests that take too long.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::connection;
use super::report::{Progress, Report, Snapshot};
use super::work::{Share, Work};
use super::{CONNECTIONS_BY_SOURCE, CrowdOptions, Driver};
use crate::error::{Doing, LabError};

/// How often due work is looked for.
const TICK: Duration = Duration::from_millis(1);
/// How many ticks pass between two looks for requests that took too long.
const TICKS_BY_OVERDUE_LOOK: u32 = 20;
/// Descriptors beside the connections.
const FILES_BESIDE: u64 = 256;

/// A crowd at work.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<Result<Report, LabError>>>,
    progress: Vec<Arc<Progress>>,
    stop: Arc<AtomicBool>,
    connected: Arc<AtomicUsize>,
}

impl Running {
    /// What it has met so far.
    pub fn progress(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        self.progress.iter().for_each(|progress| progress.add_to(&mut sum));
        sum
    }

    /// Connections opened so far.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether every thread is done.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// No new buyers and no repeats; requests under way are waited for.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where a thread could not set up its runtime.
    pub fn join(self) -> Result<Report, LabError> {
        let mut all = Report::default();
        for thread in self.threads {
            let report = thread.join().map_err(|_| LabError::failed("a thread of the crowd panicked"))?;
            all.merge(report?);
        }
        Ok(all)
    }
}

/// Starts a crowd.
///
/// # Errors
/// Where the options make no sense, or the limit of open files is too low.
pub fn start(options: CrowdOptions) -> Result<Running, LabError> {
    options.check()?;
    raise_file_limit(options.connections as u64 + FILES_BESIDE)?;
    let options = Arc::new(options);
    let stop = Arc::new(AtomicBool::new(false));
    let connected = Arc::new(AtomicUsize::new(0));
    // Nobody begins before everybody has connected.
    let gate = Arc::new(Barrier::new(options.threads));
    let mut running = Running {
        threads: Vec::new(),
        progress: Vec::new(),
        stop: Arc::clone(&stop),
        connected: Arc::clone(&connected),
    };
    for thread in 0..options.threads {
        let progress = Arc::new(Progress::default());
        running.progress.push(Arc::clone(&progress));
        let common = Common {
            options: Arc::clone(&options),
            progress,
            stop: Arc::clone(&stop),
            connected: Arc::clone(&connected),
            gate: Arc::clone(&gate),
            thread,
        };
        let name = format!("crowd-{thread}");
        let spawned = std::thread::Builder::new().name(name).spawn(move || thread_main(&common));
        running.threads.push(spawned.doing(|| "starting a thread of the crowd".to_owned())?);
    }
    Ok(running)
}

struct Common {
    options: Arc<CrowdOptions>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    connected: Arc<AtomicUsize>,
    gate: Arc<Barrier>,
    thread: usize,
}

/// What the connections of one thread share.
pub(super) struct Shared {
    pub(super) options: Arc<CrowdOptions>,
    pub(super) progress: Arc<Progress>,
    pub(super) clock: Clock,
    pub(super) uring: bool,
    pub(super) work: RefCell<Work>,
    pub(super) report: RefCell<Report>,
    /// Connections that rest; the last to rest is woken first, so that few stay warm when there is little to do.
    pub(super) resting: RefCell<Vec<Waker>>,
    /// By connection: its descriptor and when its request is overdue (µs).
    pub(super) overdue: RefCell<Vec<Option<(RawFd, u64)>>>,
    pub(super) open: Cell<usize>,
}

impl Shared {
    /// Wakes all that rest: there is nothing left to rest for.
    pub(super) fn wake_all(&self) {
        let resting = std::mem::take(&mut *self.resting.borrow_mut());
        resting.into_iter().for_each(Waker::wake);
    }
}

/// Microseconds since the Unix epoch that never go back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    origin_us: u64,
}

impl Clock {
    fn new() -> Clock {
        let origin_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        Clock { origin: Instant::now(), origin_us }
    }

    pub(super) fn now_us(&self) -> u64 {
        self.origin_us + self.origin.elapsed().as_micros() as u64
    }
}

fn thread_main(common: &Common) -> Result<Report, LabError> {
    if common.options.driver == Driver::Auto {
        let mut ring = io_uring::IoUring::builder();
        // With the default flags the ring is slower than epoll; with this one it is not, and nothing can starve.
        ring.setup_coop_taskrun();
        let builder = RuntimeBuilder::<TimeDriver<IoUringDriver>>::new().uring_builder(ring).with_entries(4096);
        if let Ok(mut runtime) = builder.build() {
            return Ok(runtime.block_on(crowd(common, true)));
        }
    }
    let built = RuntimeBuilder::<TimeDriver<LegacyDriver>>::new().with_entries(4096).build();
    let mut runtime = built.doing(|| "setting up the crowd's event loop".to_owned())?;
    Ok(runtime.block_on(crowd(common, false)))
}

async fn crowd(common: &Common, uring: bool) -> Report {
    let options = &common.options;
    let mine: Vec<usize> = (common.thread..options.connections).step_by(options.threads).collect();
    let clock = Clock::new();
    let share = Share { thread: common.thread as u64, threads: options.threads as u64, seed: options.seed };
    let orders = Arc::new(options.orders.clone());
    let work =
        |start_us| Work::new(Arc::clone(&orders), options.arrival, options.repeat, share, start_us, options.length_max);
    let shared = Rc::new(Shared {
        options: Arc::clone(options),
        progress: Arc::clone(&common.progress),
        clock,
        uring,
        // Replaced below, when everybody has connected.
        work: RefCell::new(work(clock.now_us())),
        report: RefCell::new(Report::default()),
        resting: RefCell::new(Vec::with_capacity(mine.len())),
        overdue: RefCell::new(vec![None; mine.len()]),
        open: Cell::new(mine.len()),
    });
    let mut streams = Vec::with_capacity(mine.len());
    for index in &mine {
        // One after the other: a loopback handshake takes microseconds, and no listener's queue overflows.
        let stream = connection::open(target(options, *index), source(options, *index), uring).await.ok();
        common.connected.fetch_add(usize::from(stream.is_some()), Ordering::Relaxed);
        streams.push(stream);
    }
    common.gate.wait();
    let start_us = clock.now_us();
    *shared.work.borrow_mut() = work(start_us);
    for ((slot, index), stream) in mine.iter().enumerate().zip(streams) {
        let ends = connection::Ends { target: target(options, *index), source: source(options, *index) };
        monoio::spawn(connection::serve(Rc::clone(&shared), slot, ends, stream));
    }
    tick(&shared, &common.stop).await;
    let mut report = shared.report.take();
    report.duration = Duration::from_micros(clock.now_us() - start_us);
    report
}

/// Runs until the last connection has ended.
async fn tick(shared: &Shared, stop: &AtomicBool) {
    let mut ticks = 0u32;
    let mut stopped = false;
    while shared.open.get() > 0 {
        monoio::time::sleep(TICK).await;
        let now_us = shared.clock.now_us();
        if !stopped && stop.load(Ordering::Relaxed) {
            stopped = true;
            shared.work.borrow_mut().stop();
        }
        let resting = shared.resting.borrow().len();
        if resting > 0 {
            if shared.work.borrow().is_over(now_us) {
                shared.wake_all();
            } else {
                for _ in 0..shared.work.borrow_mut().waiting(now_us, resting) {
                    let waker = shared.resting.borrow_mut().pop();
                    waker.into_iter().for_each(Waker::wake);
                }
            }
        }
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(TICKS_BY_OVERDUE_LOOK) {
            for entry in shared.overdue.borrow().iter().flatten() {
                if entry.1 <= now_us {
                    // SAFETY: a system call on a descriptor that its connection holds open while its entry stands. The
                    // pending read then ends; a socket already shut down is no harm.
                    unsafe { libc::shutdown(entry.0, libc::SHUT_RDWR) };
                }
            }
        }
    }
}

fn target(options: &CrowdOptions, index: usize) -> SocketAddr {
    options.targets[index % options.targets.len()]
}

/// The source address of connection `index`: the kernel's choice, unless there are more connections than one has ports.
fn source(options: &CrowdOptions, index: usize) -> Option<Ipv4Addr> {
    let loopback = target(options, index).ip().is_loopback();
    (loopback && options.connections > CONNECTIONS_BY_SOURCE).then(|| {
        let host = 2 + (index / CONNECTIONS_BY_SOURCE) as u8;
        Ipv4Addr::new(127, 0, 0, host)
    })
}

/// Raises this process' limit of open files to at least `wanted`.
///
/// # Errors
/// Where the hard limit is lower and may not be raised.
pub fn raise_file_limit(wanted: u64) -> Result<(), LabError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value of ours of the right type.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(std::io::Error::last_os_error()).doing(|| "reading the limit of open files".to_owned());
    }
    if limit.rlim_cur >= wanted {
        return Ok(());
    }
    // Where the hard limit is lower, root may raise it; for others the call fails.
    let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    // SAFETY: the pointer is to a value of ours of the right type.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
        return Ok(());
    }
    Err(LabError::failed(format!(
        "{wanted} open files are needed and {} allowed; raise the hard limit (ulimit -Hn) or use fewer connections",
        limit.rlim_max
    )))
}
