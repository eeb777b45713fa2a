//! `flux-simulation`: fresh seeds for as long as asked. A seed that fails is printed with what is wrong and the smallest
//! part of its run that still fails; it belongs into `tests/runs.rs`, for good.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use flux_simulation::scenario::attempt::{attempt, shrink};

/// Runs whole Flux-Gates under virtual time, a seed after the other, until the time is up or one fails.
#[derive(Parser)]
#[command(name = "flux-simulation")]
struct Arguments {
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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = arguments.seed.unwrap_or_else(|| clock.map_or(0, |since| since.as_micros() as u64));
    let threads = arguments.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
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
