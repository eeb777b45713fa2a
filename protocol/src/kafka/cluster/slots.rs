//! The connections that there are, and which of them a request goes over.
//!
//! Never decides which there are to be ([`super::wanted`]).

use std::ops::{Index, IndexMut};
use std::time::Duration;

use super::slot::{Peer, Purpose, Slot, Socket};
use super::target::{Lane, Target};
use crate::kafka::client::BrokerKey;
use crate::kafka::connection::{BrokerConnection, ConnectionError, RequestError};
use crate::kafka::limits::CONNECT_TIMEOUT;
use crate::kafka::metadata::{Address, NodeId};
use crate::kafka::versions::ApiKeyCode;
use crate::time::Instant;

/// See the module. A place is good until the next one is removed.
#[derive(Debug)]
pub(super) struct Slots<P> {
    slots: Vec<Slot<P>>,
    key_next: u32,
}

impl<P> Slots<P> {
    pub(super) fn new() -> Slots<P> {
        Slots { slots: Vec::new(), key_next: 0 }
    }

    /// One whose socket is to be opened now, under a key that none had before.
    pub(super) fn add(&mut self, now: Instant, peer: Peer, address: Address) -> BrokerKey {
        let key = BrokerKey(self.key_next);
        self.key_next = self.key_next.wrapping_add(1);
        let socket = Socket::Opening { deadline: now + CONNECT_TIMEOUT };
        self.slots.push(Slot { key, peer, address, socket, heard: now, is_silent: false });
        key
    }

    pub(super) fn remove(&mut self, place: usize) -> Slot<P> {
        self.slots.remove(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<P>> {
        self.slots.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The place of the first that is so.
    pub(super) fn find(&self, is_so: impl FnMut(&Slot<P>) -> bool) -> Option<usize> {
        self.slots.iter().position(is_so)
    }

    pub(super) fn place_of(&self, broker: BrokerKey) -> Option<usize> {
        self.find(|slot| slot.key == broker)
    }

    /// That of a socket which is open.
    pub(super) fn connection(&mut self, broker: BrokerKey) -> Option<&mut BrokerConnection<Purpose<P>>> {
        match &mut self.slots.iter_mut().find(|slot| slot.key == broker)?.socket {
            Socket::Open(connection) => Some(connection),
            Socket::Opening { .. } => None,
        }
    }

    pub(super) fn has(&self, peer: Peer) -> bool {
        self.slots.iter().any(|slot| slot.peer == peer)
    }

    // What is due on any of them.

    /// Begins to renew the logins that are due. Returns the connections that could not.
    pub(super) fn renew_logins(&mut self, now: Instant) -> Vec<(BrokerKey, ConnectionError)> {
        let mut failed = Vec::new();
        for slot in &mut self.slots {
            if let Socket::Open(connection) = &mut slot.socket
                && connection.next_time() <= now
                && let Err(error) = connection.handle_time(now)
            {
                failed.push((slot.key, error));
            }
        }
        failed
    }

    /// Asks for a sign of life, within `timeout`, where none has come for long. Returns how many have owed something for too long
    /// and are known to be silent from now on.
    pub(super) fn look_for_silence(&mut self, now: Instant, timeout: Duration) -> u64 {
        let mut silent = 0;
        for slot in &mut self.slots {
            if slot.probe_deadline() > now {
                continue;
            }
            let Socket::Open(connection) = &mut slot.socket else { continue };
            if connection.owes_since().is_some() {
                slot.is_silent = true;
                silent += 1;
            } else {
                connection.probe(now, timeout);
            }
        }
        silent
    }

    // What a request to `target` meets.

    pub(super) fn ready(&self, target: Target) -> Option<usize> {
        match target {
            Target::Node(node, lane) => {
                let peer = Peer::Node(node, lane);
                self.slots.iter().position(|slot| slot.peer == peer && slot.is_ready())
            }
            Target::Any => {
                // Not over the group's lane: the broker reads nothing behind a JoinGroup until the whole group has joined.
                let may_wait = |slot: &Slot<P>| matches!(slot.peer, Peer::Node(_, Lane::GROUP));
                let ready = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_ready() && !may_wait(slot));
                ready.min_by_key(|(_, slot)| (slot.is_silent, slot.in_flight())).map(|(place, _)| place)
            }
        }
    }

    /// A connection that waits for its login to be renewed.
    fn open(&self, target: Target) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.is_open()
                && match target {
                    Target::Node(node, lane) => slot.peer == Peer::Node(node, lane),
                    Target::Any => !matches!(slot.peer, Peer::Node(_, Lane::GROUP)),
                }
        })
    }

    pub(super) fn ready_connection(
        &mut self,
        target: Target,
    ) -> Result<(BrokerKey, &mut BrokerConnection<Purpose<P>>), RequestError> {
        let place = self.ready(target).ok_or(RequestError::NotReady)?;
        match &mut self.slots[place] {
            Slot { key, socket: Socket::Open(connection), .. } => Ok((*key, connection)),
            Slot { socket: Socket::Opening { .. }, .. } => Err(RequestError::NotReady),
        }
    }

    /// Whether a request of this kind would be sent now, and why not.
    pub(super) fn may_send(&self, target: Target, api_key: ApiKeyCode) -> Result<(), RequestError> {
        match self.ready(target).or_else(|| self.open(target)).map(|place| &self.slots[place].socket) {
            Some(Socket::Open(connection)) => connection.may_send(api_key).map(|_| ()),
            Some(Socket::Opening { .. }) | None => Err(RequestError::NotReady),
        }
    }

    pub(super) fn version(&self, target: Target, api_key: ApiKeyCode) -> Option<i16> {
        match &self.slots[self.ready(target)?].socket {
            Socket::Open(connection) => connection.version(api_key),
            Socket::Opening { .. } => None,
        }
    }

    pub(super) fn is_silent(&self, target: Target) -> bool {
        self.ready(target).is_some_and(|place| self.slots[place].is_silent)
    }

    pub(super) fn in_flight(&self, node: NodeId, lane: Lane) -> usize {
        let peer = Peer::Node(node, lane);
        self.slots.iter().find(|slot| slot.peer == peer).map_or(0, Slot::in_flight)
    }
}

impl<P> Index<usize> for Slots<P> {
    type Output = Slot<P>;

    fn index(&self, place: usize) -> &Slot<P> {
        &self.slots[place]
    }
}

impl<P> IndexMut<usize> for Slots<P> {
    fn index_mut(&mut self, place: usize) -> &mut Slot<P> {
        &mut self.slots[place]
    }
}
