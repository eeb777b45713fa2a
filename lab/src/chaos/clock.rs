//! A wall clock that is wrong, for one process: a small library in `LD_PRELOAD`, compiled when it is wanted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::trial::variable;
use crate::error::{Doing, LabError};
use crate::programs::Environment;
use crate::run_dir::RunDir;

/// A clock that can be set while the process runs. It lasts as long as its directory.
pub(super) struct FalseClock {
    file: File,
    environment: Environment,
}

impl FalseClock {
    /// A clock that is right until [`FalseClock::set`].
    pub(super) fn new(run: &RunDir, name: &str) -> Result<FalseClock, LabError> {
        let (source, library) = (run.join("clock.c"), run.join("libclock.so"));
        if !library.is_file() {
            std::fs::write(&source, include_str!("clock.c")).doing(|| format!("writing {}", source.display()))?;
            let ran = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source).output();
            let ran = ran.map_err(|error| LabError::Missing {
                what: format!("a C compiler ({error})"),
                install: "sudo apt-get install build-essential".to_owned(),
            })?;
            if !ran.status.success() {
                return Err(LabError::failed(format!("cc: {}", String::from_utf8_lossy(&ran.stderr))));
            }
        }
        let path = run.join(name);
        let file = File::create(&path).doing(|| format!("making {}", path.display()))?;
        let environment = vec![
            variable("LD_PRELOAD", &library.display().to_string()),
            variable("FLUX_LAB_CLOCK", &path.display().to_string()),
        ];
        let clock = FalseClock { file, environment };
        clock.set(0)?;
        Ok(clock)
    }

    /// It is wrong by so many seconds from now on.
    pub(super) fn set(&self, seconds: i64) -> Result<(), LabError> {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).doing(|| "setting a clock".to_owned())
    }

    /// What a process must be started with.
    pub(super) fn environment(&self) -> Environment {
        self.environment.clone()
    }
}
