//! The demo's third sale, to watch and to take part in: a fair queue that opens in half a minute, with a crowd before it.
//! It lasts until the last unit is sold; then every promise is checked from outside.
//!
//! Never sells to the crowd what a person in line before it should have: they wait in the same line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use flux_protocol::queue::Seed;
use serde_json::json;

use super::telling::{Findings, rows, say};
use crate::demo::fair_crowd::{FairCrowd, Member, Standing};
use crate::demo::visitors::{Line, LineReader, Patience, Visitor};
use crate::deployment::Deployment;
use crate::error::LabError;

/// Every so manieth of the crowd never comes back for their turn.
const LEAVES_EVERY: usize = 5;
/// Every so manieth does not wait to be called but tries again and again.
const HAMMERS_EVERY: usize = 100;
/// How long the ledger may take for what was sold, and the edge for the seed.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// What is sold, and to how many.
#[derive(Clone, Copy, Debug)]
pub struct FairSale {
    /// Its name in the addresses.
    pub product: &'static str,
    /// Units.
    pub units: u64,
    /// Orders a second.
    pub rate: u64,
    /// From now on.
    pub opens_in: Duration,
    /// Visitors who come before it opens.
    pub early: usize,
    /// Visitors who come one by one afterwards, as long as there is something left.
    pub late: usize,
    /// So many of them a second.
    pub late_per_second: u64,
    /// How often the line is looked at. Pages do it once a second.
    pub look_every: Duration,
    /// How often it is told how far the line has come.
    pub tell_every: Duration,
}

impl FairSale {
    /// The line moves for two minutes and a half. Of those who come early 2,400 want their turn; 600 units are left for those who
    /// come in the first two minutes after the opening, while at most five a second join the line.
    pub const DEMO: FairSale = FairSale {
        product: "sneaker-1",
        units: 3_000,
        rate: 20,
        opens_in: Duration::from_secs(30),
        early: 3_000,
        late: 2_000,
        late_per_second: 6,
        look_every: Duration::from_secs(1),
        tell_every: Duration::from_secs(5),
    };

    /// Visitors number `from` to `to` of the crowd.
    fn visitors(&self, from: usize, to: usize) -> impl Iterator<Item = Visitor> {
        let product = self.product;
        (from..to).map(move |number| {
            let patience = match number {
                _ if number % LEAVES_EVERY == LEAVES_EVERY - 1 => Patience::Leaves,
                _ if number % HAMMERS_EVERY == 0 => Patience::Hammers,
                _ => Patience::Waits,
            };
            Visitor::new(format!("{product}-visitor-{number}"), patience)
        })
    }
}

/// Opens `sale` and sends the crowd, until it is sold or `is_stopped`; then nothing was found.
///
/// # Errors
/// Where something could not be done at all; a promise that did not hold is in the findings.
pub fn run(deployment: &mut Deployment, sale: &FairSale, is_stopped: &AtomicBool) -> Result<Findings, LabError> {
    let mut findings = Findings::default();
    let opens_at = humantime::format_rfc3339_millis(SystemTime::now() + sale.opens_in).to_string();
    deployment
        .init_with(json!({"productId": sale.product, "quantity": sale.units, "rate": sale.rate, "burst": sale.rate,
        "perUser": 1, "queue": "fair", "opensAt": opens_at}))?;
    say(&invitation(deployment, sale));
    let edges = deployment.targets();
    let edge = *edges.first().ok_or_else(|| LabError::failed("no edge is running"))?;
    let mut reader = LineReader::new(edge, sale.product);
    let mut crowd = FairCrowd::new(&edges, &deployment.redis, sale.product)?;
    if !sell(sale, &mut crowd, &mut reader, is_stopped)? {
        return Ok(findings);
    }
    account(deployment, sale, &crowd, &mut reader, &mut findings)?;
    Ok(findings)
}

/// Where to look, and what to try.
fn invitation(deployment: &Deployment, sale: &FairSale) -> String {
    let mut lines = vec![
        String::new(),
        format!(
            "A sale to take part in: {} units of {}, {} orders a second, a fair queue, one unit each",
            sale.units, sale.product, sale.rate
        ),
        format!(
            "It opens in {:.0} s. {} visitors come before, more while it lasts.",
            sale.opens_in.as_secs_f64(),
            sale.early
        ),
        String::new(),
    ];
    for edge in &deployment.edges {
        let (public, room, admin) = (edge.public(), edge.waiting_room(), edge.admin());
        lines.push(format!("  countdown, and to buy  http://{public}/?product={}", sale.product));
        lines.push(format!("  waiting room           http://{room}/?product={}", sale.product));
        lines.push(format!("  dashboard              http://{admin}/"));
        lines.push(format!("  metrics                http://{admin}/metrics"));
        lines.push(format!("  the line, as JSON      http://{public}/queue/{}", sale.product));
    }
    lines.extend(
        [
            "",
            "Try: order on the first page before it opens, and be given a lot among all who came early; or after it has opened,",
            "     and stand behind them. Reload, close the tab and come back, open a second one: your place is kept, and no second",
            "     order gets a unit. Meanwhile see on the dashboard how many are left, how fast they go, and what that costs.",
            "",
        ]
        .map(str::to_owned),
    );
    lines.join("\n")
}

/// Carries the crowd through the sale. False where it was stopped before the end.
fn sell(
    sale: &FairSale,
    crowd: &mut FairCrowd,
    reader: &mut LineReader,
    is_stopped: &AtomicBool,
) -> Result<bool, LabError> {
    let begun = Instant::now();
    let mut opened: Option<Instant> = None;
    let mut told: Option<Instant> = None;
    crowd.come(sale.visitors(0, sale.early));
    loop {
        crowd.hear(sale.look_every)?;
        if is_stopped.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let line = reader.look()?;
        if line.is_open {
            let open_for = opened.get_or_insert_with(Instant::now).elapsed();
            let late = (open_for.as_secs_f64() * sale.late_per_second as f64) as usize;
            let came = crowd.members().len();
            crowd.come(sale.visitors(came, (sale.early + late.min(sale.late)).max(came)));
        }
        if !line.is_over {
            crowd.call(&line);
        }
        crowd.ask_again();
        let is_at_end = line.is_over && crowd.under_way() == 0;
        if is_at_end || told.is_none_or(|told| told.elapsed() >= sale.tell_every) {
            told = Some(Instant::now());
            say(&progress(begun.elapsed(), crowd, &line));
        }
        if is_at_end {
            return Ok(true);
        }
    }
}

fn progress(since: Duration, crowd: &FairCrowd, line: &Line) -> String {
    let state = match line {
        Line { is_over: true, .. } => "sold out",
        Line { is_open: true, .. } => "open",
        _ => "not open yet",
    };
    format!(
        "  {:>5.1} s  {:>4} came · {:>4} called · {:>4} bought · {:>4} waiting · {:>4} units left · {state}",
        since.as_secs_f64(),
        crowd.members().len(),
        crowd.called(line),
        crowd.bought(),
        crowd.waiting(),
        line.available,
    )
}

/// What became of it, by Redis, the ledger and the seed.
fn account(
    deployment: &mut Deployment,
    sale: &FairSale,
    crowd: &FairCrowd,
    reader: &mut LineReader,
    findings: &mut Findings,
) -> Result<(), LabError> {
    say("");
    let end = Instant::now() + SETTLE_MAX;
    let mut stored = rows(deployment, sale.product)?.0;
    while stored < sale.units && Instant::now() < end {
        std::thread::sleep(sale.look_every);
        stored = rows(deployment, sale.product)?.0;
    }
    let bought = crowd.bought() as u64;
    let others = match stored.saturating_sub(bought) {
        0 => String::new(),
        others => format!(", {others} by others: you?"),
    };
    findings.note(
        stored == sale.units,
        format!("{stored} rows in PostgreSQL, {} were for sale; {bought} bought by the crowd{others}", sale.units),
    );
    let uncalled = Standing::Bought { was_called: Some(false) };
    let uncalled = crowd.members().iter().filter(|member| member.standing == uncalled).count();
    let too_late = crowd.at_the_door(&reader.look()?);
    findings.note(
        uncalled == 0,
        format!(
            "served by place: {uncalled} bought uncalled; {too_late} were called for the last units and came too late"
        ),
    );

    deployment.close(sale.product)?;
    let end = Instant::now() + SETTLE_MAX;
    let seed = loop {
        match reader.seed()? {
            Some(seed) => break seed,
            None if Instant::now() >= end => {
                return Err(LabError::failed("the sale is closed and its seed is not told"));
            }
            None => std::thread::sleep(sale.look_every),
        }
    };
    let (lots, untrue) = lots(crowd.members(), &seed);
    findings.note(untrue == 0, format!("the sale is closed and its seed is told: {lots} lots checked, {untrue} wrong"));
    let audit = deployment.audit(Some(sale.product))?;
    findings.note(audit.code == Some(0), "flux-worker audit");
    Ok(())
}

/// How many lots were drawn, and how many of them are not what the seed says.
fn lots(members: &[Member], seed: &Seed) -> (usize, usize) {
    let drawn = || members.iter().map(|member| &member.visitor).filter(|visitor| visitor.ticket.is_some());
    (drawn().count(), drawn().filter(|visitor| !visitor.has_true_lot(seed)).count())
}
