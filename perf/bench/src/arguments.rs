//! What can be chosen for `flux-bench`.

use clap::{Args, ValueEnum};

use super::contestant::Contestant;
use super::goals::Reference;
use super::measure::Generator;
use super::record::Settings;
use super::scenario::Scenario;

/// What can be chosen.
#[derive(Args, Clone, Debug)]
pub struct BenchArguments {
    /// Scenarios, comma between; left out: all.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub only: Vec<Scenario>,
    /// Contestants, comma between; left out: all that are there.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub contestants: Vec<Contestant>,
    /// Connections, comma between.
    #[arg(long, value_delimiter = ',', default_value = "64,256,4096", value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub connections: Vec<u32>,
    /// Threads of the contestants, comma between.
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Vec<u32>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repetitions: u32,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Threads of wrk and of the crowd; left out: half of the processors.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub generator_threads: Option<u32>,
    /// Ten minutes of accepted orders as well, minute by minute.
    #[arg(long)]
    pub long: bool,
}

impl BenchArguments {
    /// Who was asked for.
    pub fn contestants(&self) -> Vec<Contestant> {
        if self.contestants.is_empty() { Contestant::value_variants().to_vec() } else { self.contestants.clone() }
    }

    /// How the run is set up.
    pub fn settings(&self) -> Settings {
        Settings {
            scenarios: if self.only.is_empty() { Scenario::all() } else { self.only.clone() },
            connections: self.connections.clone(),
            threads: self.threads.clone(),
            repetitions: self.repetitions,
            seconds: self.seconds,
            generator_threads: self.generator_threads.unwrap_or_else(Generator::usual_threads),
            reference: Reference {
                connections: preferred(&self.connections, 256),
                threads: preferred(&self.threads, 1),
            },
        }
    }
}

/// `wanted` where it is among `values`, else the first of them.
fn preferred(values: &[u32], wanted: u32) -> u32 {
    if values.contains(&wanted) { wanted } else { values.first().copied().unwrap_or(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_where_most_is_measured() {
        assert_eq!(preferred(&[64, 256, 4096], 256), 256);
        assert_eq!(preferred(&[64, 4096], 256), 64);
    }
}
