//! Why a broker of Kafka does not take this core: told once, and shown while it lasts.

use std::sync::PoisonError;

use tracing::{error, info};

use crate::counters::Counters;

/// What was last told.
#[derive(Debug, Default)]
pub(crate) struct KafkaRefusal(Option<String>);

/// Brokers word the refusal of a renewal differently from that of the first login that follows it; and what one refuses, the next
/// one does, too. Each line begins with the broker.
fn in_general(line: &str) -> String {
    let (_, why) = line.split_once(": ").unwrap_or(("", line));
    why.replace("re-authentication", "authentication")
}

impl KafkaRefusal {
    /// As it is now. All cores of a process log in as the same user: the first one's log line speaks for them.
    pub(crate) fn note(&mut self, counters: &Counters, is_first: bool, refusal: Option<String>) {
        if self.0 == refusal {
            return;
        }
        let is_said = matches!((&self.0, &refusal), (Some(said), Some(why)) if in_general(said) == in_general(why));
        match &refusal {
            Some(why) if is_first && !is_said => error!(why, "Kafka does not take this edge; asked again"),
            None if is_first => info!("Kafka takes this edge again"),
            Some(_) | None => {}
        }
        counters.kafka_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&refusal);
        self.0 = refusal;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_and_a_login_that_are_refused_alike_are_one_refusal() {
        let line = "broker:9092: the broker refuses user shop by PLAIN: Authentication failed during";
        assert_eq!(in_general(&format!("{line} re-authentication")), in_general(&format!("{line} authentication")));
        let (mut refusal, counters) = (KafkaRefusal::default(), Counters::default());
        let told = |counters: &Counters| counters.kafka_refusal.lock().expect("not poisoned").clone();
        refusal.note(&counters, true, Some(line.to_owned()));
        assert_eq!(told(&counters).as_deref(), Some(line));
        refusal.note(&counters, true, None);
        assert_eq!(told(&counters), None);
    }

    #[test]
    fn brokers_that_refuse_alike_are_one_refusal() {
        let line =
            |broker: &str| format!("{broker}:9092: the broker refuses user shop by PLAIN: Authentication failed");
        assert_eq!(in_general(&line("kafka-1")), in_general(&line("kafka-2")));
        assert_ne!(in_general(&line("kafka-1")), in_general("kafka-1:9092: the broker has no mechanism PLAIN"));
    }
}
