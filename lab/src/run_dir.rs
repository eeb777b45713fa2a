//! The directory of one run: data, sockets and logs of everything it starts. Gone when the run ends well; kept, and
//! named, when a test panicked, because then its logs are wanted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{Doing, LabError};

/// A directory under the system's temporary directory, shared by all that runs in it.
#[derive(Clone, Debug)]
pub struct RunDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    keep: bool,
}

/// Directories of servers that live as long as the process does: nothing drops them.
static AT_EXIT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl RunDir {
    /// A fresh directory. `FLUX_LAB_KEEP_LOGS=1` keeps it.
    ///
    /// # Errors
    /// Where the temporary directory cannot be written to.
    pub fn new() -> Result<RunDir, LabError> {
        let made = tempfile::Builder::new().prefix("flux-lab-").tempdir();
        let path = made.doing(|| "making a temporary directory".to_owned())?.keep();
        // PostgreSQL may run as another user, who must be able to pass through.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .doing(|| format!("opening {}", path.display()))?;
        if let Ok(mut paths) = AT_EXIT.lock() {
            paths.push(path.clone());
        }
        Ok(RunDir(Arc::new(Inner { path, keep: std::env::var_os("FLUX_LAB_KEEP_LOGS").is_some() })))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path.join(name)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(mut paths) = AT_EXIT.lock() {
            paths.retain(|path| *path != self.path);
        }
        if self.keep || std::thread::panicking() {
            eprintln!("logs and data are kept in {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} could not be removed: {error}", self.path.display());
        }
    }
}

/// Removes what nothing dropped. Called when the process exits, after its processes were ended.
pub(crate) fn remove_leftovers() {
    if std::env::var_os("FLUX_LAB_KEEP_LOGS").is_some() {
        return;
    }
    if let Ok(mut paths) = AT_EXIT.try_lock() {
        for path in paths.drain(..) {
            // The process ends here: there is nobody left to tell.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The end of a log file, for an error message: its last `lines` lines, or a word that there are none.
pub(crate) fn log_tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(8192);
    let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
    let all: Vec<&str> = text.lines().collect();
    let tail = &all[all.len().saturating_sub(lines)..];
    if tail.is_empty() { "(its log is empty)".to_owned() } else { tail.join("\n") }
}
