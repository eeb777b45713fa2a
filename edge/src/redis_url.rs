//! `--redis`: `redis://[user:password@]host:port[/db]` or `redis+unix:///path`.

use std::path::PathBuf;
use std::str::FromStr;

use flux_net::Address;
use thiserror::Error;

use crate::secret::Secret;

/// The port where a URL names none.
const DEFAULT_PORT: u16 = 6379;

/// Where Redis is and who we are to it.
#[derive(Clone, Debug)]
pub struct RedisTarget {
    /// The server.
    pub address: Address,
    /// The ACL user; `None` with a password is the default user.
    pub user: Option<String>,
    /// The password: AUTH is sent where there is one.
    pub password: Option<Secret>,
    /// The database: SELECT is sent where it is not 0.
    pub database: u32,
}

/// The text is no such URL. The messages never repeat it: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedisUrlError {
    /// TLS is asked for.
    #[error("TLS (rediss://) is not supported yet: use redis:// on a trusted network, or a TLS proxy beside the edge")]
    Tls,
    /// Another scheme, or none.
    #[error("must begin with redis:// or redis+unix://")]
    Scheme,
    /// Host or port.
    #[error("{0}")]
    Address(#[from] flux_net::address::AddressError),
    /// No number after the slash.
    #[error("the database must be a number")]
    Database,
    /// A percent sign without two hexadecimal digits, or bytes that are no text.
    #[error("user or password is not percent-encoded as it should be")]
    Encoding,
    /// A user without a password: Redis has no such login.
    #[error("a user needs a password: redis://user:password@host")]
    UserWithoutPassword,
    /// A Unix socket without an absolute path.
    #[error("redis+unix:// needs an absolute path, as in redis+unix:///run/redis.sock")]
    Path,
    /// A query or fragment, which no option of ours is in.
    #[error("must have neither ? nor #")]
    Query,
}

impl FromStr for RedisTarget {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<RedisTarget, RedisUrlError> {
        if text.starts_with("rediss://") {
            return Err(RedisUrlError::Tls);
        }
        if let Some(path) = text.strip_prefix("redis+unix://") {
            if !path.starts_with('/') || path.len() < 2 {
                return Err(RedisUrlError::Path);
            }
            let address = Address::Unix(PathBuf::from(path));
            return Ok(RedisTarget { address, user: None, password: None, database: 0 });
        }
        let rest = text.strip_prefix("redis://").ok_or(RedisUrlError::Scheme)?;
        // The last @ ends the login: a password may hold one that was not encoded.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisUrlError::Query);
        }
        let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| RedisUrlError::Database)?
            }
            _ => return Err(RedisUrlError::Database),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None | Some(Err("")) => (None, None),
            Some(Err(_)) => return Err(RedisUrlError::UserWithoutPassword),
            Some(Ok((_, ""))) => return Err(RedisUrlError::UserWithoutPassword),
            Some(Ok((user, password))) => {
                let user = percent_decoded(user)?;
                (Some(user).filter(|user| !user.is_empty()), Some(Secret::new(&percent_decoded(password)?)))
            }
        };
        Ok(RedisTarget { address: Address::parse_tcp(host, DEFAULT_PORT)?, user, password, database })
    }
}

fn percent_decoded(text: &str) -> Result<String, RedisUrlError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(RedisUrlError::Encoding);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).expect("two hexadecimal digits are a byte"));
    }
    String::from_utf8(decoded).map_err(|_| RedisUrlError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn every_part_is_read() {
        let target: RedisTarget = "redis://shop:p%40ss:w@rd@cache.example:6380/3".parse().expect("a URL");
        assert_eq!(target.address, tcp("cache.example", 6380));
        assert_eq!(target.user.as_deref(), Some("shop"));
        assert_eq!(target.password.as_ref().map(Secret::reveal), Some("p@ss:w@rd"));
        assert_eq!(target.database, 3);
        assert!(!format!("{target:?}").contains("p@ss"));

        let target: RedisTarget = "redis://:only@[::1]".parse().expect("a URL");
        assert_eq!((target.address, target.user, target.database), (tcp("::1", 6379), None, 0));
        assert!(target.password.is_some_and(|password| password.matches(b"only")));

        let target: RedisTarget = "redis+unix:///run/redis.sock".parse().expect("a URL");
        assert_eq!(target.address, Address::Unix("/run/redis.sock".into()));
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_repeating_it() {
        for (text, error) in [
            ("rediss://host", RedisUrlError::Tls),
            ("127.0.0.1:6379", RedisUrlError::Scheme),
            ("http://host", RedisUrlError::Scheme),
            ("redis+unix://relative", RedisUrlError::Path),
            ("redis://host/one", RedisUrlError::Database),
            ("redis://host/99999999999", RedisUrlError::Database),
            ("redis://user@host", RedisUrlError::UserWithoutPassword),
            ("redis://user:@host", RedisUrlError::UserWithoutPassword),
            ("redis://a:%zz@host", RedisUrlError::Encoding),
            ("redis://a:%ff@host", RedisUrlError::Encoding),
            ("redis://host?db=1", RedisUrlError::Query),
        ] {
            assert_eq!(text.parse::<RedisTarget>().err(), Some(error.clone()), "{text}");
            assert!(!error.to_string().contains("%zz"));
        }
        assert!("redis://".parse::<RedisTarget>().is_err());
    }
}
