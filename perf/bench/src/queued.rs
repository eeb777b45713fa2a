//! A million tickets of a fair queue, each for another user, before the sale opens: what the edge keeps of them, and what
//! Redis is asked meanwhile.
//!
//! Never keeps a ticket: nobody in this line comes back.

use std::time::Duration;

use serde::Serialize;

use super::measure::Ready;
use super::usage;
use flux_lab::error::{Doing, LabError};
use flux_lab::http_client;

/// Tickets, at least.
pub const TICKETS: u64 = 1_000_000;
/// Memory is read whenever so many more have been given. The first of them warm up: buffers and tables are touched then.
pub const READ_EVERY: u64 = 250_000;
/// wrk ends after a time, not after a number: it runs so long again and again, until there are enough.
const PORTION_SECONDS: u32 = 1;
/// What Redis counts of a line is a sketch that errs by 2 % (`flux_protocol::queue`); more than this is another matter.
const COUNT_ERROR_MAX: f64 = 0.1;
/// The last report of a core may be on its way, and the document so old.
const SETTLE: Duration = Duration::from_secs(1);
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Resident memory when so many tickets had been given.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reading {
    /// Tickets so far.
    pub tickets: u64,
    /// Resident memory of the edge.
    pub resident_kib: u64,
}

/// A line of a million before a sale opens.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueuedRow {
    /// Which repetition, from 1.
    pub repetition: u32,
    /// Tickets given, each to another user.
    pub tickets: u64,
    /// Tickets a second.
    pub per_second: f64,
    /// CPU of the edge by ticket, µs.
    pub server_us: f64,
    /// CPU of Redis by ticket, µs.
    pub redis_us: f64,
    /// Scripts that Redis was asked for meanwhile.
    pub script_calls: u64,
    /// All commands that Redis executed meanwhile, those within scripts as well.
    pub commands: u64,
    /// Before the first ticket, and whenever a quarter of a million more had been given.
    pub readings: Vec<Reading>,
}

impl QueuedRow {
    /// Scripts by 1,000 tickets.
    pub fn calls_by_thousand(&self) -> f64 {
        self.script_calls as f64 * 1e3 / self.tickets as f64
    }

    /// By how much the resident memory rose from the first reading under way to the last, KiB; `None` where there are not
    /// both.
    pub fn growth_kib(&self) -> Option<f64> {
        match self.readings.as_slice() {
            [_, first, .., last] => Some(last.resident_kib as f64 - first.resident_kib as f64),
            _ => None,
        }
    }

    /// For the one who waits for the end of the run.
    pub fn in_words(&self) -> String {
        let memory = |reading: &Reading| format!("{:.2} MiB", reading.resident_kib as f64 / 1024.0);
        format!(
            "queued #{}: {} tickets, {:.0}/s, CPU {:.2} + Redis {:.2} µs, {} scripts ({:.2} by 1,000 tickets), {} commands, RSS {}",
            self.repetition,
            self.tickets,
            self.per_second,
            self.server_us,
            self.redis_us,
            self.script_calls,
            self.calls_by_thousand(),
            self.commands,
            self.readings.iter().map(memory).collect::<Vec<_>>().join(", ")
        )
    }
}

/// Sends [`TICKETS`] users to the line and reads the memory and Redis' counts on the way.
///
/// # Errors
/// Where the edge or Redis does not do its part, or who was sent away was given no ticket.
pub fn measure(ready: &Ready<'_>, repetition: u32) -> Result<QueuedRow, LabError> {
    let pid = ready.server().pid()?;
    let mut redis = ready.stage().redis.connection()?;
    let mut commands = || -> Result<Commands, LabError> {
        let text: String =
            redis::cmd("INFO").arg("commandstats").query(&mut redis).doing(|| "asking Redis".to_owned())?;
        parse_commands(&text).ok_or_else(|| LabError::failed(format!("Redis' commandstats cannot be read: {text}")))
    };
    let mut row = QueuedRow { repetition, ..QueuedRow::default() };
    row.readings.push(Reading { tickets: 0, resident_kib: usage::resident_kib(pid)? });
    let (used_before, commands_before) = (ready.stage().used(ready.server())?, commands()?);
    let mut answered_us = 0;
    let mut read_at = READ_EVERY;
    for portion in 1.. {
        let report = ready.wrk(&format!("line-{portion}"), PORTION_SECONDS)?.finish()?;
        if report.refused + report.broken > 0 {
            let (refused, broken) = (report.refused, report.broken);
            return Err(LabError::failed(format!("{refused} answers of 400 and above, {broken} requests without one")));
        }
        row.tickets += report.requests;
        answered_us += report.duration_us;
        if row.tickets >= read_at {
            read_at = (row.tickets / READ_EVERY + 1) * READ_EVERY;
            ready.wait_alone()?;
            row.readings.push(Reading { tickets: row.tickets, resident_kib: usage::resident_kib(pid)? });
        }
        if row.tickets >= TICKETS {
            break;
        }
    }
    let (used, commands) = (ready.stage().used(ready.server())?, commands()?);
    let by_ticket = |after: u64, before: u64| (after - before) as f64 / row.tickets as f64;
    row.server_us = by_ticket(used.server, used_before.server);
    row.redis_us = by_ticket(used.redis, used_before.redis);
    row.per_second = row.tickets as f64 / (answered_us as f64 / 1e6);
    row.script_calls = commands.scripts - commands_before.scripts;
    // One of them was our own first question.
    row.commands = commands.all - commands_before.all - 1;
    check_counted(ready, row.tickets)?;
    Ok(row)
}

/// wrk sees no more than a 302. That a place was given with it is seen in what the edge has told Redis.
fn check_counted(ready: &Ready<'_>, tickets: u64) -> Result<(), LabError> {
    std::thread::sleep(SETTLE);
    let path = format!("/queue/{}", ready.scenario().product());
    let answer = http_client::request(ready.server().public(), "GET", &path, &[], b"", REQUEST_MAX)?;
    let counted = answer.json()["issued"][0].as_u64().unwrap_or(0);
    if counted.abs_diff(tickets) as f64 <= tickets as f64 * COUNT_ERROR_MAX {
        return Ok(());
    }
    Err(LabError::failed(format!("{tickets} users were sent to the line, and Redis counts {counted} places")))
}

/// What Redis has executed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Commands {
    /// `EVALSHA`s: everything that an edge asks of a line.
    scripts: u64,
    /// All commands, those within scripts as well.
    all: u64,
}

/// Of `INFO commandstats`; `None` where a line is not as the documentation of Redis says.
fn parse_commands(text: &str) -> Option<Commands> {
    let mut commands = Commands { scripts: 0, all: 0 };
    for line in text.lines().filter_map(|line| line.strip_prefix("cmdstat_")) {
        let (name, figures) = line.split_once(":calls=")?;
        let calls: u64 = figures.split(',').next()?.parse().ok()?;
        commands.all += calls;
        if name == "evalsha" {
            commands.scripts += calls;
        }
    }
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_counted_from_the_first_reading_under_way() {
        let readings = [(0, 100), (250_000, 900), (500_000, 1_000), (1_000_000, 950)];
        let readings = readings.map(|(tickets, resident_kib)| Reading { tickets, resident_kib });
        let of = |readings: &[Reading]| QueuedRow { readings: readings.to_vec(), ..QueuedRow::default() }.growth_kib();
        assert_eq!(of(&readings), Some(50.0));
        assert_eq!(of(&readings[..2]), None);
    }

    #[test]
    fn calls_of_all_commands_are_summed_and_scripts_kept_apart() {
        let text = "# Commandstats\r\ncmdstat_info:calls=7,usec=10,usec_per_call=1.43,rejected_calls=0,failed_calls=0\r\n\
                    cmdstat_config|get:calls=2,usec=3,usec_per_call=1.50,rejected_calls=0,failed_calls=0\r\n\
                    cmdstat_evalsha:calls=30,usec=90,usec_per_call=3.00,rejected_calls=0,failed_calls=0\r\n";
        assert_eq!(parse_commands(text), Some(Commands { scripts: 30, all: 39 }));
        assert_eq!(parse_commands("# Commandstats\r\n"), Some(Commands { scripts: 0, all: 0 }));
        assert_eq!(parse_commands(&text.replace("calls=30", "calls=x")), None);
        assert_eq!(parse_commands(&text.replace(":calls=2", "")), None);
    }
}
