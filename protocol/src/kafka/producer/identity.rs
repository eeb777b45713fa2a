//! The producer id in use, and the way to the next.
//!
//! Never decides when another is needed, and sends nothing.

use kafka_protocol::messages::InitProducerIdRequest;

use crate::kafka::backoff::{SplitMix64, backoff};
use crate::kafka::connection::Answer;
use crate::kafka::denial;
use crate::kafka::records::ProducerId;
use crate::kafka::wire::WireError;
use crate::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Identity {
    current: Option<ProducerId>,
    wanted: bool,
    in_flight: bool,
    failures: u32,
    not_before: Instant,
}

impl Identity {
    /// There is none, and one is wanted at once.
    pub(super) fn new(now: Instant) -> Identity {
        Identity { current: None, wanted: true, in_flight: false, failures: 0, not_before: now }
    }

    pub(super) fn current(&self) -> Option<ProducerId> {
        self.current
    }

    /// The current one, if any, will not do any more.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When it is to be asked for; `None`: there is nothing to ask, or it was asked.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.wanted && !self.in_flight).then_some(self.not_before)
    }

    /// One for a producer without transactions.
    pub(super) fn request() -> InitProducerIdRequest {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    }

    pub(super) fn note_asked(&mut self) {
        self.in_flight = true;
    }

    /// It could not be asked for, or was asked in vain: when it may be asked for again.
    pub(super) fn put_off(&mut self, now: Instant, random: &mut SplitMix64) -> Instant {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + backoff(self.failures, random);
        self.not_before
    }

    /// Whether the answer brings one. `None`: it was lost with its connection. Error 14 (the coordinator is loading) passes. An id
    /// of −1 must never be used: the broker would take duplicates.
    ///
    /// # Errors
    /// [`WireError`]: it is no answer.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        answer: Option<Answer>,
        random: &mut SplitMix64,
        denied: &mut Option<i16>,
    ) -> Result<bool, WireError> {
        self.in_flight = false;
        self.put_off(now, random);
        let Some(answer) = answer else {
            return Ok(false);
        };
        let response = answer.decode::<InitProducerIdRequest>()?;
        denial::note(denied, response.error_code);
        if response.error_code != 0 {
            return Ok(false);
        }
        if response.producer_id.0 < 0 || response.producer_epoch < 0 {
            return Err(WireError { kind: "InitProducerIdResponse", reason: "no producer id".to_owned() });
        }
        self.current = Some(ProducerId { id: response.producer_id.0, epoch: response.producer_epoch });
        (self.wanted, self.failures, self.not_before) = (false, 0, now);
        Ok(true)
    }
}
