//! Which connections a cluster opens and ends, and when it asks for metadata.

use std::time::Duration;

use super::slot::{Peer, Purpose, Slot, Socket};
use super::target::Target;
use super::wanted::Kept;
use super::{Cluster, Response};
use crate::kafka::client::BrokerAction;
use crate::kafka::connection::RequestLimits;
use crate::kafka::limits::{LOGIN_BACKOFF, METADATA_TIMEOUT};
use crate::kafka::metadata::{self, Address};
use crate::time::Instant;

impl<P> Cluster<P> {
    /// A connection has ended by no wish of ours: wait before the next, and see whether leaders have moved.
    pub(super) fn fail_slot(&mut self, now: Instant, index: usize, tell_shell: bool) {
        let slot = &self.slots[index];
        let longer = if self.refusal.is_of(&slot.address) { LOGIN_BACKOFF } else { Duration::ZERO };
        self.wanted.note_failure(now, slot.peer, longer, &mut self.random);
        self.close_slot(now, index, tell_shell);
        self.topology.expire(now);
    }

    pub(super) fn close_slot(&mut self, now: Instant, index: usize, tell_shell: bool) {
        let slot = self.slots.remove(index);
        self.changes += 1;
        if tell_shell {
            self.actions.push_back(BrokerAction::Close { broker: slot.key });
        }
        let Socket::Open(connection) = slot.socket else {
            return;
        };
        for purpose in connection.into_tokens() {
            match purpose {
                Purpose::User(token) => self.responses.push_back(Response { token, broker: slot.key, answer: None }),
                Purpose::Metadata => self.topology.note_lost(now),
            }
        }
    }

    fn open_slot(&mut self, now: Instant, peer: Peer, address: Address) {
        let (host, port) = (address.host.clone(), address.port);
        let broker = self.slots.add(now, peer, address);
        self.actions.push_back(BrokerAction::Connect { broker, host, port });
    }

    pub(super) fn may_open(&self, kept: &Kept) -> bool {
        let Peer::Node(node, _) = kept.peer else {
            return false;
        };
        self.topology.nodes.contains_key(&node) && !self.slots.has(kept.peer)
    }

    /// One attempt at a time, and none at an address to which a connection is under way or open.
    pub(super) fn bootstrap_may_open(&self) -> bool {
        let bootstrap = &self.wanted.bootstrap;
        !self.slots.iter().any(|slot| slot.peer == Peer::Bootstrap || bootstrap.is_next(&slot.address))
    }

    /// Does what is due: opens wanted connections, asks for metadata, closes a bootstrap connection that has served.
    pub(super) fn drive(&mut self, now: Instant) {
        if self.slots.iter().any(Slot::is_open) {
            self.refusal.forget_old(now);
        }
        for index in 0..self.wanted.kept.len() {
            let kept = &self.wanted.kept[index];
            if kept.not_before <= now && self.may_open(kept) {
                let peer = kept.peer;
                let Peer::Node(node, _) = peer else { continue };
                if let Some(address) = self.topology.nodes.get(&node).cloned() {
                    self.open_slot(now, peer, address);
                }
            }
        }
        if self.topology.due().is_some_and(|due| due <= now) {
            self.ask_for_metadata(now);
        }
        self.close_spare_bootstrap(now);
    }

    fn ask_for_metadata(&mut self, now: Instant) {
        let request = metadata::request(&self.config.topic);
        if let Ok((_, connection)) = self.slots.ready_connection(Target::Any) {
            let limits = RequestLimits::within(METADATA_TIMEOUT);
            match connection.request(now, &request, Purpose::Metadata, limits) {
                Ok(()) => self.topology.note_asked(now),
                // Full, or a broker without a common version: another time, perhaps another broker.
                Err(_) => self.topology.put_off(now),
            }
        } else if self.slots.iter().any(Slot::is_open) {
            // Asked as soon as its login has been renewed.
        } else if !self.bootstrap_may_open() {
            self.wanted.bootstrap.skip();
        } else if self.wanted.bootstrap.not_before() <= now {
            let address = self.wanted.bootstrap.take_next();
            self.open_slot(now, Peer::Bootstrap, address);
        }
    }

    /// One connection a leader: the one we came in through is closed once another is ready and it is idle.
    fn close_spare_bootstrap(&mut self, now: Instant) {
        let spare = |slot: &Slot<P>| slot.peer == Peer::Bootstrap && slot.is_ready() && slot.in_flight() == 0;
        let Some(index) = self.slots.find(spare) else {
            return;
        };
        let other = |slot: &Slot<P>| slot.peer != Peer::Bootstrap && slot.is_ready();
        if self.slots.iter().any(other) {
            self.close_slot(now, index, true);
        }
    }
}
