//! The files that are changed, from the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{MutantsError, doing};
use crate::mutant::{Candidates, Kind, Mutant};
use crate::{lua, rust, sql};

/// All that can be changed in files of this kind.
///
/// # Errors
/// Where one cannot be read.
pub fn read(root: &Path, kind: Kind) -> Result<Candidates, MutantsError> {
    match kind {
        Kind::Lua => in_directories(root, &["edge/lua", "worker/lua"], "lua", lua::mutants),
        Kind::Sql => {
            let directories = ["worker/sql", "worker/sql/statements", "worker/sql/dead_letters"];
            in_directories(root, &directories, "sql", sql::mutants)
        }
        Kind::Rust => rust::read(root),
    }
}

fn in_directories(
    root: &Path,
    directories: &[&str],
    extension: &str,
    of: fn(&str, &str) -> Vec<Mutant>,
) -> Result<Candidates, MutantsError> {
    let mut texts = BTreeMap::new();
    for directory in directories {
        let path = root.join(directory);
        for entry in doing("reading", &path, fs::read_dir(&path))? {
            let path = doing("reading", &path, entry)?.path();
            if path.extension().is_some_and(|found| found == extension) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                texts.insert(format!("{directory}/{name}"), doing("reading", &path, fs::read_to_string(&path))?);
            }
        }
    }
    let all = texts.iter().flat_map(|(file, text)| of(file, text)).collect();
    Ok(Candidates { texts, parts: vec![all] })
}
