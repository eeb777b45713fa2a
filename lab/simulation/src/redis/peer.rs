//! The connections: what arrives is carried out at once and in order, unless the process stands still.

use bytes::{Bytes, BytesMut};
use flux_protocol::time::{Instant, Now};

use super::Redis;
use super::reply::Reply;
use super::server::Connection;
use super::wire;
use crate::peer::{Peer, SocketId};

impl Peer for Redis {
    fn is_listening(&self, port: u16) -> bool {
        self.is_listening && port == self.port
    }

    /// The kernel accepts for a process that stands still: the connection is made, and nobody reads it.
    fn handle_open(&mut self, _: Now, socket: SocketId, port: u16) {
        assert_eq!(port, self.port, "connected to a port that nobody listens on");
        let before = self.connections.insert(socket, Connection::default());
        assert!(before.is_none(), "a socket is used once");
    }

    fn handle_bytes(&mut self, now: Now, socket: SocketId, received: &mut BytesMut) {
        let arrived = received.split();
        // After we have ended it nothing is read any more.
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        connection.inbox.unsplit(arrived);
        if !self.is_paused {
            self.carry_out(now, socket);
        }
    }

    fn handle_closed(&mut self, _: Now, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if self.is_paused {
            connection.is_gone = true;
        } else {
            self.connections.remove(&socket);
        }
    }

    fn handle_time(&mut self, _: Now) {}

    /// Never: it does nothing unless it is asked.
    fn next_deadline(&self) -> Instant {
        Instant::FAR_FUTURE
    }

    fn poll_write(&mut self) -> Option<(SocketId, Bytes)> {
        self.outgoing.pop_front()
    }

    fn poll_close(&mut self) -> Option<SocketId> {
        self.closing.pop_front()
    }
}

impl Redis {
    /// Carries out every whole request that lies in the connection's inbox.
    pub(super) fn carry_out(&mut self, now: Now, socket: SocketId) {
        let moment = self.moment(now);
        let connection = self.connections.get_mut(&socket).expect("asked for a connection that is there");
        let mut out = BytesMut::new();
        while !connection.is_ending {
            match wire::request(&mut connection.inbox) {
                Ok(None) => break,
                Ok(Some(arguments)) if arguments.is_empty() => {}
                Ok(Some(arguments)) => self.server.answer(moment, connection, arguments).write(&mut out),
                Err(error) => {
                    let words = format!("ERR Protocol error: {}", error.0);
                    self.server.store.unknown.push(words.clone());
                    Reply::error(&words).write(&mut out);
                    connection.is_ending = true;
                }
            }
        }
        let (is_gone, is_ending) = (connection.is_gone, connection.is_ending);
        if is_gone || is_ending {
            self.connections.remove(&socket);
        }
        if !is_gone && !out.is_empty() {
            self.outgoing.push_back((socket, out.freeze()));
        }
        if !is_gone && is_ending {
            self.closing.push_back(socket);
        }
    }
}
