//! Every command the fake knows, with arguments that fit and that do not, over keys of every type.

use flux_simulation::random::Random;

use crate::{Step, ask};

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "none"];
const FIELDS: [&str; 5] = ["f", "g", "h", "1", ""];
const VALUES: [&str; 16] = [
    "0",
    "1",
    "-1",
    "7",
    "12",
    "007",
    "+5",
    " 5",
    "1.5",
    "x",
    "",
    "9223372036854775807",
    "-9223372036854775808",
    "-0",
    "ab c",
    "10",
];
const IDS: [&str; 14] = [
    "1-1",
    "2",
    "2-5",
    "3-0",
    "0-0",
    "0-1",
    "5-*",
    "7-*",
    "18446744073709551615-18446744073709551615",
    "x",
    "1-",
    "-1",
    "1-x",
    "",
];
const ENDS: [&str; 14] = [
    "-",
    "+",
    "1",
    "2",
    "3-0",
    "(1-1",
    "(2",
    "(-",
    "(+",
    "(",
    "5",
    "1-x",
    "(0-0",
    "(18446744073709551615-18446744073709551615",
];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[usize::try_from(random.below(from.len() as u64)).expect("small")]
}

/// Upper or lower case, as it comes.
fn name(random: &mut Random, name: &str) -> String {
    if random.per_mille(500) { name.to_owned() } else { name.to_ascii_uppercase() }
}

fn several(random: &mut Random, from: &[&str], most: u64) -> Vec<String> {
    (0..=random.below(most)).map(|_| pick(random, from).to_owned()).collect()
}

pub(crate) fn sequence(random: &mut Random) -> Vec<Step> {
    let mut steps = vec![
        ask(&["SET", "a", "5"]),
        ask(&["HSET", "b", "f", "1", "g", "x"]),
        ask(&["SADD", "c", "f", "g"]),
        ask(&["XADD", "d", "1-1", "f", "1"]),
        ask(&["SET", "e", "short", "PX", "1"]),
        Step::Wait(4),
    ];
    for _ in 0..80 {
        step(random, &mut steps);
    }
    let mut last = vec![ask(&["DISCARD"]), Step::Full(false), Step::Replica(false)];
    for key in KEYS {
        last.extend(everything(key));
    }
    steps.extend(last);
    steps
}

/// All there is under a key, whatever its type.
pub(crate) fn everything(key: &str) -> Vec<Step> {
    let unordered = |name: &str, chunk| Step::AskUnordered { arguments: vec![name.to_owned(), key.to_owned()], chunk };
    vec![
        ask(&["TYPE", key]),
        ask(&["GET", key]),
        unordered("HGETALL", 2),
        unordered("SMEMBERS", 1),
        ask(&["XRANGE", key, "-", "+"]),
        Step::AskLife(vec!["TTL".to_owned(), key.to_owned()]),
    ]
}

fn step(random: &mut Random, steps: &mut Vec<Step>) {
    let key = pick(random, &KEYS).to_owned();
    let field = pick(random, &FIELDS).to_owned();
    let value = pick(random, &VALUES).to_owned();
    let mut words: Vec<String> = match random.below(36) {
        0 => vec!["get".into(), key],
        1..=2 => {
            let mut words = vec!["set".into(), key, value];
            for _ in 0..random.below(3) {
                match random.below(7) {
                    0 => words.push("nx".into()),
                    1 => words.push("xx".into()),
                    2 => words.push("get".into()),
                    3 => words.push("keepttl".into()),
                    4 => words.extend([
                        "ex".into(),
                        pick(random, &["1000", "5000", "0", "-1", "x", "9223372036854775807"]).into(),
                    ]),
                    5 => words.extend(["px".into(), pick(random, &["1000000", "0", "x"]).into()]),
                    _ => words.push(pick(random, &["what", "exat", "pxat"]).into()),
                }
            }
            words
        }
        3 => [vec!["mget".into()], several(random, &KEYS, 4)].concat(),
        4 => vec!["incrby".into(), key, value],
        5 => vec!["decrby".into(), key, value],
        6 => [vec![pick(random, &["del", "unlink"]).into()], several(random, &KEYS, 2)].concat(),
        7 => [vec!["exists".into()], several(random, &KEYS, 4)].concat(),
        8..=9 => {
            let name = pick(random, &["expire", "pexpire"]);
            let spans: [&str; 5] = if name == "expire" {
                ["1000", "5000", "-1", "0", "x"]
            } else {
                ["1000000", "9000000", "-5", "0", "1.5"]
            };
            let mut words = vec![name.into(), key, pick(random, &spans).into()];
            for _ in 0..random.below(3) {
                words.push(pick(random, &["nx", "xx", "gt", "lt", "no"]).into());
            }
            words
        }
        10 => vec!["type".into(), key],
        11..=12 => {
            let mut words = vec!["hset".into(), key, field, value];
            words.extend(several(random, &VALUES, 2).into_iter().skip(1));
            words
        }
        13 => vec!["hget".into(), key, field],
        14 => [vec!["hmget".into(), key], several(random, &FIELDS, 4)].concat(),
        15 => [vec!["hdel".into(), key], several(random, &FIELDS, 4)].concat(),
        16 => vec![pick(random, &["hlen", "scard", "xlen"]).into(), key],
        17 => vec!["hexists".into(), key, field],
        18 => vec!["hincrby".into(), key, field, value],
        19 => [vec!["sadd".into(), key], several(random, &FIELDS, 4)].concat(),
        20 => [vec!["srem".into(), key], several(random, &FIELDS, 4)].concat(),
        21 => vec!["sismember".into(), key, field],
        22..=24 => {
            let mut words = vec!["xadd".into(), key];
            if random.per_mille(300) {
                words.push("nomkstream".into());
            }
            words.push(pick(random, &IDS).into());
            words.extend([field, value]);
            if random.per_mille(200) {
                words.push("odd".into());
            }
            words
        }
        25..=27 => {
            let name = pick(random, &["xrange", "xrevrange"]);
            let mut words = vec![name.into(), key, pick(random, &ENDS).into(), pick(random, &ENDS).into()];
            if random.per_mille(300) {
                words.extend(["count".into(), pick(random, &["1", "2", "0", "-1", "x"]).into()]);
            }
            words
        }
        28 => [vec!["xdel".into(), key], several(random, &IDS, 2)].concat(),
        29 => {
            let start = pick(random, &["$", "0", "x", "1-1"]).into();
            let mut words = vec!["xgroup".into(), "create".into(), key, pick(random, &[".", "g"]).into(), start];
            if random.per_mille(500) {
                words.push("mkstream".into());
            }
            words
        }
        30 => vec!["xgroup".into(), "destroy".into(), key, pick(random, &[".", "g"]).into()],
        31 => vec![pick(random, &["multi", "exec", "discard", "ping"]).into()],
        32 => pick(
            random,
            &[
                "nosuch",
                "nosuch a b",
                "xgroup nosuch",
                "script nosuch",
                "get",
                "get a b",
                "set a",
                "ping a",
                "ping a b",
                "select 0",
                "select 1",
                "select x",
                "client setname me",
                "script exists abc",
                "hset a f",
                "xadd a",
                "auth x",
                "auth default x",
                "auth nobody x",
                "evalsha 0000000000000000000000000000000000000000 0",
                "evalsha x 0",
                "evalsha x y",
                "eval x 2 a",
                "eval x -1",
                "config get appendonlyx",
                "info nosuch",
                "flushall sometimes",
            ],
        )
        .split(' ')
        .map(str::to_owned)
        .collect(),
        33 => return steps.push(Step::AskLife(vec!["ttl".into(), key])),
        34 => match random.below(12) {
            0 => return steps.push(Step::Full(random.per_mille(500))),
            1 => return steps.push(Step::Replica(random.per_mille(500))),
            2 => vec!["flushall".into()],
            _ => {
                // Not in a transaction, whose end is at once behind it.
                steps.push(ask(&["DISCARD"]));
                steps.push(ask(&["SET", &key, "short", "PX", "1"]));
                return steps.push(Step::Wait(4));
            }
        },
        _ => return steps.extend(everything(&key)),
    };
    words[0] = name(random, &words[0]);
    steps.push(Step::Ask(words));
}
