//! The shell's side of a cluster: sockets that open and close, bytes that come and go, and the time.

use bytes::BytesMut;
use kafka_protocol::messages::MetadataRequest;

use super::slot::{Peer, Purpose, Socket};
use super::target::Lane;
use super::{Cluster, Response};
use crate::kafka::client::{BrokerAction, BrokerKey, ClusterError, KafkaClient};
use crate::kafka::connection::{BrokerConnection, ConnectionError};
use crate::kafka::metadata;
use crate::time::Instant;

impl<P> KafkaClient for Cluster<P> {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        self.actions.pop_front()
    }

    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        let Some(index) = self.slots.place_of(broker) else {
            return;
        };
        let slot = &mut self.slots[index];
        if matches!(slot.socket, Socket::Opening { .. }) {
            let login = self.config.login.as_ref();
            slot.socket = Socket::Open(BrokerConnection::open(now, &self.config.client_id, login));
        }
    }

    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        let Some(index) = self.slots.place_of(broker) else {
            buffer.clear();
            return Err(ClusterError::Forgotten);
        };
        let result = self.read_answers(now, index, buffer);
        if let Err(error) = &result {
            buffer.clear();
            self.note_refusal(now, index, error);
            self.fail_slot(now, index, false);
        }
        self.drive(now);
        result
    }

    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        if let Some(index) = self.slots.place_of(broker) {
            self.fail_slot(now, index, false);
            self.drive(now);
        }
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        if let Some(connection) = self.slots.connection(broker) {
            connection.poll_write(out);
        }
    }

    fn next_deadline(&self) -> Instant {
        let mut earliest = Instant::FAR_FUTURE;
        let (mut any_ready, mut any_open) = (false, false);
        for slot in self.slots.iter() {
            earliest = earliest.min(slot.deadline());
            any_ready |= slot.is_ready();
            any_open |= slot.is_open();
            if self.probe_timeout.is_some() {
                earliest = earliest.min(slot.probe_deadline());
            }
        }
        for kept in &self.wanted.kept {
            if self.may_open(kept) {
                earliest = earliest.min(kept.not_before);
            }
        }
        if let Some(due) = self.topology.due() {
            if any_ready {
                earliest = earliest.min(due);
            } else if !any_open && self.bootstrap_may_open() {
                earliest = earliest.min(due.max(self.wanted.bootstrap.not_before()));
            }
        }
        earliest
    }

    fn handle_time(&mut self, now: Instant) {
        while let Some(index) = self.slots.find(|slot| slot.is_overdue(now)) {
            self.fail_slot(now, index, true);
        }
        self.renew_logins(now);
        self.look_for_silence(now);
        self.drive(now);
    }
}

impl<P> Cluster<P> {
    fn look_for_silence(&mut self, now: Instant) {
        if let Some(timeout) = self.probe_timeout {
            self.changes += self.slots.look_for_silence(now, timeout);
        }
    }

    fn renew_logins(&mut self, now: Instant) {
        for (broker, error) in self.slots.renew_logins(now) {
            if let Some(index) = self.slots.place_of(broker) {
                self.note_refusal(now, index, &error.into());
                self.fail_slot(now, index, true);
            }
        }
    }

    fn note_refusal(&mut self, now: Instant, index: usize, error: &ClusterError) {
        if let ClusterError::Connection(ConnectionError::Login(why)) = error {
            self.refusal.note(now, &self.slots[index].address, why.to_string());
        }
    }

    fn read_answers(&mut self, now: Instant, index: usize, buffer: &mut BytesMut) -> Result<(), ClusterError> {
        let broker = self.slots[index].key;
        (self.heard, self.slots[index].heard) = (now, now);
        if std::mem::take(&mut self.slots[index].is_silent) {
            self.changes += 1;
        }
        let Socket::Open(connection) = &mut self.slots[index].socket else {
            return Err(ConnectionError::Unsolicited.into());
        };
        let was_ready = connection.is_ready();
        let mut metadata_answer = None;
        while let Some((purpose, answer)) = connection.next_answer(now, buffer)? {
            match purpose {
                Purpose::User(token) => self.responses.push_back(Response { token, broker, answer: Some(answer) }),
                Purpose::Metadata => metadata_answer = Some(answer),
            }
        }
        if !was_ready && connection.is_ready() {
            self.changes += 1;
            self.wanted.note_ready(self.slots[index].peer);
            self.refusal.clear(&self.slots[index].address);
        }
        if let Some(answer) = metadata_answer {
            self.topology.note_answered(now);
            let response = answer.decode::<MetadataRequest>()?;
            let metadata = metadata::read(&response, &self.config.topic)?;
            self.changes += 1;
            let wanted = &self.wanted;
            self.topology.take(now, metadata, |node| wanted.nodes().any(|(its, _)| its == node));
            self.adopt_bootstrap();
        }
        Ok(())
    }

    /// A bootstrap connection to an address that turns out to be a node's becomes that node's.
    fn adopt_bootstrap(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.peer != Peer::Bootstrap {
                continue;
            }
            let Some(node) = self.topology.node_at(&slot.address) else {
                continue;
            };
            let peer = Peer::Node(node, Lane::DATA);
            if !self.slots.has(peer) {
                self.slots[index].peer = peer;
            }
        }
    }
}
