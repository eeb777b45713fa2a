//! A session of PostgreSQL: its login, its lock, its name, and answers of any length.

use std::os::unix::fs::PermissionsExt;

use flux_protocol::postgres::PostgresConfig;
use flux_test_support::postgres::Server;
use flux_worker::batch::Stored;
use flux_worker::ledger::{Ledger, LedgerError, StoreError};

use crate::fixture::{MIGRATIONS, TOPIC, batch, ledger, number, order, run};

#[test]
fn passwords_go_by_scram_and_wrong_ones_are_named() {
    let server = Server::shared();
    run(async {
        let mut ledger = Ledger::connect(&server.tcp("shop", Some("pass word:@%"))).await.expect("SCRAM");
        assert_eq!(number(&mut ledger, "select 1").await, 1);
        let sql = "select current_setting('synchronous_commit') || current_setting('statement_timeout') || \
                   current_setting('lock_timeout') || current_setting('idle_in_transaction_session_timeout') || \
                   current_setting('tcp_user_timeout') || ' ' || current_setting('tcp_keepalives_idle') || ' ' || \
                   current_setting('tcp_keepalives_interval')";
        assert_eq!(ledger.query(sql, &[]).await.unwrap()[0].text(0), Some("on10s5s10s10000 5 5"));

        for (config, says) in [
            (server.tcp("shop", Some("wrong")), "password authentication failed for user \"shop\""),
            (server.tcp("shop", None), "the server asks for a password and there is none"),
            (server.tcp("nobody", Some("x")), "password authentication failed for user \"nobody\""),
            (server.tcp("clear", Some("x")), "in clear text over TCP"),
        ] {
            let Err(error) = Ledger::connect(&config).await else { panic!("{config} was let in") };
            assert!(matches!(error, LedgerError::Login { .. }) && !error.is_retryable(), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        // libpq's password file, read for each connection.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pgpass");
        let set = |text: &str, mode: u32| {
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
        };
        let mut by_file = server.tcp("shop", None);
        by_file.passfile = Some(path.clone());
        set("*:*:*:other:x\n127.0.0.1:*:*:shop:pass word\\:@%\n", 0o600);
        let mut ledger = Ledger::connect(&by_file).await.expect("its password is in the file");
        assert_eq!(number(&mut ledger, "select 1").await, 1);
        set("*:*:*:shop:wrong\n", 0o600);
        let Err(error) = Ledger::connect(&by_file).await else { panic!("let in by a wrong password") };
        assert!(error.to_string().contains("password authentication failed"), "{error}");
        set("*:*:*:shop:pass word\\:@%\n", 0o644);
        let Err(error) = Ledger::connect(&by_file).await else { panic!("a file that others may read") };
        assert!(error.to_string().contains("chmod 0600"), "{error}");
        let mut nowhere = server.database();
        nowhere.database = "nowhere".into();
        let Err(error) = Ledger::connect(&nowhere).await else { panic!("no such database") };
        assert!(error.to_string().contains("database \"nowhere\" does not exist") && !error.is_retryable(), "{error}");
        let closed = PostgresConfig::parse("postgres://x@127.0.0.1:1/x").unwrap();
        let Err(error) = Ledger::connect(&closed).await else { panic!("nobody listens there") };
        assert!(matches!(error, LedgerError::Unreachable { .. }) && error.is_retryable(), "{error}");
    });
}

#[test]
fn workers_migrate_one_at_a_time_and_never_backwards() {
    let server = Server::shared();
    run(async {
        let config = server.database();
        let mut ledgers = Vec::new();
        for _ in 0..2 {
            ledgers.push(Ledger::connect(&config).await.unwrap());
        }
        let mut second = ledgers.pop().unwrap();
        let mut first = ledgers.pop().unwrap();
        let (one, two) = monoio::join!(first.migrate(), second.migrate());
        assert_eq!(one.unwrap() + two.unwrap(), MIGRATIONS);
        let (newest, newer) = (MIGRATIONS as i32, MIGRATIONS as i32 + 1);
        let later = format!("insert into flux_schema (version, name) values ({newer}, 'of the future')");
        first.query(&later, &[]).await.unwrap();
        let error = first.migrate().await.unwrap_err();
        let is_told = |found, known| (found, known) == (newer, newest);
        assert!(matches!(error, LedgerError::NewerSchema { found, known } if is_told(found, known)), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(number(&mut first, "select count(*) from orders").await, 0, "the connection is made again");
        // A schema that is missing is nothing that waiting would mend.
        let mut empty = Ledger::connect(&server.database()).await.unwrap();
        let error = empty.store(&mut batch(0, [order(1)])).await.unwrap_err();
        assert!(matches!(error, StoreError::Fatal(_)), "{error}");
    });
}

#[test]
fn a_pinned_ledger_does_not_go_on_without_its_lock() {
    let server = Server::shared();
    run(async {
        let (mut other, config) = ledger(&server).await;
        let mut pinned = Ledger::connect_pinned(&config, Default::default()).await.unwrap();
        pinned.query("select pg_advisory_lock(1)", &[]).await.unwrap();
        let sql = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = \
                   (select oid from pg_database where datname = current_database())";
        other.query(sql, &[]).await.unwrap();
        for _ in 0..2 {
            assert!(matches!(pinned.query("select 1", &[]).await, Err(LedgerError::Lost(_))));
        }
    });
}

/// Whoever finds a session that holds locks in `pg_stat_activity` wants to know whose it is.
#[test]
fn a_session_says_that_it_is_the_workers() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        let own =
            "select count(*) from pg_stat_activity where pid = pg_backend_pid() and application_name = 'flux-worker'";
        assert_eq!(number(&mut ledger, own).await, 1);
    });
}

/// Answers larger than every socket buffer, to questions larger than every socket buffer: neither end blocks.
#[test]
fn long_answers_to_long_questions() {
    let server = Server::shared();
    run(async {
        let (mut ledger, _) = ledger(&server).await;
        ledger.claim(TOPIC, 0).await.unwrap();
        let count = 40_000;
        ledger.store(&mut batch(0, (0..count).map(order))).await.unwrap();
        let outcome = ledger.store(&mut batch(count as i64, (0..count).map(order))).await.unwrap();
        assert_eq!(outcome, Stored { duplicates: count, ..Stored::default() });
    });
}
