//! The connections to Kafka's brokers: opened and closed as the machine says, one task each.
//!
//! Never interprets a byte, and never decides which broker to speak to or when to try again: the machine does.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;

use bytes::BytesMut;
use flux_net::{Address, ReadHalf, Stream, Tail, spawn};
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey};
use tracing::{debug, warn};

use crate::core::machine::Machine;
use crate::limits::KAFKA_SILENCE_MAX;
use crate::limits::shell::{LINK_CONNECT_TIME_MAX, LINK_READ_BYTES};
use crate::shell::broker_writers::Broker;
use crate::shell::shard::Shard;
use crate::shell::socket_writer::SocketWriter;

/// Does what the machine wants done.
pub(crate) fn act<M: Machine>(shard: &Rc<Shard<M>>, action: BrokerAction) {
    match action {
        BrokerAction::Connect { broker, host, port } => {
            let broker = Rc::new(Broker { key: broker, writer: RefCell::default(), abandoned: Cell::new(false) });
            shard.brokers.list.borrow_mut().push(Rc::clone(&broker));
            spawn(connect(Rc::clone(shard), broker, Address::Tcp { host, port }));
        }
        BrokerAction::Close { broker } => {
            if let Some(broker) = shard.brokers.list.borrow().iter().find(|open| open.key == broker) {
                broker.abandoned.set(true);
                if let Some(writer) = &*broker.writer.borrow() {
                    writer.end();
                }
            }
        }
    }
}

async fn connect<M: Machine>(shard: Rc<Shard<M>>, broker: Rc<Broker>, address: Address) {
    match Stream::connect(&address, LINK_CONNECT_TIME_MAX).await {
        Ok(stream) if !broker.abandoned.get() => {
            debug!(core = shard.index, broker = %address, "connected to a broker");
            shard.counters.shell.kafka_connects.add(1);
            if let Err(error) = stream.set_silence_max(KAFKA_SILENCE_MAX) {
                // Then the producer's own deadline ends it, as long as this process runs.
                warn!(core = shard.index, broker = %address, %error, "the kernel takes no bound on its silence");
            }
            let why = converse(&shard, &broker, stream).await;
            if !broker.abandoned.get() {
                warn!(core = shard.index, broker = %address, why, "connection to a broker ended");
            }
        }
        Ok(_) => {}
        Err(error) => debug!(core = shard.index, broker = %address, %error, "cannot connect to a broker"),
    }
    shard.brokers.list.borrow_mut().retain(|other| !Rc::ptr_eq(other, &broker));
    shard.event(|machine, now| machine.handle_broker_closed(now, broker.key));
}

async fn converse<M: Machine>(shard: &Rc<Shard<M>>, broker: &Broker, stream: Stream) -> String {
    let (read, write) = stream.into_split();
    let writer = SocketWriter::new(write, Rc::clone(&shard.pump));
    *broker.writer.borrow_mut() = Some(Rc::clone(&writer));
    shard.event(|machine, now| machine.handle_broker_open(now, broker.key));
    let why = read_all(shard, broker.key, read).await;
    broker.writer.borrow_mut().take();
    writer.close();
    why
}

async fn read_all<M: Machine>(shard: &Rc<Shard<M>>, key: BrokerKey, mut read: ReadHalf) -> String {
    let mut buffer = BytesMut::with_capacity(LINK_READ_BYTES);
    loop {
        buffer.reserve(LINK_READ_BYTES / 2);
        let (result, tail) = read.read(Tail(buffer)).await;
        buffer = tail.0;
        match result {
            Ok(0) => return "closed".into(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return error.to_string(),
        }
        if let Err(fault) = shard.event(|machine, now| machine.handle_broker_bytes(now, key, &mut buffer)) {
            return fault.0;
        }
    }
}
