//! One row of an answer, every value in PostgreSQL's text format.
//!
//! Never guesses a type: a value is the text that the server sent, and reading it as a number can fail.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use bytes::Bytes;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::DataRowBody;
use smallvec::SmallVec;

use super::wire::WireError;

/// A DataRow. Columns are counted from 0.
#[derive(Clone)]
pub struct Row {
    bytes: Bytes,
    columns: SmallVec<[Option<Range<usize>>; 8]>,
}

impl Row {
    pub(super) fn read(body: &DataRowBody) -> Result<Row, WireError> {
        let columns = body.ranges().collect::<Vec<_>>().map_err(|_| WireError::Malformed("DataRow"))?;
        let bytes = body.buffer_bytes().clone();
        for range in columns.iter().flatten() {
            std::str::from_utf8(&bytes[range.clone()]).map_err(|_| WireError::Malformed("text in DataRow"))?;
        }
        Ok(Row { bytes, columns: columns.into() })
    }

    /// A row made up, for the tests of those who read rows.
    pub fn of(values: &[Option<&str>]) -> Row {
        let mut bytes = Vec::new();
        let columns = values
            .iter()
            .map(|value| {
                value.map(|value| {
                    let start = bytes.len();
                    bytes.extend_from_slice(value.as_bytes());
                    start..bytes.len()
                })
            })
            .collect();
        Row { bytes: bytes.into(), columns }
    }

    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether it has no column, as a row of `SELECT` alone.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The text of a column; `None` where it is NULL or there is no such column.
    pub fn text(&self, column: usize) -> Option<&str> {
        let range = self.columns.get(column)?.clone()?;
        Some(std::str::from_utf8(&self.bytes[range]).expect("checked when it was read"))
    }

    /// A column's text read as `T`: `i64`, `bool` is not among them (PostgreSQL writes `t` and `f`). `None` where it is
    /// NULL, missing or not a `T`.
    pub fn get<T: FromStr>(&self, column: usize) -> Option<T> {
        self.text(column)?.parse().ok()
    }

    /// Its values in order.
    pub fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        (0..self.len()).map(|column| self.text(column))
    }

    /// Bytes it keeps in memory.
    pub fn bytes_held(&self) -> usize {
        self.bytes.len() + size_of::<Row>()
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.texts().eq(other.texts())
    }
}

impl Eq for Row {}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}
