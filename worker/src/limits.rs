//! Every bound of the worker's shell, with its unit in its name and its reason beside it.

use std::time::Duration;

use flux_protocol::ages::PUBLISHED_AGE_MAX;

/// Most orders a batch may be told to hold: more make one COPY longer than a session's statement timeout likes.
pub const BATCH_ORDERS_MAX: usize = 100_000;
/// Most bytes that one batch may hold, whatever its orders: a foreign producer's records can be large.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// Most bytes that all open batches may hold together. Beyond it nothing more is taken until one is stored.
pub const OPEN_BYTES_MAX: usize = 64 << 20;
/// Bytes that compressed records may unpack to before others have their turn: as many as one batch of Kafka's may. That
/// takes some 30 ms, whatever a foreign producer packed; a heartbeat may be late by seconds.
pub const TURN_UNPACKED_BYTES_MAX: usize = flux_protocol::kafka::records_decode::UNPACKED_BYTES_MAX;
/// Shortest `--idempotency-ttl`, as the edge has it.
pub const IDEMPOTENCY_TTL_MIN: Duration = Duration::from_secs(60);
/// Longest `--idempotency-ttl`.
pub const IDEMPOTENCY_TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longest wait for a batch to fill: an order's way to the ledger is not to take longer than a person notices.
pub const BATCH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Bytes of records one fetch brings: some four thousand orders.
pub const FETCH_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes of records fetched ahead of the batches, over all leaders.
pub const FETCH_BUFFERED_BYTES_MAX: usize = 8 << 20;
/// How long a broker waits for a first record before it answers with none.
pub const FETCH_WAIT: Duration = Duration::from_millis(500);

/// A worker that says nothing for so long is out of the group and its partitions are another's. Brokers allow 6 s to 30 min.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Three fit into a session, so that one lost heartbeat costs nothing.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// How long a member may take to store what it has in hand before a rebalance goes on without it.
pub const REBALANCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a worker that is told to end may store what it has in hand; then it leaves the group, which takes 3 s at most
/// ([`flux_protocol::kafka::group`]). What was not stored is still in Kafka.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(6);
/// How long a server may be away before `/readyz` says so.
pub const READY_PATIENCE: Duration = Duration::from_secs(1);

/// How often readiness and gauges are brought up to date.
pub const OBSERVE_INTERVAL: Duration = Duration::from_millis(250);

/// First wait before PostgreSQL is asked again; doubled up to [`RETRY_WAIT_MAX`].
pub const RETRY_WAIT_MIN: Duration = Duration::from_millis(50);
/// Longest wait before PostgreSQL is asked again.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Wait after an error that waiting does not mend: an operator has to, and need not restart the worker then.
pub const FATAL_WAIT: Duration = Duration::from_secs(5);
/// First wait after the tables have refused what they took before; doubled up to [`TABLE_WAIT_MAX`]: each attempt costs
/// the database a batch, and an operator has to mend a table before one succeeds.
pub const TABLE_WAIT_MIN: Duration = Duration::from_millis(500);
/// Longest wait after the tables have refused what they took before: how long a mended table may wait for us.
pub const TABLE_WAIT_MAX: Duration = Duration::from_secs(15);
/// An error that repeats itself is logged again after this time, then after twice as long, and so on.
pub const REPEAT_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Reasons of one outage that are told apart for it; the last place is that of all others.
pub const REPEAT_LOG_REASONS_MAX: usize = 4;
/// Times in a row that a partition is claimed anew because another worker went on with it; then the group is joined
/// anew, for two members believe that they hold it.
pub const FENCED_IN_A_ROW_MAX: u32 = 3;
/// A partition of ours of which nothing has been read for so long, though there may be something, is an alarm. Longer than
/// a leader's move and than what one batch may take at the ledger (`statement_timeout`, 10 s).
pub const UNREAD_PATIENCE: Duration = Duration::from_secs(15);

/// Room made before each read from a broker, bytes.
pub const READ_ROOM_BYTES: usize = 64 << 10;

/// Connections to the admin listener at once, whatever they ask: a scraper, some people, pages that follow an order.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Beside them, those that only probes use: a scraper and a kubelet, some times over.
pub const ADMIN_PROBE_SEATS: usize = 16;
/// And those that only this machine's own probes use.
pub const ADMIN_LOOPBACK_SEATS: usize = 4;
/// How long a request to the admin listener may take from the end of the one before to its own last byte.
pub const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The same in the reserve: a probe asks at once.
pub const ADMIN_PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the ledger may take to answer `GET /order`.
pub const ADMIN_LEDGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions to the ledger that may wait; beyond: 503.
pub const ADMIN_QUESTIONS_MAX: usize = 64;
/// Shortest wait of a rebuild between fence and outbox, and the default: when it is over, no edge's request can carry any
/// more what was reserved before. A second beyond the last of them, for what the network holds.
pub const FENCE_MIN: Duration = Duration::from_secs(15);
/// Longest: a sale stands still meanwhile.
pub const FENCE_MAX: Duration = Duration::from_secs(600);
/// Wait before it is looked again whether the orders' index is there: building it is nothing urgent.
pub const INDEX_RETRY_WAIT: Duration = Duration::from_secs(60);
/// How often a command that takes long says how far it is: a person watches it.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Sales rebuilt together by `--rebuild auto`, behind one fence: each holds a lock in PostgreSQL, whose table of
/// them has some 6,400 places as it ships, and each is suspended until the last of them is fenced. More wait for the next turn.
pub const REBUILDS_TOGETHER_MAX: usize = 1000;
/// How often `flux_units` is read from the ledger.
pub const UNITS_INTERVAL: Duration = Duration::from_secs(1);

/// Products whose account is compared with Redis a second: some 4 µs of Redis each. Where there are more, each comes to its
/// turn, those of which the ledger has news first.
pub const COMPARED_MAX: usize = 500;
/// Products asked about with one write: Redis does it in one go, and others wait that long.
pub const COMPARED_PAGE: usize = 25;

/// Partitions a topic may be created with.
pub const TOPIC_PARTITIONS_MAX: u32 = 10_000;
/// Replicas a topic may be created with.
pub const TOPIC_REPLICAS_MAX: u16 = 32;
/// Bootstrap brokers that may be named.
pub const BOOTSTRAP_BROKERS_MAX: usize = 64;
/// Kafka's own bound on a topic's name, bytes.
pub const TOPIC_BYTES_MAX: usize = 249;
/// Longest group id, bytes. Kafka has no bound; longer ones are a mistake.
pub const GROUP_BYTES_MAX: usize = 249;

const _: () = assert!(BATCH_BYTES_MAX <= OPEN_BYTES_MAX);
const _: () = assert!(0 < COMPARED_PAGE && COMPARED_PAGE <= COMPARED_MAX);
const _: () = assert!(FETCH_ANSWER_BYTES_MAX <= FETCH_BUFFERED_BYTES_MAX);
const _: () = assert!(HEARTBEAT_INTERVAL.as_millis() * 3 <= SESSION_TIMEOUT.as_millis());
const _: () = assert!(RETRY_WAIT_MIN.as_micros() < RETRY_WAIT_MAX.as_micros());
const _: () = assert!(PUBLISHED_AGE_MAX.as_millis() + 1000 <= FENCE_MIN.as_millis());
const _: () = assert!(FENCE_MIN.as_millis() < FENCE_MAX.as_millis());
