//! What an operator can have set wrong in Redis and Kafka: looked at when the edge starts and when another Redis answers,
//! said once in clear lines, shown as gauges.
//!
//! The guarantees rest on these settings (docs/GUARANTEES.md), and nothing else would tell that one is wrong before it
//! is needed. Never refuses to serve for one of them, never changes one. First core only.

use std::sync::PoisonError;

use flux_protocol::resp::{self, Reply, Value};
use flux_protocol::time::Now;

use crate::core::Core;
use crate::core::calls::PendingCall;
use crate::core::state::server_settings::{
    Question, REDIS_SETTINGS, TOPIC_SETTINGS, info_field, judge_redis, judge_topic, pairs, report,
};

impl Core {
    /// A connection to Redis is there: it may be another one.
    pub(crate) fn ask_redis_settings(&mut self, now: Now) {
        if !self.is_first {
            return;
        }
        self.redis.call(now.instant, PendingCall::Settings(Question::Info), |out| resp::command(out, &[b"INFO"]));
        let words: Vec<&[u8]> = [&b"CONFIG"[..], b"GET"].into_iter().chain(REDIS_SETTINGS.map(str::as_bytes)).collect();
        self.redis.call(now.instant, PendingCall::Settings(Question::Settings), |out| resp::command(out, &words));
    }

    /// What Redis says of itself. No reply: the connection is gone, and the next is asked.
    pub(crate) fn handle_redis_settings(&mut self, question: Question, reply: Option<Reply<'_>>) {
        let Some(reply) = reply else { return };
        match question {
            Question::Info => {
                let Value::Bulk(info) = reply.value() else { return };
                self.server_settings.info = String::from_utf8_lossy(info).into_owned();
            }
            Question::Settings => {
                let info = std::mem::take(&mut self.server_settings.info);
                let run_id = info_field(&info, "run_id").unwrap_or_default();
                if run_id.is_empty() || run_id == self.server_settings.run_id {
                    return;
                }
                self.server_settings.run_id = run_id.to_owned();
                let findings = judge_redis(&info, &pairs(reply));
                report("Redis", &findings);
                *self.counters.redis_findings.lock().unwrap_or_else(PoisonError::into_inner) = Some(findings);
            }
        }
    }

    /// Looks at the topic once it is there, and again where it is another one under the same name.
    pub(crate) fn check_topic_settings(&mut self, now: Now) {
        if !self.is_first || self.server_settings.topic == self.producer.topic_id() {
            return;
        }
        match self.producer.poll_topic_settings() {
            Some(told) => {
                self.server_settings.topic = self.producer.topic_id();
                let findings = judge_topic(&told);
                report("Kafka", &findings);
                *self.counters.topic_findings.lock().unwrap_or_else(PoisonError::into_inner) = Some(findings);
            }
            None => self.producer.ask_topic_settings(now.instant, &TOPIC_SETTINGS),
        }
    }
}
