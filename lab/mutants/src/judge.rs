//! Who judges a mutant, in which order, and what is believed of them.
//!
//! A test kills a mutant where it fails with it, and fails again when it is run alone; that it passes without is tried
//! before. Who hangs or crashes is killed as well.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::MutantsError;
use crate::mutant::{Kind, Mutant};
use crate::programs::Name;
use crate::run::{Outcome, Patience, run};

/// Programs that judge together, under one name.
#[derive(Debug)]
pub struct Stage {
    /// As the record calls them.
    pub name: &'static str,
    /// Each with its arguments.
    pub programs: &'static [(&'static str, &'static [&'static str])],
}

/// The fixed seeds of `lab/simulation/tests/runs.rs`. There a seed that fails is made smaller, which nobody wants here.
const SIMULATION: Stage = Stage {
    name: "simulation",
    programs: &[("flux-simulation/bin", &["--seed", "0", "--runs", "2000", "--seconds", "100000", "--all"])],
};

const SCRIPTS: Stage = Stage {
    name: "script tests",
    programs: &[("flux-edge/scripts", &[]), ("flux-worker/scripts", &[]), ("flux-edge/queue", &[])],
};

const LEDGER: Stage = Stage {
    name: "PostgreSQL",
    programs: &[("flux-worker/ledger_real", &[]), ("flux-worker/rebuild", &[]), ("flux-simulation/postgres", &[])],
};

/// Both servers, and the commands that put them right.
const REBUILD: Stage = Stage { name: "rebuild", programs: &[("flux-worker/rebuild", &[])] };

/// Of the crate that is changed.
const UNITS: Stage = Stage {
    name: "unit tests",
    programs: &[
        ("flux-protocol/lib", &[]),
        ("flux-protocol/http", &[]),
        ("flux-protocol/kafka_golden", &[]),
        ("flux-edge/lib", &[]),
        ("flux-worker/lib", &[]),
    ],
};

/// Of the crates that are built of it, and whole programs, without servers.
const PROGRAMS: Stage = Stage {
    name: "program tests",
    programs: &[
        ("flux-edge/lib", &[]),
        ("flux-worker/lib", &[]),
        ("flux-edge/requests", &[]),
        ("flux-edge/queue", &[]),
        ("flux-worker/admin", &[]),
    ],
};

/// Against models, and what the worker asks of PostgreSQL.
const SERVERS: Stage = Stage {
    name: "real servers",
    programs: &[
        ("flux-edge/scripts", &[]),
        ("flux-worker/scripts", &[]),
        ("flux-worker/ledger_real", &[]),
        ("flux-worker/rebuild", &[]),
    ],
};

/// Who judges mutants of this kind, one after the other.
pub fn stages(kind: Kind) -> &'static [Stage] {
    match kind {
        Kind::Lua => &[SCRIPTS, REBUILD, SIMULATION],
        Kind::Sql => &[LEDGER],
        Kind::Rust => &[UNITS, PROGRAMS, SERVERS, SIMULATION],
    }
}

/// Those that are not left out.
fn chosen(kind: Kind, without: &[String]) -> impl Iterator<Item = &'static Stage> {
    stages(kind).iter().filter(|stage| !without.iter().any(|name| name == stage.name))
}

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// By a test of this stage.
    Killed {
        /// Whose.
        stage: String,
        /// Which test, or how it ended.
        by: String,
    },
    /// All passed.
    Survived,
    /// It cannot be put in place.
    Unviable,
}

/// A line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// Of what.
    pub mutant: Mutant,
    /// The outcome.
    pub verdict: Verdict,
    /// Tests that failed with it and passed when they were run again: they decide nothing.
    #[serde(default)]
    pub unsure: Vec<String>,
    /// What it took.
    pub seconds: u64,
}

/// Where a mutant is put in place, and what then is to be run.
pub trait Bench {
    /// `text` as it can stand where the file's `own` does. `None` where it cannot.
    fn fitted(&self, text: &str, own: &str) -> Option<String>;

    /// Puts it there.
    ///
    /// # Errors
    /// Where that fails.
    fn write(&self, file: &str, text: &str) -> Result<(), MutantsError>;

    /// Whether the program of this name can tell how `file` stands.
    fn holds(&self, name: &str, file: &str) -> bool;

    /// That program, of what is in place. `None` where that does not compile.
    ///
    /// # Errors
    /// Where there is none.
    fn program(&self, name: &str) -> Result<Option<PathBuf>, MutantsError>;
}

/// Judges mutants of one kind.
pub struct Judge<'a> {
    kind: Kind,
    bench: &'a dyn Bench,
    texts: &'a BTreeMap<String, String>,
    /// Stages and programs that are left out.
    without: &'a [String],
    /// The program and the one test of it that are asked, where not all are.
    by: Option<(&'a str, &'a str)>,
    /// By program, how long it takes without a mutant.
    spans: BTreeMap<Name, Duration>,
}

/// `edge` of `edge/src/answer.rs` and of `edge/lib`.
fn crate_of(path: &str) -> Option<&str> {
    path.split('/').next()
}

/// Splits what the record says that a mutant was killed by: a program, and a test of it that judges mutants of this kind.
///
/// # Errors
/// Where no stage asks that program.
pub fn one_test(kind: Kind, by: &str) -> Result<(&str, &str), MutantsError> {
    let is_asked = |name: &str| stages(kind).iter().flat_map(|stage| stage.programs).any(|(asked, _)| *asked == name);
    let parts = by.split_once(' ').filter(|(program, test)| is_asked(program) && !test.is_empty());
    parts.ok_or_else(|| {
        MutantsError::Other(format!("{by:?} is no program that judges {}, and a test of it", kind.name()))
    })
}

fn words(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

impl<'a> Judge<'a> {
    /// Nothing is tried yet.
    pub fn new(
        kind: Kind,
        bench: &'a dyn Bench,
        texts: &'a BTreeMap<String, String>,
        without: &'a [String],
        by: Option<(&'a str, &'a str)>,
    ) -> Judge<'a> {
        Judge { kind, bench, texts, without, by, spans: BTreeMap::new() }
    }

    /// What comes of it.
    ///
    /// # Errors
    /// Where a program cannot be started or written, or does not pass without a mutant.
    pub fn judge(&mut self, mutant: &Mutant) -> Result<Judged, MutantsError> {
        let begun = Instant::now();
        let mut unsure = Vec::new();
        let own = &self.texts[&mutant.file];
        let verdict = match self.bench.fitted(&mutant.applied(own), own) {
            None => Verdict::Unviable,
            Some(changed) => self.verdict(mutant, &changed, &mut unsure)?,
        };
        Ok(Judged { mutant: mutant.clone(), verdict, unsure, seconds: begun.elapsed().as_secs() })
    }

    fn verdict(&mut self, mutant: &Mutant, changed: &str, unsure: &mut Vec<String>) -> Result<Verdict, MutantsError> {
        let mut passed = Vec::new();
        for stage in chosen(self.kind, self.without) {
            for (name, arguments) in stage.programs {
                let is_asked =
                    stage.name != UNITS.name || crate_of(name.trim_start_matches("flux-")) == crate_of(&mutant.file);
                let is_left_out = self.without.iter().any(|without| without == name);
                if !is_asked || is_left_out || !self.bench.holds(name, &mutant.file) || passed.contains(name) {
                    continue;
                }
                let arguments = match self.by {
                    None => words(arguments),
                    Some((program, test)) if program == *name => words(&[test, "--exact"]),
                    Some(_) => continue,
                };
                let patience = Patience::of(self.span(name, &arguments)?, self.kind);
                self.bench.write(&mutant.file, changed)?;
                let verdict = self.verdict_of(stage, name, &arguments, patience, unsure);
                self.bench.write(&mutant.file, &self.texts[&mutant.file])?;
                if let Some(verdict) = verdict? {
                    return Ok(verdict);
                }
                passed.push(*name);
            }
        }
        Ok(Verdict::Survived)
    }

    /// How long the program takes without a mutant, which it must pass. None is in place.
    fn span(&mut self, name: &str, arguments: &[String]) -> Result<Duration, MutantsError> {
        if let Some(span) = self.spans.get(name) {
            return Ok(*span);
        }
        let path = self.bench.program(name)?;
        let path = path.ok_or_else(|| MutantsError::Other(format!("{name} does not compile without a mutant")))?;
        let begun = Instant::now();
        let outcome = run(&path, arguments, Patience::of(Duration::from_secs(1200), self.kind))?;
        if outcome != Outcome::Passed {
            return Err(MutantsError::Other(format!("{name} does not pass without a mutant: {outcome:?}")));
        }
        let span = begun.elapsed();
        eprintln!("{name} passes without a mutant, in {:.1} s", span.as_secs_f64());
        self.spans.insert(name.to_owned(), span);
        Ok(span)
    }

    /// What this program says of the mutant that is in place. `None` where it notices nothing.
    fn verdict_of(
        &self,
        stage: &Stage,
        name: &str,
        arguments: &[String],
        patience: Patience,
        unsure: &mut Vec<String>,
    ) -> Result<Option<Verdict>, MutantsError> {
        let Some(path) = self.bench.program(name)? else { return Ok(Some(Verdict::Unviable)) };
        let by = match run(&path, arguments, patience)? {
            Outcome::Passed => return Ok(None),
            Outcome::Hung => format!("{name} did not end"),
            Outcome::Crashed(how) => format!("{name} ended with {how}"),
            Outcome::Failed(test) if stage.name == SIMULATION.name => test,
            Outcome::Failed(test) => {
                let alone = words(&[&test, "--exact"]);
                if run(&path, &alone, patience)? == Outcome::Passed {
                    unsure.push(format!("{name} {test}"));
                    return Ok(None);
                }
                format!("{name} {test}")
            }
        };
        Ok(Some(Verdict::Killed { stage: stage.name.to_owned(), by }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_test_is_asked_as_the_record_names_it() {
        let named = one_test(Kind::Sql, "flux-worker/rebuild every_unit_is_counted").expect("it judges SQL");
        assert_eq!(named, ("flux-worker/rebuild", "every_unit_is_counted"));
        for wrong in ["flux-worker/rebuild", "flux-worker/rebuild ", "flux-worker/admin a_test", "a_test"] {
            assert!(one_test(Kind::Sql, wrong).is_err(), "{wrong}");
        }
    }
}
