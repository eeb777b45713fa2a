//! The command line: every flag with its environment variable, unit and default. A flag wins over the variable. Flags that tell a
//! rebuild what to do to one sale have no variable: one that is left behind would do it to the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use flux_net::flags::links::LinkArguments;
use flux_net::secrets::kafka_login::KafkaLogin;

use crate::opening::Queue;

/// Flux-Gate's worker: brings accepted orders from Kafka into PostgreSQL, each exactly once.
#[derive(Clone, Debug, Parser)]
#[command(name = "flux-worker", version, max_term_width = 100)]
#[command(
    after_help = "Without a command it consumes until SIGTERM: it migrates its database, creates the topic if it is \
    missing, joins the group, stores orders. Servers that are not there yet are waited for. Files of secrets are read anew on \
    SIGHUP. RUST_LOG sets what is logged \
    (default: info). Logs go to standard error, as text on a terminal and as JSON otherwise. A mistake in the \
    configuration is one line on standard error and exit code 2."
)]
pub struct Arguments {
    /// What to do instead of consuming
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Kafka bootstrap brokers, a comma between them
    #[arg(long, env = "FLUX_KAFKA", value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub kafka: String,

    #[command(flatten)]
    pub kafka_login: KafkaLogin,

    /// Topic that orders are read from; created if it is missing
    #[arg(long, env = "FLUX_TOPIC", value_name = "NAME", default_value = "orders")]
    pub topic: String,

    /// Redis, for units that go back to the stock: redis://[user:password@]host:port[/db], rediss://… for TLS, or
    /// redis+unix:///path
    #[arg(
        long,
        env = "FLUX_REDIS",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub redis: String,

    /// A file that holds Redis' password, where the URL has none; read anew on SIGHUP
    #[arg(long, env = "FLUX_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// Consumer group; all workers of one ledger are in one group, and a group reads one topic
    #[arg(long, env = "FLUX_GROUP", value_name = "NAME", default_value = "flux-worker")]
    pub group: String,

    /// PostgreSQL: postgres://user:password@host:port/db, ?host=/socket/dir for a Unix socket, passfile=FILE for libpq's
    /// password file (else what PGPASSFILE names)
    #[arg(
        long,
        env = "FLUX_POSTGRES",
        value_name = "URL",
        default_value = "postgres://postgres@127.0.0.1/flux",
        hide_env_values = true
    )]
    pub postgres: String,

    /// A file that holds PostgreSQL's password, where the URL has none; read anew on SIGHUP
    #[arg(long, env = "FLUX_POSTGRES_PASSWORD_FILE", value_name = "FILE")]
    pub postgres_password_file: Option<PathBuf>,

    /// Orders that a batch holds at most; one COPY each (1 to 100000)
    #[arg(long, env = "FLUX_BATCH_ORDERS", value_name = "ORDERS", default_value_t = 5_000)]
    pub batch_orders: usize,

    /// How long a batch that is not full waits for more orders (0s to 10s)
    #[arg(
        long,
        env = "FLUX_BATCH_WAIT",
        value_name = "TIME",
        default_value = "20ms",
        value_parser = humantime::parse_duration
    )]
    pub batch_wait: Duration,

    /// Admin listener: /livez, /readyz, /metrics and GET /order/{product}/{order} from the ledger
    #[arg(long, env = "FLUX_WORKER_ADMIN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3002")]
    pub worker_admin: SocketAddr,

    /// Whether a suspended sale is rebuilt by itself: `auto`, where its Redis was restarted and no look ever saw a replica;
    /// else it is left to `flux-worker rebuild`
    #[arg(long, env = "FLUX_REBUILD", value_name = "off|auto", default_value = "off")]
    pub rebuild: RebuildMode,

    /// Whether a sale with more units left than the ledger leaves is suspended, until `flux-worker rebuild` has proved its
    /// stock
    #[arg(long, env = "FLUX_SUSPEND_ON_BREACH", value_name = "on|off", default_value = "on")]
    pub suspend_on_breach: Switch,

    /// How old orders may be whose records a rebuild writes: what the edges are told (60s to 366d)
    #[arg(
        long,
        env = "FLUX_IDEMPOTENCY_TTL",
        value_name = "TIME",
        default_value = "24h",
        value_parser = humantime::parse_duration
    )]
    pub idempotency_ttl: Duration,

    /// Partitions of the topic where it is created (1 to 10000); as many workers can share the work
    #[arg(long, env = "FLUX_TOPIC_PARTITIONS", value_name = "PARTITIONS", default_value_t = 4)]
    pub topic_partitions: u32,

    /// Replicas of each partition where the topic is created (1 to 32); min.insync.replicas becomes one less, at least 1
    #[arg(long, env = "FLUX_TOPIC_REPLICAS", value_name = "REPLICAS", default_value_t = 1)]
    pub topic_replicas: u16,

    #[command(flatten)]
    pub links: LinkArguments,
}

/// Whether a suspended sale is rebuilt without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RebuildMode {
    /// Never.
    Off,
    /// Where it is certain that no replica ever served.
    Auto,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// One-shot commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print the conservation account of each sale over Redis, topic and PostgreSQL. Exit code 0: it holds; 1: it does
    /// not; 3: a server could not be asked
    Audit(AuditArguments),
    /// Prove a suspended sale's stock from the ledger and open it again. Exit code 0: done; 1: refused; 3: a server
    /// could not be asked
    Rebuild(RebuildArguments),
    /// Show the records that were set aside, or store them once what was in their way is mended. Exit code 0: done; 1: some
    /// were refused again; 3: PostgreSQL could not be asked
    DeadLetters(DeadLettersArguments),
}

/// What to do with dead letters.
#[derive(Clone, Debug, Args)]
pub struct DeadLettersArguments {
    /// What to do
    #[arg(value_enum)]
    pub action: DeadLettersAction,

    /// One product [default: all]
    #[arg(long, env = "FLUX_PRODUCT", value_name = "PRODUCT")]
    pub product: Option<String>,
}

/// What to do with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeadLettersAction {
    /// Print them: topic, partition, offset, when, product, whether it can be replayed, why
    List,
    /// Store those that are records of ours, each exactly once
    Replay,
}

/// What to audit.
#[derive(Clone, Debug, Args)]
pub struct AuditArguments {
    /// One product [default: all]
    #[arg(long, env = "FLUX_PRODUCT", value_name = "PRODUCT")]
    pub product: Option<String>,
}

/// What to rebuild.
#[derive(Clone, Debug, Args)]
pub struct RebuildArguments {
    /// The product whose sale is suspended
    #[arg(long, env = "FLUX_PRODUCT", value_name = "PRODUCT")]
    pub product: String,

    /// How long to wait until no edge publishes what it had reserved before (15s to 10min)
    #[arg(long, env = "FLUX_FENCE", value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    pub fence: Duration,

    /// The sale has noted that its Redis had a replica: the old master will not come back with what it knew
    #[arg(long, env = "FLUX_OLD_MASTER_IS_DEAD")]
    pub old_master_is_dead: bool,

    /// The sale's slot was moved to another node of the cluster on purpose
    #[arg(long, env = "FLUX_SLOT_MOVED")]
    pub slot_moved: bool,

    /// Which sale, where ledger and Redis do not agree [default: the latest]
    #[arg(long, value_name = "SALE_ID")]
    pub sale: Option<u64>,

    /// Bring the sale back closed: what is left of it is withdrawn, and what it was opened with need not be known. Also the end
    /// of a sale that nobody opened, of which stray orders tell
    #[arg(long)]
    pub close: bool,

    /// The sale's orders per second (0: no limit), where neither ledger nor Redis knows. This and the flags below are for a
    /// sale whose opening event is lost; they change nothing that is known
    #[arg(long, value_name = "ORDERS")]
    pub rate: Option<u64>,

    /// The sale's orders at once
    #[arg(long, value_name = "ORDERS")]
    pub burst: Option<u64>,

    /// Units that one user may take (0: no limit)
    #[arg(long, value_name = "UNITS")]
    pub per_user: Option<u16>,

    /// When the sale opens: RFC 3339, or `none` where it was open from the start
    #[arg(long, value_name = "TIME|none")]
    pub opens_at: Option<String>,

    /// How the sale's crowd waits
    #[arg(long, value_name = "retry|fair")]
    pub queue: Option<Queue>,

    /// The seed of a fair sale's lots, 64 hexadecimal digits
    #[arg(long, value_name = "SEED")]
    pub seed: Option<String>,
}
