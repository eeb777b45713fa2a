//! `flux-bench`: what a request costs, and where the time goes, from the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flux_bench::BenchArguments;
use flux_bench::flame::{self, FlameArguments};
use flux_lab::demo::say;
use flux_lab::error::LabError;
use flux_lab::interrupt::Interrupt;

/// What a request costs, beside peers, in turns within one run; writes perf/record/<date>-<commit>.md, .json and .svg,
/// and exits 1 where something could not be measured.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    instead: Option<Instead>,
    #[command(flatten)]
    bench: BenchArguments,
}

#[derive(Subcommand)]
enum Instead {
    /// A flame graph of the edge under the load of one scenario: perf/record/flame-<scenario>.svg.
    Flame(FlameArguments),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let result = match &command.instead {
        None => run_bench(&command.bench),
        Some(Instead::Flame(arguments)) => run_flame(arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("flux-bench: {error}");
        ExitCode::from(2)
    })
}

fn run_bench(arguments: &BenchArguments) -> Result<ExitCode, LabError> {
    let _interrupt = Interrupt::catch()?;
    let whole = flux_bench::run(arguments, say)?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_flame(arguments: &FlameArguments) -> Result<ExitCode, LabError> {
    let _interrupt = Interrupt::catch()?;
    let drawing = flame::run(arguments, say)?;
    say(&format!("Drawn in {}", drawing.display()));
    Ok(ExitCode::SUCCESS)
}
