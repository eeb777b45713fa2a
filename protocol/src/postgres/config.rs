//! Where PostgreSQL is, and as which user to log in: `postgres://user:password@host:port/db`, `?host=/socket/dir`, and
//! what is asked of TLS ([`super::tls`]).
//!
//! Never resolves a name and never reads a file: what is not in the URL is the default written here.

use std::fmt;
use std::path::{Path, PathBuf};

use super::tls::{ChannelBinding, PostgresTls, SslMode};
use crate::secret::SharedSecret;

/// The port where none is named.
pub(super) const PORT_DEFAULT: u16 = 5432;
const USER_DEFAULT: &str = "postgres";
const HOST_DEFAULT: &str = "127.0.0.1";

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an address, to be reached by TCP.
    Tcp(String),
    /// The directory in which the server keeps its Unix socket `.s.PGSQL.<port>`.
    Unix(PathBuf),
}

/// A validated connection URL. The password is in neither `Debug` nor `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Where the server listens.
    pub host: Host,
    /// TCP port, or the number in the Unix socket's name.
    pub port: u16,
    /// The role that logs in.
    pub user: String,
    /// Its password, where the server asks for one.
    pub password: Option<SharedSecret>,
    /// libpq's password file (`passfile=`), read whenever a connection begins; a password that is given wins.
    pub passfile: Option<PathBuf>,
    /// The database.
    pub database: String,
    /// Where to connect to in place of the host (libpq's `hostaddr`): the host is then only the name in its certificate.
    pub host_address: Option<String>,
    /// What is asked of TLS.
    pub tls: PostgresTls,
}

/// Parameters of libpq's that are not taken: named where one is given. Others are not, since a `?` that stands unencoded in a
/// password makes a parameter of the rest of it.
const NOT_TAKEN: [&str; 15] = [
    "application_name",
    "client_encoding",
    "connect_timeout",
    "gssencmode",
    "keepalives",
    "load_balance_hosts",
    "options",
    "replication",
    "require_auth",
    "service",
    "sslcompression",
    "sslcrl",
    "ssl_min_protocol_version",
    "sslnegotiation",
    "target_session_attrs",
];

/// Why a URL is refused: one line, without any piece of it that may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither `postgres://` nor `postgresql://`.
    #[error("a PostgreSQL URL begins with postgres://")]
    Scheme,
    /// No mode of libpq's.
    #[error("sslmode must be disable, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// No mode of libpq's.
    #[error("channel_binding must be disable, prefer or require")]
    ChannelBinding,
    /// Something is asked of TLS that there will not be, or not for certain.
    #[error("{0} needs sslmode=require, verify-ca or verify-full")]
    NeedsTls(&'static str),
    /// TLS was asked for on a Unix socket.
    #[error("a Unix socket has no TLS: leave sslmode out, or name the host")]
    TlsOnSocket,
    /// One of two files.
    #[error("sslcert and sslkey belong together")]
    HalfIdentity,
    /// Several hosts, as libpq would take.
    #[error("one PostgreSQL host, not a list")]
    SeveralHosts,
    /// A parameter of libpq's that has no meaning here; silently ignoring it could mean ignoring a safeguard.
    #[error("the parameter `{0}` of a PostgreSQL URL is not taken")]
    Parameter(&'static str),
    /// No parameter of libpq's.
    #[error("an unknown parameter in the PostgreSQL URL (in a password ? is written %3F)")]
    UnknownParameter,
    /// A part that cannot be what it should be.
    #[error("the PostgreSQL URL's {0} is not valid")]
    Part(&'static str),
}

impl PostgresConfig {
    /// Parses a connection URL.
    ///
    /// # Errors
    /// [`ConfigError`] names the part that is wrong; nothing was contacted.
    pub fn parse(url: &str) -> Result<PostgresConfig, ConfigError> {
        let rest =
            url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")).ok_or(ConfigError::Scheme)?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        // The rest of a password with an unencoded slash, and the host behind it.
        if database.contains('@') {
            return Err(ConfigError::Part("database"));
        }
        let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let (host, port) = split_address(address)?;
        let mut parsed = Parts {
            user: text(user, "user")?,
            password: password.map(|password| text(password, "password")).transpose()?,
            host: text(host, "host")?,
            port: text(port, "port")?,
            database: text(database, "database")?,
            ..Parts::default()
        };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            parsed.apply(name, text(value, "parameter")?)?;
        }
        parsed.finish()
    }

    /// The Unix socket's path, where it is one.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Unix(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
            Host::Tcp(_) => None,
        }
    }
}

#[derive(Default)]
struct Parts {
    user: String,
    password: Option<String>,
    host: String,
    port: String,
    database: String,
    passfile: Option<PathBuf>,
    host_address: Option<String>,
    ssl_mode: Option<SslMode>,
    root_certificate: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    channel_binding: ChannelBinding,
}

impl Parts {
    fn apply(&mut self, name: &str, value: String) -> Result<(), ConfigError> {
        match name {
            "host" => self.host = value,
            "port" => self.port = value,
            "user" => self.user = value,
            "passfile" => self.passfile = Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty()),
            "password" => self.password = Some(value),
            "dbname" => self.database = value,
            "hostaddr" => self.host_address = Some(value),
            "sslmode" => self.ssl_mode = Some(value.parse().map_err(|_| ConfigError::SslMode)?),
            "sslrootcert" => self.root_certificate = Some(value.into()),
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            "channel_binding" => {
                self.channel_binding = value.parse().map_err(|_| ConfigError::ChannelBinding)?;
            }
            _ => {
                let known = NOT_TAKEN.into_iter().find(|known| *known == name);
                return Err(known.map_or(ConfigError::UnknownParameter, ConfigError::Parameter));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<PostgresConfig, ConfigError> {
        let tls = self.tls()?;
        let user = if self.user.is_empty() { USER_DEFAULT.to_owned() } else { self.user };
        let host = match self.host {
            host if host.starts_with('/') => Host::Unix(Path::new(&host).to_owned()),
            host if host.contains(',') => return Err(ConfigError::SeveralHosts),
            host if host.is_empty() => Host::Tcp(HOST_DEFAULT.to_owned()),
            host if host.contains(char::is_whitespace) => return Err(ConfigError::Part("host")),
            host => Host::Tcp(host),
        };
        let port = match &*self.port {
            "" => PORT_DEFAULT,
            digits => {
                let port = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
                port.filter(|port| *port != 0).ok_or(ConfigError::Part("port"))?
            }
        };
        // As libpq has it: a database named after its user.
        let database = if self.database.is_empty() { user.clone() } else { self.database };
        if matches!(host, Host::Unix(_)) && tls.mode != SslMode::Disable {
            return Err(ConfigError::TlsOnSocket);
        }
        let host_address = self.host_address.filter(|address| !address.is_empty());
        if host_address.as_ref().is_some_and(|address| address.parse::<std::net::IpAddr>().is_err()) {
            return Err(ConfigError::Part("hostaddr"));
        }
        let password = self.password.as_deref().map(SharedSecret::from);
        Ok(PostgresConfig { host, port, user, password, passfile: self.passfile, database, host_address, tls })
    }

    /// What is asked of TLS, and could not be had, is refused: who asks for it means it.
    fn tls(&mut self) -> Result<PostgresTls, ConfigError> {
        let mode = self.ssl_mode.unwrap_or_default();
        let is_certain = matches!(mode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull);
        let identity = match (self.certificate.take(), self.key.take()) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(ConfigError::HalfIdentity),
        };
        let root_certificate = self.root_certificate.take();
        for (is_asked, name) in [
            (root_certificate.is_some(), "sslrootcert"),
            (identity.is_some(), "sslcert"),
            (self.channel_binding == ChannelBinding::Require, "channel_binding=require"),
        ] {
            if is_asked && !is_certain {
                return Err(ConfigError::NeedsTls(name));
            }
        }
        Ok(PostgresTls { mode, root_certificate, identity, channel_binding: self.channel_binding })
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; the port is empty where there is none.
fn split_address(address: &str) -> Result<(&str, &str), ConfigError> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(ConfigError::Part("host"))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if rest.is_empty() => Ok((host, "")),
            None => Err(ConfigError::Part("host")),
        };
    }
    if address.contains(',') {
        return Err(ConfigError::SeveralHosts);
    }
    match address.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(ConfigError::Part("host")),
        Some(both) => Ok(both),
        None => Ok((address, "")),
    }
}

/// Percent-decodes (RFC 3986 section 2.1). A NUL could end a C string early in the start-up message: refused.
fn text(encoded: &str, part: &'static str) -> Result<String, ConfigError> {
    let wrong = ConfigError::Part(part);
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => decoded.push((high * 16 + low) as u8),
            _ => return Err(wrong),
        }
    }
    match String::from_utf8(decoded) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(wrong),
    }
}

impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => {
                write!(f, "postgres://{}@[{host}]:{}/{}", self.user, self.port, self.database)
            }
            Host::Tcp(host) => write!(f, "postgres://{}@{host}:{}/{}", self.user, self.port, self.database),
            Host::Unix(directory) => {
                write!(f, "postgres://{}@/{}?host={}&port={}", self.user, self.database, directory.display(), self.port)
            }
        }
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> PostgresConfig {
        PostgresConfig::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn reads_every_part() {
        let config = parse("postgres://shop:s%3Acr%40t@db.example:6432/flux");
        assert_eq!(config.host, Host::Tcp("db.example".into()));
        assert_eq!((config.port, &*config.user, &*config.database), (6432, "shop", "flux"));
        assert_eq!(config.password, Some("s:cr@t".into()));
    }

    #[test]
    fn fills_in_what_is_left_out() {
        let config = parse("postgresql://");
        assert_eq!(config.host, Host::Tcp("127.0.0.1".into()));
        assert_eq!((config.port, &*config.user, &*config.database), (5432, "postgres", "postgres"));
        assert_eq!(config.password, None);
        assert_eq!(parse("postgres://shop@db").database, "shop");
        assert_eq!(parse("postgres://[::1]:5433/flux").host, Host::Tcp("::1".into()));
    }

    #[test]
    fn takes_a_socket_directory() {
        for url in ["postgres://shop@/flux?host=/run/pg&port=5433", "postgres://shop@%2Frun%2Fpg:5433/flux"] {
            let config = parse(url);
            assert_eq!(config.host, Host::Unix("/run/pg".into()));
            assert_eq!(config.socket_path(), Some("/run/pg/.s.PGSQL.5433".into()));
        }
        assert_eq!(parse("postgres://db").socket_path(), None);
    }

    #[test]
    fn reads_what_is_asked_of_tls() {
        let mode = |text: &str| parse(&format!("postgres://db/flux?sslmode={text}")).tls.mode;
        assert_eq!(parse("postgres://db/flux").tls, PostgresTls::default());
        assert_eq!(
            ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"].map(mode),
            [
                SslMode::Disable,
                SslMode::Disable,
                SslMode::Prefer,
                SslMode::Require,
                SslMode::VerifyCa,
                SslMode::VerifyFull
            ]
        );
        let config = parse(
            "postgres://db/flux?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem&\
             channel_binding=require&hostaddr=10.0.0.7",
        );
        assert_eq!((config.host, config.host_address.as_deref()), (Host::Tcp("db".into()), Some("10.0.0.7")));
        assert_eq!(
            config.tls,
            PostgresTls {
                mode: SslMode::VerifyFull,
                root_certificate: Some("/ca.pem".into()),
                identity: Some(("/c.pem".into(), "/k.pem".into())),
                channel_binding: ChannelBinding::Require,
            }
        );
    }

    #[test]
    fn refuses_what_could_only_be_done_by_halves() {
        for (parameters, error) in [
            ("sslmode=verify", ConfigError::SslMode),
            ("channel_binding=maybe", ConfigError::ChannelBinding),
            ("sslrootcert=/ca.pem", ConfigError::NeedsTls("sslrootcert")),
            ("sslmode=prefer&sslrootcert=/ca.pem", ConfigError::NeedsTls("sslrootcert")),
            ("sslmode=prefer&channel_binding=require", ConfigError::NeedsTls("channel_binding=require")),
            ("sslcert=/c.pem&sslkey=/k.pem", ConfigError::NeedsTls("sslcert")),
            ("sslmode=require&sslcert=/c.pem", ConfigError::HalfIdentity),
            ("sslmode=require&host=/run/pg", ConfigError::TlsOnSocket),
            ("hostaddr=db2", ConfigError::Part("hostaddr")),
        ] {
            let found = PostgresConfig::parse(&format!("postgres://db/flux?{parameters}")).unwrap_err();
            assert_eq!(found, error, "{parameters}");
            assert!(!found.to_string().contains('\n'));
        }
    }

    #[test]
    fn takes_a_password_file() {
        let config = parse("postgres://shop@db/flux?passfile=/run/secrets/pgpass");
        assert_eq!((config.passfile, config.password), (Some("/run/secrets/pgpass".into()), None));
        assert_eq!(parse("postgres://shop@db/flux?passfile=").passfile, None);
    }

    #[test]
    fn names_what_is_wrong() {
        for (url, error) in [
            ("mysql://db", ConfigError::Scheme),
            ("postgres://db:0", ConfigError::Part("port")),
            ("postgres://db:65536", ConfigError::Part("port")),
            ("postgres://db:+1", ConfigError::Part("port")),
            ("postgres://::1/flux", ConfigError::Part("host")),
            ("postgres://[::1", ConfigError::Part("host")),
            ("postgres://[::1]x", ConfigError::Part("host")),
            ("postgres://a b/flux", ConfigError::Part("host")),
            ("postgres://a,b/flux", ConfigError::SeveralHosts),
            ("postgres://db/flux?host=a,b", ConfigError::SeveralHosts),
            ("postgres://us%0er%00:x@db", ConfigError::Part("user")),
            ("postgres://user:%zz@db", ConfigError::Part("password")),
            ("postgres://db/%ff", ConfigError::Part("database")),
            ("postgres://db/flux?sslcompression=1", ConfigError::Parameter("sslcompression")),
            ("postgres://db/flux?sslcompresssion=1", ConfigError::UnknownParameter),
            ("postgres://u:1/p@db/flux", ConfigError::Part("database")),
        ] {
            assert_eq!(PostgresConfig::parse(url), Err(error), "{url}");
        }
    }

    /// Whatever is forgotten of a URL, or stands unencoded in its password.
    #[test]
    fn repeats_no_piece_that_may_be_a_password() {
        for url in [
            "postgres://u:s3cr3tX",
            "postgres://u:s3cr3tX/flux",
            "postgres://u:s3cr3t,X/flux",
            "postgres://u:pa?s3cr3tX@db/flux",
            "postgres://u:pa?s3cr3tX=y@db/flux",
            "postgres://u:12/s3cr3tX@db/flux",
            "postgres://u:[s3cr3tX/flux",
            "postgres://u:%s3cr3tX@db/flux",
            "postgres://db/flux?host=s3cr3tX,b",
            "s3cr3tX",
        ] {
            let line = PostgresConfig::parse(url).expect_err(url).to_string();
            assert!(!line.contains("s3cr3t"), "{url}: {line}");
        }
    }

    #[test]
    fn never_shows_the_password() {
        for url in [
            "postgres://shop:hunter2@db/flux",
            "postgres://shop:hunter2@/flux?host=/run",
            "postgres://[::1]/x?password=hunter2",
        ] {
            let config = parse(url);
            assert!(!format!("{config} {config:?}").contains("hunter2"));
            assert_eq!(PostgresConfig { password: None, ..config.clone() }, parse(&config.to_string()));
        }
    }
}
