//! Any of the worker's statements with any values, of few enough keys that they meet.

use flux_protocol::order::Uuid;
use flux_protocol::postgres::Param;
use flux_simulation::random::Random;

use crate::client::Asked;
use crate::words::{self, Row, TOPIC, Taken, file, id, literal_with};

const PRODUCTS: [&str; 3] = ["a", "b", "c"];

pub(crate) fn statement(random: &mut Random) -> Asked {
    match random.below(35) {
        0 => words::claim(partition(random)),
        1 | 2 => words::fence(partition(random), small(random, 3), small(random, 4) - 1),
        3 => words::read_offset(partition(random)),
        4..=6 => words::take(&sales(random)),
        7 | 8 => words::open_sales(&sales(random)),
        9 => words::lock_sales(&sales(random)),
        10 | 11 => words::show_stock(&sales(random)),
        12..=15 => {
            let rows: Vec<Row> = (0..random.below(5)).map(|_| row(random)).collect();
            words::copy(&rows)
        }
        16 => file!("known_orders", vec![ids(random)]),
        17 => file!("known_rejected", vec![ids(random)]),
        18 | 19 => note_returns(random),
        20 | 21 => note_rejected(random),
        22 => note_dead_letters(random),
        23 => end_of_returns(random),
        24 => sale_opened(random),
        25 => sale_closed(random),
        26 => rebuild_write(random),
        27 => rebuild_read(random),
        28 => file!("order_status", vec![Param::Uuid(any_id(random))]),
        29 => file!("pending_returns", vec![Param::I64(1 + small(random, 4)), Param::Uuid(any_id(random))]),
        30 => file!("units", vec![]),
        31 => audit(random),
        32 => file!("rebuild_account", vec![product(random), Param::I64(small(random, 3))]),
        33 => file!("rebuild_earlier", vec![product(random), Param::I64(small(random, 4))]),
        _ => literals(random),
    }
}

fn small(random: &mut Random, below: u64) -> i64 {
    random.below(below) as i64
}

/// Mostly small, now and then at an end.
fn bigint(random: &mut Random) -> i64 {
    match random.below(40) {
        0 => i64::MAX,
        1 => i64::MIN,
        2 => -1,
        _ => small(random, 7),
    }
}

fn integer(random: &mut Random) -> i32 {
    match random.below(40) {
        0 => i32::MAX,
        1 => -1,
        _ => small(random, 4) as i32,
    }
}

fn milliseconds_or_0(random: &mut Random) -> i64 {
    if random.per_mille(400) { 0 } else { milliseconds(random) }
}

/// Milliseconds since the Unix epoch, now and then where no timestamp or no interval can be.
fn milliseconds(random: &mut Random) -> i64 {
    match random.below(12) {
        0 => bigint(random).wrapping_add(small(random, 1000)),
        1 => 9_223_372_036_854_776 + small(random, 3) - 1,
        2 => 9_223_371_331_200_000 + 946_684_800_000 + small(random, 3) - 1,
        3 => -210_866_803_200_000 + small(random, 3) - 1,
        4 => 9_007_199_254_740_993,
        _ => 1_000_000_000_000 + small(random, 1_000_000_000),
    }
}

fn partition(random: &mut Random) -> i32 {
    random.below(2) as i32
}

fn any_id(random: &mut Random) -> Uuid {
    id(random.below(10) as u8)
}

fn ids(random: &mut Random) -> Param {
    Param::Uuids((0..random.below(6)).map(|_| any_id(random)).collect())
}

fn text(random: &mut Random) -> String {
    match random.below(60) {
        0 => "nul\0".to_owned(),
        1 => String::new(),
        2 => "gr\u{fc}n \u{1f600} ' \" \\".to_owned(),
        _ => PRODUCTS[random.below(3) as usize].to_owned(),
    }
}

fn product(random: &mut Random) -> Param {
    Param::Text(text(random))
}

fn sales(random: &mut Random) -> Vec<Taken> {
    let count = random.below(4);
    let mut sales: Vec<Taken> = Vec::new();
    for _ in 0..count {
        let product = PRODUCTS[random.below(3) as usize];
        let total = if random.per_mille(850) { 4 + small(random, 2) } else { bigint(random) };
        let units = if random.per_mille(850) { small(random, 3) } else { bigint(random) };
        let sale = (product, small(random, 3), total, units);
        // Named twice it is an error, which is to happen, but not most of the time.
        let is_new = sales.iter().all(|other| (other.0, other.1) != (sale.0, sale.1));
        if is_new || random.per_mille(200) {
            sales.push(sale);
        }
    }
    sales
}

fn row(random: &mut Random) -> Row {
    let order = random.below(10) as u8;
    let quantity = if random.per_mille(950) { 1 + small(random, 2) as i32 } else { integer(random) };
    Row {
        order,
        reservation: random.below(10) as u8,
        product: text(random),
        user: text(random),
        quantity,
        sale: small(random, 3),
        created_ms: milliseconds(random),
    }
}

/// So many values, each drawn.
fn each<T>(random: &mut Random, count: u64, mut draw: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..count).map(|_| draw(random)).collect()
}

fn quantity(random: &mut Random) -> i32 {
    if random.per_mille(950) { 1 + small(random, 3) as i32 } else { integer(random) }
}

fn note_returns(random: &mut Random) -> Asked {
    let count = random.below(4);
    let params = vec![
        Param::Uuids(each(random, count, any_id)),
        Param::Uuids(each(random, count, any_id)),
        Param::Texts(each(random, count, text)),
        Param::I64s(each(random, count, |random| small(random, 3))),
        Param::I32s(each(random, count, integer)),
        Param::I32s(each(random, count, quantity)),
        Param::Texts(each(random, count, text)),
    ];
    file!("note_returns", params)
}

fn note_rejected(random: &mut Random) -> Asked {
    let count = random.below(4);
    let orders = each(random, count, any_id);
    // What is known of an order does not depend on which of its rejections is looked at: their order in one transaction
    // is nobody's.
    let product = |id: &Uuid| PRODUCTS[usize::from(id.0[0]) % 3].to_owned();
    let reason = |id: &Uuid| if id.0[0].is_multiple_of(2) { "no_room" } else { "key_reused" }.to_owned();
    let quantity = |id: &Uuid| i32::from(id.0[0]) - 1;
    let params = vec![
        Param::Uuids(orders.clone()),
        Param::Uuids(each(random, count, any_id)),
        Param::Texts(orders.iter().map(reason).collect()),
        Param::Texts(orders.iter().map(product).collect()),
        Param::Texts(each(random, count, text)),
        Param::I32s(orders.iter().map(quantity).collect()),
        Param::I64s(orders.iter().map(|id| i64::from(id.0[0]) % 3).collect()),
        Param::I32s(each(random, count, integer)),
        Param::I64s(each(random, count, bigint)),
        Param::I32(partition(random)),
        Param::I64s(each(random, count, milliseconds)),
    ];
    file!("note_rejected", params)
}

fn note_dead_letters(random: &mut Random) -> Asked {
    let count = random.below(4);
    let bytes = |random: &mut Random| (random.below(3) > 0).then(|| random.bits().to_be_bytes().to_vec().into());
    let params = vec![
        product(random),
        Param::Uuid(TOPIC),
        Param::I32(partition(random)),
        Param::I64s(each(random, count, |random| small(random, 8))),
        Param::ByteStrings(each(random, count, bytes)),
        Param::ByteStrings(each(random, count, bytes)),
        Param::Texts(each(random, count, text)),
        Param::Texts(each(random, count, text)),
        Param::I64s(each(random, count, |random| small(random, 4) - 1)),
        Param::I32s(each(random, count, integer)),
    ];
    file!("note_dead_letters", params)
}

fn end_of_returns(random: &mut Random) -> Asked {
    match random.below(5) {
        0 | 1 => mark_returned(random),
        2 => {
            let state = ["returned", "unfounded", "lost"][random.below(3) as usize];
            file!("end_returns", vec![ids(random), Param::Text(state.to_owned()), product(random)])
        }
        3 => file!("stray_returns", vec![ids(random), Param::I64(small(random, 3))]),
        _ => file!("over_returns", vec![ids(random)]),
    }
}

fn mark_returned(random: &mut Random) -> Asked {
    let state = ["returned", "absorbed", "withdrawn", "pending", "lost"][random.below(5) as usize];
    file!("mark_returned", vec![ids(random), Param::Text(state.to_owned())])
}

fn sale_opened(random: &mut Random) -> Asked {
    let params = vec![
        product(random),
        Param::I64(small(random, 3)),
        Param::I64(bigint(random)),
        Param::I64(bigint(random)),
        product(random),
        Param::I32(integer(random)),
        Param::I64(milliseconds(random)),
        Param::I32(integer(random)),
        Param::I64(milliseconds_or_0(random)),
        queue(random),
    ];
    file!("sale_opened", params)
}

fn queue(random: &mut Random) -> Param {
    Param::Text(["", "fair", "retry"][random.below(3) as usize].to_owned())
}

fn sale_closed(random: &mut Random) -> Asked {
    let params = vec![
        product(random),
        Param::I64(small(random, 3)),
        Param::I64(bigint(random)),
        Param::I32(integer(random)),
        Param::I64(bigint(random)),
        Param::I64(bigint(random)),
        Param::I64(milliseconds(random)),
    ];
    file!("sale_closed", params)
}

fn counted_log(random: &mut Random) -> [Param; 2] {
    let ends: Vec<i64> = (0..random.below(4)).map(|_| bigint(random)).collect();
    words::counted([TOPIC, TOPIC, id(8), words::NO_TOPIC][random.below(4) as usize], &ends)
}

fn rebuild_write(random: &mut Random) -> Asked {
    let (product, sale) = (product(random), Param::I64(small(random, 3)));
    match random.below(7) {
        6 => file!("withdraw_less", vec![product, sale]),
        0 => file!("sale_total", vec![product, sale, Param::I64(bigint(random))]),
        1 => file!("rebuild_absorb", vec![product, sale, Param::I32(integer(random))]),
        2 if random.per_mille(500) => {
            let mut params = vec![product, sale, Param::I64(bigint(random))];
            params.extend(counted_log(random));
            file!("rebuild_withdraw", params)
        }
        2 => file!("rebuild_close", vec![product, sale, Param::I64(bigint(random))]),
        3 => file!("rebuild_raise", vec![product, sale, Param::I32(integer(random))]),
        4 => {
            let mut params = vec![product, sale, Param::I32(integer(random))];
            params.extend([bigint(random), bigint(random)].map(Param::I64));
            params.extend([Param::Text(text(random)), Param::I32(integer(random))]);
            params.extend([Param::I64(milliseconds_or_0(random)), queue(random)]);
            params.extend(counted_log(random));
            file!("rebuild_in_force", params)
        }
        _ => {
            let generation = Param::I32(integer(random));
            let numbers = [bigint(random), bigint(random), bigint(random)].map(Param::I64);
            let params = [product, sale, generation].into_iter().chain(numbers);
            let opens_at = Param::I64(milliseconds_or_0(random));
            let options = [Param::Text(text(random)), Param::I32(integer(random)), opens_at, queue(random)];
            file!("rebuild_newer_sale", params.chain(options).collect())
        }
    }
}

fn rebuild_read(random: &mut Random) -> Asked {
    let (product, sale) = (product(random), Param::I64(small(random, 3)));
    match random.below(4) {
        0 => file!("rebuild_records", vec![product, sale, Param::I64(86_400)]),
        1 => file!("rebuild_rejected", vec![product, sale, Param::I64(86_400)]),
        2 => file!("rebuild_users", vec![product, sale]),
        // -1: the latest that was announced.
        _ => file!("rebuild_sale", vec![product, Param::I64(small(random, 4) - 1)]),
    }
}

fn audit(random: &mut Random) -> Asked {
    // '': of all products.
    let product = if random.per_mille(300) { Param::Text(String::new()) } else { product(random) };
    match random.below(5) {
        0 => file!("audit_dead_letters", vec![product]),
        1 => file!("audit_returns", vec![product]),
        2 => file!("audit_sales", vec![product]),
        3 => file!("audit_unfounded", vec![product]),
        _ => file!("audit_settled", vec![ids(random), ids(random)]),
    }
}

fn literals(random: &mut Random) -> Asked {
    match random.below(3) {
        0 => literal_with("known_topics", "SELECT DISTINCT topic_id FROM offsets WHERE next_offset > 0", vec![]),
        1 => {
            let params = vec![Param::Uuid(TOPIC)];
            let sql = "SELECT partition, next_offset FROM offsets WHERE topic_id = $1";
            literal_with("stored_offsets", sql, params)
        }
        _ => {
            let sql = "SELECT pg_try_advisory_lock(hashtextextended('flux-rebuild:' || $1, 0))";
            literal_with("rebuild_lock", sql, vec![product(random)])
        }
    }
}
