//! The fair queue under virtual time: 100,000 visitors, and what docs/QUEUE.md promises.

mod core;
mod measures;
mod redis;
mod world;

use world::{Played, SECOND, Scenario, World};

#[test]
fn probe() {
    for no_shows in [0, 30, 50, 70] {
        let started = std::time::Instant::now();
        let scenario = Scenario::rush(7, no_shows);
        let (opens, rate, burst) = (scenario.opens_us, scenario.rate, scenario.burst);
        let played = World::play(scenario);
        let served = played.visitors.iter().filter(|v| v.served_us.is_some()).count();
        let stay = played.visitors.iter().filter(|v| !v.leaves).count();
        println!(
            "no-shows {no_shows}: served {served} of {stay}, use {:.1} %, last call {:.2} s, over {}, door {:?}, by place {}, slots {}, took {:?}",
            played.use_percent(opens, rate),
            (played.last_call_us() - opens) as f64 / SECOND as f64,
            played.over_the_bound(rate, burst),
            played.at_the_door(),
            played.was_called_by_place(),
            played.slots_max,
            started.elapsed(),
        );
        let _: &Played = &played;
    }
}
