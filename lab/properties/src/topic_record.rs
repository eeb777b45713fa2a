//! What the topic and an outbox carry: an order survives being written and read, and what is read is within its bounds.

use flux_protocol::order::{
    GENERATION_MAX, Identifier, OwnedRecord, QUANTITY_MAX, Record, SALE_ID_END, SALE_TOTAL_MAX, TopicRecord, Uuid,
};
use flux_protocol::outbox_entry::{EntryHead, EntryId, EntryOrder};

use crate::allocation;

/// A record's value; or an entry's head and lines, whose first line is the head.
pub fn check(bytes: &[u8]) {
    let held_max = 4096 + 64 * bytes.len();
    if let Ok(record) = allocation::within(held_max, "a record", || TopicRecord::parse(bytes)) {
        match record {
            TopicRecord::Order(order) => assert_order(&order),
            TopicRecord::SaleOpened(sale) | TopicRecord::SaleClosed(sale) => {
                let text = serde_json::to_vec(&sale).expect("JSON");
                let again = TopicRecord::parse(&text).expect("written by us");
                assert!(matches!(again, TopicRecord::SaleOpened(its) | TopicRecord::SaleClosed(its) if its == sale));
            }
        }
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (head, lines) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    if let Some(id) = EntryId::parse(head) {
        assert_eq!(EntryId::parse(id.to_string().as_bytes()), Some(id));
    }
    if let Some(head) = EntryHead::parse(head)
        && let Some(orders) = allocation::within(held_max, "an entry", || head.orders(lines))
    {
        assert!(orders.len() == head.orders as usize && head.partition >= 0);
        orders.iter().for_each(|order| assert_entry(&head, order));
    }
}

fn assert_order(order: &OwnedRecord) {
    assert!((1..=QUANTITY_MAX).contains(&order.quantity) && (1..=SALE_TOTAL_MAX).contains(&order.sale_total));
    assert!((1..SALE_ID_END).contains(&order.sale_id) && order.generation <= GENERATION_MAX);
    let record = Record {
        order_id: order.order_id,
        reservation_id: order.reservation_id,
        product_id: &order.product_id,
        user_id: &order.user_id,
        quantity: order.quantity,
        sale_id: order.sale_id,
        sale_total: order.sale_total,
        generation: order.generation,
        timestamp: order.timestamp,
    };
    let mut text = Vec::new();
    record.write_json(&mut text);
    assert_eq!(TopicRecord::parse(&text), Ok(TopicRecord::Order(order.clone())));
}

fn assert_entry(head: &EntryHead, order: &EntryOrder) {
    assert!(Identifier::new(order.user.as_bytes()) == Some(order.user) && (1..=QUANTITY_MAX).contains(&order.quantity));
    assert_eq!(Uuid::parse(&order.order_id.text()), Some(order.order_id));
    let line =
        format!("{} {} {} {} {}", order.reservation_id, order.quantity, order.order_id, order.user, order.timestamp_ms);
    assert_eq!(EntryOrder::parse(line.as_bytes()), Some(*order));
    let record = order.record(head, "p");
    assert_eq!((record.order_id, record.user_id), (order.order_id, order.user.as_str()));
}
