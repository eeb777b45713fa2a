//! `flux-bench flame`: a flame graph of the edge under the load of one scenario, drawn by `perf/flame.sh`.
//!
//! Never measures: a program that is sampled is slower than one that is not.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::contestant::{self, Contestant};
use super::goals::Reference;
use super::measure::{Generator, Ready};
use super::scenario::Scenario;
use super::stage::Stage;
use flux_lab::error::LabError;

/// Load before the first sample: the broker's JVM compiles meanwhile.
const LOAD_BEFORE_SECONDS: u32 = 5;
/// And after the last one, while perf says good-bye.
const LOAD_AFTER_SECONDS: u32 = 3;

/// What can be chosen.
#[derive(Args, Clone, Debug)]
pub struct FlameArguments {
    /// The load.
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// Connections.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub connections: u32,
    /// Cores of the edge.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// How long samples are taken, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
}

/// Draws `perf/record/flame-<scenario>.svg` and returns its path.
///
/// # Errors
/// Where the scenario has no requests, or a server, wrk, perf or the script fails.
pub fn run(arguments: &FlameArguments, say: fn(&str)) -> Result<PathBuf, LabError> {
    let scenario = arguments.scenario;
    if matches!(scenario, Scenario::Idle | Scenario::Opening | Scenario::Flood | Scenario::Worker) {
        return Err(LabError::failed(
            "it has no load of requests; for the worker: perf/flame.sh --name flux-worker beside `make bench BENCH='--only worker'`",
        ));
    }
    let root = super::repository()?;
    flux_lab::crowd::raise_file_limit(super::FILES_WANTED)?;
    let source = Contestant::Edge.find(&contestant::peers_directory(&root)).map_err(LabError::failed)?;
    let seconds = LOAD_BEFORE_SECONDS + arguments.seconds + LOAD_AFTER_SECONDS;
    let generator = Generator { threads: Generator::usual_threads(), seconds };
    let reference = Reference { connections: arguments.connections, threads: arguments.threads };
    let cell = reference.cell(scenario, Contestant::Edge);
    let mut stage = Stage::start(root.clone())?;
    let ready = Ready::enter(&mut stage, cell, &source, generator, Vec::new())?;
    say(&format!("{} for {seconds} s, samples for {} s of them …", scenario.name(), arguments.seconds));
    let drawing = root.join(format!("perf/record/flame-{}.svg", scenario.name()));
    let mut script = Command::new(root.join("perf/flame.sh"));
    script.args(["--pid", &ready.server().pid()?.to_string(), "--seconds", &arguments.seconds.to_string(), "--out"]);
    script.arg(&drawing);
    ready.under_load(|| {
        std::thread::sleep(std::time::Duration::from_secs(u64::from(LOAD_BEFORE_SECONDS)));
        let status = script.status().map_err(|error| LabError::failed(format!("perf/flame.sh: {error}")))?;
        if status.success() { Ok(()) } else { Err(LabError::failed(format!("perf/flame.sh: {status}"))) }
    })?;
    Ok(drawing)
}
