//! Bytes in any pieces, time, and what nobody should have asked.

use std::time::Duration;

use super::{Bench, wire};

#[test]
fn requests_cut_at_every_byte_get_the_replies_of_whole_ones() {
    let lines = ["SET k v", "GET k", "XADD s 1-1 f v", "XRANGE s - +", "MULTI", "INCRBY n 2", "EXEC", "GET none"];
    let whole: Vec<u8> = lines.iter().flat_map(|line| wire(line)).collect();
    let replies = |pieces: &[&[u8]]| {
        let mut bench = Bench::new();
        let socket = bench.connect();
        pieces.iter().for_each(|piece| bench.send(socket, piece));
        bench.received(socket)
    };
    let expected = replies(&[&whole]);
    assert_eq!(
        expected,
        "+OK\r\n$1\r\nv\r\n$3\r\n1-1\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n\
         +OK\r\n+QUEUED\r\n*1\r\n:2\r\n$-1\r\n"
    );
    for cut in 1..whole.len() {
        assert_eq!(replies(&[&whole[..cut], &whole[cut..]]), expected, "cut at {cut}");
    }
}

#[test]
fn what_is_no_request_ends_the_connection_behind_an_error() {
    for nonsense in ["GET k\r\n", "*1\r\n:1\r\n", "*x\r\n", "*1\r\n$-5\r\n", "*1\r\n$1x\r\n"] {
        let mut bench = Bench::new();
        let socket = bench.connect();
        bench.send(socket, &[wire("PING"), nonsense.into(), wire("PING")].concat());
        let received = bench.received(socket);
        assert!(received.starts_with("+PONG\r\n-ERR Protocol error: "), "{nonsense:?}: {received}");
        assert_eq!(received.lines().count(), 2, "nothing behind it is read");
        assert_eq!(bench.closed(), [socket]);
        assert_eq!(bench.redis.unknown().len(), 1);
    }
}

#[test]
fn a_password_is_asked_for_before_anything_else() {
    let mut bench = Bench::new();
    bench.redis.require_password("secret");
    let socket = bench.connect();
    assert_eq!(bench.ask_over(socket, "GET k"), "-NOAUTH Authentication required.\r\n");
    assert!(bench.ask_over(socket, "AUTH wrong").starts_with("-WRONGPASS"));
    assert!(bench.ask_over(socket, "AUTH nobody secret").starts_with("-WRONGPASS"));
    assert_eq!(bench.ask_over(socket, "GET k"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(bench.ask_over(socket, "AUTH default secret"), "+OK\r\n");
    assert_eq!(bench.ask_over(socket, "GET k"), "$-1\r\n");
    assert_eq!(bench.ask("GET k"), "-NOAUTH Authentication required.\r\n", "each connection logs in");
}

#[test]
fn what_is_not_known_is_answered_with_an_error_and_kept() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask("LPUSH l x"), "-ERR unknown command 'LPUSH', with args beginning with: 'l' 'x' \r\n");
    assert!(bench.ask("XADD s MAXLEN 5 * f v").starts_with("-ERR the fake Redis cannot do this"));
    assert!(bench.ask("EVAL return_redis.pcall('LPUSH','l','x').err 0").contains("Unknown Redis command"));
    assert_eq!(bench.redis.unknown().len(), 3, "{:?}", bench.redis.unknown());
    bench.ask("GET");
    assert_eq!(bench.redis.unknown().len(), 3, "a wrong use of a known command is the caller's matter");
}

#[test]
fn a_key_lives_until_its_millisecond_has_passed() {
    let mut bench = Bench::new();
    bench.ask("SET k v PX 100");
    bench.ask("SET long v EX 10");
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.ask("PTTL k"), ":0\r\n");
    assert_eq!(bench.ask("GET k"), "$1\r\nv\r\n");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.ask("GET k"), "$-1\r\n");
    assert_eq!(bench.ask("PTTL k"), ":-2\r\n");
    assert_eq!(bench.ask("PTTL long"), ":9899\r\n");
    bench.ask("SET long v KEEPTTL");
    assert_eq!(bench.ask("TTL long"), ":10\r\n");
    bench.ask("SET long v");
    assert_eq!(bench.ask("TTL long"), ":-1\r\n", "a plain SET takes the end away");
}

#[test]
fn a_clock_that_jumps_ahead_lets_keys_expire_and_ids_never_go_back() {
    let mut bench = Bench::new();
    bench.ask("SET k v EX 60");
    let first = bench.ask("XADD s * f v");
    assert_eq!(first, "$15\r\n1700000000000-0\r\n");
    bench.redis.set_clock_offset_ms(3_600_000);
    assert_eq!(bench.ask("GET k"), "$-1\r\n");
    assert_eq!(bench.ask("XADD s * f v"), "$15\r\n1700003600000-0\r\n");
    bench.redis.set_clock_offset_ms(-3_600_000);
    assert_eq!(bench.ask("XADD s * f v"), "$15\r\n1700003600000-1\r\n");
    assert_eq!(bench.ask("GET k"), "$-1\r\n", "what has expired stays gone");
    assert!(bench.ask("TIME").contains("\r\n1699996400\r\n"));
}

#[test]
fn one_seed_gives_the_same_bytes() {
    let bytes = || {
        let mut bench = Bench::new();
        let mut all = bench.ask("INFO all");
        bench.redis.restart_empty();
        all += &bench.ask("INFO all");
        all
    };
    assert_eq!(bytes(), bytes());
}
