//! Scripts as Redis knows them: text, digest, flags. Compiled once a thread, however many servers and runs there are.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use flux_protocol::planted::Bug;
use sha1::{Digest, Sha1};

use super::command::Flags;
use super::keyspace::Text;
use super::lua::Lua;
use super::planted::{could_spoil, spoilt};

/// Compiled texts kept by a thread. There are a dozen of ours; a test that makes up its own may not fill the memory.
const COMPILED_MAX: usize = 256;

/// A script that was loaded.
#[derive(Debug)]
pub(super) struct Script {
    /// SHA-1 of the text, 40 hexadecimal digits.
    pub(super) digest: Text,
    pub(super) mode: Mode,
    pub(super) function: mlua::Function,
    /// The text, with the bug that is planted in it.
    pub(super) source: String,
    /// Bugs that live in the text, planted or not.
    pub(super) bugs: Vec<Bug>,
}

/// What the first line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mode {
    /// There is a first line `#!lua`.
    pub(super) declared: bool,
    pub(super) no_writes: bool,
    pub(super) allow_oom: bool,
}

impl Mode {
    /// Flags of the call itself (`scriptFlagsToCmdFlags`).
    pub(super) fn command_flags(self, call: Flags) -> Flags {
        if !self.declared {
            return call;
        }
        let writes = if self.no_writes { Flags::NONE } else { Flags::WRITE };
        let grows = if self.allow_oom || self.no_writes { Flags::NONE } else { Flags::DENY_OOM };
        call.and(writes).and(grows)
    }

    /// The first line, and how many bytes it has without its line feed.
    fn parse(text: &str) -> Result<(Mode, usize), String> {
        if !text.starts_with("#!") {
            return Ok((Mode::default(), 0));
        }
        let length = text.find('\n').ok_or("ERR Invalid script shebang")?;
        let mut words = text[..length].split_ascii_whitespace();
        let engine = words.next().unwrap_or_default();
        if engine != "#!lua" {
            return Err(format!("ERR Unexpected engine in script shebang: {engine}"));
        }
        let mut mode = Mode { declared: true, ..Mode::default() };
        for word in words {
            let flags = word.strip_prefix("flags=").ok_or_else(|| format!("ERR Unknown lua shebang option: {word}"))?;
            for flag in flags.split(',') {
                match flag {
                    "no-writes" => mode.no_writes = true,
                    "allow-oom" => mode.allow_oom = true,
                    // They matter to stale replicas and clusters, which are not faked.
                    "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                    other => return Err(format!("ERR Unexpected flag in script shebang: {other}")),
                }
            }
        }
        Ok((mode, length))
    }
}

thread_local! {
    static COMPILED: RefCell<BTreeMap<Text, Rc<Script>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The digest of a script's text.
pub(super) fn digest(text: &[u8]) -> Text {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha1::digest(text);
    digest.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

impl Script {
    /// The script with this text.
    ///
    /// # Errors
    /// Redis' words: it is no Lua, or its first line is none.
    pub(super) fn compile(text: &Text) -> Result<Rc<Script>, String> {
        let shipped =
            std::str::from_utf8(text).map_err(|_| "ERR the fake Redis takes scripts of UTF-8 only".to_owned())?;
        let source = spoilt(shipped);
        if let Some(script) = COMPILED.with_borrow(|compiled| compiled.get(source.as_bytes()).cloned()) {
            return Ok(script);
        }
        let (mode, first_line) = Mode::parse(&source)?;
        let function = Lua::compile(&source[first_line..])
            .map_err(|error| format!("ERR Error compiling script (new function): {error}"))?;
        let (source, bugs) = (source.into_owned(), could_spoil(shipped));
        let script = Rc::new(Script { digest: digest(text), mode, function, source: source.clone(), bugs });
        COMPILED.with_borrow_mut(|compiled| {
            if compiled.len() == COMPILED_MAX {
                compiled.clear();
            }
            compiled.insert(source.bytes().collect(), script.clone());
        });
        Ok(script)
    }
}
