//! A copy of the tree in which Rust is changed and built anew for each mutant: without optimisation and debug information, from
//! what was built the last time. What the developer builds, and the tree itself, are left alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{MutantsError, doing};
use crate::judge::Bench;
use crate::programs::{Incremental, build};

/// See the module.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// Brings `<target>/mutants/tree` up to date with what git knows of the tree at `root`, changed or new files included.
    /// What is the same is not touched, so that it need not be built again.
    ///
    /// # Errors
    /// Where that fails.
    pub fn new(root: &Path, target: &Path) -> Result<Tree, MutantsError> {
        let copy = target.join("mutants/tree");
        let mut command = Command::new("git");
        command.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let output = doing("listing", root, command.output())?;
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        let named: BTreeSet<&Path> =
            names.split('\0').map(Path::new).filter(|name| root.join(name).is_file()).collect();
        if named.is_empty() {
            return Err(MutantsError::Other(format!("git knows of no files in {}", root.display())));
        }
        for name in &named {
            let (from, to) = (root.join(name), copy.join(name));
            let wanted = doing("reading", &from, fs::read(&from))?;
            if fs::read(&to).is_ok_and(|held| held == wanted) {
                continue;
            }
            let directory = to.parent().unwrap_or(&copy);
            doing("making", directory, fs::create_dir_all(directory))?;
            doing("writing", &to, fs::write(&to, wanted))?;
        }
        let mut directories = vec![copy.clone()];
        while let Some(directory) = directories.pop() {
            for entry in doing("reading", &directory, fs::read_dir(&directory))? {
                let path = doing("reading", &directory, entry)?.path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.strip_prefix(&copy).is_ok_and(|name| !named.contains(name)) {
                    doing("removing", &path, fs::remove_file(&path))?;
                }
            }
        }
        Ok(Tree { root: copy, target: target.join("mutants/build") })
    }
}

impl Bench for Tree {
    fn fitted(&self, text: &str, _own: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn write(&self, file: &str, text: &str) -> Result<(), MutantsError> {
        let path = self.root.join(file);
        doing("writing", &path, fs::write(&path, text))
    }

    /// Everything is built of `protocol`; edge and worker know nothing of each other.
    fn holds(&self, name: &str, file: &str) -> bool {
        let part = file.split('/').next().unwrap_or_default();
        part == "protocol" || name.starts_with("flux-simulation/") || name.starts_with(&format!("flux-{part}/"))
    }

    fn program(&self, name: &str) -> Result<Option<PathBuf>, MutantsError> {
        let built = build(&self.root, &self.target, &arguments(name), Incremental::Yes)?;
        let Some(mut built) = built else { return Ok(None) };
        let path = built.remove(name).ok_or_else(|| MutantsError::Other(format!("{name} was not built")))?;
        Ok(Some(path))
    }
}

/// What builds a program of this name.
fn arguments(name: &str) -> Vec<&str> {
    match name.split_once('/') {
        Some(("flux-simulation", _)) => vec!["--locked", "--manifest-path", "lab/simulation/Cargo.toml", "--bins"],
        Some((package, "lib")) => vec!["--package", package, "--lib"],
        Some((package, test)) => vec!["--package", package, "--test", test],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_the_tree_and_leaves_alone_what_is_the_same() {
        let place = tempfile::tempdir().expect("a directory");
        let (root, target) = (place.path().join("root"), place.path().join("target"));
        fs::create_dir_all(root.join("a")).expect("made");
        let git = Command::new("git").args(["init", "--quiet"]).arg(&root).status();
        assert!(git.expect("git").success());
        for (file, text) in [("a/same.rs", "1"), ("changed.rs", "2"), ("gone.rs", "3")] {
            fs::write(root.join(file), text).expect("written");
        }
        let copied = |file: &str| fs::read_to_string(target.join("mutants/tree").join(file));
        let written =
            |file: &str| fs::metadata(target.join("mutants/tree").join(file)).and_then(|held| held.modified());
        let tree = Tree::new(&root, &target).expect("copied");
        let before = written("a/same.rs").expect("there");
        tree.write("changed.rs", "a mutant").expect("written");
        fs::remove_file(root.join("gone.rs")).expect("removed");
        Tree::new(&root, &target).expect("copied");
        assert_eq!(copied("changed.rs").expect("there"), "2");
        assert!(copied("gone.rs").is_err());
        assert_eq!(written("a/same.rs").expect("there"), before);
    }

    #[test]
    fn programs_judge_what_they_are_built_of() {
        let tree = Tree { root: PathBuf::new(), target: PathBuf::new() };
        let of = |file: &str| {
            let all = ["flux-protocol/lib", "flux-edge/lib", "flux-worker/lib", "flux-simulation/bin"];
            all.map(|name| tree.holds(name, file))
        };
        assert_eq!(of("protocol/src/order.rs"), [true; 4]);
        assert_eq!(of("edge/src/core/mod.rs"), [false, true, false, true]);
        assert_eq!(of("worker/src/intake.rs"), [false, false, true, true]);
    }
}
