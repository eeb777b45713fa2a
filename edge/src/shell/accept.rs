//! Accepting connections: several tasks a listener, because a pending accept takes one connection a loop turn.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use flux_net::stream::try_read;
use flux_net::{Listener, Stream, Timer, spawn, yield_now};
use flux_protocol::http::Persistence;
use tracing::warn;

use crate::answer::{Answer, Framing, Unavailable};
use crate::core::machine::Machine;
use crate::core::request::Role;
use crate::limits::shell::{ACCEPT_HELPERS, ACCEPT_PAUSE, ACCEPT_TASKS, ACCEPTS_PER_TURN_MAX};
use crate::shell::connection;
use crate::shell::connection_guard::ConnectionGuard;
use crate::shell::shard::Shard;

/// Starts accepting. Ends when the listener is closed.
pub(crate) fn start<M: Machine>(shard: &Rc<Shard<M>>, listener: &Rc<Listener>, role: Role) -> io::Result<()> {
    // An operator and their monitoring do not come in crowds.
    let tasks = if role == Role::Admin { 1 } else { listener.accept_tasks(ACCEPT_TASKS) };
    // Where one task takes all that wait, helpers would have nothing to do.
    let helpers_max = if tasks > 1 { ACCEPT_HELPERS } else { 0 };
    let helpers = Rc::new(Cell::new(0));
    for _ in 0..tasks {
        // Made in advance: the pause is for when no descriptor is left.
        let pause = Timer::new()?;
        spawn(accept(
            Rc::clone(shard),
            Rc::clone(listener),
            role,
            pause,
            Helpers { max: helpers_max, running: Rc::clone(&helpers) },
        ));
    }
    Ok(())
}

/// The tasks of one listener that accept beside those that have a timer.
#[derive(Clone)]
struct Helpers {
    max: usize,
    running: Rc<Cell<usize>>,
}

impl Helpers {
    /// Clients come: as many are started as are lacking.
    fn start<M: Machine>(&self, shard: &Rc<Shard<M>>, listener: &Rc<Listener>, role: Role) {
        while self.running.get() < self.max {
            self.running.set(self.running.get() + 1);
            spawn(help(Rc::clone(shard), Rc::clone(listener), role, self.clone()));
        }
    }
}

/// Accepts until that fails. Why, and what then, is for the tasks that have a timer: they start helpers anew.
async fn help<M: Machine>(shard: Rc<Shard<M>>, listener: Rc<Listener>, role: Role, helpers: Helpers) {
    while let Ok((stream, peer)) = listener.accept().await {
        admit(&shard, stream, peer.ip(), role);
    }
    helpers.running.set(helpers.running.get() - 1);
}

/// Gives it a place, or tells it that there is none.
fn admit<M: Machine>(shard: &Rc<Shard<M>>, stream: Stream, peer: IpAddr, role: Role) {
    match ConnectionGuard::take(shard, &stream, role) {
        Some(guard) => {
            shard.counters.shell.connections_accepted.add(1);
            spawn(connection::serve(stream, peer, guard, role));
        }
        None => refuse(shard, &stream, role),
    }
}

async fn accept<M: Machine>(shard: Rc<Shard<M>>, listener: Rc<Listener>, role: Role, pause: Timer, helpers: Helpers) {
    let mut accepted: usize = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                admit(&shard, stream, peer.ip(), role);
                helpers.start(&shard, &listener, role);
                // On epoll an accept is ready for as long as clients come: the connections that are in need their turn,
                // too.
                accepted += 1;
                if accepted.is_multiple_of(ACCEPTS_PER_TURN_MAX) {
                    yield_now().await;
                }
            }
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

/// Tells a client that there is no place, without giving it one: nothing here waits for it.
fn refuse<M: Machine>(shard: &Shard<M>, stream: &Stream, role: Role) {
    shard.counters.shell.connections_refused.add(1);
    if shard.certificates.listener.is_some() && role != Role::Admin {
        // Nothing can be said before a handshake, which is what there is no place for.
        return;
    }
    // The request has come with the connection; unread, it would turn the close into a reset that overtakes the answer.
    let mut request = [0; 4096];
    let head_only = try_read(stream, &mut request).is_ok_and(|bytes| request[..bytes].starts_with(b"HEAD "));
    let answer = Answer::Unavailable(Unavailable::Full);
    shard.counters.shell.response(answer.status());
    let mut out = shard.buffers.borrow_mut().take_write();
    let framing = Framing { connection: Persistence::Close, head_only, cors: role.is_open_to_scripts() };
    answer.write(shard.machine.borrow().site(), &shard.date.borrow(), framing, &mut out);
    let _ = stream.try_write(&out);
    shard.buffers.borrow_mut().give_write(out);
}
