//! The token bucket: never more than rate·t + burst by Redis' own clock, and no token lost.

use crate::sale::{Options, PLAIN, Sale, order};
use crate::server::{Server, text};

#[test]
fn over_any_span_no_more_is_granted_than_rate_and_burst_allow() {
    let server = Server::start();
    let mut cores: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for (rate, burst) in [(1000, 20), (20_000, 20_000), (50, 50), (3, 7), (1_000_000, 20_000)] {
        let total = 1_000_000_000;
        let sale = Sale::open(&mut cores[0], "p", &Options { total, rate, burst, force: true, ..PLAIN });
        let opened_us: u64 = {
            let opened = text(cores[0].command(&["HGET", &sale.key("sale"), "opened_at"]));
            opened.parse::<u64>().expect("milliseconds") * 1000
        };
        // Each grant with the clock before and after it; 32 bits of a fixed sequence choose who wants how much.
        let mut grants: Vec<(u64, u64, u64)> = Vec::new();
        let mut state = 0x9e37_79b9_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        let life = std::cmp::min(200_000, burst * 1_000_000 / (2 * rate));
        for _ in 0..600 {
            let core = &mut cores[random(8) as usize];
            let before = core.time_us();
            let wanted = u64::from(1 + random(if burst > 100 { 5000 } else { 4 }));
            let (granted, lives, due, state) = sale.lease(core, wanted, u64::MAX >> 12);
            let after = core.time_us();
            assert_eq!((lives, state.as_str()), (life, "O"));
            let granted = u64::try_from(granted).expect("never suspended");
            assert!(granted <= wanted);
            assert!(due <= 1_000_000u64.div_ceil(rate));
            assert!(granted == wanted || due > 0, "short of what was wanted: the bucket is empty");
            grants.push((before, after, granted));
        }
        // In millionths of a token. A lease may be used to the end of its life, so orders admitted in a span of t come
        // from leases granted in t + life.
        let capacity = burst * 1_000_000 - rate * life;
        for (first, (begin, ..)) in grants.iter().enumerate() {
            let mut sum = 0;
            for (_, end, granted) in &grants[first..] {
                sum += granted * 1_000_000;
                let admitted_max = capacity + rate * (end - begin);
                assert!(sum <= admitted_max, "{sum} of {admitted_max} at {rate}/s, burst {burst}");
            }
        }
        // And nothing is lost: asking for everything at last leaves less than one token behind.
        let (granted, _, due, _) = sale.lease(&mut cores[0], burst, 200_000);
        let sum: u64 = grants.iter().map(|(.., granted)| granted).sum::<u64>() + granted as u64;
        assert!(due > 0, "empty");
        assert!(sum * 1_000_000 <= capacity + rate * (cores[0].time_us() - opened_us));
        assert!(sum * 1_000_000 >= capacity.saturating_sub(1_000_000), "at least what it was filled with");
    }
}

#[test]
fn init_fills_the_bucket_up_to_what_leases_do_not_carry() {
    let server = Server::start();
    let mut client = server.connect();
    // rate 1: a token a second, so none is added while the test runs its few calls.
    let sale = Sale::open(&mut client, "p", &Options { rate: 1, burst: 100, ..PLAIN });
    let (granted, life, due, _) = sale.lease(&mut client, 1000, 50_000);
    assert_eq!((granted, life), (99, 50_000), "burst - rate x 200 ms, whole tokens; the life as the caller wants it");
    assert!((1..=200_000).contains(&due), "eight tenths of a token are there: {due}");
    let (granted, ..) = sale.lease(&mut client, 1000, 50_000);
    assert!(granted <= 1);
}

#[test]
fn rate_zero_grants_everything_and_other_states_are_named() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { total: 1, ..PLAIN });
    assert_eq!(sale.lease(&mut client, 77, 1_000_000), (77, 200_000, 0, "O".into()));
    sale.reserve(&mut client, &[order("r1", 1, "o1", "u")]);
    assert_eq!(sale.lease(&mut client, 77, 200_000), (77, 200_000, 0, "0".into()));
    sale.close(&mut client);
    assert_eq!(sale.lease(&mut client, 77, 200_000), (77, 200_000, 0, "C".into()));
    let later = client.time_us() / 1000 + 3_600_000;
    let sale = Sale::open(&mut client, "p", &Options { opens_at: later, ..PLAIN });
    assert_eq!(sale.lease(&mut client, 77, 200_000), (77, 200_000, 0, "N".into()));
    assert_eq!(sale.refresh(&mut client, true).state(), ("scheduled", ""));
}

#[test]
fn a_clock_that_was_set_back_gives_no_token_and_goes_on_from_there() {
    let server = Server::start();
    let mut client = server.connect();
    let sale = Sale::open(&mut client, "p", &Options { rate: 1, burst: 10, ..PLAIN });
    assert_eq!(sale.lease(&mut client, 100, 200_000).0, 9);
    let future = (client.time_us() + 3_600_000_000).to_string();
    client.command(&["HSET", &sale.key("rate"), "at", &future, "tokens", "0"]);
    let (granted, _, due, _) = sale.lease(&mut client, 100, 200_000);
    assert_eq!((granted, due), (0, 1_000_000));
    let at: u64 = text(client.command(&["HGET", &sale.key("rate"), "at"])).parse().expect("a number");
    assert!(at <= client.time_us());
    // A jump ahead fills the bucket and no more.
    client.command(&["HSET", &sale.key("rate"), "at", "1"]);
    assert_eq!(sale.lease(&mut client, 100, 200_000).0, 9);
}
