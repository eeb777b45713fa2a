//! Asking how the topic is kept, over the connections that a producer has anyway.
//!
//! Two questions, asked together, once each time that the owner wants to know. Lost with their connection they are not
//! asked again by themselves.

use std::collections::BTreeMap;

use super::{Producer, Token};
use crate::kafka::cluster::Target;
use crate::kafka::connection::{Answer, RequestError, RequestLimits};
use crate::kafka::denial;
use crate::kafka::settings::{self, TopicSettings};
use crate::kafka::wire::WireError;
use crate::time::Instant;

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Copies,
    Values,
}

/// The two questions under way.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    in_flight: usize,
    /// And whether our user may write.
    copies: Option<(usize, Option<bool>)>,
    values: Option<Result<BTreeMap<String, String>, i16>>,
}

impl<T: Copy> Producer<T> {
    /// Asks how the topic is kept: how many copies, and the settings `names`. Nothing where that is being asked; where no
    /// broker can be asked, ask again later. [`Producer::poll_topic_settings`] has the answer.
    pub fn ask_topic_settings(&mut self, now: Instant, names: &[&str]) {
        if self.topic.in_flight > 0 {
            return;
        }
        self.topic = Inquiry::default();
        let limits = RequestLimits::within(self.config.request_timeout);
        let token = Token::Topic(Question::Copies);
        let copies = settings::request_copies(&self.config.topic);
        if self.cluster.request(now, Target::Any, &copies, token, limits).is_err() {
            return;
        }
        self.topic.in_flight += 1;
        let token = Token::Topic(Question::Values);
        let values = settings::request(&self.config.topic, names);
        match self.cluster.request(now, Target::Any, &values, token, limits) {
            Ok(_) => self.topic.in_flight += 1,
            // A broker that does not know the request tells nothing of the settings.
            Err(RequestError::Unsupported(_) | RequestError::Encode(_)) => {
                self.topic.values = Some(Ok(BTreeMap::new()))
            }
            Err(RequestError::NotReady | RequestError::Full) => {}
        }
    }

    /// What was found out, once, where both questions were answered.
    pub fn poll_topic_settings(&mut self) -> Option<TopicSettings> {
        if self.topic.in_flight > 0 || self.topic.copies.is_none() || self.topic.values.is_none() {
            return None;
        }
        let told = std::mem::take(&mut self.topic);
        let (replicas, may_write) = told.copies?;
        let why = |code| {
            let denied = denial::in_words(code, &self.cluster.who(), "DescribeConfigs", &self.config.topic);
            denied.unwrap_or_else(|| format!("Kafka answers error {code}"))
        };
        Some(TopicSettings { replicas, may_write, values: told.values?.map_err(why) })
    }

    /// `None`: the connection was lost, and with it the whole inquiry.
    pub(super) fn handle_topic(&mut self, question: Question, answer: Option<Answer>) -> Result<(), WireError> {
        self.topic.in_flight -= 1;
        let Some(answer) = answer else { return Ok(()) };
        match question {
            Question::Copies => self.topic.copies = Some(settings::read_copies(&answer, &self.config.topic)?),
            Question::Values => self.topic.values = Some(settings::read(&answer)?),
        }
        Ok(())
    }
}
