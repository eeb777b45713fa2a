//! Commands out: an array of bulk strings (the RESP specification, "Sending commands to a Redis server").

use crate::order::decimal;

/// Appends the header of an array of `count` elements; as many calls of [`bulk`] and its kin must follow.
pub fn array_header(out: &mut Vec<u8>, count: usize) {
    length(out, b'*', count);
}

/// Appends one argument.
pub fn bulk(out: &mut Vec<u8>, argument: &[u8]) {
    length(out, b'$', argument.len());
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
}

/// Appends one argument that is spread over several slices, such as a key's name around an identifier.
pub fn bulk_parts(out: &mut Vec<u8>, parts: &[&[u8]]) {
    length(out, b'$', parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one argument: `value` in decimal.
pub fn bulk_number(out: &mut Vec<u8>, value: u64) {
    bulk(out, decimal(value, &mut [0; 20]));
}

/// Appends one whole command.
pub fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    array_header(out, arguments.len());
    for argument in arguments {
        bulk(out, argument);
    }
}

fn length(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    out.extend_from_slice(decimal(length as u64, &mut [0; 20]));
    out.extend_from_slice(b"\r\n");
}

/// Arguments of a call that is still open: encoded as they come, counted, written behind their header when the call
/// leaves. Cleared and used again, so a call costs no allocation once its buffers have grown.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    bytes: Vec<u8>,
    count: usize,
}

impl Arguments {
    /// Adds one argument.
    pub fn push(&mut self, argument: &[u8]) {
        self.count += 1;
        bulk(&mut self.bytes, argument);
    }

    /// Adds one argument that is spread over several slices.
    pub fn push_parts(&mut self, parts: &[&[u8]]) {
        self.count += 1;
        bulk_parts(&mut self.bytes, parts);
    }

    /// Adds one argument: `value` in decimal.
    pub fn push_number(&mut self, value: u64) {
        self.count += 1;
        bulk_number(&mut self.bytes, value);
    }

    /// How many arguments there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many bytes they take on the wire.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends them to a command whose header has counted them.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }

    /// Forgets them, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}
