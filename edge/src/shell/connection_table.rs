//! The table of one core's connections: what each waits for, and the answers of its burst in order.
//!
//! A connection's task and the ticker meet here, and so do answers that come later: they find their request by a
//! [`ReplyTo`], and one whose connection is gone is dropped. Never reads or writes a socket; it only tells which
//! directions of which to end.

use std::os::fd::RawFd;
use std::task::Waker;

use crate::answer::{Answer, ReplyTo};
use crate::core::request::Role;
use crate::shell::burst::{BurstMemory, PendingBurst, PendingResponse};
use crate::shell::longest_idle::LongestIdle;
use crate::slab::{Key, Slab};

/// What a connection waits for, and so which bound on time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The handshake of TLS.
    Handshake,
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// Answers that come later; the machine bounds that itself.
    Answers,
    /// The client takes its answers.
    Writing,
    /// The client ends, after it was told that it should.
    Lingering,
}

/// A connection that is over time, and what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The socket.
    pub descriptor: RawFd,
    /// What it waited for.
    pub phase: Phase,
}

#[derive(Debug)]
struct Connection {
    descriptor: RawFd,
    role: Role,
    phase: Phase,
    since_tick: u32,
    timed_out: bool,
    burst: PendingBurst,
}

/// The connections of one core.
#[derive(Debug, Default)]
pub struct Connections {
    all: Slab<Connection>,
    burst_memory: BurstMemory,
    longest_idle: LongestIdle,
    /// How many are of the public listener and the waiting room.
    open_public: usize,
}

/// Names a connection in the table, and none after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId(Key);

impl ConnectionId {
    /// Whom to answer: the request at `position` of the burst.
    pub fn reply_to(self, position: usize) -> ReplyTo {
        let position = u32::try_from(position).expect("a burst is short");
        ReplyTo { conn: self.0.place, generation: self.0.generation, position }
    }
}

impl Connections {
    /// Connections in the table.
    pub fn open(&self) -> usize {
        self.all.len()
    }

    /// Those of the public listener and of the waiting room.
    pub fn open_public(&self) -> usize {
        self.open_public
    }

    /// Whether some connection's answers are on their way to it, or awaited.
    pub fn is_answering(&self) -> bool {
        self.all.iter().any(|connection| matches!(connection.phase, Phase::Answers | Phase::Writing))
    }

    /// Takes a connection in. `descriptor` stays open until [`Connections::leave`].
    pub fn enter(&mut self, descriptor: RawFd, role: Role, tick: u32) -> ConnectionId {
        self.open_public += usize::from(role != Role::Admin);
        ConnectionId(self.all.insert(Connection {
            descriptor,
            role,
            phase: Phase::Idle,
            since_tick: tick,
            timed_out: false,
            burst: PendingBurst::default(),
        }))
    }

    /// Takes a connection out; answers on their way to it will be dropped.
    pub fn leave(&mut self, id: ConnectionId) {
        let Connection { role, burst, .. } = self.all.remove(id.0).expect("a connection leaves once");
        burst.discard(&mut self.burst_memory);
        self.open_public -= usize::from(role != Role::Admin);
    }

    fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        self.all.get_mut(id.0).expect("the connection is in the table")
    }

    /// The connection waits for something else from `tick` on. Said again it changes nothing, unless `afresh`. Bytes
    /// that had come before its reading was ended may still lead to a new phase, which has its own bound.
    pub fn set_phase(&mut self, id: ConnectionId, phase: Phase, tick: u32, afresh: bool) {
        let connection = self.connection(id);
        if afresh || connection.phase != phase {
            connection.phase = phase;
            connection.since_tick = tick;
            connection.timed_out = false;
        }
    }

    /// The phase in which the ticker found it over time and ended its reading, if it did.
    pub fn timed_out(&mut self, id: ConnectionId) -> Option<Phase> {
        let connection = self.connection(id);
        connection.timed_out.then_some(connection.phase)
    }

    /// Adds the response to the next request of the burst.
    pub fn push(&mut self, id: ConnectionId, response: PendingResponse) {
        let connection = self.all.get_mut(id.0).expect("the connection is in the table");
        connection.burst.push(response, &mut self.burst_memory);
    }

    /// A crowd has left: no more memory is kept than there are connections.
    pub fn trim(&mut self) {
        self.burst_memory.trim(self.all.len());
        self.longest_idle.trim();
    }

    /// Puts an answer where it is awaited; wakes the connection where it was the last one awaited.
    pub fn complete(&mut self, reply_to: ReplyTo, answer: Answer) {
        let key = Key { place: reply_to.conn, generation: reply_to.generation };
        // Else the client has gone. What was done for it stands.
        if let Some(connection) = self.all.get_mut(key) {
            connection.burst.complete(reply_to.position, answer);
        }
    }

    /// Whether every answer of the burst is there; else `waker` is woken when it is.
    pub fn poll_answered(&mut self, id: ConnectionId, waker: &Waker) -> bool {
        self.connection(id).burst.poll_answered(waker)
    }

    /// Takes the answers of the burst, in the order of its requests; all of them are there.
    pub fn take_burst(&mut self, id: ConnectionId) -> impl Iterator<Item = PendingResponse> {
        let connection = self.all.get_mut(id.0).expect("the connection is in the table");
        connection.burst.take(&mut self.burst_memory)
    }

    /// Connections whose phase has lasted for more ticks than `ticks_max` gives it (`None`: no bound), each told once a
    /// phase.
    pub fn take_overdue(
        &mut self,
        tick: u32,
        ticks_max: impl Fn(Phase) -> Option<u32>,
        mut found: impl FnMut(Overdue),
    ) {
        for connection in self.all.iter_mut() {
            let Some(max) = ticks_max(connection.phase) else { continue };
            if !connection.timed_out && tick.wrapping_sub(connection.since_tick) > max {
                connection.timed_out = true;
                found(Overdue { descriptor: connection.descriptor, phase: connection.phase });
            }
        }
    }

    /// The socket of the public listeners that has waited for the first byte of a request for longest, and for `ticks_min` at
    /// least: it is to be ended, so that another finds room, and is not given twice. `None` where there is none such.
    pub fn take_longest_idle(&mut self, tick: u32, ticks_min: u32) -> Option<RawFd> {
        let all = &self.all;
        let is_idle = |connection: &Connection, since: u32| {
            connection.phase == Phase::Idle
                && connection.role != Role::Admin
                && !connection.timed_out
                && connection.since_tick == since
                && tick.wrapping_sub(since) >= ticks_min
        };
        let key = self.longest_idle.take(
            tick,
            |since, key| all.get(key).is_some_and(|connection| is_idle(connection, since)),
            || {
                let open = (0..all.places()).filter_map(|place| all.at(place));
                open.filter_map(|(key, connection)| {
                    is_idle(connection, connection.since_tick).then_some((connection.since_tick, key))
                })
            },
        )?;
        let connection = self.all.get_mut(key)?;
        connection.timed_out = true;
        Some(connection.descriptor)
    }

    /// Sockets of the public listeners that wait for the first byte of a request.
    pub fn idle(&self) -> impl Iterator<Item = RawFd> {
        self.all
            .iter()
            .filter(|connection| connection.phase == Phase::Idle && connection.role != Role::Admin)
            .map(|connection| connection.descriptor)
    }
}

#[cfg(test)]
mod tests {
    use flux_protocol::http::Persistence;

    use super::*;
    use crate::answer::Framing;
    use crate::limits::shell::{BURST_KEPT_MAX, SPARE_BURSTS_MAX};

    const FRAMING: Framing = Framing { connection: Persistence::KeepAlive, head_only: false, cors: false };

    #[test]
    fn answers_find_their_request_and_only_theirs() {
        let mut table = Connections::default();
        let id = table.enter(7, Role::Public, 0);
        for _ in 0..3 {
            table.push(id, PendingResponse::Later(FRAMING));
        }
        table.complete(id.reply_to(2), Answer::KeyReused);
        table.complete(id.reply_to(0), Answer::SoldOut);
        assert!(!table.poll_answered(id, Waker::noop()));
        table.complete(id.reply_to(1), Answer::Unknown);
        assert!(table.poll_answered(id, Waker::noop()));
        let answers: Vec<_> = table
            .take_burst(id)
            .map(|response| match response {
                PendingResponse::Answered(answer, _) => answer,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(answers, [Answer::SoldOut, Answer::Unknown, Answer::KeyReused]);
    }

    #[test]
    fn a_connection_keeps_no_memory_of_its_largest_burst() {
        const CLIENTS: usize = 4 * SPARE_BURSTS_MAX;
        let mut table = Connections::default();
        let ids: Vec<_> = (0..CLIENTS as i32).map(|descriptor| table.enter(descriptor, Role::Public, 0)).collect();
        let bytes = |table: &Connections| {
            let held = table.all.iter().map(|connection| connection.burst.capacity()).sum::<usize>();
            (held + table.burst_memory.capacity()) * size_of::<PendingResponse>()
        };
        for id in &ids {
            (0..64).for_each(|_| table.push(*id, PendingResponse::Later(FRAMING)));
        }
        let at_most = bytes(&table);
        for id in &ids[..CLIENTS / 2] {
            (0..64).for_each(|position| table.complete(id.reply_to(position), Answer::SoldOut));
            assert_eq!(table.take_burst(*id).count(), 64);
        }
        ids[CLIENTS / 2..].iter().for_each(|id| table.leave(*id));
        assert!(4 * bytes(&table) <= at_most, "{} of {at_most} bytes are kept", bytes(&table));
        let id = ids[0];
        (0..=BURST_KEPT_MAX).for_each(|_| table.push(id, PendingResponse::Later(FRAMING)));
        assert!(table.connection(id).burst.capacity() >= 64, "what is kept is used again");
        ids[..CLIENTS / 2].iter().for_each(|id| table.leave(*id));
        table.trim();
        assert_eq!(table.burst_memory.capacity(), 0, "nobody is left for whom it would be kept");
    }

    #[test]
    fn an_answer_for_one_who_has_gone_reaches_nobody() {
        let mut table = Connections::default();
        let gone = table.enter(7, Role::Public, 0);
        table.push(gone, PendingResponse::Later(FRAMING));
        table.leave(gone);
        let heir = table.enter(7, Role::Public, 0);
        table.push(heir, PendingResponse::Later(FRAMING));
        table.complete(gone.reply_to(0), Answer::SoldOut);
        assert!(!table.poll_answered(heir, Waker::noop()));
        assert_eq!((table.open(), table.open_public()), (1, 1));
    }

    #[test]
    fn each_phase_has_its_own_clock_and_is_told_once() {
        let bound = |phase| (phase == Phase::Head).then_some(2);
        let mut table = Connections::default();
        let slow = table.enter(1, Role::Public, 0);
        let idle = table.enter(2, Role::Public, 0);
        table.set_phase(slow, Phase::Head, 1, false);
        table.set_phase(slow, Phase::Head, 2, false); // more bytes of the same head: no new time
        let mut found = Vec::new();
        table.take_overdue(3, bound, |overdue| found.push(overdue));
        assert!(found.is_empty());
        table.take_overdue(4, bound, |overdue| found.push(overdue));
        table.take_overdue(5, bound, |overdue| found.push(overdue));
        assert_eq!(found, [Overdue { descriptor: 1, phase: Phase::Head }]);
        assert_eq!((table.timed_out(slow), table.timed_out(idle)), (Some(Phase::Head), None));
        assert_eq!(table.idle().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_longest_idle_makes_room_and_nobody_who_is_served_does() {
        let mut table = Connections::default();
        let [first, second, third] = [0, 4, 8].map(|tick| table.enter(tick, Role::Public, tick as u32));
        table.enter(99, Role::Admin, 0);
        // The first has asked since, and is idle anew.
        table.set_phase(first, Phase::Answers, 9, true);
        assert_eq!(table.take_longest_idle(10, 4), Some(4), "idle since tick 4");
        table.set_phase(first, Phase::Idle, 10, true);
        assert_eq!(table.take_longest_idle(11, 4), None, "the others have hardly waited");
        assert_eq!(table.timed_out(second), Some(Phase::Idle), "its task says nothing to it");
        table.leave(third);
        table.enter(8, Role::Public, 13);
        assert_eq!(table.take_longest_idle(14, 4), Some(0), "not one that took the place of another");
        assert_eq!(table.take_longest_idle(15, 0), Some(8));
        assert_eq!(table.take_longest_idle(16, 0), None, "the operator's is nobody's to end, and none is given twice");
    }

    #[test]
    fn a_phase_after_one_that_was_over_time_is_bounded_too() {
        let bound = |phase| matches!(phase, Phase::Head | Phase::Writing).then_some(2);
        let mut table = Connections::default();
        let id = table.enter(1, Role::Public, 0);
        table.set_phase(id, Phase::Head, 0, false);
        let mut found = Vec::new();
        table.take_overdue(3, bound, |overdue| found.push(overdue.phase));
        // The rest of the request had come just before, and its answer is not taken.
        table.set_phase(id, Phase::Writing, 3, true);
        table.take_overdue(6, bound, |overdue| found.push(overdue.phase));
        assert_eq!(found, [Phase::Head, Phase::Writing]);
    }
}
