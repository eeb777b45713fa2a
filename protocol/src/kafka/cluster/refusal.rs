//! Which broker has refused our login last: told to the operator until it takes us, or others do and it is not asked any more.

use crate::kafka::limits::REFUSAL_AGE_MAX;
use crate::kafka::metadata::Address;
use crate::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusal(Option<Last>);

/// A login that came to nothing.
#[derive(Debug)]
struct Last {
    address: Address,
    why: String,
    at: Instant,
}

impl Refusal {
    pub(super) fn note(&mut self, now: Instant, address: &Address, why: String) {
        self.0 = Some(Last { address: address.clone(), why, at: now });
    }

    /// The broker at `address` takes us.
    pub(super) fn clear(&mut self, address: &Address) {
        self.0.take_if(|last| last.address == *address);
    }

    /// While others take us: under another name the broker may long have done so, too.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.take_if(|last| last.at + REFUSAL_AGE_MAX <= now);
    }

    pub(super) fn is_of(&self, address: &Address) -> bool {
        self.0.as_ref().is_some_and(|last| last.address == *address)
    }

    /// In one line that names the broker.
    pub(super) fn in_words(&self) -> Option<String> {
        let Last { address: Address { host, port }, why, .. } = self.0.as_ref()?;
        Some(format!("{host}:{port}: {why}"))
    }
}
