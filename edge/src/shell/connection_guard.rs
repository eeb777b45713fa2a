//! A connection's place in the table, from accept to close: here the bound on connections is kept.
//!
//! A place is taken when the connection is accepted, not when its task first runs: a crowd is accepted in one go,
//! before any of those tasks.

use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::Poll;

use flux_net::Stream;

use crate::core::machine::Machine;
use crate::core::request::Role;
use crate::limits::shell::{ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_RESERVED, LAST_PLACES_MAX};
use crate::shell::connection_table::{ConnectionId, Phase};
use crate::shell::shard::Shard;
use crate::shell::ticker;

/// The place of one connection, held while it lives. Given up before the socket is closed: the ticker shuts sockets down by number.
pub(crate) struct ConnectionGuard<M: Machine> {
    pub(crate) shard: Rc<Shard<M>>,
    pub(crate) id: ConnectionId,
}

impl<M: Machine> ConnectionGuard<M> {
    /// A place for a connection just accepted; `None` where the core has none left for one of its role. Where places run out
    /// the connection that has been idle for longest is ended, and its place is free within a turn.
    pub(crate) fn take(shard: &Rc<Shard<M>>, stream: &Stream, role: Role) -> Option<ConnectionGuard<M>> {
        let max = shard.connections_max;
        let open = shard.connections.borrow().open();
        if role != Role::Admin && open + last_places(max) >= places_of_a_crowd(max) {
            ticker::end_longest_idle(shard);
        }
        let mut connections = shard.connections.borrow_mut();
        if !is_place_free(role, open, open - connections.open_public(), max) {
            return None;
        }
        let id = connections.enter(stream.as_raw_fd(), role, shard.tick.get());
        shard.counters.shell.connections.set(connections.open() as u64);
        Some(ConnectionGuard { shard: Rc::clone(shard), id })
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

impl<M: Machine> Drop for ConnectionGuard<M> {
    fn drop(&mut self) {
        let mut connections = self.shard.connections.borrow_mut();
        connections.leave(self.id);
        self.shard.counters.shell.connections.set(connections.open() as u64);
        if self.shard.draining.get() {
            self.shard.pump.notify(); // it may have been the last
        }
    }
}

/// Whether one more of `role` may come, where so many are `open`, `admin` of them at the admin listener. An operator
/// gets in while a crowd does not; and connections to the admin listener, an operator's or a stranger's, keep no buyer
/// out.
fn is_place_free(role: Role, open: usize, admin: usize, connections_max: usize) -> bool {
    match role {
        Role::Admin => open < connections_max && admin < ADMIN_CONNECTIONS_MAX.min(connections_max / 2).max(1),
        Role::Public | Role::WaitingRoom => open < places_of_a_crowd(connections_max),
    }
}

/// All but the operator's.
fn places_of_a_crowd(connections_max: usize) -> usize {
    connections_max.saturating_sub(ADMIN_CONNECTIONS_RESERVED.min(connections_max / 4).max(1))
}

/// Those of a crowd that are given only as others are freed.
fn last_places(connections_max: usize) -> usize {
    LAST_PLACES_MAX.min(places_of_a_crowd(connections_max) / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_gets_in_beside_a_crowd_and_a_crowd_beside_strangers_at_the_admin_listener() {
        for max in [2, 64, 16_000] {
            let crowd = (0..max).find(|open| !is_place_free(Role::Public, *open, 0, max)).unwrap_or(max);
            assert!(is_place_free(Role::Admin, crowd, 0, max), "{max}: {crowd} buyers");
            let strangers = (0..max).find(|open| !is_place_free(Role::Admin, *open, *open, max)).unwrap_or(max);
            assert!(strangers <= ADMIN_CONNECTIONS_MAX && strangers <= max / 2, "{max}: {strangers}");
            assert!(max == 2 || is_place_free(Role::Public, strangers, strangers, max));
        }
    }
}
