//! What is outstanding: calls to Redis, and records with the producer. Each names what its answer is for.

use flux_protocol::time::Instant;

use crate::core::state::entries::EntryIndex;
use crate::core::state::lookups::LookupIndex;
use crate::core::state::operations::OperationIndex;
use crate::core::state::orders::OrderIndex;
use crate::core::state::product_index::ProductIndex;
use crate::core::state::reserve_calls::BatchIndex;
use crate::core::state::server_settings::Question;
use crate::redis::work::{Scheduled, Work};

/// A call for tokens of a sale with a fair queue, and for the queue's status.
#[derive(Clone, Copy, Debug)]
pub struct QueueStatusCall {
    pub(crate) product: ProductIndex,
    pub(crate) sale_id: u64,
    pub(crate) wants_tokens: bool,
}

/// What a record handed to the producer stands for.
#[derive(Clone, Copy, Debug)]
pub enum RecordTag {
    /// An order of this core.
    Order {
        /// Gone where it was answered 202 meanwhile.
        order: OrderIndex,
        /// Its outbox entry.
        entry: EntryIndex,
        /// Its place in the entry, from 0.
        place: u8,
    },
    /// An order of an entry that the relay took over.
    Relayed {
        entry: EntryIndex,
        /// The order's place in it, from 0.
        place: u8,
    },
    /// A sale opened or closed.
    Operation(OperationIndex),
}

/// What a call to Redis was for.
#[derive(Debug)]
pub enum PendingCall {
    Reserve(BatchIndex),
    /// Whether orders of sold-out sales have records.
    Lookup(LookupIndex),
    /// A lease of tokens.
    Lease(ProductIndex),
    /// The same where there is a fair queue: a report, and the queue's status.
    QueueStatus(QueueStatusCall),
    /// The document of `GET /queue`.
    Document(ProductIndex),
    /// A refresh of products in memory.
    Refresh(Vec<ProductIndex>),
    /// A refresh of unknown names.
    Discover,
    /// Whether there is a registry, behind a refresh that did not find some of them.
    RegistryExists,
    /// A page of the registry.
    Registry,
    /// A refresh of names of the registry that are not in memory.
    Survey,
    /// Taking names out of the registry.
    Forget,
    /// Who Redis is; asked then.
    Identity(Instant),
    /// An outbox walk for the relay.
    Relay(ProductIndex),
    /// How far orders are.
    Status,
    /// Opening a sale.
    Init(OperationIndex),
    /// Adding its name to the registry.
    Register(OperationIndex),
    /// Closing a sale.
    Close(OperationIndex),
    /// Removing records that no repeat can need any more.
    Retire(ProductIndex),
    /// A sign of life.
    Probe,
    /// How Redis is set up.
    Settings(Question),
    /// Moving the undelivered orders of an entry to one of their own.
    SplitEntry,
    /// A command whose reply tells nothing we act on: deletions of entries, names put back in the registry.
    Quiet,
}

impl Scheduled for PendingCall {
    fn work(&self) -> Work {
        match self {
            PendingCall::Reserve(_) => Work::Reserve,
            PendingCall::Lookup(_) => Work::Lookup,
            PendingCall::Lease(_) | PendingCall::QueueStatus(_) => Work::Tokens,
            PendingCall::Status => Work::Status,
            PendingCall::Discover | PendingCall::RegistryExists => Work::Discover,
            PendingCall::Refresh(_) => Work::Refresh,
            PendingCall::Document(_) => Work::Queue,
            PendingCall::Init(_) | PendingCall::Register(_) | PendingCall::Close(_) => Work::Operation,
            PendingCall::Registry
            | PendingCall::Survey
            | PendingCall::Forget
            | PendingCall::Identity(_)
            | PendingCall::Relay(_)
            | PendingCall::Retire(_)
            | PendingCall::Settings(_)
            | PendingCall::SplitEntry
            | PendingCall::Probe
            | PendingCall::Quiet => Work::Upkeep,
        }
    }
}
