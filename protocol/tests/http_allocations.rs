//! A normal request costs no allocation: read, its body understood, its answer written.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use flux_protocol::http::response::{JSON, Template, write};
use flux_protocol::http::{Date, Limits, Persistence, Read, Reader, order_body};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn an_order_allocates_nothing() {
    let body = br#"{"productId":"iphone-15","userId":"user-42","quantity":1}"#;
    let plain = format!(
        "POST /order HTTP/1.1\r\nHost: shop\r\nX-Idempotency-Key: k\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        body.escape_ascii().to_string().replace("\\\"", "\"")
    );
    let chunked = format!(
        "POST /order HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        body.len(),
        body.escape_ascii().to_string().replace("\\\"", "\"")
    );
    let (mut reader, date) = (Reader::new(Limits::DEFAULT), Date::new(0));
    let accepted = Template::with_gap(200, &[JSON], b"{\"orderId\":\"", 4, b"\"}");
    let mut out = Vec::with_capacity(1024);
    for request in [plain, chunked] {
        let mut bytes = request.into_bytes();
        let head = bytes.len() - 20;
        let before = ALLOCATIONS.get();
        assert!(matches!(reader.read(&mut bytes[..head]), Read::Incomplete));
        let Read::Request(request, _) = reader.read(&mut bytes) else { panic!("not a request") };
        let order = order_body::parse(request.body).expect("an order");
        accepted.write(&mut out, &date, request.connection(), request.head_only(), b"abcd");
        write(&mut out, 409, &date, &[JSON], order.product_id.as_bytes(), Persistence::KeepAlive, false);
        assert_eq!(ALLOCATIONS.get(), before);
    }
    // The count counts.
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}
