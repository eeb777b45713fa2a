//! Values between Redis and Lua, there and back, and the errors of scripts, as `script_lua.c` of Redis 7.0 has them.

use std::borrow::Cow;

use mlua::{Function, MultiValue, Table, Value};

use super::keyspace::Text;
use super::reply::Reply;
use super::script::Script;

/// The name Redis gives every script; errors say `user_script:<line>`.
pub(super) const CHUNK_NAME: &str = "@user_script";

/// What a command inside a script is called with, else why it is not.
pub(super) fn arguments(values: &MultiValue, precise: &Function) -> mlua::Result<Result<Vec<Text>, &'static str>> {
    if values.is_empty() {
        return Ok(Err("ERR Please specify at least one argument for this redis lib call"));
    }
    let mut arguments = Vec::with_capacity(values.len());
    for value in values {
        arguments.push(match value {
            Value::String(text) => Text::from(&*text.as_bytes()),
            // Seventeen digits hold it exactly; beyond, it is written with an exponent.
            Value::Integer(number) if number.unsigned_abs() < 100_000_000_000_000_000 => {
                Text::from(number.to_string().as_bytes())
            }
            Value::Integer(_) | Value::Number(_) => {
                let text: mlua::LuaString = precise.call(value)?;
                Text::from(&*text.as_bytes())
            }
            _ => return Ok(Err("ERR Lua redis lib command arguments must be strings or integers")),
        });
    }
    Ok(Ok(arguments))
}

/// A reply as scripts see it.
pub(super) fn into_lua(lua: &mlua::Lua, reply: Reply) -> mlua::Result<Value> {
    let field = |name: &str, text: &str| -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, lua.create_string(text)?)?;
        Ok(Value::Table(table))
    };
    Ok(match reply {
        Reply::Status(text) => field("ok", &text)?,
        Reply::Error(text) => field("err", &text)?,
        // As a C compiler converts it: above 2^53 to the nearest.
        Reply::Integer(number) => Value::Number(number as f64),
        Reply::Bulk(text) => Value::String(lua.create_string(&text)?),
        Reply::Null | Reply::NullArray => Value::Boolean(false),
        Reply::Array(items) => {
            let values: mlua::Result<Vec<Value>> = items.into_iter().map(|item| into_lua(lua, item)).collect();
            Value::Table(lua.create_sequence_from(values?)?)
        }
    })
}

/// What a script returned, as a reply. An array ends before its first nil.
pub(super) fn from_lua(value: &Value) -> mlua::Result<Reply> {
    Ok(match value {
        Value::String(text) => Reply::Bulk(Text::from(&*text.as_bytes())),
        Value::Boolean(true) => Reply::Integer(1),
        Value::Integer(number) => Reply::Integer(*number),
        // Cut off, as a C compiler converts it.
        Value::Number(number) => Reply::Integer(*number as i64),
        Value::Table(table) => {
            if let Value::String(text) = table.raw_get("err")? {
                return Ok(Reply::error(&text.to_string_lossy()));
            }
            if let Value::String(text) = table.raw_get("ok")? {
                return Ok(Reply::Status(text.to_string_lossy().replace(['\r', '\n'], " ").into()));
            }
            let mut items = Vec::new();
            loop {
                match table.raw_get(items.len() + 1)? {
                    Value::Nil => break,
                    item => items.push(from_lua(&item)?),
                }
            }
            Reply::Array(items)
        }
        _ => Reply::Null,
    })
}

/// `redis.error_reply`: a text without a code of its own gets `ERR`.
pub(super) fn error_text(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text = text.trim_ascii_end();
    if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() }
}

/// What `redis.call` raises: the error reply of its command.
#[derive(Debug)]
pub(super) struct Raised(pub(super) Cow<'static, str>);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// An error as a script that catches it sees it: a table, where it is one of `redis.call`.
pub(super) fn caught(lua: &mlua::Lua, error: Value) -> mlua::Result<Value> {
    let raised = error.as_error().and_then(|error| error.downcast_ref::<Raised>());
    match raised {
        Some(Raised(words)) => into_lua(lua, Reply::Error(words.clone())),
        None => Ok(error),
    }
}

/// The error that ends a script, with the line of the script it came from.
pub(super) fn located(lua: &mlua::Lua, error: Value) -> mlua::Result<Table> {
    let table = match caught(lua, error)? {
        Value::Table(table) => table,
        other => {
            let text = match &other {
                Value::Error(error) => error.to_string(),
                other => other.to_string()?,
            };
            let table = lua.create_table()?;
            table.raw_set("err", format!("ERR {text}"))?;
            table
        }
    };
    for level in 0.. {
        let line = lua.inspect_stack(level, |debug| {
            let ours = debug.source().source.is_some_and(|source| source == CHUNK_NAME);
            ours.then(|| debug.current_line().unwrap_or_default())
        });
        match line {
            Some(Some(line)) => {
                table.raw_set("line", line)?;
                break;
            }
            Some(None) => {}
            None => break,
        }
    }
    Ok(table)
}

/// What is answered for a script that an error ended.
pub(super) fn raised(script: &Script, error: &Value) -> mlua::Result<Reply> {
    let digest = String::from_utf8_lossy(&script.digest).into_owned();
    let Value::Table(error) = error else {
        return Ok(Reply::error(&format!("ERR Error running script {digest}, execution failure")));
    };
    let text = match error.raw_get("err")? {
        Value::String(text) => text.to_string_lossy(),
        _ => String::new(),
    };
    Ok(match error.raw_get::<Option<i64>>("line")? {
        Some(line) => Reply::error(&format!("{text} script: {digest}, on {CHUNK_NAME}:{line}.")),
        None => Reply::error(&text),
    })
}
