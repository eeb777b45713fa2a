//! A Redis that answers every command at once, each kind as its path wants it.
//!
//! It looks at little more than the first words of a command: what it costs is counted with the core that asks.

use flux_edge::redis::scripts::{SCRIPTS, Scripts};
use flux_protocol::order::decimal;
use flux_protocol::resp;

use crate::path::{PRODUCT, Path};

/// The sale that all paths buy of.
const SALE_ID: &[u8] = b"1705234700000";
const UNITS: &[u8] = b"9000000";
/// Tokens a second: none is ever lacking where any are granted.
const RATE: &[u8] = b"1000000";
/// Where a reserve call of one sale says how many orders it carries: behind its 7 keys and two arguments.
const RESERVE_ORDERS: usize = 12;
/// Of another reservation, delivered long ago.
const RECORD: &[u8] = b"R00000000-0000-8000-8000-000000000001 1 1 1705234700001-0";
/// When the next token is due of a bucket that is empty, microseconds.
const EMPTY_FOR: &[u8] = b"60000000";

#[derive(Debug)]
pub(crate) struct Redis {
    path: Path,
    scripts: &'static Scripts,
    entries: u64,
}

impl Redis {
    pub(crate) fn new(path: Path) -> Redis {
        Redis { path, scripts: &SCRIPTS, entries: 0 }
    }

    /// Appends the replies to `commands`, all of which are whole.
    pub(crate) fn answer(&mut self, mut commands: &[u8], out: &mut Vec<u8>) {
        while !commands.is_empty() {
            let command = Command::read(&mut commands);
            match command.words[0] {
                b"EVALSHA" => self.answer_script(&command, out),
                b"XDEL" => out.extend_from_slice(b":1\r\n"),
                b"SELECT" | b"SCRIPT" => out.extend_from_slice(b"+OK\r\n"),
                b"INFO" | b"CONFIG" => out.extend_from_slice(b"-NOPERM no permissions to run the command\r\n"),
                other => panic!("what to say to {}?", other.escape_ascii()),
            }
        }
    }

    fn answer_script(&mut self, command: &Command<'_>, out: &mut Vec<u8>) {
        let digest = command.words[1];
        if digest == self.scripts.reserve.digest() {
            let orders = std::str::from_utf8(command.words[RESERVE_ORDERS]).ok().and_then(|text| text.parse().ok());
            self.answer_reserve(orders.expect("a number of orders"), out);
        } else if digest == self.scripts.lease.digest() {
            // Its answer: tokens, microseconds that they live, microseconds to the next one, state.
            match self.path {
                Path::Redirected => resp::command(out, &[b"0", b"200000", EMPTY_FOR, b"open"]),
                _ => resp::command(out, &[command.words[6], b"200000", b"0", b"open"]),
            }
        } else if digest == self.scripts.refresh.digest() {
            let sale: [&[u8]; 15] =
                [b"open", b"", SALE_ID, b"1", UNITS, UNITS, RATE, RATE, b"0", b"", b"0", b"0", b"", b"0", b""];
            resp::command(out, &sale);
        } else if digest == self.scripts.replay_lookup.digest() {
            // Nothing is for sale, and none of the one sale's orders has a record.
            resp::command(out, &[b"0 "]);
        } else if digest == self.scripts.probe.digest() {
            // No path depends on the time of day.
            resp::command(out, &[b""]);
        } else if digest == self.scripts.page.digest() {
            resp::command(out, &[b"0", PRODUCT.as_bytes()]);
        } else if digest == self.scripts.forget.digest() {
            resp::command(out, &[b"K"]);
        } else if digest == self.scripts.retire.digest() {
            out.extend_from_slice(b":0\r\n");
        } else {
            panic!("a script that no path needs");
        }
    }

    fn answer_reserve(&mut self, orders: usize, out: &mut Vec<u8>) {
        let code: &[u8] = match self.path {
            Path::SoldOut => b"0",
            Path::Replayed => RECORD,
            Path::Accepted => {
                self.entries += 1;
                resp::array_header(out, 1);
                return resp::bulk_parts(out, &[b"A1705234800000-", decimal(self.entries, &mut [0; 20])]);
            }
            Path::Redirected | Path::Stock => panic!("nothing is reserved on this path"),
        };
        resp::array_header(out, 1 + orders);
        resp::bulk(out, b"M");
        (0..orders).for_each(|_| resp::bulk(out, code));
    }
}

/// Words of a command that are looked at.
const WORDS: usize = 13;

struct Command<'a> {
    count: usize,
    words: [&'a [u8]; WORDS],
}

impl<'a> Command<'a> {
    /// Takes the command at the front of `bytes`.
    fn read(bytes: &mut &'a [u8]) -> Command<'a> {
        let mut command = Command { count: length(bytes, b'*'), words: [b""; WORDS] };
        for at in 0..command.count {
            let word_bytes = length(bytes, b'$');
            let (word, rest) = bytes.split_at(word_bytes);
            *bytes = rest.strip_prefix(b"\r\n").expect("a word and its end");
            if let Some(place) = command.words.get_mut(at) {
                *place = word;
            }
        }
        command
    }
}

/// Takes a line such as `$12` off the front of `bytes`.
fn length(bytes: &mut &[u8], kind: u8) -> usize {
    assert_eq!(bytes[0], kind, "a command is an array of strings");
    let mut value = 0;
    let mut at = 1;
    while bytes[at] != b'\r' {
        value = 10 * value + usize::from(bytes[at] - b'0');
        at += 1;
    }
    *bytes = &bytes[at + 2..];
    value
}
