//! Who judges a mutant, in which order, and what is believed of them.
//!
//! A test kills a mutant where it fails with it, and fails again when it is run alone; that it passes without is tried
//! first of all. Who hangs or crashes is killed as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::MutantsError;
use crate::mutant::{Kind, Mutant};
use crate::programs::{Copies, Name, fitted};
use crate::run::{Outcome, run};

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

/// Who judges mutants of this kind, one after the other.
pub fn stages(kind: Kind) -> &'static [Stage] {
    match kind {
        Kind::Lua => &[SCRIPTS, REBUILD, SIMULATION],
        Kind::Sql => &[LEDGER],
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

/// Judges mutants of one kind.
#[derive(Debug)]
pub struct Judge<'a> {
    kind: Kind,
    copies: &'a Copies,
    texts: &'a BTreeMap<String, String>,
    /// Stages that are left out.
    without: &'a [String],
    /// By program, how long it takes without a mutant.
    spans: BTreeMap<Name, Duration>,
}

fn words(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

impl<'a> Judge<'a> {
    /// Runs every program once without a mutant, which all must pass.
    ///
    /// # Errors
    /// Where one does not pass, or is missing.
    pub fn new(
        kind: Kind,
        copies: &'a Copies,
        texts: &'a BTreeMap<String, String>,
        without: &'a [String],
    ) -> Result<Judge<'a>, MutantsError> {
        let mut spans = BTreeMap::new();
        for (name, arguments) in chosen(kind, without).flat_map(|stage| stage.programs) {
            if spans.contains_key(*name) {
                continue;
            }
            let path = path_of(copies, name)?;
            let begun = Instant::now();
            let outcome = run(path, &words(arguments), Duration::from_secs(3600))?;
            if outcome != Outcome::Passed {
                return Err(MutantsError::Other(format!("{name} does not pass without a mutant: {outcome:?}")));
            }
            eprintln!("{name} passes without a mutant, in {:.1} s", begun.elapsed().as_secs_f64());
            spans.insert((*name).to_owned(), begun.elapsed());
        }
        Ok(Judge { kind, copies, texts, without, spans })
    }

    /// What comes of it.
    ///
    /// # Errors
    /// Where a program cannot be started, or written.
    pub fn judge(&self, mutant: &Mutant) -> Result<Judged, MutantsError> {
        let begun = Instant::now();
        let mut unsure = Vec::new();
        let text = &self.texts[&mutant.file];
        let verdict = match fitted(&mutant.applied(text), text.len()) {
            None => Verdict::Unviable,
            Some(changed) => {
                self.copies.write(&mutant.file, &changed)?;
                let verdict = self.verdict(mutant, &mut unsure);
                self.copies.write(&mutant.file, text)?;
                verdict?
            }
        };
        Ok(Judged { mutant: mutant.clone(), verdict, unsure, seconds: begun.elapsed().as_secs() })
    }

    fn verdict(&self, mutant: &Mutant, unsure: &mut Vec<String>) -> Result<Verdict, MutantsError> {
        for stage in chosen(self.kind, self.without) {
            for (name, arguments) in stage.programs {
                if !self.copies.holds(name, &mutant.file) {
                    continue;
                }
                let path = path_of(self.copies, name)?;
                let patience = 3 * self.spans[*name] + Duration::from_secs(60);
                let by = match run(path, &words(arguments), patience)? {
                    Outcome::Passed => continue,
                    Outcome::Hung => format!("{name} did not end"),
                    Outcome::Crashed(how) => format!("{name} ended with {how}"),
                    Outcome::Failed(test) if stage.name == SIMULATION.name => test,
                    Outcome::Failed(test) => {
                        let alone = words(&[&test, "--exact"]);
                        if run(path, &alone, patience)? == Outcome::Passed {
                            unsure.push(format!("{name} {test}"));
                            continue;
                        }
                        format!("{name} {test}")
                    }
                };
                return Ok(Verdict::Killed { stage: stage.name.to_owned(), by });
            }
        }
        Ok(Verdict::Survived)
    }
}

fn path_of<'a>(copies: &'a Copies, name: &str) -> Result<&'a Path, MutantsError> {
    copies.path(name).ok_or_else(|| MutantsError::Other(format!("{name} was not built")))
}
