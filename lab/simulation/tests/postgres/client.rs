//! What the fake and the real server are asked, and how they answer.

use flux_protocol::postgres::{CopyRows, Event, Param, Row, ServerError, Session, TransactionStatus};

/// One statement.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its file, or its text where it is no file.
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) params: Vec<Param>,
    pub(crate) copy: Option<CopyRows>,
}

/// Where PostgreSQL promises no order of its rows, or the fake's clock shows.
const UNORDERED: [&str; 10] = [
    "fetch",
    "known_orders",
    "known_rejected",
    "audit_settled",
    "pending_returns",
    "stray_returns",
    "over_returns",
    "audit_returns",
    "known_topics",
    "stored_offsets",
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Rows counted, and rows read, of each statement that was carried out.
    pub(crate) completed: Vec<(u64, Vec<Vec<Option<String>>>)>,
    /// SQLSTATE, constraint, table, message.
    pub(crate) failed: Option<(String, String, String, String)>,
    pub(crate) status: Option<TransactionStatus>,
    /// Why the connection is over.
    pub(crate) ended: Option<String>,
}

/// A server with several connections to it.
pub(crate) trait Server {
    fn connect(&mut self) -> usize;
    /// Sends statements and a sync.
    fn send(&mut self, client: usize, run: &[Asked]);
    /// Whether there is no answer for a while.
    fn is_silent(&mut self, client: usize) -> bool;
    /// Waits for the answer to what was sent last.
    fn answer(&mut self, client: usize) -> Answer;
    /// The tables' lines, sorted.
    fn tables(&mut self) -> Vec<String>;

    fn ask(&mut self, client: usize, run: &[Asked]) -> Answer {
        self.send(client, run);
        self.answer(client)
    }
}

/// An answer as it comes together.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    run: Vec<Asked>,
    rows: Vec<Row>,
    answer: Answer,
}

impl Collector {
    pub(crate) fn begin(&mut self, run: &[Asked]) {
        *self = Collector { run: run.to_vec(), ..Collector::default() };
    }

    /// True: the answer is whole.
    pub(crate) fn take(&mut self, session: &mut Session) -> bool {
        while let Some(event) = session.poll_event() {
            match event {
                Event::Ready { server_version } => {
                    assert_eq!(server_version / 10_000, 15);
                    return true;
                }
                Event::Row(row) => self.rows.push(row),
                Event::Complete { rows } => {
                    let name = self.run.get(self.answer.completed.len()).map_or("", |asked| asked.name);
                    self.answer.completed.push((rows, readable(name, std::mem::take(&mut self.rows))));
                }
                Event::Failed(error) => self.answer.failed = Some(failure(&error)),
                Event::Synced(status) => {
                    self.answer.status = Some(status);
                    return true;
                }
                Event::Notice(_) => {}
            }
        }
        false
    }

    pub(crate) fn end(&mut self, why: String) {
        self.answer.ended = Some(why);
    }

    pub(crate) fn answer(&self) -> Answer {
        self.answer.clone()
    }
}

fn failure(error: &ServerError) -> (String, String, String, String) {
    (error.code.as_str().to_owned(), error.constraint.clone(), error.table.clone(), error.message.clone())
}

fn readable(name: &str, rows: Vec<Row>) -> Vec<Vec<Option<String>>> {
    let texts = |row: &Row| row.texts().map(|text| text.map(str::to_owned)).collect();
    let mut rows: Vec<Vec<Option<String>>> = rows.iter().map(texts).collect();
    if UNORDERED.contains(&name) {
        rows.sort();
    }
    rows
}
