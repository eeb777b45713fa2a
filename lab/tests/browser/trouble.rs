//! Buying when something is away: Redis, the network, the order itself.

use std::time::Instant;

use crate::{REQUEST_MAX, Visit};
use flux_lab::control::Controlled;

#[test]
fn redis_stops_and_comes_back_and_the_order_is_bought_once() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 100).unwrap();
    visit.open_shop("phone");
    visit.sees("#stock", "100 left");
    visit.deployment.redis.pause().unwrap();
    visit.browser.click("#buy").unwrap();
    // The call may have arrived before Redis stopped, or lie in its socket: nobody knows.
    visit.sees("#next-try-row", "Next try");
    visit.is_sound("no-answer");
    visit.deployment.redis.resume();
    visit.sees("#headline", "You are in!");
    visit.sees("#way li[aria-current]", "Confirmed by the shop");
    assert_eq!(visit.units_stored("phone"), 1);
}

#[test]
fn without_a_network_the_order_is_kept_and_goes_on() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 100).unwrap();
    visit.open_shop("phone");
    visit.sees("#stock", "100 left");
    visit.browser.set_offline(true).unwrap();
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "You are offline");
    visit.is_sound("offline");
    visit.browser.set_offline(false).unwrap();
    visit.sees("#headline", "You are in!");
    visit.sees("#way li[aria-current]", "Confirmed by the shop");
    assert_eq!(visit.units_stored("phone"), 1);
}

#[test]
fn the_waiting_room_without_an_order_says_how_the_sale_stands() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 7).unwrap();
    let room = format!("http://{}/", visit.deployment.edges[0].waiting_room());
    visit.browser.open(&format!("{room}?product=phone")).unwrap();
    visit.sees("#headline", "The sale is open");
    visit.is_sound("room-without-order");
    visit.browser.open(&room).unwrap();
    visit.sees("#text", "No order came with you");
    visit.browser.open(&format!("{room}#product=..&user=<b>&key=%2F")).unwrap();
    visit.sees("#text", "No order came with you");
    visit.is_sound("room-without-anything");
}

/// What [`Visit::is_sound`] stands on.
#[test]
fn the_console_is_heard_and_so_is_what_the_policy_forbids() {
    let visit = Visit::start();
    visit.open_shop("phone");
    visit.browser.run("console.error('a word'); new Image().src = '//127.0.0.1:1/'").unwrap();
    let end = Instant::now() + REQUEST_MAX;
    let mut said = String::new();
    while !(said.contains("a word") && said.contains("Content Security Policy")) {
        assert!(Instant::now() < end, "{said}");
        said += &visit.browser.log().unwrap().join("\n");
    }
}
