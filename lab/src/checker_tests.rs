//! A sale that went well, and then every way it could have gone wrong: each must be found, and named rightly.

use super::*;
use crate::crowd::{Doubt, Exchange, Refusal};
use crate::truth::{DeadLetter, LedgerSale, OutboxOrder, RedisSale, RejectedOrder, ReturnedUnits, TopicOrder};
use flux_protocol::order::OwnedRecord;

const PRODUCT: &str = "p";
const SALE: u64 = 1_705_234_700_000;

fn id_of(buyer: u64) -> Uuid {
    order_id(PRODUCT.as_bytes(), SALE, format!("u{buyer}").as_bytes(), format!("k{buyer}").as_bytes())
}

fn reservation_of(buyer: u64) -> Uuid {
    Uuid::version_8([buyer as u8; 16])
}

fn order_of(buyer: u64) -> Order {
    Order::new(PRODUCT, &format!("u{buyer}"), &format!("k{buyer}"), 2)
}

fn exchange(buyer: u64, outcome: Outcome) -> Exchange {
    Exchange { order: Arc::new(order_of(buyer)), attempt: 0, sent_us: 1, answered_us: 2, outcome }
}

fn accepted(buyer: u64) -> Exchange {
    exchange(buyer, Outcome::Accepted { order_id: id_of(buyer), replayed: false })
}

fn stored_order(buyer: u64) -> StoredOrder {
    StoredOrder {
        order_id: id_of(buyer),
        product: PRODUCT.to_owned(),
        user: format!("u{buyer}"),
        quantity: 2,
        sale_id: SALE,
        reservation_id: reservation_of(buyer),
    }
}

fn topic_order(buyer: u64) -> TopicOrder {
    let record = OwnedRecord {
        order_id: id_of(buyer),
        reservation_id: reservation_of(buyer),
        product_id: PRODUCT.to_owned(),
        user_id: format!("u{buyer}"),
        quantity: 2,
        sale_id: SALE,
        sale_total: 20,
        generation: 1,
        timestamp: 3,
    };
    TopicOrder { partition: 0, offset: buyer as i64, record }
}

fn outbox_order(buyer: u64) -> OutboxOrder {
    OutboxOrder { sale_id: SALE, reservation_id: reservation_of(buyer), order_id: id_of(buyer), quantity: 2 }
}

/// Twenty units; buyers 0 to 5 have two each; eight are left; buyer 9 was refused.
fn went_well() -> (Truth, History) {
    let key = (PRODUCT.to_owned(), SALE);
    let mut truth = Truth::default();
    truth.opened.insert(key.clone(), 20);
    let sale =
        LedgerSale { total: 20, sold: 12, withdrawn: 0, state: "open".to_owned(), generation: 1, is_announced: true };
    truth.sales.insert(key, sale);
    truth.products.insert(PRODUCT.to_owned(), (8, SALE));
    let sale = RedisSale {
        sale_id: SALE,
        generation: 1,
        total: 20,
        state: "open".to_owned(),
        stock: Some(8),
        ..RedisSale::default()
    };
    truth.redis.insert(PRODUCT.to_owned(), sale);
    truth.orders = (0..6).map(stored_order).collect();
    truth.topic = (0..6).map(topic_order).collect();
    // A redelivery of the same reservation is nothing new.
    truth.topic.push(TopicOrder { offset: 77, ..topic_order(5) });
    let mut exchanges: Vec<Exchange> = (0..6).map(accepted).collect();
    exchanges.push(exchange(5, Outcome::Pending { order_id: id_of(5), replayed: true }));
    exchanges.push(exchange(9, Outcome::No(Refusal::SoldOut)));
    (truth, History { exchanges })
}

fn ledger(truth: &mut Truth) -> &mut LedgerSale {
    truth.sales.values_mut().next().unwrap()
}

fn redis(truth: &mut Truth) -> &mut RedisSale {
    truth.redis.values_mut().next().unwrap()
}

#[test]
fn a_sale_that_went_well_has_no_violation() {
    let (truth, history) = went_well();
    let verdict = check(&truth, &history, Allow::default());
    verdict.assert_holds();
    assert_eq!((verdict.accepted, verdict.stored), (6, 6));
    let account = verdict.accounts.values().next().unwrap();
    assert_eq!(account, &Account { total: 20, available: 8, stored: 12, ..Account::default() });
}

/// What a planted fault must be called, and the order it must name.
type Expected = (Invariant, Option<u64>);

/// Plants one fault and looks whether it is found, named as expected, and nothing of another kind beside it unless that
/// follows from it.
fn planted(name: &str, expected: &[Expected], plant: impl FnOnce(&mut Truth, &mut History)) {
    let (mut truth, mut history) = went_well();
    plant(&mut truth, &mut history);
    let verdict = check(&truth, &history, Allow::default());
    for (invariant, buyer) in expected {
        let found = verdict.violations.iter().any(|violation| {
            violation.invariant == *invariant && (buyer.is_none() || violation.order_id == buyer.map(id_of))
        });
        assert!(found, "{name}: {invariant:?} of buyer {buyer:?} was not found in {verdict}");
    }
    for violation in &verdict.violations {
        let foreseen = expected.iter().any(|(invariant, _)| *invariant == violation.invariant);
        assert!(foreseen, "{name}: unforeseen {violation}");
    }
}

#[test]
fn overselling_is_found() {
    use Invariant::*;
    planted("total exceeded", &[(I1, None), (I4, None)], |truth, history| {
        ledger(truth).total = 10;
        truth.opened.clear();
        truth.products.insert(PRODUCT.to_owned(), (-2, SALE));
        history.exchanges.clear();
        history.exchanges.extend((0..6).map(accepted));
    });
    planted("the ledger's count is not that of its rows", &[(I1, None)], |truth, _| ledger(truth).sold = 10);
    planted("products.stock is stale", &[(I1, None)], |truth, _| {
        truth.products.insert(PRODUCT.to_owned(), (20, SALE));
    });
    planted("a sale that was never opened", &[(I1, None), (I3, Some(6))], |truth, _| {
        truth.orders.push(StoredOrder { sale_id: 5, ..stored_order(6) });
    });
    planted("another total than it was opened with", &[(I1, None)], |truth, _| {
        truth.opened.values_mut().for_each(|total| *total = 10);
    });
}

#[test]
fn lost_and_doubled_orders_are_found() {
    use Invariant::*;
    planted("offset before commit: in the topic, never stored", &[(I2, Some(3))], |truth, _| {
        truth.orders.remove(3);
        ledger(truth).sold -= 2;
        truth.products.insert(PRODUCT.to_owned(), (10, SALE));
    });
    planted("acks=1: gone from the log as well", &[(I2, Some(3)), (I4, None)], |truth, _| {
        truth.orders.remove(3);
        truth.topic.remove(3);
        ledger(truth).sold -= 2;
        truth.products.insert(PRODUCT.to_owned(), (10, SALE));
    });
    planted("a 202 that nobody delivers", &[(I2, Some(7))], |truth, history| {
        history.exchanges.push(exchange(7, Outcome::Pending { order_id: id_of(7), replayed: false }));
        redis(truth).stock = Some(6);
        redis(truth).outbox.push(outbox_order(7));
    });
    planted("stored twice", &[(I1, None), (I2, Some(2)), (I3, Some(2)), (I4, None)], |truth, _| {
        truth.orders.push(stored_order(2));
    });
    planted("stored with another quantity", &[(I1, None), (I2, Some(2)), (I4, None)], |truth, _| {
        truth.orders[2].quantity = 1;
    });
    planted("stored for another user", &[(I2, Some(2))], |truth, _| truth.orders[2].user = "u3".to_owned());
    planted("rejected though Redis lost nothing", &[(I2, Some(4)), (I4, None)], |truth, _| {
        truth.orders.remove(4);
        ledger(truth).sold -= 2;
        truth.products.insert(PRODUCT.to_owned(), (10, SALE));
        truth.rejected.push(RejectedOrder {
            order_id: id_of(4),
            reservation_id: reservation_of(4),
            reason: "no_room".to_owned(),
            product: PRODUCT.to_owned(),
            sale_id: SALE,
            quantity: 2,
        });
    });
}

#[test]
fn mixed_up_answers_are_found() {
    use Invariant::*;
    planted("a reply to the wrong request", &[(I3, Some(1))], |_, history| {
        history.exchanges.push(exchange(0, Outcome::Accepted { order_id: id_of(1), replayed: true }));
    });
    planted("check-then-set: a second order of one key", &[(I2, None), (I3, None)], |_, history| {
        let other = Uuid::version_8([99; 16]);
        history.exchanges.push(exchange(0, Outcome::Accepted { order_id: other, replayed: false }));
    });
    planted("an order nobody asked for", &[(I1, None), (I3, Some(8)), (I4, None)], |truth, _| {
        truth.orders.push(stored_order(8));
    });
    planted("one reservation for two orders", &[(I3, Some(1))], |truth, _| {
        truth.orders[1].reservation_id = truth.orders[0].reservation_id;
        truth.topic[1].record.reservation_id = truth.topic[0].record.reservation_id;
    });
    planted("one id for two users in the topic", &[(I3, Some(1))], |truth, _| {
        truth.topic[2].record.order_id = id_of(1);
    });
}

#[test]
fn units_that_appear_or_disappear_are_found() {
    use Invariant::*;
    planted("compensate on timeout: a unit given back that was sold", &[(I4, None)], |truth, _| {
        redis(truth).stock = Some(9);
    });
    planted("a unit taken and forgotten", &[(I4, None)], |truth, _| redis(truth).stock = Some(7));
    planted("stock is gone", &[(I4, None)], |truth, _| redis(truth).stock = None);
    planted("returned twice", &[(I4, None)], |truth, _| {
        redis(truth).stock = Some(10);
        redis(truth).returned.insert(reservation_of(10));
        truth.returns.push(returned(10, "returned"));
    });
    planted("withdrawn and still for sale", &[(I4, None)], |truth, _| redis(truth).withdrawn = 8);
    planted("an outbox entry whose units were not taken", &[(I4, None)], |truth, _| {
        redis(truth).outbox.push(outbox_order(7));
    });
}

fn returned(buyer: u64, state: &str) -> ReturnedUnits {
    ReturnedUnits {
        reservation_id: reservation_of(buyer),
        product: PRODUCT.to_owned(),
        sale_id: SALE,
        quantity: 2,
        state: state.to_owned(),
    }
}

#[test]
fn units_on_their_way_are_in_the_account_once() {
    let (mut truth, mut history) = went_well();
    // 7 stands in outbox and topic, 8 in the outbox, 10 awaits return, 11 is given back though the ledger has not noted
    // it, a dead letter keeps 2: eight of the eight units that were left.
    redis(&mut truth).outbox = vec![outbox_order(7), outbox_order(8)];
    redis(&mut truth).stock = Some(0);
    redis(&mut truth).returned.insert(reservation_of(11));
    truth.topic.extend([topic_order(7), topic_order(10), topic_order(11), topic_order(12)]);
    truth.returns = vec![returned(10, "pending"), returned(11, "pending")];
    let units = Some((PRODUCT.to_owned(), SALE, 2));
    truth.dead_letters.push(DeadLetter { partition: 0, offset: 12, units });
    history.exchanges.extend([7, 8].map(|buyer| exchange(buyer, Outcome::No(Refusal::Unavailable))));
    let verdict = check(&truth, &history, Allow::default());
    verdict.assert_holds();
    let account = verdict.accounts.values().next().unwrap();
    let expected =
        Account { total: 20, stored: 12, reserved: 4, awaiting_return: 2, dead_lettered: 2, ..Account::default() };
    assert_eq!(account, &expected);
}

#[test]
fn what_a_loss_of_redis_excuses_and_what_not() {
    let (mut truth, mut history) = went_well();
    let allow = Allow { redis_lost_data: true, ..Allow::default() };
    history.exchanges.push(exchange(7, Outcome::Pending { order_id: id_of(7), replayed: false }));
    history.exchanges.push(accepted(8));
    truth.topic.push(topic_order(8));
    truth.rejected.push(RejectedOrder {
        order_id: id_of(8),
        reservation_id: reservation_of(8),
        reason: "no_room".to_owned(),
        product: PRODUCT.to_owned(),
        sale_id: SALE,
        quantity: 2,
    });
    assert!(check(&truth, &history, allow).breaks(Invariant::I2), "a 200 that is rejected");
    assert!(check(&truth, &history, Allow::default()).breaks(Invariant::I2));
    let allow = Allow { redis_was_replaced: true, ..allow };
    check(&truth, &history, allow).assert_holds();

    history.exchanges.push(accepted(6));
    let verdict = check(&truth, &history, allow);
    assert_eq!(verdict.violations.len(), 1, "{verdict}");
    assert_eq!((verdict.violations[0].invariant, verdict.violations[0].order_id), (Invariant::I2, Some(id_of(6))));
}

/// With its outbox entry Redis lost the record of the key, too: the key was free again, for whatever was asked then.
#[test]
fn where_redis_lost_a_202_its_key_may_stand_for_another_quantity_but_never_a_200s() {
    let (mut truth, mut history) = went_well();
    let first = Order { quantity: 5, ..order_of(0) };
    let pending = Outcome::Pending { order_id: id_of(0), replayed: false };
    history.exchanges.insert(0, Exchange { order: Arc::new(first), ..exchange(0, pending) });
    let allow = Allow { redis_lost_data: true, ..Allow::default() };
    check(&truth, &history, allow).assert_holds();
    assert!(check(&truth, &history, Allow::default()).breaks(Invariant::I2), "its record lives");
    // Nobody was told that the second is made, and nobody asked for it.
    let second = history.exchanges.remove(1);
    assert!(check(&truth, &history, allow).breaks(Invariant::I2));
    history.exchanges.insert(1, second);
    // Both were told 200.
    history.exchanges[0].outcome = accepted(0).outcome;
    assert!(check(&truth, &history, allow).breaks(Invariant::I2));
    // An old master had sold the first, and the ledger rejected it.
    let allow = Allow { redis_was_replaced: true, ..allow };
    truth.rejected.push(RejectedOrder {
        order_id: id_of(0),
        reservation_id: reservation_of(99),
        reason: "no_room".to_owned(),
        product: PRODUCT.to_owned(),
        sale_id: SALE,
        quantity: 5,
    });
    check(&truth, &history, allow).assert_holds();
}

#[test]
fn where_records_ran_out_the_first_order_of_a_key_stands_whatever_was_asked_later() {
    let (truth, mut history) = went_well();
    let again = |quantity| {
        let order = Order { quantity, ..order_of(0) };
        Exchange { order: Arc::new(order), ..accepted(0) }
    };
    // The first order's own answer was lost.
    history.exchanges[0] = exchange(0, Outcome::Unknown(Doubt::Timeout));
    history.exchanges.insert(0, again(5));
    let allow = Allow { records_ran_out: true, ..Allow::default() };
    check(&truth, &history, allow).assert_holds();
    assert!(check(&truth, &history, Allow::default()).breaks(Invariant::I2), "its record lives");
    history.exchanges.remove(1);
    assert!(check(&truth, &history, allow).breaks(Invariant::I2), "nobody asked for what is stored");
}

#[test]
fn a_key_is_good_for_one_sale_and_has_another_order_in_the_next() {
    let (mut truth, mut history) = went_well();
    let second = SALE + 1;
    let id = order_id(PRODUCT.as_bytes(), second, b"u0", b"k0");
    truth.opened.insert((PRODUCT.to_owned(), second), 5);
    let sale =
        LedgerSale { total: 5, sold: 2, withdrawn: 0, state: "open".to_owned(), generation: 1, is_announced: true };
    truth.sales.insert((PRODUCT.to_owned(), second), sale);
    truth.products.insert(PRODUCT.to_owned(), (3, second));
    truth.earlier.insert((PRODUCT.to_owned(), SALE), EarlierSale { total: 20, withdrawn: 8, generation: 1 });
    *redis(&mut truth) = RedisSale { sale_id: second, total: 5, stock: Some(3), ..RedisSale::default() };
    let reservation_id = reservation_of(50);
    truth.orders.push(StoredOrder { order_id: id, sale_id: second, reservation_id, ..stored_order(0) });
    history.exchanges.push(exchange(0, Outcome::Accepted { order_id: id, replayed: false }));
    check(&truth, &history, Allow::default()).assert_holds();
    // Redis' note is of one that had been given up before the sale before was rebuilt and sold out.
    let mut behind = truth.clone();
    behind.earlier.insert((PRODUCT.to_owned(), SALE), EarlierSale { total: 20, withdrawn: 20, generation: 1 });
    let ended =
        LedgerSale { total: 20, sold: 12, withdrawn: 8, state: "closed".to_owned(), generation: 2, is_announced: true };
    behind.sales.insert((PRODUCT.to_owned(), SALE), ended);
    check(&behind, &history, Allow::default()).assert_holds();
}

/// As the audit has it: whoever opened it died before anybody was told, and Redis has lost it since. Only its orders tell of it.
#[test]
fn a_sale_that_was_over_and_that_only_orders_tell_of_owes_nobody_its_rest() {
    let (mut truth, history) = went_well();
    let (before, key) = (SALE - 5, (PRODUCT.to_owned(), SALE - 5));
    let sale = |is_announced, sold| LedgerSale {
        total: 5,
        sold,
        withdrawn: 0,
        state: "open".to_owned(),
        generation: 1,
        is_announced,
    };
    let order = |quantity| StoredOrder {
        order_id: id_of(60),
        sale_id: before,
        reservation_id: reservation_of(60),
        quantity,
        ..stored_order(0)
    };
    truth.orders.push(order(2));
    truth.sales.insert(key.clone(), sale(false, 2));
    // It is of a buyer whom this history does not know.
    let allow = Allow { other_buyers: true, ..Allow::default() };
    check(&truth, &history, allow).assert_holds();
    let breaks = |truth: &Truth| check(truth, &history, Allow::default()).breaks(Invariant::I4);
    let mut announced = truth.clone();
    announced.sales.insert(key.clone(), sale(true, 2));
    assert!(breaks(&announced), "an event has told of it");
    let mut opened = truth.clone();
    opened.opened.insert(key.clone(), 5);
    assert!(breaks(&opened), "its event is there");
    let mut noted = truth.clone();
    noted.earlier.insert(key, EarlierSale { total: 5, withdrawn: 0, generation: 1 });
    assert!(breaks(&noted), "Redis knows it");
    *truth.orders.last_mut().expect("pushed above") = order(6);
    assert!(breaks(&truth), "more than there is");
}

/// A 202 of a sale that Redis has lost, and that nobody else knew of, is a loss; its id is no other buyer's.
#[test]
fn an_order_of_a_sale_that_redis_has_lost_is_still_who_ordered_it_s() {
    let (truth, mut history) = went_well();
    let lost = SALE + 5;
    let told = order_id(PRODUCT.as_bytes(), lost, b"u90", b"k90");
    let order = Order::new(PRODUCT, "u90", "k90", 1);
    let pending = Outcome::Pending { order_id: told, replayed: false };
    history.exchanges.push(Exchange { order: Arc::new(order), ..exchange(0, pending) });
    let allow = Allow { redis_lost_data: true, ..Allow::default() };
    assert!(check(&truth, &history, allow).breaks(Invariant::I3), "no sale is known that it could be of");
    let mut known = truth.clone();
    known.sold.insert((PRODUCT.to_owned(), lost));
    assert!(!check(&known, &history, allow).breaks(Invariant::I3));
}

/// An edge opened a later one and died before anybody was told; a failover lost it, and a rebuild sells the one that was announced.
#[test]
fn a_later_sale_that_only_orders_tell_of_replaces_none_that_was_announced() {
    let (mut truth, history) = went_well();
    let (later, key) = (SALE + 5, (PRODUCT.to_owned(), SALE + 5));
    let order = |quantity| StoredOrder {
        order_id: id_of(60),
        sale_id: later,
        reservation_id: reservation_of(60),
        quantity,
        ..stored_order(0)
    };
    truth.orders.push(order(2));
    let stray =
        LedgerSale { total: 5, sold: 2, withdrawn: 0, state: "open".to_owned(), generation: 1, is_announced: false };
    truth.sales.insert(key, stray);
    let allow = Allow { other_buyers: true, ..Allow::default() };
    check(&truth, &history, allow).assert_holds();
    let mut neither = truth.clone();
    neither.opened.clear();
    neither.sales.get_mut(&(PRODUCT.to_owned(), SALE)).expect("the one that sells").is_announced = false;
    assert!(check(&neither, &history, allow).breaks(Invariant::I4), "nobody was told of either");
    *truth.orders.last_mut().expect("pushed above") = order(6);
    assert!(check(&truth, &history, allow).breaks(Invariant::I4), "more than there is");
}

#[test]
fn what_is_sold_without_a_trusted_redis_is_found() {
    let at = |buyer, sent_us, answered_us, outcome| Exchange { sent_us, answered_us, ..exchange(buyer, outcome) };
    let made = |buyer| Outcome::Accepted { order_id: id_of(buyer), replayed: false };
    let refused = Outcome::No(Refusal::Unavailable);
    let history = History {
        exchanges: vec![
            at(0, 5, 15, made(0)),  // Asked before: it may have been reserved before.
            at(1, 5, 9, refused),   // A first question before …
            at(1, 12, 15, made(1)), // … may have reserved as well.
            at(2, 15, 25, made(2)), // Answered afterwards.
            at(3, 12, 18, refused),
        ],
    };
    let span = Untrusted { from_us: 10, to_us: 20 };
    assert_eq!(check_untrusted(&history, &[span]), []);
    let planted = at(4, 12, 18, Outcome::Pending { order_id: id_of(4), replayed: false });
    let broken = History { exchanges: [history.exchanges, vec![planted]].concat() };
    let found = check_untrusted(&broken, &[span]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].invariant, found[0].order_id), (Invariant::I5, Some(id_of(4))));
    assert_eq!(check_untrusted(&broken, &[Untrusted { from_us: 30, to_us: 40 }]), []);
}
