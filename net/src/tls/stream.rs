//! A TLS session and its socket, as [`Stream`](crate::Stream) carries them.
//!
//! One thread owns a session; its reader and its writer share it (`link`). **Reading goes on while ciphertext waits for the
//! socket**: a peer that asks for new keys in both directions, with both full, would else wait for us as we for it. What an
//! arriving record asks us to say (new keys, tickets) is in the session's queue, and leaves with the next bytes that are
//! written.

mod handshake;
mod link;
mod reader;
mod writer;

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use flux_protocol::certificate;
use rustls::{Connection, HandshakeKind};

use self::handshake::{Trouble, shake_hands};
use self::link::{Link, Peer};
pub(crate) use self::reader::TlsReader;
pub(crate) use self::writer::TlsWriter;
use super::client::ClientTls;
use super::fault::Reason;
use super::server::ServerTls;
use crate::address::Address;
use crate::buffer::Window;
use crate::limits::TLS_READ_BYTES_MIN;
use crate::socket::{Socket, try_write};

pub(crate) struct TlsStream {
    pub(crate) reader: TlsReader,
    pub(crate) writer: TlsWriter,
}

impl TlsStream {
    /// The handshake of a client with the server at `address`.
    pub(crate) async fn connect(mut socket: Socket, address: &Address, tls: &ClientTls) -> io::Result<TlsStream> {
        let (connection, name) = tls.begin(address)?;
        let (mut connection, mut incoming) = (Connection::from(connection), Window::with_capacity(TLS_READ_BYTES_MIN));
        match shake_hands(&mut socket, &mut connection, &mut incoming).await {
            Ok(()) => {}
            Err(Trouble::Tls(error)) => return Err(tls.fault(&error, &name)),
            Err(Trouble::Closed | Trouble::PlainHttp) => {
                let what = format!("it hung up during the handshake{}", tls.doubt(address));
                return Err(tls.failed(Reason::Closed, &name, what));
            }
            Err(Trouble::Io(error)) => return Err(tls.failed(Reason::Closed, &name, error.to_string())),
        }
        tls.figures().note_handshake(connection.handshake_kind() == Some(HandshakeKind::Resumed));
        tls.note_speaker(address);
        if let Some(expiry) = connection.peer_certificates().and_then(|chain| certificate::expiry(chain.first()?)) {
            tls.figures().note_peer_expiry(expiry);
        }
        Ok(TlsStream::new(socket, connection, incoming, Peer::Server(tls.clone(), name)))
    }

    /// The handshake of a server. A client that speaks HTTP in the clear is sent `to_plain_http`.
    pub(crate) async fn accept(mut socket: Socket, tls: &ServerTls, to_plain_http: &[u8]) -> io::Result<TlsStream> {
        let (mut connection, mut incoming) =
            (Connection::from(tls.begin()?), Window::with_capacity(TLS_READ_BYTES_MIN));
        match shake_hands(&mut socket, &mut connection, &mut incoming).await {
            Ok(()) => {}
            Err(Trouble::Tls(error)) => return Err(tls.fault(&error)),
            Err(Trouble::PlainHttp) => {
                // It is closed either way.
                let _ = try_write(socket.as_raw_fd(), to_plain_http);
                return Err(tls.failed(Reason::PlainHttp, "it spoke HTTP in the clear".to_owned()));
            }
            Err(Trouble::Closed) => {
                return Err(tls.failed(Reason::Closed, "it hung up during the handshake".to_owned()));
            }
            Err(Trouble::Io(error)) => return Err(tls.failed(Reason::Closed, error.to_string())),
        }
        tls.figures().note_handshake(connection.handshake_kind() == Some(HandshakeKind::Resumed));
        Ok(TlsStream::new(socket, connection, incoming, Peer::Client(tls.clone())))
    }

    fn new(socket: Socket, connection: Connection, incoming: Window, peer: Peer) -> TlsStream {
        let descriptor = socket.as_raw_fd();
        let (read, write) = socket.into_split();
        let link = Rc::new(Link::new(connection, write, descriptor, peer));
        TlsStream { reader: TlsReader::new(read, incoming, Rc::clone(&link)), writer: TlsWriter { link } }
    }

    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        let session = self.writer.link.session.borrow();
        Some(session.peer_certificates()?.first()?.to_vec())
    }
}
