//! SIGTERM and SIGINT: the first drains, the second ends the process at once. SIGHUP: what is kept in files is read anew.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::warn;

use crate::shell::server::Drain;

/// Exit code of a process that was told twice.
const EXIT_AT_ONCE: i32 = 1;

/// Listens on a thread of its own: a signal handler may do nothing that is of use.
pub fn watch(drain: Drain, reload: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload();
                continue;
            }
            if asked {
                warn!(signal, "told twice: ending at once; what is reserved stands in the outbox");
                std::process::exit(EXIT_AT_ONCE);
            }
            asked = true;
            drain.request();
        }
    })?;
    Ok(())
}
