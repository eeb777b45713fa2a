//! The fair queue's line inside Redis, held step by step against the model that the simulation runs on.

use std::collections::BTreeMap;

use flux_protocol::queue::limits::{COHORT_US, SLOTS_MAX, TICKS};
use flux_protocol::queue::{Cohort, FairQueue, Moment, Moved, Place, Report, Terms, Watermark, slot_at};

use crate::sale::{Options, PLAIN, Sale, order};
use crate::server::{Client, Server, strings, text};

const FAIR: Options = Options { total: 1000, rate: 100, burst: 100, fair: true, ..PLAIN };

/// `lease` with a report: granted, state, what the line says, Redis' clock, when the sale opens.
fn lease(sale: &Sale, client: &mut Client, wanted: u64, report: &Report) -> (i64, String, Option<(Moved, u64, u64)>) {
    let keys = ["rate", "sale", "stock", "queue"].map(|name| sale.key(name));
    let (id, generation) = (sale.id.parse().expect("a number"), u64::from(sale.generation));
    let mut numbers = vec![wanted, 200_000, id, generation, report.served, report.arrived.len() as u64];
    numbers.extend(report.arrived.iter().flat_map(|(tick, count)| [*tick, *count]));
    numbers.extend(report.issued.iter().flat_map(|(slot, count)| [u64::from(*slot), *count]));
    let arguments: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let reply = strings(client.call(|scripts| &scripts.lease, &keys, &arguments));
    let number = |at: usize| reply[at].parse::<u64>().expect("a number");
    let mark = |at: usize| Watermark(Place { slot: number(at) as u32, rank: number(at + 1) as u32 });
    let line = (reply.len() > 4).then(|| {
        let (issued, called, tick) = (number(9), number(10), number(11));
        let marks = std::array::from_fn(|place| mark(12 + 2 * place));
        let moved = Moved { watermark: mark(6), is_free: number(8) == 1, issued, called, tick, marks };
        (moved, number(4), number(5))
    });
    assert!(matches!(reply.len(), 4 | 30), "{reply:?}");
    (reply[0].parse().expect("a number"), reply[3].clone(), line)
}

/// The line as it stands in Redis.
fn held(sale: &Sale, client: &mut Client) -> FairQueue {
    let flat = strings(client.command(&["HGETALL", &sale.key("queue")]));
    let mut fields: BTreeMap<&str, &str> =
        flat.as_chunks::<2>().0.iter().map(|[name, value]| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields.remove("."), Some(sale.id.as_str()));
    let mut number = |name: &str| fields.remove(name).expect("there").parse::<u64>().expect("a whole number");
    let mut line = FairQueue {
        watermark: Watermark(Place { slot: number("slot") as u32, rank: number("rank") as u32 }),
        called_here: number("here"),
        issued: number("issued"),
        called: number("called"),
        arrived: number("arrived"),
        served: number("served"),
        tick: number("tick"),
        dry_us: number("dry"),
        ..FairQueue::default()
    };
    let cohorts = fields.remove("cohorts").expect("there").split_ascii_whitespace();
    let cohorts: Vec<u64> = cohorts.map(|value| value.parse().expect("a whole number")).collect();
    assert_eq!(cohorts.len(), 4 * TICKS);
    for (place, [slot, rank, called, arrived]) in cohorts.as_chunks().0.iter().enumerate() {
        let mark = Watermark(Place { slot: *slot as u32, rank: *rank as u32 });
        line.cohorts[place] = Cohort { mark, called: *called, arrived: *arrived };
    }
    for (name, count) in fields {
        let slot = name.strip_prefix('s').expect("a slot").parse().expect("a number");
        line.waiting.insert(slot, count.parse().expect("a count"));
    }
    line
}

/// Lets time pass for a line, by moving all it has noted of time into the past.
fn age(sale: &Sale, client: &mut Client, model: &mut FairQueue, ticks: u64) {
    let past = |moment: u64, span: u64| moment.saturating_sub(span);
    model.tick = past(model.tick, ticks);
    model.dry_us = past(model.dry_us, ticks * COHORT_US);
    let opens: u64 = text(client.command(&["HGET", &sale.key("sale"), "opens_at"])).parse().expect("milliseconds");
    let opens = (opens - ticks * COHORT_US / 1000).to_string();
    client.command(&["HSET", &sale.key("sale"), "opens_at", &opens]);
    let (tick, dry) = (model.tick.to_string(), model.dry_us.to_string());
    client.command(&["HSET", &sale.key("queue"), "tick", &tick, "dry", &dry]);
}

#[test]
fn the_script_and_the_model_decide_the_same_from_the_same_counts() {
    let server = Server::start();
    let mut client = server.connect();
    let mut state = 0x2545_f491_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut longest = 0;
    for (rate, burst, crowd) in
        [(100, 100, 300), (10_000, 10_000, 40_000), (5, 7, 4), (1_000_000, 20_000, 9_000_000), (0, 100, 60)]
    {
        let opens_at = client.time_us() / 1000 + 1500;
        let options = Options { total: 1_000_000_000, rate, burst, force: true, opens_at, ..FAIR };
        let sale = Sale::open(&mut client, "p", &options);
        let mut model = FairQueue::default();
        let (mut states, mut last) = (BTreeMap::new(), Watermark::default());
        for step in 0..500 {
            if step > 0 && random(3) == 0 {
                let most = if random(20) == 0 { 9000 } else { 9 };
                age(&sale, &mut client, &mut model, random(most));
            }
            if random(12) == 0 {
                let units = [0, 1, 3, 100, 50_000, 1_000_000][random(6) as usize].to_string();
                client.command(&["SET", &sale.key("stock"), &units]);
            }
            let mut report = Report::default();
            for age in 0..random(8) {
                let cohort = model.cohorts[random(TICKS as u64) as usize];
                let tick = (model.tick + 1).saturating_sub(age);
                report.arrived.push((tick, random(cohort.called.saturating_sub(cohort.arrived) + 2)));
            }
            report.served = random(model.arrived.saturating_sub(model.served) + 2) * random(2);
            for _ in 0..random(4) {
                let near = (model.watermark.0.slot + random(5) as u32).saturating_sub(random(3) as u32);
                let slot = [near, near, near, random(1 << 31) as u32][random(4) as usize];
                report.issued.push((slot, 1 + random(crowd)));
            }
            if random(3) == 0 {
                report.issued.clear();
            }
            let wanted = random(if rate == 0 { 10 } else { burst });
            let (_, state, line) = lease(&sale, &mut client, wanted, &report);
            let (moved, now_us, opens_us) = line.expect("a line");
            let number = |answer| text(answer).parse::<u64>().expect("a number");
            let moment = Moment {
                now_us,
                tokens: number(client.command(&["HGET", &sale.key("rate"), "tokens"])) / 1_000_000,
                stock: sale.stock(&mut client),
                is_open: state == "O" || state == "0",
            };
            let expected = model.handle_report(&report, Terms { rate, opens_us }, moment);
            assert_eq!(moved, expected, "step {step} at rate {rate}: {report:?} {moment:?}");
            assert_eq!(held(&sale, &mut client), model, "step {step} at rate {rate}: {report:?} {moment:?}");
            assert!(moved.watermark >= last, "never back");
            last = moved.watermark;
            longest = longest.max(model.waiting.len());
            *states.entry(state).or_insert(0) += 1;
        }
        assert!(states.len() == 3 && states.values().all(|seen| *seen > 0), "not open, open, sold out: {states:?}");
        assert!(model.called > 0 && last > Watermark::default());
    }
    assert!((2..=SLOTS_MAX as usize).contains(&longest), "{longest}");
}

#[test]
fn a_second_that_is_not_over_is_called_where_its_places_fit_to_the_last_token() {
    let server = Server::start();
    let mut client = server.connect();
    // What leases may carry is not in the bucket: 99 whole tokens.
    for (places, called) in [(99, 99), (100, 0)] {
        let sale = Sale::open(&mut client, "p", &Options { rate: 1, burst: 100, force: true, ..FAIR });
        let (.., line) = lease(&sale, &mut client, 0, &Report::default());
        let (_, now, opens) = line.expect("a line");
        let slot = slot_at(now, opens);
        client.command(&["HSET", &sale.key("queue"), "slot", &slot.to_string()]);
        let mut report = Report::default();
        report.issued.push((slot, places));
        let (.., line) = lease(&sale, &mut client, 0, &report);
        let (moved, now, _) = line.expect("a line");
        // Where the machine was slow the second is over and settled, 0.3 s after its end.
        if slot_at(now - 300_000, opens) <= slot {
            assert_eq!(moved.called, called, "{places} places");
        }
    }
}

#[test]
fn a_sale_without_the_line_it_was_opened_with_is_suspended() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &FAIR);
    assert_eq!(lease(&sale, &mut client, 1, &Report::default()).1, "O");
    // Of another sale; not a number; not a hash; gone.
    let queue = sale.key("queue");
    for harm in [["HSET", &queue, ".", "7"], ["HSET", &queue, "slot", "-1"], ["HSET", &queue, "cohorts", "0 0"]] {
        let before = text(client.command(&["HGET", &queue, harm[2]]));
        client.command(&harm);
        let harmed = client.snapshot();
        assert_eq!(lease(&sale, &mut client, 1, &Report::default()), (-1, "S".into(), None), "{harm:?}");
        assert_eq!(client.snapshot(), harmed, "nothing changed");
        client.command(&["HSET", &queue, harm[2], &before]);
        assert_eq!(lease(&sale, &mut client, 1, &Report::default()).1, "O", "mended");
    }
    client.command(&["SET", &queue, "x"]);
    assert_eq!(lease(&sale, &mut client, 1, &Report::default()).1, "S");
    assert_eq!(document(&sale, &mut client), ["S"]);
    client.command(&["DEL", &queue]);
    assert_eq!(lease(&sale, &mut client, 1, &Report::default()).1, "S");
    assert_eq!(document(&sale, &mut client), ["S"]);
}

pub(crate) fn document(sale: &Sale, client: &mut Client) -> Vec<String> {
    let keys = ["queue", "sale", "stock"].map(|name| sale.key(name));
    strings(client.call(|scripts| &scripts.queue, &keys, &sale.seen()))
}

#[test]
fn the_document_tells_the_line_and_where_there_is_none_how_the_sale_stands() {
    let server = Server::start();
    let mut client = server.connect();
    let opens_at = client.time_us() / 1000 + 3_600_000;
    let sale = Sale::open(&mut client, "p", &Options { opens_at, ..FAIR });
    let report = Report { issued: [(0, 300), (1, 7)].into_iter().collect(), ..Report::default() };
    assert_eq!(lease(&sale, &mut client, 0, &report).1, "N");
    let opens_us = (opens_at * 1000).to_string();
    assert_eq!(sale.refresh(&mut client, true).0[14], "5e".repeat(32));
    let told = document(&sale, &mut client);
    assert_eq!(told[..5], ["scheduled", &sale.id, &"5e".repeat(32), "100", "1000"]);
    assert_eq!(told[6..], [&opens_us, "0", "0", "300", "7"]);
    // In its second second: 200 of the first slot may come, and the tokens of half a second.
    let opened = client.time_us() / 1000 - 1500;
    client.command(&["HSET", &sale.key("sale"), "opens_at", &opened.to_string()]);
    let (_, state, line) = lease(&sale, &mut client, 80, &Report::default());
    let (moved, ..) = line.expect("a line");
    assert_eq!(state, "O");
    let told = document(&sale, &mut client);
    assert_eq!(
        (told[0].as_str(), &told[7..]),
        ("open", &["0".into(), moved.watermark.0.rank.to_string(), "300".into(), "7".into()][..])
    );
    client.command(&["SET", &sale.key("stock"), "0"]);
    assert_eq!(document(&sale, &mut client)[0], "sold_out");
    sale.close(&mut client);
    assert_eq!(document(&sale, &mut client)[0], "closed");
    // A sale without a fair queue has none of its keys, whatever was before it.
    let plain = Sale::open(&mut client, "p", &PLAIN);
    let told = document(&plain, &mut client);
    assert_eq!((told.len(), &told[..5]), (7, &["open", &plain.id, &"5e".repeat(32), "0", "10"].map(str::to_owned)[..]));
    assert_eq!(plain.refresh(&mut client, true).0[14], "");
    assert_eq!(text(client.command(&["EXISTS", &plain.key("queue")])), "0");
    plain.reserve(&mut client, &[order("r1", 1, "o1", "u")]);
    assert_eq!(plain.stock(&mut client), 9);
    let nothing = Sale { product: "q".into(), ..plain };
    assert_eq!(document(&nothing, &mut client), ["U"]);
}

#[test]
fn what_the_line_keeps_in_redis_is_bounded() {
    let server = Server::start();
    let mut client = server.connect();
    let opens_at = client.time_us() / 1000 - 1;
    let sale = Sale::open(&mut client, "p", &Options { opens_at, total: 1_000_000_000, ..FAIR });
    let mut model = FairQueue::default();
    for hours in 0..3 {
        let report =
            Report { issued: (0..9000).map(|slot| (hours * 3600 + slot, 1_000_000)).collect(), ..Report::default() };
        age(&sale, &mut client, &mut model, 3600 * 1_000_000 / COHORT_US);
        assert_eq!(lease(&sale, &mut client, 0, &report).1, "O");
        let fields: usize = text(client.command(&["HLEN", &sale.key("queue")])).parse().expect("a number");
        assert!(fields <= 11 + SLOTS_MAX as usize, "{fields}");
    }
    let bytes: u64 =
        text(client.command(&["MEMORY", "USAGE", &sale.key("queue"), "SAMPLES", "0"])).parse().expect("bytes");
    assert!(bytes < 128 << 10, "{bytes} bytes");
}
