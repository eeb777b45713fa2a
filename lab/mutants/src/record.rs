//! The journal, a line of JSON for each mutant that was judged, and the record that is made of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use crate::error::{MutantsError, doing};
use crate::judge::{Judged, Verdict, stages};
use crate::mutant::Kind;

/// Of those that are not argued equivalent, how many must be killed.
pub const GOAL_PERCENT: usize = 95;

/// What was judged before, the last word of each.
///
/// # Errors
/// Where the journal is there and cannot be read.
pub fn read_journal(path: &Path) -> Result<BTreeMap<String, Judged>, MutantsError> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = doing("reading", path, fs::read_to_string(path))?;
    // A line that was cut short when the run was ended is judged anew.
    let all = text.lines().filter_map(|line| serde_json::from_str::<Judged>(line).ok());
    Ok(all.map(|judged| (judged.mutant.id.clone(), judged)).collect())
}

/// Appends one.
///
/// # Errors
/// Where that fails.
pub fn note(path: &Path, judged: &Judged) -> Result<(), MutantsError> {
    let mut file = doing("opening", path, OpenOptions::new().create(true).append(true).open(path))?;
    let line = serde_json::to_string(judged).map_err(|why| MutantsError::Other(why.to_string()))?;
    doing("writing", path, writeln!(file, "{line}"))
}

/// Why mutants change nothing that anybody could notice, by id: a line each, the id and the reason.
///
/// # Errors
/// Where the file is there and cannot be read.
pub fn read_argued(path: &Path) -> Result<BTreeMap<String, String>, MutantsError> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = doing("reading", path, fs::read_to_string(path))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.filter_map(|line| line.split_once(' ')).map(|(id, why)| (id.to_owned(), why.trim().to_owned())).collect())
}

/// Judged, killed, argued equivalent, all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    judged: usize,
    killed: usize,
    argued: usize,
}

impl Count {
    /// Of these.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Judged>, argued: &BTreeMap<String, String>) -> Count {
        all.into_iter().fold(Count::default(), |count, judged| Count {
            judged: count.judged + 1,
            killed: count.killed + usize::from(matches!(judged.verdict, Verdict::Killed { .. })),
            argued: count.argued
                + usize::from(judged.verdict == Verdict::Survived && argued.contains_key(&judged.mutant.id)),
        })
    }

    /// Killed, of a hundred that somebody could notice.
    pub fn percent(self) -> f64 {
        let counted = self.judged - self.argued;
        if counted == 0 { 100.0 } else { 100.0 * self.killed as f64 / counted as f64 }
    }

    /// Whether as many are killed as should be.
    pub fn is_enough(self) -> bool {
        100 * self.killed >= GOAL_PERCENT * (self.judged - self.argued)
    }
}

fn code(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = if line.chars().count() > 90 { line.chars().take(89).chain(['…']).collect() } else { line };
    let short = short.replace('|', "\\|");
    if short.is_empty() { "nothing".to_owned() } else { format!("`{}`", short.replace('`', "'")) }
}

/// The record in Markdown. `heading`: what stands above the tables.
pub fn record(heading: &str, all: &[&Judged], argued: &BTreeMap<String, String>) -> String {
    let mut out = format!(
        "{heading}\n\n| | judged | killed | by | survived, argued equivalent | survived, open | of a hundred that can be noticed |\n|---|--:|--:|---|--:|--:|--:|\n"
    );
    for kind in Kind::ALL.map(Some).into_iter().chain([None]) {
        let name = kind.map_or("all", Kind::name);
        let of: Vec<&Judged> =
            all.iter().copied().filter(|judged| kind.is_none_or(|kind| judged.mutant.kind == kind)).collect();
        let count = Count::of(of.iter().copied(), argued);
        if count.judged == 0 {
            continue;
        }
        let by = kind.map_or_else(String::new, |kind| {
            let killed = |wanted: &str| {
                let is_by =
                    |judged: &&&Judged| matches!(&judged.verdict, Verdict::Killed { stage, .. } if stage == wanted);
                of.iter().filter(is_by).count()
            };
            let parts = stages(kind).iter().map(|stage| format!("{} {}", stage.name, killed(stage.name)));
            parts.collect::<Vec<_>>().join(", ")
        });
        let Count { judged, killed, argued } = count;
        let open = judged - killed - argued;
        let _ = writeln!(out, "| {name} | {judged} | {killed} | {by} | {argued} | {open} | {:.1} |", count.percent());
    }
    let mut sorted: Vec<&Judged> = all.to_vec();
    sorted.sort_by_key(|judged| (judged.mutant.kind, judged.mutant.file.clone(), judged.mutant.line));
    out.push_str("\n## Survivors\n\n| mutant | where | change | before | after | why |\n|---|---|---|---|---|---|\n");
    for judged in &sorted {
        if judged.verdict != Verdict::Survived {
            continue;
        }
        let mutant = &judged.mutant;
        let why = argued.get(&mutant.id).map_or("open", String::as_str);
        let place = format!("{}:{}", mutant.file, mutant.line);
        let (before, after) = (code(&mutant.before), code(&mutant.after));
        let _ = writeln!(out, "| {} | {place} | {} | {before} | {after} | {why} |", mutant.id, mutant.what);
    }
    out.push_str(
        "\n## All of them\n\n| mutant | where | change | before | after | killed by |\n|---|---|---|---|---|---|\n",
    );
    for judged in &sorted {
        let mutant = &judged.mutant;
        let by = match &judged.verdict {
            Verdict::Killed { stage, by } => format!("{stage}: {}", by.replace('|', "\\|")),
            Verdict::Survived => "**nobody**".to_owned(),
            Verdict::Unviable => continue,
        };
        let place = format!("{}:{}", mutant.file, mutant.line);
        let (before, after) = (code(&mutant.before), code(&mutant.after));
        let _ = writeln!(out, "| {} | {place} | {} | {before} | {after} | {by} |", mutant.id, mutant.what);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutant::Mutant;

    fn judged(id: &str, verdict: Verdict) -> Judged {
        let text = "if a | b then\n";
        let mut mutant = Mutant::new(Kind::Lua, "s.lua", text, "condition dropped", (3, 8), "true".to_owned());
        mutant.id = id.to_owned();
        Judged { mutant, verdict, unsure: Vec::new(), seconds: 1 }
    }

    fn killed(id: &str) -> Judged {
        judged(id, Verdict::Killed { stage: "script tests".to_owned(), by: "flux-edge/scripts a::b".to_owned() })
    }

    #[test]
    fn what_is_argued_is_not_counted() {
        let argued = BTreeMap::from([("00000002".to_owned(), "the same".to_owned())]);
        let survived = |id: &str| judged(id, Verdict::Survived);
        let mut all: Vec<Judged> = (10..29).map(|id| killed(&id.to_string())).collect();
        all.extend([survived("00000001"), survived("00000002")]);
        let count = Count::of(&all, &argued);
        assert_eq!(count, Count { judged: 21, killed: 19, argued: 1 });
        assert!(count.is_enough());
        all.push(survived("00000003"));
        assert!(!Count::of(&all, &argued).is_enough());
        let text = record("# Mutants", &all.iter().collect::<Vec<_>>(), &argued);
        assert!(text.contains("| Lua | 22 | 19 | script tests 19, rebuild 0, simulation 0 | 1 | 2 | 90.5 |"), "{text}");
        assert!(text.contains("| 00000002 | s.lua:1 | condition dropped | `a \\| b` | `true` | the same |"), "{text}");
        assert!(
            text.contains(
                "| 10 | s.lua:1 | condition dropped | `a \\| b` | `true` | script tests: flux-edge/scripts a::b |"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_last_word_of_a_journal_counts() {
        let path = tempfile::tempdir().expect("a directory");
        let path = path.path().join("journal");
        for judged in [judged("1", Verdict::Survived), killed("2"), killed("1")] {
            note(&path, &judged).expect("written");
        }
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(b"{\"mutant\":").expect("written");
        let all = read_journal(&path).expect("read");
        assert_eq!(all.len(), 2);
        assert!(matches!(all["1"].verdict, Verdict::Killed { .. }));
    }
}
