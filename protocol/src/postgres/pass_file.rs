//! PostgreSQL's password file, as libpq reads it: a line each, `host:port:database:user:password`, `*` for any, `\` before a colon
//! or a backslash that is part of a field. The first line that fits counts.
//!
//! Never reads the file itself.

use super::config::{Host, PostgresConfig};
use crate::secret::Secret;

/// libpq's name for a Unix socket in its default directory.
const LOCALHOST: &str = "localhost";

/// The password of the first line that fits where `config` goes and as whom.
pub fn find(text: &str, config: &PostgresConfig) -> Option<Secret> {
    let port = config.port.to_string();
    let (host, is_socket) = match &config.host {
        Host::Tcp(host) => (host.clone(), false),
        Host::Unix(directory) => (directory.display().to_string(), true),
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(fields).find_map(|[its_host, its_port, database, user, password]| {
        let is = |field: &str, wanted: &str| field == "*" || field == wanted;
        let is_host = is(&its_host, &host) || (is_socket && its_host == LOCALHOST);
        let fits = is_host && is(&its_port, &port) && is(&database, &config.database) && is(&user, &config.user);
        (fits && !password.is_empty()).then(|| Secret::new(&password))
    })
}

/// The password is what is left, colons of it too.
fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields: [String; 5] = Default::default();
    let mut at = 0;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => fields[at].push(letters.next().unwrap_or('\\')),
            ':' if at < 4 => at += 1,
            letter => fields[at].push(letter),
        }
    }
    (at == 4).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# a remark\nnonsense\ndb:5432:flux:shop:first\n*:*:flux:shop:a\\:b\\\\c:d\n*:*:*:*:any\n";
        let found = |url: &str| find(text, &PostgresConfig::parse(url).unwrap()).map(|its| its.expose().to_owned());
        assert_eq!(found("postgres://shop@db/flux").as_deref(), Some("first"));
        assert_eq!(found("postgres://shop@db:5433/flux").as_deref(), Some("a:b\\c:d"));
        assert_eq!(found("postgres://other@db/flux").as_deref(), Some("any"));
        assert_eq!(find("db:5432:flux:shop:x\n", &PostgresConfig::parse("postgres://other@db/flux").unwrap()), None);
        assert_eq!(find("db:5432:flux:shop:\n", &PostgresConfig::parse("postgres://shop@db/flux").unwrap()), None);
    }

    #[test]
    fn a_socket_is_named_by_its_directory_or_localhost() {
        let config = PostgresConfig::parse("postgres://shop@/flux?host=/run/pg").unwrap();
        for host in ["/run/pg", "localhost", "*"] {
            let line = format!("{host}:5432:flux:shop:secret");
            assert_eq!(find(&line, &config), Some(Secret::new("secret")), "{host}");
        }
        assert_eq!(find("db:5432:flux:shop:secret", &config), None);
    }
}
