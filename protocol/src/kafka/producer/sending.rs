//! Produce requests: batches out to their leaders, answers to what became of them.

use super::broker_times::BrokerTime;
use super::in_flight::Request;
use super::partition::Next;
use super::verdict::code::INVALID_TIMESTAMP;
use super::{Producer, Token, request};
use crate::kafka::cluster::{Lane, Target};
use crate::kafka::connection::{Answer, RequestLimits};
use crate::kafka::denial;
use crate::kafka::metadata::NodeId;
use crate::kafka::versions::key;
use crate::kafka::wire::WireError;
use crate::time::Instant;

impl<T: Copy> Producer<T> {
    /// Sends every batch that may go, one request after the other, each with at most one batch of a partition.
    pub(super) fn send_batches(&mut self, now: Instant) {
        while self.send_request(now) {}
        self.ask_for_identity(now);
    }

    /// Sends one request to one broker; `false`: there is none to send.
    fn send_request(&mut self, now: Instant) -> bool {
        let mut target: Option<NodeId> = None;
        let mut place = None;
        for at in 0..self.listed.len() {
            let index = self.listed[at];
            let its = &mut self.partitions[index];
            let Some(leader) = its.leader().filter(|leader| target.is_none_or(|node| node == *leader)) else {
                continue;
            };
            let next = its.next(now, &self.pace);
            if next == Next::Nothing {
                continue;
            }
            if !its.adopt(self.identity.current()) {
                self.identity.want();
                continue;
            }
            let to = Target::Node(leader, Lane::DATA);
            if target.is_none() && self.cluster.may_send(to, key::PRODUCE).is_err() {
                continue;
            }
            let serial = its.send(next);
            target = Some(leader);
            let place = *place.get_or_insert_with(|| self.in_flight.begin(now, leader));
            self.in_flight[place].batches.push((index, serial));
            if next == Next::Open {
                self.move_on(index);
            }
        }
        let (Some(node), Some(place)) = (target, place) else {
            return false;
        };
        self.write_request(now, node, place);
        true
    }

    fn write_request(&mut self, now: Instant, node: NodeId, place: usize) {
        let timeout = self.config.request_timeout;
        let timeout_ms = i32::try_from(timeout.as_millis() * 3 / 4).unwrap_or(i32::MAX);
        let topic = (self.config.topic.as_str(), self.topic_id.unwrap_or_default());
        let (partitions, batches) = (&self.partitions, &self.in_flight[place].batches);
        let views = batches.iter().map(|(index, serial)| (*index as i32, partitions[*index].bytes(*serial)));
        let limits = RequestLimits::within(timeout);
        let target = Target::Node(node, Lane::DATA);
        self.counters.requests += 1;
        self.counters.batches += batches.len() as u64;
        self.counters.bytes += views.clone().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let sent =
            self.cluster.request_with(now, target, key::PRODUCE, Token::Produce(place), limits, |out, version| {
                request::write(out, version, topic, timeout_ms, views);
            });
        assert!(sent.is_ok(), "the cluster has just said that it would send this: {sent:?}");
    }

    pub(super) fn handle_produced(
        &mut self,
        now: Instant,
        place: usize,
        answer: Option<Answer>,
    ) -> Result<(), WireError> {
        let Request { node, asked: asked_at, .. } = self.in_flight[place];
        let batches = std::mem::take(&mut self.in_flight[place].batches);
        let mut codes = std::mem::take(&mut self.codes);
        let asked = batches.iter().map(|(index, _)| *index as i32);
        let read = answer.map(|answer| request::read(&answer, asked, &mut codes));
        let mut stale = false;
        for (at, (index, serial)) in batches.iter().enumerate() {
            let its = &mut self.partitions[*index];
            match &read {
                Some(Ok(_)) => {
                    let (_, code) = codes[at];
                    denial::note(&mut self.denied, code);
                    self.counters.batches_failed += u64::from(code != 0);
                    self.is_untimed |= code == INVALID_TIMESTAMP;
                    let serials = &mut self.serial_last;
                    stale |= its.handle_code(now, *serial, code, serials, &mut self.random, &mut self.finished);
                }
                Some(Err(_)) | None => {
                    self.counters.batches_failed += 1;
                    its.handle_lost(*serial);
                }
            }
        }
        self.in_flight.end(place, batches);
        self.codes = codes;
        if stale {
            self.cluster.refresh_metadata(now);
        }
        let appended_ms = read.transpose()?.flatten();
        if let Some(shown_ms) = appended_ms {
            self.times.note(BrokerTime { node, shown_ms, asked: asked_at, answered: now });
        }
        Ok(())
    }
}
