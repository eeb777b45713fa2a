//! Bounds of the I/O layer, each with its unit in its name and its reason beside it.

use std::time::Duration;

/// Entries of a ring's submission queue. A full queue is flushed to the kernel, so this bounds a batch, not a load.
pub const RING_SUBMISSION_ENTRIES: u32 = 4096;
/// Entries of a ring's completion queue. At least one for every operation that can be outstanding at once (a
/// connection has one): a queue that overflows makes the kernel refuse to wait, and monoio would spin on that.
pub const RING_COMPLETION_ENTRIES: u32 = 32 * 1024;
/// Connections that wait to be accepted. The kernel caps it at `net.core.somaxconn`, 4,096 by default since 5.4.
pub const BACKLOG_CONNECTIONS: i32 = 4096;
/// How long the kernel keeps a new connection to itself while it says nothing: as long as a head may take.
pub const DEFER_ACCEPT_SECONDS: i32 = 5;
/// What the kernel keeps of answers that an accepted connection's peer has not taken (SO_SNDBUF; it doubles the figure
/// for its own bookkeeping). Left alone it grows it to megabytes, and a thousand clients that never read hold gigabytes.
/// A burst of answers fits.
pub const SEND_BUFFER_BYTES: usize = 16 * 1024;
/// And of requests that nobody has read yet (SO_RCVBUF, doubled likewise): more than one request may be long.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Answers that an accepted connection's peer does not take for this long end it, a connection that has been closed
/// meanwhile too: what is never taken does not stay in the kernel's memory. Longer than the servers' own bounds.
pub const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(15);
/// Unacknowledged bytes on an outgoing connection for this long mean that its peer, or the way to it, is gone. What the
/// kernel holds of them is discarded then. Longer than a PostgreSQL that waits for a lock reads nothing of a COPY.
pub const PEER_SILENCE_MAX: Duration = Duration::from_secs(10);
/// An outgoing connection idle for this long is probed, so that a half-open one is noticed.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// Time between two probes; [`KEEPALIVE_PROBES`] unanswered ones end the connection.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Unanswered probes that end a connection.
pub const KEEPALIVE_PROBES: u32 = 5;
/// Addresses of one name that a connect tries in turn.
pub const ADDRESSES_TRIED_MAX: usize = 8;

const _: () = assert!(RING_COMPLETION_ENTRIES > RING_SUBMISSION_ENTRIES, "the kernel refuses a ring without that");
/// How long a bind waits for a port that is taken; a second instance started by mistake is told then.
pub const BIND_TIME_MAX: Duration = Duration::from_secs(3);
/// Rest between two attempts to bind.
pub const BIND_PAUSE: Duration = Duration::from_millis(20);
/// Room for one read of ciphertext on a connection with TLS; as much is pinned while it is idle.
pub const TLS_READ_BYTES_MIN: usize = 2 * 1024;
/// And after it was found full, again and again twice as much, up to here: some records at once.
pub const TLS_READ_BYTES_MAX: usize = 64 * 1024;
/// Most that is encrypted before it has been written: what a slow peer makes a connection hold, but for what a machine
/// writes at once ([`MACHINE_WRITE_BYTES`]).
pub const TLS_WRITE_BYTES_MAX: usize = 256 * 1024;
/// Bytes taken from a machine before they are sent; a buffer that has grown far beyond is given back.
pub const MACHINE_WRITE_BYTES: usize = 64 * 1024;
