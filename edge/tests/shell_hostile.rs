//! The shell against clients that mean it ill, over real sockets, on every driver that this kernel offers.

mod shell_support;

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use flux_edge::counters::shell::Ended;
use flux_edge::limits::shell::{CONNECTION_TICK, IDLE_TIME_MIN};
use flux_edge::shell::front::Front;
use flux_edge::throttle::Throttle;
use flux_net::DriverChoice;
use flux_protocol::front::Networks;
use shell_support::{Client, Response, STALL, drivers, edge, edge_with, get, word};

/// How long the edge may take before a test gives up: far beyond the bounds that it waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test that has to wait for the edge's own bounds on all drivers at the same time.
fn on_each_driver(test: fn(DriverChoice)) {
    let threads: Vec<_> = drivers().into_iter().map(|driver| thread::spawn(move || test(driver))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("it holds on each driver"));
}

#[test]
fn a_client_that_takes_no_answer_is_ended_whatever_it_is_owed() {
    on_each_driver(|driver| {
        let edge = edge(driver, 100, false);
        let counters = &edge.counters().shell;
        let mut monitor = Client::connect(edge.admin);
        // One owes the rest of a head, and is owed a 408. One is about to ask for 10 MB.
        let mut slow = Client::connect(edge.listen);
        let mut asks = Client::connect(edge.listen);
        slow.send(b"G");
        asks.send(b"G");
        while counters.connections.get() < 3 {
            assert_eq!(monitor.get("/livez").status, 200);
        }
        let slow_end = slow.server_end();
        asks.send(&get("/large").repeat(100).as_bytes()[1..]);
        let begun = Instant::now();
        while counters.connections.get() > 1 {
            assert!(begun.elapsed() < PATIENCE, "a client is never ended, on {driver}");
            // What has gone on to the client meanwhile made room.
            slow_end.fill_send_queue();
            assert_eq!(monitor.get("/livez").status, 200);
            thread::sleep(CONNECTION_TICK);
        }
        assert_eq!([Ended::Head, Ended::Write].map(|why| counters.ended[why as usize].get()), [1, 1], "on {driver}");
        drop(monitor);
        edge.drain();
        assert!(edge.wait());
    });
}

#[test]
fn a_crowd_that_comes_at_once_gets_no_more_places_than_there_are() {
    for driver in drivers() {
        let edge = edge(driver, 40, false);
        let mut stalls = Client::connect(edge.listen);
        let stall = STALL.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.send(get("/stall/1").as_bytes());
        let mut crowd: Vec<Client> = (0..200)
            .map(|_| {
                let mut client = Client::connect(edge.listen);
                client.send(get("/now/in").as_bytes());
                client
            })
            .collect();
        drop(stall);
        let answers: Vec<Response> = crowd.iter_mut().map(Client::response).collect();
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        let refused = answers.iter().filter(|answer| answer.status == 503 && answer.closes()).count();
        // Ten of the forty places are the operator's, and one has been taken before.
        assert_eq!((served, refused), (29, 171), "on {driver}");
        assert_eq!(edge.counters().shell.connections_refused.get(), 171);
        assert_eq!(Client::connect(edge.admin).get("/livez").status, 200);
    }
}

#[test]
fn a_newcomer_to_a_full_core_gets_the_place_of_who_has_been_idle_for_longest() {
    on_each_driver(|driver| {
        // Thirty places are a crowd's, the last three of them while others are freed.
        let edge = edge(driver, 40, true);
        let counters = &edge.counters().shell;
        let mut asks = Client::connect(edge.listen);
        asks.send(get("/hold").as_bytes());
        let come = |clients: usize| -> Vec<Client> {
            let come = (0..clients).map(|_| {
                let mut client = Client::connect(edge.listen);
                assert_eq!(client.get("/now/in").status, 200, "on {driver}");
                client
            });
            come.collect()
        };
        let mut first = come(20);
        // Which of two has been idle for longer is told apart by ticks.
        thread::sleep(2 * CONNECTION_TICK);
        let mut second = come(6);
        // Idle is who has said nothing for a second.
        thread::sleep(IDLE_TIME_MIN + 2 * CONNECTION_TICK);
        assert_eq!(counters.connections.get(), 27);
        let newcomers = come(20);
        assert_eq!(counters.connections_refused.get(), 0);
        assert_eq!(counters.ended[Ended::Displaced as usize].get(), 20);
        first.iter_mut().for_each(|client| assert!(client.ends(), "the longest idle go first"));
        for client in &mut second {
            assert_eq!(client.get("/now/still").status, 200, "the others stay");
        }
        drop((second, newcomers));
        edge.drain();
        let ended = thread::spawn(move || edge.wait());
        assert_eq!(asks.response().body, word("held"), "and so does who is served");
        drop(asks);
        assert!(ended.join().expect("a thread"));
    });
}

#[test]
fn a_connection_of_a_trusted_proxy_is_that_of_the_client_that_its_header_names() {
    let v2 = |last: u8| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend_from_slice(&[203, 0, 113, last, 10, 0, 0, 1, 0, 1, 0, 2]);
        header
    };
    for driver in drivers() {
        let edge = edge_with(1, driver, 100, false, |plan| {
            plan.front = Front {
                trusted: Networks::parse("127.0.0.1").expect("an address"),
                proxy_protocol: true,
                addresses: Some(Arc::new(Throttle::new(1, 2))),
                ..Front::default()
            };
        });
        let ask = |header: &[u8], at_once: bool| {
            let mut client = Client::connect(edge.listen);
            let request = get("/now/x");
            if at_once {
                client.send(&[header, request.as_bytes()].concat());
            } else {
                header.iter().for_each(|byte| client.send(&[*byte]));
                client.send(request.as_bytes());
            }
            client.response()
        };
        let v1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n";
        assert_eq!([ask(v1, true), ask(&v2(7), false)].map(|answer| answer.status), [200, 200], "on {driver}");
        let limited = ask(v1, false);
        assert_eq!(limited.status, 429, "two headers, one client");
        assert!(limited.head.contains("\r\nretry-after: 1\r\n") && !limited.closes(), "{}", limited.head);
        assert!(limited.body.starts_with("{\"status\":\"limited\","), "{}", limited.body);
        assert_eq!(ask(&v2(8), true).status, 200, "another client");
        assert_eq!(edge.counters().shell.requests_limited.get(), 1);
        for wrong in [
            get("/now/x").as_bytes(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcde",
        ] {
            let mut client = Client::connect(edge.listen);
            client.send(wrong);
            assert!(client.ends(), "nothing of it can be believed");
        }
        assert_eq!(Client::connect(edge.admin).get("/livez").status, 200, "the operator speaks plainly");
    }
}

#[test]
fn nobody_but_a_trusted_proxy_may_say_whose_connection_it_is() {
    for driver in drivers() {
        let edge = edge_with(1, driver, 100, false, |plan| {
            let trusted = Networks::parse("10.0.0.0/8").expect("a network");
            plan.front = Front { trusted, proxy_protocol: true, ..Front::default() };
        });
        let mut client = Client::connect(edge.listen);
        client.send((String::from("PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n") + &get("/now/x")).as_bytes());
        assert!(client.ends());
    }
}

/// Who begins a message takes a place, whether it ever becomes a whole one or not.
#[test]
fn half_a_message_counts_to_its_address_and_a_whole_one_once() {
    for driver in drivers() {
        let edge = edge_with(1, driver, 100, false, |plan| {
            plan.front = Front { addresses: Some(Arc::new(Throttle::new(1, 3))), ..Front::default() };
        });
        let begin = |half: &str| {
            let mut client = Client::connect(edge.listen);
            client.send(half.as_bytes());
            client
        };
        let request = get("/now/x");
        let (half, rest) = request.split_at(12);
        let halves = [
            half,
            "POST /now/x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
            "POST /now/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
        ];
        let mut first = begin(half);
        let limited = || edge.counters().shell.requests_limited.get();
        let mut others = Vec::new();
        // The bucket fills by one a second, however slow this machine is.
        while limited() == 0 && others.len() < 90 {
            others.push(begin(halves[others.len() % halves.len()]));
            thread::sleep(Duration::from_millis(20));
        }
        assert!(limited() > 0, "on {driver}");
        first.send(rest.as_bytes());
        assert_eq!(first.response().status, 200, "it was counted when it began");
        // Whoever comes too often is told so, and keeps no place.
        let refused = loop {
            let mut client = begin(half);
            let before = limited();
            thread::sleep(2 * CONNECTION_TICK);
            if limited() > before {
                break client.response();
            }
            others.push(client);
            assert!(others.len() < 190, "on {driver}");
        };
        assert_eq!(refused.status, 429);
        assert!(refused.closes(), "{}", refused.head);
    }
}

/// Where each turn is long, for there are bursts to be answered, those who come new must not wait for many of them.
#[test]
fn a_crowd_that_came_during_a_long_turn_is_let_in_within_a_few() {
    const CROWD: usize = 128;
    for driver in drivers() {
        let edge = edge(driver, 200, false);
        let mut stalls = Client::connect(edge.listen);
        let stall = STALL.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.send(get("/stall/1").as_bytes());
        let mut crowd: Vec<Client> = (0..CROWD)
            .map(|_| {
                let mut client = Client::connect(edge.listen);
                client.send(get("/turns").as_bytes());
                client
            })
            .collect();
        drop(stall);
        let turns: Vec<u64> = crowd
            .iter_mut()
            .map(|client| {
                let body = client.response().body;
                (1..1000).find(|turn| body == word(&turn.to_string())).expect("a number of turns")
            })
            .collect();
        let (first, last) = (turns.iter().min().expect("a crowd"), turns.iter().max().expect("a crowd"));
        assert!(last - first < CROWD as u64 / 8, "from turn {first} to {last} on {driver}");
    }
}

#[test]
fn large_answers_do_not_pile_up_behind_one_that_is_awaited() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let mut client = Client::connect(edge.listen);
        client.send((get("/hold") + &get("/large").repeat(20)).as_bytes());
        let mut monitor = Client::connect(edge.admin);
        let mut asked = 1;
        while monitor.get("/held").body != word("1") {
            asked += 1;
        }
        let read = edge.counters().shell.requests.get();
        assert_eq!(read - asked, 2, "the first large one ends the burst, on {driver}");
    }
}

#[test]
fn a_page_of_the_configured_origin_may_read_why_it_was_refused() {
    let allows = |response: &Response| {
        response.head.contains("access-control-allow-origin: http://localhost:4000\r\n")
            && response.head.contains("vary: origin\r\n")
    };
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000));
    let lengths = "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
    for driver in drivers() {
        // One place, beside the operator's.
        let edge = edge(driver, 2, false);
        for (request, status) in [(lengths, 400), (&long, 414), ("BREW / HTTP/1.1\r\nhost: a\r\n\r\n", 501)] {
            let mut client = Client::connect(edge.listen);
            client.send(request.as_bytes());
            let refused = client.response();
            assert_eq!((refused.status, allows(&refused)), (status, true), "{}", refused.head);
            drop(client);
            while edge.counters().shell.connections.get() > 0 {
                thread::yield_now();
            }
        }
        let mut inside = Client::connect(edge.listen);
        assert!(!allows(&inside.get("/now/in")), "the request names no origin");
        let full = Client::connect(edge.listen).get("/now/out");
        assert_eq!((full.status, allows(&full)), (503, true));
        let mut operator = Client::connect(edge.admin);
        operator.send(lengths.as_bytes());
        let refused = operator.response();
        assert_eq!((refused.status, allows(&refused)), (400, false), "nobody's page speaks with the admin listener");
    }
}
