//! Reserve calls whose replies were lost: asked again word for word, and nothing that is unknown is called failed.

use super::Bench;
use super::redis::array;
use crate::answer::{Answer, Unavailable};
use crate::core::machine::Machine;

/// Reservation ids of the orders of a reserve call of one group.
fn reservations(call: &[String]) -> Vec<String> {
    let keys: usize = call[0].parse().expect("a number");
    call[1 + keys + 2 + 5..].chunks(3).map(|order| order[0].split(' ').next().expect("an id").to_owned()).collect()
}

/// A core whose reserve call of these users was written, and its reply lost with the connection.
fn lost(users: &[&str]) -> (Bench, Vec<u32>) {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["reserve"];
    let orders = bench.orders(users);
    bench.lose_redis();
    bench.redis.holds.clear();
    (bench, orders)
}

fn heads(texts: &[&str]) -> String {
    array(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

#[test]
fn a_lost_reply_is_asked_for_again_word_for_word() {
    let (mut bench, orders) = lost(&["a", "b"]);
    bench.connect();
    bench.pass(100);
    let calls = bench.redis.calls("reserve");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0], calls[1]);
    assert_eq!(bench.statuses(&orders), [Some(200), Some(200)]);
}

#[test]
fn an_entry_known_by_its_records_goes_only_where_it_holds_nothing_else() {
    let (mut bench, orders) = lost(&["a", "b", "c"]);
    let ids = reservations(&bench.redis.calls("reserve")[0]);
    let record = |n: usize| format!("R{} 1 0 7-1", ids[n]);
    bench.redis.script("reserve", heads(&["M7-9", &record(0), "+", &record(2)]));
    bench.connect();
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200); 3]);
    assert_eq!(bench.redis.calls("XDEL"), [["product:{p}:outbox", "7-9"]], "what this call wrote is known whole");
    let parts = bench.redis.calls("split_entry");
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0][4..], ["7-1", "2", "1", "2"]);
}

#[test]
fn a_refusal_of_a_repeated_call_says_nothing_about_the_call_before() {
    let refusals = ["Sreplid", "G", "U", "F"]
        .map(|head| heads(&[head]))
        .into_iter()
        .chain(["0", "I1", "L", "C", "O9", "N", "F"].map(|code| heads(&["M", code])));
    let errors =
        ["LOADING Redis is loading", "READONLY You can't write", "OOM command not allowed", "BUSY Redis is busy"];
    for reply in refusals.chain(errors.map(|error| format!("-{error}\r\n"))) {
        let (mut bench, orders) = lost(&["a"]);
        bench.redis.script("reserve", reply.clone());
        bench.connect();
        bench.pass(100);
        assert_eq!(bench.answers.get(&orders[0]), Some(&Answer::Unknown), "{reply:?}");
        assert_eq!(bench.broker.arrived, [] as [String; 0]);
        assert!(bench.core.is_drained(), "{reply:?}");
    }
}

#[test]
fn the_same_refusals_are_believed_where_nothing_was_lost() {
    for (reply, status) in [
        (heads(&["Sreplid"]), 503),
        (heads(&["M", "0"]), 409),
        (heads(&["M", "I1"]), 409),
        ("-OOM command not allowed\r\n".to_owned(), 503),
    ] {
        let mut bench = Bench::new();
        bench.redis.script("reserve", reply.clone());
        let orders = bench.orders(&["a"]);
        bench.pass(100);
        assert_eq!(bench.statuses(&orders), [Some(status)], "{reply:?}");
        assert_ne!(bench.answers[&orders[0]], Answer::Unknown);
    }
}

#[test]
fn a_script_that_stopped_on_its_way_leaves_the_outcome_unknown() {
    for error in [
        "ERR Error running script (call to f_1): @user_script:9: Script killed by user with SCRIPT KILL",
        "ERR user_script:1: Script killed by user with SCRIPT KILL... script: f1, on @user_script:1.",
        "WRONGTYPE Operation against a key holding the wrong kind of value script: f1, on @user_script:140.",
    ] {
        let mut bench = Bench::new();
        bench.redis.script("reserve", format!("-{error}\r\n"));
        let orders = bench.orders(&["a"]);
        bench.pass(100);
        assert_eq!(bench.answers[&orders[0]], Answer::Unknown, "{error}");
    }
}

#[test]
fn forgotten_scripts_are_loaded_and_a_refusal_after_that_is_believed() {
    let mut bench = Bench::new();
    for reply in ["-NOSCRIPT No matching script.\r\n".to_owned(), heads(&["M", "0"])] {
        bench.redis.script("reserve", reply);
    }
    let loads = bench.redis.calls("SCRIPT").len();
    let orders = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!(bench.answers[&orders[0]], Answer::SoldOut, "NOSCRIPT is said before anything happens");
    assert_eq!(bench.redis.calls("SCRIPT").len(), loads + crate::redis::scripts::SCRIPTS.all().len());
}

/// Sales that are over refuse by the thousand: were a place kept for each, all orders of the core would find it full.
#[test]
fn an_order_that_is_refused_gives_back_the_place_with_the_producer_that_it_was_promised() {
    let mut bench = Bench::new();
    bench.redis.script("reserve", heads(&["M", "0", "I1"]));
    let orders = bench.orders(&["a", "b"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(409); 2]);
    assert_eq!(bench.core.orders.promised, 0);
}

#[test]
fn an_error_in_mid_pipeline_concerns_its_own_call_alone() {
    let mut bench = Bench::new();
    bench.redis.holds = vec!["reserve"];
    let first = bench.orders(&["a"]);
    let second = bench.orders(&["b"]);
    bench.redis.script("reserve", "-MISCONF Redis is configured to save RDB snapshots\r\n");
    bench.redis.holds.clear();
    bench.pass(100);
    assert_eq!(bench.answers[&first[0]], Answer::Unavailable(Unavailable::Redis));
    assert_eq!(bench.statuses(&second), [Some(200)]);
}

#[test]
fn an_entry_of_which_some_order_could_not_be_read_is_not_deleted_unseen() {
    let mut bench = Bench::new();
    bench.redis.script("reserve", heads(&["M7-1", "+", "what?", "+"]));
    let orders = bench.orders(&["a", "b", "c"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200), Some(503), Some(200)]);
    assert_eq!(bench.redis.calls("XDEL"), [] as [Vec<String>; 0]);
    assert_eq!(bench.redis.calls("split_entry")[0][4..], ["7-1", "2", "1", "2"], "it holds three");
}

#[test]
fn a_forgotten_lease_script_turns_nobody_away() {
    let mut bench = Bench::with(super::config(), |redis| {
        let sale = redis.sales.get_mut("p").expect("a sale");
        (sale[6], sale[7]) = ("100".into(), "100".into());
    });
    bench.redis.script("lease", "-NOSCRIPT No matching script.\r\n");
    bench.redis.script("lease", "*4\r\n:5\r\n:200000\r\n:0\r\n$1\r\nO\r\n");
    let orders = bench.orders(&["a"]);
    bench.pass(100);
    assert_eq!(bench.statuses(&orders), [Some(200)]);
}

#[test]
fn a_group_that_cannot_be_read_is_unknown_and_what_it_reserved_is_the_relays() {
    for reply in ["*1\r\n$1\r\nX\r\n", "*0\r\n", "+OK\r\n", "$-1\r\n", "*1\r\n:5\r\n", "*2\r\n$4\r\nM7-1\r\n:1\r\n"] {
        let mut bench = Bench::new();
        bench.redis.script("reserve", reply);
        let orders = bench.orders(&["a"]);
        bench.pass(100);
        assert_eq!(bench.answers[&orders[0]], Answer::Unknown, "{reply:?}");
        assert!(bench.core.is_drained() && bench.broker.arrived.is_empty(), "{reply:?}");
    }
}
