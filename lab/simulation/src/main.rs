//! `flux-simulation`: fresh seeds for as long as asked. A seed that fails is printed with what is wrong and the smallest
//! part of its run that still fails; it belongs into `tests/runs.rs`, for good. `hunt` plants bugs and tells after how many
//! seeds each is found.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use flux_protocol::planted::{BUGS, Bug, plant};
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
    /// Plants bugs, one after the other, and runs drawn seeds until each is found
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

fn hunt(asked: &Hunt) -> ExitCode {
    let is_asked = |bug: &Bug| asked.bugs.is_empty() || asked.bugs.contains(&format!("{bug:?}"));
    let mut missed = 0;
    for bug in BUGS.into_iter().filter(is_asked) {
        match find(bug, asked) {
            Some((seed, what)) => {
                let first = what.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
                println!("{bug:?} | {} | {}", seed - asked.seed + 1, first.chars().take(160).collect::<String>());
            }
            None => {
                missed += 1;
                println!("{bug:?} | not within {} | ", asked.seeds);
            }
        }
    }
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The first seed that finds it, and what is wrong then.
fn find(bug: Bug, asked: &Hunt) -> Option<(u64, String)> {
    let attempt = if asked.usual { attempt_usual } else { attempt };
    let next = AtomicU64::new(asked.seed);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..processors(asked.threads) {
            scope.spawn(|| {
                plant(Some(bug));
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_beyond = || {
                        found.lock().expect("nobody panics with it").as_ref().is_some_and(|(first, _)| *first < seed)
                    };
                    if seed >= asked.seed + asked.seeds || is_beyond() {
                        return;
                    }
                    if let Err(what) = attempt(seed) {
                        // It counts only where the programs that ship come through.
                        plant(None);
                        let is_healthy = attempt(seed).is_ok();
                        plant(Some(bug));
                        if !is_healthy {
                            continue;
                        }
                        let mut found = found.lock().expect("nobody panics with it");
                        if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                            *found = Some((seed, what));
                        }
                    }
                }
            });
        }
    });
    found.into_inner().expect("nobody panics with it")
}
