//! One run at a time works in a place: two would judge each other's mutants.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::error::{MutantsError, doing};

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the place for this run. A file of its name that ends with `.lock` stands beside it.
    ///
    /// # Errors
    /// Where another run has it.
    pub fn take(place: &Path) -> Result<Lock, MutantsError> {
        let path = place.with_extension("lock");
        if let Some(directory) = path.parent() {
            doing("making", directory, fs::create_dir_all(directory))?;
        }
        let file = doing("making", &path, File::create(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(MutantsError::Other(format!("another run changes programs in {}", place.display())))
            }
            Err(TryLockError::Error(why)) => doing("locking", &path, Err(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_run_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("not/there/yet");
        let held = Lock::take(&place).expect("nobody has it");
        assert!(Lock::take(&place).is_err_and(|why| why.to_string().contains("another run")));
        Lock::take(&directory.path().join("other")).expect("another place");
        drop(held);
        Lock::take(&place).expect("it is free again");
    }
}
