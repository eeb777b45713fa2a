//! Sockets to brokers, for any machine that speaks the cluster interface ([`flux_protocol::kafka::cluster`]).
//!
//! One task reads and one writes for each connection. Never decides when to connect and never looks into a byte.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use bytes::BytesMut;
use flux_net::{Address, Notify, ReadHalf, Stream, Tail, WriteHalf};
use flux_protocol::kafka::cluster::{BrokerAction, BrokerKey};
use flux_protocol::kafka::limits::CONNECT_TIMEOUT;
use tracing::debug;

use crate::limits::READ_ROOM_BYTES;

/// Whom the connections tell what happened. Each call may borrow the machine; none is made while the caller of
/// [`Brokers`] holds it.
pub trait BrokerSink {
    /// The socket is open.
    fn broker_opened(&self, broker: BrokerKey);
    /// Bytes have arrived. False: close it.
    fn broker_read(&self, broker: BrokerKey, buffer: &mut BytesMut) -> bool;
    /// The socket is gone, or could not be opened.
    fn broker_closed(&self, broker: BrokerKey);
}

/// The machine's side that is polled.
pub trait BrokerSource {
    /// What is to be done next.
    fn poll_action(&mut self) -> Option<BrokerAction>;
    /// What is to go out.
    fn poll_broker_write(&mut self, broker: BrokerKey, out: &mut Vec<u8>);
}

struct Connection {
    out: RefCell<Vec<u8>>,
    wake: Notify,
    is_closed: Cell<bool>,
    /// While both halves exist.
    descriptor: Cell<Option<RawFd>>,
}

impl Connection {
    /// Ends both tasks. A write that is stuck ends too.
    fn close(&self) {
        self.is_closed.set(true);
        if let Some(descriptor) = self.descriptor.get() {
            // The one possible failure is that the peer was quicker.
            let _ = flux_net::stream::shutdown(descriptor, Shutdown::Both);
        }
        self.wake.notify();
    }
}

/// The open sockets.
pub struct Brokers {
    connections: BTreeMap<BrokerKey, Rc<Connection>>,
    sink: Rc<dyn BrokerSink>,
}

impl Brokers {
    /// None yet.
    pub fn new(sink: Rc<dyn BrokerSink>) -> Brokers {
        Brokers { connections: BTreeMap::new(), sink }
    }

    /// Does what the machine wants done and hands its bytes to the writers. To be called after anything has happened.
    pub fn turn(&mut self, source: &mut impl BrokerSource) {
        while let Some(action) = source.poll_action() {
            match action {
                BrokerAction::Connect { broker, host, port } => {
                    let connection = Rc::new(Connection {
                        out: RefCell::default(),
                        wake: Notify::new(),
                        is_closed: Cell::new(false),
                        descriptor: Cell::new(None),
                    });
                    self.connections.insert(broker, Rc::clone(&connection));
                    let address = Address::Tcp { host, port };
                    flux_net::spawn(connect(connection, Rc::clone(&self.sink), broker, address));
                }
                BrokerAction::Close { broker } => {
                    if let Some(connection) = self.connections.remove(&broker) {
                        connection.close();
                    }
                }
            }
        }
        self.connections.retain(|_, connection| !connection.is_closed.get());
        for (broker, connection) in &self.connections {
            let mut out = connection.out.borrow_mut();
            source.poll_broker_write(*broker, &mut out);
            if !out.is_empty() {
                connection.wake.notify();
            }
        }
    }

    /// Closes all of them.
    pub fn close(&mut self) {
        for connection in mem::take(&mut self.connections).into_values() {
            connection.close();
        }
    }
}

async fn connect(connection: Rc<Connection>, sink: Rc<dyn BrokerSink>, broker: BrokerKey, address: Address) {
    let stream = match Stream::connect(&address, CONNECT_TIMEOUT).await {
        Ok(stream) => stream,
        Err(error) => {
            debug!(%address, %error, "a broker cannot be reached");
            return end(&connection, &*sink, broker);
        }
    };
    if connection.is_closed.get() {
        return;
    }
    debug!(%address, "connected to a broker");
    connection.descriptor.set(Some(stream.as_raw_fd()));
    let (reader, writer) = stream.into_split();
    flux_net::spawn(write(Rc::clone(&connection), writer));
    sink.broker_opened(broker);
    read(&connection, &*sink, broker, reader).await;
}

async fn read(connection: &Connection, sink: &dyn BrokerSink, broker: BrokerKey, mut reader: ReadHalf) {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() - buffer.len() < READ_ROOM_BYTES / 4 {
            buffer.reserve(READ_ROOM_BYTES);
        }
        let (result, tail) = reader.read(Tail(buffer)).await;
        buffer = tail.0;
        if connection.is_closed.get() {
            break;
        }
        match result {
            Ok(0) => break,
            Ok(_) if sink.broker_read(broker, &mut buffer) => {}
            Ok(_) => break,
            Err(error) => {
                debug!(%error, "a broker's connection failed");
                break;
            }
        }
    }
    connection.descriptor.set(None);
    end(connection, sink, broker);
}

/// Tells the machine once, and nothing where it closed the connection itself.
fn end(connection: &Connection, sink: &dyn BrokerSink, broker: BrokerKey) {
    if !connection.is_closed.replace(true) {
        sink.broker_closed(broker);
    }
    connection.wake.notify();
}

async fn write(connection: Rc<Connection>, mut writer: WriteHalf) {
    while !connection.is_closed.get() {
        let bytes = mem::take(&mut *connection.out.borrow_mut());
        if bytes.is_empty() {
            connection.wake.notified().await;
            continue;
        }
        let (result, mut bytes) = writer.write_all(bytes).await;
        if result.is_err() {
            break;
        }
        // The buffer goes back for the next write where nothing was put there meanwhile.
        bytes.clear();
        let mut out = connection.out.borrow_mut();
        if out.is_empty() && out.capacity() < bytes.capacity() {
            *out = bytes;
        }
    }
    // The reader then meets the end, and says so where that is news. The one possible failure is that it is over already.
    let _ = writer.shutdown(Shutdown::Both);
    connection.descriptor.set(None);
}
