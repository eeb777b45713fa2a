//! Who this Redis is and whom it follows, and `INFO` of it.

use crate::random::Random;

/// `master_replid2` where there was no other master before.
const NONE: &str = "0000000000000000000000000000000000000000";

/// See the module. Every change goes through a method, which writes `INFO` anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) run_id: String,
    pub(super) replication_id: String,
    /// The id before a promotion, or [`NONE`].
    pub(super) second_id: String,
    pub(super) is_replica: bool,
    pub(super) replicas: u32,
    /// Whether there is a replication backlog; the first replica makes it.
    pub(super) has_backlog: bool,
    port: u16,
    server: String,
    replication: String,
}

/// 40 hexadecimal digits.
pub(super) fn digits(random: &mut Random) -> String {
    format!("{:016x}{:016x}{:08x}", random.bits(), random.bits(), random.bits() >> 32)
}

impl Identity {
    /// A process that has just started.
    pub(super) fn new(random: &mut Random, port: u16) -> Identity {
        let mut identity = Identity { port, ..Identity::default() };
        identity.run_id = digits(random);
        identity.renew(random);
        identity
    }

    /// Another replication id and none before it: what is lost with it is nothing (the backlog is made or released).
    pub(super) fn renew(&mut self, random: &mut Random) {
        self.change(|identity| {
            identity.replication_id = digits(random);
            identity.second_id = NONE.to_owned();
        });
    }

    /// A replica becomes a master: its replication id is the second from now on.
    pub(super) fn promote(&mut self, random: &mut Random) {
        self.change(|identity| {
            identity.second_id = std::mem::replace(&mut identity.replication_id, digits(random));
            identity.is_replica = false;
        });
    }

    /// Any other change.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Identity)) {
        change(self);
        let fields = [
            ("redis_version", "7.0.15".to_owned()),
            ("redis_mode", "standalone".to_owned()),
            ("run_id", self.run_id.clone()),
            ("tcp_port", self.port.to_string()),
        ];
        self.server = section("# Server", &fields);
        let mut fields = vec![("role", if self.is_replica { "slave" } else { "master" }.to_owned())];
        if self.is_replica {
            fields.push(("master_link_status", "down".to_owned()));
        }
        fields.extend([
            ("connected_slaves", self.replicas.to_string()),
            ("master_failover_state", "no-failover".to_owned()),
            ("master_replid", self.replication_id.clone()),
            ("master_replid2", self.second_id.clone()),
            ("repl_backlog_active", u8::from(self.has_backlog).to_string()),
        ]);
        self.replication = section("# Replication", &fields);
    }

    /// `INFO server`.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// `INFO replication`.
    pub(super) fn replication(&self) -> &str {
        &self.replication
    }
}

fn section(title: &str, fields: &[(&str, String)]) -> String {
    let lines = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n"));
    format!("{title}\r\n{}", lines.collect::<String>())
}
