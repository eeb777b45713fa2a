//! A connection's place in the table, from accept to close: here the bound on connections is kept.
//!
//! A place is taken when the connection is accepted, not when its task first runs: a crowd is accepted in one go,
//! before any of those tasks.

use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::Poll;

use flux_net::Stream;

use crate::connections::{ConnectionId, Phase};
use crate::machine::Machine;
use crate::routes::Role;
use crate::shard::Shard;
use crate::shell_limits::ADMIN_CONNECTIONS_RESERVED;

/// One place. Given up before the socket is closed: the ticker shuts sockets down by number.
pub(crate) struct Seat<M: Machine> {
    pub(crate) shard: Rc<Shard<M>>,
    pub(crate) id: ConnectionId,
}

impl<M: Machine> Seat<M> {
    /// A place for a connection just accepted; `None` where the core has none left for one of its role.
    pub(crate) fn take(shard: &Rc<Shard<M>>, stream: &Stream, role: Role) -> Option<Seat<M>> {
        let mut connections = shard.connections.borrow_mut();
        if connections.open() + places_reserved(role, shard.connections_max) >= shard.connections_max {
            return None;
        }
        let id = connections.enter(stream.as_raw_fd(), role, shard.tick.get());
        shard.counters.shell.connections.set(connections.open() as u64);
        Some(Seat { shard: Rc::clone(shard), id })
    }

    /// The connection waits for something else from now on. Said again it changes nothing, unless `afresh`.
    pub(crate) fn set_phase(&self, phase: Phase, afresh: bool) {
        self.shard.connections.borrow_mut().set_phase(self.id, phase, self.shard.tick.get(), afresh);
    }

    /// Waits until the whole burst is answered.
    pub(crate) async fn answered(&self) {
        poll_fn(|context| match self.shard.connections.borrow_mut().poll_answered(self.id, context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

impl<M: Machine> Drop for Seat<M> {
    fn drop(&mut self) {
        let mut connections = self.shard.connections.borrow_mut();
        connections.leave(self.id);
        self.shard.counters.shell.connections.set(connections.open() as u64);
        if self.shard.draining.get() {
            self.shard.pump.notify(); // it may have been the last
        }
    }
}

/// Of a core's places, those that one of `role` may not have: an operator gets in while a crowd does not.
fn places_reserved(role: Role, connections_max: usize) -> usize {
    match role {
        Role::Admin => 0,
        Role::Public | Role::WaitingRoom => ADMIN_CONNECTIONS_RESERVED.min(connections_max / 4).max(1),
    }
}
