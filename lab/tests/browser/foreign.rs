//! Buying through a gateway that answers in the edge's place: what it says is nobody's order.

use std::time::Duration;

use flux_lab::http_client;
use serde_json::json;

use crate::gateway::{Deed, Gateway};
use crate::{REQUEST_MAX, Visit};

impl Visit {
    /// Opens the shop through a gateway.
    fn open_through(&self, gateway: &Gateway, product: &str) {
        self.browser.open(&format!("http://{}/?product={product}", gateway.address())).unwrap();
    }
}

#[test]
fn a_sold_order_that_a_gateway_answers_504_and_then_403_is_bought_once() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 100).unwrap();
    let gateway = Gateway::start(visit.deployment.edges[0].public());
    visit.open_through(&gateway, "phone");
    visit.sees("#stock", "100 left");
    gateway.does(&[Deed::Sold(504), Deed::Kept(403)]);
    visit.browser.click("#buy").unwrap();
    visit.sees("#next-try-row", "Next try");
    while gateway.keys().len() < 3 {
        visit.sees("#headline", "No answer yet");
    }
    visit.is_sound("no-answer-of-ours");
    // What people do then.
    visit.browser.reload().unwrap();
    visit.sees("#headline", "No answer yet");
    assert_eq!(visit.browser.text("#buy").unwrap(), "Ordering…", "no second order can be begun");
    gateway.does(&[]);
    visit.sees("#headline", "You are in!");
    visit.sees("#way li[aria-current]", "Confirmed by the shop");
    assert_eq!(visit.units_stored("phone"), 1);
    let keys = gateway.keys();
    assert!(keys.len() > 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[test]
fn a_page_with_a_200_sells_nothing() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 100).unwrap();
    let gateway = Gateway::start(visit.deployment.edges[0].public());
    visit.open_through(&gateway, "phone");
    visit.sees("#stock", "100 left");
    gateway.does(&[Deed::Kept(200)]);
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "No answer yet");
    visit.sees("#next-try-row", "Next try");
    assert_eq!(visit.units_stored("phone"), 0);
    gateway.does(&[]);
    visit.sees("#headline", "You are in!");
    visit.sees("#way li[aria-current]", "Confirmed by the shop");
    assert_eq!(visit.units_stored("phone"), 1);
}

/// The waiting room is another origin, so the shop is not told what became of the order that it handed over.
#[test]
fn the_shop_asks_for_an_order_that_the_waiting_room_has_bought_though_the_sale_is_over() {
    let mut visit = Visit::start();
    visit.open_fair_sale(5, Duration::from_secs(10));
    visit.open_shop("phone");
    visit.sees("#buy", "Join now");
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "You are in line");
    visit.sees("#headline", "You are in!");
    let id = visit.browser.text("#order-id").unwrap();
    let body = json!({"productId": "phone"}).to_string();
    let fields = [("content-type", "application/json")];
    let admin = visit.deployment.edges[0].admin();
    let closed = http_client::request(admin, "POST", "/close", &fields, body.as_bytes(), REQUEST_MAX).unwrap();
    assert_eq!(closed.status, 200, "{}", closed.text());
    visit.open_shop("phone");
    visit.sees("#buy", "Ask again");
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "You are in!");
    assert_eq!(visit.browser.text("#order-id").unwrap(), id);
    assert_eq!(visit.units_stored("phone"), 1);
}
