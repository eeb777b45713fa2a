//! The fake Redis against a real one: the same seeded sequences of commands, scripts and faults through both, reply by
//! reply. A failing sequence names its seed and all that led to the difference.
//!
//! - `real`, `fake`, `sides`: the two of them; `mask`: what must differ (times, ids, run ids) given names of its own;
//! - `commands`, `conversions`, `sales` with `scripts`: what is asked; `backlog`: who has one, which takes two real servers.

mod backlog;
mod commands;
mod conversions;
mod fake;
mod mask;
mod real;
mod sales;
mod scripts;
mod sides;

use std::collections::BTreeSet;

use flux_simulation::random::Random;

use crate::fake::Fake;
use crate::real::Real;
use crate::sides::Side;

/// One thing that is done to both.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A command; names in its arguments stand for ids (`mask`).
    Ask(Vec<String>),
    /// A command whose reply has no order: pairs or single members are sorted before they are compared.
    AskUnordered { arguments: Vec<String>, chunk: usize },
    /// Time to live: equal but for the seconds that the test itself takes.
    AskLife(Vec<String>),
    /// So many milliseconds pass.
    Wait(u64),
    /// Memory is full, or is not any more.
    Full(bool),
    /// It follows another master that is not there, or nobody.
    Replica(bool),
    /// Another replication id under the same run id, and none before it.
    Renew,
}

/// Seconds that a time to live may differ by: the test's own running time on a busy machine. Those asked for lie further
/// apart.
const LIFE_SLACK_S: i64 = 60;

pub(crate) fn ask(arguments: &[&str]) -> Step {
    Step::Ask(arguments.iter().map(|argument| (*argument).to_owned()).collect())
}

/// Runs one sequence through both sides, and adds what was answered to `seen`.
fn compare(real: &mut Real, seed: u64, steps: &[Step], seen: &mut BTreeSet<String>) {
    real.reset();
    let mut fake = Fake::new(seed);
    for (at, step) in steps.iter().enumerate() {
        let (expected, said) = (real.take(step), fake.take(step));
        seen.extend(expected.iter().cloned());
        if let (Step::AskLife(_), Some(Ok(a)), Some(Ok(b))) =
            (step, expected.first().map(|text| text.parse::<i64>()), said.first().map(|text| text.parse::<i64>()))
            && (a == b || (a > 0 && b > 0 && (a - b).abs() <= LIFE_SLACK_S))
        {
            continue;
        }
        assert_eq!(
            said,
            expected,
            "fake (left) and real (right) differ, seed {seed}, step {at}: {step:?}\nafter\n{}",
            history(&steps[..at])
        );
    }
}

/// What was done before, a line each.
fn history(steps: &[Step]) -> String {
    let line = |step: &Step| format!("{step:?}").chars().take(600).collect::<String>();
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Every answer there was, in parts.
fn run(seeds: std::ops::Range<u64>, sequence: impl Fn(&mut Random) -> Vec<Step>) -> BTreeSet<String> {
    let mut real = Real::start();
    let mut seen = BTreeSet::new();
    for seed in seeds {
        compare(&mut real, seed, &sequence(&mut Random::new(seed)), &mut seen);
    }
    seen
}

/// The sequences are worth nothing where they do not reach what they are about.
fn assert_reached(seen: &BTreeSet<String>, answers: &[&str]) {
    for answer in answers {
        assert!(seen.iter().any(|text| text.starts_with(answer)), "no sequence was answered {answer}");
    }
}

/// Heads and codes of `reserve.lua`, states of `refresh.lua` and `lease.lua`, letters of `status.lua` and `returns.lua`.
const HEALTHY: [&str; 29] = [
    "$AE",
    "$ME",
    "$M",
    "$G",
    "$Rr",
    "$N",
    "$C",
    "$O<ms>",
    "$0",
    "$L",
    "$I",
    "$F",
    "$+",
    "$BUSY",
    "$OK",
    "$open",
    "$scheduled",
    "$sold_out",
    "$closed",
    "$unknown",
    "$P",
    "$Nrecord",
    "$A",
    "$R",
    "$D",
    "$E",
    "$W",
    "$OLD",
    "$suspended",
];
/// Reasons of `trust.lua`, and what a call is refused with.
const BROKEN: [&str; 14] = [
    "$Sstock",
    "$Ssale",
    "$Soutbox",
    "$Sclaims",
    "$Susers",
    "$Sreturned",
    "$Sreplid",
    "$Sstate",
    "$rate",
    "$sales",
    "$U",
    "-OOM",
    "-READONLY",
    "-NOSCRIPT",
];

#[test]
fn commands_answer_alike() {
    let seen = run(0..300, commands::sequence);
    assert_reached(
        &seen,
        &["-WRONGTYPE", "-OOM", "-READONLY", "-EXECABORT", "-BUSYGROUP", "-NOSCRIPT", "+QUEUED", "null"],
    );
}

#[test]
fn values_go_into_lua_and_back_alike() {
    let seen = run(1000..1060, conversions::sequence);
    assert_reached(&seen, &["-ERR user_script:", "-MY boom script: ", "-OOM", "-READONLY", "+FINE", "$3.5", "$1e+20"]);
}

#[test]
fn the_scripts_that_ship_answer_and_leave_the_same() {
    let seen = run(2000..2400, sales::sequence);
    assert_reached(&seen, &HEALTHY);
}

#[test]
fn the_scripts_answer_alike_when_things_break() {
    let seen = run(3000..3300, sales::broken_sequence);
    assert_reached(&seen, &HEALTHY);
    assert_reached(&seen, &BROKEN);
}
