//! What the command lines of edge and worker have in common: flags about the links to Redis and Kafka, and how a line is read.
//!
//! Never decides what a flag of one program means, and never repeats a value that may be a secret.

pub mod links;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Command, FromArgMatches};

use crate::address::Address;
use crate::flags::links::LinkArguments;
use crate::redis_target::RedisTarget;
use crate::secrets::Secrets;

/// Why nothing runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `--help` or `--version` was asked for: the text for standard output, exit code 0.
    Asked(String),
    /// A mistake: one line for standard error, exit code 2.
    Mistake(String),
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> ConfigError {
        if is_stray(&error) {
            let line = "an argument is neither a flag nor a command (not repeated here: it may hold a password)";
            return ConfigError::Mistake(line.to_owned());
        }
        let text = error.render().to_string();
        if error.use_stderr() { ConfigError::Mistake(one_line(&text)) } else { ConfigError::Asked(text) }
    }
}

/// Reads a command line: what it says, and the secrets of a configuration as far as the line tells, which is whether one of
/// `may_be_secret` (names of clap's) stood on it.
///
/// # Errors
/// A mistake, or help that was asked for.
pub fn parse<A, I, T>(command: Command, line: I, may_be_secret: &[&'static str]) -> Result<(A, Secrets), ConfigError>
where
    A: FromArgMatches,
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let matches = command.try_get_matches_from(line)?;
    let is_exposed = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let exposed = may_be_secret.iter().copied().filter(is_exposed).collect();
    Ok((A::from_arg_matches(&matches)?, Secrets::new(exposed)))
}

/// Whether the message would repeat what may be a secret: what stands where no value belongs is a URL whose flag was forgotten, or
/// a value behind an unknown flag. Names of flags and commands are letters and hyphens.
fn is_stray(error: &clap::Error) -> bool {
    let named = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return false,
    };
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    !matches!(error.get(named), Some(ContextValue::String(text)) if is_name(text))
}

/// clap explains over several lines; the first paragraph says what is wrong.
fn one_line(message: &str) -> String {
    let first: Vec<&str> = message.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    first.join(" ").trim_start_matches("error: ").to_owned()
}

/// `--redis` with what says more of it: `--redis-password-file`, `--redis-tls-…`.
///
/// # Errors
/// One line that names the flag.
pub fn redis(
    url: &str,
    password_file: Option<PathBuf>,
    links: &LinkArguments,
    secrets: &mut Secrets,
) -> Result<RedisTarget, String> {
    let file = password_file.filter(|path| !path.as_os_str().is_empty());
    let is_apart = file.is_some();
    let password = file.map(|path| secrets.file("--redis-password-file", path)).transpose()?;
    let mut redis = RedisTarget::read(url, password).map_err(|error| format!("--redis: {error}"))?;
    if redis.password.is_some() && !is_apart {
        secrets.note_used("redis", "--redis", "FLUX_REDIS or FLUX_REDIS_PASSWORD_FILE");
    }
    redis.tls = links.redis_tls(redis.is_encrypted)?;
    Ok(redis)
}

/// Hosts and ports, a comma between them; the port is `default_port` where none is named.
///
/// # Errors
/// One line that names the flag and which of them is wrong, and repeats none.
pub fn addresses(flag: &str, list: &str, default_port: u16) -> Result<Vec<(String, u16)>, String> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let address = |(index, part)| match Address::parse_tcp(part, default_port) {
        Ok(Address::Tcp { host, port }) => Ok((host, port)),
        Ok(Address::Unix(_)) => Err(format!("{flag}: each is a host and a port")),
        Err(error) => Err(format!("{flag}: address {}: {error}", index + 1)),
    };
    parts.enumerate().map(address).collect()
}
