//! What a mutant is, how it is named, and which of them make the sample.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

/// In what it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The scripts that run in Redis.
    Lua,
    /// The ledger's statements and migrations.
    Sql,
    /// The crates that decide.
    Rust,
}

impl Kind {
    /// All, in the order of the record.
    pub const ALL: [Kind; 3] = [Kind::Lua, Kind::Sql, Kind::Rust];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lua => "Lua",
            Kind::Sql => "SQL",
            Kind::Rust => "Rust",
        }
    }
}

/// One small change to one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mutant {
    /// Eight hexadecimal digits that stay the same while its line and its function of the file do.
    pub id: String,
    /// In what it is written.
    pub kind: Kind,
    /// From the root of the tree.
    pub file: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// Which change, in words.
    pub what: String,
    /// The bytes of the file that it replaces.
    pub start: usize,
    /// Behind the last of them.
    pub end: usize,
    /// What stands there.
    pub before: String,
    /// What it puts there.
    pub after: String,
}

/// What there is to change.
#[derive(Debug)]
pub struct Candidates {
    /// By path from the root, what stands in the file.
    pub texts: BTreeMap<String, String>,
    /// All changes, in parts: of each as many are drawn as of any other.
    pub parts: Vec<Vec<Mutant>>,
}

impl Mutant {
    /// A change of `text`, the file's, in `start..end`. Named by [`name_all`].
    pub fn new(kind: Kind, file: &str, text: &str, what: &str, (start, end): (usize, usize), after: String) -> Mutant {
        Mutant {
            id: String::new(),
            kind,
            file: file.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            what: what.to_owned(),
            start,
            end,
            before: text[start..end].to_owned(),
            after,
        }
    }

    /// The file's text with it.
    pub fn applied(&self, text: &str) -> String {
        format!("{}{}{}", &text[..self.start], self.after, &text[self.end..])
    }
}

fn digest(parts: &[&str]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Gives each its name: from what it changes and the line that stands around it, not from where that is, so that a change
/// elsewhere in the file names nothing anew. Equal ones are counted.
pub fn name_all(text: &str, mutants: &mut Vec<Mutant>) {
    mutants.sort_by(|a, b| (a.start, a.end, &a.what, &a.after).cmp(&(b.start, b.end, &b.what, &b.after)));
    mutants.dedup_by(|a, b| (a.start, a.end, &a.after) == (b.start, b.end, &b.after));
    let mut seen = std::collections::HashMap::new();
    for mutant in mutants {
        let from = text[..mutant.start].rfind('\n').map_or(0, |at| at + 1);
        let to = text[mutant.end..].find('\n').map_or(text.len(), |at| mutant.end + at);
        let (ahead, behind) = (&text[from..mutant.start], &text[mutant.end..to]);
        let parts = [&mutant.file, &mutant.what, ahead.trim_start(), &mutant.before, &mutant.after, behind.trim_end()];
        let hash = digest(&parts);
        let nth: &mut u32 = seen.entry(hash).or_default();
        let hash = digest(&[parts.as_slice(), &[&nth.to_string()]].concat());
        *nth += 1;
        mutant.id = hash[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// The first `most` in the order that `seed` draws: of each sort of change in turn one, by name. Whatever else is added or goes,
/// most of a sample stays; and constants, of which there are so many, do not crowd out conditions.
pub fn sample(mutants: &[Mutant], seed: u64, most: usize) -> Vec<Mutant> {
    let mut ranked: Vec<([u8; 20], &Mutant)> =
        mutants.iter().map(|mutant| (digest(&[&seed.to_string(), &mutant.id]), mutant)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut of_sort = std::collections::HashMap::new();
    let mut turns: Vec<(usize, [u8; 20], &Mutant)> = Vec::with_capacity(ranked.len());
    for (rank, mutant) in ranked {
        let turn: &mut usize = of_sort.entry(mutant.what.as_str()).or_default();
        turns.push((*turn, rank, mutant));
        *turn += 1;
    }
    turns.sort_by_key(|(turn, rank, _)| (*turn, *rank));
    turns.into_iter().take(most).map(|(_, _, mutant)| mutant.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Mutant> {
        let found = text
            .match_indices('=')
            .map(|(at, _)| Mutant::new(Kind::Lua, "f.lua", text, "comparison turned", (at, at + 1), "<".to_owned()));
        let mut found = found.collect();
        name_all(text, &mut found);
        found
    }

    #[test]
    fn names_stay_where_other_lines_change_and_tell_equals_apart() {
        let ids = |text| all(text).into_iter().map(|mutant| mutant.id).collect::<Vec<_>>();
        let before = ids("a = b\nc = d\nc = d\n");
        assert_eq!(before.len(), 3);
        assert_ne!(before[1], before[2]);
        assert_eq!(ids("-- more\na = b\n  c = d\nc = d\n"), before);
        assert_ne!(ids("a = e\n")[0], before[0]);
    }

    #[test]
    fn a_sample_hardly_changes_with_the_whole() {
        let text = (0..100).map(|i| format!("a{i} = b\n")).collect::<String>();
        let drawn = |text: &str, seed| sample(&all(text), seed, 20).into_iter().map(|m| m.id).collect::<Vec<_>>();
        let first = drawn(&text, 7);
        assert_eq!(first.len(), 20);
        assert_eq!(first, drawn(&text, 7));
        assert_ne!(first, drawn(&text, 8));
        let kept = drawn(&(text + "z = z\n"), 7).into_iter().filter(|id| first.contains(id)).count();
        assert!(kept >= 19, "{kept}");
    }

    #[test]
    fn no_sort_of_change_crowds_out_another() {
        let text = (0..50).map(|i| format!("a{i} = b\n")).collect::<String>();
        let mut mutants = all(&text);
        mutants.iter_mut().skip(45).for_each(|mutant| mutant.what = "statement dropped".to_owned());
        let drawn = sample(&mutants, 7, 12);
        assert_eq!(drawn.iter().filter(|mutant| mutant.what == "statement dropped").count(), 5);
    }
}
