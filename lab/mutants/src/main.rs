//! `flux-mutants`: draws mutants, has them judged, and writes lab/mutants/<date>.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use flux_mutants::error::MutantsError;
use flux_mutants::judge::{Judge, Judged, Verdict};
use flux_mutants::mutant::{Kind, Mutant, sample};
use flux_mutants::programs::{Built, Copies, build};
use flux_mutants::record::{Count, note, read_argued, read_journal, record};
use flux_mutants::text;

/// Small changes to the code that decides, one at a time: which test notices?
#[derive(Parser)]
#[command(name = "flux-mutants")]
struct Arguments {
    /// Only these kinds; all where it is left out
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// How many of the Lua
    #[arg(long, default_value_t = 180)]
    lua: usize,
    /// How many of the SQL
    #[arg(long, default_value_t = 120)]
    sql: usize,
    /// What draws the sample
    #[arg(long, default_value_t = 13)]
    seed: u64,
    /// These mutants only, by id, whether the sample has them or not
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Judge again what the journal holds: survivors, or all
    #[arg(long, value_enum)]
    again: Option<Again>,
    /// Leave these stages out, by name, as the record has them; who survives the others is judged by them later, with --again
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Only list what would be judged
    #[arg(long)]
    list: bool,
    /// Write the record, of what the journal holds of the sample
    #[arg(long)]
    record: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Again {
    Survivors,
    All,
}

fn main() -> ExitCode {
    match work(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("flux-mutants: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Where things are.
struct Paths {
    root: PathBuf,
    target: PathBuf,
    journal: PathBuf,
}

impl Paths {
    fn new() -> Paths {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Paths { journal: target.join("mutants.jsonl"), root, target }
    }
}

fn work(arguments: &Arguments) -> Result<bool, MutantsError> {
    let paths = Paths::new();
    let mut drawn = Vec::new();
    for kind in [Kind::Lua, Kind::Sql] {
        if !arguments.kinds.is_empty() && !arguments.kinds.contains(&kind) {
            continue;
        }
        drawn.extend(of_kind(arguments, &paths, kind)?);
    }
    if arguments.list {
        return Ok(true);
    }
    let argued = read_argued(&paths.root.join("lab/mutants/argued.txt"))?;
    let counted: Vec<&Judged> = drawn.iter().filter(|judged| judged.verdict != Verdict::Unviable).collect();
    let count = Count::of(counted.iter().copied(), &argued);
    let text = record(&heading(arguments, &paths)?, &counted, &argued);
    if arguments.record {
        let path = paths.root.join("lab/mutants").join(format!("{}.md", said(&paths, "date", &["-u", "+%F"])?));
        std::fs::write(&path, text).map_err(|why| MutantsError::Other(format!("{}: {why}", path.display())))?;
        println!("written: {}", path.display());
    } else {
        println!("{}", text.split("\n## All of them").next().unwrap_or_default());
    }
    println!("{:.1} of a hundred that can be noticed are killed", count.percent());
    Ok(count.is_enough())
}

fn said(paths: &Paths, program: &str, arguments: &[&str]) -> Result<String, MutantsError> {
    let output = Command::new(program).args(arguments).current_dir(&paths.root).output();
    let output = output.map_err(|why| MutantsError::Other(format!("{program}: {why}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn heading(arguments: &Arguments, paths: &Paths) -> Result<String, MutantsError> {
    let date = said(paths, "date", &["-u", "+%F"])?;
    let commit = said(paths, "git", &["rev-parse", "--short=12", "HEAD"])?;
    Ok(format!(
        "# Mutants, {date}\n\nCommit {commit}, seed {}: one small change at a time, drawn by `make mutants`, and which test notices it\nfirst. CONTRIBUTING.md says how to read it and how to try one again.",
        arguments.seed
    ))
}

/// Those of the sample that were judged, now or before.
fn of_kind(arguments: &Arguments, paths: &Paths, kind: Kind) -> Result<Vec<Judged>, MutantsError> {
    let most = match kind {
        Kind::Lua => arguments.lua,
        Kind::Sql => arguments.sql,
    };
    let texts = text::read(&paths.root, kind)?;
    let all = text::mutants(kind, &texts);
    let ranked: Vec<Mutant> = if arguments.only.is_empty() {
        sample(&all, arguments.seed, all.len())
    } else {
        all.iter().filter(|mutant| arguments.only.contains(&mutant.id)).cloned().collect()
    };
    eprintln!("{kind:?}: {most} of {} mutants", all.len());
    if arguments.list {
        for mutant in ranked.iter().take(most) {
            let Mutant { id, file, line, what, before, after, .. } = mutant;
            println!("{id} {file}:{line} {what}: {before:?} -> {after:?}");
        }
        return Ok(Vec::new());
    }
    let mut journal = read_journal(&paths.journal)?;
    let is_due = |journal: &BTreeMap<String, Judged>, mutant: &Mutant| match (journal.get(&mutant.id), arguments.again)
    {
        (None, _) | (Some(_), Some(Again::All)) => true,
        (Some(judged), Some(Again::Survivors)) => judged.verdict == Verdict::Survived,
        (Some(_), None) => false,
    };
    let mut drawn = Vec::new();
    let mut bench: Option<Copies> = None;
    if !arguments.record && !ranked.is_empty() {
        bench = Some(Copies::new(&built(paths, kind, &arguments.without)?, &paths.target, &texts)?);
    }
    let judge = bench.as_ref().map(|copies| Judge::new(kind, copies, &texts, &arguments.without)).transpose()?;
    for mutant in ranked {
        if drawn.len() == most {
            break;
        }
        if let Some(judge) = &judge
            && is_due(&journal, &mutant)
        {
            let judged = judge.judge(&mutant)?;
            note(&paths.journal, &judged)?;
            say(&judged);
            journal.insert(mutant.id.clone(), judged);
        }
        if let Some(judged) = journal.get(&mutant.id)
            && judged.verdict != Verdict::Unviable
        {
            // The journal may have it from before lines were put in above it.
            drawn.push(Judged { mutant, ..judged.clone() });
        }
    }
    Ok(drawn)
}

fn say(judged: &Judged) {
    let Mutant { id, file, line, what, before, after, .. } = &judged.mutant;
    let verdict = match &judged.verdict {
        Verdict::Killed { stage, by } => format!("killed by {stage}: {by}"),
        Verdict::Survived => "SURVIVES".to_owned(),
        Verdict::Unviable => "cannot be put in place".to_owned(),
    };
    eprintln!("{id} {file}:{line} {what}: {before:?} -> {after:?}: {verdict} ({} s)", judged.seconds);
    for test in &judged.unsure {
        eprintln!("  failed once, and passed when it was run again: {test}");
    }
}

fn built(paths: &Paths, kind: Kind, without: &[String]) -> Result<Built, MutantsError> {
    let tests: &[&str] = match kind {
        Kind::Lua => &["--workspace", "--bins", "--test", "scripts", "--test", "queue", "--test", "rebuild"],
        Kind::Sql => &["--workspace", "--bins", "--test", "ledger_real", "--test", "rebuild"],
    };
    let simulation: &[&str] = match kind {
        Kind::Lua => &["--bins"],
        Kind::Sql => &["--test", "postgres"],
    };
    let mut built = build(&paths.root, &paths.target, tests)?;
    if kind == Kind::Lua && without.iter().any(|name| name == "simulation") {
        return Ok(built);
    }
    let of_simulation = ["--locked", "--manifest-path", "lab/simulation/Cargo.toml"];
    built.extend(build(&paths.root, &paths.target, &[&of_simulation, simulation].concat())?);
    Ok(built)
}
