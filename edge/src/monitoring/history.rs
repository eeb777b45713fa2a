//! What the dashboard's plots show of the minutes before their page was opened: samples of the figures, every five seconds for
//! five minutes, each laid down as the text that the page is sent.
//!
//! Bounded by [`HISTORY_SAMPLES_MAX`] samples of some hundred bytes, of [`PLOTTED_PRODUCTS_MAX`] products each. Only the
//! dashboard reads it; the cores do nothing for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::{io, time};

use flux_net::Clock;
use flux_protocol::time::Instant;
use serde_json::{Map, Value, json};

use crate::counters::{CoreCounters, LATENCY_BOUNDS_US, ProductGauge};
use crate::limits::shell::{HISTORY_INTERVAL, HISTORY_SAMPLES_MAX, PLOTTED_PRODUCTS_MAX};
use crate::monitoring::metrics;
use crate::monitoring::workers::Workers;
use crate::monitoring::{dashboard, product_metrics};
use crate::sale::SaleState;

/// The samples of one edge, oldest first; clones share them.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Samples>);

#[derive(Debug, Default)]
struct Samples {
    all: Mutex<VecDeque<Box<str>>>,
    /// Goes with the last clone, which ends the thread that takes samples.
    held: Mutex<Option<mpsc::Sender<()>>>,
}

impl History {
    /// Takes samples for as long as another clone of this history exists.
    ///
    /// # Errors
    /// A thread is not to be had.
    pub fn keep(&self, cores: Arc<[CoreCounters]>, workers: Workers, clock: Clock) -> io::Result<()> {
        self.keep_every(HISTORY_INTERVAL, cores, workers, clock).map(drop)
    }

    fn keep_every(
        &self,
        interval: time::Duration,
        cores: Arc<[CoreCounters]>,
        workers: Workers,
        clock: Clock,
    ) -> io::Result<thread::JoinHandle<()>> {
        let (held, end) = mpsc::channel();
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        let samples = Arc::downgrade(&self.0);
        let keep = move || {
            while let Some(samples) = samples.upgrade() {
                let running_ms = clock.instant().since(Instant::default()).as_millis() as u64;
                History(samples).take(&cores, &workers, running_ms);
                if end.recv_timeout(interval) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
            }
        };
        thread::Builder::new().name("history".to_owned()).spawn(keep)
    }

    fn take(&self, cores: &[CoreCounters], workers: &Workers, running_ms: u64) {
        let sample = sample(cores, workers, running_ms).to_string().into_boxed_str();
        let mut samples = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() >= HISTORY_SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// All of them as JSON: `{"runningMs": now, "boundsUs": …, "samples": […]}`.
    pub(crate) fn render(&self, running_ms: u64) -> String {
        let samples = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = samples.iter().map(|sample| sample.len() + 1).sum();
        let mut out = String::with_capacity(bytes + 256);
        out += &format!("{{\"runningMs\":{running_ms},\"boundsUs\":{},\"samples\":[", json!(LATENCY_BOUNDS_US));
        for (index, sample) in samples.iter().enumerate() {
            out.extend([if index == 0 { "" } else { "," }, sample]);
        }
        out + "]}"
    }
}

/// What the plots are drawn from, in the words of [`dashboard::figures`].
fn sample(cores: &[CoreCounters], workers: &Workers, running_ms: u64) -> Value {
    let mut orders = dashboard::orders(cores);
    orders.retain(|_, count| *count != 0);
    let products = product_metrics::products(cores);
    let shown = plotted(&products).into_iter().map(|product| {
        let mut told = Map::new();
        told.insert("product".to_owned(), product.name.as_str().into());
        told.insert("stock".to_owned(), product.stock.into());
        let line = product.queue.map(|queue| json!({ "waiting": queue.waiting, "called": queue.called }));
        told.insert("line".to_owned(), line.into());
        Value::Object(told)
    });
    json!({
        "runningMs": running_ms,
        "orders": orders,
        "counts": metrics::latency(cores).0,
        "undelivered": product_metrics::undelivered(cores, &products),
        "lag": workers.lag_records(time::Instant::now()),
        "products": shown.collect::<Value>(),
    })
}

/// Those whose stock or line is plotted, as the page chooses them: of those not closed the first by name, of those with a line too.
fn plotted(products: &[ProductGauge]) -> Vec<&ProductGauge> {
    let mut by_name: Vec<&ProductGauge> = products.iter().filter(|product| product.is_fresh()).collect();
    by_name.sort_unstable_by_key(|product| product.name.as_str());
    let is_open = |product: &&&ProductGauge| product.state != SaleState::Closed;
    let has_queue = |product: &&&ProductGauge| product.queue.is_some();
    let mut chosen: Vec<&ProductGauge> = by_name.iter().filter(is_open).take(PLOTTED_PRODUCTS_MAX).copied().collect();
    if chosen.is_empty() {
        chosen.extend(by_name.iter().take(PLOTTED_PRODUCTS_MAX));
    }
    chosen.extend(by_name.iter().filter(has_queue).take(PLOTTED_PRODUCTS_MAX));
    chosen.sort_unstable_by_key(|product| product.name.as_str());
    chosen.dedup_by_key(|product| product.name);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{OrderOutcome, QueueGauge};

    fn gauge(name: &str, state: SaleState, seen_ms: Option<u64>, queue: Option<QueueGauge>) -> ProductGauge {
        ProductGauge { state, seen_ms, queue, ..ProductGauge::example(name) }
    }

    #[test]
    fn nobody_takes_samples_for_a_history_that_nobody_holds() {
        let history = History::default();
        let hour = time::Duration::from_secs(3_600);
        let cores: Arc<[CoreCounters]> = Arc::new([CoreCounters::default()]);
        let thread =
            history.keep_every(hour, Arc::clone(&cores), Workers::default(), Clock::start()).expect("a thread");
        while history.0.all.lock().expect("not poisoned").is_empty() {
            thread::yield_now();
        }
        drop(history);
        thread.join().expect("it ends, long before the next sample");
        assert_eq!(Arc::strong_count(&cores), 1, "and holds nothing");
    }

    #[test]
    fn five_minutes_of_samples_are_kept_and_no_more() {
        let cores = [CoreCounters::default(), CoreCounters::default()];
        let line = Some(QueueGauge { slot: 3, waiting: 29, called: 41 });
        cores[0].decisions.products.lock().expect("not poisoned").push(gauge("phone", SaleState::Open, Some(3), line));
        let history = History::default();
        for second in 0..400 {
            cores[1].decisions.orders[OrderOutcome::Accepted as usize].add(1);
            history.take(&cores, &Workers::default(), second * 5_000);
        }
        let told = history.render(2_000_000);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let samples = told["samples"].as_array().expect("a list");
        assert_eq!((samples.len(), &told["runningMs"]), (HISTORY_SAMPLES_MAX, &json!(2_000_000)));
        let span = HISTORY_INTERVAL * (HISTORY_SAMPLES_MAX as u32 - 1);
        assert!(span >= time::Duration::from_secs(310), "five minutes, and ten seconds for the first quantile");
        let last = samples.last().expect("one");
        assert_eq!((&last["runningMs"], &last["orders"]), (&json!(1_995_000), &json!({ "accepted": 400 })));
        let products = json!([{ "product": "phone", "stock": 41, "line": { "waiting": 29, "called": 41 } }]);
        assert_eq!((&last["products"], &last["undelivered"], &last["lag"]), (&products, &json!(2), &Value::Null));
        assert_eq!(
            last["counts"].as_array().expect("a list").len(),
            told["boundsUs"].as_array().expect("one").len() + 1
        );
    }

    #[test]
    fn a_sample_is_small_however_many_products_there_are() {
        let cores = [CoreCounters::default()];
        let line = |n| (n % 3 == 0).then_some(QueueGauge { slot: u32::MAX >> 1, waiting: u64::MAX, called: u64::MAX });
        let name = |n| format!("{n:0>64}");
        let products = (0..1000).rev().map(|n| gauge(&name(n), SaleState::Open, Some(0), line(n)));
        cores[0].decisions.products.lock().expect("not poisoned").extend(products);
        for counter in &cores[0].decisions.orders {
            counter.add(u64::MAX);
        }
        let text = sample(&cores, &Workers::default(), u64::MAX).to_string();
        assert!(text.len() < 4 * 1024, "{}", text.len());
        assert!(text.contains(&name(0)) && text.contains(&name(21)) && !text.contains(&name(8)), "{text}");
    }

    #[test]
    fn what_was_not_seen_is_left_out_and_closed_sales_come_last() {
        let line = Some(QueueGauge { slot: 3, waiting: 29, called: 41 });
        let all = [
            gauge("c", SaleState::Closed, Some(0), None),
            gauge("b", SaleState::Open, Some(0), None),
            gauge("a", SaleState::Open, None, None),
            gauge("old", SaleState::Open, Some(60_000), None),
            gauge("d", SaleState::Closed, Some(0), line),
        ];
        let names =
            |all: &[ProductGauge]| plotted(all).iter().map(|it| it.name.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&all), ["b", "d"]);
        assert_eq!(names(&all[..1]), ["c"]);
    }
}
