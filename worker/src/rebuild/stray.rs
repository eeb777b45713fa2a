//! A sale that only orders name: stray records, or a sale whose opening event was lost together with Redis. The ledger alone
//! cannot tell the two apart, so nobody but an operator says which it is. Pure: what they are told.

use std::fmt::Write as _;

use crate::config::RebuildOrder;
use crate::oneshot::Ended;

/// How far ahead of this moment the id of a sale may lie that some Redis has opened: ids are the milliseconds since the epoch at
/// which that was, and a clock is wrong by less.
const AHEAD_MS_MAX: u64 = 24 * 3600 * 1000;
/// What a sale was opened with, to be filled in.
const OPENED_WITH: &str = "--rate ORDERS --burst ORDERS --per-user UNITS --opens-at TIME --queue QUEUE";

/// An operator asks for a sale that only orders name, where Redis and the event that opened it know an earlier one.
pub(super) fn replaces_nothing(order: &RebuildOrder, stray: u64, known: u64) -> Ended {
    Ended::Refused(format!(
        "nobody opened sale {stray}: orders alone tell of it, and it replaces nothing; Redis and the event that opened it know \
         sale {known}. This rebuilds that one:\n  {}",
        command(order, &format!("--sale {known}"))
    ))
}

/// The latest sale of the product is one that only orders name, and `other`, which an event or Redis knows, may be meant instead.
/// The command lines can be run as they stand, with the same environment, once words in capitals are filled in; what is behind
/// `#` is said to people.
pub(super) fn undecided(order: &RebuildOrder, stray: u64, other: u64, now_ms: u64) -> Ended {
    let is_ahead = stray > now_ms + AHEAD_MS_MAX;
    let which = match is_ahead {
        true => "they are stray records, since its id lies more than a day ahead",
        false => "they are stray records, or Redis was lost together with the event that opened it",
    };
    let mut said = format!(
        "orders name sale {stray}, and nothing has come of its opening: {which}. Nothing was changed; say how to go on:"
    );
    let mut way = |more: &str, meaning: &str| {
        let _ = write!(said, "\n  {}  # {meaning}", command(order, more));
    };
    way(
        &format!("--sale {other}"),
        &format!(
            "sale {other} sells on. Nothing is sold of sale {stray}; its orders stay in the ledger, and the audit calls it \
             unannounced"
        ),
    );
    if is_ahead {
        // Sale ids only rise: one that Redis takes now would be passed by no sale to come.
        return Ended::Undecided(said);
    }
    way(
        &format!("--sale {stray} --close"),
        &format!(
            "sale {stray} is over, and so is sale {other}: what is left of both is withdrawn, and nothing is sold before a new \
             sale is opened"
        ),
    );
    way(
        &format!("--sale {stray} {OPENED_WITH}"),
        &format!("sale {stray} sells on, where somebody knows what it was opened with; sale {other} is over"),
    );
    Ended::Undecided(said)
}

/// What is said beside a refusal of a sale that only orders name, where no other sale of its product is known.
pub(super) fn or_ended(order: &RebuildOrder, stray: u64) -> String {
    let line = command(order, &format!("--sale {stray} --close"));
    format!(
        "; or, where stray orders name a sale that nobody opened:\n  {line}  # sale {stray} is over, and sells nothing"
    )
}

/// The command that was given, with this said of the sale beside what an operator knows of its Redis.
fn command(order: &RebuildOrder, more: &str) -> String {
    let mut line = format!("flux-worker rebuild --product {}", order.product);
    if order.old_master_is_dead {
        line.push_str(" --old-master-is-dead");
    }
    if order.slot_moved {
        line.push_str(" --slot-moved");
    }
    let _ = write!(line, " --fence {} {more}", humantime::format_duration(order.fence).to_string().replace(' ', ""));
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flux_protocol::order::Identifier;

    use super::*;
    use crate::config::{Config, Task};

    /// The command lines that are said, without what is behind `#`.
    fn commands(ended: &Ended) -> Vec<String> {
        let lines = ended.to_string();
        let lines = lines.lines().filter_map(|line| line.trim_start().strip_prefix("flux-worker "));
        lines.map(|line| line.split('#').next().unwrap_or_default().trim_end().to_owned()).collect()
    }

    #[test]
    fn each_way_is_a_command_line_that_says_what_it_means() {
        let product = Identifier::new(b"phone").expect("an identifier");
        let mut order = RebuildOrder::new(product, Duration::from_secs(75));
        order.old_master_is_dead = true;
        let ended = undecided(&order, 9, 7, 9);
        let begin = "rebuild --product phone --old-master-is-dead --fence 1m15s";
        let expected = ["--sale 7".to_owned(), "--sale 9 --close".to_owned(), format!("--sale 9 {OPENED_WITH}")];
        assert_eq!(commands(&ended), expected.map(|more| format!("{begin} {more}")));
        for (line, sale, closes) in [(0, 7, false), (1, 9, true)] {
            let words = format!("flux-worker {}", commands(&ended)[line]);
            let Ok(Config { task: Task::Rebuild(read), .. }) = Config::read(words.split(' ')) else {
                panic!("{words} is not understood")
            };
            assert_eq!((read.sale, read.closes), (Some(sale), closes));
            assert_eq!((read.fence, read.old_master_is_dead), (order.fence, true));
        }
        let ahead = undecided(&order, 9 + AHEAD_MS_MAX + 1, 7, 9);
        assert_eq!(commands(&ahead), [format!("{begin} --sale 7")], "no Redis has opened that one");
        let alone = Ended::Undecided(or_ended(&order, 9));
        assert_eq!(commands(&alone), [format!("{begin} --sale 9 --close")]);
        assert_eq!(commands(&replaces_nothing(&order, 9, 7)), [format!("{begin} --sale 7")]);
    }
}
