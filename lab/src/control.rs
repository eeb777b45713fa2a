//! What the lab does to a program or a server that it runs: asks it to end, kills it, stops it and lets it go on. Once, for all of
//! them: whoever holds a [`Slot`] is [`Controlled`].
//!
//! Never starts anything: how it is started, and when it is ready, only its owner knows.

use std::process::ExitStatus;
use std::time::Duration;

use crate::error::LabError;
use crate::process::Process;

/// A place for one process at a time. Dropping it ends what stands there.
#[derive(Debug)]
pub struct Slot {
    process: Option<Process>,
    /// What asks it to end.
    signal: i32,
    /// How long that may take.
    patience: Duration,
}

impl Slot {
    /// An empty place, for a program that ends by `signal`, within `patience`.
    pub(crate) const fn new(signal: i32, patience: Duration) -> Slot {
        Slot { process: None, signal, patience }
    }

    /// Puts a process there that was just started, in the place of one that has ended.
    pub(crate) fn put(&mut self, process: Process) -> &mut Process {
        self.process.insert(process)
    }

    /// What stands there, whether it has ended or not.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Sends `signal` to it alone. Nothing happens where nothing runs.
    pub(crate) fn signal(&mut self, signal: i32) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// Asks it to end, going on first where it was paused, and does not wait.
    pub(crate) fn ask_to_end(&mut self) {
        if let Some(process) = &mut self.process {
            process.resume();
            process.signal(self.signal);
        }
    }

    /// Ends what stands there as dropping it would.
    pub(crate) fn empty(&mut self) {
        self.process = None;
    }

    /// Asks it to end and waits; how it did. `None`: nothing stood there.
    ///
    /// # Errors
    /// Where it still runs after `patience`.
    pub(crate) fn end(&mut self, patience: Duration) -> Result<Option<ExitStatus>, LabError> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let status = process.stop(self.signal, patience)?;
        self.process = None;
        Ok(Some(status))
    }
}

/// Whoever runs one process, and may start it again.
pub trait Controlled {
    /// Where its process stands.
    fn slot(&self) -> &Slot;

    /// The same, to do something to it.
    fn slot_mut(&mut self) -> &mut Slot;

    /// Whether its process is there (paused counts as there).
    fn is_running(&mut self) -> bool {
        self.slot_mut().process().is_some_and(|process| process.exited().is_none())
    }

    /// Its process id, while it runs.
    fn pid(&self) -> Option<u32> {
        self.slot().process.as_ref().map(Process::pid)
    }

    /// Asks it to end, in the way that is its own, and waits: what its settings say is on disk stays there. Nothing happens where it
    /// does not run.
    ///
    /// # Errors
    /// Where it does not end.
    fn stop(&mut self) -> Result<(), LabError> {
        let patience = self.slot().patience;
        self.slot_mut().end(patience).map(drop)
    }

    /// SIGKILL to it and to all its descendants. Returns when they are gone.
    fn kill(&mut self) {
        if let Some(mut process) = self.slot_mut().process.take() {
            process.kill();
        }
    }

    /// SIGSTOP to it and to all its descendants: it takes no more part in anything, its sockets stay open.
    ///
    /// # Errors
    /// Where the guard cannot be started that ends what is stopped should this process die.
    fn pause(&mut self) -> Result<(), LabError> {
        self.slot_mut().process().map_or(Ok(()), Process::pause)
    }

    /// SIGCONT after [`Controlled::pause`].
    fn resume(&mut self) {
        if let Some(process) = self.slot_mut().process() {
            process.resume();
        }
    }
}
