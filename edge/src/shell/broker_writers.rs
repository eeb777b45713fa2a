//! The connections of one core to brokers, seen from the side that writes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use flux_protocol::kafka::cluster::BrokerKey;
use flux_protocol::time::Now;

use crate::core::machine::Machine;
use crate::shell::socket_writer::SocketWriter;

/// A broker's connection, from the machine's wish for it to its end.
pub(crate) struct Broker {
    pub(crate) key: BrokerKey,
    /// Absent while it is being opened.
    pub(crate) writer: RefCell<Option<Rc<SocketWriter>>>,
    /// The machine has given it up.
    pub(crate) abandoned: Cell<bool>,
}

/// The connections of one core to brokers. There are few, so a list is searched.
#[derive(Default)]
pub(crate) struct BrokerWriters {
    pub(crate) list: RefCell<Vec<Rc<Broker>>>,
}

impl BrokerWriters {
    /// Sends what the machine wants to send to each open connection.
    pub(crate) fn flush<M: Machine>(&self, machine: &mut M, now: Now, scratch: &mut Vec<u8>) {
        for broker in &*self.list.borrow() {
            if let Some(writer) = &*broker.writer.borrow() {
                writer.flush(scratch, |out| machine.poll_broker_write(now, broker.key, out));
            }
        }
    }
}
