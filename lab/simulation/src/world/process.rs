//! Simulated processes: tasks, who is ready, what dies with them.
//!
//! A process has one or more main futures, like a program with a thread a core. Its tasks run in the order in which
//! they became ready, and a main future after all tasks that were, as `flux_net::Runtime::block_on` promises.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use flux_net::simulated::Task;

use crate::random::Random;

/// One process, from its start to its end. A restarted program is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub usize);

pub(super) struct Process {
    pub(super) name: String,
    pub(super) is_alive: bool,
    pub(super) is_paused: bool,
    /// What its wall clock shows beside the true time.
    pub(super) wall_offset_ms: i64,
    /// What its randomness is stretched from.
    pub(super) random: Random,
    pub(super) descriptors: BTreeSet<RawFd>,
    /// Times that it wrote to a socket.
    pub(super) writes: u64,
    slots: Vec<Slot>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    mains_left: usize,
}

struct Slot {
    task: Option<Task>,
    is_main: bool,
    waker: Arc<TaskWaker>,
}

#[derive(Default)]
struct Ready {
    /// Something stands in the queue: asked after every event of the world.
    is_any: AtomicBool,
    queue: Mutex<VecDeque<usize>>,
}

impl Ready {
    fn push(&self, index: usize) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(index);
        self.is_any.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> VecDeque<usize> {
        self.is_any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_empty(&self) -> bool {
        !self.is_any.load(Ordering::Relaxed)
    }
}

/// Makes a task ready; more than once before it runs counts once.
pub(super) struct TaskWaker {
    index: usize,
    is_queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.index);
        }
    }
}

impl Process {
    pub(super) fn new(name: &str, random: Random) -> Process {
        Process {
            name: name.to_owned(),
            is_alive: true,
            is_paused: false,
            wall_offset_ms: 0,
            random,
            descriptors: BTreeSet::new(),
            writes: 0,
            slots: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            mains_left: 0,
        }
    }

    /// Adds a task; it is ready.
    pub(super) fn add(&mut self, task: Task, is_main: bool) {
        self.mains_left += usize::from(is_main);
        let index = self.free.pop().unwrap_or(self.slots.len());
        // A waker of its own: one that is kept from the place's last task must not count as this one's.
        let waker = Arc::new(TaskWaker { index, is_queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) });
        waker.wake_by_ref();
        let slot = Slot { task: Some(task), is_main, waker };
        if index == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[index] = slot;
        }
    }

    /// Whether a task could run.
    pub(super) fn is_ready(&self) -> bool {
        self.is_alive && !self.is_paused && !self.ready.is_empty()
    }

    /// What is ready now: tasks, and main futures apart.
    pub(super) fn take_ready(&mut self) -> (Vec<usize>, Vec<usize>) {
        let mut ready: Vec<usize> = self.ready.take().into();
        // A place that was given anew may stand there twice.
        if ready.len() > 1 {
            let mut seen = BTreeSet::new();
            ready.retain(|index| seen.insert(*index));
        }
        ready.into_iter().partition(|index| !self.slots[*index].is_main)
    }

    /// Takes a task out to be polled, with its waker; `None` where it has ended.
    pub(super) fn take(&mut self, index: usize) -> Option<(Task, Arc<TaskWaker>)> {
        let slot = &mut self.slots[index];
        slot.waker.is_queued.store(false, Ordering::Relaxed);
        Some((slot.task.take()?, Arc::clone(&slot.waker)))
    }

    /// Puts it back, or with `None` ends it. Whether its last main future has ended.
    pub(super) fn put_back(&mut self, index: usize, task: Option<Task>) -> bool {
        let slot = &mut self.slots[index];
        let ended = task.is_none();
        slot.task = task;
        if ended {
            let is_main = slot.is_main;
            self.free.push(index);
            if is_main {
                self.mains_left -= 1;
                return self.mains_left == 0;
            }
        }
        false
    }

    /// Makes it ready again, behind what is.
    pub(super) fn put_off(&self, index: usize) {
        self.ready.push(index);
    }

    /// All that runs, to be dropped by the caller.
    pub(super) fn end(&mut self) -> Vec<Task> {
        self.is_alive = false;
        self.ready.take();
        self.slots.drain(..).filter_map(|slot| slot.task).collect()
    }
}
