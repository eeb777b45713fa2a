//! The produce requests in flight, and which batches each of them carries. Their room is used again.

use std::ops::{Index, IndexMut};

use crate::kafka::metadata::NodeId;
use crate::time::Instant;

/// A request to one broker.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) node: NodeId,
    pub(super) asked: Instant,
    /// By partition and serial.
    pub(super) batches: Vec<(usize, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Those of ended requests carry nothing.
    requests: Vec<Request>,
    free: Vec<usize>,
}

impl InFlight {
    /// The place of a new request that carries nothing yet.
    pub(super) fn begin(&mut self, now: Instant, node: NodeId) -> usize {
        if let Some(place) = self.free.pop() {
            let request = &mut self.requests[place];
            (request.node, request.asked) = (node, now);
            return place;
        }
        self.requests.push(Request { node, asked: now, batches: Vec::new() });
        self.requests.len() - 1
    }

    /// The request has ended. `batches` were its own; their room goes to the next.
    pub(super) fn end(&mut self, place: usize, mut batches: Vec<(usize, u64)>) {
        batches.clear();
        self.requests[place].batches = batches;
        self.free.push(place);
    }
}

impl Index<usize> for InFlight {
    type Output = Request;

    fn index(&self, place: usize) -> &Request {
        &self.requests[place]
    }
}

impl IndexMut<usize> for InFlight {
    fn index_mut(&mut self, place: usize) -> &mut Request {
        &mut self.requests[place]
    }
}
