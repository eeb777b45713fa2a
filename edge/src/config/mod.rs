//! The configuration, validated once. What runs is handed values that hold; nothing reads the environment later.

pub(crate) mod arguments;
mod checks;
pub(crate) mod cpu_list;
pub(crate) mod identity;
pub(crate) mod span;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory;
pub use flux_net::flags::ConfigError;
use flux_net::secrets::Secrets;
use flux_net::secrets::kafka_login::PASSWORD_ID;
use flux_net::tls::Certificates;
use flux_net::{ClientTls, DriverChoice, RedisTarget, ServerTls, flags};
use flux_protocol::kafka::sasl::identity::Identity;

use crate::answer::Site;
use crate::config::arguments::{Arguments, Command, WaitingRoom};
use crate::config::checks::{
    brokers, check_ports, check_rate, check_span, check_topic, checked_token, cors_headers, listener_tls,
    page_settings, throttle, trusted_proxies, workers,
};
use crate::config::cpu_list::CoresChoice;
use crate::core::config::{AdminToken, CoreConfig};
use crate::identity::Rules;
use crate::limits::shell::{
    ADDRESS_BURST, CHECK_WITHIN_MAX, CHECK_WITHIN_MIN, DEADLINE_MAX, DEADLINE_MIN, DRAIN_DEADLINE_MAX, DRAIN_DELAY_MAX,
    IDEMPOTENCY_TTL_MAX, IDEMPOTENCY_TTL_MIN, KEEP_ALIVE_MAX, KEEP_ALIVE_MIN, OUTBOX_ORDERS_MAX, USER_BURST,
};
use crate::pages::origin::origin_of;
use crate::pages::{PageSettings, Pages};
use crate::redis::connection::Login;
use crate::shell::front::Front;
use crate::throttle::Throttle;
use crate::verify_ticket::Claim;

/// Everything the process was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    /// Waiting room listener, where this edge serves it.
    pub waiting_room: Option<SocketAddr>,
    /// The TLS of the public listener and the waiting room, where they have any.
    pub tls: Option<ServerTls>,
    /// The driver asked for.
    pub driver: DriverChoice,
    /// Processors to run on, one thread each; never empty.
    pub cores: Vec<usize>,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long new connections are taken after SIGTERM.
    pub drain_delay: Duration,
    /// Longest drain after that.
    pub drain_deadline: Duration,
    /// Redis: where, and as whom.
    pub redis: RedisTarget,
    /// Kafka's bootstrap brokers, host and port; never empty.
    pub kafka: Vec<(String, u16)>,
    /// Who we are to them, where they want a login.
    pub kafka_login: Option<Identity>,
    /// The TLS of the links to brokers, where they have any.
    pub kafka_tls: Option<ClientTls>,
    /// Admin listeners of the workers that the dashboard shows, host and port.
    pub workers: Vec<(String, u16)>,
    pub topic: String,
    /// Orders per second where a sale names no rate; 0 is no limit.
    pub rate: u64,
    /// Orders at once on top of the rate.
    pub burst: u64,
    /// How long a key's record lives.
    pub idempotency_ttl: Duration,
    /// Undelivered orders by product.
    pub outbox_orders_max: u64,
    /// By when Redis must have answered.
    pub redis_deadline: Duration,
    /// By when Kafka must have acknowledged.
    pub publish_deadline: Duration,
    /// Absolute, http or https, visible ASCII, with neither query nor fragment.
    pub waiting_room_url: String,
    /// The origin let in, as it stands in an `origin` field.
    pub cors_origin: String,
    /// The header fields that its scripts may send, as they stand in the answer to a preflight.
    pub cors_headers: String,
    /// What stands in front of the public listener, and how often one address may ask there.
    pub front: Front,
    /// How often one user may order.
    pub users: Option<Arc<Throttle>>,
    /// What the pages are told.
    pub pages: PageSettings,
    /// What is asked of bearer tokens; `None`: orders need none.
    pub identity: Option<Rules>,
    /// FLUX_ADMIN_TOKEN, or what its file holds.
    admin_token: Option<AdminToken>,
    /// What comes from files and commands, and what is to be said about secrets at start.
    pub secrets: Secrets,
    /// Names this process among all edges, anew at each start: who holds a claim on an outbox entry.
    pub edge_id: String,
}

/// What is read from the environment only.
#[derive(Clone, Copy, Default)]
pub struct SecretVariables<'a> {
    /// FLUX_ADMIN_TOKEN.
    pub admin_token: Option<&'a str>,
    /// FLUX_JWT_SUBJECT_KEY.
    pub jwt_subject_key: Option<&'a str>,
}

/// What the process was started for.
#[derive(Debug)]
pub enum Invocation {
    Serve(Box<Config>),
    /// To write the pages to a folder.
    WritePages {
        /// What they are told.
        pages: PageSettings,
        /// The folder.
        out: PathBuf,
    },
    /// To say whether a ticket's lot is the true one.
    VerifyTicket(Claim),
    /// To say what of the servers is not as an edge needs it.
    Check {
        config: Box<Config>,
        /// How long they may take to answer.
        within: Duration,
    },
}

impl Invocation {
    /// Reads the command line and the environment, and checks all of it.
    ///
    /// `allowed`: the processors that the process may use.
    ///
    /// # Errors
    /// Help that was asked for, or a mistake.
    pub fn read<I, T>(
        arguments: I,
        variables: SecretVariables<'_>,
        allowed: &[usize],
    ) -> Result<Invocation, ConfigError>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let (arguments, secrets): (Arguments, Secrets) =
            flags::parse(Arguments::command(), arguments, &["redis", PASSWORD_ID])?;
        let invocation = match arguments.command {
            Some(Command::Pages { out, pages }) => {
                page_settings(pages).map(|pages| Invocation::WritePages { pages, out })
            }
            Some(Command::VerifyTicket(claim)) => Ok(Invocation::VerifyTicket(claim)),
            Some(Command::Check { within }) => check_span("--within", within, CHECK_WITHIN_MIN, CHECK_WITHIN_MAX)
                .and_then(|()| checked(arguments, secrets, variables, allowed))
                .map(|config| Invocation::Check { config: Box::new(config), within }),
            None => checked(arguments, secrets, variables, allowed).map(|config| Invocation::Serve(Box::new(config))),
        };
        invocation.map_err(ConfigError::Mistake)
    }
}

impl Config {
    /// Kafka's bootstrap brokers, as people write them.
    pub fn brokers(&self) -> String {
        let brokers: Vec<String> = self.kafka.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        brokers.join(",")
    }

    /// Reads a command line that is there to serve; see [`Invocation::read`].
    ///
    /// # Errors
    /// As there; another command is a mistake.
    pub fn read<I, T>(arguments: I, variables: SecretVariables<'_>, allowed: &[usize]) -> Result<Config, ConfigError>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        match Invocation::read(arguments, variables, allowed)? {
            Invocation::Serve(config) => Ok(*config),
            Invocation::WritePages { .. } => Err(ConfigError::Mistake("pages serves nothing".into())),
            Invocation::VerifyTicket(_) => Err(ConfigError::Mistake("verify-ticket serves nothing".into())),
            Invocation::Check { .. } => Err(ConfigError::Mistake("check serves nothing".into())),
        }
    }

    /// All that was read of certificates.
    pub fn certificates(&self) -> Certificates {
        Certificates {
            links: [&self.redis.tls, &self.kafka_tls].into_iter().flatten().cloned().collect(),
            listener: self.tls.clone(),
        }
    }

    /// What each core is told but whose tokens it takes: those keys are to be read first. `public_port` is the port that the
    /// public listener got.
    pub fn for_core(&self, public_port: u16) -> CoreConfig {
        CoreConfig {
            redis: Login {
                user: self.redis.user.clone(),
                password: self.redis.password.clone(),
                database: self.redis.database,
            },
            kafka: self.kafka.clone(),
            kafka_login: self.kafka_login.clone(),
            topic: self.topic.clone(),
            rate: self.rate,
            burst: self.burst,
            idempotency_ttl: self.idempotency_ttl,
            outbox_orders_max: self.outbox_orders_max,
            redis_deadline: self.redis_deadline,
            publish_deadline: self.publish_deadline,
            site: Site::new(&self.waiting_room_url, &self.cors_origin, self.keep_alive),
            cors_origin: self.cors_origin.clone(),
            cors_headers: self.cors_headers.clone(),
            users: self.users.clone(),
            pages: Pages::new(self.pages.clone(), public_port),
            admin_token: self.admin_token.clone(),
            admin_needs_token: !self.admin.ip().is_loopback(),
            identity: None,
            edge_id: self.edge_id.clone(),
            only_asks: false,
        }
    }
}

fn checked(
    arguments: Arguments,
    mut secrets: Secrets,
    variables: SecretVariables<'_>,
    allowed: &[usize],
) -> Result<Config, String> {
    let admin_token = checked_token(variables.admin_token, arguments.admin_token_file, &mut secrets)?;
    let redis = flags::redis(&arguments.redis, arguments.redis_password_file, &arguments.links, &mut secrets)?;
    let kafka_login = arguments.kafka_login.checked(arguments.links.kafka_security, &mut secrets)?;
    if !arguments.admin.ip().is_loopback() && admin_token.is_none() {
        return Err(format!(
            "--admin {} is not loopback: set FLUX_ADMIN_TOKEN or FLUX_ADMIN_TOKEN_FILE, or bind it to 127.0.0.1",
            arguments.admin
        ));
    }
    check_rate(arguments.rate, arguments.burst)?;
    check_span("--idempotency-ttl", arguments.idempotency_ttl, IDEMPOTENCY_TTL_MIN, IDEMPOTENCY_TTL_MAX)?;
    check_span("--redis-deadline", arguments.redis_deadline, DEADLINE_MIN, DEADLINE_MAX)?;
    check_span("--publish-deadline", arguments.publish_deadline, DEADLINE_MIN, DEADLINE_MAX)?;
    check_span("--keep-alive", arguments.keep_alive, KEEP_ALIVE_MIN, KEEP_ALIVE_MAX)?;
    if arguments.keep_alive.subsec_nanos() != 0 {
        return Err("--keep-alive must be whole seconds: clients are told so".into());
    }
    check_span("--drain-delay", arguments.drain_delay, Duration::ZERO, DRAIN_DELAY_MAX)?;
    check_span("--drain-deadline", arguments.drain_deadline, Duration::ZERO, DRAIN_DEADLINE_MAX)?;
    if !(1..=OUTBOX_ORDERS_MAX).contains(&arguments.outbox_orders_max) {
        return Err(format!("--outbox-orders-max must be from 1 to {OUTBOX_ORDERS_MAX}"));
    }
    check_topic(&arguments.topic)?;
    let tls = listener_tls(arguments.tls_cert, arguments.tls_key)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let waiting_room_url = arguments.waiting_room_url.filter(|url| !url.is_empty());
    let waiting_room_url = waiting_room_url.unwrap_or_else(|| format!("{scheme}://localhost:4000/"));
    let waiting_room_origin = origin_of(&waiting_room_url)
        .ok_or("--waiting-room-url must be an http:// or https:// URL without ? and #, in visible ASCII")?;
    let cors_origin = match arguments.cors_origin {
        None => waiting_room_origin,
        Some(origin) if origin_of(&origin).is_some_and(|parsed| parsed == origin) => origin,
        Some(_) => return Err("--cors-origin must be one origin such as https://shop.example, without a path".into()),
    };
    let cors_headers = cors_headers(arguments.cors_headers.as_deref().unwrap_or_default())?;
    let front = Front {
        trusted: trusted_proxies(arguments.trusted_proxies.as_deref().unwrap_or_default(), &mut secrets.warnings)?,
        field: arguments.forwarded_field,
        proxy_protocol: arguments.proxy_protocol,
        addresses: throttle(
            ("--address-rate", arguments.address_rate),
            ("--address-burst", arguments.address_burst),
            ADDRESS_BURST,
        )?,
    };
    if front.proxy_protocol && front.trusted.is_empty() {
        return Err("--proxy-protocol needs --trusted-proxies: anybody may write such a header".into());
    }
    let users = throttle(("--user-rate", arguments.user_rate), ("--user-burst", arguments.user_burst), USER_BURST)?;
    let cores = CoresChoice::choose(arguments.cores.as_ref(), allowed).map_err(|why| format!("--cores: {why}"))?;
    if cores.is_empty() {
        return Err("--cores: the process may use no core".into());
    }
    let waiting_room = match arguments.waiting_room {
        WaitingRoom::Here(address) => Some(address),
        WaitingRoom::Off => None,
    };
    check_ports(arguments.listen, arguments.admin, waiting_room)?;
    let pages = page_settings(arguments.pages)?;
    Ok(Config {
        listen: arguments.listen,
        admin: arguments.admin,
        waiting_room,
        tls,
        driver: arguments.driver,
        cores,
        keep_alive: arguments.keep_alive,
        drain_delay: arguments.drain_delay,
        drain_deadline: arguments.drain_deadline,
        redis,
        kafka: brokers(&arguments.kafka)?,
        kafka_login,
        kafka_tls: arguments.links.kafka_tls()?,
        workers: workers(arguments.workers.as_deref().unwrap_or_default())?,
        topic: arguments.topic,
        rate: arguments.rate,
        burst: arguments.burst,
        idempotency_ttl: arguments.idempotency_ttl,
        outbox_orders_max: arguments.outbox_orders_max,
        redis_deadline: arguments.redis_deadline,
        publish_deadline: arguments.publish_deadline,
        waiting_room_url,
        cors_origin,
        cors_headers,
        front,
        users,
        pages,
        identity: arguments.identity.rules(variables.jwt_subject_key, &mut secrets)?,
        admin_token,
        secrets,
        edge_id: format!("edge-{:016x}", u64::from_ne_bytes(flux_net::random::draw())),
    })
}

#[cfg(test)]
mod tests;
