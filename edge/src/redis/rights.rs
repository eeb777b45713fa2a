//! What an edge cannot do without one of the commands that its scripts run: which right an operator has to give, and what it is for.
//!
//! `lua/probe.lua` asks which are missing. A test takes each away on a real Redis, calls every script, and holds what then fails
//! against this table; another holds the manual's ACL to it. Never asks Redis itself.

/// Something that an edge does by its scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// `reserve.lua`.
    Take,
    /// `lease.lua`.
    Admit,
    /// `replay_lookup.lua`, and `reserve.lua` for an order that has its record.
    Repeat,
    /// `refresh.lua`.
    Look,
    /// `init.lua`.
    Open,
    /// `close.lua`.
    Close,
    /// `settle.lua`.
    Settle,
    /// `relay.lua`, `split_entry.lua`.
    Deliver,
    /// `queue.lua`.
    Line,
    /// `status.lua`.
    Status,
    /// `page.lua`, `forget.lua`, and the commands by which names are put into the registry and its being there is asked for.
    Names,
    /// `retire.lua`.
    Retire,
}

use Duty::{Admit, Close, Deliver, Line, Look, Names, Open, Repeat, Retire, Settle, Status, Take};

impl Duty {
    /// What does not happen where it cannot be done.
    pub fn words(self) -> &'static str {
        match self {
            Take => "no order is taken",
            Admit => "no order is taken of a sale that has a rate limit or a fair queue",
            Repeat => "who repeats an order is not told that it stands",
            Look => "it is not seen how sales stand",
            Open => "no sale is opened",
            Close => "no sale is closed",
            Settle => "delivered orders stay in the outbox, and once that is full none is taken",
            Deliver => "orders that their edge has not delivered stay in the outbox",
            Line => "nobody is told where a fair queue stands",
            Status => "nobody is told what has become of an order",
            Names => "the registry is not kept, and sales that an edge has not heard of are not found",
            Retire => "what a sale that is over leaves in Redis stays there",
        }
    }
}

/// Which keys a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// None: it asks of Redis itself.
    Server,
    /// `product:…`.
    Product,
    /// `idempotency:…`.
    Records,
    /// `flux:products`.
    Registry,
}

impl Place {
    fn of(key: Option<&str>) -> Place {
        match key {
            Some(key) if key.starts_with("idempotency:") => Place::Records,
            Some(key) if key.starts_with("product:") => Place::Product,
            Some(key) if key.starts_with("flux:") => Place::Registry,
            _ => Place::Server,
        }
    }
}

/// A command on keys of one kind, and what cannot be done without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub command: &'static str,
    pub place: Place,
    pub without: &'static [Duty],
}

const fn right(command: &'static str, place: Place, without: &'static [Duty]) -> Right {
    Right { command, place, without }
}

/// All of them.
pub const RIGHTS: &[Right] = &[
    right("INFO", Place::Server, &[Take]),
    right("TIME", Place::Server, &[Admit, Look, Open, Close, Deliver, Line, Names, Retire]),
    right("GET", Place::Product, &[Take]),
    right("SET", Place::Product, &[Open, Close]),
    right("DECRBY", Place::Product, &[Take]),
    right("EXISTS", Place::Product, &[Take]),
    right("DEL", Place::Product, &[Deliver]),
    right("UNLINK", Place::Product, &[Open]),
    right("HGET", Place::Product, &[Take]),
    right("HMGET", Place::Product, &[Take]),
    right("HGETALL", Place::Product, &[Open, Line]),
    right("HLEN", Place::Product, &[Open, Deliver]),
    right("HSET", Place::Product, &[Take]),
    right("HDEL", Place::Product, &[Admit, Open, Deliver]),
    right("HINCRBY", Place::Product, &[Admit]),
    right("HRANDFIELD", Place::Product, &[Deliver]),
    right("SADD", Place::Product, &[Open]),
    right("SREM", Place::Product, &[Open]),
    right("SISMEMBER", Place::Product, &[Take]),
    right("XADD", Place::Product, &[Take]),
    right("XDEL", Place::Product, &[Settle, Deliver]),
    right("XLEN", Place::Product, &[Take]),
    right("XRANGE", Place::Product, &[Repeat, Look, Deliver, Status]),
    right("XREVRANGE", Place::Product, &[Look]),
    right("XGROUP CREATE", Place::Product, &[Open]),
    right("XGROUP DESTROY", Place::Product, &[Open]),
    right("HGET", Place::Records, &[Look, Open, Close, Names, Retire]),
    right("HMGET", Place::Records, &[Take]),
    right("HSET", Place::Records, &[Take]),
    right("HLEN", Place::Records, &[Names, Retire]),
    right("UNLINK", Place::Records, &[Open, Names, Retire]),
    right("EXISTS", Place::Registry, &[Names]),
    right("SADD", Place::Registry, &[Names]),
    right("SREM", Place::Registry, &[Names]),
    right("SSCAN", Place::Registry, &[Names]),
];

/// What follows from the rights that are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Without each of these no order is taken.
    pub stops: Vec<String>,
    /// The others, those with the same consequences together, with these.
    pub others: Vec<String>,
}

/// `denied`: each a command and its key, as `probe.lua` has them.
pub fn judge<'a>(denied: impl Iterator<Item = &'a str>) -> Lacking {
    let mut lacking = Lacking::default();
    let mut told: Vec<(&str, Place)> = Vec::new();
    let mut groups: Vec<(&[Duty], Vec<&str>)> = Vec::new();
    for words in denied {
        let (command, key) = match words.rsplit_once(' ') {
            Some((command, key)) if key.contains(':') => (command, Some(key)),
            _ => (words.strip_suffix(" replication").unwrap_or(words), None),
        };
        // Of several keys of a kind one is named: they are granted by one pattern.
        let known =
            RIGHTS.iter().find(|right| right.command == command && (key.is_none() || right.place == Place::of(key)));
        let place = known.map_or(Place::of(key), |right| right.place);
        if told.contains(&(command, place)) {
            continue;
        }
        told.push((command, place));
        let without = known.map_or(&[][..], |right| right.without);
        if without.contains(&Take) {
            lacking.stops.push(words.to_owned());
        } else if let Some((_, group)) = groups.iter_mut().find(|(duties, _)| *duties == without) {
            group.push(words);
        } else {
            groups.push((without, vec![words]));
        }
    }
    lacking.others = groups.iter().map(|(duties, group)| in_words(duties, group)).collect();
    lacking
}

fn in_words(duties: &[Duty], group: &[&str]) -> String {
    let follows: Vec<&str> = duties.iter().map(|duty| duty.words()).collect();
    format!("without {}: {}", group.join(", "), follows.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_is_said_of_rights_with_the_same_consequences_together() {
        let denied = [
            "XADD product:{flux-probe}:outbox",
            "SADD flux:products",
            "XREVRANGE product:{flux-probe}:outbox",
            "XGROUP CREATE",
            "SADD product:{flux-probe}:returned",
            "HSET product:{flux-probe}:sale",
            "HSET product:{flux-probe}:rate",
        ];
        let lacking = judge(denied.into_iter());
        assert_eq!(lacking.stops, ["XADD product:{flux-probe}:outbox", "HSET product:{flux-probe}:sale"]);
        assert_eq!(
            lacking.others,
            [
                format!("without SADD flux:products: {}", Names.words()),
                "without XREVRANGE product:{flux-probe}:outbox: it is not seen how sales stand".to_owned(),
                "without XGROUP CREATE, SADD product:{flux-probe}:returned: no sale is opened".to_owned(),
            ]
        );
        assert_eq!(judge(["INFO replication"].into_iter()).stops, ["INFO replication"]);
        assert_eq!(judge(std::iter::empty()), Lacking::default());
    }
}
