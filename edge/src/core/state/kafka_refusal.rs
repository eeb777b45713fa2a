//! Why a broker of Kafka does not take this core: told once, and shown while it lasts.

use std::sync::PoisonError;

use tracing::{error, info};

use crate::counters::Counters;

/// What was last told.
#[derive(Debug, Default)]
pub(crate) struct KafkaRefusal(Option<String>);

impl KafkaRefusal {
    /// As it is now. All cores of a process log in as the same user: the first one's log line speaks for them.
    pub(crate) fn note(&mut self, counters: &Counters, is_first: bool, refusal: Option<String>) {
        if self.0 == refusal {
            return;
        }
        match &refusal {
            Some(why) if is_first => error!(why, "Kafka does not take this edge; asked again"),
            None if is_first => info!("Kafka takes this edge again"),
            Some(_) | None => {}
        }
        counters.kafka_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&refusal);
        self.0 = refusal;
    }
}
