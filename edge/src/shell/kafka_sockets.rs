//! What the connections to Kafka's brokers ([`flux_net::brokers`]) tell this core.
//!
//! Never interprets a byte, and never decides which broker to speak to or when to try again: the machine does.

use std::sync::PoisonError;

use bytes::BytesMut;
use flux_net::{Address, BrokerEnd, BrokerOwner};
use flux_protocol::kafka::client::BrokerKey;
use tracing::{debug, warn};

use crate::core::machine::Machine;
use crate::shell::shard::Shard;

impl<M: Machine> Shard<M> {
    /// Whether it is a refusal that the machine has told of already: it is met again every few seconds.
    fn is_told(&self, why: &str) -> bool {
        let told = self.counters.decisions.kafka_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref().is_some_and(|told| told.ends_with(why))
    }

    /// For `/readyz`.
    fn note_kafka_fault(&self, fault: Option<String>) {
        *self.counters.decisions.kafka_fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

impl<M: Machine> BrokerOwner for Shard<M> {
    fn broker_opened(&self, broker: BrokerKey, address: &Address) {
        debug!(core = self.index, broker = %address, "connected to a broker");
        self.counters.shell.kafka_connects.add(1);
        self.kafka_failures.unreachable.clear();
        self.note_kafka_fault(None);
        self.event(|machine, now| machine.handle_broker_open(now, broker));
    }

    fn broker_bytes(&self, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), String> {
        self.event(|machine, now| machine.handle_broker_bytes(now, broker, buffer)).map_err(|fault| fault.0)
    }

    fn broker_closed(&self, broker: BrokerKey, address: &Address, end: &BrokerEnd) {
        match end {
            BrokerEnd::Unreachable(error) => {
                let error = error.to_string();
                if let Some(failures) = self.kafka_failures.unreachable.note(self.clock.instant(), &error) {
                    warn!(core = self.index, broker = %address, failures, error, "cannot connect to a broker");
                }
                self.note_kafka_fault(Some(format!("{address}: {error}")));
            }
            BrokerEnd::Broken(why) if self.is_told(why) => {
                debug!(core = self.index, broker = %address, why, "not let in")
            }
            BrokerEnd::Broken(why) => {
                if let Some(times) = self.kafka_failures.broken.note(self.clock.instant(), why) {
                    warn!(core = self.index, broker = %address, why, times, "connection to a broker ended");
                }
            }
            BrokerEnd::Abandoned => {}
        }
        self.event(|machine, now| machine.handle_broker_closed(now, broker));
    }
}
