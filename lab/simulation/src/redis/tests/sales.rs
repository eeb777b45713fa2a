//! What a checker reads.

use super::super::{OutboxEntry, OutboxOrder};
use super::Bench;

#[test]
fn a_sale_is_read_in_types_of_its_own() {
    let mut bench = Bench::new();
    assert_eq!((bench.redis.stock("p"), bench.redis.sale("p")), (None, None));
    assert_eq!(bench.redis.outbox("p"), Ok(Vec::new()));
    for line in [
        "SADD flux:products p",
        "SET product:{p}:stock 8",
        "HSET product:{p}:sale id 5 gen 1",
        "HSET product:{p}:users . 5_1 ann 2",
        "SADD product:{p}:returned ._5_1",
        "HSET product:{p}:sales . 5_1",
        "XADD product:{p}:outbox 7-1 h 3_5_10_1_1 o r1_2_o1_ann_99 c 1",
    ] {
        assert!(!bench.ask(line).starts_with('-'), "{line}");
    }
    let redis = &bench.redis;
    assert_eq!(redis.products().into_iter().collect::<Vec<_>>(), ["p"]);
    assert_eq!(redis.stock("p"), Some(8));
    assert_eq!(redis.sale("p").expect("there")["gen"], "1");
    assert_eq!(redis.users("p").expect("there")["ann"], "2");
    assert!(redis.returned("p").expect("there").contains(". 5 1"));
    assert_eq!(redis.sales("p").expect("there")["."], "5 1");
    let order = OutboxOrder {
        reservation_id: "r1".into(),
        quantity: 2,
        order_id: "o1".into(),
        user_id: "ann".into(),
        timestamp: 99,
    };
    let entry =
        OutboxEntry { id: "7-1".into(), partition: 3, sale_id: 5, sale_total: 10, generation: 1, orders: vec![order] };
    assert_eq!(redis.outbox("p"), Ok(vec![entry]));
}

#[test]
fn what_none_of_our_scripts_wrote_is_named() {
    let mut bench = Bench::new();
    for (at, fields) in
        ["h x", "h 3_5_10_1_2 o r1_2_o1_ann_99 c 1", "h 3_5_10_1_1 o r1_x_o1_ann_99 c 1"].iter().enumerate()
    {
        bench.ask(&format!("XADD product:{{p}}:outbox {}-1 {fields}", at + 1));
        assert!(bench.redis.outbox("p").is_err(), "{fields}");
        bench.ask(&format!("XDEL product:{{p}}:outbox {}-1", at + 1));
        assert!(bench.redis.outbox("p").is_ok());
    }
}
