//! The same statements asked of the fake and of a real PostgreSQL: the same rows, counts, SQLSTATEs and tables.

use flux_protocol::postgres::TransactionStatus;
use flux_simulation::random::Random;

use crate::client::{Asked, Server};
use crate::fake::Fake;
use crate::random_statements::statement;
use crate::real::Real;
use crate::words::{self, MIGRATIONS};

/// Sequences of one session.
const ALONE: u64 = 600;
/// Sequences of two.
const CROSSED: u64 = 250;
/// Runs of statements in a sequence.
const RUNS: u64 = 25;

/// Both of them, migrated.
pub(crate) fn both(server: &crate::server::Server, seed: u64) -> (Fake, Real) {
    let (mut fake, mut real) = (Fake::new(seed), Real::new(server.database()));
    let (a, b) = (fake.connect(), real.connect());
    for migration in MIGRATIONS {
        assert_eq!(fake.simple(a, migration), real.simple(b, migration));
    }
    (fake, real)
}

/// The fake with its tables, and a session 0.
pub(crate) fn migrated(seed: u64) -> Fake {
    let mut fake = Fake::new(seed);
    let client = fake.connect();
    for migration in MIGRATIONS {
        assert_eq!(fake.simple(client, migration).failed, None);
    }
    fake
}

/// Up to four statements, now and then with the beginning or the end of a transaction.
fn run(random: &mut Random, is_open: bool) -> Vec<Asked> {
    let mut run: Vec<Asked> = (0..1 + random.below(4)).map(|_| statement(random)).collect();
    if !is_open && random.per_mille(700) {
        run.insert(0, words::begin());
    }
    if is_open && random.per_mille(350) {
        run.push(words::commit());
    }
    run
}

fn end_of(random: &mut Random) -> Vec<Asked> {
    vec![if random.per_mille(700) { words::commit() } else { words::rollback() }]
}

#[test]
fn one_session() {
    let server = crate::server::Server::shared();
    let (_, mut real) = both(&server, 0);
    for seed in 0..ALONE {
        let mut random = Random::new(seed);
        real = real.emptied();
        let mut fake = migrated(seed);
        let mut status = TransactionStatus::Idle;
        for at in 0..RUNS {
            let run = match status {
                TransactionStatus::Failed if random.per_mille(800) => end_of(&mut random),
                status => run(&mut random, status != TransactionStatus::Idle),
            };
            let (said, meant) = (fake.ask(0, &run), real.ask(0, &run));
            assert_eq!(said, meant, "seed {seed}, run {at}: {run:#?}");
            status = said.status.expect("a session that goes on");
        }
        assert_eq!(fake.ask(0, &[words::rollback()]), real.ask(0, &[words::rollback()]));
        assert_eq!(fake.tables(), real.tables(), "seed {seed}");
        assert_eq!(fake.server.strangers(), [""; 0]);
    }
}

/// Whoever waits in one must wait in the other; the transaction that is in the way then ends.
#[test]
fn two_sessions() {
    let server = crate::server::Server::shared();
    let mut waits = 0;
    let (_, mut real) = both(&server, 0);
    for seed in 1000..1000 + CROSSED {
        let mut random = Random::new(seed);
        real = real.emptied();
        let mut fake = migrated(seed);
        assert_eq!((fake.connect(), real.connect()), (1, 1));
        let mut status = [TransactionStatus::Idle; 2];
        for at in 0..RUNS {
            let who = random.below(2) as usize;
            let run = match status[who] {
                TransactionStatus::Failed => end_of(&mut random),
                status => run(&mut random, status == TransactionStatus::Open),
            };
            fake.send(who, &run);
            real.send(who, &run);
            if fake.is_silent(who) {
                waits += 1;
                assert!(real.is_silent(who), "seed {seed}, run {at}: only the fake waits: {run:#?}");
                let end = end_of(&mut random);
                let other = 1 - who;
                assert_eq!(fake.ask(other, &end), real.ask(other, &end), "seed {seed}, run {at}");
                status[other] = TransactionStatus::Idle;
            }
            let (said, meant) = (fake.answer(who), real.answer(who));
            assert_eq!(said, meant, "seed {seed}, run {at}: {run:#?}");
            status[who] = said.status.expect("a session that goes on");
        }
        for who in [0, 1] {
            assert_eq!(fake.ask(who, &[words::rollback()]), real.ask(who, &[words::rollback()]));
        }
        assert_eq!(fake.tables(), real.tables(), "seed {seed}");
        assert_eq!(fake.server.strangers(), [""; 0]);
    }
    assert!(waits > 50, "sessions meet: {waits} times");
}
