//! A sale that only orders name: stray records, or a sale whose opening event was lost together with Redis. The ledger alone
//! cannot tell the two apart, so nobody but an operator says which it is. Pure: what they are told.

use std::fmt::Write as _;

use crate::config::RebuildOrder;
use crate::oneshot::Ended;

/// What a sale was opened with, to be filled in.
const OPENED_WITH: &str =
    "--rate ORDERS --burst ORDERS --per-user UNITS --opens-at TIME --queue retry|fair [--seed SEED]";

/// An operator asks for a sale that only orders name, where Redis and the event that opened it know an earlier one.
pub(super) fn replaces_nothing(order: &RebuildOrder, stray: u64, known: u64) -> Ended {
    Ended::Refused(format!(
        "nobody opened sale {stray}: orders alone tell of it, and it replaces nothing; Redis and the event that opened it know \
         sale {known}. This rebuilds that one:\n  {}",
        command(order, &format!("--sale {known}"))
    ))
}

/// The latest sale of the product is one that only orders name, and `other`, which an event or Redis knows, may be meant instead. The command lines can be run as they stand, with the same environment; what is behind `#` is said to people.
pub(super) fn undecided(order: &RebuildOrder, stray: u64, other: u64) -> Ended {
    let mut said = format!(
        "orders name sale {stray}, and nothing has come of its opening: they are stray records, or Redis was lost together with \
         the event that opened it. Nothing was changed; say how to go on:"
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
        let ended = undecided(&order, 9, 7);
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
        let alone = Ended::Undecided(or_ended(&order, 9));
        assert_eq!(commands(&alone), [format!("{begin} --sale 9 --close")]);
        assert_eq!(commands(&replaces_nothing(&order, 9, 7)), [format!("{begin} --sale 7")]);
    }
}
