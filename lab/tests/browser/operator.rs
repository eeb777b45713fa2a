//! What an operator sees of a sale, and the form on the dashboard: what is asked for is what is opened.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use flux_lab::demo::fair_sale::{self, FairSale};
use flux_lab::http_client;

use crate::{REQUEST_MAX, Visit, is_sound};

#[test]
fn the_form_opens_a_sale_with_all_its_options() {
    let visit = Visit::start();
    let edge = &visit.deployment.edges[0];
    visit.browser.open(&format!("http://{}/", edge.admin())).unwrap();
    visit.sees("#operate-title", "Open a sale");
    let fill = "const set = (id, value) => { document.getElementById(`open-${id}`).value = value; };
        set('product', 'phone'); set('quantity', '7'); set('rate', '50'); set('perUser', '2');
        set('opensAt', '2100-01-01T12:00'); set('queue', 'fair');
        document.getElementById('open').requestSubmit();
        return Date.parse('2100-01-01T12:00')";
    let opens_at = visit.browser.run(fill).unwrap();
    let text = visit.sees("#confirm-text", "7 units of phone at 50 orders a second.");
    for part in ["Buyers can order from Jan 1, 2100", "Each may take 2.", "A crowd waits in a fair line"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    visit.browser.run("document.getElementById('confirm-yes').click()").unwrap();
    visit.sees("#outcome", "Stock initialized for phone to 7");
    let told = http_client::request(edge.public(), "GET", "/queue/phone", &[], b"", REQUEST_MAX).unwrap().json();
    assert_eq!((&told["state"], &told["opensAt"], &told["rate"]), (&"waiting".into(), &opens_at, &50.into()), "{told}");
    assert!(told["watermark"].is_object(), "it has a line");
    let mut ledger = visit.deployment.ledger().unwrap();
    let end = Instant::now() + REQUEST_MAX;
    let row = loop {
        assert!(Instant::now() < end, "the ledger is told");
        match ledger.query_opt("SELECT per_user, queue FROM sales WHERE per_user IS NOT NULL", &[]).unwrap() {
            Some(row) => break row,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (2, "fair"));
    visit.is_sound("dashboard-opened");
}

#[test]
fn a_sale_is_seen_from_the_countdown_to_the_last_unit() {
    let mut visit = Visit::start();
    let (public, admin) = (visit.deployment.edges[0].public(), visit.deployment.edges[0].admin());
    visit.browser.open(&format!("http://{admin}/")).unwrap();
    visit.sees("#feed", "Live");
    let sale =
        FairSale { units: 800, opens_in: Duration::from_secs(5), early: 1_000, late_per_second: 10, ..FairSale::DEMO };
    std::thread::scope(|scope| {
        let (deployment, browser) = (&mut visit.deployment, &visit.browser);
        let sold = scope.spawn(move || fair_sale::run(deployment, &sale, &AtomicBool::new(false)));
        browser.wait_for("#products", "scheduled").unwrap();
        browser.wait_for("#products", "open").unwrap();
        let left = || {
            let answer = http_client::request(public, "GET", "/stock/sneaker-1", &[], b"", REQUEST_MAX).unwrap();
            answer.json()["available"].as_u64().expect("units")
        };
        while left() > sale.units / 2 && !sold.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
        }
        is_sound(browser, "dashboard");
        browser.wait_for("#products", "800 stored").unwrap();
        let findings = sold.join().expect("it did not panic").unwrap();
        assert!(findings.hold(), "{findings:?}");
    });
}
