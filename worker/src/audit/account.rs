//! The account of one sale, and whether it holds. Pure.

use std::fmt;

/// Lines that name what stands in the way; beyond, their number.
const NAMED_MAX: usize = 20;

/// Where the units of one sale are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub product: String,
    pub sale_id: u64,
    pub generation: u32,
    /// As Redis has it, or `earlier`.
    pub state: String,
    /// Units in all.
    pub total: u64,
    /// In Redis' stock.
    pub available: u64,
    /// In outbox or log and not settled by the ledger yet, each reservation once.
    pub reserved: u64,
    /// In the ledger's orders.
    pub stored: u64,
    /// Of dead letters that are known to be orders.
    pub dead_lettered: u64,
    /// To be given back.
    pub awaiting_return: u64,
    /// Taken back unsold.
    pub withdrawn: u64,
    /// Refused for want of room: not part of the sum.
    pub rejected: u64,
    /// What makes the account wrong whatever the sum says, such as a stock that cannot be believed.
    pub faults: Vec<String>,
    /// What stands in the way: orders, returns and dead letters that are not where they are to end.
    pub notes: Vec<String>,
}

impl Account {
    /// All that is accounted for.
    pub fn sum(&self) -> u64 {
        self.available + self.reserved + self.stored + self.dead_lettered + self.awaiting_return + self.withdrawn
    }

    /// It is closed, and Redis does not hold it any more: it has no stock there that could be missed, so the account is the ledger's
    /// own. What Redis had taken and the ledger never heard of is withdrawn by a rebuild.
    pub(super) fn is_without_redis(&mut self) {
        if self.holds() {
            self.notes
                .push("it is closed, and Redis does not hold it any more: the ledger has all of its units".to_owned());
        } else {
            self.faults.push(format!(
                "Redis does not hold this sale, which is closed, and what it had taken is lost with it: flux-worker rebuild \
                 --product {} withdraws what the ledger does not have",
                self.product
            ));
        }
    }

    /// Every unit is somewhere and none is in two places. Where Redis lost data and orders were rejected for want of
    /// room, those units are what may be missing.
    pub fn holds(&self) -> bool {
        self.faults.is_empty() && self.sum() <= self.total && self.total <= self.sum() + self.rejected
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} sale {} generation {} ({})", self.product, self.sale_id, self.generation, self.state)?;
        write!(
            f,
            "  total {} = available {} + reserved {} + stored {} + dead-lettered {} + awaiting return {} + withdrawn {}",
            self.total,
            self.available,
            self.reserved,
            self.stored,
            self.dead_lettered,
            self.awaiting_return,
            self.withdrawn
        )?;
        if self.rejected > 0 {
            write!(f, "; rejected for want of room {}", self.rejected)?;
        }
        match (self.holds(), self.sum(), self.total) {
            (true, ..) => write!(f, ": holds")?,
            (false, sum, total) if sum > total => write!(f, ": DOES NOT HOLD, {} units too many", sum - total)?,
            (false, sum, total) if total > sum + self.rejected => {
                write!(f, ": DOES NOT HOLD, {} units missing", total - sum)?;
            }
            (false, ..) => write!(f, ": CANNOT BE SAID TO HOLD")?,
        }
        for fault in &self.faults {
            write!(f, "\n  ! {fault}")?;
        }
        for note in self.notes.iter().take(NAMED_MAX) {
            write!(f, "\n  - {note}")?;
        }
        if self.notes.len() > NAMED_MAX {
            write!(f, "\n  - and {} more", self.notes.len() - NAMED_MAX)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let product = "p".to_owned();
        Account { product, total: 10, available: 3, reserved: 2, stored: 4, withdrawn: 1, ..Account::default() }
    }

    #[test]
    fn it_holds_when_every_unit_is_somewhere() {
        assert!(account().holds());
        for change in [
            |account: &mut Account| account.available += 1,
            |account: &mut Account| account.stored -= 1,
            |account: &mut Account| account.faults.push("x".into()),
        ] {
            let mut account = account();
            change(&mut account);
            assert!(!account.holds(), "{account}");
        }
    }

    #[test]
    fn rejected_units_may_be_missing_and_no_more() {
        let lost = |stored, rejected| Account { stored, rejected, ..account() };
        assert!(lost(4, 5).holds());
        assert!(lost(2, 2).holds());
        assert!(!lost(1, 2).holds());
        assert!(!lost(5, 5).holds(), "too many is too many");
        assert!(lost(1, 2).to_string().contains("3 units missing"));
        assert!(lost(5, 5).to_string().contains("1 units too many"));
    }

    #[test]
    fn a_closed_sale_needs_no_redis_where_the_ledger_has_all_of_it() {
        let closed = |stored| Account { available: 0, reserved: 0, stored, withdrawn: 4, ..account() };
        let judged = |stored| {
            let mut account = closed(stored);
            account.is_without_redis();
            account
        };
        assert!(
            judged(6).holds() && judged(6).to_string().contains("the ledger has all of its units"),
            "{}",
            judged(6)
        );
        assert!(!judged(5).holds() && judged(5).to_string().contains("rebuild --product p withdraws"), "{}", judged(5));
        assert!(!judged(7).holds(), "too many is too many");
    }

    #[test]
    fn what_stands_in_the_way_is_named_up_to_a_bound() {
        let notes = (0..25).map(|n| format!("order {n}")).collect();
        let text = Account { notes, ..account() }.to_string();
        assert!(text.contains("- order 19") && !text.contains("- order 20") && text.contains("and 5 more"));
    }
}
