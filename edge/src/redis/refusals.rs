//! Errors that Redis answers, by kind: noted where they are met, told once a second.
//!
//! The path of an order only counts and, at a first and then ever rarer occurrence, keeps Redis' own words; the refresh of
//! every second logs them. So each kind is said when it begins, and an outage of hours fills no disk. Never decides
//! what an error means for the request.

use flux_protocol::resp::{ErrorKind, Items, Reply, ServerError, printable};
use tracing::{info, warn};

use crate::counters::Counters;

/// Bytes kept of what Redis says: its own messages are shorter, and from outside.
const WORDS_BYTES_MAX: usize = 240;

/// One kind.
#[derive(Debug, Default)]
struct Refusal {
    times: u64,
    /// It is told at this number of times; 0: the first.
    told_at: u64,
    /// What Redis said, where it is to be told.
    words: Vec<u8>,
}

/// All kinds.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    by_kind: [Refusal; ErrorKind::COUNT],
}

impl Refusals {
    /// Redis has answered with an error: counted by its kind.
    pub(crate) fn note(&mut self, counters: &Counters, error: ServerError<'_>) {
        counters.redis_error(error.kind());
        let refusal = &mut self.by_kind[error.kind() as usize];
        refusal.times += 1;
        if refusal.times >= refusal.told_at && refusal.words.is_empty() {
            let words = error.message();
            refusal.words.extend_from_slice(&words[..words.len().min(WORDS_BYTES_MAX)]);
        }
    }

    /// What an array holds; nothing where Redis refused, which is noted, or where no reply came.
    pub(crate) fn items_of<'b>(&mut self, counters: &Counters, reply: Option<Reply<'b>>) -> Option<Items<'b>> {
        reply?.items().unwrap_or_else(|error| {
            self.note(counters, error);
            None
        })
    }

    /// What is to be told now: the kind, how often it was met, Redis' words (escaped). Each kind comes when it is new, and again
    /// when it has been met twice as often as the last time.
    fn take(&mut self) -> impl Iterator<Item = (ErrorKind, u64, String)> {
        self.by_kind.iter_mut().zip(ErrorKind::ALL).filter(|(refusal, _)| !refusal.words.is_empty()).map(
            |(refusal, kind)| {
                refusal.told_at = 2 * refusal.times;
                let words = printable(&refusal.words);
                refusal.words.clear();
                (kind, refusal.times, words)
            },
        )
    }

    /// Once a second.
    pub(crate) fn tell(&mut self) {
        for (kind, times, words) in self.take() {
            match kind {
                // Scripts are loaded again, and no request is refused for it.
                ErrorKind::NoScript => info!(times, words, "Redis has forgotten the scripts"),
                _ => warn!(kind = kind.name(), times, words, "Redis answers with an error"),
            }
        }
    }
}

/// Redis' own words, escaped and no longer than a line of a log may be.
pub(crate) fn words(error: ServerError<'_>) -> String {
    let message = error.message();
    printable(&message[..message.len().min(WORDS_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use flux_protocol::resp::{Decoder, Limits, Value};

    use super::*;

    fn note(refusals: &mut Refusals, line: &str) {
        let mut buffer = BytesMut::from(format!("-{line}\r\n").as_bytes());
        let mut decoder = Decoder::new(Limits::DEFAULT);
        let reply = decoder.poll(&mut buffer).expect("well-formed").expect("whole");
        let Value::Error(error) = reply.value() else { panic!("an error") };
        refusals.note(&Counters::default(), error);
    }

    #[test]
    fn each_kind_is_told_at_once_and_then_ever_more_rarely() {
        let mut refusals = Refusals::default();
        note(&mut refusals, "OOM command not allowed when used memory > 'maxmemory'.");
        note(&mut refusals, "NOPERM User \u{7} has no permissions");
        let told: Vec<_> = refusals.take().collect();
        let oom = "OOM command not allowed when used memory > 'maxmemory'.";
        let denied = "NOPERM User \\x07 has no permissions";
        assert_eq!(
            told,
            [(ErrorKind::OutOfMemory, 1, oom.to_owned()), (ErrorKind::Denied, 1, denied.to_owned())],
            "its own words, escaped"
        );
        let mut said = 0;
        for _ in 0..1000 {
            note(&mut refusals, "OOM command not allowed");
            said += refusals.take().count();
        }
        assert_eq!(said, 9, "at 2, 4, 8 … 512");
        note(&mut refusals, &"x".repeat(1_000));
        assert_eq!(refusals.take().map(|(_, _, words)| words.len()).collect::<Vec<_>>(), [WORDS_BYTES_MAX]);
    }

    #[test]
    fn what_a_user_may_not_do_inside_a_script_is_told_apart() {
        let mut refusals = Refusals::default();
        note(
            &mut refusals,
            "ERR The user executing the script can't run this command or subcommand script: ab, on @user_script:2.",
        );
        note(
            &mut refusals,
            "ERR ACL failure in script: User u has no permissions to run the 'info' command script: ab",
        );
        assert_eq!(refusals.take().map(|(kind, times, _)| (kind, times)).collect::<Vec<_>>(), [(ErrorKind::Denied, 2)]);
        for (place, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.name());
        }
    }
}
