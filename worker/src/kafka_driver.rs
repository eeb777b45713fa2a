//! Drives a Kafka machine for a command that runs once: sockets, time, and waiting for what the machine comes to.
//!
//! Never decides anything; what is waited for is the caller's question.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use flux_net::failures::BrokerFailures;
use flux_net::{Address, BrokerEnd, BrokerOptions, BrokerOwner, Brokers, ClientTls, Clock, Notify, within};
use flux_protocol::kafka::client::ClusterError;
use flux_protocol::kafka::client::{BrokerKey, KafkaClient};
use flux_protocol::kafka::limits::CONNECT_TIMEOUT;
use flux_protocol::time::Instant;
use tracing::{debug, warn};

use crate::limits::READ_ROOM_BYTES;

/// How this process connects to brokers.
pub const BROKER_OPTIONS: BrokerOptions =
    BrokerOptions { connect_time_max: CONNECT_TIMEOUT, silence_max: None, read_bytes: READ_ROOM_BYTES };

/// A connection has ended, or could not be opened: tells of it, where it is time to.
pub fn note_end(now: Instant, failures: &BrokerFailures, address: &Address, end: &BrokerEnd) {
    let BrokerEnd::Unreachable(error) = end else {
        debug!(%address, ?end, "a broker's connection has ended");
        return;
    };
    let error = error.to_string();
    if let Some(failures) = failures.unreachable.note(now, &error) {
        warn!(broker = %address, failures, error, "cannot connect to a broker");
    }
}

/// What a broker sent was understood, or was not: tells of it, where it is time to. A login that is refused is told of where
/// readiness is.
pub fn note_answer(now: Instant, failures: &BrokerFailures, answer: &Result<(), ClusterError>) {
    match answer {
        Ok(()) => {}
        Err(error) if error.is_login() => debug!(%error, "a broker does not take us"),
        Err(error) => {
            if let Some(times) = failures.broken.note(now, &error.to_string()) {
                warn!(%error, times, "a broker is not understood; the connection is closed");
            }
        }
    }
}

struct Shared<C> {
    clock: Clock,
    client: RefCell<C>,
    failures: BrokerFailures,
    turn: Rc<Notify>,
}

impl<C: KafkaClient + 'static> BrokerOwner for Shared<C> {
    fn broker_opened(&self, broker: BrokerKey, address: &Address) {
        debug!(%address, "connected to a broker");
        self.failures.unreachable.clear();
        self.client.borrow_mut().handle_broker_open(self.clock.instant(), broker);
        self.turn.notify();
    }

    fn broker_bytes(&self, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), String> {
        let result = self.client.borrow_mut().handle_broker_bytes(self.clock.instant(), broker, buffer);
        note_answer(self.clock.instant(), &self.failures, &result);
        self.turn.notify();
        result.map_err(|error| error.to_string())
    }

    fn broker_closed(&self, broker: BrokerKey, address: &Address, end: &BrokerEnd) {
        note_end(self.clock.instant(), &self.failures, address, end);
        self.client.borrow_mut().handle_broker_closed(self.clock.instant(), broker);
        self.turn.notify();
    }
}

/// A machine and its sockets, which are closed with it.
pub struct Driver<C> {
    shared: Rc<Shared<C>>,
    brokers: Brokers,
    scratch: Vec<u8>,
}

impl<C: KafkaClient + 'static> Driver<C> {
    /// Starts what `make` makes, over links with `tls` where there is one.
    pub fn new(tls: Option<&ClientTls>, make: impl FnOnce(Instant) -> C) -> Driver<C> {
        let clock = Clock::start();
        let client = RefCell::new(make(clock.instant()));
        let shared =
            Rc::new(Shared { clock, client, failures: BrokerFailures::default(), turn: Rc::new(Notify::new()) });
        let brokers = Brokers::new(BROKER_OPTIONS, tls.cloned(), Rc::clone(&shared.turn));
        Driver { brokers, shared, scratch: Vec::new() }
    }

    /// Drives the machine until `look` finds what it looks for; `None` where that takes longer than `limit`. `look` is
    /// called after everything that happens, and may change the machine.
    ///
    /// # Errors
    /// The process has no descriptor left for a timer.
    pub async fn until<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&mut C, Instant) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let end = self.shared.clock.instant() + limit;
        loop {
            let span = {
                let now = self.shared.clock.instant();
                let mut client = self.shared.client.borrow_mut();
                client.handle_time(now);
                let found = look(&mut client, now);
                self.brokers.turn(&self.shared, &mut *client, &mut self.scratch);
                if found.is_some() || now >= end {
                    return Ok(found);
                }
                client.next_deadline().min(end).since(now)
            };
            within(span, self.shared.turn.notified()).await?;
        }
    }
}

impl<C> Drop for Driver<C> {
    fn drop(&mut self) {
        self.brokers.close();
    }
}
