//! What must hold of sales that open later and of fair queues, by what the fake Redis noted as units were taken and by the
//! tickets that the crowd was given.
//!
//! - Nothing is taken before its sale opens on Redis' own clock, whatever was done to that.
//! - Who takes a unit of a fair sale showed a ticket whose place Redis had called, or the line was free at some moment
//!   since a request of theirs that may have taken it was sent (less the life of that news): then the tokens at hand sufficed
//!   for all who waited. Redis' word, and not an edge's, says what was called and what was free. What this does not see: an
//!   edge that lets somebody in without either, while the line happens to come free before their unit is taken.
//! - Nobody takes a unit by a place that was used up: given before they took a unit of that sale, as long as Redis has lost
//!   nothing since.
//! - Who shows a good ticket and is sent to the line is given the same place, or, where they were served since it was given, one
//!   farther back; where the same order comes from two hands at
//!   once, both are one order to the edge, and are given one place: that which the first showed, else the other. (Who hangs up or
//!   waits no longer leaves an order behind that may be under way still.)
//! - A ticket is good, of a sale that there was, and its lot is the true one.
//! - Where Redis has lost nothing, a watermark never goes back.
//! - How many stand before a place only falls, once its second is counted to the end.

use std::collections::BTreeMap;

use flux_lab::crowd::{Exchange, Order, Outcome, Refusal};
use flux_protocol::order::order_id;
use flux_protocol::queue::limits::FREE_US;
use flux_protocol::queue::{Seed, Slot, Ticket, TicketKey};
use flux_protocol::time::Instant;

use super::run::Run;
use crate::crowd::{Stands, TicketText, Tickets};
use crate::redis::{LineThen, Taken};

/// A request, and its tickets.
type Asked<'a> = (&'a Exchange, &'a Tickets);

/// The seed and the key of each sale with a fair queue, by product and id.
struct Keys<'a>(BTreeMap<(&'a str, u64), (&'a Seed, TicketKey)>);

impl Keys<'_> {
    /// What a ticket says in this sale.
    fn verify(&self, product: &str, sale_id: u64, order: &Order, text: &TicketText) -> Option<Ticket> {
        self.0.get(&(product, sale_id))?.1.verify(text, order.user.as_bytes())
    }

    /// The sale in which a ticket is good, that sale's seed, and what it says.
    fn read(&self, order: &Order, text: &TicketText) -> Option<(u64, &Seed, Ticket)> {
        let sales = self.0.iter().filter(|((product, _), _)| *product == order.product);
        sales
            .into_iter()
            .find_map(|((_, sale_id), (seed, key))| Some((*sale_id, *seed, key.verify(text, order.user.as_bytes())?)))
    }
}

/// A line for each fault.
pub(super) fn judge(run: &Run, faults: &mut Vec<String>) {
    let redis = run.redis.borrow();
    let key = |(product, sale_id, seed): (_, _, _)| {
        let key = TicketKey::new(seed, str::as_bytes(product), sale_id);
        ((product, sale_id), (seed, key))
    };
    let keys = Keys(redis.seeds().map(key).collect());
    let (history, tickets) = (run.crowd.history.borrow(), run.crowd.tickets.borrow());
    let mut by_user: BTreeMap<(&str, &str), Vec<Asked<'_>>> = BTreeMap::new();
    for asked in history.exchanges.iter().zip(tickets.iter()) {
        by_user.entry((&asked.0.order.product, &asked.0.order.user)).or_default().push(asked);
    }
    let mut taken_by: BTreeMap<(&str, &str), Vec<&Taken>> = BTreeMap::new();
    for taken in redis.taken() {
        taken_by.entry((&taken.product, &taken.order.user_id)).or_default().push(taken);
    }
    for (user, asked) in &by_user {
        let taken = taken_by.get(user).map_or(&[][..], Vec::as_slice);
        asked.iter().for_each(|one| judge_tickets(&keys, *one, asked, taken, faults));
    }
    for taken in redis.taken() {
        if taken.clock_ms < taken.opens_at_ms {
            let early_ms = taken.opens_at_ms - taken.clock_ms;
            faults.push(format!("opened early: {:?} was taken {early_ms} ms before its sale opened", taken.order));
        }
        let Some(line) = taken.line else { continue };
        let asked = by_user.get(&(taken.product.as_str(), taken.order.user_id.as_str()));
        let of_order: Vec<Asked<'_>> =
            asked.into_iter().flatten().copied().filter(|(exchange, _)| is_of(&exchange.order, taken)).collect();
        // An order that nobody sent is for others to judge (I3).
        let of_user = &taken_by[&(taken.product.as_str(), taken.order.user_id.as_str())];
        let used_up = of_user.iter().take_while(|before| before.order.reservation_id != taken.order.reservation_id);
        let used_up = used_up
            .filter(|before| (before.sale_id, before.losses) == (taken.sale_id, taken.losses))
            .map(|before| before.second)
            .max();
        let may_take = of_order.is_empty() || of_order.iter().any(|one| may_take(&keys, *one, taken, line, used_up));
        if !may_take {
            faults.push(format!(
                "line: {} took a unit before it was called, or by a place used up ({used_up:?}): {taken:?}",
                taken.order.user_id
            ));
        }
    }
    faults.extend(redis.retreats().iter().cloned());
    places_get_worse(run, faults);
}

/// How many stand before a place never grows, by the documents' own time, where everybody has reported in time whom they have
/// sent to the line.
fn places_get_worse(run: &Run, faults: &mut Vec<String>) {
    if run.lost_data || run.shape.faults.iter().any(|planned| planned.fault.delays_reports()) {
        return;
    }
    let mut latest: BTreeMap<_, &Stands> = BTreeMap::new();
    let all = run.crowd.stands.borrow();
    for stands in all.iter() {
        let key = (&stands.of, stands.place);
        if let Some(before) = latest.get(&key) {
            if stands.now_ms < before.now_ms {
                continue;
            }
            if stands.before > before.before + before.slack.max(stands.slack) {
                faults.push(format!("line: a place has become worse: {before:?}, then {stands:?}"));
                return;
            }
        }
        latest.insert(key, stands);
    }
}

fn is_of(order: &Order, taken: &Taken) -> bool {
    let id = order_id(order.product.as_bytes(), taken.sale_id, order.user.as_bytes(), order.key.as_bytes());
    id.to_string() == taken.order.order_id
}

/// Whether a request of that order may be the one that took units then: it was sent before, was not told that it took none,
/// and its sender's turn had come. `used_up`: their places up to that slot are.
fn may_take(
    keys: &Keys<'_>,
    (exchange, tickets): Asked<'_>,
    taken: &Taken,
    line: LineThen,
    used_up: Option<Slot>,
) -> bool {
    if Instant::from_micros(exchange.sent_us) > taken.at || matches!(exchange.outcome, Outcome::No(_)) {
        return false;
    }
    let ticket = tickets.shown.and_then(|text| keys.verify(&taken.product, taken.sale_id, &exchange.order, &text));
    let is_called = ticket.is_some_and(|ticket| {
        line.called.has_called(ticket.place) && used_up.is_none_or(|until| ticket.place.slot > until)
    });
    is_called || line.free.is_some_and(|free| free.as_micros() + FREE_US >= exchange.sent_us)
}

/// `asked`: all requests of the same user for the same product; `taken`: what they came to.
fn judge_tickets(
    keys: &Keys<'_>,
    (exchange, tickets): Asked<'_>,
    asked: &[Asked<'_>],
    taken: &[&Taken],
    faults: &mut Vec<String>,
) {
    let order = &exchange.order;
    let Some(given) = tickets.given else { return };
    let Some((sale_id, seed, ticket)) = keys.read(order, &given) else {
        return faults.push(format!("line: {order:?} was given a ticket that is good nowhere"));
    };
    if !ticket.is_true_lot(seed, order.user.as_bytes()) {
        faults.push(format!("line: the lot of {order:?} is not the true one: {:?}", ticket.place));
    }
    let shown = tickets.shown.and_then(|text| keys.verify(&order.product, sale_id, order, &text));
    let Some(shown) = shown.filter(|shown| shown.place != ticket.place) else { return };
    let is_joined = |(other, of_other): &&Asked<'_>| {
        let is_same = !std::ptr::eq(*other, exchange) && other.order == exchange.order;
        if !is_same || other.sent_us > exchange.answered_us {
            return false;
        }
        if exchange.sent_us <= other.answered_us {
            return of_other.given == Some(given) || of_other.given.is_none();
        }
        // Its sender has gone, and it may be under way still: with the place that it showed, or without any.
        let of_other = of_other.shown.and_then(|text| keys.verify(&order.product, sale_id, order, &text));
        matches!(other.outcome, Outcome::Unknown(_)) && of_other.is_none_or(|other| other.place == ticket.place)
    };
    // Served since, with a unit or without: told so, or nobody knows what they were told.
    let was_served = taken.iter().any(|taken| taken.sale_id == sale_id && taken.at.as_micros() <= exchange.answered_us)
        || asked.iter().any(|(other, _)| {
            let is_refusal = matches!(other.outcome, Outcome::No(Refusal::Insufficient | Refusal::LimitReached));
            other.sent_us <= exchange.answered_us && (is_refusal || matches!(other.outcome, Outcome::Unknown(_)))
        });
    if was_served && ticket.place.slot > shown.place.slot {
        return;
    }
    if !asked.iter().any(|other| is_joined(&other)) {
        faults.push(format!("line: {order:?} showed {:?} and was given {:?}", shown.place, ticket.place));
    }
}
