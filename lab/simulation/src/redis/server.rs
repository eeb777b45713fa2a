//! What answers a request: the checks before a command in Redis' order, transactions, scripts, the journal behind it all.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::BytesMut;
use flux_protocol::time::Instant;

use super::accounts::Accounts;
use super::command::{self, Command, Flags, Run, Session};
use super::commands::integer;
use super::journal::Journal;
use super::keyspace::Text;
use super::lua::Lua;
use super::reply::{NOT_AN_INTEGER, Reply, SYNTAX};
use super::script::{Script, digest};
use super::store::Store;
use super::watch::Watch;

const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
/// Of a script's SHA-1.
const DIGEST_DIGITS: usize = 40;

/// One client's connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// What has arrived and was not yet carried out.
    pub(super) inbox: BytesMut,
    /// The client has ended it; what lies in the inbox is carried out all the same.
    pub(super) is_gone: bool,
    /// It ends once what was answered is written.
    pub(super) is_ending: bool,
    has_logged_in: bool,
    transaction: Option<Transaction>,
}

#[derive(Debug, Default)]
struct Transaction {
    queued: Vec<(&'static Command, Vec<Text>)>,
    /// A command of it was refused: none will be carried out.
    is_spoiled: bool,
}

/// When a command comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    /// Redis' clock, µs since the epoch.
    pub(super) clock_us: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) store: Store,
    pub(super) journal: Journal,
    pub(super) watch: Watch,
    pub(super) accounts: Accounts,
    /// By digest.
    pub(super) scripts: BTreeMap<Text, Rc<Script>>,
    pub(super) password: Option<String>,
}

impl Server {
    /// Carries out one request.
    pub(super) fn answer(&mut self, moment: Moment, connection: &mut Connection, arguments: Vec<Text>) -> Reply {
        self.set_clock(moment);
        let reply = match self.admit(connection, &arguments) {
            Ok(command) => self.carry_out_or_queue(connection, command, arguments),
            Err(refusal) => refusal,
        };
        self.note_writes(moment);
        reply
    }

    /// A write that no client asked for: a fault.
    pub(super) fn write(&mut self, moment: Moment, arguments: &[&[u8]]) {
        self.set_clock(moment);
        let arguments: Vec<Text> = arguments.iter().map(|argument| Text::from(*argument)).collect();
        let command = Command::of(&arguments).expect("a command that the fake knows");
        let reply = self.store.run(command, arguments);
        assert!(!matches!(reply, Reply::Error(_)), "a fault is refused: {reply:?}");
        self.note_writes(moment);
        self.handle_loss();
    }

    /// Something is lost, or somebody has laid hands on the data.
    pub(super) fn handle_loss(&mut self) {
        self.watch.handle_loss();
        self.accounts.handle_loss();
    }

    fn set_clock(&mut self, moment: Moment) {
        self.accounts.advance(moment.instant);
        if self.store.data.advance(moment.clock_us) {
            self.journal.append(moment.instant, moment.clock_us, Vec::new());
        }
    }

    fn note_writes(&mut self, moment: Moment) {
        if !self.store.written.is_empty() {
            let written = std::mem::take(&mut self.store.written);
            self.watch.handle_writes(moment, &written, &self.store.data);
            let replication_id = &self.store.identity.replication_id;
            self.accounts.handle_writes(moment, &written, &self.store.data, replication_id);
            self.journal.append(moment.instant, moment.clock_us, written);
        }
    }

    /// `processCommand` up to where the command is carried out or queued.
    fn admit(&mut self, connection: &mut Connection, arguments: &[Text]) -> Result<&'static Command, Reply> {
        let Some(command) = Command::of(arguments) else {
            let words = command::unknown(arguments);
            self.store.unknown.push(words.clone());
            return Err(refused(connection, &words));
        };
        if !command.takes(arguments.len()) {
            let words = format!("ERR wrong number of arguments for '{}' command", command.name);
            return Err(refused(connection, &words));
        }
        if self.password.is_some() && !connection.has_logged_in && !command.flags.has(Flags::NO_AUTH) {
            return Err(refused(connection, "NOAUTH Authentication required."));
        }
        let flags = self.flags_of(command, arguments);
        let (flags, queues) = match (&connection.transaction, command.run) {
            (Some(transaction), Run::Session(Session::Exec)) => {
                let all = transaction.queued.iter().map(|(command, arguments)| self.flags_of(command, arguments));
                (all.fold(flags, Flags::and), false)
            }
            (Some(_), run) => (flags, is_queued(run)),
            (None, _) => (flags, false),
        };
        let is_replica = self.store.identity.is_replica;
        let Some(words) = self.store.limits.refuse(flags, is_replica, queues, command.name == "ping") else {
            return Ok(command);
        };
        if let Run::Session(Session::Exec) = command.run {
            connection.transaction = None;
            return Err(Reply::error(&format!("EXECABORT Transaction discarded because of: {words}")));
        }
        Err(refused(connection, words))
    }

    /// A command's flags; those of a script's call are the script's.
    fn flags_of(&self, command: &Command, arguments: &[Text]) -> Flags {
        let mode = match command.run {
            Run::Session(Session::EvalSha) => self.script(&arguments[1]).map(|script| script.mode),
            Run::Session(Session::Eval) => Script::compile(&arguments[1]).ok().map(|script| script.mode),
            _ => None,
        };
        mode.map_or(command.flags, |mode| mode.command_flags(command.flags))
    }

    fn script(&self, digest: &[u8]) -> Option<&Rc<Script>> {
        self.scripts.get(digest).or_else(|| self.scripts.get(digest.to_ascii_lowercase().as_slice()))
    }

    fn carry_out_or_queue(
        &mut self,
        connection: &mut Connection,
        command: &'static Command,
        arguments: Vec<Text>,
    ) -> Reply {
        if let Some(transaction) = &mut connection.transaction
            && is_queued(command.run)
        {
            transaction.queued.push((command, arguments));
            return Reply::Status("QUEUED".into());
        }
        self.carry_out(connection, command, arguments)
    }

    fn carry_out(&mut self, connection: &mut Connection, command: &Command, arguments: Vec<Text>) -> Reply {
        let Run::Session(session) = command.run else { return self.store.run(command, arguments) };
        match session {
            Session::Auth => self.log_in(connection, &arguments[1..]),
            Session::Select => match integer(&arguments[1]) {
                Some(0) => Reply::OK,
                Some(_) => Reply::error("ERR DB index is out of range"),
                None => NOT_AN_INTEGER.into(),
            },
            Session::SetName => Reply::OK,
            Session::Quit => {
                connection.is_ending = true;
                Reply::OK
            }
            Session::Multi if connection.transaction.is_some() => Reply::error("ERR MULTI calls can not be nested"),
            Session::Multi => {
                connection.transaction = Some(Transaction::default());
                Reply::OK
            }
            Session::Exec => self.execute(connection),
            Session::Discard => match connection.transaction.take() {
                Some(_) => Reply::OK,
                None => Reply::error("ERR DISCARD without MULTI"),
            },
            Session::Eval => self.evaluate(&arguments, |server, text| server.load(text)),
            Session::EvalSha if arguments[1].len() != DIGEST_DIGITS => Reply::error(NO_SCRIPT),
            Session::EvalSha => self.evaluate(&arguments, |server, digest| {
                let script = server.script(digest).cloned();
                script.ok_or_else(|| Reply::error(NO_SCRIPT))
            }),
            Session::ScriptLoad => match self.load(&arguments[2]) {
                Ok(script) => Reply::Bulk(script.digest.clone()),
                Err(refusal) => refusal,
            },
            Session::ScriptFlush => match &arguments[2..] {
                [] => self.forget_scripts(),
                [how] if how.eq_ignore_ascii_case(b"SYNC") || how.eq_ignore_ascii_case(b"ASYNC") => {
                    self.forget_scripts()
                }
                _ => Reply::error("ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
            },
            Session::ScriptExists => Reply::Array(
                arguments[2..].iter().map(|digest| Reply::Integer(i64::from(self.script(digest).is_some()))).collect(),
            ),
        }
    }

    fn log_in(&self, connection: &mut Connection, arguments: &[Text]) -> Reply {
        let (user, password) = match arguments {
            [password] if self.password.is_none() => {
                let _ = password;
                return Reply::error(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
                );
            }
            [password] => (&b"default"[..], password),
            [user, password] => (user.as_ref(), password),
            _ => return SYNTAX.into(),
        };
        let is_right = self.password.as_ref().is_none_or(|right| right.as_bytes() == password.as_ref());
        if user != b"default" || !is_right {
            return Reply::error("WRONGPASS invalid username-password pair or user is disabled.");
        }
        connection.has_logged_in = true;
        Reply::OK
    }

    fn execute(&mut self, connection: &mut Connection) -> Reply {
        let Some(transaction) = connection.transaction.take() else { return Reply::error("ERR EXEC without MULTI") };
        if transaction.is_spoiled {
            return Reply::error("EXECABORT Transaction discarded because of previous errors.");
        }
        let queued = transaction.queued.into_iter();
        Reply::Array(queued.map(|(command, arguments)| self.carry_out(connection, command, arguments)).collect())
    }

    fn load(&mut self, text: &Text) -> Result<Rc<Script>, Reply> {
        let script = Script::compile(text).map_err(|words| Reply::error(&words))?;
        debug_assert_eq!(script.digest, digest(text));
        self.scripts.insert(script.digest.clone(), script.clone());
        Ok(script)
    }

    fn forget_scripts(&mut self) -> Reply {
        self.scripts.clear();
        Reply::OK
    }

    fn evaluate(
        &mut self,
        arguments: &[Text],
        find: impl FnOnce(&mut Server, &Text) -> Result<Rc<Script>, Reply>,
    ) -> Reply {
        let Some(keys) = integer(&arguments[2]) else { return NOT_AN_INTEGER.into() };
        let rest = &arguments[3..];
        let Ok(keys) = usize::try_from(keys) else { return Reply::error("ERR Number of keys can't be negative") };
        if keys > rest.len() {
            return Reply::error("ERR Number of keys can't be greater than number of args");
        }
        let script = match find(self, &arguments[1]) {
            Ok(script) => script,
            Err(refusal) => return refusal,
        };
        let (keys, arguments) = rest.split_at(keys);
        let (reply, store) = Lua::run(&script, keys, arguments, std::mem::take(&mut self.store));
        self.store = store;
        self.accounts.handle_reply(keys, &reply);
        reply
    }
}

/// In a transaction everything waits but what ends it or the connection.
fn is_queued(run: Run) -> bool {
    !matches!(run, Run::Session(Session::Exec | Session::Discard | Session::Multi | Session::Quit))
}

fn refused(connection: &mut Connection, words: &str) -> Reply {
    if let Some(transaction) = &mut connection.transaction {
        transaction.is_spoiled = true;
    }
    Reply::error(words)
}
