//! Accepting connections: several tasks a listener, because a pending accept takes one connection a loop turn.

use std::io;
use std::rc::Rc;

use flux_net::stream::discard_pending;
use flux_net::{Listener, Stream, Timer, spawn};
use flux_protocol::http::{Connection, response};
use tracing::warn;

use crate::conn::{self, Seat};
use crate::machine::Machine;
use crate::routes::Role;
use crate::shard::Shard;
use crate::shell_limits::{ACCEPT_PAUSE, ACCEPT_TASKS, ADMIN_CONNECTIONS_RESERVED, FULL_RETRY_AFTER};

/// Starts accepting. Ends when the listener is closed.
pub(crate) fn start<M: Machine>(shard: &Rc<Shard<M>>, listener: &Rc<Listener>, role: Role) -> io::Result<()> {
    // An operator and his monitoring do not come in crowds.
    let tasks = if role == Role::Admin { 1 } else { listener.accept_tasks(ACCEPT_TASKS) };
    for _ in 0..tasks {
        // Made in advance: the pause is for when no descriptor is left.
        let pause = Timer::new()?;
        spawn(accept(Rc::clone(shard), Rc::clone(listener), role, pause));
    }
    Ok(())
}

async fn accept<M: Machine>(shard: Rc<Shard<M>>, listener: Rc<Listener>, role: Role, pause: Timer) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if has_place(&shard, role) => {
                shard.counters.shell.connections_accepted.add(1);
                // The place is taken here: a burst is accepted before the first of its tasks runs.
                let seat = Seat::take(&shard, &stream, role);
                spawn(conn::serve(stream, seat, role));
            }
            Ok((stream, _)) => refuse(&shard, &stream),
            Err(_) if listener.is_closed() => return,
            Err(error) => {
                shard.counters.shell.accept_errors.add(1);
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
                    warn!(core = shard.index, %error, "cannot accept; resting");
                    pause.set(ACCEPT_PAUSE);
                    if pause.fired().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn has_place<M: Machine>(shard: &Shard<M>, role: Role) -> bool {
    let open = shard.connections.borrow().open();
    let reserved = if role == Role::Admin { 0 } else { ADMIN_CONNECTIONS_RESERVED.min(shard.connections_max / 4) };
    open + reserved < shard.connections_max
}

/// Tells a client that there is no place, without giving it one: nothing here waits for it.
fn refuse<M: Machine>(shard: &Shard<M>, stream: &Stream) {
    shard.counters.shell.connections_refused.add(1);
    shard.counters.shell.response(503);
    let mut out = shard.buffers.borrow_mut().take_write();
    response::write(
        &mut out,
        503,
        &shard.date.borrow(),
        &[response::JSON, ("retry-after", FULL_RETRY_AFTER)],
        b"{\"status\":\"unavailable\",\"msg\":\"Edge full\"}",
        Connection::Close,
        false,
    );
    // The request has come with the connection; unread, it would turn the close into a reset that overtakes the answer.
    let _ = discard_pending(stream);
    let _ = stream.try_write(&out);
    shard.buffers.borrow_mut().give_write(out);
}
