//! The configuration, validated once. What runs is handed values that hold; nothing reads the environment later.

pub(crate) mod arguments;
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
use flux_net::{Address, ClientTls, DriverChoice, RedisTarget, ServerTls, flags};
use flux_protocol::front::Networks;
use flux_protocol::kafka::sasl::identity::Identity;
use flux_protocol::secret::SharedSecret;

use crate::answer::Site;
use crate::config::arguments::{Arguments, Command, PageArguments, WaitingRoom};
use crate::config::cpu_list::CoresChoice;
use crate::core::config::{AdminToken, CoreConfig};
use crate::identity::Rules;
use crate::limits::shell::{
    ADMIN_TOKEN_BYTES_MAX, BOOTSTRAP_BROKERS_MAX, BURST_MAX, BURST_MIN, BURST_PER_RATE, CORS_HEADERS_BYTES_MAX,
    DEADLINE_MAX, DEADLINE_MIN, DRAIN_DEADLINE_MAX, DRAIN_DELAY_MAX, IDEMPOTENCY_TTL_MAX, IDEMPOTENCY_TTL_MIN,
    KEEP_ALIVE_MAX, KEEP_ALIVE_MIN, OUTBOX_ORDERS_MAX, RATE_MAX, THROTTLE_FILL_TIME_MAX, THROTTLE_RATE_MAX,
    TOPIC_BYTES_MAX, TRUSTED_PROXIES_MAX, WORKERS_MAX,
};
use crate::pages::brand::Brand;
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
            None => checked(arguments, secrets, variables, allowed).map(|config| Invocation::Serve(Box::new(config))),
        };
        invocation.map_err(ConfigError::Mistake)
    }
}

impl Config {
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
    let waiting_room_origin = origin_of(&arguments.waiting_room_url)
        .ok_or("--waiting-room-url must be an http:// or https:// URL without ? and #, in visible ASCII")?;
    let cors_origin = match arguments.cors_origin {
        None => waiting_room_origin,
        Some(origin) if origin_of(&origin).is_some_and(|parsed| parsed == origin) => origin,
        Some(_) => return Err("--cors-origin must be one origin such as https://shop.example, without a path".into()),
    };
    let cors_headers = cors_headers(arguments.cors_headers.as_deref().unwrap_or_default())?;
    let front = Front {
        trusted: trusted_proxies(arguments.trusted_proxies.as_deref().unwrap_or_default())?,
        field: arguments.forwarded_field,
        proxy_protocol: arguments.proxy_protocol,
        addresses: throttle("--address-rate", arguments.address_rate, "--address-burst", arguments.address_burst)?,
    };
    if front.proxy_protocol && front.trusted.is_empty() {
        return Err("--proxy-protocol needs --trusted-proxies: anybody may write such a header".into());
    }
    let users = throttle("--user-rate", arguments.user_rate, "--user-burst", arguments.user_burst)?;
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
        tls: listener_tls(arguments.tls_cert, arguments.tls_key)?,
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
        waiting_room_url: arguments.waiting_room_url,
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

/// An empty variable counts as unset: compose files pass those.
fn listener_tls(certificate: Option<String>, key: Option<String>) -> Result<Option<ServerTls>, String> {
    let given = |file: Option<String>| file.filter(|file| !file.is_empty());
    match (given(certificate), given(key)) {
        (None, None) => Ok(None),
        (Some(_), None) => Err("--tls-cert needs --tls-key".into()),
        (None, Some(_)) => Err("--tls-key needs --tls-cert".into()),
        (Some(certificate), Some(key)) => ServerTls::load(certificate.into(), key.into())
            .map(Some)
            .map_err(|error| format!("--tls-cert, --tls-key: {error}")),
    }
}

fn page_settings(arguments: PageArguments) -> Result<PageSettings, String> {
    let url = |flag: &str, url: Option<String>| match url {
        // An empty variable counts as unset here too.
        None => Ok(None),
        Some(url) if url.is_empty() => Ok(None),
        Some(url) if origin_of(&url).is_some() => Ok(Some(url)),
        Some(_) => Err(format!("{flag} must be an http:// or https:// URL without ? and #, in visible ASCII")),
    };
    Ok(PageSettings {
        brand: Brand::new(&arguments.brand_name, &arguments.brand_color, arguments.brand_logo.as_deref())?,
        public_url: url("--public-url", arguments.public_url)?,
        ledger_url: url("--ledger-url", arguments.ledger_url)?,
    })
}

/// An empty variable counts as unset: compose files pass those.
fn checked_token(
    token: Option<&str>,
    file: Option<PathBuf>,
    secrets: &mut Secrets,
) -> Result<Option<AdminToken>, String> {
    let file = file.filter(|path| !path.as_os_str().is_empty());
    let (name, token) = match (token.filter(|token| !token.is_empty()), file) {
        (None, None) => return Ok(None),
        (Some(token), None) => ("FLUX_ADMIN_TOKEN", SharedSecret::from(token)),
        (None, Some(path)) => ("--admin-token-file", secrets.file("--admin-token-file", path)?),
        (Some(_), Some(_)) => return Err("FLUX_ADMIN_TOKEN or --admin-token-file, not both".to_owned()),
    };
    let secret = token.get();
    let text = secret.expose();
    if text.len() <= ADMIN_TOKEN_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(AdminToken::new(token)))
    } else {
        Err(format!("{name} must be visible ASCII without blanks, {ADMIN_TOKEN_BYTES_MAX} bytes at most"))
    }
}

fn check_rate(rate: u64, burst: u64) -> Result<(), String> {
    if rate > RATE_MAX {
        return Err(format!("--rate must be at most {RATE_MAX}"));
    }
    let least = BURST_MIN.max(rate.div_ceil(BURST_PER_RATE));
    if !(least..=BURST_MAX).contains(&burst) {
        return Err(format!("--burst must be from {least} (2, or a hundredth of --rate) to {BURST_MAX}"));
    }
    Ok(())
}

/// What a page's script may send: what an order and its callers' tracing say, and what the operator adds.
fn cors_headers(more: &str) -> Result<String, String> {
    let mut headers = "content-type, idempotency-key, x-idempotency-key, x-queue-ticket, authorization, traceparent, \
                       tracestate, baggage"
        .to_owned();
    for name in more.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        // Tokens of RFC 9110 section 5.6.2, as far as any field's name uses them.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err("--cors-headers must be names of header fields, a comma between them".into());
        }
        headers.push_str(", ");
        headers.push_str(&name.to_ascii_lowercase());
    }
    if headers.len() > CORS_HEADERS_BYTES_MAX {
        return Err(format!("--cors-headers: at most {CORS_HEADERS_BYTES_MAX} bytes in all"));
    }
    Ok(headers)
}

fn trusted_proxies(list: &str) -> Result<Networks, String> {
    let networks = Networks::parse(list).map_err(|error| format!("--trusted-proxies: {error}"))?;
    if networks.len() > TRUSTED_PROXIES_MAX {
        return Err(format!("--trusted-proxies must name at most {TRUSTED_PROXIES_MAX} networks"));
    }
    Ok(networks)
}

/// The table of a limit; none where the rate is 0.
fn throttle(rate_flag: &str, rate: u64, burst_flag: &str, burst: u64) -> Result<Option<Arc<Throttle>>, String> {
    if rate == 0 {
        return Ok(None);
    }
    if rate > THROTTLE_RATE_MAX {
        return Err(format!("{rate_flag} must be at most {THROTTLE_RATE_MAX}"));
    }
    let most = rate * THROTTLE_FILL_TIME_MAX.as_secs();
    if !(1..=most).contains(&burst) {
        return Err(format!("{burst_flag} must be from 1 to {most} (60 s of {rate_flag})"));
    }
    Ok(Some(Arc::new(Throttle::new(rate, burst))))
}

fn check_span(flag: &str, span: Duration, least: Duration, most: Duration) -> Result<(), String> {
    if span < least || span > most {
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        return Err(format!("{flag} must be from {least} to {most}"));
    }
    Ok(())
}

/// Kafka's own rule for names.
fn check_topic(topic: &str) -> Result<(), String> {
    let legal = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !legal || topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || matches!(topic, "." | "..") {
        return Err("--topic must be 1 to 249 of A-Z a-z 0-9 . _ -".into());
    }
    Ok(())
}

fn check_ports(listen: SocketAddr, admin: SocketAddr, waiting_room: Option<SocketAddr>) -> Result<(), String> {
    let clash = |a: SocketAddr, b: SocketAddr| a.port() != 0 && a == b;
    // The public listener shares its port among cores, so the kernel would not notice another one of ours on it.
    if clash(listen, admin) {
        return Err("--listen and --admin must differ".into());
    }
    if waiting_room.is_some_and(|room| clash(room, listen) || clash(room, admin)) {
        return Err("--waiting-room must differ from --listen and --admin".into());
    }
    Ok(())
}

fn brokers(list: &str) -> Result<Vec<(String, u16)>, String> {
    let brokers = addresses("--kafka", list, 9092)?;
    if brokers.is_empty() || brokers.len() > BOOTSTRAP_BROKERS_MAX {
        return Err(format!("--kafka must name 1 to {BOOTSTRAP_BROKERS_MAX} brokers"));
    }
    Ok(brokers)
}

fn workers(list: &str) -> Result<Vec<(String, u16)>, String> {
    let workers = addresses("--workers", list, 3002)?;
    if workers.len() > WORKERS_MAX {
        return Err(format!("--workers must name at most {WORKERS_MAX} workers"));
    }
    Ok(workers)
}

fn addresses(flag: &str, list: &str, default_port: u16) -> Result<Vec<(String, u16)>, String> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match Address::parse_tcp(part, default_port) {
            Ok(Address::Tcp { host, port }) => Ok((host, port)),
            Ok(Address::Unix(_)) => Err(format!("{flag}: each is a host and a port")),
            Err(error) => Err(format!("{flag}: {error}")),
        })
        .collect()
}

#[cfg(test)]
mod tests;
