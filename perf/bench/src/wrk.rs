//! wrk: a closed loop, for what a request costs. Its scripts end with a line that `perf/wrk/report.lua` prints.
//!
//! Never used for latencies that matter: a closed loop waits with its server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use flux_lab::error::{Doing, LabError};
use flux_lab::process::{Ending, Process};
use flux_lab::servers::find_in_path;

/// What a run may take beyond its length: opening and closing connections, and answers under way.
const BESIDE_MAX: Duration = Duration::from_secs(30);
/// A request that takes longer counts as timed out.
const TIMEOUT: &str = "10s";

/// One run.
#[derive(Clone, Debug)]
pub struct Wrk<'a> {
    /// The script.
    pub script: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Connections.
    pub connections: u32,
    /// wrk's threads.
    pub threads: u32,
    /// Whether it speaks TLS.
    pub is_encrypted: bool,
    /// How long, at least a second.
    pub seconds: u32,
    /// Where its output goes; a file of its own.
    pub log: &'a Path,
}

/// What `report.lua` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct WrkReport {
    /// Answers.
    pub requests: u64,
    /// From the first connection to the end, µs.
    pub duration_us: u64,
    /// Answers of status 400 and above.
    pub refused: u64,
    /// Connections, reads and writes that failed, and requests that timed out.
    pub broken: u64,
    /// Latencies, µs.
    pub p50_us: u64,
    /// Of 99 of 100 answers.
    pub p99_us: u64,
    /// Of 999 of 1,000.
    pub p999_us: u64,
}

impl Wrk<'_> {
    /// Starts it against `target`.
    ///
    /// # Errors
    /// Where wrk is missing or cannot be started.
    pub fn start(&self, target: SocketAddr) -> Result<RunningWrk, LabError> {
        let mut command = Command::new(program()?);
        command.args(["--threads", &self.threads.min(self.connections).to_string()]);
        command.args(["--connections", &self.connections.to_string()]);
        command.args(["--duration", &format!("{}s", self.seconds), "--timeout", TIMEOUT]);
        let scheme = if self.is_encrypted { "https" } else { "http" };
        command.arg("--script").arg(&self.script).arg(format!("{scheme}://{target}")).arg("--").args(&self.arguments);
        let process = Process::start("wrk", command, self.log, Ending::KILL)?;
        let longest = Duration::from_secs(u64::from(self.seconds)) + BESIDE_MAX;
        Ok(RunningWrk { process, log: self.log.to_owned(), longest })
    }
}

/// A run under way. Dropping it ends it.
#[derive(Debug)]
pub struct RunningWrk {
    process: Process,
    log: PathBuf,
    longest: Duration,
}

impl RunningWrk {
    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.process.exited().is_some()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it does not end, ends with an error, or says nothing that can be read.
    pub fn finish(mut self) -> Result<WrkReport, LabError> {
        let status = self.process.wait(self.longest)?;
        if !status.success() {
            return Err(self.process.failure("failed"));
        }
        let said = std::fs::read_to_string(&self.log).doing(|| format!("reading {}", self.log.display()))?;
        parse(&said).ok_or_else(|| self.process.failure("said nothing that can be read"))
    }
}

/// The report in wrk's output; `None` where there is none or nothing was answered.
fn parse(output: &str) -> Option<WrkReport> {
    let line = output.lines().find_map(|line| line.strip_prefix("report: "))?;
    let report: WrkReport = serde_json::from_str(line).ok()?;
    (report.requests > 0 && report.duration_us > 0).then_some(report)
}

/// Where wrk is.
///
/// # Errors
/// Where it is not in PATH.
pub fn program() -> Result<PathBuf, LabError> {
    find_in_path("wrk").ok_or_else(|| LabError::Missing {
        what: "wrk (not in PATH)".to_owned(),
        install: "sudo apt-get install wrk".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
Running 1s test @ http://127.0.0.1:3000
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   391.20us  402.11us  13.02ms   97.50%
    Req/Sec   171.02k     9.13k  183.75k    72.73%
  187121 requests in 1.10s, 25.87MB read
Requests/sec: 170163.43
Transfer/sec:     23.53MB
report: {\"requests\":187121,\"duration_us\":1099653,\"refused\":3,\"broken\":0,\"p50_us\":331,\"p99_us\":1840,\"p999_us\":4100}
";

    #[test]
    fn the_report_is_found_in_what_wrk_says() {
        let report = parse(OUTPUT).unwrap();
        assert_eq!((report.requests, report.duration_us, report.refused), (187_121, 1_099_653, 3));
        assert_eq!((report.p50_us, report.p99_us, report.p999_us), (331, 1840, 4100));
    }

    #[test]
    fn a_run_without_a_report_or_an_answer_is_none() {
        assert_eq!(parse("unable to connect to 127.0.0.1:3000 Connection refused\n"), None);
        assert_eq!(parse(&OUTPUT.replace("187121,", "0,")), None);
        let cut = OUTPUT.len() - 10;
        assert_eq!(parse(&OUTPUT[..cut]), None);
    }
}
