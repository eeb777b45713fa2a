//! The table of one core's connections: what each waits for, and the answers of its burst in order.
//!
//! A connection's task and the ticker meet here, and so do answers that come later: they find their request by a
//! [`ReplyTo`], and one whose connection is gone is dropped. Never reads or writes a socket; it only tells which
//! directions of which to end.

use std::os::fd::RawFd;
use std::task::Waker;

use crate::answer::{Answer, Framing, ReplyTo};
use crate::core::request::Role;
use crate::limits::shell::{BURST_KEPT_MAX, SPARE_BURSTS_MAX};
use crate::slab::{Key, Slab};

/// What a connection waits for, and so which bound on time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
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

/// The response to one request of a burst, until the burst is written.
#[derive(Debug)]
pub enum PendingResponse {
    /// The machine answers later.
    Later(Framing),
    /// The machine has answered.
    Answered(Answer, Framing),
    /// The shell has answered: the whole response, and its status.
    Written(Vec<u8>, u16),
}

impl PendingResponse {
    /// How much a large answer takes, in bytes; 0 for the small ones, which are bounded by their number.
    pub fn document_bytes(&self) -> usize {
        match self {
            PendingResponse::Answered(Answer::Document(document), _) => document.body.len(),
            PendingResponse::Written(response, _) => response.len(),
            PendingResponse::Answered(..) | PendingResponse::Later(_) => 0,
        }
    }
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
    outstanding: u32,
    burst: Vec<PendingResponse>,
    waiter: Option<Waker>,
}

/// The connections of one core.
#[derive(Debug, Default)]
pub struct Connections {
    all: Slab<Connection>,
    /// Memory of long bursts: a connection has more than a short one's only while it is in one.
    spare: Vec<Vec<PendingResponse>>,
    /// The burst that is being written.
    taken: Vec<PendingResponse>,
    /// How many are of the public listener and the waiting room.
    open_public: usize,
}

/// How many ticks each phase may last; `None`: no bound.
pub type PhaseTicks = fn(Phase) -> Option<u32>;

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
            outstanding: 0,
            burst: Vec::new(),
            waiter: None,
        }))
    }

    /// Takes a connection out; answers on their way to it will be dropped.
    pub fn leave(&mut self, id: ConnectionId) {
        let Connection { role, mut burst, .. } = self.all.remove(id.0).expect("a connection leaves once");
        burst.clear();
        self.give_burst(burst);
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
        let connection = self.connection(id);
        connection.outstanding += u32::from(matches!(response, PendingResponse::Later(_)));
        if connection.burst.len() < connection.burst.capacity() {
            connection.burst.push(response);
        } else {
            self.push_more(id, response);
        }
    }

    /// A burst that grows goes on in memory that an earlier one left, if there is any.
    #[cold]
    fn push_more(&mut self, id: ConnectionId, response: PendingResponse) {
        let burst = &mut self.all.get_mut(id.0).expect("the connection is in the table").burst;
        if !burst.is_empty()
            && let Some(mut spare) = self.spare.pop()
        {
            spare.append(burst);
            *burst = spare;
        }
        burst.push(response);
    }

    /// Keeps the memory of a burst for the next that grows, whosever that is; more than many need at once is freed.
    fn give_burst(&mut self, burst: Vec<PendingResponse>) {
        if burst.capacity() > BURST_KEPT_MAX && self.spare.len() < SPARE_BURSTS_MAX {
            self.spare.push(burst);
        }
    }

    /// A crowd has left: no more memory of bursts is kept than there are connections.
    pub fn trim(&mut self) {
        self.spare.truncate(self.open());
        self.spare.shrink_to_fit();
    }

    /// Puts an answer where it is awaited; wakes the connection where it was the last one awaited.
    pub fn complete(&mut self, reply_to: ReplyTo, answer: Answer) {
        let key = Key { place: reply_to.conn, generation: reply_to.generation };
        // Else the client has gone. What was done for it stands.
        let Some(connection) = self.all.get_mut(key) else { return };
        let Some(response) = connection.burst.get_mut(reply_to.position as usize) else {
            unreachable!("an answer for a request that was not asked");
        };
        let PendingResponse::Later(framing) = *response else { unreachable!("a request is answered once") };
        *response = PendingResponse::Answered(answer, framing);
        connection.outstanding -= 1;
        if connection.outstanding == 0
            && let Some(waiter) = &connection.waiter
        {
            waiter.wake_by_ref();
        }
    }

    /// Whether every answer of the burst is there; else `waker` is woken when it is.
    pub fn poll_answered(&mut self, id: ConnectionId, waker: &Waker) -> bool {
        let connection = self.connection(id);
        if connection.outstanding == 0 {
            return true;
        }
        if !connection.waiter.as_ref().is_some_and(|known| known.will_wake(waker)) {
            connection.waiter = Some(waker.clone());
        }
        false
    }

    /// Takes the answers of the burst, in the order of its requests; all of them are there.
    pub fn take_burst(&mut self, id: ConnectionId) -> impl Iterator<Item = PendingResponse> {
        let connection = self.connection(id);
        assert!(connection.outstanding == 0, "an answer is still on its way");
        if connection.burst.capacity() <= BURST_KEPT_MAX {
            return self.connection(id).burst.drain(..);
        }
        let burst = std::mem::take(&mut connection.burst);
        // Nothing is moved: the memory of the burst before goes to the spare in its place.
        let mut before = std::mem::replace(&mut self.taken, burst);
        before.clear();
        self.give_burst(before);
        self.taken.drain(..)
    }

    /// Connections whose phase has lasted too long, each told once a phase.
    pub fn take_overdue(&mut self, tick: u32, ticks_max: PhaseTicks, mut found: impl FnMut(Overdue)) {
        for connection in self.all.iter_mut() {
            let Some(max) = ticks_max(connection.phase) else { continue };
            if !connection.timed_out && tick.wrapping_sub(connection.since_tick) > max {
                connection.timed_out = true;
                found(Overdue { descriptor: connection.descriptor, phase: connection.phase });
            }
        }
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
            (held + table.spare.iter().map(Vec::capacity).sum::<usize>()) * size_of::<PendingResponse>()
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
        assert!(table.spare.is_empty(), "nobody is left for whom it would be kept");
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
        let bound: PhaseTicks = |phase| (phase == Phase::Head).then_some(2);
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
    fn a_phase_after_one_that_was_over_time_is_bounded_too() {
        let bound: PhaseTicks = |phase| matches!(phase, Phase::Head | Phase::Writing).then_some(2);
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
