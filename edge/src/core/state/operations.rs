//! Sales that are being opened or closed (`operator/sale_admin.rs` does it).

use flux_protocol::order::{Identifier, SaleEvent};
use flux_protocol::time::Instant;

use crate::answer::{Answer, ReplyTo};
use crate::limits::OPERATIONS_MAX;

/// An operation's place among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationIndex(u64);

#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) index: OperationIndex,
    /// The request to answer. A caller that has waited for too long has been told that the outcome is unknown
    /// (`replies.rs`); the operation itself goes on, until Redis has answered or its connection is gone, and until
    /// Kafka has taken or left what is published of it.
    pub(crate) reply_to: ReplyTo,
    pub(crate) name: Identifier,
    /// When Redis was asked.
    pub(crate) asked: Instant,
    /// What is published once the script has done its part; the answer waits for as many acknowledgements.
    pub(crate) events: Vec<SaleEvent>,
    pub(crate) unacknowledged: usize,
    /// What the caller is told in the end.
    pub(crate) answer: Answer,
    /// The sale that is being opened, as its event will say; what only Redis can give it is still missing.
    pub(crate) opening: Option<SaleEvent>,
}

impl Operation {
    /// What the caller is told where the topic does not know of it for certain: a refusal stands all the same.
    pub(crate) fn unpublished(&self) -> Answer {
        if self.answer.status() == 200 { Answer::Unknown } else { self.answer.clone() }
    }
}

/// The operations under way.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    all: Vec<Operation>,
    next: u64,
}

impl Operations {
    /// Whether none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn get(&mut self, index: OperationIndex) -> Option<&mut Operation> {
        self.all.iter_mut().find(|operation| operation.index == index)
    }

    pub(crate) fn remove(&mut self, index: OperationIndex) -> Option<Operation> {
        let place = self.all.iter().position(|operation| operation.index == index)?;
        Some(self.all.swap_remove(place))
    }

    /// Whether as many are under way as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= OPERATIONS_MAX
    }

    /// An operation begins. Until something is known of it its outcome is unknown.
    pub(crate) fn insert(&mut self, asked: Instant, reply_to: ReplyTo, name: Identifier) -> OperationIndex {
        let index = OperationIndex(self.next);
        self.next += 1;
        self.all.push(Operation {
            index,
            reply_to,
            name,
            asked,
            events: Vec::new(),
            unacknowledged: 0,
            answer: Answer::Unknown,
            opening: None,
        });
        index
    }
}
