//! The ledger's schema: numbered files, each applied once, by one worker at a time.
//!
//! Never goes back, and never touches a schema that a newer program has made.

use std::cmp::Ordering;

use flux_protocol::postgres::Param;

use super::error::LedgerError;
use super::{Ledger, outcome};

/// All migrations, oldest first; a file's number is its place.
const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "0001_ledger", include_str!("../../sql/0001_ledger.sql")),
    (2, "0002_sale_options", include_str!("../../sql/0002_sale_options.sql")),
    (3, "0003_sale_queue", include_str!("../../sql/0003_sale_queue.sql")),
    (4, "0004_rebuilds", include_str!("../../sql/0004_rebuilds.sql")),
    (5, "0005_leader_epochs", include_str!("../../sql/0005_leader_epochs.sql")),
    (6, "0006_unfounded_returns", include_str!("../../sql/0006_unfounded_returns.sql")),
    (7, "0007_late", include_str!("../../sql/0007_late.sql")),
];

/// How many there are: what a database that had none of our tables has been migrated by.
pub const SCHEMA_VERSION: usize = MIGRATIONS.len();

/// Key of the advisory lock: "flux" in ASCII, then 1 for migrations.
const LOCK: i64 = 0x666c_7578_0000_0001;

const _: () = {
    let mut at = 0;
    while at < MIGRATIONS.len() {
        assert!(MIGRATIONS[at].0 == at as i32 + 1, "migrations are numbered from 1 without gaps");
        at += 1;
    }
};

impl Ledger {
    /// Brings the database's schema to this program's version, in one transaction. Returns how many migrations that took.
    ///
    /// # Errors
    /// [`LedgerError::NewerSchema`] where a newer program was here; a retryable error where another worker is just
    /// migrating for longer than the lock timeout. Nothing was changed, or where the connection was lost perhaps all.
    pub async fn migrate(&mut self) -> Result<usize, LedgerError> {
        self.text("BEGIN").await?;
        let applied = self.migrate_in_transaction().await;
        match applied {
            Ok(applied) => {
                self.text("COMMIT").await?;
                Ok(applied)
            }
            Err(error) => {
                // The connection goes, and the transaction with it.
                self.disconnect();
                Err(error)
            }
        }
    }

    async fn migrate_in_transaction(&mut self) -> Result<usize, LedgerError> {
        self.query("SELECT pg_advisory_xact_lock($1)", &[Param::I64(LOCK)]).await?;
        // Looked for, not IF NOT EXISTS: a role that may not create tables can work with a schema that is there.
        let there = self.query("SELECT to_regclass('flux_schema') IS NOT NULL", &[]).await?;
        if there.first().and_then(|row| row.text(0)) != Some("t") {
            self.text(
                "CREATE TABLE flux_schema (version integer PRIMARY KEY, name text NOT NULL, \
                 applied_at timestamptz NOT NULL DEFAULT now())",
            )
            .await?;
        }
        let (found, known) = (self.schema_version().await?, MIGRATIONS.len() as i32);
        if found > known {
            return Err(LedgerError::NewerSchema { found, known });
        }
        let missing = &MIGRATIONS[found as usize..];
        for (version, name, sql) in missing {
            self.text(sql).await?;
            let params = [Param::I32(*version), Param::Text((*name).to_owned())];
            self.query("INSERT INTO flux_schema (version, name) VALUES ($1, $2)", &params).await?;
        }
        Ok(missing.len())
    }

    async fn schema_version(&mut self) -> Result<i32, LedgerError> {
        let rows = self.query("SELECT coalesce(max(version), 0) FROM flux_schema", &[]).await?;
        rows.first().and_then(|row| row.get(0)).ok_or(LedgerError::Unexpected("no version"))
    }

    /// Whether the schema is this program's, for a command that migrates nothing: before it has changed anything anywhere.
    ///
    /// # Errors
    /// [`LedgerError::OlderSchema`] or [`LedgerError::NewerSchema`] where it is not.
    pub async fn check_schema(&mut self) -> Result<(), LedgerError> {
        let (found, known) = (self.schema_version().await?, MIGRATIONS.len() as i32);
        match found.cmp(&known) {
            Ordering::Less => Err(LedgerError::OlderSchema { found, known }),
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(LedgerError::NewerSchema { found, known }),
        }
    }

    pub(super) async fn text(&mut self, sql: &str) -> Result<(), LedgerError> {
        let reply = self.connection().await?.ask_text(sql).await;
        self.checked(reply).and_then(outcome).map(drop)
    }
}
