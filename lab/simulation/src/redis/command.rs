//! Every command the fake knows: its name, how many arguments it takes, when Redis refuses it, what carries it out. The
//! flags are what `COMMAND INFO` of Redis 7.0 says.

use super::commands::{hashes, keys, server, sets, streams, strings};
use super::keyspace::{Keyspace, Text};
use super::reply::Outcome;
use super::store::Store;

/// What carries a command out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    /// Reads and changes data, and depends on nothing but data, clock and arguments: what is written can be replayed.
    Data(fn(&mut Keyspace, &[Text]) -> Outcome),
    /// Asks the server about itself.
    Server(fn(&Store, &[Text]) -> Outcome),
    /// Is about the connection or the scripts; `session.rs` has them.
    Session(Session),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    Auth,
    Select,
    SetName,
    Quit,
    Multi,
    Exec,
    Discard,
    Eval,
    EvalSha,
    ScriptLoad,
    ScriptFlush,
    ScriptExists,
}

/// When a command is refused or let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    pub(super) const NONE: Flags = Flags(0);
    pub(super) const WRITE: Flags = Flags(1);
    /// May need memory.
    pub(super) const DENY_OOM: Flags = Flags(1 << 1);
    pub(super) const NO_SCRIPT: Flags = Flags(1 << 2);
    /// Answered while the data is being loaded.
    pub(super) const LOADING: Flags = Flags(1 << 3);
    /// Answered before the client has logged in.
    pub(super) const NO_AUTH: Flags = Flags(1 << 4);
    /// Answered while a script runs for too long.
    pub(super) const ALLOW_BUSY: Flags = Flags(1 << 5);

    pub(super) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub(super) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Command {
    /// In lower case, as Redis names it in its errors: `xgroup|create` for a command of a container.
    pub(super) name: &'static str,
    /// Arguments with the name; negative: at least so many.
    arity: i32,
    pub(super) flags: Flags,
    pub(super) run: Run,
}

impl Command {
    /// The command that these arguments call.
    pub(super) fn of(arguments: &[Text]) -> Option<&'static Command> {
        COMMANDS.iter().find(|command| match command.name.split_once('|') {
            None => arguments[0].eq_ignore_ascii_case(command.name.as_bytes()),
            Some((container, name)) => {
                arguments[0].eq_ignore_ascii_case(container.as_bytes())
                    && arguments.get(1).is_some_and(|argument| argument.eq_ignore_ascii_case(name.as_bytes()))
            }
        })
    }

    pub(super) fn takes(&self, arguments: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { arguments >= arity } else { arguments == arity }
    }
}

const fn data(name: &'static str, arity: i32, flags: Flags, run: fn(&mut Keyspace, &[Text]) -> Outcome) -> Command {
    Command { name, arity, flags, run: Run::Data(run) }
}

const fn asked(name: &'static str, arity: i32, flags: Flags, run: fn(&Store, &[Text]) -> Outcome) -> Command {
    Command { name, arity, flags, run: Run::Server(run) }
}

const fn session(name: &'static str, arity: i32, flags: Flags, run: Session) -> Command {
    Command { name, arity, flags: flags.and(Flags::NO_SCRIPT), run: Run::Session(run) }
}

const READ: Flags = Flags::NONE;
const WRITE: Flags = Flags::WRITE;
const GROW: Flags = Flags::WRITE.and(Flags::DENY_OOM);
const LOADING: Flags = Flags::LOADING;
const OPENING: Flags = Flags::LOADING.and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

/// What scripts ask most stands first: a command is found by looking from the top.
static COMMANDS: [Command; 53] = [
    data("set", -3, GROW, strings::set),
    data("hget", 3, READ, hashes::hget),
    data("hmget", -3, READ, hashes::hmget),
    data("get", 2, READ, strings::get),
    data("xlen", 2, READ, streams::xlen),
    data("xrange", -4, READ, streams::xrange),
    data("sismember", 3, READ, sets::sismember),
    asked("info", -1, LOADING, server::info),
    data("mget", -2, READ, strings::mget),
    data("xadd", -5, GROW, streams::xadd),
    data("decrby", 3, GROW, strings::decrby),
    data("hset", -4, GROW, hashes::hset),
    asked("time", 1, LOADING, server::time),
    session("evalsha", -3, Flags::NONE, Session::EvalSha),
    data("xdel", -3, WRITE, streams::xdel),
    data("exists", -2, READ, keys::exists),
    data("incrby", 3, GROW, strings::incrby),
    data("del", -2, WRITE, keys::del),
    data("unlink", -2, WRITE, keys::del),
    data("expire", -3, WRITE, keys::expire),
    data("pexpire", -3, WRITE, keys::pexpire),
    data("ttl", 2, READ, keys::ttl),
    data("pttl", 2, READ, keys::pttl),
    data("type", 2, READ, keys::kind),
    data("hgetall", 2, READ, hashes::hgetall),
    data("hrandfield", 4, READ, hashes::hrandfield),
    data("hdel", -3, WRITE, hashes::hdel),
    data("hlen", 2, READ, hashes::hlen),
    data("hexists", 3, READ, hashes::hexists),
    data("hincrby", 4, GROW, hashes::hincrby),
    data("sadd", -3, GROW, sets::sadd),
    data("srem", -3, WRITE, sets::srem),
    data("smembers", 2, READ, sets::smembers),
    data("sscan", -3, READ, sets::sscan),
    data("scard", 2, READ, sets::scard),
    data("xrevrange", -4, READ, streams::xrevrange),
    data("xgroup|create", -5, GROW, streams::xgroup_create),
    data("xgroup|destroy", 4, WRITE, streams::xgroup_destroy),
    data("flushall", -1, WRITE, keys::flushall),
    data("dbsize", 1, READ, keys::dbsize),
    asked("ping", -1, Flags::NONE, server::ping),
    asked("config|get", -3, LOADING.and(Flags::NO_SCRIPT), server::config_get),
    session("auth", -2, OPENING, Session::Auth),
    session("select", 2, LOADING, Session::Select),
    session("client|setname", 3, LOADING, Session::SetName),
    session("quit", -1, OPENING, Session::Quit),
    session("multi", 1, LOADING.and(Flags::ALLOW_BUSY), Session::Multi),
    session("exec", 1, LOADING, Session::Exec),
    session("discard", 1, LOADING.and(Flags::ALLOW_BUSY), Session::Discard),
    session("eval", -3, Flags::NONE, Session::Eval),
    session("script|load", 3, Flags::NONE, Session::ScriptLoad),
    session("script|flush", -2, Flags::NONE, Session::ScriptFlush),
    session("script|exists", -3, Flags::NONE, Session::ScriptExists),
];

/// What Redis says of a command that it does not know.
pub(super) fn unknown(arguments: &[Text]) -> String {
    let text = |argument: &Text| String::from_utf8_lossy(argument).chars().take(128).collect::<String>();
    let container = |command: &Command| command.name.split_once('|').is_some_and(|(name, _)| named(arguments, name));
    if arguments.len() > 1 && COMMANDS.iter().any(container) {
        let upper = text(&arguments[0]).to_ascii_uppercase();
        return format!("ERR unknown subcommand '{}'. Try {upper} HELP.", text(&arguments[1]));
    }
    let mut said = String::new();
    for argument in &arguments[1..] {
        if said.len() >= 128 {
            break;
        }
        let room = 128 - said.len();
        said += &format!("'{}' ", text(argument).chars().take(room).collect::<String>());
    }
    format!("ERR unknown command '{}', with args beginning with: {said}", text(&arguments[0]))
}

fn named(arguments: &[Text], name: &str) -> bool {
    arguments[0].eq_ignore_ascii_case(name.as_bytes())
}
