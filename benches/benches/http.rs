//! `POST /order` as it comes: its head, beside `httparse` alone, and its body, beside `serde_json`.
//!
//! `httparse` only splits the head; the reader also checks framing, host, target and sizes, and finds the body.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::Criterion;
use flux_benches::{group, run};
use flux_protocol::http::{Limits, Read, Reader, order_body};
use serde::Deserialize;

/// 250 bytes, 8 fields.
const HEAD: &str = "POST /order HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux)\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip,br\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 65\r\n\
    Idempotency-Key: checkout-7f3a9c21\r\n\
    Connection: keep-alive\r\n\r\n";
const BODY: &str = r#"{"productId":"iphone-15-pro","userId":"user-001234","quantity":1}"#;

fn head(criterion: &mut Criterion) {
    let mut request = [HEAD, BODY].concat().into_bytes();
    let mut reader = Reader::new(Limits::default());
    let mut read = move || match reader.read(black_box(&mut request)) {
        Read::Request(request, bytes) => (request.body.len(), request.keep_alive, bytes),
        other => panic!("not a request: {other:?}"),
    };
    assert_eq!((HEAD.len(), read()), (250, (BODY.len(), true, 250 + BODY.len())));

    let mut group = group(criterion, "http/head");
    group.bench_function("flux", |bencher| bencher.iter(&mut read));
    group.bench_function("httparse", |bencher| {
        bencher.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Request::new(&mut fields);
            let status = head.parse(black_box(HEAD.as_bytes()));
            assert_eq!(status, Ok(httparse::Status::Complete(HEAD.len())));
            head.headers.len()
        });
    });
}

/// The body as one would declare it. `Cow`, because an escaped string cannot be borrowed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'b> {
    #[serde(borrow)]
    product_id: Cow<'b, str>,
    #[serde(borrow)]
    user_id: Cow<'b, str>,
    quantity: u16,
}

fn body(criterion: &mut Criterion) {
    let ours = order_body::parse(BODY.as_bytes()).expect("an order");
    let body: Body<'_> = serde_json::from_slice(BODY.as_bytes()).expect("an order");
    assert_eq!((ours.product_id, ours.user_id, ours.quantity), (body.product_id, Some(body.user_id), body.quantity));

    let mut group = group(criterion, "http/order_body");
    group.bench_function("flux", |bencher| bencher.iter(|| order_body::parse(black_box(BODY.as_bytes()))));
    // Another member: the plain scanner gives up at it, and the strict reader over serde_json begins anew.
    let unusual = BODY.replace(",\"quantity\"", ",\"via\":\"app\",\"quantity\"");
    group.bench_function("flux, unknown member", |bencher| {
        bencher.iter(|| order_body::parse(black_box(unusual.as_bytes())));
    });
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Body<'_>>(black_box(BODY.as_bytes())));
    });
}

fn main() {
    run(&[head, body]);
}
