//! A Lua script and the digest by which Redis knows it.

use sha1::{Digest, Sha1};

use super::encode::{Arguments, array_header, bulk, bulk_number, command};

/// A script as it is loaded and called. Its arguments are always passed, never spliced into its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    source: String,
    digest: [u8; 40],
}

impl Script {
    /// The script `source`, which begins with its `#!lua` line; each of `preludes` is put behind that line.
    pub fn new(source: &str, preludes: &[&str]) -> Script {
        let (head, body) = source.split_once('\n').unwrap_or((source, ""));
        debug_assert!(head.starts_with("#!lua"), "without it a full memory does not refuse the script whole");
        let mut whole = String::with_capacity(source.len() + preludes.iter().map(|part| part.len() + 1).sum::<usize>());
        whole.push_str(head);
        whole.push('\n');
        for prelude in preludes {
            whole.push_str(prelude);
            whole.push('\n');
        }
        whole.push_str(body);
        let mut digest = [0; 40];
        for (pair, byte) in digest.chunks_exact_mut(2).zip(Sha1::digest(whole.as_bytes())) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        Script { source: whole, digest }
    }

    /// Its text as Redis is given it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-1 of its text in 40 lower-case hexadecimal digits: what `EVALSHA` names.
    pub fn digest(&self) -> &[u8; 40] {
        &self.digest
    }

    /// Appends `SCRIPT LOAD`. The reply is the digest.
    pub fn write_load(&self, out: &mut Vec<u8>) {
        command(out, &[b"SCRIPT", b"LOAD", self.source.as_bytes()]);
    }

    /// Appends one `EVALSHA` with keys and arguments that were collected in pieces.
    pub fn write_call(&self, out: &mut Vec<u8>, keys: &[&Arguments], arguments: &[&Arguments]) {
        let count = |pieces: &[&Arguments]| pieces.iter().map(|piece| piece.count()).sum::<usize>();
        array_header(out, 3 + count(keys) + count(arguments));
        bulk(out, b"EVALSHA");
        bulk(out, &self.digest);
        bulk_number(out, count(keys) as u64);
        for piece in keys.iter().chain(arguments) {
            piece.write(out);
        }
    }

    /// Appends one `EVALSHA` with keys and arguments at hand.
    pub fn write_call_with(&self, out: &mut Vec<u8>, keys: &[&[u8]], arguments: &[&[u8]]) {
        array_header(out, 3 + keys.len() + arguments.len());
        bulk(out, b"EVALSHA");
        bulk(out, &self.digest);
        bulk_number(out, keys.len() as u64);
        for argument in keys.iter().chain(arguments) {
            bulk(out, argument);
        }
    }
}
