//! A worker in the world: the program that ships, from its command line on.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use flux_net::simulated::Task;
use flux_net::{Clock, ListenOptions, Notify, listener};
use flux_protocol::order::Identifier;
use flux_protocol::time::Instant;
use flux_worker::audit::{Account, audit};
use flux_worker::config::{Config, ConfigError, RebuildOrder, Task as Told};
use flux_worker::rebuild::rebuild;
use flux_worker::serve::serve;

use crate::world::{ProcessId, World};

/// What a command came to, once it has: its line or account, or why there is none.
pub type Heard<T> = Rc<RefCell<Option<Result<T, String>>>>;

/// A running worker.
#[derive(Clone)]
pub struct Worker {
    /// Its process.
    pub process: ProcessId,
    /// Notified, it stops in order.
    pub stop: Rc<Notify>,
}

fn config(flags: &[String], command: &[&str], ttl: Duration) -> Config {
    let mut line: Vec<String> = [
        "flux-worker",
        "--kafka=kafka:9092",
        "--redis=redis://redis:6379",
        "--postgres=postgres://flux@postgres:5432/flux",
    ]
    .map(str::to_owned)
    .to_vec();
    line.extend_from_slice(flags);
    line.extend(command.iter().map(|word| (*word).to_owned()));
    match Config::read(line) {
        // Shorter than the command line allows, where a run is to see records run out.
        Ok(config) => Config { idempotency_ttl: ttl, ..config },
        Err(ConfigError::Mistake(why) | ConfigError::Asked(why)) => panic!("{why}"),
    }
}

/// Starts one under `name`, with what is added to its command line; records live for `ttl`.
///
/// # Panics
/// Where the command line is refused: the scenario is wrong.
pub fn start(world: &mut World, name: &str, flags: &[String], ttl: Duration) -> Worker {
    let stop = Rc::new(Notify::new());
    let heard = Rc::clone(&stop);
    let process = world.start(name, || {
        let config = config(flags, &[], ttl);
        let options = ListenOptions { shared_port: false, wait_for_data: false };
        let bound = listener::bind(config.admin, options).expect("a new process' ports are free");
        let main: Task = Box::pin(async move {
            serve(&config, bound, heard).await.expect("nothing that only an operator could mend");
        });
        vec![main]
    });
    Worker { process, stop }
}

/// Starts `flux-worker rebuild --product P` with `more` behind it; `look` is called where it has ended well,
/// at that moment.
///
/// # Panics
/// Where the command line is refused: the scenario is wrong.
pub fn start_rebuild(
    world: &mut World,
    product: &str,
    more: &[String],
    ttl: Duration,
    look: impl FnOnce(Instant) + 'static,
) -> (ProcessId, Heard<String>) {
    let told: Heard<String> = Rc::default();
    let teller = Rc::clone(&told);
    let process = world.start("rebuild", || {
        let mut command = vec!["rebuild", "--product", product];
        command.extend(more.iter().map(String::as_str));
        let config = config(&[], &command, ttl);
        let Told::Rebuild(order) = config.task.clone() else { unreachable!("that is what was said") };
        let order: RebuildOrder = order;
        let main: Task = Box::pin(async move {
            let outcome = rebuild(&config, &order).await.map_err(|ended| ended.to_string());
            if outcome.is_ok() {
                look(Clock::start().instant());
            }
            *teller.borrow_mut() = Some(outcome);
        });
        vec![main]
    });
    (process, told)
}

/// Starts `flux-worker audit`.
pub fn start_audit(world: &mut World) -> (ProcessId, Heard<Vec<Account>>) {
    let told: Heard<Vec<Account>> = Rc::default();
    let teller = Rc::clone(&told);
    let process = world.start("audit", || {
        let config = config(&[], &["audit"], Duration::from_secs(3600));
        let main: Task = Box::pin(async move {
            let outcome = audit(&config, None::<&Identifier>).await.map_err(|ended| ended.to_string());
            *teller.borrow_mut() = Some(outcome);
        });
        vec![main]
    });
    (process, told)
}
