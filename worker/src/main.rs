//! `flux-worker`: reads its configuration, starts what it was told to do, and turns the outcome into an exit code.

use std::process::ExitCode;
use std::rc::Rc;

use flux_net::reload::Reloader;
use flux_net::secrets::keeper::Keeper;
use flux_net::{Bound, Doorbell, ListenOptions, Notify, Runtime, RuntimeOptions, listener, logging};
use flux_worker::config::{Config, ConfigError, Task};
use flux_worker::serve::{ServeError, serve};
use flux_worker::{audit, dead_letters, rebuild};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A mistake in the configuration, or one that only an operator can mend.
const EXIT_MISTAKE: u8 = 2;
/// Something that should not happen.
const EXIT_FAILURE: u8 = 1;

fn main() -> ExitCode {
    let config = match Config::read(std::env::args_os()) {
        Ok(config) => config,
        Err(ConfigError::Asked(text)) => {
            // Who asked and does not listen to the end is content.
            let _ = logging::say(text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(ConfigError::Mistake(line)) => return mistake(&line),
    };
    let _log = logging::start();
    for line in config.secrets.warnings.iter().chain(&config.certificates().warnings()) {
        warn!("{line}");
    }
    let keeper = match Keeper::start(config.secrets.kept.clone(), config.kafka_login.as_ref()) {
        Ok(keeper) => keeper,
        Err(error) => return mistake(&format!("no thread for secrets: {error}")),
    };
    let mut runtime = match Runtime::build(RuntimeOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return mistake(&error.to_string()),
    };
    match &config.task {
        Task::Consume => {}
        Task::Audit { product } => return runtime.block_on(audit::run(&config, product.as_ref())),
        Task::Rebuild(order) => return runtime.block_on(rebuild::run(&config, order)),
        Task::DeadLetters { action, product } => {
            return runtime.block_on(dead_letters::run(&config, *action, product.as_ref()));
        }
    }
    // Bound before anything is asked of a server: a port that is taken is a mistake that waiting does not mend.
    let options = ListenOptions { shared_port: false, wait_for_data: false };
    let listener = match listener::bind(config.admin, options) {
        Ok(listener) => listener,
        Err(error) => return mistake(&format!("--worker-admin {}: {error}", config.admin)),
    };
    info!(driver = %runtime.driver(), admin = %config.admin, topic = config.topic, group = config.group, "starting");
    runtime.block_on(consume(&config, listener, keeper))
}

/// One line on standard error.
fn mistake(line: &str) -> ExitCode {
    logging::complain(format_args!("flux-worker: {line}"));
    ExitCode::from(EXIT_MISTAKE)
}

/// From the first connection to the last.
async fn consume(config: &Config, listener: Bound, keeper: Keeper) -> ExitCode {
    let stop = Rc::new(Notify::new());
    let certificates = config.certificates();
    let reloader = match Reloader::start(move |occasion| certificates.reload(occasion)) {
        Ok(reloader) => reloader,
        Err(error) => {
            error!(%error, "no thread to read certificates anew");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let reload = move || {
        keeper.reload();
        reloader.ring();
    };
    if let Err(error) = listen_to_signals(Rc::clone(&stop), reload) {
        error!(%error, "signals cannot be heard");
        return ExitCode::from(EXIT_FAILURE);
    }
    match serve(config, listener, stop).await {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(ServeError::Refused(line)) => mistake(&line),
        Err(error @ ServeError::System(_)) => {
            error!("{error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// SIGTERM and SIGINT, heard on a thread of their own and brought here by a doorbell; SIGHUP has secrets and certificates read
/// anew.
fn listen_to_signals(stop: Rc<Notify>, reload: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let doorbell = Doorbell::new()?;
    let heard = doorbell.listen()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP => reload(),
                _ => doorbell.ring(),
            }
        }
    })?;
    flux_net::spawn(async move {
        while heard.rung().await.is_ok() {
            stop.notify();
        }
    });
    Ok(())
}
