//! The admin listener on real sockets: strangers who say nothing, or a byte now and then, keep no probe out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use flux_net::{Clock, ListenOptions, Runtime, RuntimeOptions, listener};
use flux_worker::admin::{self, Admin};
use flux_worker::health::Health;
use flux_worker::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_LOOPBACK_SEATS, ADMIN_PROBE_SEATS, ADMIN_REQUEST_TIMEOUT};
use flux_worker::metrics::Metrics;
use flux_worker::order_status::Questions;

/// Longest wait for anything: a bound for a test that hangs, not a promise.
const PATIENCE: Duration = Duration::from_secs(60);

fn serving() -> SocketAddr {
    let options = ListenOptions { shared_port: false, wait_for_data: false };
    let bound = listener::bind("127.0.0.1:0".parse().unwrap(), options).expect("a free port");
    let address = bound.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut runtime = Runtime::build(RuntimeOptions::default()).expect("a runtime");
        runtime.block_on(async move {
            let clock = Clock::start();
            let health = Rc::new(Health::new(clock.instant()));
            let admin = Admin { health, metrics: Rc::new(Metrics::new()), questions: Rc::new(Questions::new()), clock };
            admin::serve(Rc::new(admin), bound).await.expect("the listener");
        });
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The whole answer to one request; empty where there is none.
fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Asks until the answer says this: a place comes free by itself.
fn ask_until(address: SocketAddr, path: &str, says: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask(address, path);
        if answer.contains(says) {
            return;
        }
        assert!(Instant::now() < end, "{path}: {answer:?} and never {says}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const ORDER: &str = "/order/p/00000000-0000-8000-8000-000000000000";

#[test]
fn probes_get_in_while_strangers_sit_on_every_other_place() {
    let address = serving();
    let idle: Vec<TcpStream> = (0..ADMIN_CONNECTIONS_MAX).map(|_| connect(address)).collect();
    // Places are given in the order of arrival: these are behind all of them.
    ask_until(address, "/livez", "HTTP/1.1 200");
    assert!(ask(address, "/metrics").contains("flux_worker_partitions"));
    assert!(ask(address, "/readyz").contains("\"status\""), "whatever it says");
    let answer = ask(address, ORDER);
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("Too many connections"),
        "told, not dropped: {answer:?}"
    );
    assert!(answer.contains("retry-after: 1"));
    // The reserve too is taken by strangers: for a moment, and who comes meanwhile is told.
    let more: Vec<TcpStream> = (0..ADMIN_PROBE_SEATS + ADMIN_LOOPBACK_SEATS).map(|_| connect(address)).collect();
    let answer = ask(address, "/livez");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Too many connections"), "{answer:?}");
    ask_until(address, "/livez", "HTTP/1.1 200");
    drop((idle, more));
    ask_until(address, ORDER, "The ledger is out of reach");
}

/// One deadline a request: a byte now and then does not buy more time.
#[test]
fn a_request_that_drips_is_ended() {
    let address = serving();
    let mut stream = connect(address);
    let end = Instant::now() + ADMIN_REQUEST_TIMEOUT * 3;
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    for byte in b"GET /livez HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(Instant::now() < end, "it may go on for ever");
    }
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 408"), "{answer:?}");
}

/// Where one request cannot be read, nobody knows where the next begins.
#[test]
fn behind_a_request_that_cannot_be_read_nothing_is_answered() {
    let mut stream = connect(serving());
    let requests = b"nonsense\r\n\r\nGET /livez HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n";
    stream.write_all(requests).expect("taken");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer:?}");
}
