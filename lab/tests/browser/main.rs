//! What people see: the real pages of a real edge in a headless Chromium, on real servers.
//!
//! Every test ends with a page that axe-core finds no fault with and a console that said nothing. With FLUX_SCREENSHOTS=1
//! the pictures in docs/screenshots are taken anew.

mod browser;
mod buying;
mod dashboard;
mod fair;
mod foreign;
mod gateway;
mod operator;
mod trouble;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::http_client;
use serde_json::json;

use browser::{Browser, Look};

const REQUEST_MAX: Duration = Duration::from_secs(30);

/// One browser at a time: several of them, and servers beside, are more than a small machine bears.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Buyers who come one after the other until it is dropped: so many that one of them is at the edge whenever a token is
/// due, also where a busy machine keeps most of them from running.
struct Crowd {
    has_enough: Arc<AtomicBool>,
    buyers: Vec<JoinHandle<()>>,
}

impl Crowd {
    const BUYERS: usize = 8;
    /// A buyer rests this long, so that the crowd leaves the processors to the browser.
    const PAUSE: Duration = Duration::from_millis(4);

    /// Returns once the first of them was refused: no token is left.
    fn start(edge: SocketAddr, product: &str) -> Crowd {
        let has_enough = Arc::<AtomicBool>::default();
        let body = json!({"productId": product, "userId": "other", "quantity": 1}).to_string();
        let (refused, is_refused) = mpsc::channel();
        let buyer = |buyer: usize| {
            let (enough, body, refused) = (Arc::clone(&has_enough), body.clone(), refused.clone());
            std::thread::spawn(move || {
                for number in 0u64.. {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{buyer}-{number}");
                    let fields = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
                    let answer = http_client::request(edge, "POST", "/order", &fields, body.as_bytes(), REQUEST_MAX);
                    // Where the edge is away there is nothing to take; the test says what that means.
                    if answer.is_ok_and(|answer| answer.status == 302) {
                        // Only the first is waited for.
                        let _ = refused.send(());
                    }
                    std::thread::sleep(Self::PAUSE);
                }
            })
        };
        let buyers = (0..Self::BUYERS).map(buyer).collect();
        is_refused.recv_timeout(REQUEST_MAX).expect("a rate of one a second is used up");
        Crowd { has_enough, buyers }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.has_enough.store(true, Ordering::Relaxed);
        let all_well = self.buyers.drain(..).map(JoinHandle::join).filter(Result::is_err).count() == 0;
        assert!(std::thread::panicking() || all_well, "the crowd broke down");
    }
}

/// No fault is found with the page, by day and by night, and nothing was said in the console.
#[track_caller]
fn is_sound(browser: &Browser, name: &str) {
    for (look, suffix) in [(Look::PHONE_DARK, "-dark"), (Look::DESK, "-desk"), (Look::PHONE, "")] {
        browser.look(look).unwrap();
        let faults = browser.accessibility_faults().unwrap();
        assert!(faults.is_empty(), "{name}{suffix}: {faults:#?}");
        if std::env::var_os("FLUX_SCREENSHOTS").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/screenshots");
            browser.screenshot(&folder.join(format!("{name}{suffix}.png"))).unwrap();
        }
    }
    let wider = browser.run("return document.documentElement.scrollWidth - innerWidth").unwrap();
    assert!(wider.as_i64().is_some_and(|pixels| pixels <= 0), "{name} is {wider} pixels wider than a phone");
    let said = browser.log().unwrap();
    assert!(said.is_empty(), "{name}: {said:#?}");
}

/// A deployment and somebody who looks at it.
struct Visit {
    browser: Browser,
    deployment: Deployment,
    _alone: MutexGuard<'static, ()>,
}

impl Visit {
    fn start() -> Visit {
        Visit::with(DeploymentOptions::default())
    }

    fn with(options: DeploymentOptions) -> Visit {
        let alone = alone();
        let browser = Browser::start().expect("Chromium, its driver and axe-core: see lab/setup.sh");
        let deployment = Deployment::start(options).expect("servers, an edge and a worker");
        browser.look(Look::PHONE).unwrap();
        Visit { browser, deployment, _alone: alone }
    }

    fn open_shop(&self, product: &str) {
        self.browser.open(&format!("http://{}/?product={product}", self.deployment.edges[0].public())).unwrap();
    }

    #[track_caller]
    fn sees(&self, selector: &str, words: &str) -> String {
        self.browser.wait_for(selector, words).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens a sale of one order a second, and lets others take every token until the crowd that is returned is dropped: who
    /// comes meanwhile is sent to the waiting room.
    fn open_crowded(&mut self, product: &str, units: u64) -> Crowd {
        self.deployment.init_with(json!({"productId": product, "quantity": units, "rate": 1, "burst": 2})).unwrap();
        Crowd::start(self.deployment.edges[0].public(), product)
    }

    /// Opens a sale of 50 units with a fair queue.
    fn open_fair_sale(&mut self, rate: u64, opens_in: Duration) {
        let opens_at = humantime::format_rfc3339_millis(SystemTime::now() + opens_in).to_string();
        let sale = json!({"productId": "phone", "quantity": 50, "rate": rate, "burst": rate, "queue": "fair",
            "opensAt": opens_at});
        self.deployment.init_with(sale).unwrap();
    }

    #[track_caller]
    fn is_sound(&self, name: &str) {
        is_sound(&self.browser, name);
    }

    /// How many units of a product the ledger holds.
    fn units_stored(&self, product: &str) -> i64 {
        let sql =
            "SELECT coalesce(sum(quantity), 0)::bigint FROM orders WHERE product_id = $1 AND user_id LIKE 'user-%'";
        self.deployment.ledger().unwrap().query_one(sql, &[&product]).unwrap().get(0)
    }
}
