//! Every planted bug is caught within a few seeds, and the programs that ship come through the same ones: what proves the
//! simulation and its checker.

use flux_protocol::planted::{BUGS, Bug, plant};
use flux_simulation::random::Random;
use flux_simulation::scenario::aimed;
use flux_simulation::scenario::attempt::attempt_shape;

/// Seeds within which a bug must be caught.
const SEEDS: u64 = 60;

/// What is found wrong with this seed, if anything.
fn found(bug: Bug, seed: u64) -> Option<String> {
    let mut random = Random::new(seed);
    let shape = aimed::shape(bug, &mut random.fork());
    attempt_shape(shape, random).err()
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
