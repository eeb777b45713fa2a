//! A rebuild dies at each of its steps, and whatever an operator does then, the sale is sound.

use std::time::Duration;

use flux_simulation::random::Random;
use flux_simulation::scenario::aimed::{happens, quiet, wave};
use flux_simulation::scenario::attempt::attempt_shape;
use flux_simulation::scenario::faults::{Fault, KillAt};
use flux_simulation::scenario::shape::Shape;

/// More than a rebuild writes, the questions of its drains among them.
const WRITES_MAX: u64 = 120;

/// A crowd buys; `before`; a rebuild dies at its write number `write`; `after`, each a second apart.
fn shape(write: u64, before: &[Fault], after: &[Fault], random: &mut Random) -> Shape {
    let mut shape = quiet(&[1, 1], 100);
    shape.sales[0].per_user = 2;
    wave(&mut shape, random, 50, Duration::ZERO, Duration::from_secs(2));
    for (at, fault) in (1000..).step_by(500).zip(before) {
        happens(&mut shape, at, 1, fault.clone());
    }
    happens(&mut shape, 2000, 1, Fault::RebuildKilled(0, KillAt::Write(write)));
    for (at, fault) in (3000..).step_by(1000).zip(after) {
        happens(&mut shape, at, 1, fault.clone());
    }
    shape
}

fn assert_sound(before: &[Fault], after: &[Fault]) {
    for write in 1..=WRITES_MAX {
        let mut random = Random::new(write);
        let shape = shape(write, before, after, &mut random.fork());
        if let Err(what) = attempt_shape(shape, random) {
            panic!("killed at write {write}, {before:?} before and {after:?} after:\n{what}");
        }
    }
}

#[test]
fn a_rebuild_that_dies_at_any_step_is_begun_again() {
    assert_sound(&[Fault::RedisFlushed], &[]);
    assert_sound(&[Fault::RedisRolledBack(Duration::from_millis(300))], &[]);
}

/// Who asks for the first time while Redis is not to be trusted is sold to behind a rebuild only, and that is in force from when Redis
/// has carried out its last word, whether or not anybody lived to hear so (seed 8002430).
#[test]
fn a_rebuild_whose_last_word_was_on_its_way_has_opened_the_sale() {
    for write in 1..=WRITES_MAX {
        let mut random = Random::new(write);
        let mut shape = quiet(&[1, 1], 100);
        wave(&mut shape, &mut random.fork(), 50, Duration::from_secs(2), Duration::from_secs(1));
        happens(&mut shape, 1000, 1, Fault::RedisFlushed);
        happens(&mut shape, 2000, 1, Fault::RebuildKilled(0, KillAt::Write(write)));
        // Nothing else happens before somebody looks.
        shape.unrest = Duration::ZERO;
        if let Err(what) = attempt_shape(shape, random) {
            panic!("killed at write {write}:\n{what}");
        }
    }
}

#[test]
fn a_sale_that_is_closed_after_it_stays_closed() {
    assert_sound(&[], &[Fault::SaleClosed(0), Fault::RedisFlushed]);
    assert_sound(&[], &[Fault::SaleClosed(0), Fault::SaleReplaced(0, 30), Fault::RedisFlushed]);
}

#[test]
fn a_sale_that_was_closed_before_it_stays_closed() {
    assert_sound(&[Fault::SaleClosed(0), Fault::RedisFlushed], &[]);
}
