//! A run's record as a person reads it.

use std::fmt::Write as _;

use super::contestant::Contestant;
use super::figures::{Cell, Figures, Load};
use super::flood::{Buyer, FloodRow};
use super::idle_products::PRODUCTS;
use super::opening::EdgeOpening;
use super::record::Record;
use super::scenario::Scenario;

/// The record as Markdown; `plots` are the names of its drawings, beside it.
pub fn write(record: &Record, plots: &[String]) -> String {
    let mut text = String::new();
    // A string takes whatever it is given.
    let _ = head(&mut text, record)
        .and_then(|()| goals(&mut text, record))
        .and_then(|()| plots.iter().try_for_each(|plot| writeln!(text, "![{plot}]({plot})\n")))
        .and_then(|()| medians(&mut text, record))
        .and_then(|()| idle(&mut text, record))
        .and_then(|()| queued(&mut text, record))
        .and_then(|()| opened(&mut text, record))
        .and_then(|()| flooded(&mut text, record))
        .and_then(|()| idle_products(&mut text, record))
        .and_then(|()| stored(&mut text, record))
        .and_then(|()| minutes(&mut text, record))
        .and_then(|()| repetitions(&mut text, record));
    text
}

fn head(text: &mut String, record: &Record) -> std::fmt::Result {
    let (host, settings) = (&record.host, &record.settings);
    writeln!(text, "# Measured {} at {}\n", record.date, host.commit)?;
    if host.profile != "release" {
        writeln!(
            text,
            "**Built into `{}`: these figures show that the measuring works, and nothing else.**\n",
            host.profile
        )?;
    }
    writeln!(
        text,
        "{}, {} processors, {:.1} GiB; Linux {}, {}. Load average at the start: {}.\n",
        host.processor, host.processors, host.memory_gib, host.kernel, host.system, host.load_average
    )?;
    for (program, version) in &host.versions {
        writeln!(text, "- {program}: {version}")?;
    }
    writeln!(
        text,
        "\nSettings: {} repetitions of {} s each, in turns; {} thread(s) of wrk and of the crowd; Redis over TCP, without \
         persistence; one broker with the JVM's settings of Kafka's own script, {} partitions. CPU is user and system time \
         from `/proc/PID/stat`, in µs an answer. Everything runs on this one machine.\n",
        settings.repetitions,
        settings.seconds,
        settings.generator_threads,
        super::stage::PARTITIONS
    )?;
    for (title, lines) in
        [("Not there, and left out", &record.findings.missing), ("Could not be measured", &record.findings.failures)]
    {
        if !lines.is_empty() {
            writeln!(text, "{title}:\n")?;
            lines.iter().try_for_each(|line| writeln!(text, "- {}", line.replace('\n', " | ")))?;
            writeln!(text)?;
        }
    }
    Ok(())
}

fn goals(text: &mut String, record: &Record) -> std::fmt::Result {
    let reference = record.settings.reference;
    writeln!(
        text,
        "## Goals\n\nAt {} connections and {} thread(s), io_uring, unless the line says otherwise. A ratio is taken within each \
         repetition; what stands here is the median of those.\n",
        reference.connections, reference.threads
    )?;
    writeln!(text, "| what | found | goal | |\n|---|---|---|---|")?;
    for goal in &record.goals {
        let sign = if goal.at_most { "≤" } else { "≥" };
        let found = goal.found.map_or("–".to_owned(), |found| format!("{found:.2} {}", goal.unit));
        let verdict = goal.verdict();
        writeln!(text, "| {} | {} | {sign} {} {} | {verdict} |", goal.name, found.trim(), goal.bound, goal.unit)?;
    }
    writeln!(text)
}

const HEAD: &str =
    "| who | conns | threads | answers/s | p50 | p99 | p99.9 | its CPU | Redis | Kafka | RSS MiB | orders a call |";
const LINE: &str = "|---|---|---|---|---|---|---|---|---|---|---|---|";

fn medians(text: &mut String, record: &Record) -> std::fmt::Result {
    let mut title = None;
    writeln!(text, "## Medians\n")?;
    for cell in record.findings.cells() {
        if title != Some((cell.scenario, cell.load)) {
            title = Some((cell.scenario, cell.load));
            let load = match cell.load {
                Load::Closed => "closed loop (wrk)",
                Load::Open if cell.contestant.is_encrypted() => {
                    "3,000 new connections a second (open loop: latency from the moment one was due)"
                }
                Load::Open => "at half of its highest rate (open loop: latency from the moment a request was due)",
            };
            writeln!(text, "\n### {}, {load}\n\n{HEAD}\n{LINE}", cell.scenario.name())?;
        }
        let of = |figure: fn(&Figures) -> f64| record.findings.median(cell, figure).unwrap_or(0.0);
        let known = |figure: fn(&Figures) -> Option<f64>| record.findings.median_of_known(cell, figure);
        let latency = |figure: fn(&Figures) -> Option<f64>| known(figure).map(|us| us as u64);
        let middle = Figures {
            per_second: of(|figures| figures.per_second),
            p50_us: latency(|figures| Some(figures.p50_us? as f64)),
            p99_us: latency(|figures| Some(figures.p99_us? as f64)),
            p999_us: latency(|figures| Some(figures.p999_us? as f64)),
            server_us: of(|figures| figures.server_us),
            redis_us: of(|figures| figures.redis_us),
            kafka_us: of(|figures| figures.kafka_us),
            resident_kib: of(|figures| figures.resident_kib as f64) as u64,
            orders_by_call: known(|figures| figures.orders_by_call),
            ..Figures::default()
        };
        writeln!(text, "| {} |", columns(&cell, &middle))?;
    }
    writeln!(text)
}

fn columns(cell: &Cell, figures: &Figures) -> String {
    let ms = |us: Option<u64>| us.map_or("–".to_owned(), |us| format!("{:.2} ms", us as f64 / 1e3));
    [
        cell.contestant.name().to_owned(),
        cell.connections.to_string(),
        cell.threads.to_string(),
        format!("{:.0}", figures.per_second),
        ms(figures.p50_us),
        ms(figures.p99_us),
        ms(figures.p999_us),
        format!("{:.2}", figures.server_us),
        format!("{:.2}", figures.redis_us),
        format!("{:.2}", figures.kafka_us),
        format!("{:.1}", figures.resident_kib as f64 / 1024.0),
        figures.orders_by_call.map_or(String::new(), |orders| format!("{orders:.1}")),
    ]
    .join(" | ")
}

fn idle(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.idle.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## Connections that rest\n\n| who | # | connections | answered again | RSS before | RSS |\n|---|---|---|---|---|---|"
    )?;
    for row in &record.findings.idle {
        let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.contestant.name(),
            row.repetition,
            row.connections,
            row.kept,
            mib(row.before_kib),
            mib(row.resident_kib)
        )?;
    }
    writeln!(text)
}

fn queued(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.queued.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## A million tickets of a fair queue\n\nOrders of different users before the sale opens: each 302 with a ticket. CPU \
         is µs a ticket. What Redis was asked is the difference of its `INFO commandstats`: scripts are `EVALSHA`s, commands \
         are all, those within scripts as well.\n\n\
         | # | tickets | tickets/s | its CPU | Redis | scripts | commands | scripts by 1,000 tickets |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    for row in &record.findings.queued {
        writeln!(
            text,
            "| {} | {} | {:.0} | {:.2} | {:.2} | {} | {} | {:.2} |",
            row.repetition,
            row.tickets,
            row.per_second,
            row.server_us,
            row.redis_us,
            row.script_calls,
            row.commands,
            row.calls_by_thousand()
        )?;
    }
    writeln!(text, "\n| # | tickets so far | RSS of the edge |\n|---|---|---|")?;
    for row in &record.findings.queued {
        for reading in &row.readings {
            let mib = reading.resident_kib as f64 / 1024.0;
            writeln!(text, "| {} | {} | {mib:.2} MiB |", row.repetition, reading.tickets)?;
        }
    }
    writeln!(text)
}

fn opened(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.opened.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## The opening\n\nTwo edges of two cores on one Redis, asked over connections of one request. Milliseconds after \
         `opensAt` on Redis' clock, when a client had its answer; the spread is from the first 200 of all until no edge says \
         302 any more.\n\n| # | edge | asked | first 200 | last 302 | spread | error of the clock |\n|---|---|---|---|---|---|---|"
    )?;
    for row in &record.findings.opened {
        for (number, edge) in (1..).zip(&row.edges) {
            let EdgeOpening { asked, first_accepted_ms, last_refused_ms } = edge;
            writeln!(
                text,
                "| {} | {number} | {asked} | {first_accepted_ms:.2} | {last_refused_ms:.2} | {:.2} | {:.2} |",
                row.repetition, row.spread_ms, row.clock_error_ms
            )?;
        }
    }
    writeln!(text)
}

fn flooded(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.flooded.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## Floods\n\nA thousand connections, 32 requests in one write of each, beside a buyer of the same product and one of \
         another, an order every 20 ms; one thread of the edge. Accepted orders of those placed, p50 and p99 in ms.\n\n\
         | flood | # | answers/s | edge, µs | Redis, µs | same product | p50 | p99 | another | p50 | p99 |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    for FloodRow { repetition, route, per_second, server_us, redis_us, same, other, .. } in &record.findings.flooded {
        let buyer = |buyer: &Buyer| {
            let Buyer { asked, accepted, p50_us, p99_us } = buyer;
            format!("{accepted} of {asked} | {:.2} | {:.2}", *p50_us as f64 / 1e3, *p99_us as f64 / 1e3)
        };
        let (name, same, other) = (route.name(), buyer(same), buyer(other));
        writeln!(
            text,
            "| {name} | {repetition} | {per_second:.0} | {server_us:.2} | {redis_us:.2} | {same} | {other} |"
        )?;
    }
    writeln!(text)
}

fn idle_products(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.idle_products.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## Products that nobody asks for\n\n{PRODUCTS} on sale. CPU of Redis in % of one processor, p99 of a PING every 5 ms: \
         before they were on sale, and while nobody asked for them. Then an order of one of them every 20 ms, p50 in ms: alone, \
         and beside a page that asks for the stock of a thousand, each once a second.\n\n\
         | # | cores | Redis, % | | PING, ms | | order alone | beside | stocks shown |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    let ms = |us: u64| us as f64 / 1e3;
    for row in &record.findings.idle_products {
        writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
            row.repetition,
            row.cores,
            row.redis_percent_before,
            row.redis_percent,
            ms(row.ping_p99_us_before),
            ms(row.ping_p99_us),
            ms(row.alone.p50_us),
            ms(row.beside.p50_us),
            row.shown
        )?;
    }
    writeln!(text)
}

fn stored(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.stored.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## From the topic to committed rows\n\nFrom the start of the program to the last commit. CPU is µs a row.\n\n\
         | way | # | rows | seconds | rows/s | its CPU | PostgreSQL | Kafka |\n|---|---|---|---|---|---|---|---|"
    )?;
    for row in &record.findings.stored {
        writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} |",
            row.way,
            row.repetition,
            row.rows,
            row.seconds,
            row.per_second,
            row.program_us,
            row.postgres_us,
            row.kafka_us
        )?;
    }
    writeln!(text)
}

fn minutes(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.minutes.is_empty() {
        return Ok(());
    }
    let cell = record.settings.reference.cell(Scenario::Accepted, Contestant::Edge);
    writeln!(
        text,
        "## Accepted orders, minute by minute\n\nRecords live 60 s here, so that Redis holds a bounded number.\n"
    )?;
    writeln!(text, "| minute {HEAD}\n|---{LINE}")?;
    for row in &record.findings.minutes {
        writeln!(text, "| {} | {} |", row.minute, columns(&cell, &row.figures))?;
    }
    writeln!(text)
}

fn repetitions(text: &mut String, record: &Record) -> std::fmt::Result {
    if record.findings.rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "## Every repetition, in the order of the run\n\n| scenario | load | # {HEAD}\n|---|---|---{LINE}")?;
    for row in &record.findings.rows {
        let load = match row.figures.asked_per_second {
            None => "closed".to_owned(),
            Some(asked) => format!("{asked:.0}/s"),
        };
        let columns = columns(&row.cell, &row.figures);
        writeln!(text, "| {} | {load} | {} | {columns} |", row.cell.scenario.name(), row.repetition)?;
    }
    Ok(())
}
