//! The dashboard of a fair sale: who waits, who is called and what is accepted, as `/metrics` tells it.

use std::time::{Duration, Instant};

use flux_lab::demo::visitors::{Answer, Patience, Visitor};
use flux_lab::http_client;

use crate::{REQUEST_MAX, Visit};

const VISITORS: u64 = 40;

/// Visitors are counted by a sketch, so that ten tabs count once: it may be some percent wrong.
fn is_all(count: u64) -> bool {
    count.abs_diff(VISITORS) <= VISITORS / 5
}

impl Visit {
    /// What the dashboard's table says of "phone": accepted by this edge, waiting in line.
    fn told(&self) -> [String; 2] {
        [5, 6].map(|column| self.browser.text(&format!("#products tr[data-key=phone] > :nth-child({column})")).unwrap())
    }

    /// What `/metrics` says of the same, and how many were called.
    fn measured(&self) -> [Option<u64>; 3] {
        let edge = self.deployment.edges[0].admin();
        let text = http_client::request(edge, "GET", "/metrics", &[], b"", REQUEST_MAX).unwrap().text();
        ["accepted_orders_total", "line_waiting_visitors", "line_called_visitors_total"].map(|name| {
            let series = format!("flux_edge_{name}{{product=\"phone\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value.parse().expect("a number"))
        })
    }

    /// Waits until `/metrics` says what is expected of accepted, waiting and called, and the page the same of the first two.
    #[track_caller]
    fn agree(&self, expected: impl Fn([u64; 3]) -> bool) {
        let end = Instant::now() + REQUEST_MAX;
        loop {
            let (told, measured) = (self.told(), self.measured());
            if let [Some(accepted), Some(waiting), Some(called)] = measured
                && expected([accepted, waiting, called])
                && told == [accepted.to_string(), waiting.to_string()]
            {
                return;
            }
            assert!(Instant::now() < end, "the page says {told:?}, the metrics {measured:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn the_dashboard_follows_a_line_from_the_first_place_to_the_last_call() {
    let mut visit = Visit::start();
    visit.open_fair_sale(20, Duration::from_secs(15));
    visit.browser.open(&format!("http://{}/", visit.deployment.edges[0].admin())).unwrap();
    let edge = visit.deployment.edges[0].public();
    let mut visitors: Vec<Visitor> =
        (0..VISITORS).map(|number| Visitor::new(format!("user-{number}"), Patience::Waits)).collect();
    for visitor in &mut visitors {
        assert_eq!(visitor.order(edge, "phone").unwrap(), Answer::InLine);
    }
    visit.agree(|[accepted, waiting, called]| accepted == 0 && is_all(waiting) && called == 0);
    let waiting = visit.measured()[1].expect("looked at just now");
    visit.sees("#tiles", &format!("Waiting in line\n{waiting}"));

    visit.agree(|[accepted, waiting, called]| accepted == 0 && waiting == 0 && is_all(called));
    // Its turn has come, and a token with it; the others have left.
    assert_eq!(visitors[7].order(edge, "phone").unwrap(), Answer::Accepted);
    visit.agree(|[accepted, waiting, called]| accepted == 1 && waiting == 0 && is_all(called));
    for plot in ["waiting", "called"] {
        let is_drawn = format!("return document.querySelector('#plot-{plot} canvas')?.checkVisibility() ?? false");
        assert_eq!(visit.browser.run(&is_drawn).unwrap(), true, "{plot}");
    }
    visit.is_sound("dashboard-line");
}

#[test]
fn the_dashboard_shows_no_line_where_there_is_none() {
    let mut visit = Visit::start();
    visit.deployment.init("phone", 5).unwrap();
    visit.browser.open(&format!("http://{}/", visit.deployment.edges[0].admin())).unwrap();
    visit.sees("#products", "phone");
    let mut visitor = Visitor::new("user-1".to_owned(), Patience::Waits);
    assert_eq!(visitor.order(visit.deployment.edges[0].public(), "phone").unwrap(), Answer::Accepted);
    let end = Instant::now() + REQUEST_MAX;
    while visit.told() != ["1", "–"] {
        assert!(Instant::now() < end, "{:?}", visit.told());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(visit.measured(), [Some(1), None, None]);
    let hidden = "return ['waiting', 'called'].every((name) => document.getElementById(`plot-${name}`).closest('figure').hidden)";
    assert_eq!(visit.browser.run(hidden).unwrap(), true);
    visit.is_sound("dashboard-sale");
}
