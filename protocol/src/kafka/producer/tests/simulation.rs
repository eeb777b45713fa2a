//! Thousands of short histories, each drawn from a seed: appends, lost connections, brokers that go and come, leaders that
//! move, errors before and after the append, answers held back. A failing seed is printed by the assertion.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::fake::Fake;
use super::{Bench, config, value};
use crate::kafka::backoff::SplitMix64;
use crate::kafka::producer::Settled;

/// Codes that pass, those that end a producer id, and those that refuse.
const CODES: [i16; 14] = [3, 5, 6, 7, 19, 20, 56, -1, 2, 10, 29, 45, 47, 59];

fn run(seed: u64) -> (usize, BTreeMap<&'static str, usize>) {
    let mut random = SplitMix64::new(seed);
    let nodes = 1 + random.below(3) as i32;
    let partitions = 1 + random.below(4) as i32;
    let mut fake = Fake::new(nodes, partitions);
    fake.trickles = random.below(8) == 0;
    fake.produce_version_max = if random.below(2) == 0 { 13 } else { 12 };
    let mut its = config();
    its.seed = seed;
    its.batch_bytes_max = 200 + random.below(2000) as usize;
    let mut bench = Bench::with(fake, its);

    let mut appended: HashMap<i32, Vec<u32>> = HashMap::new();
    for _ in 0..60 {
        match random.below(16) {
            0 => {
                let node = 1 + random.below(nodes as u64) as i32;
                bench.fake.reset(node, &mut bench.producer);
            }
            1 => {
                let node = 1 + random.below(nodes as u64) as i32;
                bench.fake.up.insert(node, false);
                bench.fake.reset(node, &mut bench.producer);
            }
            2 | 3 => bench.fake.up.values_mut().for_each(|up| *up = true),
            4 => {
                let partition = random.below(partitions as u64) as usize;
                bench.fake.leaders[partition] = 1 + random.below(nodes as u64) as i32;
            }
            5 => bench.fake.holds = random.below(2) == 0,
            6 => {
                bench.fake.appends_anyway = random.below(2) == 0;
                let partition = random.below(partitions as u64) as i32;
                // A code that says "not appended" must not be told of a batch that was.
                let codes = if bench.fake.appends_anyway { &[7, 20, -1][..] } else { &CODES[..] };
                let count = 1 + random.below(3);
                let codes: VecDeque<i16> =
                    (0..count).map(|_| codes[random.below(codes.len() as u64) as usize]).collect();
                bench.fake.produce_codes.clear();
                bench.fake.produce_codes.insert(partition, codes);
            }
            7 => bench.pass(random.below(4000)),
            _ => {
                for _ in 0..1 + random.below(20) {
                    let partition = match bench.producer.current_partition() {
                        Some(current) if random.below(3) > 0 => current,
                        _ => random.below(partitions as u64) as i32,
                    };
                    if bench.producer.has_partition(partition) && bench.producer.room() > 0 {
                        appended.entry(partition).or_default().push(bench.append(partition));
                    }
                }
            }
        }
        let short = random.below(3);
        bench.pass(short);
    }
    // All is well again: nothing may be left open.
    bench.fake.up.values_mut().for_each(|up| *up = true);
    bench.fake.holds = false;
    bench.fake.produce_codes.clear();
    bench.pass(20_000);
    assert_eq!(bench.producer.records_held(), 0, "seed {seed}");
    assert_eq!(bench.producer.room(), 1000, "seed {seed}");
    assert!(bench.producer.ready(), "seed {seed}");

    let mut kinds = BTreeMap::new();
    for (partition, tokens) in &appended {
        let mut in_log: HashMap<&str, usize> = HashMap::new();
        for value in bench.fake.log(*partition) {
            *in_log.entry(value).or_default() += 1;
        }
        for token in tokens {
            let count = in_log.get(&*value(*token)).copied().unwrap_or(0);
            let settled = bench.outcomes.get(token);
            let (kind, holds) = match settled {
                Some(Settled::Acknowledged) => ("acknowledged", count == 1),
                Some(Settled::Refused(_)) => ("refused", count == 0),
                Some(Settled::Abandoned) => ("abandoned", count <= 1),
                None => ("lost", false),
            };
            assert!(holds, "seed {seed}: record {token} is {settled:?} and {count} times in the log");
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let total = appended.values().map(Vec::len).sum();
    assert_eq!(bench.outcomes.len(), total, "seed {seed}");
    (total, kinds)
}

#[test]
fn no_record_is_lost_doubled_or_misreported() {
    let mut records = 0;
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..1500 {
        let (total, kinds) = run(seed);
        records += total;
        for (kind, count) in kinds {
            *all.entry(kind).or_default() += count;
        }
    }
    // The histories reach what they are meant to reach.
    assert!(all["acknowledged"] > records / 2, "{all:?}");
    assert!(all["refused"] > 100 && all["abandoned"] > 100, "{all:?}");
}
