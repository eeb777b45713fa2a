//! The command line: every flag with its environment variable, unit and default. A flag wins over the variable. Flags that tell one
//! call what to do (`pages --out`, those of `verify-ticket`) have no variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use flux_net::DriverChoice;
use flux_net::flags::links::LinkArguments;
use flux_net::secrets::kafka_login::KafkaLogin;
use flux_protocol::front::ForwardedField;

use crate::config::cpu_list::CoresChoice;
use crate::config::identity::IdentityArguments;
use crate::config::span::span;
use crate::verify_ticket::Claim;

/// Where the waiting room is served, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitingRoom {
    /// By this edge.
    Here(SocketAddr),
    /// Elsewhere.
    Off,
}

impl FromStr for WaitingRoom {
    type Err = String;
    fn from_str(text: &str) -> Result<WaitingRoom, String> {
        match text {
            "off" => Ok(WaitingRoom::Off),
            address => address.parse().map(WaitingRoom::Here).map_err(|_| "must be an address and port, or off".into()),
        }
    }
}

/// Flux-Gate's edge: takes orders over HTTP, reserves units in Redis, publishes each order to Kafka, and answers.
#[derive(Clone, Debug, Parser)]
#[command(name = "flux-edge", version, max_term_width = 100)]
#[command(
    after_help = "FLUX_ADMIN_TOKEN (environment only) or --admin-token-file is the bearer token of /init and /close; without \
    one they are not on the public listener. FLUX_JWT_SUBJECT_KEY (environment only) or --jwt-subject-key-file is the key that \
    users' names are hashed with (--jwt-keys). Files of secrets and of --jwt-keys are read anew on SIGHUP, the latter daily too. RUST_LOG sets what is logged (default: info). Logs go to \
    standard error, as text on a terminal and as JSON otherwise. SIGTERM drains and ends with exit code 0; a mistake in \
    the configuration is one line on standard error and exit code 2."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Public listener: orders, stock, the storefront
    #[arg(long, env = "FLUX_LISTEN", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:3000")]
    pub(crate) listen: SocketAddr,

    /// Public listener and waiting room speak TLS with this certificate: a file (PEM) with its intermediates, such as certbot's
    /// fullchain.pem; read anew on SIGHUP and daily
    #[arg(long, env = "FLUX_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<String>,

    /// The certificate's key (PEM, not encrypted), such as certbot's privkey.pem
    #[arg(long, env = "FLUX_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<String>,

    /// Admin listener: the dashboard, /init, /close, health, metrics. An address other than loopback needs FLUX_ADMIN_TOKEN
    #[arg(long, env = "FLUX_ADMIN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3001")]
    pub(crate) admin: SocketAddr,

    /// A file that holds the token of /init and /close, in place of FLUX_ADMIN_TOKEN; read anew on SIGHUP
    #[arg(long, env = "FLUX_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,

    /// Waiting room listener; `off` where the page is hosted elsewhere
    #[arg(long, env = "FLUX_WAITING_ROOM", value_name = "ADDRESS:PORT|off", default_value = "0.0.0.0:4000")]
    pub(crate) waiting_room: WaitingRoom,

    /// The `location` of a 302: where callers over the rate limit are sent. `?product=…` is added [default:
    /// http://localhost:4000/, or https://localhost:4000/ with --tls-cert]
    #[arg(long, env = "FLUX_WAITING_ROOM_URL", value_name = "URL")]
    pub(crate) waiting_room_url: Option<String>,

    /// The one origin whose scripts may call the public listener [default: the waiting room's]
    #[arg(long, env = "FLUX_CORS_ORIGIN", value_name = "ORIGIN")]
    pub(crate) cors_origin: Option<String>,

    /// Header fields that its scripts may send beside those of an order, authorization, traceparent, tracestate and baggage; a
    /// comma between them [default: none]
    #[arg(long, env = "FLUX_CORS_HEADERS", value_name = "NAME,…")]
    pub(crate) cors_headers: Option<String>,

    /// Proxies in front of the public listener whose word on a client's address is believed, addresses or networks such as
    /// 10.0.0.0/8, a comma between them [default: none]
    #[arg(long, env = "FLUX_TRUSTED_PROXIES", value_name = "NETWORK,…")]
    pub(crate) trusted_proxies: Option<String>,

    /// The field that they write it in: x-forwarded-for or forwarded (RFC 7239); the other is ignored
    #[arg(long, env = "FLUX_FORWARDED_FIELD", value_name = "FIELD", default_value_t = ForwardedField::XForwardedFor)]
    pub(crate) forwarded_field: ForwardedField,

    /// Each connection to the public listener begins with a header of the PROXY protocol (1 or 2); others are closed
    #[arg(long, env = "FLUX_PROXY_PROTOCOL")]
    pub(crate) proxy_protocol: bool,

    /// Requests a second that one address (IPv6: one /64) may make of this edge's public listener, beyond: 429; 0 is no limit
    #[arg(long, env = "FLUX_ADDRESS_RATE", value_name = "REQUESTS_PER_SECOND", default_value_t = 0)]
    pub(crate) address_rate: u64,

    /// Requests that it may make at once (up to 60 s of the rate) [default: 20]
    #[arg(long, env = "FLUX_ADDRESS_BURST", value_name = "REQUESTS")]
    pub(crate) address_burst: Option<u64>,

    /// Orders a second that one user may send to this edge, beyond: 429; 0 is no limit. Without --jwt-keys whom
    /// an order names is believed
    #[arg(long, env = "FLUX_USER_RATE", value_name = "ORDERS_PER_SECOND", default_value_t = 0)]
    pub(crate) user_rate: u64,

    /// Orders that they may send at once (up to 60 s of the rate) [default: 5]
    #[arg(long, env = "FLUX_USER_BURST", value_name = "ORDERS")]
    pub(crate) user_burst: Option<u64>,

    // Kept as text: clap repeats a value that its parser refuses, and this one may hold a password.
    /// Redis: redis://[user:password@]host:port[/db], rediss://… for TLS, or redis+unix:///path
    #[arg(
        long,
        env = "FLUX_REDIS",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub(crate) redis: String,

    /// A file that holds Redis' password, where the URL has none; read anew on SIGHUP
    #[arg(long, env = "FLUX_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) redis_password_file: Option<PathBuf>,

    /// Kafka bootstrap brokers, a comma between them
    #[arg(long, env = "FLUX_KAFKA", value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub(crate) kafka: String,

    #[command(flatten)]
    pub(crate) kafka_login: KafkaLogin,

    /// Topic that orders are published to; flux-worker creates it
    #[arg(long, env = "FLUX_TOPIC", value_name = "NAME", default_value = "orders")]
    pub(crate) topic: String,

    /// Orders per second that a sale admits, over all edges, where /init names no rate; 0 is no limit
    #[arg(long, env = "FLUX_RATE", value_name = "ORDERS_PER_SECOND", default_value_t = 10_000)]
    pub(crate) rate: u64,

    /// Orders that a sale admits at once on top of the rate; at least 2 and a hundredth of the rate
    #[arg(long, env = "FLUX_BURST", value_name = "ORDERS", default_value_t = 10_000)]
    pub(crate) burst: u64,

    /// How long after its sale's last order an accepted key is remembered and replayed (60s to 366days)
    #[arg(long, env = "FLUX_IDEMPOTENCY_TTL", value_name = "SPAN", default_value = "24h", value_parser = span)]
    pub(crate) idempotency_ttl: Duration,

    /// Undelivered orders of one product; beyond them 503 is answered
    #[arg(long, env = "FLUX_OUTBOX_ORDERS_MAX", value_name = "ORDERS", default_value_t = 100_000)]
    pub(crate) outbox_orders_max: u64,

    /// Redis must have answered within this, else 503 (1ms to 10s)
    #[arg(long, env = "FLUX_REDIS_DEADLINE", value_name = "SPAN", default_value = "500ms", value_parser = span)]
    pub(crate) redis_deadline: Duration,

    /// Kafka must have acknowledged within this, else 202 and later delivery (1ms to 10s)
    #[arg(long, env = "FLUX_PUBLISH_DEADLINE", value_name = "SPAN", default_value = "2s", value_parser = span)]
    pub(crate) publish_deadline: Duration,

    /// How long an idle connection is kept, told to clients (1s to 1h); longer than what stands in front keeps one
    #[arg(long, env = "FLUX_KEEP_ALIVE", value_name = "SPAN", default_value = "75s", value_parser = span)]
    pub(crate) keep_alive: Duration,

    /// How long after SIGTERM the edge says that it is not ready and still takes whatever comes (up to 10min): longer than a
    /// load balancer needs to see it
    #[arg(long, env = "FLUX_DRAIN_DELAY", value_name = "SPAN", default_value = "0s", value_parser = span)]
    pub(crate) drain_delay: Duration,

    /// Longest drain after SIGTERM and that delay (up to 10min)
    #[arg(long, env = "FLUX_DRAIN_DEADLINE", value_name = "SPAN", default_value = "10s", value_parser = span)]
    pub(crate) drain_deadline: Duration,

    /// Admin listeners of the workers that the dashboard shows, a comma between them [default: none]
    #[arg(long, env = "FLUX_WORKERS", value_name = "HOST:PORT,…")]
    pub(crate) workers: Option<String>,

    /// How many cores, or a list such as 0-3,6 [default: all that the process may use]
    #[arg(long, env = "FLUX_CORES", value_name = "COUNT|LIST")]
    pub(crate) cores: Option<CoresChoice>,

    /// I/O driver: auto (io_uring, else epoll), uring, epoll
    #[arg(long, env = "FLUX_DRIVER", value_name = "DRIVER", default_value_t = DriverChoice::Auto)]
    pub(crate) driver: DriverChoice,

    #[command(flatten)]
    pub(crate) identity: IdentityArguments,

    #[command(flatten)]
    pub(crate) links: LinkArguments,

    #[command(flatten)]
    pub(crate) pages: PageArguments,
}

/// What to do in place of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes the pages, in the folders shop and waiting-room, for a CDN to serve; beside them the header fields they want
    Pages {
        /// The folder to write to; made where it is missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,

        #[command(flatten)]
        pages: PageArguments,
    },
    /// Says whether a ticket's lot is the one that the published seed draws for its user; exit code 1 where it is not
    VerifyTicket(Claim),
    /// Asks Redis and Kafka, with the flags that an edge is started with, whether they are as an edge needs them: each server, each
    /// permission, each setting, a line each. Sells nothing and writes nothing. Exit code 0: they are; 1: something would lose
    /// orders or sell none; 3: a server was out of reach
    Check {
        /// How long they may take to answer
        #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
        within: Duration,
    },
}

/// What the pages are told.
#[derive(Args, Clone, Debug)]
pub(crate) struct PageArguments {
    /// The name that the pages show
    #[arg(long, env = "FLUX_BRAND_NAME", value_name = "NAME", default_value = "Flux-Gate")]
    pub(crate) brand_name: String,

    /// The pages' accent colour; made darker or lighter where it could not be read
    #[arg(long, env = "FLUX_BRAND_COLOR", value_name = "#RRGGBB", default_value = "#0b57d0")]
    pub(crate) brand_color: String,

    /// The pages' logo: an SVG, PNG or WebP file of 64 KiB at most [default: a built-in one]
    #[arg(long, env = "FLUX_BRAND_LOGO", value_name = "FILE")]
    pub(crate) brand_logo: Option<PathBuf>,

    /// The public listener as browsers reach it, which the waiting room is told [default: the port of --listen on the
    /// waiting room's own host]
    #[arg(long, env = "FLUX_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,

    /// A worker's listener as browsers reach it: the pages then show when an order is stored [default: they do not]
    #[arg(long, env = "FLUX_LEDGER_URL", value_name = "URL")]
    pub(crate) ledger_url: Option<String>,
}
