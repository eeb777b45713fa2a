//! Sales as this process opened them, and what they have left.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use fred::clients::Client;
use fred::interfaces::KeysInterface;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Deserialize;

use crate::answer;
use crate::order::{Shop, is_identifier};

const SALE_TOTAL_MAX: u64 = 1_000_000_000;
/// How old an answer of `GET /stock` may be.
const STOCK_AGE_MAX: Duration = Duration::from_millis(100);

/// One sale. All but what was seen of its stock is fixed from its opening on.
pub(crate) struct Sale {
    pub(crate) product: String,
    pub(crate) id: u64,
    pub(crate) total: u64,
    pub(crate) stock_key: String,
    pub(crate) outbox_key: String,
    /// None: no limit.
    limiter: Option<DefaultDirectRateLimiter>,
    /// Units left when they were last read, and when that was.
    seen: Mutex<(u64, Instant)>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

impl Sale {
    /// Takes a token.
    pub(crate) fn admits(&self) -> bool {
        self.limiter.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }

    /// Units left, as they were at most [`STOCK_AGE_MAX`] ago.
    async fn available(&self, redis: &Client) -> Result<u64, fred::error::Error> {
        if let Some(available) = self.remembered() {
            return Ok(available);
        }
        let _looking = self.looking.lock().await;
        // Another request may have looked meanwhile.
        if let Some(available) = self.remembered() {
            return Ok(available);
        }
        let at = Instant::now();
        let available = redis.get(self.stock_key.as_str()).await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (available, at);
        Ok(available)
    }

    fn remembered(&self) -> Option<u64> {
        let (available, at) = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (at.elapsed() <= STOCK_AGE_MAX).then_some(available)
    }

    /// The key of the buyers' records.
    pub(crate) fn records_key(&self) -> String {
        format!("peer:{{{}}}:keys:{}", self.product, self.id)
    }
}

/// All sales, by product.
#[derive(Default)]
pub(crate) struct Sales(RwLock<HashMap<String, Arc<Sale>>>);

impl Sales {
    pub(crate) fn get(&self, product: &str) -> Option<Arc<Sale>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(product).cloned()
    }

    fn put(&self, sale: Sale) {
        let mut sales = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sales.insert(sale.product.clone(), Arc::new(sale));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InitBody {
    product_id: String,
    quantity: u64,
    /// Orders a second of this process; 0 is no limit.
    #[serde(default)]
    rate: u32,
}

/// `POST /init`: opens a sale under a new id, in place of the one before.
pub(crate) async fn post_init(State(shop): State<Arc<Shop>>, body: Result<Json<InitBody>, JsonRejection>) -> Response {
    let Json(InitBody { product_id: product, quantity, rate }) = match body {
        Ok(body) => body,
        Err(rejection) => return answer::rejected(&rejection),
    };
    if !is_identifier(&product) || !(1..=SALE_TOTAL_MAX).contains(&quantity) {
        return answer::error(StatusCode::BAD_REQUEST, "productId or quantity out of range");
    }
    let quota = |rate: NonZeroU32| Quota::per_second(rate).allow_burst(rate.max(NonZeroU32::MIN.saturating_add(1)));
    let sale = Sale {
        id: now_ms(),
        total: quantity,
        stock_key: format!("peer:{{{product}}}:stock"),
        outbox_key: format!("peer:{{{product}}}:outbox"),
        limiter: NonZeroU32::new(rate).map(|rate| RateLimiter::direct(quota(rate))),
        seen: Mutex::new((quantity, Instant::now())),
        looking: tokio::sync::Mutex::default(),
        product,
    };
    let emptied = shop.redis.del::<(), _>(sale.outbox_key.as_str()).await;
    let filled = shop.redis.set::<(), _, _>(sale.stock_key.as_str(), quantity.to_string(), None, None, false).await;
    if emptied.and(filled).is_err() {
        return answer::unavailable();
    }
    let said = format!(r#"{{"status":"ok","msg":"Stock initialized for {} to {quantity}"}}"#, sale.product);
    shop.sales.put(sale);
    answer::json(StatusCode::OK, said)
}

/// `GET /stock/{product}`: from memory, or Redis where that is too old.
pub(crate) async fn get_stock(State(shop): State<Arc<Shop>>, Path(product): Path<String>) -> Response {
    let Some(sale) = shop.sales.get(&product) else { return answer::unknown_product() };
    match sale.available(&shop.redis).await {
        Ok(available) => answer::stock(&product, available),
        Err(_) => answer::unavailable(),
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
