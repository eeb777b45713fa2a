//! Every bound of the Kafka machines, with its unit in its name and its reason beside it.

use std::time::Duration;

/// Longest response where the caller names no other bound, bytes. Metadata of a topic with a thousand partitions and
/// the answer to a produce request are both far below it.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Longest answer to SaslHandshake or SaslAuthenticate, bytes: challenges and error texts are short, and who sends them has not
/// proved anything yet.
pub const SASL_RESPONSE_BYTES_MAX: usize = 64 << 10;

/// Longest frame a client may ask for, bytes: the broker's own `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX: usize = 100 << 20;

/// Requests in flight on one connection. The busiest user (a producer) has five; the rest is metadata.
pub const CONNECTION_REQUESTS_MAX: usize = 64;

/// Brokers a metadata response may name. The largest clusters known have some hundreds.
pub const NODES_MAX: usize = 4096;

/// Partitions a topic may have here. The broker's practical limit is lower; ours is one worker a partition.
pub const PARTITIONS_MAX: usize = 10_000;

/// Longest host name, bytes (RFC 1035 section 2.3.4).
pub const HOST_BYTES_MAX: usize = 255;

/// How long a connection may take to open, and then to shake hands.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Shortest wait before a broker that failed is tried again.
pub const RECONNECT_BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest wait before a broker that failed is tried again.
pub const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Least wait before a broker that has refused our login is tried again: no password becomes right within a moment, and some
/// directories lock who tries too often.
pub const LOGIN_BACKOFF: Duration = Duration::from_secs(2);

/// A refusal that was not met again for so long, while other connections are logged in, is over: a broker that goes on refusing
/// is asked more often than that.
pub const REFUSAL_AGE_MAX: Duration = Duration::from_secs(10);

/// Least time between two metadata requests: leaders move faster than this only while an election runs.
pub const METADATA_GAP: Duration = Duration::from_millis(100);

/// How long a metadata answer may take before its connection is given up.
pub const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// Metadata older than this is asked for again even where nothing failed: that is how added partitions are seen.
pub const METADATA_AGE_MAX: Duration = Duration::from_secs(30);

/// Brokers of whose clocks something is kept until it is taken.
pub const BROKER_TIMES_MAX: usize = 64;

/// A watched connection on which nothing was heard for so long, and nothing is under way, is asked for a sign of life: twice a
/// second, so that a broker that has fallen silent is known about a second later.
pub const PROBE_IDLE: Duration = Duration::from_millis(500);

/// A broker that owes an answer to such a question, or to any other, and says nothing for so long is taken for silent: new
/// records go elsewhere. Far above what a collection of garbage takes it; the connection itself is kept until the question's
/// own timeout.
pub const SILENCE_MAX: Duration = Duration::from_millis(500);

/// Batches of one partition that may be in flight: the broker recognises the last five of a producer when they come again.
pub const BATCHES_IN_FLIGHT_MAX: usize = 5;

/// Largest batch a producer may be told to build, bytes. With one more value on top it stays below `max.message.bytes`,
/// 1 MiB by default.
pub const BATCH_BYTES_MAX: usize = 768 << 10;

/// Longest time between the first and the last record of a batch: only reached while no broker takes batches.
pub const BATCH_SPAN_MAX: Duration = Duration::from_millis(250);

/// Batch buffers kept for reuse. What is above is given back to the allocator.
pub const BATCHES_POOLED_MAX: usize = 32;

/// How often a batch that arrived corrupted is sent again before it is taken apart.
pub const CORRUPT_RETRIES_MAX: u8 = 2;

/// Least bytes of records that a fetch asks for, however many leaders share what may be buffered: below that a broker's
/// work for an answer outweighs what it brings. Eight times as many leaders as answers of full size are asked at once.
pub const FETCH_SHARE_BYTES_MIN: usize = 128 << 10;

/// A partition whose offset is not in the log is asked for again so often: nothing of it is skipped, and a log that an
/// operator has mended needs no restart.
pub const STANDSTILL_RETRY: Duration = Duration::from_secs(10);

/// How often each partition's end is asked for, where no fetch has told it meanwhile.
pub const END_INTERVAL: Duration = Duration::from_secs(5);

/// An end that was told longer ago is not known any more: the lag is then left out, not shown as it was.
pub const END_AGE_MAX: Duration = Duration::from_secs(15);

const _: () = assert!(END_INTERVAL.as_micros() * 2 < END_AGE_MAX.as_micros());
const _: () = assert!(BATCH_BYTES_MAX + super::records::VALUE_BYTES_MAX + 1024 < 1 << 20);
const _: () = assert!(SILENCE_MAX.as_micros() < CONNECT_TIMEOUT.as_micros());
const _: () = assert!(RESPONSE_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(LOGIN_BACKOFF.as_micros() + RECONNECT_BACKOFF_MAX.as_micros() < REFUSAL_AGE_MAX.as_micros());
const _: () = assert!(RECONNECT_BACKOFF_MIN.as_micros() < RECONNECT_BACKOFF_MAX.as_micros());
