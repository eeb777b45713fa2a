//! Planted bugs that live in a script: one passage of the text that ships, replaced as it is loaded.

use std::borrow::Cow;

use flux_protocol::planted::{BUGS, Bug, planted};

/// What a bug replaces in the scripts, and by what; `None`: it lives elsewhere.
pub(super) fn passage(bug: Bug) -> Option<(&'static str, &'static str)> {
    Some(match bug {
        Bug::CheckThenSet => ("if not code and found[i + 1] and counts then", "if false then"),
        Bug::StockDefault => (
            "local stock = number(redis.pcall('GET', stock_key))",
            "local stock = number(redis.pcall('GET', stock_key)) or tonumber(sale[5])",
        ),
        Bug::TrustAnyRedis => ("if sale[4] ~= replid then", "if false then"),
        Bug::ReturnedTwice => ("if redis.call('SISMEMBER', returned, reservation) == 1 then", "if false then"),
        Bug::OpensEarly => ("return left > 0 and string.format('%d', left) or nil", "return nil"),
        Bug::LimitForgotten => ("redis.call('HSET', users, unpack(units_of))", "redis.call('HLEN', users)"),
        Bug::WatermarkBack => ("lot = math.min(lot + math.floor(", "lot = math.min(math.floor("),
        Bug::LostRecordsBelieved => ("if found[1] ~= mark or not stock then", "if not stock then"),
        Bug::MovedRecordsForgotten => {
            ("redis.call('HSET', records, order, made .. new)", "redis.call('HLEN', records)")
        }
        Bug::RetiredUnderWay => ("if redis.pcall('XLEN', outbox) ~= 0 then", "if false then"),
        Bug::OldReturnTaken => ("reply[i] = 'G'", "give_back(reservation, user, quantity); reply[i] = 'R'"),
        _ => return None,
    })
}

/// A script's text with the bug that is planted, if one is.
pub(super) fn spoilt(text: &str) -> Cow<'_, str> {
    match planted().and_then(passage) {
        Some((from, to)) if text.contains(from) => Cow::Owned(text.replace(from, to)),
        _ => Cow::Borrowed(text),
    }
}

/// Bugs that would change this text.
pub(super) fn could_spoil(text: &str) -> Vec<Bug> {
    BUGS.into_iter().filter(|bug| passage(*bug).is_some_and(|(from, _)| text.contains(from))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_passage_stands_in_a_script_that_ships() {
        let texts = [
            include_str!("../../../../edge/lua/trust.lua"),
            include_str!("../../../../edge/lua/reserve.lua"),
            include_str!("../../../../edge/lua/replay_lookup.lua"),
            include_str!("../../../../edge/lua/fair_queue.lua"),
            include_str!("../../../../edge/lua/split_entry.lua"),
            include_str!("../../../../edge/lua/retire.lua"),
            include_str!("../../../../worker/lua/returns.lua"),
        ];
        for (from, _) in BUGS.into_iter().filter_map(passage) {
            assert_eq!(texts.iter().map(|text| text.matches(from).count()).sum::<usize>(), 1, "{from}");
        }
    }
}
