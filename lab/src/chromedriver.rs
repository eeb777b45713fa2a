//! Chromium's WebDriver server, for the tests of what people see. The tests speak to it through a client library; this only
//! starts it, and never leaves it, or a browser of its, behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::LabError;
use crate::http_client;
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::run_dir::RunDir;
use crate::servers::find_in_path;

const START_MAX: Duration = Duration::from_secs(60);
const REQUEST_MAX: Duration = Duration::from_secs(2);

/// A running chromedriver. Dropping it ends it, and every browser that it has started.
#[derive(Debug)]
pub struct Chromedriver {
    process: Process,
    port: Port,
    chromium: PathBuf,
    _run: RunDir,
}

impl Chromedriver {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// Where Chromium or its driver are missing, or the driver does not come up.
    pub fn start() -> Result<Chromedriver, LabError> {
        let chromium = installed("chromium")?;
        let mut command = Command::new(installed("chromedriver")?);
        let run = RunDir::new()?;
        let port = Port::reserve()?;
        command.arg(format!("--port={}", port.number()));
        let mut process = Process::start("chromedriver", command, &run.join("chromedriver.log"), Ending::KILL)?;
        process.wait_ready(START_MAX, || {
            let answer = http_client::request(port.address(), "GET", "/status", &[], b"", REQUEST_MAX);
            answer.is_ok_and(|answer| answer.json()["value"]["ready"] == true)
        })?;
        Ok(Chromedriver { process, port, chromium, _run: run })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// The browser that belongs to it.
    pub fn chromium(&self) -> &Path {
        &self.chromium
    }

    /// An error about it or its browser: `what` happened, and the end of its log.
    pub fn failure(&self, what: &str) -> LabError {
        self.process.failure(what)
    }
}

fn installed(name: &str) -> Result<PathBuf, LabError> {
    let missing = || LabError::Missing { what: name.to_owned(), install: "lab/setup.sh".to_owned() };
    find_in_path(name).ok_or_else(missing)
}
