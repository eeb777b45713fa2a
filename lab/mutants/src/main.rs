//! `flux-mutants`: draws mutants, has them judged, and writes lab/mutants/<date>.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use flux_mutants::error::MutantsError;
use flux_mutants::judge::{Bench, Judge, Judged, Verdict, one_test};
use flux_mutants::lock::Lock;
use flux_mutants::mutant::{Candidates, Kind, Mutant, sample};
use flux_mutants::programs::{Built, Copies, Incremental, build};
use flux_mutants::record::{Count, note, read_argued, read_journal, record};
use flux_mutants::text;
use flux_mutants::tree::Tree;

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
    #[arg(long, default_value_t = 40)]
    sql: usize,
    /// How many of the Rust: of each crate a third
    #[arg(long, default_value_t = 80)]
    rust: usize,
    /// What draws the sample
    #[arg(long, default_value_t = 13)]
    seed: u64,
    /// These mutants only, by id, whether the sample has them or not
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Judge again what the journal holds: survivors, or all
    #[arg(long, value_enum)]
    again: Option<Again>,
    /// Leave these stages or programs out, by name, as the record has them; who survives the others is judged by them later, with --again
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Ask one test only, as the record names it: its program, a blank, its path
    #[arg(long)]
    by: Option<String>,
    /// Only list what would be judged
    #[arg(long)]
    list: bool,
    /// Write the record, of what the journal holds of the sample
    #[arg(long)]
    record: bool,
}

impl Arguments {
    fn asked(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| self.kinds.is_empty() || self.kinds.contains(kind))
    }

    fn drawn(&self, kind: Kind) -> usize {
        match kind {
            Kind::Lua => self.lua,
            Kind::Sql => self.sql,
            Kind::Rust => self.rust,
        }
    }
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
    for kind in arguments.asked() {
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
    let drawn: Vec<String> =
        arguments.asked().map(|kind| format!("{} of {}", arguments.drawn(kind), kind.name())).collect();
    Ok(format!(
        "# Mutants, {date}\n\nCommit {commit}, seed {}: one small change at a time, drawn by `make mutants`, and which test notices it\nfirst. CONTRIBUTING.md says how to read it and how to try one again. Drawn: {}.",
        arguments.seed,
        drawn.join(", ")
    ))
}

/// Those of the sample that were judged, now or before.
fn of_kind(arguments: &Arguments, paths: &Paths, kind: Kind) -> Result<Vec<Judged>, MutantsError> {
    let Candidates { texts, parts } = text::read(&paths.root, kind)?;
    let drawn = arguments.drawn(kind);
    eprintln!("{drawn} of {} mutants of {}", parts.iter().map(Vec::len).sum::<usize>(), kind.name());
    let is_judging = !arguments.list && !arguments.record;
    let place = paths.target.join(if kind == Kind::Rust { "mutants" } else { "patch" });
    let _lock = is_judging.then(|| Lock::take(&place)).transpose()?;
    let bench: Option<Box<dyn Bench>> = match kind {
        _ if !is_judging => None,
        Kind::Lua | Kind::Sql => {
            Some(Box::new(Copies::new(&built(paths, kind, &arguments.without)?, &paths.target, &texts)?))
        }
        Kind::Rust => Some(Box::new(Tree::new(&paths.root, &paths.target)?)),
    };
    let by = arguments.by.as_deref().map(|by| one_test(kind, by)).transpose()?;
    let mut judge = bench.as_deref().map(|bench| Judge::new(kind, bench, &texts, &arguments.without, by));
    let mut journal = read_journal(&paths.journal)?;
    let mut judged = Vec::new();
    let (count, mut left) = (parts.len(), drawn);
    for (nth, all) in parts.iter().enumerate() {
        // What cannot be shared out evenly goes to the first.
        let most = left.div_ceil(count - nth);
        left -= most;
        let ranked: Vec<Mutant> = if arguments.only.is_empty() {
            sample(all, arguments.seed, all.len())
        } else {
            all.iter().filter(|mutant| arguments.only.contains(&mutant.id)).cloned().collect()
        };
        if arguments.list {
            list(ranked.iter().take(most));
        } else {
            judged.extend(of_part(arguments, paths, judge.as_mut(), &mut journal, ranked, most)?);
        }
    }
    Ok(judged)
}

fn list<'a>(mutants: impl Iterator<Item = &'a Mutant>) {
    for Mutant { id, file, line, what, before, after, .. } in mutants {
        println!("{id} {file}:{line} {what}: {before:?} -> {after:?}");
    }
}

/// The first `most` of them that can be put in place.
fn of_part(
    arguments: &Arguments,
    paths: &Paths,
    mut judge: Option<&mut Judge<'_>>,
    journal: &mut BTreeMap<String, Judged>,
    ranked: Vec<Mutant>,
    most: usize,
) -> Result<Vec<Judged>, MutantsError> {
    let is_due = |held: Option<&Judged>| match (held, arguments.again) {
        (None, _) | (Some(_), Some(Again::All)) => true,
        (Some(judged), Some(Again::Survivors)) => judged.verdict == Verdict::Survived,
        (Some(_), None) => false,
    };
    let mut drawn = Vec::new();
    for mutant in ranked {
        if drawn.len() == most {
            break;
        }
        if let Some(judge) = judge.as_deref_mut()
            && is_due(journal.get(&mutant.id))
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
        Kind::Rust => return Ok(Built::new()),
    };
    let simulation: &[&str] = match kind {
        Kind::Lua => &["--bins"],
        Kind::Sql | Kind::Rust => &["--test", "postgres"],
    };
    let once = |arguments: &[&str]| {
        let built = build(&paths.root, &paths.target, arguments, Incremental::No)?;
        built.ok_or_else(|| MutantsError::Other(format!("cargo test --no-run {} failed", arguments.join(" "))))
    };
    let mut built = once(tests)?;
    let simulation_is = if kind == Kind::Lua { "simulation" } else { "flux-simulation/postgres" };
    if without.iter().any(|name| name == simulation_is) {
        return Ok(built);
    }
    let of_simulation = ["--locked", "--manifest-path", "lab/simulation/Cargo.toml"];
    built.extend(once(&[&of_simulation, simulation].concat())?);
    Ok(built)
}
