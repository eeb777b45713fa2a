//! A real Lua 5.1 and what Redis 7.0 puts into it: `redis.call` and its kin, values there and back as `script_lua.c` has
//! them, a global table that lets nothing be added.
//!
//! One a thread. It keeps nothing of a call: what a script sees is handed in and out.

use std::cell::RefCell;
use std::rc::Rc;

use flux_protocol::planted::note_asked;
use mlua::chunk::ChunkMode;
use mlua::{Function, LuaString, MultiValue, Table, Value};

use super::command::{Command, Flags};
use super::keyspace::Text;
use super::limits;
use super::reach;
use super::reply::Reply;
use super::script::{Mode, Script};
use super::store::Store;
use super::values::{CHUNK_NAME, Raised, arguments, caught, error_text, from_lua, into_lua, located, raised};

const PRELUDE: &str = include_str!("prelude.lua");

/// A script that runs now: what it acts upon, and what it may do.
struct Running {
    store: Store,
    mode: Mode,
    /// It has written: from then on nothing but its own end stops it.
    dirty: bool,
}

impl Running {
    /// One `redis.call`.
    fn call(&mut self, arguments: Vec<Text>) -> Reply {
        let Some(command) = Command::of(&arguments) else {
            self.store.unknown.push(super::command::unknown(&arguments));
            return Reply::error("ERR Unknown Redis command called from script");
        };
        if !command.takes(arguments.len()) {
            return Reply::error("ERR Wrong number of args calling Redis command from script");
        }
        if command.flags.has(Flags::NO_SCRIPT) {
            return Reply::error("ERR This Redis command is not allowed from script");
        }
        if let Some(refusal) = self.refusal(command.flags) {
            return Reply::error(refusal);
        }
        self.dirty |= command.flags.has(Flags::WRITE);
        self.store.run(command, arguments)
    }

    fn refusal(&self, flags: Flags) -> Option<&'static str> {
        let limits = self.store.limits;
        let writes = flags.has(Flags::WRITE);
        if writes && self.mode.no_writes {
            Some("ERR Write commands are not allowed from read-only scripts.")
        } else if self.dirty {
            None
        } else if writes && self.store.identity.is_replica {
            Some(limits::READ_ONLY)
        } else if writes && limits.misconfigured {
            Some(limits::MISCONFIGURED)
        } else if limits.out_of_memory
            && !self.store.identity.is_replica
            && flags.has(Flags::DENY_OOM)
            && !self.mode.allow_oom
        {
            Some(limits::OUT_OF_MEMORY)
        } else {
            None
        }
    }
}

/// See the module.
pub(super) struct Lua {
    lua: mlua::Lua,
    running: Rc<RefCell<Option<Running>>>,
    environment: Table,
    run: Function,
}

thread_local! {
    static LUA: Lua = Lua::new();
}

impl Lua {
    fn new() -> Lua {
        let lua = mlua::Lua::new();
        let running: Rc<RefCell<Option<Running>>> = Rc::default();
        reach::hook(&lua);
        let made = Lua::prelude(&lua, &running);
        let (environment, run) = made.expect("the prelude is Lua");
        Lua { lua, running, environment, run }
    }

    fn prelude(lua: &mlua::Lua, running: &Rc<RefCell<Option<Running>>>) -> mlua::Result<(Table, Function)> {
        let running = running.clone();
        let precise: Function = lua.load("local n = ... return string.format('%.17g', n)").into_function()?;
        let command = move |values: &MultiValue| -> mlua::Result<Reply> {
            Ok(match arguments(values, &precise)? {
                Ok(arguments) => {
                    running.borrow_mut().as_mut().map_or_else(not_running, |running| running.call(arguments))
                }
                Err(words) => Reply::error(words),
            })
        };
        let command = Rc::new(command);
        let call = lua.create_function({
            let command = command.clone();
            move |lua, values: MultiValue| match command(&values)? {
                Reply::Error(words) => Err(mlua::Error::external(Raised(words))),
                reply => into_lua(lua, reply),
            }
        })?;
        let try_call = lua.create_function(move |lua, values: MultiValue| into_lua(lua, command(&values)?))?;
        let reply_error =
            lua.create_function(|lua, text: mlua::LuaString| lua.create_string(error_text(&text.as_bytes())))?;
        let caught = lua.create_function(|lua, error: Value| caught(lua, error))?;
        let locate = lua.create_function(|lua, error: Value| located(lua, error))?;
        let chunk = lua.load(PRELUDE).set_name("@prelude");
        chunk.call((call, try_call, reply_error, caught, locate, lua.globals()))
    }

    /// The function of a script's text.
    ///
    /// # Errors
    /// Lua's words.
    pub(super) fn compile(source: &str) -> Result<Function, String> {
        LUA.with(|lua| {
            let chunk = lua.lua.load(source).set_name(CHUNK_NAME).set_mode(ChunkMode::Text);
            chunk.set_environment(lua.environment.clone()).into_function().map_err(|error| match error {
                mlua::Error::SyntaxError { message, .. } => message,
                other => other.to_string(),
            })
        })
    }

    /// Runs a script over `store` and gives the store back.
    pub(super) fn run(script: &Rc<Script>, keys: &[Text], arguments: &[Text], store: Store) -> (Reply, Store) {
        LUA.with(|lua| {
            let before = lua.running.replace(Some(Running { store, mode: script.mode, dirty: false }));
            assert!(before.is_none(), "one script runs at a time");
            reach::runs(Some(script));
            script.bugs.iter().for_each(|bug| note_asked(*bug));
            let reply = lua.call(script, keys, arguments).expect("what a script does to itself is caught inside");
            reach::runs(None);
            let ended = lua.running.take().expect("it was put there above");
            (reply, ended.store)
        })
    }

    fn call(&self, script: &Script, keys: &[Text], arguments: &[Text]) -> mlua::Result<Reply> {
        let strings = |texts: &[Text]| {
            let strings: mlua::Result<Vec<LuaString>> = texts.iter().map(|text| self.lua.create_string(text)).collect();
            self.lua.create_sequence_from(strings?)
        };
        let (ended, value): (bool, Value) = self.run.call((&script.function, strings(keys)?, strings(arguments)?))?;
        if ended { from_lua(&value) } else { raised(script, &value) }
    }
}

fn not_running() -> Reply {
    Reply::error("ERR redis.call/pcall can only be called inside a script invocation")
}
