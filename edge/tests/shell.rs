//! The shell around a scripted machine, over real sockets, on every driver that this kernel offers.

mod shell_support;

use std::time::{Duration, Instant};

use flux_edge::counters::shell::Ended;
use shell_support::{Client, drivers, edge, edge_of, edge_with, get, word};

#[test]
fn a_connection_is_kept_and_each_answer_comes_in_its_turn() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let mut client = Client::connect(edge.listen);
        for path in ["now", "later", "redis", "kafka", "now"] {
            for round in 0..3 {
                let response = client.get(&format!("/{path}/{round}"));
                assert_eq!((response.status, response.body), (200, word(&round.to_string())), "{path} on {driver}");
            }
        }
        edge.drain();
        assert!(edge.wait());
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order_whatever_each_waits_for() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let paths: Vec<String> = (0..300)
            .map(|index| format!("/{}/{index}", ["kafka", "now", "later", "redis", "now"][index % 5]))
            .collect();
        let mut client = Client::connect(edge.listen);
        let requests: String = paths.iter().map(|path| get(path)).collect();
        client.send(requests.as_bytes());
        for index in 0..paths.len() {
            assert_eq!(client.response().body, word(&index.to_string()), "on {driver}");
        }
        assert_eq!(edge.counters().shell.requests.get(), 300);
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_a_large_one_in_pieces() {
    for driver in drivers() {
        let edge = edge(driver, 100, false);
        let mut client = Client::connect(edge.listen);
        for byte in get("/now/slow").as_bytes() {
            client.send(&[*byte]);
        }
        assert_eq!(client.response().body, word("slow"));
        let field = format!("x-padding: {}\r\n", "p".repeat(3000));
        let body = "b".repeat(4096);
        let head = format!("POST /body HTTP/1.1\r\nhost: test\r\n{field}content-length: 4096\r\n\r\n");
        for piece in [&head[..100], &head[100..], &body[..1], &body[1..]] {
            client.send(piece.as_bytes());
        }
        assert_eq!(client.response().body, word(&body));
        assert_eq!(client.get("/now/after").body, word("after"), "the connection goes on");
    }
}

#[test]
fn a_hundred_clients_get_their_own_answers() {
    for driver in drivers() {
        let edge = edge(driver, 200, true);
        let listen = edge.listen;
        let threads: Vec<_> = (0..100)
            .map(|number| {
                std::thread::spawn(move || {
                    let mut client = Client::connect(listen);
                    for path in ["redis", "kafka", "later"] {
                        let own = format!("{number}-{path}");
                        assert_eq!(client.get(&format!("/{path}/{own}")).body, word(&own));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("its own answers"));
    }
}

#[test]
fn a_half_closed_client_gets_its_answers_and_then_the_end() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let mut client = Client::connect(edge.listen);
        client.send((get("/redis/a") + &get("/later/b")).as_bytes());
        client.shutdown_write();
        assert_eq!(client.response().body, word("a"));
        assert_eq!(client.response().body, word("b"));
        assert!(client.ends());
    }
}

#[test]
fn a_client_that_hangs_up_leaves_the_others_alone() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let mut stays = Client::connect(edge.listen);
        for round in 0..50 {
            let mut leaves = Client::connect(edge.listen);
            leaves.send((get("/redis/gone") + &get("/later/gone")).as_bytes());
            drop(leaves);
            let own = format!("stays-{round}");
            assert_eq!(stays.get(&format!("/redis/{own}")).body, word(&own));
        }
    }
}

#[test]
fn an_expected_continue_is_said_once_and_after_the_answers_before_it() {
    for driver in drivers() {
        let edge = edge(driver, 100, false);
        let mut client = Client::connect(edge.listen);
        let head = "POST /body HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.send((get("/later/first") + head).as_bytes());
        assert_eq!(client.response().body, word("first"));
        assert_eq!(client.response().status, 100);
        client.send(b"h");
        client.send(b"i");
        assert_eq!(client.response().body, word("hi"));
    }
}

#[test]
fn a_refused_message_is_answered_in_its_turn_and_ends_the_connection() {
    for driver in drivers() {
        let edge = edge(driver, 100, false);
        let mut client = Client::connect(edge.listen);
        client.send(
            (get("/later/first")
                + "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                + &get("/now/never"))
                .as_bytes(),
        );
        assert_eq!(client.response().body, word("first"));
        let refused = client.response();
        assert_eq!((refused.status, refused.closes()), (400, true));
        assert!(client.ends());
    }
}

#[test]
fn no_answer_to_a_head_request_has_a_body() {
    for driver in drivers() {
        let edge = edge(driver, 8, false);
        for refused in [
            "HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
            "HEAD / HTTP/1.1\r\nhost: a\r\na b: c\r\n\r\n",
            "HEAD /%41 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        ] {
            let mut client = Client::connect(edge.listen);
            client.send(refused.as_bytes());
            assert_eq!(client.head().status, 400, "{refused}");
            assert!(client.ends(), "{refused}");
        }
        // Where there is no place for it (two of the eight are the operator's).
        let mut served: Vec<Client> = (0..6).map(|_| Client::connect(edge.listen)).collect();
        for client in &mut served {
            // Those before may still be on their way out.
            while client.get("/now/in").status != 200 {
                *client = Client::connect(edge.listen);
            }
        }
        let mut client = Client::connect(edge.listen);
        client.send(b"HEAD /now/out HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.head().status, 503);
        assert!(client.ends());
    }
}

#[test]
fn connection_close_and_old_clients_are_served() {
    for driver in drivers() {
        let edge = edge(driver, 100, false);
        let mut client = Client::connect(edge.listen);
        client.send(b"GET /later/x HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        assert!(client.response().closes());
        assert!(client.ends());
        let mut old = Client::connect(edge.listen);
        old.send(b"GET /now/old HTTP/1.0\r\n\r\n");
        assert_eq!(old.response().body, word("old"));
        assert!(old.ends());
    }
}

#[test]
fn large_answers_to_a_burst_leave_in_order() {
    for driver in drivers() {
        let edge = edge(driver, 100, false);
        let mut client = Client::connect(edge.listen);
        let requests: String = (0..20).map(|index| get("/large") + &get(&format!("/now/{index}"))).collect();
        client.send(requests.as_bytes());
        for index in 0..20 {
            assert_eq!(client.response().body.len(), word("").len() + 100_000);
            assert_eq!(client.response().body, word(&index.to_string()));
        }
    }
}

#[test]
fn beyond_the_bound_a_connection_is_told_503_and_the_operator_still_gets_in() {
    for driver in drivers() {
        let edge = edge(driver, 8, false);
        // Two of the eight places are kept for the operator.
        let mut served: Vec<Client> = (0..6).map(|_| Client::connect(edge.listen)).collect();
        for client in &mut served {
            assert_eq!(client.get("/now/in").status, 200);
        }
        let mut refused = Client::connect(edge.listen);
        let response = refused.get("/now/out");
        assert_eq!((response.status, response.closes()), (503, true));
        assert!(response.head.contains("retry-after: 1"));
        assert!(refused.ends());
        assert_eq!(Client::connect(edge.admin).get("/livez").status, 200);
        assert_eq!(edge.counters().shell.connections_refused.get(), 1);
        // A place that is given up is given to the next.
        drop(served.pop());
        let mut next = Client::connect(edge.listen);
        while next.get("/now/in").status == 503 {
            next = Client::connect(edge.listen);
        }
    }
}

#[test]
fn a_link_that_ends_is_opened_again_and_what_was_asked_is_answered() {
    for driver in drivers() {
        let edge = edge(driver, 100, false);
        let mut client = Client::connect(edge.listen);
        assert_eq!(client.get("/redis/before").body, word("before"));
        assert_eq!(client.get("/redis/bye").body, word("bye"), "asked again on the next connection");
        assert_eq!(edge.counters().shell.redis_connects.get(), 2);
    }
}

#[test]
fn monitoring_is_answered_in_its_turn() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let mut client = Client::connect(edge.admin);
        client.send((get("/later/first") + &get("/livez") + &get("/role") + &get("/metrics")).as_bytes());
        assert_eq!(client.response().body, word("first"));
        assert_eq!(client.response().body, "{\"status\":\"alive\"}");
        assert_eq!(client.response().body, word("Admin"));
        let metrics = client.response();
        assert!(metrics.body.contains("# TYPE flux_edge_http_requests counter\nflux_edge_http_requests_total"));
        assert!(metrics.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
        client.send(b"GET /metrics HTTP/1.1\r\nhost: test\r\naccept: text/plain;version=0.0.4\r\n\r\n");
        let older = client.response();
        assert!(older.body.contains("# TYPE flux_edge_http_requests_total counter\nflux_edge_http_requests_total"));
        assert!(older.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{}", older.head);
        assert!(older.head.contains("vary: accept\r\n") && !older.body.contains("# EOF"));
        // The first sample is taken at the start.
        while !client.get("/history.json").body.contains("\"samples\":[{") {}
        while client.get("/readyz").status != 200 {}
        let mut public = Client::connect(edge.listen);
        assert_eq!(public.get("/readyz").status, 404, "not on the public listener");
        let room = edge.waiting_room;
        assert_eq!(Client::connect(room).get("/role").body, word("WaitingRoom"));
    }
}

#[test]
fn a_drain_answers_what_is_under_way_and_ends_the_rest() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let mut idle = Client::connect(edge.listen);
        assert_eq!(idle.get("/now/x").status, 200);
        let mut monitor = Client::connect(edge.admin);
        while monitor.get("/readyz").status != 200 {}
        let mut held = Client::connect(edge.listen);
        held.send((get("/hold") + &get("/now/behind")).as_bytes());
        while monitor.get("/held").body != word("1") {}
        edge.drain();
        let listen = edge.listen;
        let ended = std::thread::spawn(move || edge.wait());
        assert!(idle.ends(), "an idle connection is closed");
        assert_eq!(held.response().body, word("held"));
        assert_eq!(held.response().body, word("behind"), "it was read before the drain began");
        drop(held);
        assert!(ended.join().expect("a thread"), "it ends well");
        drop(monitor);
        assert!(std::net::TcpStream::connect(listen).is_err(), "nobody listens any more");
    }
}

#[test]
fn a_request_during_the_drain_is_told_to_close() {
    for driver in drivers() {
        let edge = edge(driver, 100, true);
        let mut held = Client::connect(edge.listen);
        // One byte of a request: neither idle nor whole.
        held.send(b"G");
        let mut monitor = Client::connect(edge.admin);
        while edge.counters().shell.connections.get() < 2 {
            assert_eq!(monitor.get("/livez").status, 200);
        }
        edge.drain();
        let ended = std::thread::spawn(move || edge.wait());
        while !monitor.get("/readyz").body.contains("draining") {}
        held.send(&get("/now/late").as_bytes()[1..]);
        let response = held.response();
        assert_eq!((response.status, response.closes()), (200, true));
        held.shutdown_write();
        assert!(held.ends());
        assert!(ended.join().expect("a thread"));
    }
}

/// Who balances load looks every second or two: until it has looked, it sends.
#[test]
fn until_the_delay_is_over_a_drain_takes_whatever_comes_and_tells_it_to_close() {
    let test = |driver| {
        let edge = edge_with(1, driver, 100, true, |plan| plan.drain_delay = Duration::from_secs(5));
        let mut idle = Client::connect(edge.listen);
        assert!(!idle.get("/now/before").closes());
        let mut monitor = Client::connect(edge.admin);
        while monitor.get("/readyz").status != 200 {}
        let listen = edge.listen;
        edge.drain();
        let ended = std::thread::spawn(move || edge.wait());
        while !monitor.get("/readyz").body.contains("draining") {}
        // One that was kept is still good for a request, and new ones are served, later answers too.
        for mut client in [idle, Client::connect(listen), Client::connect(listen)] {
            client.send(get("/redis/late").as_bytes());
            let response = client.response();
            assert_eq!((response.status, &response.body, response.closes()), (200, &word("late"), true), "on {driver}");
            client.shutdown_write();
            assert!(client.ends());
        }
        assert!(ended.join().expect("a thread"), "on {driver}");
    };
    let threads: Vec<_> = drivers().into_iter().map(|driver| std::thread::spawn(move || test(driver))).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("it holds on each driver"));
}

#[test]
fn a_drain_with_a_delay_ends_as_any_other() {
    for driver in drivers() {
        let edge = edge_with(2, driver, 100, true, |plan| plan.drain_delay = Duration::from_millis(300));
        let mut idle = Client::connect(edge.listen);
        assert_eq!(idle.get("/now/before").status, 200);
        let listen = edge.listen;
        edge.drain();
        let ended = std::thread::spawn(move || edge.wait());
        assert!(idle.ends(), "nothing is under way");
        assert!(ended.join().expect("a thread"), "on {driver}");
        assert!(std::net::TcpStream::connect(listen).is_err(), "nobody listens any more");
    }
}

/// A pool in front of the edge keeps connections for as long as it is told, or for as long as it likes.
#[test]
fn how_long_an_idle_connection_is_kept_is_told_and_kept_to() {
    for driver in drivers() {
        let edge = edge_with(1, driver, 100, true, |plan| plan.keep_alive = Duration::from_secs(1));
        let mut client = Client::connect(edge.listen);
        let response = client.get("/now/x");
        let told = "\r\nconnection: keep-alive\r\nkeep-alive: timeout=75\r\n";
        assert!(response.head.contains(told), "what the script tells: {}", response.head);
        client.send(b"GET /now/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let last = client.response();
        assert!(last.closes() && !last.head.contains("keep-alive"), "{}", last.head);
        let mut idle = Client::connect(edge.listen);
        assert_eq!(idle.get("/now/x").status, 200);
        let begun = Instant::now();
        assert!(idle.ends());
        assert!(begun.elapsed() >= Duration::from_secs(1), "never sooner than it says");
        while edge.counters().shell.ended[Ended::Idle as usize].get() == 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn as_long_as_any_core_drains_the_admin_listener_says_so() {
    for driver in drivers() {
        let edge = edge_of(2, driver, 100, true);
        let admin = edge.admin;
        let cores = [0, 1].map(|core| edge.counters_of(core).clone());
        let open = |core: usize| cores[core].shell.connections.get();
        // One byte of a request on the core that does not hold the admin listener.
        let mut held = loop {
            let mut client = Client::connect(edge.listen);
            client.send(b"G");
            while open(0) + open(1) == 0 {
                std::thread::yield_now();
            }
            if open(1) == 1 {
                break client;
            }
            drop(client);
            while open(0) > 0 {
                std::thread::yield_now();
            }
        };
        edge.drain();
        let ended = std::thread::spawn(move || edge.wait());
        while cores[0].shell.draining.get() == 0 {
            std::thread::yield_now();
        }
        for _ in 0..50 {
            let mut monitor = Client::connect(admin);
            assert_eq!(monitor.get("/livez").status, 200, "on {driver}");
            let ready = monitor.get("/readyz");
            assert!(ready.status == 503 && ready.body.contains("draining"), "{ready:?}");
        }
        held.send(&get("/now/late").as_bytes()[1..]);
        assert_eq!(held.response().status, 200);
        held.shutdown_write();
        assert!(held.ends());
        assert!(ended.join().expect("a thread"), "all cores end well");
    }
}
