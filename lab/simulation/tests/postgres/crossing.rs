//! Transactions in each other's way, step by step, on the fake and on a real PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use flux_protocol::postgres::Param;

use crate::client::{Answer, Asked, Server};
use crate::differential::both;
use crate::fake::Fake;
use crate::real::Real;
use crate::words::{file, *};

/// Both servers with three sessions each.
struct Both {
    fake: Fake,
    real: Real,
    /// Ends with the last test that uses it.
    _server: Arc<crate::server::Server>,
}

impl Both {
    fn new() -> Both {
        let server = crate::server::Server::shared();
        let (mut fake, mut real) = both(&server, 1);
        for _ in 0..2 {
            assert_eq!(fake.connect(), real.connect());
        }
        Both { fake, real, _server: server }
    }

    fn ask(&mut self, client: usize, run: &[Asked]) -> Answer {
        self.send(client, run);
        self.answer(client)
    }

    fn send(&mut self, client: usize, run: &[Asked]) {
        self.fake.send(client, run);
        self.real.send(client, run);
    }

    fn waits(&mut self, client: usize) {
        assert!(self.fake.is_silent(client), "the fake answers {:?}", self.fake.collected(client));
        assert!(self.real.is_silent(client), "the real one answers {:?}", self.real.answer(client));
    }

    fn answer(&mut self, client: usize) -> Answer {
        let (said, meant) = (self.fake.answer(client), self.real.answer(client));
        assert_eq!(said, meant);
        said
    }

    fn end(mut self) {
        assert_eq!(self.fake.tables(), self.real.tables());
        assert_eq!(self.fake.server.strangers(), [""; 0]);
    }
}

fn code(answer: &Answer) -> &str {
    answer.failed.as_ref().map_or("", |(code, ..)| code)
}

fn count(answer: &Answer, statement: usize) -> u64 {
    answer.completed[statement].0
}

#[test]
fn a_fence_waits_and_reads_what_stands_then() {
    let mut both = Both::new();
    both.ask(0, &[claim(0)]);
    both.ask(0, &[begin(), fence(0, 0, 5)]);
    both.send(1, &[begin(), fence(0, 0, 7), commit()]);
    both.waits(1);
    // One that does not match what is committed waits for nobody.
    assert_eq!(count(&both.ask(2, &[fence(0, 9, 10)]), 0), 0);
    both.ask(0, &[commit()]);
    assert_eq!(count(&both.answer(1), 1), 0, "fenced off");
    both.ask(0, &[begin(), fence(0, 5, 6)]);
    both.send(1, &[begin(), fence(0, 5, 8), commit()]);
    both.waits(1);
    both.ask(0, &[rollback()]);
    assert_eq!(count(&both.answer(1), 1), 1, "undone, so it is free");
    both.end();
}

#[test]
fn a_claim_and_a_doubt_wait_for_the_transaction_that_advances() {
    let mut both = Both::new();
    both.ask(0, &[begin(), claim(0)]);
    both.send(1, &[claim(0)]);
    both.waits(1);
    // Its row is not committed: there is nothing to lock.
    assert_eq!(count(&both.ask(2, &[read_offset(0)]), 0), 0);
    both.ask(0, &[commit()]);
    both.answer(1);
    both.ask(0, &[begin(), fence(0, 0, 3)]);
    both.send(1, &[claim(0)]);
    both.send(2, &[read_offset(0)]);
    both.waits(1);
    both.waits(2);
    both.ask(0, &[commit()]);
    assert_eq!(both.answer(1).completed[0].1, [[Some("3".to_owned()), Some("2".to_owned())]], "and of which log it is");
    assert_eq!(both.answer(2).completed[0].1, [[Some("3".to_owned())]]);
    both.end();
}

#[test]
fn the_same_order_is_stored_by_one_of_two() {
    for commits in [true, false] {
        let mut both = Both::new();
        both.ask(0, &[begin(), copy(&[Row::new(1), Row::new(2)])]);
        both.send(1, &[begin(), copy(&[Row::new(3), Row::new(2)]), commit()]);
        both.waits(1);
        both.ask(0, &[if commits { commit() } else { rollback() }]);
        let answer = both.answer(1);
        assert_eq!(code(&answer), if commits { "23505" } else { "" });
        both.ask(1, &[rollback()]);
        both.end();
    }
}

#[test]
fn a_row_that_cannot_be_stored_is_met_before_a_key_that_exists() {
    let mut both = Both::new();
    both.ask(0, &[copy(&[Row::new(1)])]);
    let bad = Row { user: "nul\0".into(), ..Row::new(2) };
    assert_eq!(code(&both.ask(0, &[copy(&[Row::new(1), bad])])), "22021");
    let none = Row { quantity: 0, ..Row::new(2) };
    assert_eq!(code(&both.ask(0, &[copy(&[Row::new(1), none])])), "23514");
    both.end();
}

#[test]
fn taking_waits_and_then_has_no_room() {
    let mut both = Both::new();
    let sale = ("a", 1, 5, 3);
    both.ask(0, &[begin(), take(&[sale])]);
    both.send(1, &[begin(), take(&[sale]), show_stock(&[sale])]);
    both.waits(1);
    both.ask(0, &[show_stock(&[sale]), commit()]);
    let answer = both.answer(1);
    assert_eq!((count(&answer, 1), count(&answer, 2)), (0, 1));
    // Passed over, and locked all the same.
    both.send(2, &[begin(), lock_sales(&[sale])]);
    both.waits(2);
    both.ask(1, &[rollback()]);
    both.answer(2);
    // Opening waits for who has written a sale, not for who has locked it.
    assert_eq!(count(&both.ask(0, &[open_sales(&[sale])]), 0), 0);
    both.ask(2, &[take(&[("a", 1, 5, 1)])]);
    both.send(0, &[open_sales(&[sale])]);
    both.waits(0);
    both.ask(2, &[commit()]);
    both.answer(0);
    both.end();
}

#[test]
fn a_lock_reads_the_row_anew_and_subqueries_as_they_were() {
    let mut both = Both::new();
    let sale = ("a", 1, 5, 3);
    both.ask(0, &[take(&[sale])]);
    both.ask(0, &[begin(), take(&[("a", 1, 5, 1)])]);
    both.send(1, &[rebuild_account("a", 1)]);
    both.send(2, &[lock_sales(&[sale])]);
    both.waits(1);
    both.waits(2);
    both.ask(0, &[commit()]);
    assert_eq!(both.answer(1).completed[0].1[0][1].as_deref(), Some("4"));
    both.answer(2);
    both.end();
}

#[test]
fn a_cursor_lives_as_long_as_its_transaction() {
    let mut both = Both::new();
    let of_sale = || vec![Param::Text("a".into()), Param::I64(1)];
    let young = || [of_sale(), vec![Param::I64(86_400)]].concat();
    let (users, records) = (|| file!("rebuild_users", of_sale()), || file!("rebuild_records", young()));
    both.ask(
        0,
        &[copy(&[Row::new(1), Row::new(2), Row { user: "b".into(), ..Row::new(3) }, Row { sale: 2, ..Row::new(4) }])],
    );
    assert_eq!(code(&both.ask(0, &[records()])), "25P01", "a transaction of its own ends at once");
    for (declare, rows) in [(users(), 2), (records(), 3)] {
        let answer = both.ask(0, &[begin(), declare, fetch(), fetch(), commit()]);
        assert_eq!((answer.completed[2].1.len(), answer.completed[3].1.len()), (rows, 0));
    }
    let answer = both.ask(0, &[begin(), file!("rebuild_rejected", young()), fetch(), records()]);
    assert_eq!((count(&answer, 2), code(&answer)), (0, "42P03"), "one at a time");
    both.ask(0, &[rollback()]);
    assert_eq!(code(&both.ask(0, &[begin(), fetch()])), "34000", "it went with its transaction");
    both.ask(0, &[rollback()]);
    both.end();
}

#[test]
fn a_rebuild_finds_young_rejected_orders_that_nothing_is_stored_of() {
    let mut both = Both::new();
    both.ask(0, &[note_rejected(&[1, 2, 3]), copy(&[Row::new(2)])]);
    for (age_max_s, found) in [(86_400, 2), (0, 0)] {
        let of_sale = vec![Param::Text("a".into()), Param::I64(1), Param::I64(age_max_s)];
        let answer = both.ask(0, &[begin(), file!("rebuild_rejected", of_sale), fetch(), commit()]);
        assert_eq!(answer.completed[2].1.len(), found, "no older than {age_max_s} s");
    }
    both.end();
}

#[test]
fn a_rebuild_fills_what_is_not_known_of_an_opening_and_changes_nothing_else() {
    let mut both = Both::new();
    both.ask(0, &[open_sales(&[("a", 1, 5, 0)])]);
    let of_sale = || vec![Param::Text("a".into()), Param::I64(1)];
    let opened = |with: i64, queue: &str| {
        let numbers = [Param::I32(1), Param::I64(with), Param::I64(with), Param::Text(with.to_string())];
        let rest = [Param::I32(with as i32), Param::I64(1_000_000_000_000 + with), Param::Text(queue.to_owned())];
        let log = counted(TOPIC, &[3, with]);
        file!("rebuild_in_force", of_sale().into_iter().chain(numbers).chain(rest).chain(log).collect())
    };
    let [first, second] = [(7, "fair"), (8, "retry")].map(|(with, queue)| {
        let answer = both.ask(0, &[opened(with, queue), file!("rebuild_sale", of_sale())]);
        assert_eq!(count(&answer, 0), 1);
        answer.completed[1].1.clone()
    });
    assert_eq!(first[0][4].as_deref(), Some("7"), "the rate");
    assert_eq!(first, second);
    both.end();
}

#[test]
fn a_return_is_settled_once() {
    let mut both = Both::new();
    both.ask(0, &[note_returns(&[1, 2], 1)]);
    both.ask(0, &[begin(), mark_returned(&[1], "returned")]);
    both.send(1, &[mark_returned(&[1, 2], "absorbed")]);
    both.waits(1);
    both.ask(0, &[commit()]);
    assert_eq!(count(&both.answer(1), 0), 1);
    both.end();
}

#[test]
fn a_deadlock_is_found_after_a_second_and_one_goes_on() {
    let mut both = Both::new();
    both.ask(0, &[begin(), copy(&[Row::new(1)])]);
    both.ask(1, &[begin(), copy(&[Row::new(2)])]);
    both.send(0, &[copy(&[Row::new(2)])]);
    both.waits(0);
    both.send(1, &[copy(&[Row::new(1)])]);
    // Whoever waited first looks first, and finds the circle.
    let first = both.fake.answer(0);
    assert_eq!(code(&first), "40P01");
    assert_eq!(both.fake.answer(1).failed, None, "its locks went with the error, not with the ROLLBACK");
    let (first, second) = (both.real.answer(0), both.real.answer(1));
    assert_eq!(code(&first), "40P01");
    assert_eq!(second.failed, None);
    both.ask(0, &[rollback()]);
    both.ask(1, &[commit()]);
    both.end();
}

#[test]
fn a_lock_is_not_awaited_for_ever() {
    let mut both = Both::new();
    both.ask(0, &[begin(), claim(0)]);
    both.send(1, &[claim(0)]);
    let before = both.fake.now();
    assert_eq!(code(&both.answer(1)), "55P03");
    let waited = both.fake.now().instant.since(before.instant);
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_millis(5_300), "{waited:?}");
    both.end();
}

#[test]
fn a_silent_transaction_is_ended() {
    let mut both = Both::new();
    both.ask(0, &[begin(), claim(0)]);
    // Its heir waits for it for less than that; so he asks when five seconds have passed.
    both.fake.wait(Duration::from_secs(6));
    std::thread::sleep(Duration::from_secs(6));
    both.send(1, &[claim(0)]);
    assert_eq!(code(&both.answer(1)), "");
    assert!(!both.fake.is_open(0));
    assert_eq!(both.fake.collected(0).ended, both.real.ended(0));
    both.end();
}

#[test]
fn a_migration_waits_for_another() {
    let server = crate::server::Server::shared();
    let (mut fake, mut real) = (Fake::new(1), Real::new(server.database()));
    let lock = || {
        let key = Param::I64(0x666c_7578_0000_0001);
        literal_with("lock", "SELECT pg_advisory_xact_lock($1)", vec![key])
    };
    let there = || literal("SELECT to_regclass('flux_schema') IS NOT NULL");
    let servers: [&mut dyn Server; 2] = [&mut fake, &mut real];
    let mut answers = Vec::new();
    for server in servers {
        let (a, b) = (server.connect(), server.connect());
        let mut said = vec![server.ask(a, &[claim(0)])];
        said.push(server.ask(a, &[begin(), lock(), there()]));
        server.send(b, &[begin(), lock(), there()]);
        assert!(server.is_silent(b));
        said.push(server.ask(
            a,
            &[literal(
                "CREATE TABLE flux_schema (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT \
                 NULL DEFAULT now())",
            )],
        ));
        said.push(server.ask(a, &[literal("SELECT coalesce(max(version), 0) FROM flux_schema")]));
        let params = vec![Param::I32(1), Param::Text("0001_ledger".into())];
        let note = literal_with("note", "INSERT INTO flux_schema (version, name) VALUES ($1, $2)", params);
        said.push(server.ask(a, &[note.clone(), there(), commit()]));
        said.push(server.answer(b));
        said.push(server.ask(b, &[literal("SELECT coalesce(max(version), 0) FROM flux_schema")]));
        said.push(server.ask(b, &[note]));
        answers.push(said);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(fake.server.strangers(), [""; 0]);
}
