//! `flux-simulation`: fresh seeds for as long as asked. A seed that fails is printed with what is wrong and the smallest
//! part of its run that still fails; it belongs into `tests/runs.rs`, for good. `hunt` plants bugs and tells after how many
//! seeds each is found.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use flux_protocol::planted::{BUGS, Bug, plant, take_asked};
use flux_simulation::random::Random;
use flux_simulation::redis::reach;
use flux_simulation::scenario::attempt::{attempt, attempt_usual, shrink};
use flux_simulation::scenario::shape::Shape;

/// Runs whole Flux-Gates under virtual time, a seed after the other, until the time is up or one fails.
#[derive(Parser)]
#[command(name = "flux-simulation", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    soak: Soak,
}

#[derive(Subcommand)]
enum Command {
    /// Runs drawn seeds as they ship and then with each bug planted that they meet, until each bug is found
    Hunt(Hunt),
    /// Runs seeds and tells how often each line of each script is run: those that never are, first
    Reach(Reach),
}

#[derive(Args)]
struct Soak {
    /// The first seed; from the clock where it is left out
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds; as many as there is time for where it is left out
    #[arg(long)]
    runs: Option<u64>,
    /// How long, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Go on after a seed that fails; such seeds are named with what is wrong, and not made smaller
    #[arg(long)]
    all: bool,
    /// Threads; one for each processor where it is left out
    #[arg(long)]
    threads: Option<usize>,
    /// Show what the first seed draws, and run nothing
    #[arg(long)]
    shape: bool,
    /// Show what the programs log, as RUST_LOG asks, of all runs that are made
    #[arg(long)]
    log: bool,
}

#[derive(Args)]
struct Hunt {
    /// Which bugs, by their names in `protocol/src/planted.rs`; all where none is named
    bugs: Vec<String>,
    /// How many seeds each may take
    #[arg(long, default_value_t = 5000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; one for each processor where it is left out
    #[arg(long)]
    threads: Option<usize>,
    /// Only shapes that have some of everything
    #[arg(long)]
    usual: bool,
}

#[derive(Args)]
struct Reach {
    /// How many seeds, from 0 on
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// Only shapes that have some of everything
    #[arg(long)]
    usual: bool,
    /// Lines that are run no more often than this are shown
    #[arg(long, default_value_t = 0)]
    most: u64,
    /// Threads; one for each processor where it is left out
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => soak(&arguments.soak),
        Some(Command::Hunt(asked)) => hunt(&asked),
        Some(Command::Reach(asked)) => show_reach(&asked),
    }
}

fn processors(asked: Option<usize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1)
}

fn soak(arguments: &Soak) -> ExitCode {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = arguments.seed.unwrap_or_else(|| clock.map_or(0, |since| since.as_micros() as u64));
    if arguments.shape {
        println!("{:#?}", Shape::draw(&mut Random::new(first).fork()));
        return ExitCode::SUCCESS;
    }
    let _log = arguments.log.then(flux_net::logging::start);
    let threads = processors(arguments.threads);
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let (next, done, requests) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let (failed, failures) = (AtomicBool::new(false), AtomicU64::new(0));
    println!("seeds from {first} on, {threads} threads");
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) && Instant::now() < end {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if arguments.runs.is_some_and(|runs| number >= runs) {
                        return;
                    }
                    let seed = first.wrapping_add(number);
                    match attempt(seed) {
                        Ok(report) => {
                            done.fetch_add(1, Ordering::Relaxed);
                            requests.fetch_add(report.requests as u64, Ordering::Relaxed);
                        }
                        Err(what) if arguments.all => {
                            failures.fetch_add(1, Ordering::Relaxed);
                            println!("seed {seed} fails:\n{what}");
                        }
                        Err(what) => {
                            failures.fetch_add(1, Ordering::Relaxed);
                            failed.store(true, Ordering::Relaxed);
                            let shape = shrink(seed);
                            println!("seed {seed} fails:\n{what}\nsmallest part that still fails:\n{shape:#?}");
                        }
                    }
                }
            });
        }
    });
    println!("{} runs came to rest with every promise kept, {} requests", done.into_inner(), requests.into_inner());
    if failures.into_inner() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn show_reach(asked: &Reach) -> ExitCode {
    reach::count_lines();
    let attempt = if asked.usual { attempt_usual } else { attempt };
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..processors(asked.threads) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < asked.seeds) {
                    failed.fetch_add(u64::from(attempt(seed).is_err()), Ordering::Relaxed);
                }
                reach::hand_in_lines();
            });
        }
    });
    let lines = reach::by_file();
    let seldom: Vec<_> = lines.iter().filter(|(.., count)| *count <= asked.most).collect();
    for (file, line, text, count) in &seldom {
        println!("{file}:{line}: {count}: {}", text.trim());
    }
    let (all, failed) = (lines.len(), failed.into_inner());
    println!(
        "{} of {all} lines at most {} times, over {} seeds, {failed} of which fail",
        seldom.len(),
        asked.most,
        asked.seeds
    );
    ExitCode::SUCCESS
}

/// What the hunt for one bug has come to.
struct Hunted {
    bug: Bug,
    /// The first seed that finds it, and what is wrong then.
    found: Option<(u64, String)>,
    /// Runs in which what it changes was run at all.
    reached: u64,
    /// Runs of those that came to rest with every promise kept, though they were others than without it.
    unnoticed: u64,
}

impl Hunted {
    /// Whether this seed may be the first that finds it.
    fn is_sought(&self, seed: u64) -> bool {
        self.found.as_ref().is_none_or(|(first, _)| seed < *first)
    }
}

fn hunt(asked: &Hunt) -> ExitCode {
    let is_asked = |bug: &Bug| asked.bugs.is_empty() || asked.bugs.contains(&format!("{bug:?}"));
    let bugs = BUGS.into_iter().filter(is_asked);
    let hunted: Vec<Hunted> = bugs.map(|bug| Hunted { bug, found: None, reached: 0, unnoticed: 0 }).collect();
    let (hunted, next) = (Mutex::new(hunted), AtomicU64::new(asked.seed));
    std::thread::scope(|scope| {
        for _ in 0..processors(asked.threads) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .filter(|seed| *seed < asked.seed + asked.seeds)
                    .filter(|seed| lock(&hunted).iter().any(|one| one.is_sought(*seed)))
                {
                    try_seed(seed, asked, &hunted);
                }
            });
        }
    });
    let hunted = lock(&hunted);
    for Hunted { bug, found, reached, unnoticed } in hunted.iter() {
        match found {
            Some((seed, what)) => println!("{bug:?} | {} | {}", seed - asked.seed + 1, first_line(what)),
            None => println!(
                "{bug:?} | not within {} | run in {reached} of them, of which it changed {unnoticed}",
                asked.seeds
            ),
        }
    }
    if hunted.iter().any(|one| one.found.is_none()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs a seed as it ships, and then with each bug planted that such a run would meet and no earlier seed has found.
fn try_seed(seed: u64, asked: &Hunt, hunted: &Mutex<Vec<Hunted>>) {
    let attempt = if asked.usual { attempt_usual } else { attempt };
    plant(None);
    drop(take_asked());
    // It counts only where the programs that ship come through.
    let Ok(healthy) = attempt(seed) else {
        eprintln!("seed {seed} fails with nothing planted");
        return;
    };
    for bug in take_asked() {
        let is_sought = lock(hunted).iter_mut().find(|one| one.bug == bug && one.is_sought(seed)).map(|one| {
            one.reached += 1;
        });
        if is_sought.is_none() {
            continue;
        }
        plant(Some(bug));
        let outcome = attempt(seed);
        plant(None);
        let mut hunted = lock(hunted);
        let Some(one) = hunted.iter_mut().find(|one| one.bug == bug && one.is_sought(seed)) else { continue };
        match outcome {
            Ok(report) => one.unnoticed += u64::from(report.trace != healthy.trace),
            Err(what) => {
                eprintln!("{bug:?} | {} | {}", seed - asked.seed + 1, first_line(&what));
                one.found = Some((seed, what));
            }
        }
    }
}

fn lock(hunted: &Mutex<Vec<Hunted>>) -> MutexGuard<'_, Vec<Hunted>> {
    hunted.lock().unwrap_or_else(PoisonError::into_inner)
}

fn first_line(what: &str) -> String {
    let mut lines = what.lines().map(str::trim).filter(|line| !line.is_empty());
    // Before those of the checker stands how many there are.
    let first = lines.find(|line| !line.ends_with("violations") && *line != "1 violation");
    first.unwrap_or(what).chars().take(160).collect()
}
