//! What a demo says to a person, and what it has found.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::crowd::{Report, Running};
use crate::deployment::Deployment;
use crate::error::{Doing, LabError};

/// What the demo found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What was promised, and whether it held.
    pub promises: Vec<(String, bool)>,
}

impl Findings {
    /// Whether all of it held.
    pub fn hold(&self) -> bool {
        self.promises.iter().all(|(_, held)| *held)
    }

    /// Says whether a promise held, and remembers it.
    pub(crate) fn note(&mut self, held: bool, promise: impl Into<String>) {
        let promise = promise.into();
        say(&format!("  {} {promise}", if held { "✓" } else { "✗" }));
        self.promises.push((promise, held));
    }
}

/// Shows twice a second how far a crowd is.
pub fn show_progress(running: Running, buyers: u64) -> Result<Report, LabError> {
    let begun = Instant::now();
    let mut shown = None;
    while !running.is_finished() {
        std::thread::sleep(Duration::from_millis(100));
        let now = running.progress();
        if begun.elapsed().as_millis() % 500 < 100 && shown != Some(now) {
            say(&format!(
                "  {:>4.1} s  {:>6} requests · {:>5} accepted · {:>6} to the waiting room · {:>6} sold out · {:>6}/{buyers} done{}",
                begun.elapsed().as_secs_f64(),
                now.requests,
                now.accepted,
                now.waiting,
                now.sold_out,
                now.buyers_done,
                if now.unknown > 0 { format!(" · {} unknown", now.unknown) } else { String::new() }
            ));
            shown = Some(now);
        }
    }
    running.join()
}

/// Rows and units of `product` in the ledger.
pub(crate) fn rows(deployment: &Deployment, product: &str) -> Result<(u64, u64), LabError> {
    let sql = "SELECT count(*), coalesce(sum(quantity), 0) FROM orders WHERE product_id = $1";
    let row = deployment.ledger()?.query_one(sql, &[&product]).doing(|| "counting orders".to_owned())?;
    Ok((row.get::<_, i64>(0) as u64, row.get::<_, i64>(1) as u64))
}

/// A line on standard output, at once.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that closed the pipe does not want to hear more; the exit code still tells.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
