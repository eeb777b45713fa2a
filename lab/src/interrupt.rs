//! Ctrl-C, for the programs of this crate and of its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::LabError;

/// Ctrl-C and its kin. At first they end the process, and what it started ends with it; once it waits for them, they end
/// the waiting, and a second one the process.
pub struct Interrupt {
    waited_for: Arc<AtomicBool>,
    came: Receiver<()>,
}

impl Interrupt {
    /// Catches them from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> Result<Interrupt, LabError> {
        let caught = Signals::new([SIGINT, SIGTERM, SIGHUP]);
        let mut signals = caught.map_err(|error| LabError::failed(format!("catching signals: {error}")))?;
        let waited_for = Arc::new(AtomicBool::new(false));
        let is_waited_for = Arc::clone(&waited_for);
        let (tell, came) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if !is_waited_for.load(Ordering::Relaxed) || tell.send(()).is_err() {
                    std::process::exit(128 + signal);
                }
            }
        });
        Ok(Interrupt { waited_for, came })
    }

    /// Waits for one.
    pub fn wait(self) {
        self.waited_for.store(true, Ordering::Relaxed);
        // The sender lives as long as the process.
        let _ = self.came.recv();
    }
}
