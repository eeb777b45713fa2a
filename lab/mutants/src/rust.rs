//! Small changes to Rust, as `cargo mutants` finds them: a function that gives a value without its work, a sign turned, an arm
//! or a field left out, a guard that always or never holds. What is done with them is ours: our sample, our judge, our record.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::{MutantsError, doing};
use crate::mutant::{Candidates, Kind, Mutant, name_all};

/// The code that decides, a part of the sample each, in the order in which they are judged: where one part is done with, what
/// it is built of stays built.
const PARTS: [(&str, &[&str]); 3] = [
    ("protocol", &["protocol/src/**"]),
    ("edge", &["edge/src/core/**", "edge/src/redis/**"]),
    ("worker", &["worker/src/**"]),
];

/// What decides nothing in a program that ships.
const LEFT_OUT: [&str; 3] = ["protocol/src/planted.rs", "protocol/src/rare.rs", "protocol/src/kafka/fake.rs"];

/// What `cargo mutants --list --json` says of one, as far as it is used.
#[derive(Deserialize)]
struct Found {
    file: String,
    span: Span,
    replacement: String,
    genre: String,
}

#[derive(Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Both from 1, the column in characters.
#[derive(Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

/// All that `cargo mutants` would change in the code that decides, a part for each crate.
///
/// # Errors
/// Where `cargo mutants` is not there or fails, or a file cannot be read.
pub fn read(root: &Path) -> Result<Candidates, MutantsError> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["mutants", "--workspace", "--list", "--json"]);
    for glob in PARTS.iter().flat_map(|(_, globs)| *globs) {
        command.args(["--file", glob]);
    }
    for file in LEFT_OUT {
        command.args(["--exclude", file]);
    }
    let output = doing("listing the mutants of", root, command.stdin(Stdio::null()).output())?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(MutantsError::Other(format!(
            "cargo mutants --list failed (lab/setup.sh --mutants installs it): {why}"
        )));
    }
    let found: Vec<Found> = serde_json::from_slice(&output.stdout)
        .map_err(|why| MutantsError::Other(format!("cargo mutants --list --json: {why}")))?;
    let mut by_file = BTreeMap::<String, Vec<Found>>::new();
    for found in found {
        by_file.entry(found.file.clone()).or_default().push(found);
    }
    let (mut texts, mut parts) = (BTreeMap::new(), vec![Vec::new(); PARTS.len()]);
    for (file, found) in by_file {
        let path = root.join(&file);
        let text = doing("reading", &path, fs::read_to_string(&path))?;
        let part = PARTS.iter().position(|(name, _)| file.split('/').next() == Some(name));
        let part = part.ok_or_else(|| MutantsError::Other(format!("{file} belongs to no part")))?;
        parts[part].extend(mutants(&file, &text, &found));
        texts.insert(file, text);
    }
    Ok(Candidates { texts, parts })
}

fn mutants(file: &str, text: &str, found: &[Found]) -> Vec<Mutant> {
    let mutant = |found: &Found| {
        let (start, end) = (offset(text, &found.span.start)?, offset(text, &found.span.end)?);
        let what = what(&found.genre, &text[start..end]);
        Some(Mutant::new(Kind::Rust, file, text, what, (start, end), found.replacement.clone()))
    };
    let mut mutants = found.iter().filter_map(mutant).collect();
    name_all(text, &mut mutants);
    mutants
}

/// In bytes.
fn offset(text: &str, place: &Place) -> Option<usize> {
    let line = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum::<usize>();
    let before = text.get(line..)?.chars().take(place.column - 1).map(char::len_utf8).sum::<usize>();
    Some(line + before)
}

/// In the words of the other kinds. Sorts of the sample: each has its turn.
fn what(genre: &str, before: &str) -> &'static str {
    match (genre, before) {
        ("FnValue", _) => "function replaced",
        ("UnaryOperator", _) => "sign dropped",
        ("MatchArm", _) => "arm dropped",
        ("MatchArmGuard", _) => "guard fixed",
        ("StructField", _) => "field dropped",
        (_, "==" | "!=" | "<" | ">" | "<=" | ">=") => "comparison turned",
        (_, "&&" | "||") => "condition turned",
        (_, "&" | "|" | "^" | "<<" | ">>") => "bits turned",
        (_, sign) if sign.ends_with('=') => "assignment turned",
        _ => "sum turned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_bytes() {
        let text = "fn a() -> bool {\n    let é = 'é'; 1 < 2\n}\n";
        let found = r#"[{"file": "f.rs", "package": "p", "name": "", "function": null, "genre": "BinaryOperator",
            "span": {"start": {"line": 2, "column": 20}, "end": {"line": 2, "column": 21}}, "replacement": "=="}]"#;
        let found: Vec<Found> = serde_json::from_str(found).expect("as cargo mutants says it");
        let all = mutants("f.rs", text, &found);
        assert_eq!(all.len(), 1);
        let Mutant { line, what, before, .. } = &all[0];
        assert_eq!((*line, what.as_str(), before.as_str()), (2, "comparison turned", "<"));
        assert_eq!(all[0].applied(text), "fn a() -> bool {\n    let é = 'é'; 1 == 2\n}\n");
    }

    #[test]
    fn signs_are_told_apart() {
        let sorts = ["<=", "&&", "<<", "+=", "|=", "%"].map(|sign| what("BinaryOperator", sign));
        let turned = [
            "comparison turned",
            "condition turned",
            "bits turned",
            "assignment turned",
            "assignment turned",
            "sum turned",
        ];
        assert_eq!(sorts, turned);
    }
}
