//! Which connections the admin listener takes: places for all, and beside them places that only probes use, so that
//! neither a crowd that asks for its orders nor strangers who say nothing keep monitoring out.
//!
//! What a client wants is known once it has asked. So a place of the reserve is for one short question: a client that
//! asks for anything but what probes ask is told 503, and one that does not ask is closed in a moment. Never looks at a
//! request.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_LOOPBACK_SEATS, ADMIN_PROBE_SEATS};

/// The places that are taken.
#[derive(Debug, Default)]
pub struct Seats {
    common: Cell<usize>,
    probes: Cell<usize>,
    loopback: Cell<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// For everybody.
    Common,
    /// For one short question.
    Probes,
    /// The same, for this machine's own: an agent beside us, an operator with a shell.
    Loopback,
}

/// One place; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Rc<Seats>,
    row: Row,
}

impl Seats {
    /// All free.
    pub fn new() -> Rc<Seats> {
        Rc::default()
    }

    /// The best place that is free for this peer, or none.
    pub fn take(self: &Rc<Seats>, peer: SocketAddr) -> Option<Seat> {
        let rows = [Row::Common, Row::Probes, Row::Loopback];
        let row = rows.into_iter().find(|row| match row {
            Row::Common => self.common.get() < ADMIN_CONNECTIONS_MAX,
            Row::Probes => self.probes.get() < ADMIN_PROBE_SEATS,
            Row::Loopback => peer.ip().is_loopback() && self.loopback.get() < ADMIN_LOOPBACK_SEATS,
        })?;
        let taken = self.taken(row);
        taken.set(taken.get() + 1);
        Some(Seat { seats: Rc::clone(self), row })
    }

    fn taken(&self, row: Row) -> &Cell<usize> {
        match row {
            Row::Common => &self.common,
            Row::Probes => &self.probes,
            Row::Loopback => &self.loopback,
        }
    }
}

impl Seat {
    /// Whether it is of the reserve: one short question, and only a probe's.
    pub fn is_reserved(&self) -> bool {
        self.row != Row::Common
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let taken = self.seats.taken(self.row);
        taken.set(taken.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_taken_last_and_its_end_by_this_machine_only() {
        let seats = Seats::new();
        let (stranger, here) = ("192.0.2.7:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        let mut taken: Vec<Seat> = (0..ADMIN_CONNECTIONS_MAX).map(|_| seats.take(stranger).expect("room")).collect();
        assert!(taken.iter().all(|seat| !seat.is_reserved()));
        for _ in 0..ADMIN_PROBE_SEATS {
            taken.push(seats.take(stranger).expect("the reserve"));
        }
        assert!(seats.take(stranger).is_none());
        taken.push(seats.take(here).expect("the machine's own"));
        assert!(taken.last().unwrap().is_reserved());
        taken.remove(0);
        assert!(!seats.take(stranger).expect("a place came free").is_reserved());
    }
}
