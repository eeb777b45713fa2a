//! What an operator tells a rebuild that asks which sale it is about: of a sale that only orders name the ledger cannot tell whether
//! somebody opened it, and whoever did knows.

use std::time::{Duration, SystemTime};

use flux_protocol::order::TopicRecord;

use super::faults::Fault;
use super::shape::{Sale, Shape};
use crate::kafka::Kafka;

/// Units of a sale whose opening is cut (`Fault::OperationCut`).
pub(super) const CUT_OPENING_UNITS: u64 = 10;

/// What is said beside the product to the next rebuild of it, after one that has ended with these words. `None`: it asked nothing,
/// or what nobody here knows.
///
/// A sale of which it is known how it was opened sells on as that; one with a fair line does not, since nobody but the edge that
/// died knew the seed of its lots, nor one that may be any of several.
pub(super) fn answer(shape: &Shape, kafka: &Kafka, product: &str, why: &str) -> Option<Vec<String>> {
    let sale_id = asked_about(why)?;
    let total = total_by_records(kafka, product, sale_id)?;
    let mut candidates = openings(shape, product).filter(|(_, units)| *units == total).map(|(sale, _)| sale);
    let first = candidates.next()?;
    let mut words = vec![format!("--sale={sale_id}")];
    if first.is_fair || candidates.any(|other| opened_with(&other) != opened_with(&first)) {
        words.push("--close".to_owned());
    } else {
        let asked_for = flags_asked_for(why);
        let is_asked_for = |word: &String| {
            asked_for.as_ref().is_none_or(|flags| word.split_once('=').is_some_and(|(flag, _)| flags.contains(&flag)))
        };
        words.extend(opened_with(&first).into_iter().filter(is_asked_for));
    }
    Some(words)
}

/// The flags that it asks for, where it names them: word of a sale's end tells some of what it was opened with.
fn flags_asked_for(why: &str) -> Option<Vec<&str>> {
    let (_, rest) = why.split_once(": say ")?;
    let (flags, _) = rest.split_once(", as it was")?;
    Some(flags.split(", ").collect())
}

/// The flag that is to be left out, since the sale is known to have been opened with something else: what was said of it was a guess.
pub(super) fn to_be_left_out(why: &str) -> Option<&str> {
    let (_, rest) = why.split_once("that does not change: leave ")?;
    rest.strip_suffix(" out")
}

/// The sale of whose opening nothing has come, in the words of `flux-worker rebuild`.
fn asked_about(why: &str) -> Option<u64> {
    let after = ["orders name sale ", "(the event that opened sale "];
    let rest = after.iter().find_map(|words| why.split_once(words)).map(|(_, rest)| rest)?;
    rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// By its orders, or by word of its end.
fn total_by_records(kafka: &Kafka, product: &str, sale_id: u64) -> Option<u64> {
    kafka.records().iter().find_map(|(.., value)| match TopicRecord::parse(value) {
        Ok(TopicRecord::Order(order)) if order.product_id == product && order.sale_id == sale_id => {
            Some(order.sale_total)
        }
        Ok(TopicRecord::SaleClosed(closed)) if closed.product_id == product && closed.sale_id == sale_id => {
            Some(closed.sale_total)
        }
        _ => None,
    })
}

/// All sales that are opened in place of the product's first, and their units.
fn openings<'a>(shape: &'a Shape, product: &'a str) -> impl Iterator<Item = (Sale, u64)> + 'a {
    let of_fault = |fault: &Fault| match fault {
        Fault::OperationCut { sale, closes: false, .. } => Some((shape.sales[*sale].clone(), CUT_OPENING_UNITS)),
        Fault::SaleReplaced(sale, units) => Some((shape.sales[*sale].clone(), *units)),
        Fault::SaleReopened(next) => Some((Sale::clone(next), next.quantity)),
        _ => None,
    };
    shape
        .faults
        .iter()
        .filter_map(move |planned| of_fault(&planned.fault))
        .filter(move |(sale, _)| sale.product == product)
}

fn opened_with(sale: &Sale) -> [String; 5] {
    let moment =
        |at: u64| humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(at)).to_string();
    let opens_at = sale.opens_at().map_or_else(|| "none".to_owned(), moment);
    [
        format!("--rate={}", sale.rate),
        // Where there is no rate there is no bucket.
        format!("--burst={}", if sale.rate > 0 { sale.burst } else { 1 }),
        format!("--per-user={}", sale.per_user),
        format!("--opens-at={opens_at}"),
        "--queue=retry".to_owned(),
    ]
}
