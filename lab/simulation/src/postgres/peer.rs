//! The server as the simulated network sees it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flux_protocol::time::{Instant, Now};

use super::backend::Backend;
use super::{AUTHENTICATION_TIMEOUT, PORT, Postgres, Power};
use crate::peer::{Peer, SocketId};

impl Peer for Postgres {
    fn is_listening(&self, port: u16) -> bool {
        port == PORT && self.power != Power::Down
    }

    fn handle_open(&mut self, now: Now, socket: SocketId, port: u16) {
        self.now = now;
        if self.is_listening(port) {
            self.backends.insert(socket, Backend::new(now.instant + AUTHENTICATION_TIMEOUT));
        } else {
            // It went down while the connection was on its way.
            self.closes.push_back(socket);
        }
    }

    fn handle_bytes(&mut self, now: Now, socket: SocketId, received: &mut BytesMut) {
        self.now = now;
        let bytes = received.split();
        let Some(backend) = self.backends.get_mut(&socket) else { return };
        backend.inbox.unsplit(bytes);
        if !self.faults.is_paused {
            self.run();
            self.read(socket);
        }
        self.run();
    }

    fn silence_max(&self, socket: SocketId) -> Option<Duration> {
        let limits = self.backends.get(&socket)?.limits;
        // Without a limit of our own the kernel asks nine times: longer than any run.
        Some(limits.keepalive? + limits.user_timeout?)
    }

    fn handle_closed(&mut self, now: Now, socket: SocketId) {
        self.now = now;
        let notice = self.pace.notice_us;
        let at = now.instant + self.draw(notice);
        if let Some(backend) = self.backends.get_mut(&socket) {
            // What has arrived is carried out until the server tries to answer and finds nobody there.
            backend.leaves_at = Some(at);
        }
        self.run();
    }

    fn handle_time(&mut self, now: Now) {
        self.now = now;
        self.run();
    }

    fn next_deadline(&self) -> Instant {
        self.next_due()
    }

    fn poll_write(&mut self) -> Option<(SocketId, Bytes)> {
        self.writes.pop_front()
    }

    fn poll_close(&mut self) -> Option<SocketId> {
        // What was written before is handed over before.
        if self.writes.is_empty() { self.closes.pop_front() } else { None }
    }
}
