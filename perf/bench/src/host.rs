//! On what a run was measured: machine, kernel, versions, commit.
//!
//! Never names the machine itself, nor a path of it.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use flux_lab::programs;
use flux_lab::servers::find_in_path;

/// On what a run was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// The processor's name.
    pub processor: String,
    /// Processors the process may use.
    pub processors: usize,
    /// Memory, GiB.
    pub memory_gib: f64,
    /// `uname -r`.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// Commit of the working tree, with a word where it has changes.
    pub commit: String,
    /// The directory that our edge was built into, `release` or `debug`.
    pub profile: String,
    /// Load averages at the start: what else ran.
    pub load_average: String,
    /// Program and what it says of its version.
    pub versions: Vec<(String, String)>,
}

impl Host {
    /// Looks around; what is not to be found stands as `unknown`.
    pub fn look(root: &Path) -> Host {
        let unknown = || "unknown".to_owned();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let profile = programs::edge_binary()
            .ok()
            .and_then(|path| Some(path.parent()?.file_name()?.to_string_lossy().into_owned()));
        Host {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: memory_gib(&read("/proc/meminfo")).unwrap_or(0.0),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: field(&read("/etc/os-release").replace('=', ":"), "PRETTY_NAME").unwrap_or_else(unknown),
            commit: commit(root).unwrap_or_else(unknown),
            profile: profile.unwrap_or_else(unknown),
            load_average: read("/proc/loadavg").split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" "),
            versions: versions(root),
        }
    }

    /// The commit's short name alone, for file names.
    pub fn commit_name(&self) -> &str {
        self.commit.split(' ').next().unwrap_or("unknown")
    }
}

/// The value of the first line `name : value`, quotes dropped.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().trim_matches('"').to_owned())
}

fn memory_gib(meminfo: &str) -> Option<f64> {
    let kib: f64 = field(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0 / 1024.0)
}

fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new(find_in_path("git")?);
        let output = command.arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let name = git(&["rev-parse", "--short=12", "HEAD"])?;
    // Records of earlier runs are no part of the programs.
    let changes = git(&["status", "--porcelain", "--", ".", ":!perf/record"])?;
    Some(if changes.is_empty() { name } else { format!("{name} with uncommitted changes") })
}

fn versions(root: &Path) -> Vec<(String, String)> {
    let asked: [(&str, &[&str]); 7] = [
        ("redis-server", &["--version"]),
        ("java", &["-version"]),
        ("psql", &["--version"]),
        ("wrk", &["-v"]),
        ("nginx", &["-v"]),
        ("rustc", &["--version"]),
        ("go", &["version"]),
    ];
    let mut versions: Vec<(String, String)> = asked
        .iter()
        .filter_map(|(program, arguments)| Some(((*program).to_owned(), first_line(program, arguments)?)))
        .collect();
    let jars = std::fs::read_dir(root.join("target/kafka/libs")).into_iter().flatten().flatten();
    let kafka = jars.filter_map(|entry| {
        Some(entry.file_name().to_str()?.strip_prefix("kafka_2.")?.strip_suffix(".jar")?.to_owned())
    });
    versions.extend(kafka.map(|version| ("kafka".to_owned(), format!("kafka_2.{version}"))));
    versions
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(find_in_path(program)?).args(arguments).output().ok()?;
    // wrk and java say it on standard error, and wrk with exit code 1.
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found() {
        assert_eq!(
            field("vendor_id\t: X\nmodel name\t: Fast \"CPU\nz: 1", "model name").as_deref(),
            Some("Fast \"CPU")
        );
        assert_eq!(field("PRETTY_NAME:\"Debian 12\"\n", "PRETTY_NAME").as_deref(), Some("Debian 12"));
        assert_eq!(field("a: 1", "b"), None);
        assert_eq!(memory_gib("MemTotal:       2097152 kB\n"), Some(2.0));
    }
}
