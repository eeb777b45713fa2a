//! What a statement fails with, as ErrorResponse says it.

/// An error of the server (PostgreSQL documentation, appendix A).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// Five characters.
    pub code: [u8; 5],
    /// Field `M`.
    pub message: String,
    /// Field `t`; empty where no table is concerned.
    pub table: &'static str,
    /// Field `n`; empty where no constraint is concerned.
    pub constraint: String,
    /// Whether the session ends with it.
    pub is_fatal: bool,
    /// Whether it is not PostgreSQL's answer but ours: something was asked that this fake does not know.
    pub is_stranger: bool,
}

impl SqlError {
    pub(super) fn new(code: &[u8; 5], message: impl Into<String>) -> SqlError {
        SqlError {
            code: *code,
            message: message.into(),
            table: "",
            constraint: String::new(),
            is_fatal: false,
            is_stranger: false,
        }
    }

    pub(super) fn fatal(code: &[u8; 5], message: impl Into<String>) -> SqlError {
        SqlError { is_fatal: true, ..SqlError::new(code, message) }
    }

    /// What this fake does not know. Never guessed at: a run that meets it proves nothing.
    pub(super) fn stranger(what: impl Into<String>) -> SqlError {
        SqlError { is_stranger: true, ..SqlError::new(b"XX000", what) }
    }

    pub(super) fn duplicate(table: &'static str) -> SqlError {
        let constraint = format!("{table}_pkey");
        let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
        SqlError { table, constraint, ..SqlError::new(b"23505", message) }
    }

    pub(super) fn check(table: &'static str, constraint: &str) -> SqlError {
        let message = format!("new row for relation \"{table}\" violates check constraint \"{constraint}\"");
        SqlError { table, constraint: constraint.to_owned(), ..SqlError::new(b"23514", message) }
    }

    pub(super) fn not_null(table: &'static str, column: &str) -> SqlError {
        let message = format!("null value in column \"{column}\" of relation \"{table}\" violates not-null constraint");
        SqlError { table, ..SqlError::new(b"23502", message) }
    }

    pub(super) fn out_of_range(kind: &str) -> SqlError {
        SqlError::new(b"22003", format!("{kind} out of range"))
    }

    /// ON CONFLICT DO UPDATE met a row that the same statement has written.
    pub(super) fn second_time() -> SqlError {
        SqlError::new(b"21000", "ON CONFLICT DO UPDATE command cannot affect row a second time")
    }
}
