//! The configuration, validated once. What runs is handed values that hold; nothing reads the environment later.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory;
pub use flux_net::flags::ConfigError;
use flux_net::secrets::Secrets;
use flux_net::secrets::kafka_login::PASSWORD_ID;
use flux_net::tls::Certificates;
use flux_net::{ClientTls, RedisTarget, flags};
use flux_protocol::ages::PUBLISHED_AGE_MAX;
use flux_protocol::kafka::sasl::identity::Identity;
use flux_protocol::order::{Identifier, PER_USER_MAX};
use flux_protocol::postgres::PostgresConfig;

use crate::arguments::{Arguments, Command, DeadLettersAction, RebuildArguments, RebuildMode, Switch};
use crate::batch::SEED_DIGITS;
use crate::ledger::LedgerTarget;
use crate::limits::*;
use crate::opening::Opening;

/// Everything the process was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to do.
    pub task: Task,
    /// Kafka's bootstrap brokers, host and port; never empty.
    pub kafka: Vec<(String, u16)>,
    /// Who we are to them, where they want a login.
    pub kafka_login: Option<Identity>,
    /// The TLS of the links to brokers, where they have any.
    pub kafka_tls: Option<ClientTls>,
    pub topic: String,
    pub group: String,
    pub redis: RedisTarget,
    pub postgres: LedgerTarget,
    /// What comes from files and commands, and what is to be said about secrets at start.
    pub secrets: Secrets,
    /// Orders that a batch holds at most.
    pub batch_orders: usize,
    /// How long a batch that is not full waits.
    pub batch_wait: Duration,
    pub admin: SocketAddr,
    /// A sale whose Redis was restarted is rebuilt without being told to.
    pub rebuilds: bool,
    /// A sale whose units do not add up is suspended.
    pub suspends_on_breach: bool,
    /// How long a record lives that a rebuild writes, counted from when its order was stored.
    pub idempotency_ttl: Duration,
    /// Partitions of the topic where it is created.
    pub topic_partitions: u32,
    /// Replicas of the topic where it is created.
    pub topic_replicas: u16,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Consume until told to stop.
    Consume,
    /// `flux-worker audit`.
    Audit {
        /// One product, or all.
        product: Option<Identifier>,
    },
    /// `flux-worker rebuild`.
    Rebuild(RebuildOrder),
    /// `flux-worker dead-letters`.
    DeadLetters {
        /// List them, or replay them.
        action: DeadLettersAction,
        /// One product's, or all.
        product: Option<Identifier>,
    },
}

/// What `flux-worker rebuild` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildOrder {
    /// The product whose sale is suspended.
    pub product: Identifier,
    /// How long no edge may publish from memory what it reserved before.
    pub fence: Duration,
    /// Said by an operator who knows.
    pub old_master_is_dead: bool,
    /// Said by an operator who knows.
    pub slot_moved: bool,
    /// Which sale; `None`: the latest.
    pub sale: Option<u64>,
    /// It comes back closed: nothing more of it is sold.
    pub closes: bool,
    /// What it was opened with, for what neither ledger nor Redis knows.
    pub opening: Opening,
}

impl RebuildOrder {
    /// Of the product's latest sale, without anything that only an operator can know.
    pub fn new(product: Identifier, fence: Duration) -> RebuildOrder {
        let opening = Opening::default();
        RebuildOrder {
            product,
            fence,
            old_master_is_dead: false,
            slot_moved: false,
            sale: None,
            closes: false,
            opening,
        }
    }
}

impl Config {
    /// All that was read of certificates.
    pub fn certificates(&self) -> Certificates {
        let links = [&self.redis.tls, &self.kafka_tls, &self.postgres.tls];
        Certificates { links: links.into_iter().flatten().cloned().collect(), listener: None }
    }

    /// Reads the command line and the environment, and checks all of it.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing was contacted.
    pub fn read<I, T>(arguments: I) -> Result<Config, ConfigError>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        // Each flag may stand behind a command, too.
        let command = Arguments::command().mut_args(|flag| flag.global(true));
        let (arguments, secrets): (Arguments, Secrets) =
            flags::parse(command, arguments, &["redis", "postgres", PASSWORD_ID])?;
        checked(arguments, secrets).map_err(ConfigError::Mistake)
    }
}

fn checked(arguments: Arguments, mut secrets: Secrets) -> Result<Config, String> {
    let redis = flags::redis(&arguments.redis, arguments.redis_password_file, &arguments.links, &mut secrets)?;
    let postgres = postgres(&arguments.postgres, arguments.postgres_password_file, &mut secrets)?;
    let kafka_login = arguments.kafka_login.checked(arguments.links.kafka_security, &mut secrets)?;
    if !(1..=BATCH_ORDERS_MAX).contains(&arguments.batch_orders) {
        return Err(format!("--batch-orders must be from 1 to {BATCH_ORDERS_MAX}"));
    }
    if arguments.batch_wait > BATCH_WAIT_MAX {
        return Err(format!("--batch-wait must be at most {}", humantime::format_duration(BATCH_WAIT_MAX)));
    }
    if !(1..=TOPIC_PARTITIONS_MAX).contains(&arguments.topic_partitions) {
        return Err(format!("--topic-partitions must be from 1 to {TOPIC_PARTITIONS_MAX}"));
    }
    if !(1..=TOPIC_REPLICAS_MAX).contains(&arguments.topic_replicas) {
        return Err(format!("--topic-replicas must be from 1 to {TOPIC_REPLICAS_MAX}"));
    }
    if !(IDEMPOTENCY_TTL_MIN..=IDEMPOTENCY_TTL_MAX).contains(&arguments.idempotency_ttl) {
        let (least, most) = (IDEMPOTENCY_TTL_MIN, IDEMPOTENCY_TTL_MAX);
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        return Err(format!("--idempotency-ttl must be from {least} to {most}"));
    }
    check_topic(&arguments.topic)?;
    check_group(&arguments.group)?;
    Ok(Config {
        task: task(arguments.command)?,
        kafka: brokers(&arguments.kafka)?,
        kafka_login,
        kafka_tls: arguments.links.kafka_tls()?,
        topic: arguments.topic,
        group: arguments.group,
        redis,
        postgres: LedgerTarget::load(postgres).map_err(|error| format!("--postgres: {error}"))?,
        secrets,
        batch_orders: arguments.batch_orders,
        batch_wait: arguments.batch_wait,
        admin: arguments.worker_admin,
        rebuilds: arguments.rebuild == RebuildMode::Auto,
        suspends_on_breach: arguments.suspend_on_breach == Switch::On,
        idempotency_ttl: arguments.idempotency_ttl,
        topic_partitions: arguments.topic_partitions,
        topic_replicas: arguments.topic_replicas,
    })
}

/// As libpq has it, a password that is given wins over the password file, and the URL's name of it over `PGPASSFILE`.
fn postgres(url: &str, password_file: Option<PathBuf>, secrets: &mut Secrets) -> Result<PostgresConfig, String> {
    let mut postgres = PostgresConfig::parse(url).map_err(|error| format!("--postgres: {error}"))?;
    if postgres.password.is_some() {
        secrets.note_used("postgres", "--postgres", "FLUX_POSTGRES or FLUX_POSTGRES_PASSWORD_FILE");
    }
    if let Some(path) = password_file.filter(|path| !path.as_os_str().is_empty()) {
        if postgres.password.is_some() {
            return Err("a password in --postgres or in --postgres-password-file, not in both".to_owned());
        }
        postgres.password = Some(secrets.file("--postgres-password-file", path)?);
    }
    if postgres.passfile.is_none() {
        let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
        postgres.passfile = named.filter(|path| !path.as_os_str().is_empty());
    }
    Ok(postgres)
}

fn task(command: Option<Command>) -> Result<Task, String> {
    match command {
        None => Ok(Task::Consume),
        Some(Command::Audit(audit)) => Ok(Task::Audit { product: perhaps_identifier(audit.product.as_deref())? }),
        Some(Command::DeadLetters(letters)) => {
            let product = perhaps_identifier(letters.product.as_deref())?;
            Ok(Task::DeadLetters { action: letters.action, product })
        }
        Some(Command::Rebuild(rebuild)) => {
            if !(FENCE_MIN..=FENCE_MAX).contains(&rebuild.fence) {
                let (least, most) = (humantime::format_duration(FENCE_MIN), humantime::format_duration(FENCE_MAX));
                let last = humantime::format_duration(PUBLISHED_AGE_MAX);
                return Err(format!(
                    "--fence must be from {least} to {most}: an edge's last request may carry what it reserved {last} before"
                ));
            }
            Ok(Task::Rebuild(RebuildOrder {
                old_master_is_dead: rebuild.old_master_is_dead,
                slot_moved: rebuild.slot_moved,
                sale: rebuild.sale,
                closes: rebuild.close,
                opening: opening(&rebuild)?,
                ..RebuildOrder::new(identifier(&rebuild.product)?, rebuild.fence)
            }))
        }
    }
}

/// An empty variable counts as unset: compose files pass those.
fn perhaps_identifier(product: Option<&str>) -> Result<Option<Identifier>, String> {
    product.filter(|product| !product.is_empty()).map(identifier).transpose()
}

/// What an operator says of the sale's opening, with the bounds that `/init` has.
fn opening(rebuild: &RebuildArguments) -> Result<Opening, String> {
    let number = |flag: &str, given: Option<u64>| match given {
        Some(number) if i64::try_from(number).is_err() => Err(format!("{flag} is far too large")),
        given => Ok(given),
    };
    if rebuild.per_user.is_some_and(|units| units > PER_USER_MAX) {
        return Err(format!("--per-user must be from 0 to {PER_USER_MAX}"));
    }
    let is_seed = |seed: &str| seed.len() == SEED_DIGITS && seed.bytes().all(|byte| byte.is_ascii_hexdigit());
    if rebuild.seed.as_deref().is_some_and(|seed| !is_seed(seed)) {
        return Err(format!("--seed must be {SEED_DIGITS} hexadecimal digits"));
    }
    Ok(Opening {
        rate: number("--rate", rebuild.rate)?,
        burst: number("--burst", rebuild.burst)?,
        per_user: rebuild.per_user.map(i32::from),
        opens_at: rebuild.opens_at.as_deref().map(opens_at).transpose()?,
        queue: rebuild.queue,
        seed: rebuild.seed.clone(),
    })
}

fn opens_at(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(0);
    }
    let at = humantime::parse_rfc3339(text).map_err(|error| format!("--opens-at must be `none` or a time: {error}"))?;
    let since = at.duration_since(std::time::UNIX_EPOCH).map_err(|_| "--opens-at is before 1970".to_owned())?;
    u64::try_from(since.as_millis()).map_err(|_| "--opens-at is too late".to_owned())
}

fn identifier(product: &str) -> Result<Identifier, String> {
    Identifier::new(product.as_bytes())
        .ok_or_else(|| "--product must be 1 to 64 of A-Z a-z 0-9 . _ : -, but not . or ..".to_owned())
}

/// Kafka's own rule for names.
fn check_topic(topic: &str) -> Result<(), String> {
    let legal = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !legal || topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || matches!(topic, "." | "..") {
        return Err(format!("--topic must be 1 to {TOPIC_BYTES_MAX} of A-Z a-z 0-9 . _ -"));
    }
    Ok(())
}

fn check_group(group: &str) -> Result<(), String> {
    let legal = group.bytes().all(|byte| byte.is_ascii_graphic());
    if !legal || group.is_empty() || group.len() > GROUP_BYTES_MAX {
        return Err(format!("--group must be 1 to {GROUP_BYTES_MAX} visible ASCII characters"));
    }
    Ok(())
}

fn brokers(list: &str) -> Result<Vec<(String, u16)>, String> {
    let brokers = flags::addresses("--kafka", list, 9092)?;
    if brokers.is_empty() || brokers.len() > BOOTSTRAP_BROKERS_MAX {
        return Err(format!("--kafka must name 1 to {BOOTSTRAP_BROKERS_MAX} brokers"));
    }
    Ok(brokers)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
