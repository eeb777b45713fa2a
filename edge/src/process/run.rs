//! The program: configuration, logs, the edge, its end.

use std::env::VarError;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use flux_net::reload::Reloader;
use flux_net::secrets::keeper::Keeper;
use flux_net::{affinity, logging, random};
use tracing::{error, info, warn};

use crate::config::{Config, ConfigError, Invocation, SecretVariables};
use crate::core::Core;
use crate::core::state::board::Board;
use crate::identity::IdentityProvider;
use crate::monitoring::workers::Workers;
use crate::process::check;
use crate::process::complaint::mistake;
use crate::process::descriptors::{connections_per_core, raise_limit};
use crate::process::signals;
use crate::shell::plan::Plan;
use crate::shell::server::{StartError, start};

/// Runs the edge until it has drained; its exit code.
pub fn main() -> ExitCode {
    let allowed = match affinity::allowed() {
        Ok(allowed) => allowed,
        Err(error) => return mistake(&format!("cannot tell which processors to use: {error}")),
    };
    let secrets = secret("FLUX_ADMIN_TOKEN").and_then(|token| Ok((token, secret("FLUX_JWT_SUBJECT_KEY")?)));
    let (token, subject_key) = match secrets {
        Ok(secrets) => secrets,
        Err(line) => return mistake(&line),
    };
    let secrets = SecretVariables { admin_token: token.as_deref(), jwt_subject_key: subject_key.as_deref() };
    match Invocation::read(std::env::args_os(), secrets, &allowed) {
        Ok(Invocation::Serve(config)) => serve(&config),
        Ok(Invocation::WritePages { pages, out }) => match pages.write_to(&out) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => mistake(&format!("cannot write the pages to {}: {error}", out.display())),
        },
        Ok(Invocation::VerifyTicket(claim)) => {
            let finding = claim.examine();
            let is_told = logging::say(&finding).is_ok();
            if is_told && finding.is_true { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Invocation::Check { config, within }) => check::check(&config, within),
        Err(ConfigError::Asked(text)) => {
            // Who asked and does not listen to the end is content.
            let _ = logging::say(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(ConfigError::Mistake(line)) => mistake(&line),
    }
}

/// A secret from the environment.
fn secret(variable: &str) -> Result<Option<String>, String> {
    match std::env::var(variable) {
        Ok(secret) => Ok(Some(secret)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{variable} must be text")),
    }
}

fn serve(config: &Config) -> ExitCode {
    let _log = logging::start();
    let certificates = config.certificates();
    for line in config.secrets.warnings.iter().chain(&certificates.warnings()) {
        warn!("{line}");
    }
    let keeper = match Keeper::start(config.secrets.kept.clone(), config.kafka_login.as_ref()) {
        Ok(keeper) => keeper,
        Err(error) => return mistake(&format!("no thread for secrets: {error}")),
    };
    let descriptors = match raise_limit() {
        Ok(descriptors) => descriptors,
        Err(error) => return mistake(&format!("cannot tell how many descriptors there are: {error}")),
    };
    // Each worker that is watched has a socket at times.
    let left = descriptors.saturating_sub(config.workers.len() as u64);
    let workers = match Workers::watch(&config.workers) {
        Ok(workers) => workers,
        Err(error) => return mistake(&format!("cannot watch the workers: {error}")),
    };
    let plan = Plan {
        listen: config.listen,
        admin: config.admin,
        waiting_room: config.waiting_room,
        certificates: certificates.clone(),
        driver: config.driver,
        cores: config.cores.clone(),
        connections_per_core_max: connections_per_core(left, config.cores.len(), config.kafka.len()),
        redis: config.redis.clone(),
        kafka_tls: config.kafka_tls.clone(),
        front: config.front.clone(),
        keep_alive: config.keep_alive,
        drain_delay: config.drain_delay,
        drain_deadline: config.drain_deadline,
        workers,
    };
    let connections_per_core = plan.connections_per_core_max;
    let identity = match config.identity.clone().map(IdentityProvider::load).transpose() {
        Ok(identity) => identity.map(Arc::new),
        Err(error) => return mistake(&format!("--jwt-keys: {error}")),
    };
    if let Some(line) = identity.as_ref().and_then(|identity| identity.warning()) {
        warn!("{line}");
    }
    let (told, known) = (config.clone(), identity.clone());
    let board = Arc::<Board>::default();
    let running = start(plan, move |index, listen, counters, now| {
        let mut core = told.for_core(listen.port());
        core.identity.clone_from(&known);
        let core = Core::new(Rc::new(core), Arc::clone(&counters.decisions), index, random::draw(), now);
        core.beside(Arc::clone(&board)).reading_fences(now)
    });
    let running = match running {
        Ok(running) => running,
        Err(error @ (StartError::Listen(_) | StartError::Core { .. } | StartError::System(_))) => {
            return mistake(&error.to_string());
        }
    };
    if identity.is_none() {
        warn!(
            "userId is what callers say: perUser and fair queues are advisory without the keys of an identity provider (--jwt-keys)"
        );
    }
    let reloader = Reloader::start(move |occasion| {
        certificates.reload(occasion);
        identity.iter().for_each(|identity| reload_keys(identity));
    });
    let reloader = match reloader {
        Ok(reloader) => reloader,
        Err(error) => return mistake(&format!("no thread to read files anew: {error}")),
    };
    let reload = move || {
        keeper.reload();
        reloader.ring();
    };
    if let Err(error) = signals::watch(running.drain(), reload) {
        return mistake(&format!("cannot listen for signals: {error}"));
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        edge = config.edge_id,
        driver = %running.driver,
        cores = ?config.cores,
        listen = %running.listen,
        admin = %running.admin,
        waiting_room = running.waiting_room.map(tracing::field::display),
        tls = config.tls.is_some(),
        redis = %config.redis.address,
        kafka = config.brokers(),
        topic = config.topic,
        connections_per_core,
        "flux-edge serves"
    );
    if running.wait() {
        info!("drained");
        ExitCode::SUCCESS
    } else {
        error!("ended by a core that broke down");
        ExitCode::FAILURE
    }
}

fn reload_keys(identity: &IdentityProvider) {
    match identity.reload() {
        Ok(keys) => {
            info!(keys, "the keys of bearer tokens were read anew");
            if let Some(line) = identity.warning() {
                warn!("{line}");
            }
        }
        Err(error) => error!(%error, "the keys of bearer tokens stay as they were: --jwt-keys cannot be read anew"),
    }
}
