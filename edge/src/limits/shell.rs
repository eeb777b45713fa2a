//! Every bound of the edge's shell (sockets, tasks, timeouts, configuration), with its unit in its name and its reason
//! beside it. Those of the decisions stand in `limits.rs`.

use std::time::Duration;

use flux_protocol::http::Limits;

// Connections.

/// Connections that one core serves at once. The next one is told 503 and closed.
///
/// An idle one pins a read buffer of [`READ_BUFFER_BYTES`] and a task of about a kilobyte: 50 MB a core at the bound.
/// One that asks and never reads holds for [`WRITE_TIME_MAX`] what it was asked for: about 40 KiB of the edge for the
/// burst's answers ([`BURST_ANSWER_BYTES_MAX`]; 20 KiB more where its next request is long) and 64 KiB of the kernel
/// (`flux_net::limits`). If all did, a core would hold 0.9 GB and the kernel 1 GB for it.
pub const CONNECTIONS_PER_CORE_MAX: usize = 16_000;
/// Descriptors kept back from connections, for the process: standard streams, listeners and timers of admin and waiting
/// room, signals (12 in all); and 8 for name resolution, brokers that `--kafka` does not name, and connections that are
/// accepted only to be told that there is no place.
pub const DESCRIPTORS_RESERVED: usize = 20;
/// For the first core's reading and writing of fences, beside its links for orders: two brokers each, on the way from one to the other.
pub const DESCRIPTORS_RESERVED_FENCES: usize = 4;
/// And for each core: its ring or epoll, listener, doorbell, link to Redis and timers (13 on a ring), and one for the
/// timer of a connect. Each broker that `--kafka` names comes on top.
pub const DESCRIPTORS_RESERVED_PER_CORE: usize = 14;
/// Tasks that accept from one listener on a ring: one pending accept takes one connection a loop turn.
pub const ACCEPT_TASKS: usize = 4;
/// And so many more once clients come, which have no timer: a turn may last 100 ms where all connections have a burst of
/// requests, and with four accepts a turn new clients then waited 15 s in the kernel's queue.
pub const ACCEPT_HELPERS: usize = 60;
/// Connections that one task accepts before it lets all others have their turn.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Rest after an accept that failed for want of descriptors or memory: time for a connection to end.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The last places of a core that a crowd may take, an eighth of them at most: while one of them is taken each newcomer has the
/// connection ended that has been idle for longest, so that the next finds a place. As many as come in one turn.
pub const LAST_PLACES_MAX: usize = 64;
/// Who has been idle for so long may be ended to make room: less is the pause of a client between two requests.
pub const IDLE_TIME_MIN: Duration = Duration::from_secs(1);
/// Idle connections that are looked at for one that is to be ended, where on some a request has just arrived.
pub const IDLE_LOOKED_AT_MAX: usize = 8;
/// Of a core's connections, those that only the admin listener may use, a quarter at most but one in any case: an
/// operator gets in while a crowd does not.
pub const ADMIN_CONNECTIONS_RESERVED: usize = 16;
/// Connections that the admin listener may have at once, half of the core's at most: scrapers, probes, dashboards. Beyond it
/// they are told 503, so that strangers there take no buyer's place.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;

/// What `flux-edge check --within` may be.
pub const CHECK_WITHIN_MIN: Duration = Duration::from_secs(1);
/// Longer than any outage that somebody waits for at a prompt.
pub const CHECK_WITHIN_MAX: Duration = Duration::from_secs(600);

// What stands in front, and how often one caller may come.

/// Networks that `--trusted-proxies` may name: each is looked at for each request that comes by a proxy.
pub const TRUSTED_PROXIES_MAX: usize = 64;
/// Sets of the table that limits callers, a cache line each: 8 MiB, and some 900,000 callers who come more than once in the time
/// in which a bucket fills. That time is bounded ([`THROTTLE_FILL_TIME_MAX`]), and so is what an edge can read in it.
pub const THROTTLE_SETS: usize = 128 << 10;
/// Most requests a second of one caller that a limit may allow.
pub const THROTTLE_RATE_MAX: u64 = 10_000;
/// What one address may ask for at once, where `--address-burst` says nothing.
pub const ADDRESS_BURST: u64 = 20;
/// What one user may order at once, where `--user-burst` says nothing.
pub const USER_BURST: u64 = 5;
/// Longest time in which an empty bucket may fill: a caller is remembered for so long.
pub const THROTTLE_FILL_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest `--cors-headers`, in bytes: it goes into the answer to each preflight.
pub const CORS_HEADERS_BYTES_MAX: usize = 512;

// Reading.

/// A connection's read buffer while nothing large is in it. An idle connection pins it; a request of a browser with
/// its cookies fits.
pub const READ_BUFFER_BYTES: usize = 2 * 1024;
/// What a read buffer may grow to: the most with which a request can still be incomplete, and room for one more read.
pub const READ_BUFFER_BYTES_MAX: usize = Limits::DEFAULT.buffer_bytes_max() + READ_BUFFER_BYTES;
/// The read buffer of a connection that sends more at once: sixteen orders of a script.
pub const WIDE_READ_BUFFER_BYTES: usize = 8 * 1024;
/// Connections of a core that have one at a time: 8 MB.
pub const WIDE_READ_BUFFERS_MAX: usize = 1024;
/// Pipelined requests taken from one connection before their answers leave. More wait in the buffer.
pub const BURST_REQUESTS_MAX: usize = 64;
/// Answers gathered before they are written, where a burst asks for large ones; the next request waits. Some forty hot
/// answers; they double where the last one is a page. This is what an edge keeps for a client that does not read.
pub const BURST_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Spare read buffers and spare write buffers of the usual size that a core keeps, each: 3 MB.
pub const SPARE_BUFFERS_MAX: usize = 1024;
/// Spare buffers that are larger than the usual one, of reading and of writing each, 16 KiB at most: what is in use at once under
/// load, and no more than that after it.
pub const SPARE_LARGE_BUFFERS_MAX: usize = 128;
/// Answers of a burst for which a connection keeps the memory: what a list begins with, and most bursts are one answer.
pub const BURST_KEPT_MAX: usize = 4;
/// Spare lists of answers of a burst, 10 KiB each where bursts are long.
pub const SPARE_BURSTS_MAX: usize = 256;
/// A write buffer that has grown beyond this is freed, not kept: one large page must not stay in memory for good.
pub const SPARE_BUFFER_BYTES_MAX: usize = 16 * 1024;
/// A new write buffer: several hot answers of about 300 bytes.
pub const WRITE_BUFFER_BYTES: usize = 1024;

// Times. All are kept by one coarse ticker a core, so each may take one tick longer.

/// The ticker's step.
pub const CONNECTION_TICK: Duration = Duration::from_millis(250);
/// Connections of one core that are a crowd: when half of one has left, the memory that it took is given back. Fewer take
/// hardly 2 MiB, however much they ask for.
pub const CROWD_CONNECTIONS_MIN: usize = 64;
/// Ticks for which they must have left: a crowd that comes back within two seconds wants its memory again.
pub const CROWD_LEFT_TICKS: u32 = 8;
/// From the first byte of a head to its last: nginx gives 60 s, a slow-loris needs less than that to hurt.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// A client's part of a TLS handshake: two round trips, and what it computes.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// From the end of the head to the end of the body: 4 KiB at most.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(5);
/// The answers of one burst must be taken within this.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a refused sender is listened to after the answer, so that the answer is not lost to a reset (RFC 9112
/// section 9.6).
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
/// And how many bytes of it are thrown away.
pub const LINGER_BYTES_MAX: usize = 256 * 1024;

// Links to Redis and Kafka.

/// A connect, name resolution included. Longer than a SYN sent again takes (1 s).
pub const LINK_CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Rest before the first reconnect to Redis; doubles, with jitter, up to [`LINK_BACKOFF_MAX`].
pub const LINK_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest rest between two attempts.
pub const LINK_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Room offered to one read of a link: Redis writes 64 KiB at once, and an acknowledgement is small.
pub const LINK_READ_BYTES: usize = 32 * 1024;

// Turns.

/// When a machine's deadline has passed and it could do nothing about it, it is asked again after this: often enough
/// to be prompt, seldom enough to cost nothing.
pub const OVERDUE_STEP: Duration = Duration::from_millis(1);

// Readiness.

/// Redis out of reach for this long makes `/readyz` say 503, and Kafka `/readyz?deep`.
pub const READY_OUTAGE_MAX: Duration = Duration::from_secs(1);

// The dashboard.

/// From one sample of its history to the next: its plots are a few hundred pixels wide for five minutes.
pub const HISTORY_INTERVAL: Duration = Duration::from_secs(5);
/// Samples kept: the plots' five minutes, and the ten seconds over which their first quantile is taken. Below 4 KiB each.
pub const HISTORY_SAMPLES_MAX: usize = 64;
/// Products whose stock is plotted, and those whose line is: no more colours can be told apart.
pub const PLOTTED_PRODUCTS_MAX: usize = 8;
/// The figures of a product are looked at every second; older ones are not told as if they were now.
pub const GAUGE_AGE_MAX: Duration = Duration::from_secs(5);

// Watching the workers.

/// How often a worker is asked: as often as the page is drawn anew.
pub const WORKER_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time of each step of a question to a worker: connecting, sending, the head of its answer, the body. Then it is
/// given up until the next time.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(1);
/// What a worker said is believed for so long: some attempts may fail.
pub const WORKER_SILENCE_MAX: Duration = Duration::from_secs(5);
/// Longest answer that is read of a worker, in bytes: some 10,000 products.
pub const WORKER_ANSWER_BYTES_MAX: u64 = 8 << 20;

// Configuration.

/// Most workers that `--workers` names: each is watched by a thread.
pub const WORKERS_MAX: usize = 64;

/// Shortest `--idempotency-ttl`: far above the relay's horizon, so that no record dies before its outbox entry.
pub const IDEMPOTENCY_TTL_MIN: Duration = Duration::from_secs(60);
/// Longest `--idempotency-ttl`.
pub const IDEMPOTENCY_TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Shortest deadline: below a millisecond only 503 and 202 would be answered.
pub const DEADLINE_MIN: Duration = Duration::from_millis(1);
/// Longest `--redis-deadline` and `--publish-deadline`: what was reserved more than 10 s ago is published by the
/// relay only, so there is nothing to wait for after that.
pub const DEADLINE_MAX: Duration = Duration::from_secs(10);
/// Shortest `--keep-alive`: below a second a client has hardly read the answer.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
/// Longest `--keep-alive`: what balancers keep at most.
pub const KEEP_ALIVE_MAX: Duration = Duration::from_secs(3600);
/// How long connections that have begun are waited for before a listener is closed: the round trip that brings a client's
/// request after its SYN.
pub const LAST_ACCEPTS_PAUSE: Duration = Duration::from_millis(300);
/// And so many times, where some still wait to be accepted.
pub const LAST_ACCEPTS_PAUSES_MAX: u32 = 5;
/// Longest `--drain-delay`: ten checks of a slow balancer.
pub const DRAIN_DELAY_MAX: Duration = Duration::from_secs(600);
/// Longest `--jwt-leeway`.
pub const JWT_LEEWAY_MAX: Duration = Duration::from_secs(600);
/// Longest `--drain-deadline`.
pub const DRAIN_DEADLINE_MAX: Duration = Duration::from_secs(600);
/// Most orders per second that `--rate` takes.
pub const RATE_MAX: u64 = 1_000_000_000;
/// Most orders that `--burst` takes.
pub const BURST_MAX: u64 = 1_000_000_000;
/// Smallest burst of any limit: the bucket must hold a whole token beside the one that is being taken.
pub const BURST_MIN: u64 = 2;
/// A burst is at least this part of the rate: below a hundredth of a second leases would live too short to be used.
pub const BURST_PER_RATE: u64 = 100;
/// Most undelivered orders of a product that `--outbox-orders-max` allows.
pub const OUTBOX_ORDERS_MAX: u64 = 100_000_000;
/// Longest admin token, in bytes: it must fit a request's head beside everything else.
pub const ADMIN_TOKEN_BYTES_MAX: usize = 1024;
/// Most bootstrap brokers.
pub const BOOTSTRAP_BROKERS_MAX: usize = 64;
/// Longest name of a Kafka topic, in bytes (Kafka's own bound).
pub const TOPIC_BYTES_MAX: usize = 249;
/// Longest `--waiting-room-url` and `--cors-origin`, in bytes: each goes into a header of most answers.
pub const URL_BYTES_MAX: usize = 512;
/// Longest `--brand-name`, in characters: it stands in one line of a phone's screen.
pub const BRAND_NAME_CHARS_MAX: usize = 40;
/// Largest `--brand-logo`, in bytes: a crowd loads it with the pages, which are smaller together.
pub const BRAND_LOGO_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(READ_BUFFER_BYTES < READ_BUFFER_BYTES_MAX && WIDE_READ_BUFFER_BYTES < READ_BUFFER_BYTES_MAX);
const _: () = assert!(
    CONNECTIONS_PER_CORE_MAX * 2 <= flux_net::limits::RING_COMPLETION_ENTRIES as usize,
    "one operation a connection and its close must fit a ring's completion queue"
);
const _: () = assert!(
    WRITE_TIME_MAX.as_millis() + CONNECTION_TICK.as_millis() < flux_net::limits::UNTAKEN_TIME_MAX.as_millis(),
    "the edge ends a client that takes no answers, and counts it, before the kernel does"
);
const _: () = assert!(THROTTLE_SETS.is_power_of_two(), "every set is as likely");
const _: () = assert!(LINK_BACKOFF_MIN.as_millis() < LINK_BACKOFF_MAX.as_millis());
