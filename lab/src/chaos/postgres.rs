//! PostgreSQL full, restarted, deadlocked, without connections to give: orders wait in the topic, and are stored then.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::outcome::Outcome;
use super::trial::{PLENTY, PRODUCT, Trial, WAIT_MAX, proxied};
use crate::control::Controlled;
use crate::deployment::{DeploymentOptions, Servers};
use crate::error::{Doing, LabError};
use crate::run_dir::RunDir;
use crate::servers::{KafkaOptions, PostgresOptions};

/// A file system of a fixed size in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf, mib: u32) -> Result<SmallDisk, LabError> {
        std::fs::create_dir_all(&path).doing(|| format!("making {}", path.display()))?;
        let size = format!("size={mib}m");
        let ran = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        let ran = ran.doing(|| "starting mount".to_owned())?;
        if ran.status.success() {
            return Ok(SmallDisk(path));
        }
        let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        Err(LabError::Missing {
            what: format!("the right to mount a tmpfs ({said})"),
            install: "run as root".to_owned(),
        })
    }

    /// Fills what is left with one file, which it returns.
    fn fill(&self) -> Result<PathBuf, LabError> {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).doing(|| format!("making {}", path.display()))?;
        let block = vec![1; 64 << 10];
        loop {
            match std::io::Write::write(&mut file, &block) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(path),
                Err(error) => return Err(error).doing(|| format!("filling {}", path.display())),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server that used it may be ending. Where it fails, its directory cannot be removed and says so.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Row 28.
pub(super) fn disk_full() -> Result<Outcome, LabError> {
    const DISK_MIB: u32 = 200;
    let run = RunDir::new()?;
    let disk = SmallDisk::mount(run.join("small-disk"), DISK_MIB)?;
    let postgres = PostgresOptions {
        settings: [("max_wal_size", "32MB"), ("min_wal_size", "32MB")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        data: Some(disk.0.join("data")),
        ..PostgresOptions::default()
    };
    let kafka = KafkaOptions { proxied: true, ..KafkaOptions::default() };
    let mut trial = Trial::start(DeploymentOptions { servers: Servers::Own { kafka, postgres }, ..proxied() }, PLENTY)?;
    trial.load()?;
    let filler = disk.fill()?;
    trial.wait_for("the worker says that it cannot store", says_no_space)?;
    trial.more_accepted(1_000)?;
    remove(&filler)?;
    // Out of room for its log PostgreSQL ends itself; its operator starts it again.
    if !trial.deployment.postgres().is_running() {
        trial.deployment.postgres().up()?;
    }
    trial.mended()?;
    let outcome = trial.conclude();
    drop(disk);
    outcome
}

/// Or PostgreSQL has ended, which it does where its log finds no room.
fn says_no_space(trial: &mut Trial) -> Result<bool, LabError> {
    if !trial.deployment.postgres().is_running() {
        return Ok(true);
    }
    Ok(trial.deployment.workers[0].program.output().contains("No space left on device"))
}

fn remove(path: &Path) -> Result<(), LabError> {
    std::fs::remove_file(path).doing(|| format!("removing {}", path.display()))
}

/// Row 29: a fast shutdown, then a kill.
pub(super) fn restarted() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    for kill in [false, true, false, true] {
        if kill {
            trial.deployment.postgres().kill();
        } else {
            trial.deployment.postgres().stop()?;
        }
        trial.more_accepted(100)?;
        trial.deployment.postgres().up()?;
        let stored = trial.stored()?;
        trial.wait_for("orders are stored again", |trial| Ok(trial.stored()? > stored))?;
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 29: somebody locks what the worker locks, the other way round, and waits so patiently that the worker is the one
/// whose transaction is ended.
pub(super) fn deadlocked() -> Result<Outcome, LabError> {
    const TIMES: usize = 3;
    let mut trial = Trial::start(DeploymentOptions { partitions: 1, ..proxied() }, PLENTY)?;
    trial.load()?;
    let deadlocks = |trial: &Trial| -> Result<i64, LabError> {
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let row = trial.deployment.ledger()?.query_one(sql, &[]);
        Ok(row.doing(|| "counting deadlocks".to_owned())?.get(0))
    };
    for _ in 0..TIMES {
        let before = deadlocks(&trial)?;
        let mut session = trial.deployment.ledger()?;
        let lock = |session: &mut postgres::Client, sql: &str| {
            session.batch_execute(sql).doing(|| format!("a foreign session: {sql}"))
        };
        lock(&mut session, "SET deadlock_timeout = '1h'; BEGIN")?;
        lock(&mut session, &format!("SELECT 1 FROM sales WHERE product_id = '{PRODUCT}' FOR UPDATE"))?;
        trial.wait_for("the worker waits for the sale's row", |trial| {
            let sql = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
                       WHERE NOT granted AND datname = current_database()";
            let row = trial.deployment.ledger()?.query_one(sql, &[]);
            Ok(row.doing(|| "looking at locks".to_owned())?.get::<_, i64>(0) > 0)
        })?;
        lock(&mut session, "SELECT 1 FROM offsets FOR UPDATE")?;
        lock(&mut session, "ROLLBACK")?;
        drop(session);
        let stored = trial.stored()?;
        trial.wait_for("orders are stored again", |trial| Ok(trial.stored()? > stored))?;
        trial.note = format!("{} deadlocks", deadlocks(&trial)?.max(before));
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 29.
pub(super) fn out_of_connections() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(proxied(), PLENTY)?;
    trial.load()?;
    let mut held = Vec::new();
    let until = std::time::Instant::now() + WAIT_MAX;
    // Every place is taken, then the worker's connections are cut and their places taken as well.
    while let Ok(client) = trial.deployment.ledger() {
        held.push(client);
        if std::time::Instant::now() > until {
            return Err(LabError::failed("PostgreSQL has no end of connections"));
        }
    }
    let Some(first) = held.first_mut() else { return Err(LabError::failed("PostgreSQL had no connection for us")) };
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'flux%'";
    let cut = first.query(sql, &[]).doing(|| "cutting the worker's connections".to_owned())?.len();
    while let Ok(client) = trial.deployment.ledger() {
        held.push(client);
    }
    trial.note = format!("{} connections taken, {cut} of the worker's cut", held.len());
    trial.wait_for("the worker is told that there are too many", |trial| {
        let said = trial.deployment.workers[0].program.output().to_ascii_lowercase();
        Ok(said.contains("too many") || said.contains("53300"))
    })?;
    std::thread::sleep(Duration::from_secs(2));
    drop(held);
    trial.mended()?;
    trial.conclude()
}
