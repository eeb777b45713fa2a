//! Buying as it should be: at once, or after a wait.

use thirtyfour::Key;

use crate::Visit;
use crate::browser::Browser;

/// The key under which the page's order stands, in the order's fragment or in the browser's memory.
fn key(browser: &Browser, product: &str) -> String {
    let script = format!("return JSON.parse(localStorage.getItem('flux-order:{product}'))?.order.key ?? ''");
    browser.run(&script).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn an_order_is_bought_accepted_and_stored() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 100).unwrap();
    visit.open_shop("phone");
    visit.sees("#headline", "The sale is open");
    visit.sees("#stock", "100 left");
    visit.is_sound("shop");
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "You are in!");
    visit.sees("#way li[aria-current]", "Confirmed by the shop");
    let id = visit.browser.text("#order-id").unwrap();
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(visit.browser.run("return document.activeElement.id").unwrap(), "headline", "the focus moved there");
    assert_eq!(visit.units_stored("phone"), 1);
    visit.is_sound("accepted");
    visit.browser.reload().unwrap();
    visit.sees("#order-id", &id);
    visit.sees("#buy", "Order another");
    assert_eq!(visit.units_stored("phone"), 1, "looking again buys nothing");
}

#[test]
fn the_keyboard_alone_buys() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 100).unwrap();
    visit.open_shop("phone");
    visit.sees("#stock", "100 left");
    let focused = || visit.browser.run("return document.activeElement.id").unwrap();
    visit.browser.press(Key::Tab).unwrap();
    assert_eq!(focused(), "quantity");
    visit.browser.press(Key::Up).unwrap(); // two
    visit.browser.press(Key::Tab).unwrap();
    assert_eq!(focused(), "buy");
    visit.browser.press(Key::Enter).unwrap();
    visit.sees("#way li[aria-current]", "Confirmed by the shop");
    assert_eq!(visit.units_stored("phone"), 2);
}

#[test]
fn over_the_limit_an_order_waits_and_is_bought_under_its_key() {
    let mut visit = Visit::start();
    let crowd = visit.open_crowded("phone", 5000);
    visit.open_shop("phone");
    visit.sees("#headline", "The sale is open");
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "You are waiting");
    let room = format!("http://{}/", visit.deployment.edges[0].waiting_room());
    let url = visit.browser.url().unwrap();
    assert!(url.starts_with(&room) && url.contains("#product=phone"), "{url}");
    let first = key(&visit.browser, "phone");
    assert!(url.contains(&first) && first.len() == 32, "{url}");
    visit.is_sound("room-waiting");

    visit.browser.reload().unwrap();
    visit.sees("#headline", "You are waiting");
    assert_eq!(key(&visit.browser, "phone"), first, "a reload keeps the key");

    // The tab is closed; the address without the order is enough to go on.
    visit.browser.close_tab().unwrap();
    visit.browser.open(&format!("{room}?product=phone")).unwrap();
    visit.sees("#headline", "You are waiting");
    assert_eq!(key(&visit.browser, "phone"), first, "so does a closed tab");
    assert_eq!(visit.units_stored("phone"), 0);

    drop(crowd);
    visit.sees("#headline", "You are in!");
    visit.sees("#way li[aria-current]", "Confirmed by the shop");
    assert_eq!(visit.units_stored("phone"), 1);
    visit.is_sound("room-accepted");
}

#[test]
fn what_sells_out_while_somebody_waits_says_so() {
    let mut visit = Visit::start();
    let crowd = visit.open_crowded("phone", 8);
    visit.open_shop("phone");
    visit.sees("#headline", "The sale is open");
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "You are waiting");
    visit.sees("#headline", "Sold out");
    drop(crowd);
    assert_eq!(visit.browser.run("return document.activeElement.id").unwrap(), "headline");
    visit.is_sound("room-sold-out");
    visit.browser.click("#shop").unwrap();
    visit.sees("#headline", "Your order is under way");
    visit.browser.click("#buy").unwrap();
    visit.sees("#headline", "Sold out");
    visit.is_sound("shop-sold-out");
    assert_eq!(visit.units_stored("phone"), 0);
}
