//! What can happen to a Redis. Each fault is one call, between two calls of the network.

use std::time::Duration;

use flux_protocol::time::Now;

use super::Redis;
use super::identity::Identity;
use super::journal::{Journal, LOSS_MAX};
use super::keyspace::{Keyspace, Value};
use super::limits::Limits;
use crate::peer::SocketId;

/// The process.
impl Redis {
    /// It dies: connections end, requests in their sockets are lost, nothing listens until a restart.
    pub fn crash(&mut self, now: Now) {
        self.close_connections();
        self.is_listening = false;
        self.is_paused = false;
        self.crashed_at = Some(now.instant);
    }

    /// Another process without data takes its place, under another run id and replication id. It dies first where it has not.
    pub fn restart_empty(&mut self) {
        self.close_connections();
        self.start(Keyspace::default());
    }

    /// Another process takes its place and reads what is on disk: all but what was written in the last span `lost` before
    /// it died, at most [`LOSS_MAX`]. Scripts are forgotten.
    pub fn restart_from_disk(&mut self, now: Now, lost: Duration) {
        let data = self.on_disk(now, lost);
        self.close_connections();
        self.start(data);
    }

    fn on_disk(&mut self, now: Now, lost: Duration) -> Keyspace {
        assert!(lost <= LOSS_MAX, "more is never lost");
        let died = self.crashed_at.unwrap_or(now.instant);
        std::mem::take(&mut self.server.journal).into_data_of(died - lost)
    }

    /// Keeps: port, password, clock, and what was asked for and not known.
    fn start(&mut self, data: Keyspace) {
        self.server.store.identity = Identity::new(&mut self.random, self.port);
        self.server.store.limits = Limits::default();
        self.server.scripts.clear();
        self.replace_data(data);
        self.crashed_at = None;
        self.is_listening = true;
        self.is_paused = false;
    }

    fn replace_data(&mut self, data: Keyspace) {
        self.server.journal = Journal::new(data.clone());
        self.server.store.data = data;
        self.server.handle_loss();
    }

    /// It stands still (`SIGSTOP`): the kernel takes connections and bytes, nothing is answered.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// It goes on: what lay in its sockets is carried out now, of connections that have ended meanwhile too.
    pub fn resume(&mut self, now: Now) {
        self.is_paused = false;
        let sockets: Vec<SocketId> = self.connections.keys().copied().collect();
        for socket in sockets {
            self.carry_out(now, socket);
        }
        self.connections.retain(|_, connection| !connection.is_gone);
    }

    /// New connections are refused; those that stand go on.
    pub fn stop_listening(&mut self) {
        self.is_listening = false;
    }

    /// New connections are taken again.
    pub fn listen(&mut self) {
        assert!(self.crashed_at.is_none(), "a process that died is restarted first");
        self.is_listening = true;
    }

    /// Ends every connection, with what lies unread in its socket.
    pub fn close_connections(&mut self) {
        let connections = std::mem::take(&mut self.connections).into_iter();
        self.closing.extend(connections.filter(|(_, connection)| !connection.is_gone).map(|(socket, _)| socket));
    }

    /// Its clock shows so much more than the wall's, ms; negative: less.
    pub fn set_clock_offset_ms(&mut self, offset: i64) {
        self.clock_offset_ms = offset;
    }

    /// Refuses what these states refuse, from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.server.store.limits = limits;
    }
}

/// The data.
impl Redis {
    /// `FLUSHALL` by somebody else.
    pub fn flushall(&mut self, now: Now) {
        self.server.write(self.moment(now), &[b"FLUSHALL"]);
    }

    /// One key is removed by somebody else.
    pub fn delete(&mut self, now: Now, key: &str) {
        self.server.write(self.moment(now), &[b"DEL", key.as_bytes()]);
    }

    /// Somebody puts a value of another type under a key: a set in place of a string or of nothing, else a string.
    pub fn put_wrong_type(&mut self, now: Now, key: &str) {
        let moment = self.moment(now);
        match self.server.store.data.get(key.as_bytes()) {
            Some(Value::Hash(_) | Value::Set(_) | Value::Stream(_)) => {
                self.server.write(moment, &[b"SET", key.as_bytes(), b"of another type"]);
            }
            Some(Value::Text(_)) | None => {
                self.server.write(moment, &[b"DEL", key.as_bytes()]);
                self.server.write(moment, &[b"SADD", key.as_bytes(), b"of another type"]);
            }
        }
    }

    /// `SCRIPT FLUSH` by somebody else.
    pub fn flush_scripts(&mut self) {
        self.server.scripts.clear();
    }
}

/// Replication.
impl Redis {
    /// `REPLICAOF` another master, under the same run id: writes are refused. Where `missed` is not zero, that master has
    /// not seen the writes of so long ago, at most [`LOSS_MAX`], and its data and replication id take the place of ours;
    /// where it is zero nobody answers there and everything stays as it is.
    pub fn demote(&mut self, now: Now, missed: Duration) {
        if !missed.is_zero() {
            let data = self.on_disk(now, missed);
            self.replace_data(data);
            self.server.store.identity.renew(&mut self.random);
        }
        self.server.store.identity.change(|identity| {
            identity.is_replica = true;
            identity.has_backlog |= !missed.is_zero();
        });
    }

    /// `REPLICAOF NO ONE`: a master again, under the same run id and another replication id; `master_replid2` tells of it.
    pub fn promote(&mut self) {
        assert!(self.server.store.identity.is_replica, "a master is not promoted");
        self.server.store.identity.promote(&mut self.random);
    }

    /// A replica that misses the writes of the last span `missed`, at most [`LOSS_MAX`], is promoted and takes this
    /// server's address: another run id, a replication id that follows ours, no connections, no scripts lost (a replica
    /// has none).
    pub fn fail_over(&mut self, now: Now, missed: Duration) {
        let before = self.server.store.identity.replication_id.clone();
        self.restart_from_disk(now, missed);
        self.server.store.identity.change(|identity| {
            identity.second_id = before;
            identity.has_backlog = true;
        });
    }

    /// The same, while the old master lives on where nobody reaches it, with all that it holds: where it is one, and has not died.
    pub fn fail_over_beside(&mut self, now: Now, missed: Duration) {
        if self.crashed_at.is_none() && !self.server.store.identity.is_replica {
            let (mut identity, data) = (self.server.store.identity.clone(), self.server.store.data.clone());
            // Its successor was a replica of it, shown or not, and has left it.
            identity.change(|identity| {
                identity.has_backlog = true;
                identity.replicas = identity.replicas.saturating_sub(1);
            });
            self.old_master = Some((identity, data));
        }
        self.fail_over(now, missed);
    }

    /// The old master is what everybody reaches again, in the place of its successor: the same process as before, which has
    /// seen nothing of what happened since. Nothing where there is none.
    pub fn wake_old_master(&mut self) {
        let Some((identity, data)) = self.old_master.take() else { return };
        self.close_connections();
        self.start(data);
        self.server.store.identity = identity;
    }

    /// It had a replica before anything else happened to it: it has a backlog, and takes the next one without another
    /// replication id. Draws nothing.
    pub fn had_replica(&mut self) {
        self.server.store.identity.change(|identity| identity.has_backlog = true);
    }

    /// A replica connects. The first makes the backlog, and with it a new replication id under the same run id: harmless.
    pub fn attach_replica(&mut self) {
        if !self.server.store.identity.has_backlog {
            self.server.store.identity.renew(&mut self.random);
        }
        self.server.store.identity.change(|identity| {
            identity.has_backlog = true;
            identity.replicas += 1;
        });
    }

    /// All replicas are gone; the backlog stays.
    pub fn detach_replicas(&mut self) {
        self.server.store.identity.change(|identity| identity.replicas = 0);
    }

    /// The backlog is released for want of replicas (`repl-backlog-ttl`): a new replication id under the same run id, also
    /// harmless. Nothing where there is none, or a replica, or where this is one itself.
    pub fn release_backlog(&mut self) {
        let identity = &self.server.store.identity;
        if !identity.has_backlog || identity.replicas > 0 || identity.is_replica {
            return;
        }
        self.server.store.identity.renew(&mut self.random);
        self.server.store.identity.change(|identity| identity.has_backlog = false);
    }
}
