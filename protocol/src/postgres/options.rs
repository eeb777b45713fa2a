//! What a session asks of the server for its whole life, as the start-up message says it.

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::config::PostgresConfig;

/// How long a statement may take, and with it how long its answer is waited for: one value, so that the server never
/// works on for a client that has given up, and no client waits for what the server has cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementLimit {
    /// The server cancels a statement that runs longer (57014).
    Within(Duration),
    /// As long as it takes: an index that is built beside everything else. Only the kernel says that nobody is there.
    None,
}

impl StatementLimit {
    /// How long an answer of which nothing has come yet is waited for: longer than the server takes to cancel, so that its
    /// error is heard rather than guessed. `None`: for as long as the connection stands.
    pub fn reply_timeout(self) -> Option<Duration> {
        match self {
            StatementLimit::Within(limit) => Some(limit + (limit / 2).min(REPLY_GRACE_MAX)),
            StatementLimit::None => None,
        }
    }

    fn milliseconds(self) -> u128 {
        match self {
            // Zero would switch it off.
            StatementLimit::Within(limit) => limit.as_millis().max(1),
            StatementLimit::None => 0,
        }
    }
}

/// Most that an answer is waited for beyond its statement's time.
const REPLY_GRACE_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to let us in.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// What a session asks of the server for its whole life. Zero switches a timeout off.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// As `pg_stat_activity` shows it.
    pub application_name: String,
    /// How long a statement may take.
    pub statement: StatementLimit,
    /// The server gives up waiting for one lock (55P03).
    pub lock_timeout: Duration,
    /// The server ends a session that leaves a transaction open and is silent (25P03).
    pub idle_in_transaction_timeout: Duration,
    /// The server ends a session whose bytes nobody acknowledges; TCP only, without meaning on a Unix socket.
    pub tcp_user_timeout: Duration,
    /// The server asks the kernel of a session that is silent for so long whether it is there still, and again after as
    /// long; without answers it ends the session when `tcp_user_timeout` has passed, and its locks with it. Whole seconds;
    /// TCP only.
    pub tcp_keepalive: Duration,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            application_name: "flux-gate".to_owned(),
            statement: StatementLimit::Within(Duration::from_secs(10)),
            lock_timeout: Duration::from_secs(5),
            // A worker stopped in mid-transaction must not hold its heir up for long.
            idle_in_transaction_timeout: Duration::from_secs(10),
            tcp_user_timeout: Duration::from_secs(10),
            // The server's own default is two hours: for so long a sale whose rebuild was cut off could not be rebuilt.
            tcp_keepalive: Duration::from_secs(5),
        }
    }
}

impl SessionOptions {
    /// Appends the start-up message. Setting these here, not by SET, costs no round trip and leaves no session without.
    pub(super) fn write_startup(&self, config: &PostgresConfig, out: &mut BytesMut) {
        let milliseconds = |span: Duration| span.as_millis().to_string();
        let statement = self.statement.milliseconds().to_string();
        let [lock, idle, tcp] =
            [self.lock_timeout, self.idle_in_transaction_timeout, self.tcp_user_timeout].map(milliseconds);
        let keepalive = self.tcp_keepalive.as_secs().to_string();
        let parameters = [
            ("user", &*config.user),
            ("database", &config.database),
            ("client_encoding", "UTF8"),
            ("application_name", &self.application_name),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
            // An operator's default of `off` would let a crash take back what a commit had said.
            ("synchronous_commit", "on"),
            ("statement_timeout", &statement),
            ("lock_timeout", &lock),
            ("idle_in_transaction_session_timeout", &idle),
            ("tcp_user_timeout", &tcp),
            ("tcp_keepalives_idle", &keepalive),
            ("tcp_keepalives_interval", &keepalive),
        ];
        frontend::startup_message(parameters, out).expect("the URL's parts hold no NUL");
    }
}
