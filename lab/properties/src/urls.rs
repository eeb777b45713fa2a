//! Addresses and logins as an operator writes them: parts survive being written into a URL, none is shown that is a secret, and
//! nothing panics.

use flux_net::redis_target::RedisTarget;
use flux_protocol::postgres::{PostgresConfig, pass_file};

use crate::input::Input;

/// User, password, database and host; then any text as a URL, and as a password file.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (user, password, database) = (input.piece(20), input.piece(20), input.piece(20));
    let port = 1 + (input.number() % 65_535) as u16;
    parts(user, password, database, port);
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    for scheme in ["", "postgres://", "postgresql://"] {
        if let Ok(config) = PostgresConfig::parse(&format!("{scheme}{text}")) {
            assert!(config.port > 0 && !config.user.is_empty() && !config.database.is_empty());
            assert!(!format!("{}{}", config.user, config.database).contains('\0'));
            let _ = pass_file::find(text, &config);
            let _ = (config.socket_path(), config.to_string());
        }
    }
    for scheme in ["", "redis://", "rediss://", "redis+unix://", "postgres://"] {
        // The host may have been forgotten, too.
        for login in ["", SECRET_LOGIN, SECRET_LOGIN.trim_end_matches('@')] {
            let url = format!("{scheme}{login}{text}");
            let redis = match url.parse::<RedisTarget>() {
                Ok(target) => format!("{target:?}"),
                Err(error) => error.to_string(),
            };
            let postgres = match PostgresConfig::parse(&url) {
                Ok(config) => format!("{config:?}"),
                Err(error) => error.to_string(),
            };
            // On the path of a Unix socket nothing is a password, and a text may hold any word by itself.
            let is_elsewhere = url.starts_with("redis+unix") || text.contains(SECRET);
            assert!(is_elsewhere || !format!("{redis}{postgres}").contains(SECRET), "{redis} {postgres}");
        }
    }
}

const SECRET: &str = "a-secret-of-ours";
const SECRET_LOGIN: &str = "shop:a-secret-of-ours@";

fn parts(user: &[u8], password: &[u8], database: &[u8], port: u16) {
    let (Ok(user), Ok(password), Ok(database)) =
        (std::str::from_utf8(user), std::str::from_utf8(password), std::str::from_utf8(database))
    else {
        return;
    };
    let url = format!("postgres://{}:{}@db:{port}/{}", encoded(user), encoded(password), encoded(database));
    let has_nul = [user, password, database].iter().any(|part| part.contains('\0'));
    match PostgresConfig::parse(&url) {
        Ok(config) => {
            let named = if user.is_empty() { "postgres" } else { user };
            let database = if database.is_empty() { named } else { database };
            assert_eq!((&*config.user, &*config.database, config.port), (named, database, port));
            let found = config.password.as_ref().map(|its| its.get().expose().to_owned());
            assert_eq!(found.as_deref(), Some(password));
            let without = format!("postgres://{named}@db:{port}/{database}");
            for shown in [config.to_string(), format!("{config:?}")] {
                assert!(without.contains(password) || !shown.contains(password), "{shown}");
            }
        }
        Err(error) => assert!(has_nul, "{url}: {error}"),
    }
    let url = format!("redis://{}:{}@cache:{port}/3", encoded(user), encoded(password));
    match url.parse::<RedisTarget>() {
        Ok(target) => {
            assert_eq!(target.user.as_deref().unwrap_or_default(), user);
            let found = target.password.as_ref().map(|its| its.get().expose().to_owned());
            assert_eq!(found.as_deref().unwrap_or_default(), password);
            assert_eq!(target.database, 3);
            let shown = format!("{target:?}");
            // A password may be what the user's name looks like there.
            let is_a_name = format!("{user:?}").contains(password);
            assert!(password.len() < 8 || is_a_name || !shown.contains(password), "{shown}");
        }
        // Redis has no login of a user without a password.
        Err(error) => assert!(password.is_empty(), "{url}: {error}"),
    }
}

/// Percent-encoded (RFC 3986 section 2.1), all of it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
