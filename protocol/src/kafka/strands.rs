//! Two Kafka machines behind one shell: their sockets stand in one space of keys.
//!
//! A machine numbers its sockets by itself, so two of them use the same numbers. The owner of both hands the shell the keys and
//! actions of each as those of its [`Strand`], and finds the machine again by the key that comes back.

use super::client::{BrokerAction, BrokerKey};

/// Which of two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strand {
    /// The one.
    First,
    /// The other.
    Second,
}

impl Strand {
    /// A key of this machine, as its shell knows it. No two of both machines are the same before one of them has opened 2³¹ sockets.
    pub fn outer(self, BrokerKey(inner): BrokerKey) -> BrokerKey {
        BrokerKey(inner << 1 | self as u32)
    }

    /// What this machine wants done, as its shell knows it.
    pub fn outer_action(self, action: BrokerAction) -> BrokerAction {
        match action {
            BrokerAction::Connect { broker, host, port } => {
                BrokerAction::Connect { broker: self.outer(broker), host, port }
            }
            BrokerAction::Close { broker } => BrokerAction::Close { broker: self.outer(broker) },
        }
    }

    /// Whose a key is that the shell hands over, and which of its own.
    pub fn of(BrokerKey(outer): BrokerKey) -> (Strand, BrokerKey) {
        let strand = if outer & 1 == 0 { Strand::First } else { Strand::Second };
        (strand, BrokerKey(outer >> 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_comes_back_to_its_machine() {
        let mut all = std::collections::BTreeSet::new();
        for inner in [0, 1, 2, 7, (1 << 31) - 1].map(BrokerKey) {
            for strand in [Strand::First, Strand::Second] {
                let outer = strand.outer(inner);
                assert_eq!(Strand::of(outer), (strand, inner));
                assert!(all.insert(outer));
                let close = BrokerAction::Close { broker: inner };
                assert_eq!(strand.outer_action(close), BrokerAction::Close { broker: outer });
            }
        }
    }
}
