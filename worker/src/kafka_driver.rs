//! Drives a Kafka machine for a command that runs once: sockets, time, and waiting for what the machine comes to.
//!
//! Never decides anything; what is waited for is the caller's question.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use flux_net::{Clock, Notify, within};
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey, ClusterError};
use flux_protocol::kafka::log_reader::LogReader;
use flux_protocol::kafka::producer::Producer;
use flux_protocol::time::Instant;
use tracing::warn;

use crate::brokers::{BrokerSink, BrokerSource, Brokers};

/// A machine that speaks the cluster interface ([`flux_protocol::kafka::cluster`]).
pub trait Machine: 'static {
    /// What is to be done next.
    fn poll_action(&mut self) -> Option<BrokerAction>;
    /// What is to go out.
    fn poll_broker_write(&mut self, now: Instant, broker: BrokerKey, out: &mut Vec<u8>);
    /// The socket is open.
    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey);
    /// Bytes have arrived.
    ///
    /// # Errors
    /// Close the socket.
    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError>;
    /// The socket is gone.
    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey);
    /// When to call [`Machine::handle_time`].
    fn next_deadline(&self, now: Instant) -> Instant;
    /// Does what has become due.
    fn handle_time(&mut self, now: Instant);
}

struct Shared<M> {
    clock: Clock,
    machine: RefCell<M>,
    turn: Notify,
}

impl<M: Machine> BrokerSink for Shared<M> {
    fn broker_opened(&self, broker: BrokerKey) {
        self.machine.borrow_mut().handle_broker_open(self.clock.instant(), broker);
        self.turn.notify();
    }

    fn broker_read(&self, broker: BrokerKey, buffer: &mut BytesMut) -> bool {
        let result = self.machine.borrow_mut().handle_broker_bytes(self.clock.instant(), broker, buffer);
        if let Err(error) = &result {
            warn!(%error, "a broker is not understood");
        }
        self.turn.notify();
        result.is_ok()
    }

    fn broker_closed(&self, broker: BrokerKey) {
        self.machine.borrow_mut().handle_broker_closed(self.clock.instant(), broker);
        self.turn.notify();
    }
}

/// The machine with the time at which it is polled.
struct Source<'a, M>(&'a mut M, Instant);

impl<M: Machine> BrokerSource for Source<'_, M> {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        self.0.poll_action()
    }

    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>) {
        self.0.poll_broker_write(self.1, broker, out);
    }
}

/// A machine and its sockets, which are closed with it.
pub struct Driver<M> {
    shared: Rc<Shared<M>>,
    brokers: Brokers,
}

impl<M: Machine> Driver<M> {
    /// Starts what `make` makes.
    pub fn new(make: impl FnOnce(Instant) -> M) -> Driver<M> {
        let clock = Clock::start();
        let machine = RefCell::new(make(clock.instant()));
        let shared = Rc::new(Shared { clock, machine, turn: Notify::new() });
        Driver { brokers: Brokers::new(Rc::<Shared<M>>::clone(&shared)), shared }
    }

    /// Drives the machine until `look` finds what it looks for; `None` where that takes longer than `limit`. `look` is
    /// called after everything that happens, and may change the machine.
    ///
    /// # Errors
    /// The process has no descriptor left for a timer.
    pub async fn until<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&mut M, Instant) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let end = self.shared.clock.instant() + limit;
        loop {
            let span = {
                let now = self.shared.clock.instant();
                let mut machine = self.shared.machine.borrow_mut();
                machine.handle_time(now);
                let found = look(&mut machine, now);
                self.brokers.turn(&mut Source(&mut *machine, now));
                if found.is_some() || now >= end {
                    return Ok(found);
                }
                machine.next_deadline(now).min(end).since(now)
            };
            within(span, self.shared.turn.notified()).await?;
        }
    }
}

impl<M> Drop for Driver<M> {
    fn drop(&mut self) {
        self.brokers.close();
    }
}

impl Machine for LogReader {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        LogReader::poll_action(self)
    }
    fn poll_broker_write(&mut self, _now: Instant, broker: BrokerKey, out: &mut Vec<u8>) {
        LogReader::poll_broker_write(self, broker, out);
    }
    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        LogReader::handle_broker_open(self, now, broker);
    }
    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        LogReader::handle_broker_bytes(self, now, broker, buffer)
    }
    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        LogReader::handle_broker_closed(self, now, broker);
    }
    fn next_deadline(&self, now: Instant) -> Instant {
        LogReader::next_deadline(self, now)
    }
    fn handle_time(&mut self, now: Instant) {
        LogReader::handle_time(self, now);
    }
}

impl<T: Copy + 'static> Machine for Producer<T> {
    fn poll_action(&mut self) -> Option<BrokerAction> {
        Producer::poll_action(self)
    }
    fn poll_broker_write(&mut self, now: Instant, broker: BrokerKey, out: &mut Vec<u8>) {
        Producer::poll_broker_write(self, now, broker, out);
    }
    fn handle_broker_open(&mut self, now: Instant, broker: BrokerKey) {
        Producer::handle_broker_open(self, now, broker);
    }
    fn handle_broker_bytes(
        &mut self,
        now: Instant,
        broker: BrokerKey,
        buffer: &mut BytesMut,
    ) -> Result<(), ClusterError> {
        Producer::handle_broker_bytes(self, now, broker, buffer)
    }
    fn handle_broker_closed(&mut self, now: Instant, broker: BrokerKey) {
        Producer::handle_broker_closed(self, now, broker);
    }
    fn next_deadline(&self, _now: Instant) -> Instant {
        Producer::next_deadline(self)
    }
    fn handle_time(&mut self, now: Instant) {
        Producer::handle_time(self, now);
    }
}
