//! The responses to one connection's burst, in the order of its requests: which are there, which are awaited, and whom to wake
//! when the last one is.
//!
//! Most bursts are one answer. Memory of longer ones goes from connection to connection: one has it only while it is in such a
//! burst.

use std::task::Waker;

use crate::answer::{Answer, Framing};
use crate::limits::shell::{BURST_KEPT_MAX, SPARE_BURSTS_MAX};

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

/// The responses to the burst of one connection.
#[derive(Debug, Default)]
pub struct PendingBurst {
    responses: Vec<PendingResponse>,
    /// Those that the machine has not given yet.
    outstanding: u32,
    waiter: Option<Waker>,
}

impl PendingBurst {
    /// Adds the response to the next request.
    pub fn push(&mut self, response: PendingResponse, memory: &mut BurstMemory) {
        self.outstanding += u32::from(matches!(response, PendingResponse::Later(_)));
        if self.responses.len() < self.responses.capacity() {
            self.responses.push(response);
        } else {
            self.push_more(response, memory);
        }
    }

    /// A burst that grows goes on in memory that an earlier one left, if there is any.
    #[cold]
    fn push_more(&mut self, response: PendingResponse, memory: &mut BurstMemory) {
        if !self.responses.is_empty()
            && let Some(mut spare) = memory.spare.pop()
        {
            spare.append(&mut self.responses);
            self.responses = spare;
        }
        self.responses.push(response);
    }

    /// Puts an answer where it is awaited; wakes the connection where it was the last one awaited.
    pub fn complete(&mut self, position: u32, answer: Answer) {
        let Some(response) = self.responses.get_mut(position as usize) else {
            unreachable!("an answer for a request that was not asked");
        };
        let PendingResponse::Later(framing) = *response else { unreachable!("a request is answered once") };
        *response = PendingResponse::Answered(answer, framing);
        self.outstanding -= 1;
        if self.outstanding == 0
            && let Some(waiter) = &self.waiter
        {
            waiter.wake_by_ref();
        }
    }

    /// Whether every answer is there; else `waker` is woken when it is.
    pub fn poll_answered(&mut self, waker: &Waker) -> bool {
        if self.outstanding == 0 {
            return true;
        }
        if !self.waiter.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waiter = Some(waker.clone());
        }
        false
    }

    /// Takes the responses; all of them are there.
    pub fn take<'a>(&'a mut self, memory: &'a mut BurstMemory) -> impl Iterator<Item = PendingResponse> + 'a {
        assert!(self.outstanding == 0, "an answer is still on its way");
        if self.responses.capacity() <= BURST_KEPT_MAX {
            return self.responses.drain(..);
        }
        let burst = std::mem::take(&mut self.responses);
        // Nothing is moved: the memory of the burst before goes to the spare in its place.
        let mut before = std::mem::replace(&mut memory.taken, burst);
        before.clear();
        memory.give(before);
        memory.taken.drain(..)
    }

    /// The connection has gone: nobody waits for its responses.
    pub fn discard(mut self, memory: &mut BurstMemory) {
        self.responses.clear();
        memory.give(self.responses);
    }

    /// The memory it holds, in responses.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.responses.capacity()
    }
}

/// Memory of long bursts of one core.
#[derive(Debug, Default)]
pub struct BurstMemory {
    spare: Vec<Vec<PendingResponse>>,
    /// The burst that is being written.
    taken: Vec<PendingResponse>,
}

impl BurstMemory {
    /// Keeps the memory of a burst for the next that grows, whosever that is; more than many need at once is freed.
    fn give(&mut self, burst: Vec<PendingResponse>) {
        if burst.capacity() > BURST_KEPT_MAX && self.spare.len() < SPARE_BURSTS_MAX {
            self.spare.push(burst);
        }
    }

    /// A crowd has left: no more memory is kept than there are connections.
    pub fn trim(&mut self, open: usize) {
        self.spare.truncate(open);
        self.spare.shrink_to_fit();
    }

    /// The memory it holds, in responses.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.spare.iter().map(Vec::capacity).sum()
    }
}
