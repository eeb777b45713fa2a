//! The cluster as the network sees it: connections, one request of each at a time, and those that wait.

use bytes::{Bytes, BytesMut};
use flux_protocol::time::{Instant, Now};

use super::group::Answer;
use super::requests::Step;
use super::wire::{self, Asked};
use super::{Kafka, PORT};
use crate::peer::{Peer, SocketId};

/// One client's connection to one node.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) node: usize,
    received: BytesMut,
    /// What is being worked on: nothing else of this connection is meanwhile.
    waiting: Option<(Asked, Waiting)>,
    /// Ended by the client while requests of it were unread: they are carried out all the same.
    is_gone: bool,
}

#[derive(Debug)]
enum Waiting {
    Until(Instant, Bytes),
    Group,
    Fetch(Instant),
}

impl Peer for Kafka {
    fn is_listening(&self, port: u16) -> bool {
        port.checked_sub(PORT).is_some_and(|node| self.can_reach(usize::from(node)))
    }

    fn handle_open(&mut self, _now: Now, socket: SocketId, port: u16) {
        let node = usize::from(port - PORT);
        let connection = Connection { node, received: BytesMut::new(), waiting: None, is_gone: false };
        self.connections.insert(socket, connection);
    }

    fn handle_bytes(&mut self, now: Now, socket: SocketId, received: &mut BytesMut) {
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.received.unsplit(received.split());
            self.work(now.instant, socket);
        }
    }

    fn handle_closed(&mut self, now: Now, socket: SocketId) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if self.nodes[connection.node].is_paused {
            // What lies in its socket is read when it goes on.
            connection.is_gone = true;
            return;
        }
        self.connections.remove(&socket);
        self.group.handle_closed(socket);
        self.deliver_group(now.instant);
    }

    fn handle_time(&mut self, now: Now) {
        let now = now.instant;
        for node in 0..self.nodes.len() {
            if self.nodes[node].replaced_at.is_some_and(|at| at <= now) {
                self.replace(now, node);
            }
        }
        if !self.nodes[self.coordinator].is_paused && !self.nodes[self.coordinator].is_down {
            self.group.handle_time(now);
        }
        self.work_all(now);
    }

    fn next_deadline(&self) -> Instant {
        let replaced = self.nodes.iter().filter_map(|node| node.replaced_at).min().unwrap_or(Instant::FAR_FUTURE);
        let coordinator = &self.nodes[self.coordinator];
        let group = match coordinator.is_paused || coordinator.is_down {
            true => Instant::FAR_FUTURE,
            false => self.group.next_deadline(),
        };
        let mut first = replaced.min(group);
        let mut is_fetching = false;
        for connection in self.connections.values().filter(|connection| !self.nodes[connection.node].is_paused) {
            match connection.waiting {
                Some((_, Waiting::Until(at, _))) => first = first.min(at),
                Some((_, Waiting::Fetch(at))) => {
                    first = first.min(at);
                    is_fetching = true;
                }
                Some((_, Waiting::Group)) | None => {}
            }
        }
        if is_fetching {
            first = first.min(self.next_news);
        }
        first
    }

    fn poll_write(&mut self) -> Option<(SocketId, Bytes)> {
        self.outgoing.pop_front()
    }

    fn poll_close(&mut self) -> Option<SocketId> {
        self.closing.pop_front()
    }
}

impl Kafka {
    /// Goes on with every connection.
    pub(super) fn work_all(&mut self, now: Instant) {
        let sockets: Vec<SocketId> = self.connections.keys().copied().collect();
        for socket in sockets {
            self.work(now, socket);
        }
        self.deliver_group(now);
    }

    /// Goes on with a connection until it waits for something.
    fn work(&mut self, now: Instant, socket: SocketId) {
        loop {
            let Some(connection) = self.connections.get_mut(&socket) else { return };
            let node = connection.node;
            if self.nodes[node].is_paused {
                return;
            }
            if let Some((asked, waiting)) = connection.waiting.take() {
                let answer = match &waiting {
                    Waiting::Until(at, answer) if *at <= now => Some(answer.clone()),
                    Waiting::Fetch(at) if *at <= now => self.empty_fetch(now, node, &asked).ok(),
                    Waiting::Fetch(_) => match self.fetch(now, node, &asked) {
                        Ok(Step::Answer(answer)) => Some(answer),
                        _ => None,
                    },
                    Waiting::Until(..) | Waiting::Group => None,
                };
                let connection = self.connections.get_mut(&socket).expect("nothing was closed meanwhile");
                match answer {
                    Some(answer) => self.outgoing.push_back((socket, answer)),
                    None => {
                        connection.waiting = Some((asked, waiting));
                        self.look_for_news(now);
                        return;
                    }
                }
                continue;
            }
            let next = wire::next(&mut connection.received);
            let step = match next {
                Ok(None) => {
                    if connection.is_gone {
                        self.connections.remove(&socket);
                    }
                    return;
                }
                Ok(Some(asked)) => self.serve(now, socket, node, &asked).map(|step| (asked, step)),
                Err(error) => Err(error),
            };
            let waiting = match step {
                Ok((_, Step::Answer(answer))) => {
                    self.outgoing.push_back((socket, answer));
                    None
                }
                Ok((asked, Step::At(at, answer))) => Some((asked, Waiting::Until(at, answer))),
                Ok((asked, Step::Group)) => Some((asked, Waiting::Group)),
                Ok((asked, Step::Fetch(until))) => Some((asked, Waiting::Fetch(until))),
                Ok((_, Step::Close)) => return self.close(socket),
                Err(error) => {
                    self.unknown.push(error);
                    return self.close(socket);
                }
            };
            if let Some(connection) = self.connections.get_mut(&socket) {
                connection.waiting = waiting;
            }
            self.look_for_news(now);
            self.deliver_group(now);
        }
    }

    /// When consumers that wait may have something to read.
    fn look_for_news(&mut self, now: Instant) {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let replicated = partitions.map(|partition| partition.log.next_replication(now));
        self.next_news = replicated.min().unwrap_or(Instant::FAR_FUTURE);
    }

    /// Says what the group has to say.
    fn deliver_group(&mut self, now: Instant) {
        loop {
            let answers = self.group.take_answers();
            if answers.is_empty() {
                return;
            }
            for (socket, answer) in answers {
                let Some(connection) = self.connections.get_mut(&socket) else { continue };
                let Some((asked, Waiting::Group)) = connection.waiting.take() else { continue };
                let bytes = match answer {
                    Answer::Join(response) => asked.answer(&response),
                    Answer::Sync(response) => asked.answer(&response),
                };
                self.outgoing.push_back((socket, bytes));
                self.work(now, socket);
            }
        }
    }

    pub(super) fn close(&mut self, socket: SocketId) {
        if self.connections.remove(&socket).is_some() {
            self.group.handle_closed(socket);
            self.closing.push_back(socket);
        }
    }

    /// Ends the connections to a node on which a produce request for this topic waits to be answered.
    pub(super) fn end_waiting_produce(&mut self, node: usize, topic: usize) {
        let waits = |connection: &Connection| {
            connection.node == node
                && matches!(&connection.waiting, Some((asked, Waiting::Until(..))) if self.produces_to(asked, topic))
        };
        let waiting = self.connections.iter().filter(|(_, connection)| waits(connection));
        let sockets: Vec<SocketId> = waiting.map(|(socket, _)| *socket).collect();
        sockets.into_iter().for_each(|socket| self.close(socket));
    }

    /// Ends all connections of a node; what lies unread in them is lost.
    pub(super) fn close_all(&mut self, node: usize) {
        let of_node = self.connections.iter().filter(|(_, connection)| connection.node == node);
        let sockets: Vec<SocketId> = of_node.map(|(socket, _)| *socket).collect();
        sockets.into_iter().for_each(|socket| self.close(socket));
    }
}
