//! What was measured: every repetition of every cell, and medians over them.

use serde::Serialize;

use super::contestant::Contestant;
use super::flood::FloodRow;
use super::idle_products::IdleProductsRow;
use super::opening::OpeningRow;
use super::queued::QueuedRow;
use super::scenario::Scenario;
use super::statistics::median;

/// How the load comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// wrk: a connection sends its next request when it has the answer to the last.
    Closed,
    /// The crowd: at a constant rate, whether earlier requests were answered or not.
    Open,
}

/// What one measurement is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// What is measured.
    pub scenario: Scenario,
    /// How the load comes.
    pub load: Load,
    /// Connections.
    pub connections: u32,
    /// Threads of the contestant.
    pub threads: u32,
    /// Who.
    pub contestant: Contestant,
}

/// One measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Answers.
    pub requests: u64,
    /// How long it took.
    pub seconds: f64,
    /// Answers a second.
    pub per_second: f64,
    /// The rate of the schedule, in an open loop.
    pub asked_per_second: Option<f64>,
    /// CPU of the contestant by answer, user and system, µs.
    pub server_us: f64,
    /// The same of Redis.
    pub redis_us: f64,
    /// The same of the broker.
    pub kafka_us: f64,
    /// Latency, µs: in an open loop from the moment the request was due. `None` where it is not known.
    pub p50_us: Option<u64>,
    /// Of 99 of 100 answers.
    pub p99_us: Option<u64>,
    /// Of 999 of 1,000.
    pub p999_us: Option<u64>,
    /// Resident memory of the contestant at the end.
    pub resident_kib: u64,
    /// Answers that are not the scenario's.
    pub unexpected: u64,
    /// Requests without an answer.
    pub broken: u64,
    /// Orders of a reserve call in the middle, of our edge.
    pub orders_by_call: Option<f64>,
    /// New records in the topic by answer, where every answer stands for one: who answers without them did other work.
    pub records_by_answer: Option<f64>,
}

impl Figures {
    /// CPU of contestant, Redis and broker together, by answer, µs.
    pub fn total_us(&self) -> f64 {
        self.server_us + self.redis_us + self.kafka_us
    }
}

/// One repetition of a cell.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is of.
    #[serde(flatten)]
    pub cell: Cell,
    /// Which repetition, from 1.
    pub repetition: u32,
    /// What was measured.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Memory of connections that rest.
#[derive(Clone, Debug, Serialize)]
pub struct IdleRow {
    /// Who.
    pub contestant: Contestant,
    /// Which repetition, from 1.
    pub repetition: u32,
    /// Connections that were opened and answered once.
    pub connections: u32,
    /// Those of them that were answered again after the rest.
    pub kept: u32,
    /// Resident memory before the first connection.
    pub before_kib: u64,
    /// Resident memory while all of them rest.
    pub resident_kib: u64,
}

/// One way of getting orders into the indexed table.
#[derive(Clone, Debug, Serialize)]
pub struct StoredRow {
    /// As [`super::worker`] names it.
    pub way: &'static str,
    /// Which repetition, from 1.
    pub repetition: u32,
    /// Rows committed.
    pub rows: u64,
    /// From the program's start to the last commit.
    pub seconds: f64,
    /// Rows a second.
    pub per_second: f64,
    /// CPU of the program by row, µs.
    pub program_us: f64,
    /// CPU of PostgreSQL by row, µs.
    pub postgres_us: f64,
    /// CPU of the broker by row, µs.
    pub kafka_us: f64,
}

impl StoredRow {
    /// CPU of all that a row needs behind the topic's acknowledgement, µs.
    pub fn total_us(&self) -> f64 {
        self.program_us + self.postgres_us + self.kafka_us
    }
}

/// One minute of a long run.
#[derive(Clone, Debug, Serialize)]
pub struct MinuteRow {
    /// Which minute, from 1.
    pub minute: u32,
    /// What was measured in it.
    #[serde(flatten)]
    pub figures: Figures,
}

/// All that a run has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// Measurements by wrk and crowd.
    pub rows: Vec<Row>,
    /// Connections that rest.
    pub idle: Vec<IdleRow>,
    /// Lines of a million.
    pub queued: Vec<QueuedRow>,
    /// Openings.
    pub opened: Vec<OpeningRow>,
    /// Floods.
    pub flooded: Vec<FloodRow>,
    /// Products that nobody asks for.
    pub idle_products: Vec<IdleProductsRow>,
    /// Topic to committed rows.
    pub stored: Vec<StoredRow>,
    /// The long run.
    pub minutes: Vec<MinuteRow>,
    /// Contestants that were not there, and why.
    pub missing: Vec<String>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

impl Findings {
    /// Every cell that was measured, in the order of its first measurement.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = Vec::new();
        for row in &self.rows {
            if !cells.contains(&row.cell) {
                cells.push(row.cell);
            }
        }
        cells
    }

    /// The median of a figure over the repetitions of `cell`; `None` where it was not measured.
    pub fn median(&self, cell: Cell, figure: impl Fn(&Figures) -> f64) -> Option<f64> {
        self.median_of_known(cell, |figures| Some(figure(figures)))
    }

    /// The same of a figure that some repetitions do not have; they are passed over.
    pub fn median_of_known(&self, cell: Cell, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| row.cell == cell);
        median(rows.filter_map(|row| figure(&row.figures)))
    }

    /// The median over the repetitions of `ours` to what `choose` makes of the `others` of the same repetition: the machine
    /// is slower in some minutes than in others, for all alike. `None` where no repetition has all of them.
    pub fn median_ratio(
        &self,
        ours: Cell,
        others: &[Cell],
        choose: impl Fn(f64, f64) -> f64,
        figure: impl Fn(&Figures) -> f64,
    ) -> Option<f64> {
        let of = |cell: &Cell, repetition| {
            let row = self.rows.iter().find(|row| row.cell == *cell && row.repetition == repetition);
            row.map(|row| figure(&row.figures))
        };
        let ratios = self.rows.iter().filter(|row| row.cell == ours).filter_map(|row| {
            let found: Option<Vec<f64>> = others.iter().map(|other| of(other, row.repetition)).collect();
            Some(figure(&row.figures) / found?.into_iter().reduce(&choose)?)
        });
        median(ratios)
    }

    /// The highest rate of `contestant` in a closed loop of `scenario` with so many threads: the median of its
    /// repetitions, over all numbers of connections.
    pub fn highest_rate(&self, scenario: Scenario, contestant: Contestant, threads: u32) -> Option<f64> {
        let alike = |cell: &Cell| {
            (cell.scenario, cell.contestant, cell.threads, cell.load) == (scenario, contestant, threads, Load::Closed)
        };
        let rates = self.cells().into_iter().filter(alike).filter_map(|cell| self.median(cell, |f| f.per_second));
        rates.max_by(f64::total_cmp)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row whose rate and costs are given.
    pub(crate) fn row(scenario: Scenario, contestant: Contestant, connections: u32, per_second: f64, us: f64) -> Row {
        let cell = Cell { scenario, load: Load::Closed, connections, threads: 1, contestant };
        let figures = Figures {
            requests: 1_000,
            seconds: 1.0,
            per_second,
            server_us: us,
            redis_us: us / 2.0,
            kafka_us: us / 4.0,
            p99_us: Some(1_500),
            orders_by_call: Some(30.0),
            ..Figures::default()
        };
        Row { cell, repetition: 1, figures }
    }

    #[test]
    fn a_ratio_is_taken_within_each_repetition_that_has_all() {
        let mut findings = Findings::default();
        // The machine takes twice as long in the second, and nobody knows what axum took in the third.
        for (repetition, ours, go, axum) in [(1, 2.0, 10.0, Some(8.0)), (2, 4.0, 16.0, Some(20.0)), (3, 9.0, 9.0, None)]
        {
            let mut add = |contestant, us| {
                findings.rows.push(Row { repetition, ..row(Scenario::Accepted, contestant, 64, 1.0, us) });
            };
            add(Contestant::Edge, ours);
            add(Contestant::Go, go);
            axum.into_iter().for_each(|us| add(Contestant::Axum, us));
        }
        let cell = |contestant| Cell { contestant, ..findings.rows[0].cell };
        let others = [cell(Contestant::Go), cell(Contestant::Axum)];
        let ratio = findings.median_ratio(cell(Contestant::Edge), &others, f64::min, |figures| figures.server_us);
        assert_eq!(ratio, Some(0.25));
        assert_eq!(findings.median_ratio(cell(Contestant::Edge), &[cell(Contestant::Nginx)], f64::min, |_| 1.0), None);
    }

    #[test]
    fn medians_are_by_cell_and_the_highest_rate_is_that_of_the_best_cell() {
        let mut findings = Findings::default();
        for rate in [10.0, 90.0, 30.0] {
            findings.rows.push(row(Scenario::Stock, Contestant::Go, 64, rate, 1.0));
            findings.rows.push(row(Scenario::Stock, Contestant::Go, 256, rate * 2.0, 1.0));
            findings.rows.push(row(Scenario::Stock, Contestant::Axum, 256, 1e6, 1.0));
        }
        let cells = findings.cells();
        assert_eq!(cells.len(), 3);
        assert_eq!(findings.median(cells[0], |figures| figures.per_second), Some(30.0));
        assert_eq!(findings.highest_rate(Scenario::Stock, Contestant::Go, 1), Some(60.0));
        assert_eq!(findings.highest_rate(Scenario::Stock, Contestant::Go, 2), None);
        assert_eq!(findings.highest_rate(Scenario::Replay, Contestant::Go, 1), None);
    }
}
