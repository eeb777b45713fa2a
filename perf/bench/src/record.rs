//! A run's record: `<date>-<commit>.md` for people, `.json` with the same for programs, and a drawing a scenario.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::figures::Findings;
use super::goals::{Goal, Reference};
use super::host::Host;
use super::scenario::Scenario;
use super::{markdown, plot};
use flux_lab::error::{Doing, LabError};

/// How a run was set up.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Scenarios, in the order of the run.
    pub scenarios: Vec<Scenario>,
    /// Connections of the swept scenarios.
    pub connections: Vec<u32>,
    /// Threads of contestants in the swept scenarios.
    pub threads: Vec<u32>,
    /// Measurements of each cell.
    pub repetitions: u32,
    /// Length of each, s.
    pub seconds: u32,
    /// Threads of wrk and of the crowd.
    pub generator_threads: u32,
    /// Where goals are judged.
    pub reference: Reference,
}

/// Everything there is to say about a run.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// UTC, `2026-11-25`.
    pub date: String,
    /// On what it was measured.
    pub host: Host,
    /// How it was set up.
    pub settings: Settings,
    /// What came of the goals.
    pub goals: Vec<Goal>,
    /// What was found.
    pub findings: Findings,
}

/// Today, UTC.
pub fn today() -> String {
    let mut text = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    text.truncate("2026-11-25".len());
    text
}

impl Record {
    /// Writes its files into `directory` and returns the one to read. A record of the same day and commit is left as it
    /// is: the new one gets a number.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<PathBuf, LabError> {
        std::fs::create_dir_all(directory).doing(|| format!("making {}", directory.display()))?;
        let stem = free_stem(directory, &format!("{}-{}", self.date, self.host.commit_name()));
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).doing(|| format!("writing {}", path.display())).map(|()| path)
        };
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| LabError::failed(format!("the record as JSON: {error}")))?;
        write(&format!("{stem}.json"), &(json + "\n"))?;
        let mut plots = Vec::new();
        for scenario in Scenario::all() {
            for threads in &self.settings.threads {
                let drawn = plot::draw(&self.findings, scenario, *threads)
                    .map_err(|error| LabError::failed(format!("drawing {}: {error}", scenario.name())))?;
                if let Some(svg) = drawn {
                    let name = format!("{stem}-{}-{threads}.svg", scenario.name());
                    write(&name, &svg)?;
                    plots.push(name);
                }
            }
        }
        write(&format!("{stem}.md"), &markdown::write(self, &plots))
    }
}

/// `wanted`, or the first of `wanted-2`, `wanted-3`, … of which there is no record.
fn free_stem(directory: &Path, wanted: &str) -> String {
    let taken = |stem: &str| directory.join(format!("{stem}.md")).exists();
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.to_owned()).chain(numbered).find(|stem| !taken(stem)).expect("numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::super::contestant::Contestant;
    use super::super::figures::tests::row;
    use super::super::goals;
    use super::*;

    fn record() -> Record {
        let mut findings = Findings::default();
        for rate in [50_000.0, 60_000.0, 70_000.0] {
            findings.rows.push(row(Scenario::Accepted, Contestant::Edge, 256, rate, 6.0));
        }
        findings.missing.push("flux-peer-go is not built".to_owned());
        let reference = Reference { connections: 256, threads: 1 };
        let host = Host {
            processor: "a processor".to_owned(),
            processors: 2,
            memory_gib: 4.0,
            kernel: "6.18".to_owned(),
            system: "Debian".to_owned(),
            commit: "0123456789ab with uncommitted changes".to_owned(),
            profile: "release".to_owned(),
            load_average: "0.1 0.1 0.1".to_owned(),
            versions: vec![("wrk".to_owned(), "wrk 4.1".to_owned())],
        };
        let settings = Settings {
            scenarios: vec![Scenario::Accepted],
            connections: vec![256],
            threads: vec![1],
            repetitions: 3,
            seconds: 4,
            generator_threads: 1,
            reference,
        };
        let goals = goals::judge(&findings, reference);
        Record { date: "2026-11-25".to_owned(), host, settings, goals, findings }
    }

    #[test]
    fn every_repetition_goal_and_missing_peer_stands_in_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = record().write(directory.path()).unwrap();
        assert_eq!(path.file_name().unwrap(), "2026-11-25-0123456789ab.md");
        let text = std::fs::read_to_string(&path).unwrap();
        for wanted in ["50000", "60000", "70000", "flux-peer-go is not built", "Linux 6.18", "not measured", "| met |"]
        {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
        let json = std::fs::read(path.with_extension("json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["findings"]["rows"].as_array().unwrap().len(), 3);
        assert_eq!(json["findings"]["rows"][0]["contestant"], "edge");
        assert!(directory.path().join("2026-11-25-0123456789ab-accepted-1.svg").is_file());
    }

    #[test]
    fn an_earlier_record_is_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let names = [(); 3].map(|()| record().write(directory.path()).unwrap());
        let names = names.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned());
        assert_eq!(names, ["", "-2", "-3"].map(|number| format!("2026-11-25-0123456789ab{number}")));
    }
}
