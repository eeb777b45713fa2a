//! The test programs: built once, and kept as copies in a directory of their own, in which a script or a statement is
//! overwritten where it stands. So a mutant of Lua or SQL costs no build, and what ships knows of no other text than its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{MutantsError, doing};
use crate::judge::Bench;

/// A name that cargo has for a program: package and target, such as `flux-edge/scripts`, or `flux-edge/lib` for a library's
/// own tests and `flux-edge/bin` for a program that is no test.
pub type Name = String;

/// What was built, by name.
pub type Built = BTreeMap<Name, PathBuf>;

/// How something is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incremental {
    /// Again and again, each time with one small change: what is built fastest. A simulation keeps its optimisation.
    Yes,
    /// Once, as `make test` does.
    No,
}

/// Builds with `cargo test --no-run` and these arguments in `directory`. `None` where it does not compile.
///
/// # Errors
/// Where cargo cannot be started.
pub fn build(
    directory: &Path,
    target: &Path,
    arguments: &[&str],
    incremental: Incremental,
) -> Result<Option<Built>, MutantsError> {
    let mut command = Command::new("cargo");
    command.current_dir(directory).env("CARGO_TARGET_DIR", target);
    match incremental {
        Incremental::No => {
            command.env("CARGO_INCREMENTAL", "0");
        }
        Incremental::Yes => {
            command.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
            if !arguments.contains(&"--manifest-path") {
                command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
            }
        }
    }
    command.args(["test", "--no-run", "--quiet", "--message-format=json"]).args(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = doing("building in", directory, command.output())?;
    let built = || String::from_utf8_lossy(&output.stdout).lines().filter_map(artifact).collect();
    Ok(output.status.success().then(built))
}

/// A line of cargo's, where it tells of a program.
fn artifact(line: &str) -> Option<(Name, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let path = PathBuf::from(message["executable"].as_str()?);
    let target = &message["target"];
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let package = match fs::read_to_string(manifest) {
        Ok(text) => {
            text.lines().find_map(|line| Some(line.strip_prefix("name = \"")?.trim_end_matches('"').to_owned()))?
        }
        Err(_) => return None,
    };
    let name = match (target["kind"][0].as_str()?, message["profile"]["test"].as_bool()?) {
        ("lib", true) => "lib".to_owned(),
        ("test", true) => target["name"].as_str()?.to_owned(),
        ("bin", false) => "bin".to_owned(),
        _ => return None,
    };
    Some((format!("{package}/{name}"), path))
}

/// Copies of programs, in which texts can be replaced.
#[derive(Debug)]
pub struct Copies {
    paths: Built,
    /// By program and file of the tree: where the file's text stands in the program.
    places: BTreeMap<(Name, String), Vec<usize>>,
    /// By program, those that it starts.
    started: BTreeMap<Name, Vec<Name>>,
}

impl Copies {
    /// Copies what was built under `target` into `<target>/patch`, which is emptied first. `texts`: by file of the tree.
    /// Programs that start others find the copies of those.
    ///
    /// # Errors
    /// Where that fails, or a text stands in no program at all.
    pub fn new(built: &Built, target: &Path, texts: &BTreeMap<String, String>) -> Result<Copies, MutantsError> {
        let (from, to) = (target.join("debug"), target.join("patch"));
        if to.exists() {
            doing("emptying", &to, fs::remove_dir_all(&to))?;
        }
        doing("making", &to.join("deps"), fs::create_dir_all(to.join("deps")))?;
        let mut copies = Copies { paths: Built::new(), places: BTreeMap::new(), started: BTreeMap::new() };
        for (name, path) in built {
            let mut bytes = doing("reading", path, fs::read(path))?;
            // Of the same length, so that it can be written over.
            let (old, new) = (format!("{}/", from.display()), format!("{}/", to.display()));
            for at in find_all(&bytes, old.as_bytes()) {
                bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
            }
            let starts = |other: &&Name| {
                let called = to.join(built[*other].strip_prefix(&from).unwrap_or(Path::new("")));
                *other != name && !find_all(&bytes, called.as_os_str().as_encoded_bytes()).is_empty()
            };
            copies.started.insert(name.clone(), built.keys().filter(starts).cloned().collect());
            for (file, text) in texts {
                let at = find_all(&bytes, text.as_bytes());
                if !at.is_empty() {
                    copies.places.insert((name.clone(), file.clone()), at);
                }
            }
            let beneath = path.strip_prefix(&from).map_err(|_| {
                MutantsError::Other(format!("{} was not built for debugging in {}", path.display(), from.display()))
            })?;
            let copy = to.join(beneath);
            doing("writing", &copy, fs::write(&copy, bytes))?;
            let mode = doing("reading", path, fs::metadata(path))?.permissions();
            doing("writing", &copy, fs::set_permissions(&copy, mode))?;
            copies.paths.insert(name.clone(), copy);
        }
        for file in texts.keys() {
            if !copies.places.keys().any(|(_, held)| held == file) {
                return Err(MutantsError::Other(format!("no program that was built has the text of {file} in it")));
            }
        }
        Ok(copies)
    }
}

impl Bench for Copies {
    /// As long as the file's own.
    fn fitted(&self, text: &str, own: &str) -> Option<String> {
        fitted(text, own.len())
    }

    fn program(&self, name: &str) -> Result<Option<PathBuf>, MutantsError> {
        let path = self.paths.get(name).ok_or_else(|| MutantsError::Other(format!("{name} was not built")))?;
        Ok(Some(path.clone()))
    }

    /// Whether the text of `file` stands in it, or in a program that it starts.
    fn holds(&self, name: &str, file: &str) -> bool {
        let started = self.started.get(name).into_iter().flatten().map(String::as_str);
        std::iter::once(name).chain(started).any(|name| self.places.contains_key(&(name.to_owned(), file.to_owned())))
    }

    /// Puts `text`, which is as long as the file's own, in its place in all copies.
    fn write(&self, file: &str, text: &str) -> Result<(), MutantsError> {
        for ((name, held), places) in &self.places {
            if held == file {
                let path = &self.paths[name];
                let mut copy = doing("opening", path, fs::OpenOptions::new().write(true).open(path))?;
                for at in places {
                    doing("writing", path, copy.seek(SeekFrom::Start(*at as u64)))?;
                    doing("writing", path, copy.write_all(text.as_bytes()))?;
                }
            }
        }
        Ok(())
    }
}

fn find_all(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let (mut found, mut from) = (Vec::new(), 0);
    let Some(first) = wanted.first() else { return found };
    while let Some(step) = bytes[from..].iter().position(|byte| byte == first) {
        let at = from + step;
        if bytes[at..].starts_with(wanted) {
            found.push(at);
            from = at + wanted.len();
        } else {
            from = at + 1;
        }
    }
    found
}

/// `text` with exactly `length` bytes: blanks at its end, or fewer where they mean nothing, which is at the beginning of a
/// line and behind a comma. `None` where there are not so many of those.
fn fitted(text: &str, length: usize) -> Option<String> {
    if text.len() <= length {
        return Some(format!("{text}{}", " ".repeat(length - text.len())));
    }
    let mut spare = text.len() - length;
    let mut kept = String::with_capacity(length);
    let (mut is_quoted, mut is_comment, mut last) = (false, false, '\n');
    for char in text.chars() {
        match char {
            '\n' => is_comment = false,
            '\'' if !is_comment => is_quoted = !is_quoted,
            '-' if last == '-' && !is_quoted => is_comment = true,
            _ => {}
        }
        if spare > 0 && char == ' ' && !is_quoted && (last == '\n' || last == ',') {
            spare -= 1;
            continue;
        }
        kept.push(char);
        last = char;
    }
    (spare == 0).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_to_fit_without_another_meaning() {
        assert_eq!(fitted("ab", 4).as_deref(), Some("ab  "));
        assert_eq!(fitted("  a(b, c, ' ,  ')\n  d\n", 19).as_deref(), Some("a(b,c, ' ,  ')\n  d\n"));
        assert_eq!(fitted("a, b", 2), None);
        assert_eq!(fitted("a, '  '", 6).as_deref(), Some("a,'  '"));
    }

    #[test]
    fn a_text_is_overwritten_in_copies_and_whoever_starts_its_program_holds_it() {
        let target = tempfile::tempdir().expect("a directory");
        let debug = target.path().join("debug");
        fs::create_dir_all(debug.join("deps")).expect("made");
        let (program, test, other) = (debug.join("program"), debug.join("deps/test"), debug.join("deps/other"));
        fs::write(&program, "...return a < b...").expect("written");
        fs::write(&test, format!("...{}...", program.display())).expect("written");
        fs::write(&other, "...").expect("written");
        let built = [("p/bin", &program), ("p/test", &test), ("p/other", &other)];
        let built = built.into_iter().map(|(name, path)| (name.to_owned(), path.clone())).collect();
        let texts = BTreeMap::from([("s.lua".to_owned(), "return a < b".to_owned())]);
        let copies = Copies::new(&built, target.path(), &texts).expect("copied");
        let held = ["p/bin", "p/test", "p/other"].map(|name| copies.holds(name, "s.lua"));
        assert_eq!(held, [true, true, false]);
        copies.write("s.lua", "return a > b").expect("written");
        let read = |name: &str| fs::read_to_string(&copies.paths[name]).expect("read");
        assert_eq!(read("p/bin"), "...return a > b...");
        assert_eq!(read("p/test"), format!("...{}/patch/program...", target.path().display()));
        assert_eq!(fs::read_to_string(&program).expect("read"), "...return a < b...", "the original is left alone");
        let missing = BTreeMap::from([("t.lua".to_owned(), "return".to_owned() + " c")]);
        assert!(Copies::new(&built, target.path(), &missing).is_err(), "no program has it");
    }

    #[test]
    fn every_place_is_found() {
        assert_eq!(find_all(b"abcabxabc", b"abc"), [0, 6]);
        assert_eq!(find_all(b"aaa", b"aa"), [0]);
        assert_eq!(find_all(b"abc", b"x"), [0_usize; 0]);
    }

    #[test]
    fn cargo_names_what_it_has_built() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let line = |kind: &str, name: &str, test: bool| {
            serde_json::json!({"executable": "/t/debug/deps/x", "manifest_path": manifest,
                "target": {"kind": [kind], "name": name}, "profile": {"test": test}})
            .to_string()
        };
        let name = |line: String| artifact(&line).map(|(name, _)| name);
        assert_eq!(name(line("test", "scripts", true)).as_deref(), Some("flux-mutants/scripts"));
        assert_eq!(name(line("lib", "flux_mutants", true)).as_deref(), Some("flux-mutants/lib"));
        assert_eq!(name(line("bin", "flux-mutants", false)).as_deref(), Some("flux-mutants/bin"));
        assert_eq!(name(line("bin", "flux-mutants", true)), None);
        assert_eq!(name("{}".to_owned()), None);
    }
}
