//! What the shell of one core counts: connections, responses, links. Written by the core alone, read by the core that
//! serves `/metrics` and `/readyz`.

use crate::counters::counter::Counter;

/// Statuses that are counted one by one, ascending; any other is counted as 0, the last.
pub const STATUSES: [u16; 25] = [
    200, 202, 204, 302, 304, 400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 417, 422, 429, 431, 500, 501, 503,
    505, 0,
];

/// Why the edge ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Idle for too long.
    Idle,
    /// The head took too long.
    Head,
    /// The body took too long.
    Body,
    /// The answers were not taken in time.
    Write,
    /// A message was refused after which the framing could not be trusted.
    Refused,
    /// Idle for longest when a newcomer needed its place.
    Displaced,
    /// The handshake of TLS took too long.
    Handshake,
}

/// Names of all reasons, in their order.
pub const ENDED: [&str; 7] =
    ["idle", "head_timeout", "body_timeout", "write_timeout", "refused", "displaced", "handshake_timeout"];

const _: () = assert!(Ended::Handshake as usize + 1 == ENDED.len());

/// What the shell of one core counts.
#[derive(Debug, Default)]
pub struct ShellCounters {
    /// Connections open now, on all listeners of the core.
    pub connections: Counter,
    pub connections_accepted: Counter,
    /// Connections told 503 because the core had no place for them.
    pub connections_refused: Counter,
    /// Accepts that failed: no descriptor, no memory.
    pub accept_errors: Counter,
    /// Requests read.
    pub requests: Counter,
    /// Those of them that were told 429, since their address came too often.
    pub requests_limited: Counter,
    /// Bytes read from clients.
    pub bytes_read: Counter,
    /// Bytes written to clients.
    pub bytes_written: Counter,
    /// Responses, by [`STATUSES`].
    responses: [Counter; STATUSES.len()],
    /// Connections ended by the edge, by [`Ended`].
    pub ended: [Counter; ENDED.len()],
    /// Connections opened to Redis.
    pub redis_connects: Counter,
    /// Connections opened to brokers.
    pub kafka_connects: Counter,
    /// For how long Redis could not be asked, in milliseconds; 0 while it can.
    pub redis_down_ms: Counter,
    /// For how long Kafka took no records, in milliseconds; 0 while it does.
    pub kafka_down_ms: Counter,
    /// 1 once Redis and Kafka have both been reached.
    pub started: Counter,
    /// 1 while the core drains.
    pub draining: Counter,
    /// 1 once the core has ended, however it did.
    pub ended_core: Counter,
}

impl ShellCounters {
    /// One response was written, of this status.
    pub fn response(&self, status: u16) {
        let last = STATUSES.len() - 1;
        self.responses[STATUSES[..last].binary_search(&status).unwrap_or(last)].add(1);
    }

    /// Responses by status, 0 for those that are not in [`STATUSES`].
    pub fn responses(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUSES.iter().zip(&self.responses).map(|(status, count)| (*status, count.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_fall_into_their_places() {
        assert!(STATUSES[..STATUSES.len() - 1].is_sorted(), "the search is a binary one");
        let counters = ShellCounters::default();
        for status in [200, 200, 503, 299] {
            counters.response(status);
        }
        let counted: Vec<_> = counters.responses().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(200, 2), (503, 1), (0, 1)]);
    }
}
