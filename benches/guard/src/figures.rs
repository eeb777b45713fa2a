//! The recorded figures (`figures.json`): instructions of one request by path, for each kind of processor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use thiserror::Error;

use crate::path::Path;

/// By how much a path may cost more than was recorded.
pub const TOLERANCE_PERCENT: u64 = 5;

/// Why the file does not serve.
#[derive(Debug, Error)]
pub enum FiguresError {
    /// It cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// It is not what [`Figures::write`] writes.
    #[error("{0}: {1}")]
    Content(PathBuf, serde_json::Error),
}

/// All that is recorded.
#[derive(Debug)]
pub struct Figures {
    file: PathBuf,
    by_architecture: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Figures {
    /// What stands in this crate's directory.
    ///
    /// # Errors
    /// [`FiguresError`].
    pub fn read() -> Result<Figures, FiguresError> {
        let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/figures.json"));
        let text = fs::read_to_string(&file).map_err(|error| FiguresError::File(file.clone(), error))?;
        let by_architecture =
            serde_json::from_str(&text).map_err(|error| FiguresError::Content(file.clone(), error))?;
        Ok(Figures { file, by_architecture })
    }

    /// Instructions of one request on `path`, where they were recorded for this kind of processor.
    pub fn get(&self, path: Path) -> Option<u64> {
        self.by_architecture.get(std::env::consts::ARCH)?.get(path.name()).copied()
    }

    /// Puts a new figure in the place of an old one.
    pub fn set(&mut self, path: Path, instructions: u64) {
        let figures = self.by_architecture.entry(std::env::consts::ARCH.to_owned()).or_default();
        figures.insert(path.name().to_owned(), instructions);
    }

    /// Writes them down.
    ///
    /// # Errors
    /// [`FiguresError`].
    pub fn write(&self) -> Result<(), FiguresError> {
        let content = |error| FiguresError::Content(self.file.clone(), error);
        let text = serde_json::to_string_pretty(&self.by_architecture).map_err(content)?;
        fs::write(&self.file, text + "\n").map_err(|error| FiguresError::File(self.file.clone(), error))
    }
}
