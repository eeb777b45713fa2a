//! The task that keeps one core connected to Redis: connect, read, and again after a rest.
//!
//! Never interprets a byte; the machine does. Calls that were on their way when a connection ended are the machine's
//! to ask again: it is told of every end.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::PoisonError;

use bytes::BytesMut;
use flux_net::failures::Failures;
use flux_net::{ReadHalf, RedisTarget, SocketWriter, Stream, Tail, Timer};
use tracing::{info, warn};

use crate::core::machine::Machine;
use crate::limits::shell::{LINK_BACKOFF_MAX, LINK_CONNECT_TIME_MAX, LINK_READ_BYTES};
use crate::shell::backoff::Backoff;
use crate::shell::shard::Shard;

/// Runs for as long as the core does.
/// `timer` is its own: where no descriptor is left for one, the rest before the next attempt is what is needed most.
pub(crate) async fn keep_connected<M: Machine>(shard: Rc<Shard<M>>, target: RedisTarget, timer: Timer, seed: u64) {
    let address = &target.address;
    let mut backoff = if target.tls.is_some() { Backoff::spread(seed) } else { Backoff::new(seed) };
    let (unreachable, short_lived) = (Failures::default(), Failures::default());
    loop {
        match Stream::connect_with(address, target.tls.as_ref(), LINK_CONNECT_TIME_MAX).await {
            Ok(stream) => {
                let since = shard.clock.instant();
                shard.counters.shell.redis_connects.add(1);
                note_fault(&shard, None);
                let why = converse(&shard, stream).await;
                // Redis that hangs up at once, for want of a login for example, is not asked 20 times a second, and said ever
                // more rarely: it may read its data for minutes.
                if shard.clock.instant().since(since) > LINK_BACKOFF_MAX {
                    backoff.reset();
                    short_lived.clear();
                }
                if let Some(times) = short_lived.note(shard.clock.instant(), &why) {
                    warn!(core = shard.index, redis = %address, why, times, "connection to Redis ended");
                }
                unreachable.clear();
            }
            Err(error) => {
                let error = error.to_string();
                if let Some(failures) = unreachable.note(shard.clock.instant(), &error) {
                    warn!(core = shard.index, redis = %address, failures, error, "cannot connect to Redis");
                }
                note_fault(&shard, Some(error));
                shard.event(|machine, now| machine.handle_redis_closed(now));
            }
        }
        timer.set(backoff.rest());
        if let Err(error) = timer.fired().await {
            warn!(core = shard.index, %error, "the timer failed; Redis is given up");
            return;
        }
    }
}

/// For `/readyz`.
fn note_fault<M: Machine>(shard: &Shard<M>, fault: Option<String>) {
    *shard.counters.decisions.redis_fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
}

async fn converse<M: Machine>(shard: &Rc<Shard<M>>, stream: Stream) -> String {
    let (read, write) = stream.into_split();
    let writer = SocketWriter::new(write, Rc::clone(&shard.pump));
    *shard.redis.borrow_mut() = Some(Rc::clone(&writer));
    shard.event(|machine, now| machine.handle_redis_open(now));
    let why = read_all(shard, read).await;
    shard.redis.borrow_mut().take();
    writer.close();
    shard.event(|machine, now| machine.handle_redis_closed(now));
    why
}

/// Hands over what comes until the connection ends; the reason.
async fn read_all<M: Machine>(shard: &Rc<Shard<M>>, mut read: ReadHalf) -> String {
    let mut buffer = BytesMut::with_capacity(LINK_READ_BYTES);
    let mut is_told = false;
    loop {
        buffer.reserve(LINK_READ_BYTES / 2);
        let (result, tail) = read.read(Tail(buffer)).await;
        buffer = tail.0;
        match result {
            Ok(0) => return "closed".into(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return error.to_string(),
        }
        if let Err(fault) = shard.event(|machine, now| machine.handle_redis_bytes(now, &mut buffer)) {
            return fault.0;
        }
        // A socket that is open is no login.
        if !is_told && shard.machine.borrow().redis_down_for(shard.clock.now()).is_zero() {
            is_told = true;
            info!(core = shard.index, "connected to Redis");
        }
    }
}
