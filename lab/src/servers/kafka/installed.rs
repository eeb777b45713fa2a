//! Where Java and Kafka's jars are on this machine.

use std::path::{Path, PathBuf};

use crate::error::LabError;
use crate::servers::find_in_path;

/// Whether it could be started.
pub(crate) fn check_installed() -> Result<(), LabError> {
    java().and_then(|_| libs()).map(drop)
}

pub(super) fn java() -> Result<PathBuf, LabError> {
    let home =
        std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
    home.or_else(|| find_in_path("java")).ok_or_else(|| LabError::Missing {
        what: "java (not in PATH nor in JAVA_HOME)".to_owned(),
        install: "sudo apt-get install openjdk-17-jre-headless".to_owned(),
    })
}

/// The directory with Kafka's jars: `FLUX_KAFKA_LIBS`, or `target/kafka/libs` of the workspace, found upwards from this
/// program and from the current directory.
pub(super) fn libs() -> Result<PathBuf, LabError> {
    let holds_kafka = |directory: &Path| {
        std::fs::read_dir(directory).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"kafka_2.")))
        })
    };
    let missing =
        |looked: &str| LabError::Missing { what: format!("Apache Kafka ({looked})"), install: "make setup".to_owned() };
    if let Some(named) = std::env::var_os("FLUX_KAFKA_LIBS") {
        let named = PathBuf::from(named);
        let looked = format!("FLUX_KAFKA_LIBS={} holds no kafka_2.*.jar", named.display());
        return if holds_kafka(&named) { Ok(named) } else { Err(missing(&looked)) };
    }
    let program = std::env::current_exe().ok();
    let above_program = program.iter().flat_map(|path| path.ancestors()).map(|above| above.join("kafka/libs"));
    let here = std::env::current_dir().ok();
    let above_here = here.iter().flat_map(|path| path.ancestors()).map(|above| above.join("target/kafka/libs"));
    above_program
        .chain(above_here)
        .find(|directory| holds_kafka(directory))
        .ok_or_else(|| missing("no kafka_2.*.jar in target/kafka/libs, FLUX_KAFKA_LIBS is not set"))
}
