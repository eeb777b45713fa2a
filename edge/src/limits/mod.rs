//! Every bound of the edge, its unit in its name and its reason beside it.

pub mod shell;

use std::time::Duration;

use flux_protocol::ages::PUBLISHED_AGE_MAX;

/// Orders in one reserve call: at 64 Redis' cost per order has flattened, and a call still fits one read of Redis.
pub const CALL_ORDERS_MAX: usize = 64;
/// Orders of one product under way beyond which further ones stand in a line of their own: some four calls' worth, so that an
/// order of another product stands behind about half a millisecond of Redis, however many want the one.
pub const ORDERS_IN_LINE_TOGETHER_MAX: usize = 4 * CALL_ORDERS_MAX;
/// Places of each reserve call that are theirs first.
pub const CROWD_PLACES_MIN: usize = CALL_ORDERS_MAX / 4;
/// Reserve calls on their way: two keep Redis busy while a reply travels; more make the batches smaller.
pub const CALLS_OUTSTANDING_MAX: usize = 2;
/// Orders of one look-up of records while their sales are remembered as sold out: some 0.3 ms of Redis.
pub const LOOKUP_RECORDS_MAX: usize = 512;
/// Sales of one look-up, and products of one question for statuses: each costs Redis some 5 µs, a proof of trust.
pub const GATHERED_SALES_MAX: usize = 32;
/// Look-ups on their way.
pub const LOOKUPS_OUTSTANDING_MAX: usize = 2;
/// Orders that must wait for a look-up to be begun while another is on its way: smaller ones wake Redis more often than they
/// save time.
pub const LOOKUPS_GATHERED_MIN: usize = 32;
/// Orders in line for a look-up; beyond: 503. Some ten calls' worth, a few milliseconds of Redis.
pub const LOOKUPS_WAITING_MAX: usize = 8192;
/// Orders under way on one core, about 300 bytes each: more than its connections can ask for at once without pipelining.
pub const ORDERS_PENDING_MAX: usize = 32 << 10;
/// Ids of one question for statuses: some 0.3 ms of Redis.
pub const STATUS_IDS_MAX: usize = 512;
/// Questions for statuses on their way: while one is, the next one gathers.
pub const STATUS_CALLS_MAX: usize = 1;
/// Requests for statuses in line on one core; beyond: 429. Some thirty calls' worth, about 10 ms of Redis.
pub const STATUSES_WAITING_MAX: usize = 16 << 10;
/// Calls for tokens and for the status of queues on their way, each of another product: some 0.1 ms of Redis.
pub const LEASES_OUTSTANDING_MAX: usize = 16;
/// Questions for documents of `GET /queue` on their way, each of another product.
pub const QUEUES_OUTSTANDING_MAX: usize = 4;
/// Requests that may wait for one order: 1,000 parallel repeats of one key are a case we promise.
pub const WAITERS_PER_ORDER_MAX: usize = 4096;
/// Requests that may wait for one refresh of a product's stock.
pub const STOCK_WAITERS_MAX: usize = 16 << 10;
/// Products in one core's memory. Where more are asked for, those leave that no request asks for.
pub const PRODUCTS_MAX: usize = 100_000;
/// A product that no request has named for so long may leave a core's memory; it is asked for again when it is needed.
/// Longer than anything that is done for a request.
pub const PRODUCT_IDLE_MIN: Duration = Duration::from_secs(60);
/// Places looked at for one product that may leave, when a full table is to take another.
pub const PRODUCTS_SWEPT_MAX: usize = 256;
/// How long a product that has left keeps its place: a call that names it has been answered or given up long before.
pub const LEFT_PRODUCT_KEPT: Duration = Duration::from_secs(30);
/// Products that have left and keep their place: some 500 a second may leave.
pub const LEFT_PRODUCTS_MAX: usize = 16 << 10;
/// How often a core notes that a product is asked for.
pub const ASKED_NOTED_EVERY: Duration = Duration::from_millis(250);
/// A product is looked at every second for so long after it was last asked for.
pub const ACTIVE_SPAN: Duration = Duration::from_secs(10);
/// Products shown by name in `/metrics`: first the latest whose sales are not closed.
pub const PRODUCT_GAUGES_MAX: usize = 1000;
/// Where there are more, so many places are looked through once a second to find those: some 0.5 ms.
pub const PRODUCT_GAUGE_PLACES_MAX: usize = 10_000;
/// Names remembered as unknown; they are forgotten after [`UNKNOWN_REMEMBERED`].
pub const UNKNOWN_NAMES_MAX: usize = 4096;
/// How long a name is remembered as unknown (SPEC: Data).
pub const UNKNOWN_REMEMBERED: Duration = Duration::from_millis(100);
/// Names asked for in one call; one such call is outstanding at a time.
pub const DISCOVER_NAMES_MAX: usize = 64;
/// Such questions on their way: the refresh, or whether there is a registry.
pub const DISCOVER_CALLS_MAX: usize = 1;
/// Requests that may wait until an unknown name was asked for; beyond: 503.
pub const DISCOVER_WAITERS_MAX: usize = 4096;
/// Topics of others that are named in the log, once each.
pub const FOREIGN_TOPICS_MAX: usize = 16;
/// Names put back into the registry at once; the rest a second later.
pub const REGISTRY_NAMES_MAX: usize = 1024;
/// How often the registry is read from its beginning: a product that is asked for is found without it, and an outbox that its
/// edge has left behind is due after some seconds only.
pub const REGISTRY_INTERVAL: Duration = Duration::from_secs(4);
/// Names of one page of the registry: some 0.1 ms of Redis.
pub const REGISTRY_PAGE_NAMES: usize = 256;
/// Pages of the registry that are read each second, where all that they name is in memory already.
pub const REGISTRY_PAGES_MAX: usize = 8;
/// Names that Redis is asked each second whether they are still needed: some 10 ms of Redis.
pub const REGISTRY_DOUBTS_MAX: usize = 1024;
/// Names that are needed, not in memory, and looked at each second: some 8 ms of Redis.
pub const REGISTRY_SURVEYS_MAX: usize = 256;
/// Longest page of the registry that is taken, in names: a set of up to `set-max-listpack-entries` comes whole.
pub const REGISTRY_PAGE_NAMES_MAX: usize = 16 << 10;
/// Products in one refresh: some 0.5 ms of Redis, for which all other calls wait.
pub const REFRESH_PRODUCTS_MAX: usize = 16;
/// Refreshes on their way: while one is, the next gathers what is asked for.
pub const REFRESHES_OUTSTANDING_MAX: usize = 2;
/// Products that no request asks for and that are looked at in one round all the same; the others have their turn in
/// the next. Some 15 ms of Redis a second.
pub const REFRESHES_IDLE_MAX: usize = 512;
/// Places of the table that are looked through in one round for products whose turn it is.
pub const PLACES_WALKED_MAX: usize = 4096;
/// How often a closed sale is looked at that no request asks for.
pub const CLOSED_REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Harmless changes of Redis' history that one connection remembers.
pub const WITNESSED_IDS_MAX: usize = 4;
/// How long a sold-out is remembered without asking (SPEC: units may come back).
pub const SOLD_OUT_REMEMBERED: Duration = Duration::from_millis(100);
/// Callers that one core turns away in a second without effort: some 60 ms of its processor. Where more come, `retry-after` grows.
pub const TURNED_AWAY_MAX: u32 = 8192;
/// Longest `retry-after`, in seconds: a sale is over within minutes, and who is asked to wait must not sleep through it.
pub const RETRY_AFTER_SECONDS_MAX: u32 = 32;
/// How old an answer of `GET /stock` may be.
pub const STOCK_AGE_MAX: Duration = Duration::from_millis(100);
/// How old the document of `GET /queue` may be when an edge gives it away. A cache may keep it for a second after that, and a
/// called visitor is waited for little longer than two (`queue::limits::PATIENCE_US`).
pub const QUEUE_AGE_MAX: Duration = Duration::from_millis(250);
/// How often a product that is asked for is looked at, the registry read, and Redis asked who it is: edges notice a distrusted
/// Redis within a second.
pub const REFRESH_INTERVAL: Duration = Duration::from_millis(900);
/// How often each connection to Redis is asked for a sign of life: an outage shows about a second after it began, and 16 cores
/// cost Redis some 0.02 % of a processor for it.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// A call that has waited for so long says that Redis is out of reach, though its connection stands: longer than any script of
/// ours takes it, and half of what `/readyz` allows.
pub const REDIS_SILENCE_MAX: Duration = Duration::from_millis(500);
/// Brokers whose clocks are remembered.
pub const BROKER_CLOCKS_MAX: usize = 64;
/// A clock that is further off than this from Redis' or a broker's is warned of.
pub const CLOCK_SKEW_MAX_MS: u64 = 1000;
/// A refresh older than this no longer vouches for the connection it came by (docs/decisions.md: harmless changes).
pub const GOOD_REFRESH_AGE_MAX: Duration = Duration::from_secs(1);
/// Longest life of a lease of tokens.
pub const LEASE_LIFE_MAX: Duration = Duration::from_millis(200);
/// A lease is sized to the orders expected within this span: a few round trips to Redis under load.
pub const LEASE_HORIZON: Duration = Duration::from_millis(10);
/// A stream of orders that has brought none for so long has ended: no more tokens are asked for ahead of it. Well above the
/// pauses of one core among many; a line takes back what it counted wrongly 1.5 s after the bucket was last found empty.
pub const STREAM_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Tokens of one lease.
pub const LEASE_TOKENS_MAX: u64 = 100_000;
/// Orders of one product that may wait for tokens, and that may wait for its queue's status; beyond: 302, as if none had been
/// granted, and 503.
pub const TOKEN_WAITERS_MAX: usize = 8192;
/// One write to Redis: a call of the longest identifiers, about what Redis reads in one event. Nothing more is begun
/// once so much waits.
pub const REDIS_WRITE_BYTES_MAX: usize = 20 << 10;
/// How often a call is written whose script Redis does not know: it is loaded each time, and an operator may flush it
/// again.
pub const SCRIPT_CALL_TRIES_MAX: u32 = 3;
/// Buffers kept for calls of scripts, one write's worth each at most twice over: as many as are on their way under load.
pub const SPARE_CALLS_MAX: usize = 32;
/// A call that has not been answered for so long says that the connection is half open or Redis stopped.
pub const REDIS_REPLY_OVERDUE: Duration = Duration::from_secs(3);
/// Nothing reserved longer ago than this is published from memory: a rebuild may have looked since (its fence waits for
/// longer than [`PUBLISHED_AGE_MAX`]).
pub const RESERVED_AGE_MAX: Duration = Duration::from_secs(10);
/// Longest that the producer holds a record: what is left of [`RESERVED_AGE_MAX`] is for the reply of Redis.
pub const RECORD_AGE_MAX: Duration = Duration::from_secs(6);
/// Longest that a produce request may take.
pub const PRODUCE_TIME_MAX: Duration = Duration::from_secs(4);
/// How long the kernel holds records for a broker that acknowledges nothing, should this process be stopped meanwhile.
pub const KAFKA_SILENCE_MAX: Duration = Duration::from_secs(4);
/// An acknowledged outbox entry is deleted with the next reserve call, or after this.
pub const REMOVAL_DELAY_MAX: Duration = Duration::from_millis(5);
/// Entries of one XDEL.
pub const REMOVAL_ENTRIES_MAX: usize = 512;
/// Beyond the publish deadline, how long an outbox entry stands before the relay takes it.
pub const RELAY_HORIZON_EXTRA: Duration = Duration::from_secs(5);
/// How long a relay's claim keeps others away.
pub const RELAY_CLAIM: Duration = Duration::from_secs(15);
/// Entries leased by one relay call.
pub const RELAY_ENTRIES_MAX: usize = 64;
/// Entries that one relay has claimed and not delivered yet: a quarter of the producer's places, so that a long
/// outage's harvest does not crowd out the orders of the day.
pub const RELAY_ENTRIES_IN_HAND_MAX: usize = RECORDS_MAX / 4 / CALL_ORDERS_MAX;
/// Walks of a product's outbox in a row that find nothing to hand out before the relay rests until the next refresh: 8,000 entries
/// that others hold, or that have nowhere to go, are passed in a second, for a few milliseconds of Redis.
pub const RELAY_EMPTY_WALKS_MAX: u32 = 8;
/// Operations of the admin listener under way.
pub const OPERATIONS_MAX: usize = 64;
/// The coarse ticker behind deadlines.
pub const DEADLINE_TICK: Duration = Duration::from_millis(10);
/// Records with the producer of one core: some 16 MiB.
pub const RECORDS_MAX: usize = 64 << 10;
/// How long records gather for one produce request.
pub const LINGER: Duration = Duration::from_micros(500);
/// One record batch.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// Produce requests in flight to one broker.
pub const PRODUCE_IN_FLIGHT_MAX: usize = 5;

const _: () = assert!(CALL_ORDERS_MAX * 312 < REDIS_WRITE_BYTES_MAX, "a record key of 122 bytes, arguments of 186");
const _: () = assert!(LEFT_PRODUCT_KEPT.as_millis() > 2 * RESERVED_AGE_MAX.as_millis());
const _: () = assert!(REFRESHES_IDLE_MAX.is_multiple_of(REFRESH_PRODUCTS_MAX));
const _: () = assert!(ORDERS_PENDING_MAX <= RECORDS_MAX, "an order under way always finds room with the producer");
// A record's last request leaves before it is so old; then the request, or the kernel that finds no way for it, gives up.
const _: () = assert!(RESERVED_AGE_MAX.as_millis() + PRODUCE_TIME_MAX.as_millis() <= PUBLISHED_AGE_MAX.as_millis());
const _: () = assert!(RESERVED_AGE_MAX.as_millis() + KAFKA_SILENCE_MAX.as_millis() <= PUBLISHED_AGE_MAX.as_millis());
const _: () = assert!(RECORD_AGE_MAX.as_millis() + REDIS_REPLY_OVERDUE.as_millis() < RESERVED_AGE_MAX.as_millis());
const _: () = assert!(REDIS_SILENCE_MAX.as_millis() < REDIS_REPLY_OVERDUE.as_millis());
const _: () = assert!(REDIS_REPLY_OVERDUE.as_millis() < RESERVED_AGE_MAX.as_millis());
/// What a relay was handed leaves the process before its claim runs out, and before a rebuild believes it has.
const RELAYED_AGE_MAX: Duration = Duration::from_millis(
    (REDIS_REPLY_OVERDUE.as_millis() + RECORD_AGE_MAX.as_millis() + PRODUCE_TIME_MAX.as_millis()) as u64,
);
const _: () = assert!(RELAYED_AGE_MAX.as_millis() < RELAY_CLAIM.as_millis());
const _: () = assert!(RELAYED_AGE_MAX.as_millis() <= PUBLISHED_AGE_MAX.as_millis());
const _: () = assert!(RELAY_CLAIM.as_millis() <= 60_000, "relay.lua takes a longer claim for one of another clock");
const _: () = assert!(RELAY_ENTRIES_MAX <= RELAY_ENTRIES_IN_HAND_MAX);
