//! The thread that reads files anew, when a process is told to (SIGHUP) and once a day: who issues certificates and keys may tell
//! nobody.
//!
//! It may wait for a disk; whoever hears signals only rings, so that the next signal is heard.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// A certificate of which nothing was said is shown for a day longer at most; issuers renew weeks before the end.
const RELOAD_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Why files are read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody said so, and wants to hear what came of it.
    Told,
    /// A day has passed.
    Daily,
}

/// The thread, for who hears signals. It lives as long as this.
#[derive(Debug)]
pub struct Reloader {
    bell: SyncSender<()>,
}

impl Reloader {
    /// Starts it; `read` is called on it.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(read: impl Fn(Occasion) + Send + 'static) -> io::Result<Reloader> {
        Reloader::start_every(RELOAD_INTERVAL, read)
    }

    fn start_every(interval: Duration, read: impl Fn(Occasion) + Send + 'static) -> io::Result<Reloader> {
        // One that waits is enough: it is answered with what is in the files by then.
        let (bell, rung) = sync_channel(1);
        thread::Builder::new().name("reload".into()).spawn(move || {
            loop {
                match rung.recv_timeout(interval) {
                    Ok(()) => read(Occasion::Told),
                    Err(RecvTimeoutError::Timeout) => read(Occasion::Daily),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Reloader { bell })
    }

    /// Has everything read anew. Never waits.
    pub fn ring(&self) {
        // Full: the one that waits there does.
        let _ = self.bell.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn told(read: Sender<Occasion>) -> impl Fn(Occasion) + Send {
        move |occasion| read.send(occasion).expect("the test listens")
    }

    #[test]
    fn who_rings_is_never_held_up_and_what_was_rung_last_is_read() {
        let (entered, reading) = channel();
        let (release, held) = channel();
        let reloader = Reloader::start(move |occasion| {
            entered.send(occasion).expect("the test listens");
            held.recv().expect("the test lets it go");
        })
        .expect("a thread");
        reloader.ring();
        assert_eq!(reading.recv(), Ok(Occasion::Told), "it hangs at its disk from now on");
        for _ in 0..1000 {
            reloader.ring();
        }
        release.send(()).expect("it waits");
        assert_eq!(reading.recv(), Ok(Occasion::Told), "what changed meanwhile is not missed");
        release.send(()).expect("it waits");
    }

    #[test]
    fn it_reads_by_itself_too() {
        let (entered, reading) = channel();
        let _reloader = Reloader::start_every(Duration::from_millis(1), told(entered)).expect("a thread");
        assert_eq!(reading.recv(), Ok(Occasion::Daily));
    }
}
