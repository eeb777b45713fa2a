//! One coarse ticker a core: bounds on time of all its connections, the date, how long its peers have been away, and the
//! memory of those who have left.
//!
//! A timer for each read would cost more than the read. So a connection notes the tick at which it began to wait, and
//! the ticker walks the table. It ends what is over time by shutting the socket down: a read that is pending then
//! returns the end of the stream, and the connection's own task does the rest. No read is ever dropped, so none loses bytes.

use std::net::Shutdown;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

use flux_net::Timer;
use flux_net::stream::{has_unread, shutdown};
use flux_protocol::time::Now;
use tracing::error;

use crate::core::machine::Machine;
use crate::counters::shell::Ended;
use crate::limits::shell::{
    BODY_TIME_MAX, CONNECTION_TICK, HANDSHAKE_TIME_MAX, HEAD_TIME_MAX, IDLE_LOOKED_AT_MAX, IDLE_TIME_MIN,
    LINGER_TIME_MAX, WRITE_TIME_MAX,
};
use crate::shell::connection_table::Phase;
use crate::shell::memory::{self, Crowd};
use crate::shell::shard::Shard;

/// Ticks until `phase` has lasted too long, where an idle connection is kept for `keep_alive`; `None` where the machine bounds
/// it.
fn ticks_max(phase: Phase, keep_alive: Duration) -> Option<u32> {
    let span = match phase {
        Phase::Handshake => HANDSHAKE_TIME_MAX,
        Phase::Idle => keep_alive,
        Phase::Head => HEAD_TIME_MAX,
        Phase::Body => BODY_TIME_MAX,
        Phase::Answers => return None,
        Phase::Writing => WRITE_TIME_MAX,
        Phase::Lingering => LINGER_TIME_MAX,
    };
    Some(ticks(span))
}

/// So many ticks last for `span` at least.
pub(crate) const fn ticks(span: Duration) -> u32 {
    let ticks = span.as_millis().div_ceil(CONNECTION_TICK.as_millis());
    assert!(ticks <= u32::MAX as u128, "a bound of an hour at most");
    ticks as u32
}

/// Ticks for as long as the core runs.
pub(crate) async fn run<M: Machine>(shard: Rc<Shard<M>>, timer: Timer) {
    let mut crowd = Crowd::default();
    loop {
        timer.set(CONNECTION_TICK);
        if let Err(error) = timer.fired().await {
            error!(core = shard.index, %error, "the ticker failed: time is no longer bounded on this core");
            return;
        }
        shard.tick.set(shard.tick.get().wrapping_add(1));
        let now = shard.clock.now();
        shard.date.borrow_mut().set(now.wall_ms / 1000);
        end_overdue(&shard);
        if shard.draining.get() {
            end_idle(&shard);
        }
        look_at_peers(&shard, now);
        let open = shard.connections.borrow().open();
        if crowd.has_left(open) {
            shard.buffers.borrow_mut().trim(open);
            shard.connections.borrow_mut().trim();
            memory::give_back();
        }
        // Where the fine timer has failed, deadlines are still met, only later.
        shard.pump.notify();
    }
}

fn end_overdue<M: Machine>(shard: &Shard<M>) {
    let ended = &shard.counters.shell.ended;
    let ticks_max = |phase| ticks_max(phase, shard.keep_alive);
    shard.connections.borrow_mut().take_overdue(shard.tick.get(), ticks_max, |overdue| {
        let (how, why) = match overdue.phase {
            Phase::Handshake => (Shutdown::Both, Some(Ended::Handshake)),
            Phase::Idle => (Shutdown::Both, Some(Ended::Idle)),
            // Only the reading ends: the client is told with a 408.
            Phase::Head => (Shutdown::Read, Some(Ended::Head)),
            Phase::Body => (Shutdown::Read, Some(Ended::Body)),
            Phase::Writing => (Shutdown::Both, Some(Ended::Write)),
            Phase::Answers | Phase::Lingering => (Shutdown::Both, None),
        };
        end_socket(overdue.descriptor, how);
        if let Some(why) = why {
            ended[why as usize].add(1);
        }
    });
}

/// Ends the connections on which nothing is under way: for a drain. One whose request has arrived and has only not
/// been read yet is left alone; it is answered and closed like any other.
pub(crate) fn end_idle<M: Machine>(shard: &Shard<M>) {
    for descriptor in shard.connections.borrow().idle() {
        if !has_unread(descriptor) {
            end_socket(descriptor, Shutdown::Both);
        }
    }
}

/// Ends the connection that has been idle for longest, so that a newcomer finds a place; whether there was one.
pub(crate) fn end_longest_idle<M: Machine>(shard: &Shard<M>) -> bool {
    const IDLE_TICKS_MIN: u32 = ticks(IDLE_TIME_MIN);
    for _ in 0..IDLE_LOOKED_AT_MAX {
        let longest = shard.connections.borrow_mut().take_longest_idle(shard.tick.get(), IDLE_TICKS_MIN);
        let Some(descriptor) = longest else { return false };
        if !has_unread(descriptor) {
            end_socket(descriptor, Shutdown::Both);
            shard.counters.shell.ended[Ended::Displaced as usize].add(1);
            return true;
        }
    }
    false
}

/// Failing means that the client was faster.
fn end_socket(descriptor: RawFd, how: Shutdown) {
    let _ = shutdown(descriptor, how);
}

/// How long its peers have been away, for `/readyz` and the metrics.
fn look_at_peers<M: Machine>(shard: &Shard<M>, now: Now) {
    let machine = shard.machine.borrow();
    let (redis_away, kafka_away) = (machine.redis_down_for(now), machine.kafka_down_for(now));
    let counters = &shard.counters.shell;
    counters.redis_down_ms.set(ms(redis_away));
    counters.kafka_down_ms.set(ms(kafka_away));
    shard.redis_outage.note(shard.index, redis_away);
    shard.kafka_outage.note(shard.index, kafka_away);
    if redis_away.is_zero() && kafka_away.is_zero() {
        counters.started.set(1);
    }
}

/// Whole milliseconds, rounded up: zero is only what is zero.
fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
