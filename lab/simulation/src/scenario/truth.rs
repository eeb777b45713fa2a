//! What the fake servers hold at the end, as the checker of real runs wants it.

use std::collections::BTreeMap;

use flux_lab::truth::{
    DeadLetter, EarlierSale, LedgerSale, OutboxOrder, RedisSale, RejectedOrder, ReturnedUnits, StoredOrder, TopicOrder,
    Truth,
};
use flux_protocol::order::{TopicRecord, Uuid};

use super::run::Run;
use crate::kafka::Kafka;
use crate::postgres::Postgres;
use crate::redis::Redis;

/// Whether the ledger has stored everything that the topic holds.
pub(super) fn is_stored(kafka: &Kafka, postgres: &Postgres) -> bool {
    let topic_id = Uuid(kafka.topic_id().to_be_bytes());
    let stored: BTreeMap<i32, i64> =
        postgres.offsets().filter(|row| row.topic_id == topic_id).map(|row| (row.partition, row.next_offset)).collect();
    kafka.ends().iter().zip(0..).all(|(end, partition)| *end == 0 || stored.get(&partition) == Some(end))
}

pub(super) fn read(run: &Run) -> Truth {
    let mut truth = Truth::default();
    for sale in &run.shape.sales {
        read_redis(&run.redis.borrow(), &sale.product, &mut truth);
    }
    read_topic(&run.kafka.borrow(), &mut truth);
    read_ledger(&run.postgres.borrow(), &mut truth);
    truth
}

fn read_redis(redis: &Redis, product: &str, truth: &mut Truth) {
    let sold = redis.past(product).iter().filter(|stood| stood.left.is_some());
    truth.sold.extend(sold.map(|stood| (product.to_owned(), stood.sale_id)));
    let Some(fields) = redis.sale(product) else { return };
    let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let returned = redis.returned(product).unwrap_or_default();
    let mut sale = RedisSale {
        sale_id: number("id"),
        generation: number("gen"),
        total: number("total"),
        state: fields.get("state").cloned().unwrap_or_default(),
        stock: redis.stock(product),
        withdrawn: number("withdrawn"),
        outbox: Vec::new(),
        returned: returned.iter().filter_map(|text| uuid(text)).collect(),
    };
    for entry in redis.outbox(product).expect("only the scripts write there") {
        sale.outbox.extend(entry.orders.iter().filter_map(|order| {
            Some(OutboxOrder {
                sale_id: entry.sale_id,
                reservation_id: uuid(&order.reservation_id)?,
                order_id: uuid(&order.order_id)?,
                quantity: order.quantity,
            })
        }));
    }
    for (sale_id, text) in redis.sales(product).unwrap_or_default() {
        let (Ok(sale_id), Ok(json)) = (sale_id.parse(), serde_json::from_str::<serde_json::Value>(&text)) else {
            continue; // The mark.
        };
        let number = |name: &str| json[name].as_u64().unwrap_or(0);
        let earlier =
            EarlierSale { total: number("total"), withdrawn: number("withdrawn"), generation: number("generation") };
        truth.earlier.insert((product.to_owned(), sale_id), earlier);
    }
    truth.redis.insert(product.to_owned(), sale);
}

fn read_topic(kafka: &Kafka, truth: &mut Truth) {
    for (partition, offset, value) in kafka.records() {
        match TopicRecord::parse(&value) {
            Ok(TopicRecord::Order(record)) => truth.topic.push(TopicOrder { partition, offset, record }),
            Ok(TopicRecord::SaleOpened(sale)) => {
                truth.opened.insert((sale.product_id, sale.sale_id), sale.sale_total);
            }
            Ok(TopicRecord::SaleClosed(_)) => {}
            Err(_) => truth.poison += 1,
        }
    }
}

/// Units that one user may take, of each sale whose event is in the topic; 0: no limit.
pub(super) fn limits_per_user(kafka: &Kafka) -> BTreeMap<(String, u64), u64> {
    let mut limits = BTreeMap::new();
    for (_, _, value) in kafka.records() {
        if let Ok(TopicRecord::SaleOpened(sale)) = TopicRecord::parse(&value) {
            limits.insert((sale.product_id, sale.sale_id), u64::from(sale.per_user));
        }
    }
    limits
}

fn read_ledger(postgres: &Postgres, truth: &mut Truth) {
    for row in postgres.products() {
        truth.products.insert(row.id.clone(), (row.stock, row.sale_id as u64));
    }
    for row in postgres.sales() {
        let sale = LedgerSale {
            total: row.total as u64,
            sold: row.sold as u64,
            withdrawn: row.withdrawn as u64,
            state: if row.is_closed { "closed" } else { "open" }.to_owned(),
            generation: row.generation as u64,
            is_announced: row.rate.is_some(),
        };
        truth.sales.insert((row.product_id.clone(), row.sale_id as u64), sale);
    }
    truth.orders.extend(postgres.orders().map(|row| StoredOrder {
        order_id: row.id,
        product: row.product_id.clone(),
        user: row.user_id.clone(),
        quantity: row.quantity as u64,
        sale_id: row.sale_id as u64,
        reservation_id: row.reservation_id,
    }));
    truth.rejected.extend(postgres.rejected().map(|row| RejectedOrder {
        order_id: row.order_id,
        reservation_id: row.reservation_id,
        reason: row.reason.clone(),
        product: row.product_id.clone(),
        sale_id: row.sale_id as u64,
        quantity: row.quantity as u64,
    }));
    truth.returns.extend(postgres.returns().map(|row| ReturnedUnits {
        reservation_id: row.reservation_id,
        product: row.product_id.clone(),
        sale_id: row.sale_id as u64,
        quantity: row.quantity as u64,
        state: row.state.clone(),
    }));
    truth.dead_letters.extend(postgres.dead_letters().map(|row| DeadLetter {
        partition: row.partition,
        offset: row.kafka_offset,
        units: match (&row.product_id, row.sale_id, row.quantity) {
            (Some(product), Some(sale), Some(quantity)) => Some((product.clone(), sale as u64, quantity as u64)),
            _ => None,
        },
    }));
}

fn uuid(text: &str) -> Option<Uuid> {
    Uuid::parse(text.as_bytes())
}
