//! Bugs on purpose, by which the simulation and its checker are proved: each of them must be caught.
//!
//! Without the feature `planted-bugs` nothing is ever planted, and [`is_planted`] is a constant that the compiler
//! removes together with the bug. No program that ships is built with it; the simulation plants one bug at a time, in
//! the thread that it runs in.

/// What can be planted. The first ten are those of FAULTS.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An edge whose order timed out gives the unit back: unknown is treated as failed.
    CompensateOnTimeout,
    /// The producer asks for acks=1.
    AcksOne,
    /// The worker advances the offset in a transaction before the one that stores the orders.
    OffsetBeforeCommit,
    /// The idempotency record is looked up in one call, and written whatever stands there in another.
    CheckThenSet,
    /// A stock that is missing counts as the whole of the sale.
    StockDefault,
    /// The relay takes entries without claiming them, as young as they are, and deletes them before Kafka's word.
    RelayWithoutClaim,
    /// A lease of tokens never runs out.
    LeaseNotExpired,
    /// Two replies of Redis that come together are taken for each other's.
    ReplyToTheWrongRequest,
    /// A sold-out that is remembered is told to everybody, without a look at the record.
    ReplayLostWhenSoldOut,
    /// 200 is said, and the outbox entry deleted, when the record is handed to the producer.
    SettleBeforeAck,

    /// The scripts do not look whether this is the Redis that the sale is bound to.
    TrustAnyRedis,
    /// An outbox entry is deleted when the first of its orders is acknowledged.
    EntryGoneWithFirstOrder,
    /// A unit is given back without a note that it was.
    ReturnedTwice,
    /// No reservation is too old: what was reserved before a pause of the edge is published after it.
    AgelessReservations,
    /// The order's id does not depend on the sale.
    IdWithoutSale,
    /// A sale sells from the moment it is announced.
    OpensEarly,
    /// What a user has is counted within a call, and not kept.
    LimitForgotten,
    /// A rebuild does not count again what users have.
    UsersNotRebuilt,
    /// A user in the line of a fair sale is never told that nothing is left.
    EndlessLine,
    /// A good ticket is as good as a called one.
    LineJumped,
    /// A user who is sent to the line is given a new place, whatever ticket they show.
    PlaceNotKept,
    /// How far the lots of a slot were called is forgotten with each call: the watermark goes back.
    WatermarkBack,
    /// A place is never used up: a user who was called once may order again and again by it.
    PlaceNeverUsedUp,
    /// An edge believes a sale or a generation that is older than one it has seen.
    OlderSaleBelieved,
    /// A rebuild's generation is in force in the ledger when its number is taken, before Redis has been told.
    RaisedIsInForce,
    /// A rebuild does not ask the ledger whether the sale was closed.
    CloseForgotten,
    /// A rebuild waits for what can be read of the log, not for all that was acknowledged.
    DrainedToTheStable,
    /// A request that waits for an answer of Redis that cannot come any more is forgotten.
    WaiterForgotten,
    /// A buyer without a record is told sold out, whether or not the records of the sale are there.
    LostRecordsBelieved,

    /// Records of orders that move to another outbox entry go on naming the old one, which is gone.
    MovedRecordsForgotten,
    /// Records are removed though the outbox holds orders.
    RetiredUnderWay,
    /// A return is given back though a rebuild has counted it in.
    OldReturnTaken,
    /// A second reservation of a stored order is dropped without a word.
    SecondReservationDropped,
    /// A lease of tokens lives from when it was answered, and not from when it was asked for.
    LeaseFromTheReply,
    /// A look of any age vouches for what a connection shows next.
    AgelessWitness,
    /// Whose turn it is to be read is told from the first leader on each time, and each takes as much as there is for eight.
    LeadersFromTheFirst,
    /// The ledger stores an order of an older generation that a rebuild did not count.
    LateRecordsStored,
}

/// All of them.
pub const BUGS: [Bug; 37] = [
    Bug::CompensateOnTimeout,
    Bug::AcksOne,
    Bug::OffsetBeforeCommit,
    Bug::CheckThenSet,
    Bug::StockDefault,
    Bug::RelayWithoutClaim,
    Bug::LeaseNotExpired,
    Bug::ReplyToTheWrongRequest,
    Bug::ReplayLostWhenSoldOut,
    Bug::SettleBeforeAck,
    Bug::TrustAnyRedis,
    Bug::EntryGoneWithFirstOrder,
    Bug::ReturnedTwice,
    Bug::AgelessReservations,
    Bug::IdWithoutSale,
    Bug::OpensEarly,
    Bug::LimitForgotten,
    Bug::UsersNotRebuilt,
    Bug::EndlessLine,
    Bug::LineJumped,
    Bug::PlaceNotKept,
    Bug::WatermarkBack,
    Bug::RaisedIsInForce,
    Bug::CloseForgotten,
    Bug::DrainedToTheStable,
    Bug::PlaceNeverUsedUp,
    Bug::OlderSaleBelieved,
    Bug::WaiterForgotten,
    Bug::LostRecordsBelieved,
    Bug::MovedRecordsForgotten,
    Bug::RetiredUnderWay,
    Bug::OldReturnTaken,
    Bug::SecondReservationDropped,
    Bug::LeaseFromTheReply,
    Bug::AgelessWitness,
    Bug::LeadersFromTheFirst,
    Bug::LateRecordsStored,
];

#[cfg(feature = "planted-bugs")]
mod planting {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        /// A bit for each bug.
        static ASKED: Cell<u64> = const { Cell::new(0) };
    }

    /// Plants a bug in this thread, or with `None` weeds it out.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether it is planted in this thread.
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        note_asked(bug);
        PLANTED.get() == Some(bug)
    }

    /// Which is planted in this thread.
    #[must_use]
    pub fn planted() -> Option<Bug> {
        PLANTED.get()
    }

    /// What a bug would change is run.
    pub fn note_asked(bug: Bug) {
        ASKED.set(ASKED.get() | 1 << bug as u32);
    }

    /// Of which bugs it was asked in this thread since this was last called. In a run that has not asked of a bug it changes
    /// nothing.
    #[must_use]
    pub fn take_asked() -> Vec<Bug> {
        let asked = ASKED.take();
        super::BUGS.into_iter().filter(|bug| asked & 1 << *bug as u32 != 0).collect()
    }
}

#[cfg(feature = "planted-bugs")]
pub use planting::{is_planted, note_asked, plant, planted, take_asked};

/// Whether it is planted: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
#[must_use]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}
