//! What the server says went wrong, and what kind of wrong it is (PostgreSQL documentation, appendix A).
//!
//! Only classifies. What a caller does about a class (again, differently, not at all) is decided elsewhere.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

use super::wire::WireError;

/// Longest text kept of one field of an error, in bytes: a server quotes whole rows in `detail`.
const FIELD_BYTES_MAX: usize = 1024;

/// A five-character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

/// How bad the server says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection stands.
    Error,
    /// The connection ends (FATAL), or the whole server does (PANIC).
    Fatal,
    /// Not an error: WARNING, NOTICE, INFO, LOG, DEBUG.
    Notice,
}

/// What kind of error a SQLSTATE is, by what it asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Another transaction was in the way (deadlock, serialization): the same again, in a steadier order.
    Conflict,
    /// The server or its surroundings are not able just now: the same again, later.
    Retryable,
    /// Cancelled: by `statement_timeout`, or by an operator. Less of it, later.
    Canceled,
    /// The disk is full: the same again, later, and an operator should know.
    DiskFull,
    /// A unique key exists (23505).
    Duplicate,
    /// A check, not-null, foreign key or exclusion constraint refused the row.
    Constraint,
    /// A value cannot be stored as it is (class 22, or a limit of the program, class 54).
    Data,
    /// The role, its password or the database is refused: nothing that waiting would mend.
    Login,
    /// Anything else: a missing table, a syntax error, a missing privilege, corruption.
    Other,
}

impl SqlState {
    /// Kind of error it stands for.
    pub fn class(self) -> ErrorClass {
        match &self.0 {
            b"40001" | b"40P01" => ErrorClass::Conflict,
            b"53100" => ErrorClass::DiskFull,
            b"23505" => ErrorClass::Duplicate,
            b"57014" => ErrorClass::Canceled,
            // Lock not available; the two timeouts that end a session; the transaction was rolled back by the server; a
            // server that became a standby; an I/O error.
            b"55P03" | b"25P03" | b"25P04" | b"25006" | b"58030" => ErrorClass::Retryable,
            b"3D000" => ErrorClass::Login,
            code if code.starts_with(b"57P") || code.starts_with(b"40") => ErrorClass::Retryable,
            code => match &code[..2] {
                b"53" | b"08" => ErrorClass::Retryable,
                b"23" => ErrorClass::Constraint,
                b"22" | b"54" => ErrorClass::Data,
                b"28" => ErrorClass::Login,
                _ => ErrorClass::Other,
            },
        }
    }

    /// Its five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("letters and digits by construction")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An ErrorResponse or a NoticeResponse. Texts are cut to a kilobyte and hold no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Field `V`.
    pub severity: Severity,
    /// Field `C`.
    pub code: SqlState,
    /// Field `M`.
    pub message: String,
    /// Field `D`; empty where there is none. Not in `Display`: it quotes values.
    pub detail: String,
    /// Field `n`: the constraint concerned; empty where there is none.
    pub constraint: String,
    /// Field `t`: the table concerned; empty where there is none.
    pub table: String,
    /// Field `W`: where it happened, as the line of a COPY; empty where there is none.
    pub context: String,
}

impl ServerError {
    /// Kind of error.
    pub fn class(&self) -> ErrorClass {
        self.code.class()
    }

    pub(super) fn read(mut fields: ErrorFields<'_>) -> Result<ServerError, WireError> {
        let mut error = ServerError {
            severity: Severity::Error,
            code: SqlState(*b"XX000"),
            message: String::new(),
            detail: String::new(),
            constraint: String::new(),
            table: String::new(),
            context: String::new(),
        };
        let mut code = None;
        while let Some(field) = fields.next().map_err(|_| WireError::Malformed("error fields"))? {
            let value = field.value_bytes();
            match field.type_() {
                b'V' => error.severity = severity(value),
                b'C' => {
                    code = <[u8; 5]>::try_from(value).ok().filter(|code| code.iter().all(u8::is_ascii_alphanumeric))
                }
                b'M' => error.message = clean(value),
                b'D' => error.detail = clean(value),
                b'n' => error.constraint = clean(value),
                b't' => error.table = clean(value),
                b'W' => error.context = clean(value),
                // Position, source file, routine and fields yet to be invented: "unrecognized types are to be ignored".
                _ => {}
            }
        }
        error.code = SqlState(code.ok_or(WireError::Malformed("error without a SQLSTATE"))?);
        Ok(error)
    }
}

fn severity(value: &[u8]) -> Severity {
    match value {
        b"ERROR" => Severity::Error,
        b"FATAL" | b"PANIC" => Severity::Fatal,
        _ => Severity::Notice,
    }
}

/// Text fit for one log line: invalid UTF-8 and control characters replaced, cut at [`FIELD_BYTES_MAX`].
fn clean(value: &[u8]) -> String {
    let cut = &value[..value.len().min(FIELD_BYTES_MAX)];
    String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {}", self.message, self.code.as_str())?;
        if !self.constraint.is_empty() {
            write!(f, ", constraint {}", self.constraint)?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for ServerError {}

/// The number at the end of a CommandComplete tag: rows written, updated or read; 0 for tags without one.
pub(super) fn rows_of_tag(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_code() {
        for (code, class) in [
            (b"40001", ErrorClass::Conflict),
            (b"40P01", ErrorClass::Conflict),
            (b"55P03", ErrorClass::Retryable),
            (b"57014", ErrorClass::Canceled),
            (b"57P01", ErrorClass::Retryable),
            (b"57P02", ErrorClass::Retryable),
            (b"57P03", ErrorClass::Retryable),
            (b"53300", ErrorClass::Retryable),
            (b"53200", ErrorClass::Retryable),
            (b"08006", ErrorClass::Retryable),
            (b"25006", ErrorClass::Retryable),
            (b"53100", ErrorClass::DiskFull),
            (b"23505", ErrorClass::Duplicate),
            (b"23514", ErrorClass::Constraint),
            (b"22021", ErrorClass::Data),
            (b"22P03", ErrorClass::Data),
            (b"54000", ErrorClass::Data),
            (b"28P01", ErrorClass::Login),
            (b"3D000", ErrorClass::Login),
            (b"42P01", ErrorClass::Other),
            (b"XX001", ErrorClass::Other),
        ] {
            assert_eq!(SqlState(*code).class(), class, "{:?}", SqlState(*code));
        }
    }

    #[test]
    fn a_tag_ends_in_its_number() {
        for (tag, rows) in [("COPY 5000", 5000), ("INSERT 0 3", 3), ("UPDATE 0", 0), ("BEGIN", 0), ("", 0)] {
            assert_eq!(rows_of_tag(tag), rows);
        }
    }
}
