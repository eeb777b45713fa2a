//! Every planted bug is caught within a few seeds, and the programs that ship come through the same ones: what proves the
//! simulation and its checker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use flux_protocol::planted::{BUGS, Bug, plant};
use flux_simulation::random::Random;
use flux_simulation::scenario::aimed;
use flux_simulation::scenario::run::Run;
use flux_simulation::scenario::verdict::judge;

/// Seeds within which a bug must be caught.
const SEEDS: u64 = 60;

/// What is found wrong with this seed, if anything: a broken promise, or an assertion of the programs' own.
fn found(bug: Bug, seed: u64) -> Option<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut random = Random::new(seed);
        let shape = aimed::shape(bug, &mut random.fork());
        let mut run = Run::of(shape, random);
        run.go();
        let report = judge(&mut run);
        (!report.holds()).then(|| report.to_string())
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Some(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
    })
}

#[test]
fn every_planted_bug_is_caught() {
    let mut missed = Vec::new();
    for bug in BUGS {
        plant(Some(bug));
        let caught = (0..SEEDS).find_map(|seed| Some((seed, found(bug, seed)?)));
        plant(None);
        let Some((seed, what)) = caught else {
            missed.push(bug);
            continue;
        };
        println!("{bug:?} is caught with seed {seed}: {}", what.lines().next().unwrap_or_default().trim());
        for healthy in 0..=seed {
            assert_eq!(found(bug, healthy), None, "nothing is planted (seed {healthy} of {bug:?})");
        }
    }
    assert_eq!(missed, []);
}
