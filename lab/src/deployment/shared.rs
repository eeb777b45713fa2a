//! Kafka and PostgreSQL of a deployment: its own, or those that all deployments of a process share.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::error::LabError;
use crate::run_dir::RunDir;
use crate::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};

pub(super) type Shared = (Arc<Mutex<Kafka>>, Arc<Mutex<Postgres>>);

pub(super) fn start_servers(run: &RunDir, kafka: KafkaOptions, postgres: PostgresOptions) -> Result<Shared, LabError> {
    let (kafka, postgres) = std::thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::start(run, kafka));
        let postgres = Postgres::start(run, postgres);
        (kafka.join().unwrap_or_else(|_| Err(LabError::failed("starting Kafka panicked"))), postgres)
    });
    Ok((Arc::new(Mutex::new(kafka?)), Arc::new(Mutex::new(postgres?))))
}

/// Kafka and PostgreSQL of this process. They end with it.
pub(super) fn shared() -> Result<Shared, LabError> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| {
        // Many small tests: the disk is not what they test.
        let postgres = PostgresOptions { fsync: false, ..PostgresOptions::default() };
        let kafka = KafkaOptions { proxied: true, ..KafkaOptions::default() };
        let started = RunDir::new().and_then(|run| start_servers(&run, kafka, postgres));
        started.map_err(|error| error.to_string())
    });
    started.clone().map_err(LabError::Failed)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked while it held the lock has left a server, not half a data structure.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
