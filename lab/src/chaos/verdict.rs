//! The end of a trial: all is waited for, everything is checked, from the servers' data to the processes' descriptors.

use std::time::{Duration, Instant};

use super::outcome::{Marks, Outcome};
use super::trial::{PRODUCT, Trial, WAIT_MAX};
use super::vitals::Vitals;
use crate::checker::{self, Invariant};
use crate::control::Controlled;
use crate::crowd::{self, Exchange};
use crate::error::LabError;
use crate::programs::Program;

/// How long resources may take to come back to their level: a trial's edges close an idle connection after 15 s.
const CALM_MAX: Duration = Duration::from_secs(30);

impl Trial {
    /// Ends the load, waits until all is settled, and checks everything.
    ///
    /// # Errors
    /// Where it cannot be checked; what is broken is in the outcome.
    pub fn conclude(mut self) -> Result<Outcome, LabError> {
        self.calm()?;
        self.trust();
        let settled = self.deployment.settle(&self.history, WAIT_MAX);
        if let Err(error) = &settled {
            let what = format!("{error}; {}", self.said());
            self.expect(Invariant::I6, false, what);
        }
        let verdict = self.deployment.check_allowing(&self.history, self.allow)?;
        if !self.allow.no_account {
            let audit = self.deployment.audit(Some(PRODUCT))?;
            self.expect(Invariant::I4, audit.code == Some(0), format!("flux-worker audit: {audit:?}"));
        }
        let mut outcome = self.outcome(settled.ok());
        outcome.rows = verdict.stored as u64;
        outcome.units = verdict.accounts.values().map(|account| account.stored).sum();
        outcome.broken.extend(verdict.violations);
        outcome.marks.looked_at(&[Invariant::I1, Invariant::I2, Invariant::I3]);
        if !self.allow.no_account {
            outcome.marks.looked_at(&[Invariant::I4]);
        }
        Ok(outcome)
    }

    /// Ends the load and checks only what needs no quiet moment: for a scenario after which there is none.
    ///
    /// # Errors
    /// Where a thread of the crowd has failed.
    pub fn conclude_unsettled(mut self, looked_at: &[Invariant]) -> Result<Outcome, LabError> {
        self.calm()?;
        self.trust();
        let rows = self.stored()?;
        let mut outcome = self.outcome(None);
        (outcome.rows, outcome.units) = (rows as u64, rows as u64);
        outcome.marks.looked_at(looked_at);
        Ok(outcome)
    }

    /// What the history and the processes tell.
    fn outcome(&mut self, settled: Option<Duration>) -> Outcome {
        self.look_for_stuck_requests();
        self.look_at_programs();
        let mut outcome = Outcome {
            requests: self.history.exchanges.len() as u64,
            settled,
            recovery: self.recovery(),
            note: std::mem::take(&mut self.note),
            marks: Marks::default(),
            broken: std::mem::take(&mut self.broken),
            ..Outcome::default()
        };
        for exchange in &self.history.exchanges {
            match exchange.outcome {
                crowd::Outcome::Accepted { .. } | crowd::Outcome::Pending { .. } => outcome.ok += 1,
                crowd::Outcome::No(_) => outcome.no += 1,
                crowd::Outcome::Unknown(_) => outcome.unknown += 1,
            }
        }
        outcome.marks.looked_at(&[Invariant::I6]);
        if !self.untrusted.is_empty() {
            outcome.marks.looked_at(&[Invariant::I5]);
            outcome.broken.extend(checker::check_untrusted(&self.history, &self.untrusted));
        }
        outcome
    }

    /// From the end of a fault to the first new 200; the longest, where there were several.
    fn recovery(&self) -> Option<Duration> {
        let took = self.mended_us.iter().filter_map(|at_us| Some(self.first_new(*at_us)? - at_us));
        took.max().map(Duration::from_micros)
    }

    /// When the first new 200 came after `at_us`.
    fn first_new(&self, at_us: u64) -> Option<u64> {
        let new = |exchange: &&Exchange| matches!(exchange.outcome, crowd::Outcome::Accepted { replayed: false, .. });
        let answered = self.history.exchanges.iter().filter(new).map(|exchange| exchange.answered_us);
        answered.filter(|answered_us| *answered_us >= at_us).min()
    }

    /// A request that was sent after the recovery and not answered is a connection that is stuck.
    fn look_for_stuck_requests(&mut self) {
        let Some(from_us) = self.mended_us.last().and_then(|at_us| self.first_new(*at_us)) else { return };
        let timeout = crowd::Outcome::Unknown(crowd::Doubt::Timeout);
        let stuck = |exchange: &&Exchange| exchange.sent_us > from_us && exchange.outcome == timeout;
        let stuck = self.history.exchanges.iter().filter(stuck).count();
        self.expect(Invariant::I6, stuck == 0, format!("{stuck} requests sent after the recovery got no answer"));
    }

    /// Every program runs, has not panicked, and takes no more than before.
    fn look_at_programs(&mut self) {
        let until = Instant::now() + CALM_MAX;
        let grown = |trial: &Trial| -> Vec<String> {
            let grown = |program: &Program| {
                let what = Vitals::of(program)?.grown_since(trial.before.get(program.name())?)?;
                Some(format!("{}: {what}", program.name()))
            };
            trial.programs().filter_map(grown).collect()
        };
        let mut left = grown(self);
        while !left.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(250));
            left = grown(self);
        }
        let panicked = |program: &Program| program.output().contains("panicked at");
        let panics: Vec<String> =
            self.programs().filter(|program| panicked(program)).map(|program| program.output()).collect();
        let ended: Vec<String> = {
            let edges = self.deployment.edges.iter_mut().map(|edge| &mut edge.program);
            let programs = edges.chain(self.deployment.workers.iter_mut().map(|worker| &mut worker.program));
            programs.filter_map(|program| (!program.is_running()).then(|| program.name().to_owned())).collect()
        };
        left.into_iter().for_each(|what| self.expect(Invariant::I6, false, what));
        panics.into_iter().for_each(|output| self.expect(Invariant::I6, false, format!("a panic: {output}")));
        ended.into_iter().for_each(|name| self.expect(Invariant::I6, false, format!("{name} has ended")));
    }
}
