//! The files that are changed, from the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{MutantsError, doing};
use crate::mutant::{Kind, Mutant};
use crate::{lua, sql};

/// Where they stand.
fn directories(kind: Kind) -> (&'static [&'static str], &'static str) {
    match kind {
        Kind::Lua => (&["edge/lua", "worker/lua"], "lua"),
        Kind::Sql => (&["worker/sql", "worker/sql/statements", "worker/sql/dead_letters"], "sql"),
    }
}

/// By path from the root: the text of every file.
///
/// # Errors
/// Where one cannot be read.
pub fn read(root: &Path, kind: Kind) -> Result<BTreeMap<String, String>, MutantsError> {
    let (directories, extension) = directories(kind);
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
    Ok(texts)
}

/// Every mutant of them.
pub fn mutants(kind: Kind, texts: &BTreeMap<String, String>) -> Vec<Mutant> {
    let of = match kind {
        Kind::Lua => lua::mutants,
        Kind::Sql => sql::mutants,
    };
    texts.iter().flat_map(|(file, text)| of(file, text)).collect()
}
