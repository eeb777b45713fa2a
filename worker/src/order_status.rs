//! Questions to the ledger beside the batches: `GET /order`, and the units of all products while nobody can hold them against
//! Redis (`redis_maintenance.rs` tells them else). They have a connection of their own, so that no question waits for a COPY
//! and no COPY for a question.
//!
//! Bounded: what does not fit into the queue is turned away at once. Never writes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use flux_net::{Clock, Notify, within};
use flux_protocol::order::Uuid;
use tracing::debug;

use crate::ledger::{Ledger, LedgerError, LedgerTarget, OrderStatus};
use crate::limits::{ADMIN_LEDGER_TIMEOUT, ADMIN_QUESTIONS_MAX, UNITS_INTERVAL};
use crate::metrics::Metrics;

/// The ledger could not be asked, or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

struct Question {
    order_id: Uuid,
    answer: RefCell<Option<Result<Option<OrderStatus>, Unavailable>>>,
    answered: Notify,
}

#[derive(Default)]
pub struct Questions {
    queue: RefCell<VecDeque<Rc<Question>>>,
    asked: Notify,
}

impl Questions {
    /// No question yet; [`answer`] has to run.
    pub fn new() -> Questions {
        Questions::default()
    }

    /// What has become of an order; `None` where the ledger does not know it.
    ///
    /// # Errors
    /// [`Unavailable`]: the ledger is away, or too many ask.
    pub async fn order_status(&self, order_id: Uuid) -> Result<Option<OrderStatus>, Unavailable> {
        let question = Rc::new(Question { order_id, answer: RefCell::default(), answered: Notify::new() });
        {
            let mut queue = self.queue.borrow_mut();
            if queue.len() >= ADMIN_QUESTIONS_MAX {
                return Err(Unavailable);
            }
            queue.push_back(Rc::clone(&question));
        }
        self.asked.notify();
        match within(ADMIN_LEDGER_TIMEOUT, question.answered.notified()).await {
            Ok(Some(())) => question.answer.borrow_mut().take().unwrap_or(Err(Unavailable)),
            Ok(None) | Err(_) => Err(Unavailable),
        }
    }

    /// The next question that a request still waits for.
    fn next(&self) -> Option<Rc<Question>> {
        let mut queue = self.queue.borrow_mut();
        loop {
            let question = queue.pop_front()?;
            if Rc::strong_count(&question) > 1 {
                return Some(question);
            }
        }
    }
}

/// Answers what is asked, and reads the units of all products in each second in which they were not compared with Redis: its being
/// away takes nothing from what the ledger tells. Never ends.
pub async fn answer(questions: Rc<Questions>, postgres: LedgerTarget, metrics: Rc<Metrics>, clock: Clock) {
    let mut ledger = None;
    let (mut units_due, mut rounds) = (clock.instant(), metrics.rounds());
    loop {
        let now = clock.instant();
        if let Some(question) = questions.next() {
            let answer = match connected(&mut ledger, &postgres).await {
                Ok(ledger) => ledger.order_status(question.order_id).await,
                Err(error) => Err(error),
            };
            if let Err(error) = &answer {
                debug!(%error, "a question to the ledger failed");
            }
            question.answer.replace(Some(answer.map_err(|_| Unavailable)));
            question.answered.notify();
        } else if units_due <= now {
            units_due = now + UNITS_INTERVAL;
            let before = std::mem::replace(&mut rounds, metrics.rounds());
            if rounds != before {
                continue;
            }
            if let Err(error) = read_units(&mut ledger, &postgres, &metrics).await {
                debug!(%error, "the units could not be read");
            }
        } else if within(units_due.since(now), questions.asked.notified()).await.is_err() {
            // No descriptor for a timer: the next question wakes us.
            questions.asked.notified().await;
        }
    }
}

async fn read_units(
    ledger: &mut Option<Ledger>,
    postgres: &LedgerTarget,
    metrics: &Metrics,
) -> Result<(), LedgerError> {
    for units in connected(ledger, postgres).await?.units().await? {
        metrics.set_ledger_units(&units);
    }
    Ok(())
}

async fn connected<'a>(ledger: &'a mut Option<Ledger>, postgres: &LedgerTarget) -> Result<&'a mut Ledger, LedgerError> {
    match ledger {
        Some(ledger) => Ok(ledger),
        none => Ok(none.insert(Ledger::connect(postgres).await?)),
    }
}
