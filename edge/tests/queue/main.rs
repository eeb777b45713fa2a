//! The fair queue under virtual time: up to 100,000 visitors, and what docs/QUEUE.md promises.

mod core;
mod measures;
mod redis;
mod scenario;
mod world;

use flux_protocol::queue::limits::{HOLD_US, PATIENCE_US, RETRY_US, SLOTS_MAX};
use flux_protocol::queue::{Place, Reporter, Seed};
use world::{Played, Random, SECOND, Scenario, Visitor, World, user};

/// What holds in every scenario. `opens_us`, `rate` and `burst` are the scenario's.
fn holds_always(played: &Played, rate: u64, burst: u64) {
    assert_eq!(played.over_the_bound(rate, burst), 0.0, "no more than rate·t + burst over any span");
    assert!(played.was_called_by_place(), "strictly by place");
    assert!(played.marks.is_sorted_by_key(|(_, mark)| *mark), "the watermark never moves back");
    assert!(played.slots_max <= SLOTS_MAX as usize);
    for visitor in played.visitors.iter().filter(|visitor| visitor.cheats == 0) {
        let (Some(place), Some(at)) = (visitor.place, visitor.served_us) else { continue };
        assert!(visitor.called_us.is_some_and(|called| called <= at), "{place:?} was served before it was called");
    }
}

/// Everyone who did not leave was served, with units for all.
fn all_who_stayed_were_served(played: &Played) {
    let left_out = played.visitors.iter().find(|visitor| !visitor.leaves && visitor.served_us.is_none());
    assert!(left_out.is_none(), "somebody stayed and was never served");
}

#[test]
fn those_who_come_when_called_are_served_within_a_second_and_a_retry() {
    let scenario = Scenario::rush(1, 0);
    let (rate, burst) = (scenario.rate, scenario.burst);
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    all_who_stayed_were_served(&played);
    let (longest_us, overtaken) = played.at_the_door();
    // A retry has some jitter, and its order the way of a lease.
    let most_us = HOLD_US + RETRY_US + RETRY_US / 10 + 200_000;
    assert!(longest_us <= most_us, "{longest_us} µs without a token");
    assert!(overtaken as u64 * SECOND <= rate * most_us, "overtaken while they waited for a token by {overtaken}");
}

#[test]
fn with_30_percent_of_no_shows_the_tokens_are_used() {
    let scenario = Scenario::rush(2, 30);
    let (opens_us, rate, burst) = (scenario.opens_us, scenario.rate, scenario.burst);
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    all_who_stayed_were_served(&played);
    let used = played.use_percent(opens_us, rate, burst);
    assert!(used >= 95.0, "{used} %");
}

#[test]
fn the_rule_as_it_was_designed_at_first_leaves_half_of_the_tokens() {
    let mut used = Vec::new();
    for is_first_design in [true, false] {
        let mut scenario = Scenario::rush(3, 30);
        let mut random = Random(3);
        scenario.visitors.truncate(60_000);
        // All before the opening: their places are known, and the first design can be given perfect knowledge.
        for visitor in &mut scenario.visitors {
            visitor.comes_us = SECOND + random.below(scenario.opens_us - SECOND);
        }
        if is_first_design {
            let seed = Seed::new([3; 32]);
            let places = (0..scenario.visitors.len()).map(|visitor| Place { slot: 0, rank: seed.rank(&user(visitor)) });
            scenario.first_design = Some(places.collect());
        }
        let (opens_us, rate, burst) = (scenario.opens_us, scenario.rate, scenario.burst);
        used.push(World::play(scenario).use_percent(opens_us, rate, burst));
    }
    assert!(used[0] < 60.0 && used[1] >= 95.0, "{used:?} %");
}

#[test]
fn a_front_of_nobody_holds_up_no_one_for_long() {
    let mut scenario = Scenario::rush(4, 0);
    let (opens_us, rate, burst) = (scenario.opens_us, scenario.rate, scenario.burst);
    scenario.visitors.truncate(30_000);
    for (index, visitor) in scenario.visitors.iter_mut().enumerate() {
        visitor.leaves = index < 29_000;
        visitor.comes_us = SECOND + if visitor.leaves { index as u64 } else { opens_us + index as u64 };
    }
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    all_who_stayed_were_served(&played);
    assert!(played.visitors.iter().all(|visitor| visitor.called_us.is_some()), "the line reached its end");
    // As fast as a line of people who all come, or faster.
    let last_us = played.last_call_us() - opens_us;
    assert!(last_us * rate <= 30_000 * SECOND, "{last_us} µs");
}

#[test]
fn edges_come_and_go_and_replies_are_lost() {
    let mut scenario = Scenario::rush(5, 30);
    let (opens_us, rate, burst) = (scenario.opens_us, scenario.rate, scenario.burst);
    scenario.visitors.truncate(50_000);
    scenario.edges = 5;
    scenario.lost_percent = 2;
    scenario.stray_percent = 50;
    scenario.farthest_us = 90_000;
    let second = |seconds: u64| opens_us + seconds * SECOND;
    scenario.outages = vec![
        (0, opens_us - SECOND / 50, second(3)),
        (1, second(2), second(4)),
        (2, second(5), u64::MAX / 2),
        (4, 0, second(1)),
    ];
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    all_who_stayed_were_served(&played);
    let used = played.use_percent(opens_us, rate, burst);
    assert!(used >= 90.0, "{used} %: what dead edges had leased is lost, and what was said to a lost reply");
}

#[test]
fn no_more_are_called_than_could_still_buy() {
    let mut scenario = Scenario::rush(6, 30);
    let (rate, burst) = (scenario.rate, scenario.burst);
    scenario.visitors.truncate(40_000);
    scenario.stock = 2000;
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    assert_eq!(played.served(), 2000);
    let called = played.visitors.iter().filter(|visitor| visitor.called_us.is_some());
    let (came, all) = called.fold((0, 0), |(came, all), visitor| (came + usize::from(!visitor.leaves), all + 1));
    assert!(came <= 2000 + 2000 / 4 + 1 && all < 4000, "{came} of {all} could come");
    assert!(played.line.is_some_and(|line| line.called < line.issued), "the others were never called");
}

#[test]
fn hammering_gains_nothing_and_ten_tabs_are_one_place() {
    let mut scenario = Scenario::rush(7, 0);
    let (rate, burst) = (scenario.rate, scenario.burst);
    scenario.visitors.truncate(20_000);
    for (index, visitor) in scenario.visitors.iter_mut().enumerate() {
        visitor.hammers = index % 50 == 0;
    }
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    all_who_stayed_were_served(&played);
    let line = played.line.expect("a line");
    let given = played.visitors.iter().filter(|visitor| visitor.place.is_some()).count() as u64;
    assert!(line.issued.abs_diff(given) * 20 <= given, "{} were counted of {given}", line.issued);
}

/// Twenty people with one place each, who order from eight hands at once, at all cores of all edges, under a new key each time:
/// 8,000 orders a second.
#[test]
fn a_place_is_used_up_by_being_served_and_whoever_cheats_gains_and_takes_nothing() {
    let mut scenario = Scenario::rush(9, 0);
    let (opens_us, rate, burst) = (scenario.opens_us, scenario.rate, scenario.burst);
    scenario.visitors.truncate(30_000);
    scenario.ends_us = opens_us + 20 * SECOND;
    for visitor in scenario.visitors.iter_mut().step_by(1500) {
        (visitor.cheats, visitor.comes_us) = (8, visitor.comes_us.min(opens_us - 1));
    }
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    all_who_stayed_were_served(&played);
    let (longest_us, _) = played.at_the_door();
    assert!(longest_us <= HOLD_US + RETRY_US + RETRY_US / 10 + 200_000, "{longest_us} µs without a token");
    let used = played.use_percent(opens_us, rate, burst);
    assert!(used >= 95.0, "{used} %: what they take in vain goes to others");
    let (cheats, honest): (Vec<_>, Vec<_>) = played.visitors.iter().partition(|visitor| visitor.cheats > 0);
    assert_eq!(cheats.len(), 20);
    // Served once by their place, they come again behind all who were not and stood in line by then.
    for cheat in cheats {
        for times in cheat.served_again.windows(2) {
            let [(first, _), (second, by_place)] = [times[0], times[1]];
            // Else nobody waited, as far as that core had heard.
            if !by_place {
                continue;
            }
            let passed = honest.iter().filter(|visitor| {
                visitor.place.is_some()
                    && visitor.given_us < first
                    && visitor.called_us.is_some_and(|called| called > second)
            });
            assert_eq!(passed.count(), 0, "served at {first} and again at {second}");
        }
    }
}

#[test]
fn where_nobody_waits_nobody_is_given_a_place() {
    let mut scenario = Scenario::rush(8, 0);
    let (rate, burst) = (scenario.rate, scenario.burst);
    scenario.opens_us = 0;
    let mut random = Random(8);
    // 2,000 a second for 30 seconds; at 10 s a crowd of 20,000 comes within half a second.
    let steady = (0..60_000).map(|_| SECOND + random.below(30 * SECOND)).collect::<Vec<_>>();
    let crowd = (0..20_000).map(|_| 10 * SECOND + random.below(SECOND / 2)).collect::<Vec<_>>();
    let visitors = steady.iter().chain(&crowd).map(|at| Visitor { comes_us: *at, ..Visitor::default() });
    scenario.visitors = visitors.collect();
    let played = World::play(scenario);
    holds_always(&played, rate, burst);
    all_who_stayed_were_served(&played);
    let at_once = |from: u64, to: u64| {
        let came = played.visitors.iter().filter(|visitor| (from * SECOND..to * SECOND).contains(&visitor.comes_us));
        let at_once = came.clone().filter(|visitor| visitor.place.is_none()).count();
        (at_once, came.count())
    };
    let (before, of_before) = at_once(2, 10);
    assert_eq!(before, of_before, "before the crowd");
    let (during, of_during) = at_once(11, 12);
    assert!(during * 10 < of_during, "{during} of {of_during} passed a line that stood");
    let (after, of_after) = at_once(24, 31);
    assert_eq!(after, of_after, "the line is gone, and with it the tickets");
}

#[test]
fn a_core_keeps_eight_kibibytes_a_line_whatever_the_crowd() {
    let sketches = 3 * flux_protocol::queue::limits::DISTINCT_REGISTERS;
    assert!(size_of::<Reporter>() + sketches <= 8 << 10);
    let mut reporter = Reporter::default();
    let seed = Seed::new([9; 32]);
    for visitor in 0..200_000 {
        let rank = seed.rank(&user(visitor));
        reporter.handle_issued(Place { slot: visitor as u32 / 100, rank });
        reporter.handle_arrived(visitor as u64 * 1000, visitor as u64 * 1000 / PATIENCE_US, rank);
    }
    let report = reporter.take();
    assert!(!report.arrived.spilled() && !report.issued.spilled(), "{report:?}");
}
