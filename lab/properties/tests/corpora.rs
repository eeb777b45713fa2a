//! Every kept input through its property, by the compiler that ships: what fuzzing has found once stays found.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flux_properties::ALL;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// What a folder holds, in a fixed order.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Their names without the ending.
fn names(folder: &Path) -> BTreeSet<String> {
    paths(folder).iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn every_kept_input_holds() {
    let mut faults = Vec::new();
    for (name, property) in ALL {
        let kept = paths(&fuzz().join("corpus").join(name));
        assert!(kept.len() >= 5, "{name}: a corpus of {} inputs", kept.len());
        for path in kept {
            let bytes = fs::read(&path).expect("a kept input");
            if catch_unwind(AssertUnwindSafe(|| property(&bytes))).is_err() {
                faults.push(path);
            }
        }
    }
    assert!(faults.is_empty(), "these break their property (what was said is above): {faults:?}");
}

#[test]
fn no_input_at_all_and_one_byte_hold() {
    for (_, property) in ALL {
        property(b"");
        (0..=255).for_each(|byte| property(&[byte]));
    }
}

#[test]
fn each_property_has_its_target_and_its_corpus_and_there_are_no_others() {
    let properties: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(properties.len(), ALL.len());
    assert_eq!(names(&fuzz().join("targets")), properties, "a target runs one property, and is called like it");
    assert_eq!(names(&fuzz().join("corpus")), properties);
    assert!(names(&fuzz().join("dictionaries")).is_subset(&properties));
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let bins: BTreeSet<String> =
        manifest.split("[[bin]]").skip(1).map(|bin| bin.split('"').nth(1).expect("a name").to_owned()).collect();
    assert_eq!(bins, properties);
}
