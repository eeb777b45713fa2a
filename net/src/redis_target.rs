//! `--redis`: `redis://[user:password@]host:port[/db]`, `rediss://…` for TLS, or `redis+unix:///path`.
//!
//! Never connects, and never repeats the text it was given: it may hold a password.

use std::path::PathBuf;
use std::str::FromStr;

use flux_protocol::secret::SharedSecret;

use crate::address::Address;
use crate::tls::ClientTls;

/// The port where a URL names none.
const PORT_DEFAULT: u16 = 6379;

/// Where Redis is and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisTarget {
    /// The server.
    pub address: Address,
    /// The ACL user; `None` with a password is the default user.
    pub user: Option<String>,
    /// AUTH is sent where there is one.
    pub password: Option<SharedSecret>,
    /// SELECT is sent where it is not 0.
    pub database: u32,
    /// `rediss://`: nothing is said to the server but through TLS.
    pub is_encrypted: bool,
    /// That TLS, once it was loaded; the text alone does not hold it.
    pub tls: Option<ClientTls>,
}

/// The text is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisTargetError {
    /// Another scheme, or none.
    #[error("must begin with redis://, rediss:// or redis+unix://")]
    Scheme,
    /// Host or port.
    #[error("{0} (the whole of it: redis://user:password@host:port/db)")]
    Address(#[from] crate::address::AddressError),
    /// No number after the slash.
    #[error("the database must be a number")]
    Database,
    /// A percent sign without two hexadecimal digits, or bytes that are no text.
    #[error("user or password is not percent-encoded as it should be")]
    Encoding,
    /// A user without a password: Redis has no such login.
    #[error("a user needs a password: redis://user:password@host, or --redis-password-file")]
    UserWithoutPassword,
    /// One in the URL, and another.
    #[error("a password in the URL or in --redis-password-file, not in both")]
    TwoPasswords,
    /// A Unix socket without an absolute path.
    #[error("redis+unix:// needs an absolute path, as in redis+unix:///run/redis.sock")]
    Path,
    /// A query or fragment, which no option of ours is in.
    #[error("must have neither ? nor #")]
    Query,
}

impl FromStr for RedisTarget {
    type Err = RedisTargetError;

    fn from_str(text: &str) -> Result<RedisTarget, RedisTargetError> {
        RedisTarget::read(text, None)
    }
}

impl RedisTarget {
    /// Reads a URL; `password` is one that was given apart from it.
    ///
    /// # Errors
    /// [`RedisTargetError`].
    pub fn read(text: &str, password: Option<SharedSecret>) -> Result<RedisTarget, RedisTargetError> {
        if let Some(path) = text.strip_prefix("redis+unix://") {
            if !path.starts_with('/') || path.len() < 2 {
                return Err(RedisTargetError::Path);
            }
            let address = Address::Unix(PathBuf::from(path));
            return Ok(RedisTarget { address, user: None, password, database: 0, is_encrypted: false, tls: None });
        }
        let (rest, is_encrypted) = match text.strip_prefix("rediss://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("redis://").ok_or(RedisTargetError::Scheme)?, false),
        };
        // The last @ ends the login: a password may hold one that was not encoded.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (login, rest),
            None => ("", rest),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisTargetError::Query);
        }
        let (host, database) = rest.split_once('/').unwrap_or((rest, "0"));
        let database = match database {
            "" => 0,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| RedisTargetError::Database)?
            }
            _ => return Err(RedisTargetError::Database),
        };
        let (user, own) = login.split_once(':').unwrap_or((login, ""));
        let user = Some(percent_decoded(user)?).filter(|user| !user.is_empty());
        let password = match (own, password) {
            ("", None) if login.is_empty() => None,
            ("", None) => return Err(RedisTargetError::UserWithoutPassword),
            ("", given) => given,
            (_, Some(_)) => return Err(RedisTargetError::TwoPasswords),
            (own, None) => Some(SharedSecret::from(&*percent_decoded(own)?)),
        };
        let address = Address::parse_tcp(host, PORT_DEFAULT)?;
        Ok(RedisTarget { address, user, password, database, is_encrypted, tls: None })
    }
}

fn percent_decoded(text: &str) -> Result<String, RedisTargetError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit =
            || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(RedisTargetError::Encoding);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).expect("two hexadecimal digits are a byte"));
    }
    String::from_utf8(decoded).map_err(|_| RedisTargetError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read() {
        let target: RedisTarget = "redis://shop:p%40ss:w@rd@cache.example:6380/3".parse().unwrap();
        assert_eq!(target.address, Address::Tcp { host: "cache.example".to_owned(), port: 6380 });
        assert_eq!(target.user.as_deref(), Some("shop"));
        assert_eq!(target.password, Some("p@ss:w@rd".into()));
        assert_eq!(target.database, 3);
        assert!(!format!("{target:?}").contains("p@ss"), "a password is never shown");
        assert!(!target.is_encrypted);
        let target: RedisTarget = "rediss://cache.example".parse().unwrap();
        assert!(target.is_encrypted && target.tls.is_none());
        let target: RedisTarget = "redis+unix:///run/redis.sock".parse().unwrap();
        assert_eq!(target.address, Address::Unix("/run/redis.sock".into()));
    }

    #[test]
    fn a_password_may_be_given_apart_from_the_url() {
        let read = |text: &str| RedisTarget::read(text, Some("of the file".into()));
        for (text, user) in
            [("redis://shop@host", Some("shop")), ("redis://shop:@host", Some("shop")), ("redis://host", None)]
        {
            let target = read(text).unwrap();
            assert_eq!((target.user.as_deref(), target.password), (user, Some("of the file".into())), "{text}");
        }
        assert_eq!(read("redis+unix:///run/redis.sock").unwrap().password, Some("of the file".into()));
        assert_eq!(read("redis://shop:hunter2@host"), Err(RedisTargetError::TwoPasswords));
    }

    /// Whatever is forgotten of a URL.
    #[test]
    fn no_piece_that_may_be_a_password_is_repeated() {
        for url in [
            "redis://u:s3cr3tX",
            "rediss://u:s3cr3tX/0",
            "redis://:s3cr3tX",
            "redis://s3cr3t!X",
            "redis://[s3cr3tX",
            "redis://[::1]s3cr3tX",
            "redis://u:p@host:s3cr3tX",
            "redis://u:p@host/s3cr3tX",
            "redis://u:p@host?s3cr3tX",
            "redis://u:%s3cr3tX@host",
            "redis+unix://s3cr3tX",
            "s3cr3tX",
        ] {
            let line = url.parse::<RedisTarget>().expect_err(url).to_string();
            assert!(!line.contains("s3cr3t"), "{url}: {line}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_repeating_it() {
        for (text, error) in [
            ("redisss://host", RedisTargetError::Scheme),
            ("127.0.0.1:6379", RedisTargetError::Scheme),
            ("redis+unix://relative", RedisTargetError::Path),
            ("redis://host/one", RedisTargetError::Database),
            ("redis://user@host", RedisTargetError::UserWithoutPassword),
            ("redis://a:%zz@host", RedisTargetError::Encoding),
            ("redis://host?db=1", RedisTargetError::Query),
        ] {
            assert_eq!(text.parse::<RedisTarget>().unwrap_err(), error, "{text}");
        }
    }
}
