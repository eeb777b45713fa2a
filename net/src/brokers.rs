//! The connections to Kafka's brokers: opened and closed as a machine says ([`KafkaClient`]), one task each.
//!
//! Never interprets a byte, and never decides which broker to speak to or when to try again: the machine does.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::kafka::client::{BrokerAction, BrokerKey, KafkaClient};

use crate::address::Address;
use crate::buffer::Tail;
use crate::notify::Notify;
use crate::socket_writer::SocketWriter;
use crate::spawn;
use crate::stream::{ReadHalf, Stream};
use crate::tls::ClientTls;

/// Who is told what happens to the connections: the shell that holds the machine. No call is made while the caller of
/// [`Brokers`] holds it.
pub trait BrokerOwner: 'static {
    /// A connection is open.
    fn broker_opened(&self, broker: BrokerKey, address: &Address);
    /// Bytes have arrived at the end of `buffer`.
    ///
    /// # Errors
    /// Why the connection is to be closed.
    fn broker_bytes(&self, broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), String>;
    /// A connection has ended, or could not be opened.
    fn broker_closed(&self, broker: BrokerKey, address: &Address, end: &BrokerEnd);
}

/// How a connection ended.
#[derive(Debug)]
pub enum BrokerEnd {
    /// It was never open.
    Unreachable(io::Error),
    /// The peer closed it, the network broke it, or the machine did not understand it: which.
    Broken(String),
    /// The machine gave it up, and knows.
    Abandoned,
}

/// How connections are made.
#[derive(Clone, Copy, Debug)]
pub struct BrokerOptions {
    /// Longest time for a connect, name resolution and handshake included.
    pub connect_time_max: Duration,
    /// How long the kernel holds bytes for a broker that acknowledges nothing; `None`: as long as for any peer.
    pub silence_max: Option<Duration>,
    /// Room offered to one read, bytes.
    pub read_bytes: usize,
}

/// A broker's connection, from the machine's wish for it to its end.
struct Broker {
    key: BrokerKey,
    /// Absent while it is being opened.
    writer: RefCell<Option<Rc<SocketWriter>>>,
    is_abandoned: Cell<bool>,
}

impl Broker {
    fn abandon(&self) {
        self.is_abandoned.set(true);
        if let Some(writer) = &*self.writer.borrow() {
            writer.end();
        }
    }
}

/// There are few, so a list is searched.
type List = Rc<RefCell<Vec<Rc<Broker>>>>;

/// The connections of one machine.
pub struct Brokers {
    options: BrokerOptions,
    tls: Option<ClientTls>,
    list: List,
    /// Notified when a connection can be written to again.
    writable: Rc<Notify>,
}

impl Brokers {
    /// None yet; each begins with a handshake of `tls`, where there is one. `writable` is notified when [`Brokers::flush`] is
    /// to be called again.
    pub fn new(options: BrokerOptions, tls: Option<ClientTls>, writable: Rc<Notify>) -> Brokers {
        Brokers { options, tls, list: List::default(), writable }
    }

    /// Does what the machine wants done, and sends what it wants to send: after anything has happened to it.
    pub fn turn(&self, owner: &Rc<impl BrokerOwner>, client: &mut impl KafkaClient, scratch: &mut Vec<u8>) {
        while let Some(action) = client.poll_action() {
            self.act(owner, action);
        }
        self.flush(scratch, |broker, out| client.poll_broker_write(broker, out));
    }

    /// Does what the machine wants done.
    pub fn act<O: BrokerOwner>(&self, owner: &Rc<O>, action: BrokerAction) {
        match action {
            BrokerAction::Connect { broker, host, port } => {
                let broker =
                    Rc::new(Broker { key: broker, writer: RefCell::default(), is_abandoned: Cell::new(false) });
                self.list.borrow_mut().push(Rc::clone(&broker));
                let connection = Connection {
                    owner: Rc::clone(owner),
                    broker,
                    list: Rc::clone(&self.list),
                    options: self.options,
                    tls: self.tls.clone(),
                    writable: Rc::clone(&self.writable),
                };
                spawn(connection.live(Address::Tcp { host, port }));
            }
            BrokerAction::Close { broker } => {
                if let Some(broker) = self.list.borrow().iter().find(|open| open.key == broker) {
                    broker.abandon();
                }
            }
        }
    }

    /// Sends what `fill` appends for each open connection.
    pub fn flush(&self, scratch: &mut Vec<u8>, mut fill: impl FnMut(BrokerKey, &mut Vec<u8>)) {
        for broker in &*self.list.borrow() {
            if let Some(writer) = &*broker.writer.borrow() {
                writer.flush(scratch, |out| fill(broker.key, out));
            }
        }
    }

    /// Closes all of them.
    pub fn close(&self) {
        for broker in &*self.list.borrow() {
            broker.abandon();
        }
    }
}

/// What the task of one connection holds.
struct Connection<O> {
    owner: Rc<O>,
    broker: Rc<Broker>,
    list: List,
    options: BrokerOptions,
    tls: Option<ClientTls>,
    writable: Rc<Notify>,
}

impl<O: BrokerOwner> Connection<O> {
    async fn live(self, address: Address) {
        let end = match self.connect(&address).await {
            Ok(_) if self.broker.is_abandoned.get() => BrokerEnd::Abandoned,
            Ok(stream) => BrokerEnd::Broken(self.converse(&address, stream).await),
            Err(error) => BrokerEnd::Unreachable(error),
        };
        let end = if self.broker.is_abandoned.get() { BrokerEnd::Abandoned } else { end };
        self.list.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.broker));
        self.owner.broker_closed(self.broker.key, &address, &end);
    }

    async fn connect(&self, address: &Address) -> io::Result<Stream> {
        let stream = Stream::connect_with(address, self.tls.as_ref(), self.options.connect_time_max).await?;
        if let Some(span) = self.options.silence_max {
            stream.set_silence_max(span)?;
        }
        Ok(stream)
    }

    async fn converse(&self, address: &Address, stream: Stream) -> String {
        let (read, write) = stream.into_split();
        let writer = SocketWriter::new(write, Rc::clone(&self.writable));
        *self.broker.writer.borrow_mut() = Some(Rc::clone(&writer));
        self.owner.broker_opened(self.broker.key, address);
        let why = self.read_all(read).await;
        self.broker.writer.borrow_mut().take();
        writer.close();
        why
    }

    async fn read_all(&self, mut read: ReadHalf) -> String {
        let mut buffer = BytesMut::with_capacity(self.options.read_bytes);
        loop {
            buffer.reserve(self.options.read_bytes / 2);
            let (result, tail) = read.read(Tail(buffer)).await;
            buffer = tail.0;
            match result {
                Ok(0) => return "closed".into(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return error.to_string(),
            }
            if let Err(why) = self.owner.broker_bytes(self.broker.key, &mut buffer) {
                return why;
            }
        }
    }
}
