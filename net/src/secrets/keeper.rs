//! The thread of a process that keeps its secrets fresh: it reads files anew when told to (SIGHUP) or when a server has refused
//! what they held before, fetches tokens before they end, and stretches passwords for SCRAM, which no other thread has time for.
//!
//! It may wait, for disks and commands; so nobody waits for it: [`Keeper`]'s calls only ring.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use flux_protocol::kafka::sasl::identity::{Errand, Identity};
use flux_protocol::secret::{Secret, SharedSecret};
use tracing::{debug, info, warn};

use super::command::{self, COMMAND_TIME_MAX};
use super::kafka_login::{is_token, token_in};
use super::token::{FETCH_GAP_MAX, FETCH_GAP_MIN, next_fetch};
use super::{Kept, Source, file};

/// Errands that wait for the thread; more than that are done where they are needed, or asked for again.
const ERRANDS_MAX: usize = 64;

/// A token's file is written by somebody else, at a time of their own: it is looked at so often.
const TOKEN_FILE_GAP: Duration = Duration::from_secs(10);

/// Longest wait before a source that failed is tried again.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// A command's first token holds the start up for so long at most.
const FIRST_TOKEN_MAX: Duration = Duration::from_secs(2);
const FIRST_TOKEN_LOOK: Duration = Duration::from_millis(5);

/// A source that failed goes on being told of so often.
const REPEAT_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The thread, for those who have an errand for it.
#[derive(Clone, Debug)]
pub struct Keeper {
    errands: SyncSender<Asked>,
}

#[derive(Debug)]
enum Asked {
    /// Everything anew.
    Reload,
    Errand(Errand),
}

impl Keeper {
    /// Starts it, and has the identity's errands run by it. It lives as long as the process. A command's first token is waited for
    /// a little, so that no broker is asked without one; where it does not come, it is waited for as servers are.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(kept: Vec<Kept>, identity: Option<&Identity>) -> std::io::Result<Keeper> {
        let (errands, asked) = sync_channel(ERRANDS_MAX);
        let keeper = Keeper { errands };
        if let Some(identity) = identity {
            let errands = keeper.errands.clone();
            identity.help_by(move |errand| errands.try_send(Asked::Errand(errand)).is_ok());
        }
        for kept in &kept {
            let errands = keeper.errands.clone();
            // Where so much is asked for already, it will look anyway.
            kept.secret.renew_by(move || drop(errands.try_send(Asked::Errand(Errand::Renew))));
        }
        let awaited: Vec<SharedSecret> =
            kept.iter().map(|kept| &kept.secret).filter(|secret| secret.get().is_empty()).cloned().collect();
        let shelves = kept.into_iter().map(Shelf::new).collect();
        thread::Builder::new().name("secrets".to_owned()).spawn(move || keep(shelves, &asked))?;
        let end = Instant::now() + FIRST_TOKEN_MAX;
        while awaited.iter().any(|secret| secret.get().is_empty()) && Instant::now() < end {
            thread::sleep(FIRST_TOKEN_LOOK);
        }
        Ok(keeper)
    }

    /// Everything that comes from a file or a command is to be had anew.
    pub fn reload(&self) {
        // Where so much is asked for already, it will look anyway.
        let _ = self.errands.try_send(Asked::Reload);
    }
}

/// One secret and when it is looked for again.
struct Shelf {
    kept: Kept,
    due: Option<Instant>,
    looked_at: Option<Instant>,
    failures: u32,
    said: Option<(Instant, String)>,
}

fn keep(mut shelves: Vec<Shelf>, asked: &Receiver<Asked>) {
    loop {
        for shelf in &mut shelves {
            if shelf.due.is_some_and(|due| due <= Instant::now()) {
                shelf.look(false);
            }
        }
        let next = shelves.iter().filter_map(|shelf| shelf.due).min();
        let wait = next.map_or(FETCH_GAP_MAX, |due| due.saturating_duration_since(Instant::now()));
        match asked.recv_timeout(wait) {
            Ok(Asked::Reload) => shelves.iter_mut().for_each(|shelf| shelf.look(true)),
            Ok(Asked::Errand(Errand::Stretch(stretch))) => stretch.derive(),
            // What a server has refused may have been replaced meanwhile; all connections say it at once.
            Ok(Asked::Errand(Errand::Renew)) => {
                let is_rested = |shelf: &&mut Shelf| shelf.looked_at.is_none_or(|at| at.elapsed() >= FETCH_GAP_MIN);
                shelves.iter_mut().filter(is_rested).for_each(|shelf| shelf.look(false));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Shelf {
    /// A file was read when the configuration was; a command is run at once.
    fn new(kept: Kept) -> Shelf {
        let now = Instant::now();
        let due = match kept.source {
            Source::Command(_) => Some(now),
            Source::File(_) => kept.is_token.then_some(now + TOKEN_FILE_GAP),
        };
        Shelf { kept, due, looked_at: None, failures: 0, said: None }
    }

    fn look(&mut self, is_told: bool) {
        let flag = self.kept.flag;
        let found = match &self.kept.source {
            Source::File(path) if self.kept.is_token => token_in(path),
            Source::File(path) => file::read(path).map(|read| read.secret).map_err(|error| error.to_string()),
            Source::Command(command) => match command::run(command, COMMAND_TIME_MAX) {
                Ok(token) if is_token(&token) => Ok(token),
                Ok(_) => Err("the command wrote what is no token".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        };
        let now = Instant::now();
        self.looked_at = Some(now);
        match found {
            Ok(secret) => {
                let gap = self.gap(&secret);
                self.due = gap.map(|gap| now + gap);
                let was_failing = std::mem::take(&mut self.failures) > 0;
                self.said = None;
                let is_another = self.kept.secret.set(secret);
                if was_failing || is_told || (is_another && !self.kept.is_token) {
                    info!(flag, "the secret was read anew; it serves the connections that begin from now on");
                } else if is_another {
                    debug!(flag, "the next token");
                }
            }
            // The last one may still be good, and is kept.
            Err(why) => {
                self.failures += 1;
                let wait = (Duration::from_secs(1) * 2_u32.pow((self.failures - 1).min(5))).min(RETRY_WAIT_MAX);
                self.due = (self.kept.is_token || self.due.is_some()).then_some(now + wait);
                let is_said =
                    self.said.as_ref().is_some_and(|(at, said)| *said == why && at.elapsed() < REPEAT_LOG_INTERVAL);
                if is_told || !is_said {
                    warn!(flag, why, "there is no new secret; the last one is kept");
                    self.said = Some((now, why));
                }
            }
        }
    }

    fn gap(&self, secret: &Secret) -> Option<Duration> {
        match (&self.kept.source, self.kept.is_token) {
            (_, false) => None,
            (Source::File(_), true) => Some(TOKEN_FILE_GAP.min(next_fetch(secret, SystemTime::now()))),
            (Source::Command(_), true) => Some(next_fetch(secret, SystemTime::now())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(secret: &SharedSecret, text: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while secret.get().expose() != text {
            assert!(Instant::now() < end, "the secret never came");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn files_are_read_anew_when_told_and_commands_run_by_themselves() {
        let path = std::env::temp_dir().join(format!("flux-keeper-{}", std::process::id()));
        std::fs::write(&path, "old\n").expect("a file");
        let (password, token) = (SharedSecret::from("old"), SharedSecret::from(""));
        let kept =
            |source, is_token, secret: &SharedSecret| Kept { flag: "--x", source, is_token, secret: secret.clone() };
        let file = kept(Source::File(path.clone()), false, &password);
        let command = kept(Source::Command("echo a.b.c".to_owned()), true, &token);
        let keeper = Keeper::start(vec![file, command], None).expect("a thread");
        wait_for(&token, "a.b.c");
        std::fs::write(&path, "new\n").expect("a file");
        assert_eq!(password.get().expose(), "old");
        keeper.reload();
        wait_for(&password, "new");
        std::fs::remove_file(&path).expect("ours");
        token.set(Secret::new("another"));
        keeper.reload();
        wait_for(&token, "a.b.c");
        assert_eq!(password.get().expose(), "new", "a file that has gone takes no secret away");
    }

    #[test]
    fn a_refused_secret_is_looked_for_again() {
        let path = std::env::temp_dir().join(format!("flux-refused-{}", std::process::id()));
        std::fs::write(&path, "new\n").expect("a file");
        let password = SharedSecret::from("old");
        let kept = Kept { flag: "--x", source: Source::File(path.clone()), is_token: false, secret: password.clone() };
        let _keeper = Keeper::start(vec![kept], None).expect("a thread");
        password.note_refused();
        wait_for(&password, "new");
        std::fs::remove_file(&path).expect("ours");
    }
}
