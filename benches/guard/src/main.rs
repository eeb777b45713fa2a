//! `make guard`: whether a request costs more instructions than was recorded; `make guard-record`: records.
//!
//! Exit codes: 0 no path costs more; 1 one does; 2 nothing could be said.

use std::error::Error;
use std::process::ExitCode;

use flux_guard::{Drive, Figures, Path, TOLERANCE_PERCENT, instructions_per_request};

const USAGE: &str = "usage: flux-guard check | record | drive PATH BURSTS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["check"] => check(),
        ["record"] => record(),
        ["drive", path, bursts] => drive(path, bursts),
        _ => Err(USAGE.into()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("guard: {error}");
        ExitCode::from(2)
    })
}

/// What runs under valgrind.
fn drive(path: &str, bursts: &str) -> Result<ExitCode, Box<dyn Error>> {
    let mut drive = Drive::new(path.parse()?);
    for _ in 0..bursts.parse::<u64>()? {
        drive.burst();
    }
    Ok(ExitCode::SUCCESS)
}

fn check() -> Result<ExitCode, Box<dyn Error>> {
    let figures = Figures::read()?;
    let mut costs_more = false;
    println!("{:<12}{:>10}{:>10}  instructions a request", "path", "recorded", "now");
    for path in Path::ALL {
        let Some(recorded) = figures.get(path) else {
            let name = path.name();
            return Err(format!("no figure for {name} on this kind of processor: make guard-record").into());
        };
        let now = instructions_per_request(path)?;
        let verdict = if exceeds(now, recorded) {
            costs_more = true;
            "COSTS MORE"
        } else if exceeds(recorded, now) {
            "costs less: make guard-record keeps it so"
        } else {
            "ok"
        };
        let change = (now as f64 / recorded as f64 - 1.0) * 100.0;
        println!("{:<12}{recorded:>10}{now:>10}  {change:+.1} %  {verdict}", path.name());
    }
    if costs_more {
        eprintln!("guard: more than {TOLERANCE_PERCENT} % above what was recorded; if it must be: make guard-record");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn exceeds(instructions: u64, recorded: u64) -> bool {
    instructions * 100 > recorded * (100 + TOLERANCE_PERCENT)
}

fn record() -> Result<ExitCode, Box<dyn Error>> {
    let mut figures = Figures::read()?;
    for path in Path::ALL {
        let instructions = instructions_per_request(path)?;
        println!("{:<12}{instructions:>10}", path.name());
        figures.set(path, instructions);
    }
    figures.write()?;
    Ok(ExitCode::SUCCESS)
}
