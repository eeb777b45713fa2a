//! Redis stopped, emptied, rolled back, failed over, or refusing: nothing is sold meanwhile, and nothing twice afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::outcome::Outcome;
use super::trial::{PLENTY, Trial, WAIT_MAX, proxied, two_edges};
use crate::control::Controlled;
use crate::deployment::DeploymentOptions;
use crate::error::{Doing, LabError};
use crate::proxy::{Proxy, Then, Way};
use crate::servers::{Redis, RedisOptions};

/// Units of a sale that is to be sold out at the end, where overselling would show.
const FEW: u64 = 3_000;
/// How long Redis goes on refusing.
const REFUSING: Duration = Duration::from_secs(2);

/// Row 10.
pub(super) fn stopped() -> Result<Outcome, LabError> {
    const STOPPED: Duration = Duration::from_secs(30);
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    trial.deployment.redis.pause()?;
    trial.distrust();
    trial.more_refused(20)?;
    std::thread::sleep(STOPPED);
    trial.trust();
    trial.deployment.redis.resume();
    trial.mended()?;
    trial.conclude()
}

/// Row 11.
pub(super) fn replies_lost() -> Result<Outcome, LabError> {
    const TIMES: usize = 15;
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    let redis = trial.links().edge_redis;
    for _ in 0..TIMES {
        redis.trap(Way::ToServer, &trial.mark(), Then::Hold(Way::ToClient));
        redis.wait_seen(WAIT_MAX)?;
        // Long enough for Redis to carry the call out.
        std::thread::sleep(Duration::from_millis(20));
        redis.reset();
        redis.pass();
        trial.more_accepted(20)?;
    }
    trial.mended()?;
    trial.conclude()
}

/// Row 12.
pub(super) fn restarted_empty() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), FEW)?;
    trial.allow.redis_lost_data = true;
    trial.allow.redis_was_replaced = true;
    trial.load()?;
    trial.deployment.redis.kill();
    trial.distrust();
    trial.more_refused(20)?;
    trial.deployment.redis.wipe()?;
    trial.deployment.redis.up()?;
    trial.more_refused(100)?;
    rebuilt_and_sold_out(trial, &[])
}

/// Rebuilds, and sells what is left: too much would show.
fn rebuilt_and_sold_out(mut trial: Trial, arguments: &[&str]) -> Result<Outcome, LabError> {
    trial.rebuild_trusted(arguments)?;
    trial.mended()?;
    trial.sell_out()?;
    trial.conclude()
}

/// Row 13.
pub(super) fn last_second_lost() -> Result<Outcome, LabError> {
    let redis = RedisOptions { append_only: true, ..RedisOptions::default() };
    let mut trial = Trial::start(DeploymentOptions { redis, ..two_edges() }, FEW)?;
    trial.allow.redis_lost_data = true;
    let front = Proxy::before(trial.deployment.edges[0].public())?;
    trial.load_through(&front)?;
    // The edge is stopped with records that are reserved and that Kafka has not seen.
    let links = trial.links();
    links.edge_kafka[0].trap(Way::ToServer, &trial.mark(), Then::Hold(Way::ToServer));
    links.edge_kafka[0].wait_seen(WAIT_MAX)?;
    trial.deployment.edges[0].program.pause()?;
    links.edge_kafka[0].reset();
    links.pass();
    front.aim(trial.deployment.edges[1].public());
    front.reset();
    trial.more_accepted(200)?;
    let file = newest_append_only_file(trial.deployment.redis.directory())?;
    let kept = file_length(&file)?;
    std::thread::sleep(Duration::from_secs(1));
    trial.deployment.redis.kill();
    trial.distrust();
    let lost = file_length(&file)?.saturating_sub(kept);
    let truncated = std::fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(kept));
    truncated.doing(|| format!("truncating {}", file.display()))?;
    trial.note = format!("{lost} bytes of the log lost");
    trial.deployment.redis.up()?;
    trial.more_refused(20)?;
    trial.rebuild_trusted(&[])?;
    trial.deployment.edges[0].program.resume();
    trial.mended()?;
    trial.sell_out()?;
    trial.conclude()
}

fn file_length(path: &Path) -> Result<u64, LabError> {
    std::fs::metadata(path).map(|meta| meta.len()).doing(|| format!("looking at {}", path.display()))
}

/// The part of the log that is written to: `appendonlydir/*.incr.aof`.
fn newest_append_only_file(directory: &Path) -> Result<PathBuf, LabError> {
    let directory = directory.join("appendonlydir");
    let entries = std::fs::read_dir(&directory).doing(|| format!("reading {}", directory.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let newest = paths.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max();
    newest.ok_or_else(|| LabError::failed(format!("{} holds no append-only file", directory.display())))
}

/// Row 14: a replica that misses the last writes is promoted.
pub(super) fn failed_over() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), FEW)?;
    trial.allow.redis_lost_data = true;
    trial.allow.redis_was_replaced = true;
    trial.load()?;
    let mut replica = replica_of(&mut trial)?;
    replica.pause()?;
    trial.more_accepted(200)?;
    trial.deployment.redis.kill();
    trial.distrust();
    replica.resume();
    command(&replica, &["REPLICAOF", "NO", "ONE"])?;
    trial.deployment.replace_redis(replica);
    let links = trial.links();
    links.edge_redis.reset();
    links.worker_redis.reset();
    trial.more_refused(100)?;
    rebuilt_and_sold_out(trial, &["--old-master-is-dead"])
}

/// Row 14: Redis takes over the data of a stale node and is a primary again, under the same run id.
pub(super) fn there_and_back() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), FEW)?;
    trial.allow.redis_lost_data = true;
    trial.allow.redis_was_replaced = true;
    trial.load()?;
    let stale = replica_of(&mut trial)?;
    command(&stale, &["REPLICAOF", "NO", "ONE"])?;
    trial.more_accepted(200)?;
    let address = stale.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    command(&trial.deployment.redis, &["REPLICAOF", &host, &port])?;
    trial.distrust();
    trial.wait_for("the stale data has arrived", |trial| {
        Ok(replication(&trial.deployment.redis)?.contains("master_link_status:up"))
    })?;
    command(&trial.deployment.redis, &["REPLICAOF", "NO", "ONE"])?;
    trial.more_refused(100)?;
    rebuilt_and_sold_out(trial, &["--old-master-is-dead"])
}

/// Row 14: everything is flushed, under the same run id and replication id.
pub(super) fn flushed() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), FEW)?;
    trial.allow.redis_lost_data = true;
    trial.allow.redis_was_replaced = true;
    trial.load()?;
    command(&trial.deployment.redis, &["FLUSHALL"])?;
    trial.distrust();
    trial.more_refused(100)?;
    rebuilt_and_sold_out(trial, &[])
}

/// A replica that has caught up.
fn replica_of(trial: &mut Trial) -> Result<Redis, LabError> {
    let replica = Redis::start(trial.deployment.run(), RedisOptions::default())?;
    let address = trial.deployment.redis.address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    command(&replica, &["REPLICAOF", &host, &port])?;
    trial.wait_for("the replica has caught up", |_| Ok(replication(&replica)?.contains("master_link_status:up")))?;
    // A new replication id is seen, and taken over, by every edge first.
    trial.more_accepted(400)?;
    Ok(replica)
}

fn replication(redis: &Redis) -> Result<String, LabError> {
    redis::cmd("INFO").arg("replication").query(&mut redis.connection()?).doing(|| "INFO replication".to_owned())
}

fn command(redis: &Redis, words: &[&str]) -> Result<(), LabError> {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    command.exec(&mut redis.connection()?).doing(|| words.join(" "))
}

/// Row 16: no memory left.
pub(super) fn out_of_memory() -> Result<Outcome, LabError> {
    refusing(
        |redis| command(redis, &["CONFIG", "SET", "maxmemory", "1"]),
        |redis| command(redis, &["CONFIG", "SET", "maxmemory", "0"]),
    )
}

/// Row 16: a snapshot failed, and writes are refused until one succeeds.
pub(super) fn snapshot_failing() -> Result<Outcome, LabError> {
    let status = |redis: &Redis, wanted: &str| -> Result<(), LabError> {
        let until = std::time::Instant::now() + WAIT_MAX;
        loop {
            let info: String =
                redis::cmd("INFO").arg("persistence").query(&mut redis.connection()?).doing(|| "INFO".to_owned())?;
            if info.contains(&format!("rdb_last_bgsave_status:{wanted}")) && info.contains("rdb_bgsave_in_progress:0") {
                return Ok(());
            }
            if std::time::Instant::now() > until {
                return Err(LabError::failed(format!("BGSAVE did not end as {wanted}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let in_the_way = |redis: &Redis| redis.directory().join("dump.rdb");
    refusing(
        |redis| {
            // A directory of that name: the snapshot cannot be put in its place, whichever user Redis runs as.
            let path = in_the_way(redis);
            std::fs::create_dir(&path).doing(|| format!("making {}", path.display()))?;
            command(redis, &["CONFIG", "SET", "save", "3600 1000000"])?;
            command(redis, &["BGSAVE"])?;
            status(redis, "err")
        },
        |redis| {
            let path = in_the_way(redis);
            std::fs::remove_dir(&path).doing(|| format!("removing {}", path.display()))?;
            command(redis, &["BGSAVE"])?;
            status(redis, "ok")
        },
    )
}

/// Row 16: a script that does not end.
pub(super) fn busy() -> Result<Outcome, LabError> {
    refusing(
        |redis| {
            command(redis, &["CONFIG", "SET", "busy-reply-threshold", "100"])?;
            let mut connection = redis.connection()?;
            std::thread::spawn(move || {
                // It is killed, and says so: that is no news.
                let _ = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connection);
            });
            let until = std::time::Instant::now() + WAIT_MAX;
            loop {
                let answer = redis::cmd("PING").exec(&mut redis.connection()?);
                if answer.is_err_and(|error| error.to_string().to_ascii_lowercase().contains("busy")) {
                    return Ok(());
                }
                if std::time::Instant::now() > until {
                    return Err(LabError::failed("Redis did not become busy"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        },
        |redis| command(redis, &["SCRIPT", "KILL"]),
    )
}

/// Redis refuses for a while, with its data in place: nothing is sold, then all is as before.
fn refusing(
    refuse: impl Fn(&Redis) -> Result<(), LabError>,
    mend: impl Fn(&Redis) -> Result<(), LabError>,
) -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), PLENTY)?;
    trial.load()?;
    refuse(&trial.deployment.redis)?;
    trial.distrust();
    trial.more_refused(50)?;
    std::thread::sleep(REFUSING);
    trial.trust();
    mend(&trial.deployment.redis)?;
    trial.mended()?;
    trial.conclude()
}

/// Row 16: it became a replica of nobody, and answers READONLY.
pub(super) fn read_only() -> Result<Outcome, LabError> {
    let mut trial = Trial::start(two_edges(), FEW)?;
    trial.allow.redis_lost_data = true;
    trial.load()?;
    // Nobody listens on port 1: its data stays what it is.
    command(&trial.deployment.redis, &["REPLICAOF", "127.0.0.1", "1"])?;
    trial.distrust();
    trial.more_refused(100)?;
    command(&trial.deployment.redis, &["REPLICAOF", "NO", "ONE"])?;
    trial.more_refused(100)?;
    rebuilt_and_sold_out(trial, &["--old-master-is-dead"])
}

/// Row 16: it starts with its data, slowly, and answers LOADING.
pub(super) fn loading() -> Result<Outcome, LabError> {
    // So many µs a key or command; and it answers after every so many bytes.
    let slow = ["--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024"];
    let arguments = slow.map(str::to_owned).to_vec();
    let redis = RedisOptions { append_only: true, arguments, ..RedisOptions::default() };
    let mut trial = Trial::start(DeploymentOptions { redis, ..proxied() }, FEW)?;
    trial.allow.redis_lost_data = true;
    trial.load()?;
    trial.more_accepted(400)?;
    trial.deployment.redis.kill();
    trial.distrust();
    trial.deployment.redis.up()?;
    trial.more_refused(100)?;
    rebuilt_and_sold_out(trial, &[])
}
