//! The fair queue as one core takes part in it: tickets, the called, what Redis is told, the document.

use flux_protocol::queue::{Place, Seed, TICKET_TEXT_BYTES, Ticket, TicketKey};
use flux_protocol::time::Instant;

use super::redis::{EPOCH_US, FakeQueue, SALE_ID, SEED, array};
use super::{Bench, config};
use crate::answer::{Answer, Unavailable};
use crate::limits::{QUEUE_AGE_MAX, STOCK_AGE_MAX};

const NOBODY_CALLED: FakeQueue = FakeQueue { mark: (0, 0), is_free: false, tokens: 0 };

pub(super) fn fair(line: FakeQueue, opens_in_ms: u64) -> Bench {
    let mut bench = Bench::with(config(), |redis| {
        redis.make_fair(line);
        redis.opens = Instant::from_micros(1_000_000 + 1000 * opens_in_ms);
    });
    bench.redis.asked.clear();
    bench.accept = Some(b"application/json");
    bench
}

fn seed() -> Seed {
    Seed::parse(SEED.as_bytes()).expect("a seed")
}

fn key() -> TicketKey {
    TicketKey::new(&seed(), b"p", SALE_ID)
}

pub(super) fn ticket(slot: u32, user: &str, has_come: bool) -> [u8; TICKET_TEXT_BYTES] {
    let place = Place { slot, rank: seed().rank(user.as_bytes()) };
    key().sign(Ticket { place, has_come }, user.as_bytes())
}

/// What follows wanted tokens, their life and the sale that was seen in each call to `lease`: what was reported.
fn reports(bench: &Bench) -> Vec<Vec<u64>> {
    let numbers = |call: Vec<String>| call[9..].iter().map(|text| text.parse().expect("a number")).collect();
    bench.redis.calls("lease").into_iter().map(numbers).collect()
}

impl Bench {
    /// An order that shows a ticket.
    pub(super) fn order_with(&mut self, user: &str, ticket: [u8; TICKET_TEXT_BYTES]) -> u32 {
        self.ticket = Some(String::from_utf8(ticket.to_vec()).expect("ASCII"));
        let position = self.order(user);
        self.ticket = None;
        self.run();
        position
    }

    /// The ticket of a 302 or 429.
    fn told(&self, position: u32) -> Option<[u8; TICKET_TEXT_BYTES]> {
        match self.answers.get(&position)? {
            Answer::InQueue { ticket, .. } => Some(*ticket),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn before_the_opening_everybody_gets_a_place_in_slot_0_and_redis_is_told_how_many() {
    let mut bench = fair(NOBODY_CALLED, 5_000);
    let first = bench.orders(&["ann", "bob"]);
    assert_eq!(bench.told(first[0]), Some(ticket(0, "ann", false)));
    assert!(bench.written(first[0]).starts_with("HTTP/1.1 429 "));
    let text = String::from_utf8(ticket(0, "bob", false).to_vec()).expect("ASCII");
    assert!(bench.written(first[1]).contains(&format!("?product=p\",\"ticket\":\"{text}\",\"type\":")));
    bench.accept = None;
    let again = bench.order("bob");
    let location = format!("location: http://localhost:4000/?product=p&ticket={text}\r\n");
    assert!(bench.written(again).starts_with("HTTP/1.1 302 ") && bench.written(again).contains(&location));
    bench.pass(200);
    let told: Vec<u64> = reports(&bench).concat();
    assert_eq!(told, [0, 0, 0, 2], "two places in slot 0, though bob came twice");
    bench.pass(2_000);
    assert_eq!(reports(&bench).len(), 3, "while nobody comes and nothing moves: as often as it is looked at");
    assert_eq!(bench.redis.calls("reserve").len(), 0);
}

#[test]
fn a_ticket_keeps_its_place_and_a_forged_foreign_or_stale_one_is_as_good_as_none() {
    let mut bench = fair(NOBODY_CALLED, 0);
    bench.pass(3_000);
    let kept = bench.order_with("ann", ticket(1, "ann", false));
    assert_eq!(bench.told(kept), Some(ticket(1, "ann", false)));
    let mut forged = ticket(0, "ann", false);
    forged[31] ^= 1;
    let stale = TicketKey::new(&seed(), b"p", SALE_ID - 1)
        .sign(Ticket { place: Place { slot: 0, rank: 1 }, has_come: false }, b"ann");
    for text in [forged, ticket(0, "bob", false), stale] {
        let position = bench.order_with("ann", text);
        assert_eq!(bench.told(position), Some(ticket(4, "ann", false)), "the end of the line");
    }
}

#[test]
fn only_the_called_take_tokens_and_each_is_reported_come_and_served() {
    let line = FakeQueue { mark: (2, 0), is_free: false, tokens: 1_000 };
    let mut bench = fair(line, 0);
    let called = bench.order_with("ann", ticket(1, "ann", false));
    let later = bench.order_with("bob", ticket(2, "bob", false));
    let without = bench.orders(&["cid"])[0];
    bench.pass(150);
    assert_eq!(bench.statuses(&[called, later, without]), [Some(200), Some(429), Some(429)]);
    assert_eq!(bench.told(later), Some(ticket(2, "bob", false)));
    let sums = reports(&bench).iter().fold([0, 0], |[served, arrived], report| {
        [served + report[0], arrived + if report[1] == 1 { report[3] } else { 0 }]
    });
    assert_eq!(sums, [1, 1]);
}

#[test]
fn who_was_counted_as_come_by_another_core_is_not_counted_again() {
    let mut bench = fair(FakeQueue { mark: (2, 0), is_free: false, tokens: 9 }, 0);
    let order = bench.order_with("ann", ticket(1, "ann", true));
    bench.pass(150);
    assert_eq!(bench.statuses(&[order]), [Some(200)]);
    let told = reports(&bench);
    assert_eq!(told.iter().map(|report| report[0]).sum::<u64>(), 1, "served");
    assert!(told.iter().all(|report| report[1] == 0), "{told:?}");
}

#[test]
fn who_is_called_and_finds_no_token_waits_for_one_first_come_first_served() {
    let line = FakeQueue { mark: (2, 0), is_free: false, tokens: 0 };
    let mut bench = fair(line, 0);
    let held: Vec<u32> = ["ann", "bob"].iter().map(|user| bench.order_with(user, ticket(1, user, false))).collect();
    bench.pass(700);
    assert_eq!(bench.statuses(&held), [None; 2], "longer than Redis has to answer");
    bench.redis.queue.as_mut().expect("a queue").tokens = 1;
    bench.pass(100);
    assert_eq!(bench.statuses(&held), [Some(200), None]);
    bench.pass(250);
    assert_eq!(bench.told(held[1]), Some(ticket(1, "bob", true)), "to try again, and not to be counted again");
    bench.redis.asked.clear();
    let again = bench.order_with("bob", ticket(1, "bob", true));
    bench.pass(200);
    assert!(!bench.answers.contains_key(&again));
    assert!(reports(&bench).iter().all(|report| report[..2] == [0, 0]), "{:?}", reports(&bench));
    let asked = bench.redis.calls("lease").len();
    assert!((3..=5).contains(&asked), "every 50 ms while the bucket is dry: {asked} in 200 ms");
    bench.redis.queue.as_mut().expect("a queue").tokens = 5;
    bench.pass(100);
    assert_eq!(bench.statuses(&[again]), [Some(200)]);
}

#[test]
fn a_called_buyer_whose_redis_does_not_answer_is_told_so_and_the_place_stands() {
    let mut bench = fair(FakeQueue { mark: (2, 0), is_free: false, tokens: 0 }, 0);
    bench.redis.holds = vec!["lease"];
    let held = bench.order_with("ann", ticket(1, "ann", false));
    let not_called = bench.order_with("bob", ticket(2, "bob", false));
    bench.pass(1_050);
    assert_eq!(bench.answers[&held], Answer::Unavailable(Unavailable::Redis), "nobody said that there is no token");
    assert_eq!(bench.told(not_called), Some(ticket(2, "bob", false)), "the line is what it was");
    bench.redis.queue.as_mut().expect("a queue").tokens = 9;
    bench.redis.holds.clear();
    bench.pass(100);
    let again = bench.order_with("ann", ticket(1, "ann", false));
    bench.pass(100);
    assert_eq!(bench.statuses(&[again]), [Some(200)]);
}

#[test]
fn a_called_order_that_got_its_token_has_all_the_time_that_redis_has_to_answer() {
    let mut bench = fair(FakeQueue { mark: (2, 0), is_free: false, tokens: 0 }, 0);
    let held = bench.order_with("ann", ticket(1, "ann", false));
    bench.pass(400);
    bench.redis.holds = vec!["reserve"];
    bench.redis.queue.as_mut().expect("a queue").tokens = 1;
    bench.pass(400);
    assert_eq!(bench.statuses(&[held]), [None], "800 ms old, and let in for less than 500");
    bench.pass(200);
    assert_eq!(bench.answers[&held], Answer::Unknown);
}

#[test]
fn where_nobody_waits_whoever_comes_may_order_and_a_core_that_heard_nothing_asks_first() {
    let mut bench = fair(FakeQueue { mark: (1, 0), is_free: true, tokens: 100 }, 0);
    bench.pass(10_000);
    let quiet = bench.redis.calls("lease").len();
    assert!(quiet <= 13, "{quiet} calls in ten seconds in which nobody came");
    let order = bench.orders(&["ann"]);
    bench.pass(20);
    assert_eq!(bench.statuses(&order), [Some(200)]);
    bench.redis.queue.as_mut().expect("a queue").is_free = false;
    bench.pass(1_000);
    let order = bench.orders(&["bob"]);
    assert_eq!(bench.statuses(&order), [Some(429)]);
}

#[test]
fn once_nothing_is_left_nobody_is_sent_to_the_line_and_once_units_are_back_they_are() {
    let mut bench = fair(FakeQueue { mark: (1, 0), is_free: false, tokens: 100 }, 0);
    let units = |bench: &mut Bench, left: &str| bench.redis.sales.get_mut("p").expect("a sale")[5] = left.to_owned();
    units(&mut bench, "0");
    // Nobody who was called comes and finds it sold out, however long.
    bench.pass(5_000);
    for user in ["ann", "bob"] {
        let late = bench.order_with(user, ticket(2, user, false));
        bench.pass(20);
        assert_eq!(bench.answers[&late], Answer::SoldOut);
    }
    // Also where no refresh has come through for longer than a sold-out is remembered.
    bench.redis.holds = vec!["refresh", "lease"];
    bench.pass(300);
    bench.redis.holds.clear();
    let late = bench.orders(&["cid"]);
    assert_eq!(bench.answers[&late[0]], Answer::SoldOut);
    units(&mut bench, "1");
    bench.pass(1_000);
    let again = bench.order_with("ann", ticket(2, "ann", false));
    assert_eq!(bench.told(again), Some(ticket(2, "ann", false)), "a place is kept");
}

#[test]
fn the_first_who_ask_for_a_sale_that_a_core_does_not_know_wait_for_its_line() {
    let mut bench = Bench::with(config(), |redis| {
        redis.make_fair(FakeQueue { mark: (1, 0), is_free: true, tokens: 1 });
        redis.registry.clear();
        redis.holds = vec!["lease"];
    });
    let first: Vec<u32> = ["ann", "bob", "ann"].iter().map(|user| bench.order(user)).collect();
    bench.pass(100);
    assert_eq!(bench.statuses(&first), [None; 3]);
    bench.redis.holds.clear();
    bench.pass(100);
    // One token, and ann asked twice under one key: both get the one answer.
    assert_eq!(bench.statuses(&first), [Some(200), Some(302), Some(200)]);
    assert_eq!(bench.told(first[1]), Some(ticket(2, "bob", false)));
}

#[test]
fn a_place_that_one_of_two_tabs_shows_at_once_is_the_place_of_both() {
    let mut bench = fair(FakeQueue { mark: (0, 0), is_free: true, tokens: 0 }, 0);
    bench.redis.holds = vec!["lease"];
    let tabs = [bench.order("ann"), bench.order_with("ann", ticket(0, "ann", false))];
    assert_eq!(bench.statuses(&tabs), [None; 2], "no token is at hand");
    bench.redis.queue.as_mut().expect("a queue").is_free = false;
    bench.redis.holds.clear();
    bench.pass(100);
    assert_eq!(tabs.map(|tab| bench.told(tab)), [Some(ticket(0, "ann", false)); 2]);
}

#[test]
fn what_was_told_and_not_answered_is_told_again() {
    let mut bench = fair(NOBODY_CALLED, 0);
    bench.orders(&["ann", "bob"]);
    bench.redis.holds = vec!["lease"];
    bench.pass(150);
    let told = reports(&bench).pop().expect("it was asked");
    assert_eq!(told[3..], [2]);
    bench.lose_redis();
    bench.redis.holds.clear();
    bench.redis.asked.clear();
    bench.connect();
    bench.pass(200);
    assert_eq!(reports(&bench).concat().iter().filter(|number| **number == 2).count(), 1);
    assert!(reports(&bench).contains(&told));
}

#[test]
fn who_waits_for_a_status_that_never_comes_is_told_at_once() {
    let mut bench = fair(FakeQueue { mark: (1, 0), is_free: true, tokens: 100 }, 0);
    bench.pass(3_500);
    bench.redis.holds = vec!["lease"];
    let waits = bench.orders(&["ann"]);
    bench.pass(10);
    assert_eq!(bench.statuses(&waits), [None]);
    bench.lose_redis();
    assert_eq!(bench.answers[&waits[0]], Answer::Unavailable(Unavailable::Redis));
}

#[test]
fn another_sale_has_another_line_and_a_closed_one_has_none() {
    let mut bench = fair(NOBODY_CALLED, 0);
    bench.orders(&["ann"]);
    let fields = bench.redis.sales.get_mut("p").expect("a sale");
    fields[2] = (SALE_ID + 1).to_string();
    bench.pass(1_000);
    let position = bench.order_with("ann", ticket(0, "ann", false));
    let other = TicketKey::new(&seed(), b"p", SALE_ID + 1);
    let told = bench.told(position).expect("told");
    assert!(other.verify(&told, b"ann").is_some_and(|ticket| ticket.place.slot > 0), "a new place");
    bench.redis.sales.get_mut("p").expect("a sale")[0] = "closed".to_owned();
    bench.pass(1_000);
    bench.redis.asked.clear();
    bench.pass(5_000);
    assert_eq!(bench.redis.calls("lease").len(), 0);
    let late = bench.orders(&["bob"])[0];
    assert_eq!(bench.answers[&late], Answer::SoldOut);
}

#[test]
fn everybody_reads_one_document_and_redis_is_asked_for_it_as_often_as_it_may_be_old() {
    let mut bench = fair(NOBODY_CALLED, 0);
    let now = (EPOCH_US + 5_000_000).to_string();
    let opens = (EPOCH_US + 1_000_000).to_string();
    let sale_id = SALE_ID.to_string();
    let words = ["open", &sale_id, SEED, "50", "41", &now, &opens];
    let line = array(&words.iter().copied().chain(["2", "77", "5", "6"]).map(str::to_owned).collect::<Vec<_>>());
    bench.redis.script("queue", line.clone());
    let looks: Vec<u32> = (0..1000).map(|_| bench.get("/queue/p")).collect();
    assert_eq!(bench.redis.calls("queue").len(), 1);
    let told = bench.written(looks[999]);
    assert!(told.starts_with("HTTP/1.1 200 OK\r\n") && told.contains("cache-control: public, max-age=1\r\n"), "{told}");
    let body = "{\"state\":\"open\",\"opensAt\":1705234801000,\"now\":1705234805000,\"rate\":50,\
                \"watermark\":{\"slot\":2,\"rank\":77},\"issuedFrom\":2,\"issued\":[5,6],\"available\":41,\"seedHash\":\"";
    assert!(told.contains(body) && told.ends_with("\",\"seed\":null}"), "{told}");
    bench.pass(QUEUE_AGE_MAX.as_millis() as u64);
    bench.redis.script("queue", array(&words.map(str::to_owned)));
    let retry = bench.get("/queue/p");
    let body: serde_json::Value =
        serde_json::from_str(bench.written(retry).lines().last().expect("a body")).expect("JSON");
    let expected = serde_json::json!({"queue": "retry", "state": "open", "opensAt": 1_705_234_801_000u64,
        "now": 1_705_234_805_000u64, "rate": 50, "available": 41});
    assert_eq!(body, expected);
    for (said, status) in [(array(&["S".to_owned()]), 503), ("-LOADING\r\n".to_owned(), 503)] {
        bench.pass(QUEUE_AGE_MAX.as_millis() as u64);
        bench.redis.script("queue", said);
        let position = bench.get("/queue/p");
        assert_eq!(bench.statuses(&[position]), [Some(status)]);
    }
}

/// Redis answers a first question late: who came since is not told what was true before.
#[test]
fn who_comes_when_a_question_is_too_old_is_answered_by_another() {
    let mut bench = fair(NOBODY_CALLED, 0);
    let now = (EPOCH_US + 5_000_000).to_string();
    let words = ["open", &SALE_ID.to_string(), SEED, "50", "41", &now, &(EPOCH_US + 1_000_000).to_string()];
    for _ in 0..2 {
        bench.redis.script("queue", array(&words.map(str::to_owned)));
    }
    for (route, script, age_max) in [("/queue/p", "queue", QUEUE_AGE_MAX), ("/stock/p", "refresh", STOCK_AGE_MAX)] {
        bench.pass(1_000);
        bench.redis.asked.clear();
        bench.redis.holds = vec![script];
        let first = bench.get(route);
        bench.pass(age_max.as_millis() as u64 - 1);
        let near = bench.get(route);
        bench.pass(1);
        let late = bench.get(route);
        assert_eq!(bench.redis.calls(script).len(), 1, "{route}: one question at a time");
        bench.redis.holds.clear();
        bench.run();
        assert_eq!(bench.statuses(&[first, near, late]), [Some(200); 3], "{route}");
        assert_eq!(bench.redis.calls(script).len(), 2, "{route}: asked anew for the last");
    }
}

/// An order of the same user under another key.
fn again(bench: &mut Bench, user: &str, key: &str, ticket: [u8; TICKET_TEXT_BYTES]) -> u32 {
    bench.ticket = Some(String::from_utf8(ticket.to_vec()).expect("ASCII"));
    let position = bench.order_under(user, key);
    bench.ticket = None;
    bench.run();
    position
}

#[test]
fn of_a_called_user_one_order_waits_for_a_token() {
    let mut bench = fair(FakeQueue { mark: (2, 0), is_free: false, tokens: 0 }, 0);
    let first = bench.order_with("ann", ticket(1, "ann", false));
    let others: Vec<u32> =
        (0..20).map(|n| again(&mut bench, "ann", &format!("key-{n}"), ticket(1, "ann", false))).collect();
    for other in &others {
        assert_eq!(bench.told(*other), Some(ticket(1, "ann", true)), "once more, and not to be counted again");
    }
    let bob = bench.order_with("bob", ticket(1, "bob", false));
    bench.redis.queue.as_mut().expect("a queue").tokens = 2;
    bench.pass(100);
    assert_eq!(bench.statuses(&[first, bob]), [Some(200); 2], "two tokens for two people");
    let sums: u64 = reports(&bench).iter().filter(|report| report[1] == 1).map(|report| report[3]).sum();
    assert_eq!(sums, 2, "have come");
}

#[test]
fn a_place_by_which_somebody_was_served_takes_no_token_and_answers_repeats_only() {
    let mut bench = fair(FakeQueue { mark: (2, 0), is_free: false, tokens: 3 }, 0);
    let order = bench.order_with("ann", ticket(1, "ann", false));
    bench.pass(60);
    assert_eq!(bench.statuses(&[order]), [Some(200)]);
    bench.redis.asked.clear();
    // Another key: its record is looked up, and it joins the line anew, behind all who stand in it.
    let other = again(&mut bench, "ann", "key-2", ticket(1, "ann", false));
    assert_eq!(bench.told(other), Some(ticket(3, "ann", false)));
    assert_eq!(bench.redis.calls("reserve").len(), 0);
    // The same key: the first answer.
    bench.redis.script("replay_lookup", array(&["0 1 ".to_owned()]));
    let record = "00000000-0000-8000-8000-000000000001 1 1 5-1";
    bench.redis.script("reserve", format!("*2\r\n$1\r\nM\r\n{}", super::redis::bulk(&format!("R{record}"))));
    let repeat = bench.order_with("ann", ticket(1, "ann", false));
    assert!(
        matches!(bench.answers.get(&repeat), Some(Answer::Accepted { replayed: true, .. })),
        "{:?}",
        bench.answers.get(&repeat)
    );
    // Nobody else's place is used up.
    let bob = bench.order_with("bob", ticket(1, "bob", false));
    bench.pass(60);
    assert_eq!(bench.statuses(&[bob]), [Some(200)]);
}

#[test]
fn what_another_core_has_used_up_costs_no_token_and_is_asked_once() {
    let mut bench = fair(FakeQueue { mark: (2, 0), is_free: false, tokens: 1 }, 0);
    let bob = {
        bench.redis.holds = vec!["lease"];
        let ann = bench.order_with("ann", ticket(1, "ann", false));
        let bob = bench.order_with("bob", ticket(1, "bob", false));
        bench.redis.script("reserve", format!("*2\r\n$1\r\nM\r\n{}", super::redis::bulk("T4")));
        bench.redis.holds.clear();
        bench.pass(60);
        assert_eq!(bench.told(ann), Some(ticket(5, "ann", false)), "behind the slot in which she was served");
        bob
    };
    assert_eq!(bench.statuses(&[bob]), [Some(200)], "by the one token there was");
    let asked: Vec<String> = bench.redis.calls("reserve")[0].clone();
    assert!(asked.iter().any(|argument| argument == "1 1"), "one unit, by a place of slot 1: {asked:?}");
    let calls = bench.redis.calls("reserve").len();
    let other = again(&mut bench, "ann", "key-2", ticket(1, "ann", false));
    assert_eq!(bench.told(other), Some(ticket(5, "ann", false)));
    assert_eq!(bench.redis.calls("reserve").len(), calls);
}

#[test]
fn an_order_that_was_refused_has_used_its_place_up_too() {
    for code in ["L", "I3"] {
        let mut bench = fair(FakeQueue { mark: (2, 0), is_free: false, tokens: 9 }, 0);
        bench.redis.script("reserve", format!("*2\r\n$1\r\nM\r\n{}", super::redis::bulk(code)));
        let order = bench.order_with("ann", ticket(1, "ann", false));
        bench.pass(60);
        assert_eq!(bench.statuses(&[order]), [Some(409)], "{code}");
        let other = again(&mut bench, "ann", "key-2", ticket(1, "ann", false));
        assert_eq!(bench.told(other), Some(ticket(3, "ann", false)), "{code}");
    }
}
