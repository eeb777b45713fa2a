//! What one reserve call costs in the fake Redis: `cargo run --example redis_reserve_cost`. Wall time of this machine; only
//! its order of magnitude means anything.

use bytes::BytesMut;
use flux_protocol::resp::Script;
use flux_protocol::time::{Instant, Now};
use flux_simulation::peer::{Peer, SocketId};
use flux_simulation::random::Random;
use flux_simulation::redis::Redis;

const TRUST: &str = include_str!("../../../edge/lua/trust.lua");
const RIGHTS: &str = include_str!("../../../edge/lua/rights.lua");
const PHASE: &str = include_str!("../../../edge/lua/sale_phase.lua");
const OUTBOX: &str = include_str!("../../../edge/lua/outbox.lua");
/// As many as a run makes; beyond that the data outgrows the processor's caches.
const CALLS: u64 = 2_000;
const ORDERS: u64 = 8;
const SOCKET: SocketId = SocketId(1);

fn ask(redis: &mut Redis, now: Now, wire: &[u8]) -> String {
    redis.handle_bytes(now, SOCKET, &mut BytesMut::from(wire));
    let mut reply = String::new();
    while let Some((_, bytes)) = redis.poll_write() {
        reply += &String::from_utf8_lossy(&bytes);
    }
    reply
}

fn main() {
    let now_at = |call: u64| Now { instant: Instant::from_micros(call * 1000), wall_ms: 1_700_000_000_000 + call };
    let mut redis = Redis::new(6379, Random::new(1));
    redis.handle_open(now_at(0), SOCKET, 6379);
    let names = ["stock", "sale", "outbox", "claims", "users", "returned", "rate", "sales"];
    let keys = names.map(|name| format!("product:{{p}}:{name}"));
    let init = Script::new(include_str!("../../../edge/lua/init.lua"), &[TRUST, RIGHTS]);
    let reserve = Script::new(include_str!("../../../edge/lua/reserve.lua"), &[TRUST, PHASE, OUTBOX]);
    let mut wire = Vec::new();
    init.write_load(&mut wire);
    reserve.write_load(&mut wire);
    let all: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    init.write_call_with(&mut wire, &all, &[b"1000000000", b"0", b"100", b"0", b"", b"5e"]);
    let opened = ask(&mut redis, now_at(0), &wire);
    assert!(opened.contains("1700000000000"), "{opened}");

    let mut spent = std::time::Duration::ZERO;
    for call in 0..CALLS {
        let call_keys: Vec<&[u8]> = all[..6].iter().copied().chain([&b"idempotency:{p}:1700000000000"[..]]).collect();
        let mut arguments: Vec<String> =
            ["1", "1000000000", "8", "1700000000000", "1", "3", "1"].map(str::to_owned).to_vec();
        for n in 0..ORDERS {
            let order = call * ORDERS + n;
            arguments.push(format!("reservation-{order} 1 "));
            let end = if n + 1 < ORDERS { "\n" } else { "" };
            arguments.extend([format!("order-{order}"), format!(" user 1700000000000{end}")]);
        }
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let mut wire = Vec::new();
        reserve.write_call_with(&mut wire, &call_keys, &arguments);
        let begun = std::time::Instant::now();
        let reply = ask(&mut redis, now_at(call), &wire);
        spent += begun.elapsed();
        assert!(reply.contains("\r\nA17"), "{reply}");
    }
    let micros = spent.as_secs_f64() * 1e6 / CALLS as f64;
    println!("{micros:.1} µs a reserve call of {ORDERS} orders ({CALLS} calls)");
}
