//! Rows of a binary `COPY … FROM STDIN`, written by hand into one buffer with its framing.
//!
//! ```text
//! 'd' length | PGCOPY\n\377\r\n\0  flags  extension        one CopyData: signature, then rows,
//!            | columns  length value  length value  …      closed at the first row's end past CHUNK_BYTES
//! 'd' length | columns  …
//! 'd' length | … -1                                         trailer
//! 'c' length                                                CopyDone
//! ```
//!
//! Never checks a row against a table: the server does, and names the line.

use crate::order::Uuid;

/// Signature, no flags, no header extension (PostgreSQL documentation, COPY, "Binary Format").
const SIGNATURE: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A CopyData message is closed at the first row's end past this many bytes: the server copies each into its own
/// buffer before it looks at the rows, and a small one stays in its cache.
const CHUNK_BYTES: usize = 64 << 10;
/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01 UTC.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A COPY under construction. [`CopyRows::finish`] makes it whole; it can be sent more than once.
#[derive(Clone, Debug)]
pub struct CopyRows {
    out: Vec<u8>,
    message_at: usize,
    rows: u64,
    finished: bool,
}

impl Default for CopyRows {
    fn default() -> CopyRows {
        CopyRows::new()
    }
}

impl CopyRows {
    /// No rows yet.
    pub fn new() -> CopyRows {
        CopyRows::with_capacity(0)
    }

    /// No rows yet, with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> CopyRows {
        let mut rows = CopyRows { out: Vec::with_capacity(bytes + 64), message_at: 0, rows: 0, finished: false };
        rows.open_message();
        rows.out.extend_from_slice(SIGNATURE);
        rows
    }

    /// Appends a row of `columns` fields, which `write` must write in the order of the column list.
    pub fn row(&mut self, columns: i16, write: impl FnOnce(&mut Fields<'_>)) {
        assert!(!self.finished, "a finished COPY takes no row");
        if self.out.len() - self.message_at > CHUNK_BYTES {
            self.close_message();
            self.open_message();
        }
        self.out.extend_from_slice(&columns.to_be_bytes());
        let mut fields = Fields { out: &mut self.out, written: 0 };
        write(&mut fields);
        assert_eq!(fields.written, columns, "a row has the fields it announced");
        self.rows += 1;
    }

    /// Appends the trailer and CopyDone. A missing trailer is accepted by the server, so it proves nothing; the row
    /// count in its answer does.
    pub fn finish(&mut self) {
        assert!(!self.finished, "a COPY is finished once");
        self.out.extend_from_slice(&(-1i16).to_be_bytes());
        self.close_message();
        self.out.extend_from_slice(b"c\0\0\0\x04");
        self.finished = true;
    }

    /// How many rows it holds.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The whole sequence of messages, CopyDone included.
    pub fn messages(&self) -> &[u8] {
        assert!(self.finished, "a COPY is sent when it is finished");
        &self.out
    }

    fn open_message(&mut self) {
        self.message_at = self.out.len();
        self.out.extend_from_slice(b"d\0\0\0\0");
    }

    fn close_message(&mut self) {
        let length = self.out.len() - self.message_at - 1;
        let length = i32::try_from(length).expect("a chunk and one row");
        self.out[self.message_at + 1..self.message_at + 5].copy_from_slice(&length.to_be_bytes());
    }
}

/// The fields of one row.
#[derive(Debug)]
pub struct Fields<'a> {
    out: &'a mut Vec<u8>,
    written: i16,
}

impl Fields<'_> {
    /// `text`, `bytea`, or any type whose binary form the caller knows.
    pub fn bytes(&mut self, value: &[u8]) {
        self.out.extend_from_slice(&i32::try_from(value.len()).expect("a Kafka record is far smaller").to_be_bytes());
        self.out.extend_from_slice(value);
        self.written += 1;
    }

    /// NULL.
    pub fn null(&mut self) {
        self.out.extend_from_slice(&(-1i32).to_be_bytes());
        self.written += 1;
    }

    /// `integer`.
    pub fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    /// `bigint`.
    pub fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    /// `uuid`.
    pub fn uuid(&mut self, value: Uuid) {
        self.bytes(&value.0);
    }

    /// `timestamptz` from milliseconds since the Unix epoch. What no timestamp can hold becomes the nearest that fits.
    pub fn timestamp_ms(&mut self, value: i64) {
        // Past these the server would answer 22008; the lower bound is 4713 BC, the upper one the year 294276.
        const EARLIEST: i64 = -211_813_488_000_000_000;
        const LATEST: i64 = 9_223_371_331_199_999_999;
        // From PostgreSQL's epoch on, so that what is beyond 64 bits is beyond the last timestamp, too.
        let micros = value.saturating_sub(EPOCH_MICROS / 1000).saturating_mul(1000).clamp(EARLIEST, LATEST);
        self.i64(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of this one timestamp, µs since PostgreSQL's epoch.
    fn written(ms: i64) -> i64 {
        let mut rows = CopyRows::new();
        rows.row(1, |fields| fields.timestamp_ms(ms));
        let bytes = rows.out.last_chunk().expect("eight bytes");
        i64::from_be_bytes(*bytes)
    }

    #[test]
    fn a_time_that_no_timestamp_holds_becomes_the_nearest_that_fits() {
        assert_eq!(written(EPOCH_MICROS / 1000), 0);
        assert_eq!(written(EPOCH_MICROS / 1000 - 1), -1000);
        for (ms, micros) in [
            (i64::MAX, 9_223_371_331_199_999_999),
            // The latest millisecond before it is one of year 294276 still.
            (9_224_318_016_000_000 - 1, 9_223_371_331_199_999_000),
            (9_224_318_016_000_000, 9_223_371_331_199_999_999),
            (i64::MIN, -211_813_488_000_000_000),
        ] {
            assert_eq!(written(ms), micros, "{ms}");
        }
    }
}
