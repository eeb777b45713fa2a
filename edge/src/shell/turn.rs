//! The turn of a core: what is done once for everything that happened since the last one (`shard.rs` says when).

use std::rc::Rc;

use tracing::warn;

use crate::core::machine::Machine;
use crate::shell::shard::{DrainEnd, Shard};

/// The main future: turns, whenever one is asked for, until the core is drained or has no more time for it.
pub(crate) async fn run<M: Machine>(shard: &Rc<Shard<M>>) -> DrainEnd {
    loop {
        turn(shard);
        if let Some(end) = shard.end() {
            return end;
        }
        shard.pump.notified().await;
    }
}

/// What is done once for everything that happened since the last time.
fn turn<M: Machine>(shard: &Rc<Shard<M>>) {
    let now = shard.clock.now();
    let mut machine = shard.machine.borrow_mut();
    if machine.next_deadline() <= now.instant {
        machine.handle_time(now);
    }
    shard.hand_out(&mut machine);
    while let Some(action) = machine.poll_broker_action() {
        shard.brokers.act(shard, action);
    }
    let scratch = &mut *shard.scratch.borrow_mut();
    if let Some(writer) = &*shard.redis.borrow() {
        writer.flush(scratch, |out| machine.poll_redis_write(now, out));
        if let Some(fault) = machine.poll_redis_failure() {
            warn!(core = shard.index, why = fault.0, "giving up a connection to Redis");
            writer.end();
        }
    }
    shard.brokers.flush(scratch, |broker, out| machine.poll_broker_write(broker, out));
    shard.arm(machine.next_deadline(), now.instant);
}
