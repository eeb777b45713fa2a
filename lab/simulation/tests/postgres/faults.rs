//! What can be made to go wrong, as the client sees it; and that one seed is one run.

use std::time::Duration;

use bytes::BytesMut;
use flux_protocol::postgres::{Param, PostgresConfig, Session, SessionOptions, StatementLimit, TransactionStatus};
use flux_protocol::time::Now;
use flux_simulation::peer::{Peer, SocketId};
use flux_simulation::postgres::{CommitFault, PORT, Pace};
use flux_simulation::random::Random;

use crate::client::{Answer, Server};
use crate::differential::migrated;
use crate::fake::Fake;
use crate::words::*;

fn code(answer: &Answer) -> &str {
    answer.failed.as_ref().map_or("", |(code, ..)| code)
}

fn offsets(fake: &Fake) -> Vec<i64> {
    fake.server.offsets().map(|row| row.next_offset).collect()
}

#[test]
fn a_commit_whose_answer_is_lost_is_carried_out() {
    let mut fake = migrated(1);
    fake.ask(0, &[claim(0)]);
    fake.ask(0, &[begin(), fence(0, 0, 5)]);
    fake.server.fail_next_commit(CommitFault::AnswerLost);
    let answer = fake.ask(0, &[commit()]);
    assert_eq!((answer.completed.len(), answer.ended.as_deref()), (0, Some("closed")));
    assert_eq!(offsets(&fake), [5]);
    assert!(!fake.server.has_faults_to_come());
}

#[test]
fn a_commit_that_never_arrives_is_undone() {
    let mut fake = migrated(1);
    fake.ask(0, &[claim(0)]);
    fake.ask(0, &[begin(), fence(0, 0, 5)]);
    fake.server.fail_next_commit(CommitFault::NeverArrives);
    let answer = fake.ask(0, &[commit()]);
    assert_eq!((answer.completed.len(), answer.ended.as_deref()), (0, Some("closed")));
    assert_eq!(offsets(&fake), [0]);
    // A commit at a Sync too: its rows were sent before, and what they say is not so.
    fake.server.fail_next_commit(CommitFault::NeverArrives);
    let client = fake.connect();
    assert!(fake.ask(client, &[claim(1)]).ended.is_some());
    assert_eq!(offsets(&fake), [0]);
}

#[test]
fn a_statement_fails_as_it_is_told() {
    let mut fake = migrated(1);
    fake.server.fail_next_statement(Some("copy_orders"), *b"53100");
    let answer = fake.ask(0, &[begin(), claim(0), copy(&[Row::new(1)]), commit()]);
    assert_eq!((answer.completed.len(), code(&answer), answer.status), (2, "53100", Some(TransactionStatus::Failed)));
    assert_eq!(code(&fake.ask(0, &[claim(0)])), "25P02");
    assert_eq!(fake.ask(0, &[rollback()]).status, Some(TransactionStatus::Idle));
    // A COMMIT that fails has ended its transaction.
    fake.server.fail_next_statement(Some("commit"), *b"40001");
    let answer = fake.ask(0, &[begin(), claim(0), commit()]);
    assert_eq!((code(&answer), answer.status), ("40001", Some(TransactionStatus::Idle)));
    fake.server.fail_next_statement(None, *b"57P01");
    let answer = fake.ask(0, &[claim(0)]);
    assert!(answer.ended.is_some_and(|why| why.contains("57P01")));
    assert_eq!(offsets(&fake), [0; 0]);
}

#[test]
fn a_full_disk_and_a_standby_refuse_writes() {
    let mut fake = migrated(1);
    fake.ask(0, &[claim(0)]);
    fake.server.set_disk_full(true);
    assert_eq!(code(&fake.ask(0, &[claim(0)])), "53100");
    assert_eq!(code(&fake.ask(0, &[read_offset(0)])), "");
    fake.server.set_disk_full(false);
    fake.server.set_standby(true);
    assert_eq!(code(&fake.ask(0, &[claim(0)])), "25006");
    assert_eq!(code(&fake.ask(0, &[read_offset(0)])), "25006");
    assert_eq!(code(&fake.ask(0, &[literal("SELECT DISTINCT product_id FROM sales")])), "");
    fake.server.set_standby(false);
    assert_eq!(code(&fake.ask(0, &[claim(0)])), "");
}

#[test]
fn a_server_that_is_stopped_keeps_what_was_committed() {
    let mut fake = migrated(1);
    fake.ask(0, &[claim(0)]);
    fake.ask(0, &[begin(), fence(0, 0, 5)]);
    let now = fake.now();
    fake.server.stop(now);
    assert!(!fake.server.is_listening(PORT));
    fake.wait(Duration::from_secs(1));
    assert!(fake.collected(0).ended.is_some_and(|why| why.contains("57P01")));
    let now = fake.now();
    fake.server.start(now, Duration::from_secs(2));
    let early = fake.connect_with(SessionOptions::default());
    assert!(fake.collected(early).ended.is_some_and(|why| why.contains("57P03")));
    fake.wait(Duration::from_secs(2));
    let client = fake.connect();
    assert_eq!(fake.ask(client, &[read_offset(0)]).completed[0].1, [[Some("0".to_owned())]]);
    let now = fake.now();
    fake.server.kill(now);
    fake.wait(Duration::from_secs(1));
    assert_eq!(fake.collected(client).ended.as_deref(), Some("closed"));
}

#[test]
fn logins_are_refused_for_a_while() {
    let mut fake = migrated(1);
    let until = fake.now().instant + Duration::from_secs(1);
    fake.server.refuse_logins(*b"53300", until);
    let refused = fake.connect_with(SessionOptions::default());
    assert!(fake.collected(refused).ended.is_some_and(|why| why.contains("53300")));
    fake.wait(Duration::from_secs(1));
    fake.connect();
}

#[test]
fn a_paused_server_answers_when_it_goes_on() {
    let mut fake = migrated(1);
    fake.server.pause();
    fake.send(0, &[claim(0)]);
    fake.wait(Duration::from_secs(5));
    assert!(fake.is_silent(0));
    let now = fake.now();
    fake.server.resume(now);
    assert_eq!(code(&fake.answer(0)), "");
}

#[test]
fn whoever_is_gone_is_noticed_and_his_transaction_undone() {
    let mut fake = migrated(1);
    fake.ask(0, &[begin(), claim(0)]);
    let heir = fake.connect();
    fake.send(heir, &[claim(0)]);
    assert!(fake.is_silent(heir));
    fake.drop_client(0);
    assert_eq!(code(&fake.answer(heir)), "");
    // A whole run that had arrived may have been carried out, or not.
    let mut stored = [0, 0];
    for seed in 0..50 {
        let mut fake = migrated(seed);
        fake.send(0, &[begin(), claim(0), commit()]);
        fake.drop_client(0);
        fake.wait(Duration::from_secs(1));
        stored[offsets(&fake).len()] += 1;
    }
    assert!(stored[0] > 0 && stored[1] > 0, "{stored:?}");
}

#[test]
fn a_statement_may_not_take_for_ever() {
    let mut fake = migrated(1);
    let options = SessionOptions {
        statement: StatementLimit::Within(Duration::from_millis(300)),
        lock_timeout: Duration::ZERO,
        ..SessionOptions::default()
    };
    fake.ask(0, &[begin(), claim(0)]);
    let client = fake.connect_with(options);
    let before = fake.now().instant;
    assert_eq!(code(&fake.ask(client, &[claim(0)])), "57014");
    assert_eq!(fake.now().instant.since(before), Duration::from_millis(300));
}

#[test]
fn what_is_not_known_is_kept() {
    let mut fake = migrated(1);
    let answer = fake.ask(0, &[literal("SELECT 1")]);
    assert_eq!(code(&answer), "XX000");
    assert_eq!(fake.server.strangers(), ["this statement is not known: SELECT 1"]);
}

#[test]
fn its_clock_can_be_off() {
    let mut fake = migrated(1);
    fake.server.set_clock_offset_ms(3_600_000);
    fake.ask(0, &[copy(&[Row::new(1)])]);
    fake.server.set_clock_offset_ms(0);
    let records = || {
        let params = vec![Param::Text("a".into()), Param::I64(1), Param::I64(10)];
        let sql = include_str!("../../../../worker/sql/statements/rebuild_records.sql");
        [begin(), literal_with("records", sql, params), fetch(), commit()]
    };
    let count = |answer: &Answer| answer.completed[2].1.len();
    fake.ask(0, &[copy(&[Row::new(2)])]);
    fake.wait(Duration::from_millis(9_500));
    assert_eq!(count(&fake.ask(0, &records())), 2, "both are younger than ten seconds");
    fake.wait(Duration::from_secs(1));
    assert_eq!(count(&fake.ask(0, &records())), 1, "the first is of an hour's future");
}

/// Two sessions take the same sales in opposite orders: with turns of one row they meet in a deadlock in some runs and
/// pass each other in others.
#[test]
fn sessions_cross_in_many_ways_and_each_seed_in_one() {
    let run = |seed| {
        let pace = Pace { rows_of_turn_log2_max: 1, ..Pace::default() };
        let mut fake = Fake::with_pace(seed, pace);
        let a = fake.connect();
        for migration in MIGRATIONS {
            fake.simple(a, migration);
        }
        let b = fake.connect();
        let rows: Vec<Row> = (0..4).map(Row::new).collect();
        let reversed: Vec<Row> = rows.iter().rev().cloned().collect();
        fake.send(a, &[begin(), copy(&rows), commit()]);
        fake.send(b, &[begin(), copy(&reversed), commit()]);
        let answers = [fake.answer(a), fake.answer(b)];
        let codes = answers.each_ref().map(|answer| code(answer).to_owned());
        (codes, fake.now())
    };
    let outcomes: Vec<([String; 2], Now)> = (0..60).map(run).collect();
    assert_eq!(outcomes, (0..60).map(run).collect::<Vec<_>>());
    for expected in [["", "23505"], ["23505", ""], ["40P01", ""], ["", "40P01"]] {
        assert!(outcomes.iter().any(|(codes, _)| *codes == expected), "{expected:?} never happens");
    }
    assert!(outcomes.iter().all(|(codes, _)| codes.iter().any(String::is_empty)), "one of the two always stores");
}

/// Bytes as no client sends them: whatever becomes of their session, the server goes on.
#[test]
fn any_bytes_are_survived() {
    let mut random = Random::new(9);
    let mut fake = migrated(9);
    let valid = {
        let mut session = Session::new(PostgresConfig::parse("postgres://").expect("a URL"), SessionOptions::default());
        session.handle_open(fake.now().instant);
        let mut bytes = Vec::new();
        session.poll_write(&mut bytes);
        bytes
    };
    for number in 0..2_000 {
        let socket = SocketId(1_000 + number);
        let now = fake.now();
        fake.server.handle_open(now, socket, PORT);
        let mut bytes = if random.per_mille(700) { valid.clone() } else { Vec::new() };
        for _ in 0..random.below(4) {
            let kind = b"PBESQdcfXHD"[random.below(11) as usize];
            let body: Vec<u8> = (0..random.below(20)).map(|_| random.below(3) as u8).collect();
            bytes.push(kind);
            bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
            bytes.extend_from_slice(&body);
        }
        if random.per_mille(300) && !bytes.is_empty() {
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] = random.bits() as u8;
        }
        let mut received = BytesMut::from(&bytes[..]);
        fake.server.handle_bytes(now, socket, &mut received);
        assert!(received.is_empty());
        fake.server.handle_closed(now, socket);
        while fake.server.poll_write().is_some() || fake.server.poll_close().is_some() {}
        fake.wait(Duration::from_millis(30));
    }
    assert_eq!(code(&fake.ask(0, &[claim(0)])), "");
    assert!(fake.server.connections().eq([crate::fake::socket(0)]), "the others are gone");
    assert!(!fake.server.strangers().is_empty());
}
