//! A run by its seed; and for one that fails, the smallest part of it that still does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::run::Run;
use super::shape::Shape;
use super::verdict::{Report, judge};
use crate::random::Random;

/// Runs what the seed names: what it came to, or what is wrong with it.
///
/// # Errors
/// A broken promise, or the words of an assertion that failed.
pub fn attempt(seed: u64) -> Result<Report, String> {
    attempt_drawn(seed, Shape::draw)
}

/// The same where the seed draws a shape that has some of everything.
///
/// # Errors
/// As [`attempt`].
pub fn attempt_usual(seed: u64) -> Result<Report, String> {
    attempt_drawn(seed, Shape::usual)
}

fn attempt_drawn(seed: u64, draw: fn(&mut Random) -> Shape) -> Result<Report, String> {
    let mut random = Random::new(seed);
    let shape = draw(&mut random.fork());
    attempt_shape(shape, random)
}

/// The same with a shape of one's own.
///
/// # Errors
/// As [`attempt`].
pub fn attempt_shape(shape: Shape, random: Random) -> Result<Report, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::of(shape, random);
        run.go();
        judge(&mut run)
    }));
    match outcome {
        Ok(report) if report.holds() => Ok(report),
        Ok(report) => Err(report.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
        }
    }
}

/// Leaves out of a run that fails whatever it fails without: faults one by one, then buyers by halves. Cheap, not
/// minimal: each is tried once.
pub fn shrink(seed: u64) -> Shape {
    let mut random = Random::new(seed);
    let mut shape = Shape::draw(&mut random.fork());
    let fails = |shape: &Shape| attempt_shape(shape.clone(), random.clone()).is_err();
    let mut at = 0;
    while at < shape.faults.len() {
        let mut smaller = shape.clone();
        smaller.faults.remove(at);
        if fails(&smaller) {
            shape = smaller;
        } else {
            at += 1;
        }
    }
    let mut span = shape.buyers.len() / 2;
    while span > 0 {
        let mut from = 0;
        while from + span <= shape.buyers.len() && shape.buyers.len() > span {
            let mut smaller = shape.clone();
            smaller.buyers.drain(from..from + span);
            if fails(&smaller) {
                shape = smaller;
            } else {
                from += span;
            }
        }
        span /= 2;
    }
    shape
}
