use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;

const READY: &str = r#"{"status":"ready"}"#;
const UNREADY: &str = r#"{"status":"unavailable","reasons":["postgres: refused"]}"#;

fn metrics(comparisons: u64, breach: u64) -> String {
    format!(
        "# TYPE flux_units gauge\n\
         flux_units{{product=\"phone\",state=\"total\"}} 100\n\
         flux_units{{state=\"stored\",product=\"phone\"}} 41\n\
         flux_units{{product=\"phone\",state=\"available\"}} 59\n\
         flux_conservation_breach{{product=\"phone\"}} {breach}\n\
         flux_conservation_comparisons_total{{product=\"phone\"}} {comparisons}\n\
         flux_worker_partitions 2\n\
         flux_worker_lag_records{{partition=\"0\"}} 7\n\
         flux_worker_lag_records{{partition=\"3\"}} 5\n\
         # EOF\n"
    )
}

fn watched(last: Option<Attempt>) -> Watched {
    Watched { address: "worker:3002".to_owned(), last: Mutex::new(last) }
}

fn workers<const COUNT: usize>(attempts: [Option<Attempt>; COUNT]) -> Workers {
    Workers(attempts.map(watched).into_iter().collect())
}

/// A worker that has compared its accounts between two looks, the second of them at `at`.
fn compared(at: Instant, breach: u64) -> Option<Attempt> {
    let before = Reading::parse(READY, &metrics(1, breach)).unwrap();
    Some(Attempt { at, read: Ok(Reading::parse(READY, &metrics(2, breach)).unwrap().following(&before, at)) })
}

#[test]
fn a_reading_is_what_the_worker_said() {
    let reading = Reading::parse(UNREADY, &metrics(3, 0)).unwrap();
    assert_eq!((reading.partitions, reading.lag_records), (2, 12));
    assert_eq!(reading.reasons, ["postgres: refused"]);
    let account = &reading.accounts["phone"];
    assert_eq!((account.units["total"], account.units["stored"], account.breach), (100, 41, Some(false)));
}

#[test]
fn a_lag_of_which_a_part_is_not_known_is_not_shown() {
    let metrics = metrics(1, 0).replace("flux_worker_partitions 2", "flux_worker_partitions 3");
    let read = Ok(Reading::parse(READY, &metrics).unwrap());
    let now = Instant::now();
    let states = workers([Some(Attempt { at: now, read })]).states(now);
    assert_eq!((&states[0]["partitions"], &states[0]["lagRecords"]), (&json!(3), &json!(null)));
}

#[test]
fn what_no_worker_says_is_no_reading() {
    let whole = metrics(1, 0);
    for end in 0..whole.len() {
        assert_eq!(Reading::parse(READY, &whole[..end]), None, "cut at {end}");
    }
    assert_eq!(Reading::parse("", &whole), None);
    assert_eq!(Reading::parse(r#"{"status":"unready"}"#, &whole), None, "unready, and no reason");
    assert_eq!(Reading::parse(READY, "flux_edge_orders_total 1\n# EOF\n"), None, "an edge is no worker");
    assert_eq!(Reading::parse(READY, &whole.replace("} 7", "} seven")), None);
}

#[test]
fn an_account_holds_only_where_it_was_just_compared() {
    let now = Instant::now();
    let conservation = |workers: &Workers, now| workers.account("phone", now)["conservation"].clone();
    let first = Attempt { at: now, read: Ok(Reading::parse(READY, &metrics(9, 0)).unwrap()) };
    assert_eq!(conservation(&workers([Some(first)]), now), "unknown", "nobody knows how old its word is");
    let one = workers([compared(now, 0)]);
    assert_eq!(conservation(&one, now), "holds");
    assert_eq!(one.account("phone", now)["units"]["stored"], 41);
    assert_eq!(one.account("other", now), json!({"conservation": "unknown", "units": null}));
    assert_eq!(conservation(&one, now + WORKER_SILENCE_MAX + Duration::from_millis(1)), "unknown");
    assert_eq!(conservation(&workers([compared(now, 0), compared(now, 1)]), now), "breach", "one is enough");
    assert_eq!(conservation(&Workers::default(), now), "unknown");
}

#[test]
fn a_worker_whose_redis_is_away_says_the_same_for_ever_and_is_not_believed() {
    let begun = Instant::now();
    let Some(Attempt { read: Ok(mut reading), .. }) = compared(begun, 0) else { panic!("a reading") };
    let mut now = begun;
    for _ in 0..=WORKER_SILENCE_MAX.as_secs() {
        now += Duration::from_secs(1);
        reading = Reading::parse(READY, &metrics(2, 0)).unwrap().following(&reading, now);
    }
    let stuck = workers([Some(Attempt { at: now, read: Ok(reading) })]);
    let account = json!({"conservation": "unknown", "units": {"stored": 41, "total": 100}});
    assert_eq!(stuck.account("phone", now), account, "what the ledger holds it knows");
    assert_eq!(stuck.states(now)[0]["ready"], true, "it answers all the same");
}

#[test]
fn a_worker_whose_ledger_is_away_is_asked_for_no_account() {
    let now = Instant::now();
    let before = Reading::parse(READY, &metrics(1, 0)).unwrap();
    let read = |readiness: &str, breach| {
        let reading = Reading::parse(readiness, &metrics(2, breach)).unwrap().following(&before, now);
        workers([Some(Attempt { at: now, read: Ok(reading) })]).account("phone", now)
    };
    assert_eq!(read(UNREADY, 0), json!({"conservation": "unknown", "units": null}));
    assert_eq!(
        read(UNREADY, 1),
        json!({"conservation": "breach", "units": null}),
        "an alarm stands until it is answered"
    );
    assert_eq!(read(READY, 0)["units"], json!({"available": 59, "stored": 41, "total": 100}));
}

#[test]
fn what_is_not_known_of_a_worker_is_null() {
    let now = Instant::now();
    let refused = Attempt { at: now, read: Err("refused".to_owned()) };
    let workers = workers([None, Some(refused), compared(now - WORKER_SILENCE_MAX * 2, 0), compared(now, 0)]);
    let states = workers.states(now);
    for (index, trouble) in ["not asked yet", "refused", "no answer any more"].into_iter().enumerate() {
        let unknown = json!({
            "address": "worker:3002", "trouble": trouble, "ready": null, "reasons": [], "partitions": null, "lagRecords": null
        });
        assert_eq!(states[index], unknown);
    }
    assert_eq!((&states[3]["ready"], &states[3]["lagRecords"]), (&json!(true), &json!(12)));
}

/// A worker whose only connection is `serve`'s.
fn served(serve: impl FnOnce(TcpStream) + Send + 'static) -> (Watched, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    (Watched { address, last: Mutex::default() }, server)
}

#[test]
fn a_worker_is_asked_over_a_socket() {
    let (worker, server) = served(|mut stream| {
        for (path, head, body) in [
            ("/readyz", "HTTP/1.1 503 Service Unavailable", UNREADY.to_owned()),
            ("/metrics", "HTTP/1.1 200 OK", metrics(1, 0)),
        ] {
            let reader = BufReader::new(&stream);
            let request: Vec<String> = reader.lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            assert_eq!(request[0], format!("GET {path} HTTP/1.1"));
            write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    worker.look();
    server.join().unwrap();
    let state = worker.state(Instant::now());
    assert_eq!((&state["ready"], &state["reasons"][0]), (&json!(false), &json!("postgres: refused")));
    // Its listener is gone.
    worker.look();
    let state = worker.state(Instant::now());
    assert_eq!(state["ready"], Value::Null);
    assert!(state["trouble"].as_str().unwrap().contains("refused"), "{state}");
}

#[test]
fn an_answer_without_an_end_is_not_read_to_it() {
    let (worker, server) = served(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
    });
    worker.look();
    server.join().unwrap();
    let state = worker.state(Instant::now());
    assert!(state["trouble"].as_str().unwrap().contains("limit"), "{state}");
}
