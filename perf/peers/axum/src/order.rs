//! One order, from top to bottom: key check, tokens, the script, Kafka, the outbox, the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use fred::clients::Client;
use fred::error::ErrorKind;
use fred::interfaces::{ClientLike, StreamsInterface};
use fred::types::Builder;
use fred::types::config::{Config, ReconnectPolicy};
use fred::types::scripts::Script;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::answer::{self, WAITING_ROOM};
use crate::sale::{Sale, Sales, now_ms};

const RESERVE: &str = include_str!("../../reserve.lua");
const REDIS_DEADLINE: Duration = Duration::from_millis(500);
const REDIS_REST_MS: (u32, u32) = (10, 1000);
const PUBLISH_DEADLINE_MS: &str = "2000";
const LINGER_MS: &str = "1";
/// Commands that wait for Redis; beyond, they fail at once.
const COMMANDS_MAX: usize = 32 << 10;
/// Entries that wait to leave the outbox: a second's worth and more; then orders wait for their place.
const REMOVALS_MAX: usize = 64 << 10;
/// Entries of one XDEL.
const REMOVAL_ENTRIES_MAX: usize = 512;
const IDENTIFIER_BYTES_MAX: usize = 64;
const QUANTITY_MAX: u16 = 1000;

/// What all requests share.
pub(crate) struct Shop {
    pub(crate) redis: Client,
    pub(crate) sales: Sales,
    reserve: Script,
    kafka: FutureProducer,
    topic: String,
    removals: Sender<Removal>,
}

/// An outbox entry that Kafka has acknowledged.
struct Removal {
    sale: Arc<Sale>,
    entry: String,
}

impl Shop {
    /// Connects, and starts what runs beside the requests.
    pub(crate) async fn open(redis: &str, brokers: &str, topic: &str) -> Result<Arc<Shop>, Box<dyn std::error::Error>> {
        let url = if redis.contains("://") { redis.to_owned() } else { format!("redis://{redis}") };
        // One connection: Redis is one thread, and a second one only halves what each of its reads finds.
        let redis = Builder::from_config(Config::from_url(&url)?)
            .with_performance_config(|performance| performance.default_command_timeout = REDIS_DEADLINE)
            .with_connection_config(|connection| {
                connection.tcp.nodelay = Some(true);
                connection.max_command_attempts = 1; // a script that may have run is not sent again
                connection.max_command_buffer_len = COMMANDS_MAX;
            })
            .set_policy(ReconnectPolicy::new_exponential(0, REDIS_REST_MS.0, REDIS_REST_MS.1, 2))
            .build()?;
        redis.init().await?;
        let reserve = Script::from_lua(RESERVE);
        reserve.load(&redis).await?;
        let kafka = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", LINGER_MS)
            .set("message.timeout.ms", PUBLISH_DEADLINE_MS)
            .create()?;
        let (removals, removed) = channel(REMOVALS_MAX);
        let sales = Sales::default();
        let shop = Arc::new(Shop { redis, sales, reserve, kafka, topic: topic.to_owned(), removals });
        tokio::spawn(clear_outbox(shop.redis.clone(), removed));
        Ok(shop)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderBody {
    product_id: String,
    user_id: String,
    #[serde(default = "one")]
    quantity: u16,
}

fn one() -> u16 {
    1
}

/// The idempotency key. An extractor of its own, since axum's HeaderMap copies all fields.
pub(crate) struct Key(String);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Key, Response> {
        let field = parts.headers.get("x-idempotency-key").or_else(|| parts.headers.get("idempotency-key"));
        let key = field.and_then(|field| field.to_str().ok()).map(|key| key.trim_matches('"'));
        match key.filter(|key| is_identifier(key)) {
            Some(key) => Ok(Key(key.to_owned())),
            None => Err(answer::error(StatusCode::BAD_REQUEST, "Missing Idempotency Key")),
        }
    }
}

/// `POST /order`: what is refused without asking anybody; the rest outlives its connection.
pub(crate) async fn post(
    State(shop): State<Arc<Shop>>,
    Key(key): Key,
    body: Result<Json<OrderBody>, JsonRejection>,
) -> Response {
    let body = match body {
        Ok(Json(body)) => body,
        Err(rejection) => return answer::rejected(&rejection),
    };
    let in_range = (1..=QUANTITY_MAX).contains(&body.quantity);
    if !is_identifier(&body.product_id) || !is_identifier(&body.user_id) || !in_range {
        return answer::error(StatusCode::BAD_REQUEST, "productId, userId or quantity out of range");
    }
    let Some(sale) = shop.sales.get(&body.product_id) else { return answer::unknown_product() };
    if !sale.admits() {
        return answer::redirect(format!("{WAITING_ROOM}{}", sale.product));
    }
    // A buyer who hangs up drops this future, and must not cancel what is reserved for them.
    let record = format!("{}:{key}", body.user_id);
    let order = Order { id: Uuid::new_v4().hyphenated(), body, timestamp: now_ms() };
    tokio::spawn(place(shop, sale, order, record)).await.unwrap_or_else(|_| answer::unknown_outcome())
}

struct Order {
    id: Hyphenated,
    body: OrderBody,
    /// When it came, milliseconds since the Unix epoch.
    timestamp: u64,
}

/// Takes the units, publishes the order, and says what became of it.
async fn place(shop: Arc<Shop>, sale: Arc<Sale>, order: Order, record: String) -> Response {
    let id = order.id.to_string();
    let quantity = order.body.quantity.to_string();
    let line = format!("{id} {quantity} {} {}", order.body.user_id, order.timestamp);
    let keys = vec![sale.stock_key.clone(), sale.outbox_key.clone(), sale.records_key()];
    let arguments = vec![id.clone(), quantity, record, line];
    let reply: Result<String, _> = shop.reserve.evalsha_with_reload(&shop.redis, keys, arguments).await;
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::IO | ErrorKind::Canceled) => {
            return answer::unknown_outcome();
        }
        Err(_) => return answer::unavailable(),
    };
    let Some((code, rest)) = reply.split_at_checked(1) else { return answer::unknown_outcome() };
    match code {
        "+" => publish(&shop, sale, &order, &id, rest).await,
        "R" => answer::accepted(rest, true),
        "P" => answer::pending(rest, true),
        "K" => answer::key_reused(),
        "0" => answer::sold_out(),
        "I" => answer::insufficient(rest),
        _ => answer::unknown_product(),
    }
}

/// Puts a reserved order into the topic, and answers when Kafka has it.
async fn publish(shop: &Shop, sale: Arc<Sale>, order: &Order, id: &str, entry: &str) -> Response {
    let value = record(&sale, order, id);
    let Ok(delivery) = shop.kafka.send_result(FutureRecord::<(), _>::to(&shop.topic).payload(&value)) else {
        return answer::pending(id, false);
    };
    if !matches!(delivery.await, Ok(Ok(_))) {
        return answer::pending(id, false);
    }
    let removal = Removal { sale, entry: entry.to_owned() };
    if shop.removals.send(removal).await.is_err() {
        eprintln!("peer-axum: nobody clears the outbox, {entry} stays");
    }
    answer::accepted(id, false)
}

/// The topic's record, with the members that the edge writes. Nothing in it needs escaping.
fn record(sale: &Sale, order: &Order, id: &str) -> String {
    format!(
        r#"{{"orderId":"{id}","reservationId":"{id}","productId":"{}","userId":"{}","quantity":{},"saleId":{},"saleTotal":{},"generation":1,"timestamp":{}}}"#,
        sale.product, order.body.user_id, order.body.quantity, sale.id, sale.total, order.timestamp
    )
}

/// Deletes acknowledged entries, as many at once as there are.
async fn clear_outbox(redis: Client, mut removals: Receiver<Removal>) {
    let mut gathered = Vec::with_capacity(REMOVAL_ENTRIES_MAX);
    while removals.recv_many(&mut gathered, REMOVAL_ENTRIES_MAX).await > 0 {
        let mut by_outbox: HashMap<&str, Vec<&str>> = HashMap::new();
        for Removal { sale, entry } in &gathered {
            by_outbox.entry(&sale.outbox_key).or_default().push(entry);
        }
        for (outbox_key, entries) in by_outbox {
            let count = entries.len();
            if let Err(error) = redis.xdel::<(), _, _>(outbox_key, entries).await {
                eprintln!("peer-axum: {count} entries stay in {outbox_key}: {error}");
            }
        }
        gathered.clear();
    }
}

/// Whether it is 1 to 64 of `A-Z a-z 0-9 . _ : -`.
pub(crate) fn is_identifier(text: &str) -> bool {
    (1..=IDENTIFIER_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}
