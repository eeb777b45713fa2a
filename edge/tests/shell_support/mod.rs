//! A script in the machine's place, and a client that speaks in bytes.
//!
//! Paths: `/now/<word>` is answered at once, `/later/<word>` by time (half a millisecond later), `/redis/<word>` when
//! the word has come back from an echo server in Redis' place, `/kafka/<word>` likewise from a broker's, `/hold` when
//! the drain begins; `/held` tells how many wait for that, `/turns` how many turns the core has taken; `/stall` keeps the core's thread for as long as the test holds
//! [`STALL`].

#![allow(dead_code, unreachable_pub, reason = "a module of tests, shared by several test crates")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use flux_edge::answer::{Answer, Framing, ReplyTo, Site};
use flux_edge::core::machine::{Machine, PeerFault};
use flux_edge::core::request::{Outcome, Role};
use flux_edge::counters::CoreCounters;
use flux_edge::monitoring::workers::Workers;
use flux_edge::shell::front::Front;
use flux_edge::shell::plan::Plan;
use flux_edge::shell::server::{Running, start};
use flux_net::DriverChoice;
use flux_net::tls::Certificates;
use flux_protocol::http::Request;
use flux_protocol::kafka::client::{BrokerAction, BrokerKey};
use flux_protocol::time::{Instant, Now};

const BROKER: BrokerKey = BrokerKey(7);

/// While it is held, a core that is asked for `/stall` does nothing at all.
pub static STALL: Mutex<()> = Mutex::new(());

#[derive(Default)]
struct Echo {
    open: bool,
    out: Vec<u8>,
    asked: VecDeque<(ReplyTo, String)>,
}

impl Echo {
    fn ask(&mut self, reply_to: ReplyTo, word: &str) {
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'\n');
        self.asked.push_back((reply_to, word.to_owned()));
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        if self.open {
            out.append(&mut self.out);
        }
    }

    fn read(&mut self, buffer: &mut BytesMut, completions: &mut VecDeque<(ReplyTo, Answer)>) -> Result<(), PeerFault> {
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let (reply_to, word) = self.asked.pop_front().ok_or_else(|| PeerFault("unasked".into()))?;
            assert_eq!(&buffer[..end], word.as_bytes(), "an echo is what was said");
            buffer.advance(end + 1);
            completions.push_back((reply_to, answer(&word)));
        }
        Ok(())
    }

    fn close(&mut self) {
        self.open = false;
        // What was asked is asked again.
        self.out.clear();
        for (_, word) in &self.asked {
            self.out.extend_from_slice(word.as_bytes());
            self.out.push(b'\n');
        }
    }
}

/// The script.
pub struct Script {
    site: Site,
    redis: Echo,
    kafka: Echo,
    broker: Option<SocketAddr>,
    timed: VecDeque<(Instant, ReplyTo, String)>,
    held: Vec<ReplyTo>,
    completions: VecDeque<(ReplyTo, Answer)>,
    draining: bool,
    /// Turns of the core so far: each asks until there is nothing to be done with brokers.
    turns: u64,
}

impl Script {
    pub fn new(broker: Option<SocketAddr>) -> Script {
        Script {
            site: Site::new("http://localhost:4000/", "http://localhost:4000", Duration::from_secs(75)),
            redis: Echo::default(),
            kafka: Echo::default(),
            broker,
            timed: VecDeque::new(),
            held: Vec::new(),
            completions: VecDeque::new(),
            draining: false,
            turns: 0,
        }
    }
}

fn answer(word: &str) -> Answer {
    Answer::json(200, &serde_json::json!({ "word": word }))
}

impl Machine for Script {
    fn handle_request(&mut self, now: Now, role: Role, request: &Request<'_>, reply_to: ReplyTo) -> Outcome {
        let word = request.path.rsplit('/').next().unwrap_or_default();
        match request.path.split('/').nth(1) {
            Some("now") => return Outcome::Now(answer(word)),
            Some("body") => return Outcome::Now(answer(&request.body.escape_ascii().to_string())),
            Some("role") => return Outcome::Now(answer(&format!("{role:?}"))),
            Some("turns") => return Outcome::Now(answer(&self.turns.to_string())),
            Some("held") => return Outcome::Now(answer(&self.held.len().to_string())),
            Some("large") => return Outcome::Now(answer(&"x".repeat(100_000))),
            Some("stall") => {
                drop(STALL.lock().unwrap_or_else(PoisonError::into_inner));
                return Outcome::Now(answer(word));
            }
            Some("later") => {
                self.timed.push_back((now.instant + Duration::from_micros(500), reply_to, word.to_owned()));
            }
            Some("redis") => self.redis.ask(reply_to, word),
            Some("kafka") => self.kafka.ask(reply_to, word),
            Some("hold") => self.held.push(reply_to),
            _ => return Outcome::Now(Answer::error(404, "Not found")),
        }
        Outcome::Later
    }
    fn framing(&self, request: &Request<'_>) -> Framing {
        Framing { connection: request.connection(), head_only: request.head_only(), cors: false }
    }
    fn site(&self) -> &Site {
        &self.site
    }
    fn poll_completion(&mut self) -> Option<(ReplyTo, Answer)> {
        self.completions.pop_front()
    }
    fn handle_redis_open(&mut self, _now: Now) {
        self.redis.open = true;
    }
    fn handle_redis_bytes(&mut self, _now: Now, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        self.redis.read(buffer, &mut self.completions)
    }
    fn handle_redis_closed(&mut self, _now: Now) {
        self.redis.close();
    }
    fn poll_redis_write(&mut self, _now: Now, out: &mut Vec<u8>) {
        self.redis.write(out);
    }
    fn poll_redis_failure(&mut self) -> Option<PeerFault> {
        None
    }
    fn redis_down_for(&self, now: Now) -> Duration {
        if self.redis.open { Duration::ZERO } else { now.instant.since(Instant::default()) }
    }
    fn poll_broker_action(&mut self) -> Option<BrokerAction> {
        let Some(address) = self.broker.take() else {
            self.turns += 1;
            return None;
        };
        Some(BrokerAction::Connect { broker: BROKER, host: address.ip().to_string(), port: address.port() })
    }
    fn handle_broker_open(&mut self, _now: Now, broker: BrokerKey) {
        assert_eq!(broker, BROKER);
        self.kafka.open = true;
    }
    fn handle_broker_bytes(&mut self, _now: Now, _broker: BrokerKey, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        self.kafka.read(buffer, &mut self.completions)
    }
    fn handle_broker_closed(&mut self, _now: Now, _broker: BrokerKey) {
        self.kafka.close();
    }
    fn poll_broker_write(&mut self, _broker: BrokerKey, out: &mut Vec<u8>) {
        self.kafka.write(out);
    }
    fn kafka_down_for(&self, now: Now) -> Duration {
        if self.kafka.open { Duration::ZERO } else { now.instant.since(Instant::default()) }
    }
    fn next_deadline(&self) -> Instant {
        self.timed.front().map_or(Instant::FAR_FUTURE, |(due, ..)| *due)
    }
    fn handle_time(&mut self, now: Now) {
        while let Some((due, reply_to, word)) = self.timed.front() {
            if *due > now.instant {
                break;
            }
            self.completions.push_back((*reply_to, answer(word)));
            self.timed.pop_front();
        }
    }
    fn handle_drain(&mut self, _now: Now, _until: Instant) {
        self.draining = true;
        self.completions.extend(self.held.drain(..).map(|reply_to| (reply_to, answer("held"))));
    }
    fn is_drained(&self) -> bool {
        self.timed.is_empty() && self.redis.asked.is_empty() && self.kafka.asked.is_empty() && self.held.is_empty()
    }
}

/// A server that sends back what it gets, for any number of connections. A line `bye` makes it hang up instead, once
/// for each such line ever seen (the word is echoed when it is said again).
pub fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut hung_up = false;
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut buffer = [0; 4096];
            loop {
                let count = match stream.read(&mut buffer) {
                    Ok(count @ 1..) => count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    _ => break,
                };
                if !hung_up && buffer[..count].windows(4).any(|window| window == b"bye\n") {
                    hung_up = true;
                    break;
                }
                if stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// Drivers that this kernel offers.
pub fn drivers() -> Vec<DriverChoice> {
    let options = |driver| flux_net::RuntimeOptions { driver, monoio_timers: false };
    [DriverChoice::Epoll, DriverChoice::Uring]
        .into_iter()
        .filter(|driver| flux_net::Runtime::build(options(*driver)).is_ok())
        .collect()
}

/// An edge of the test's own; drained when dropped. A ring left behind would count against what a user who is not root
/// may lock in memory, and soon no more could be had.
pub struct Edge {
    running: Option<Running>,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub waiting_room: SocketAddr,
}

impl Edge {
    /// What its one core counts.
    pub fn counters(&self) -> &CoreCounters {
        &self.running.as_ref().expect("it runs until it is waited for").counters()[0]
    }

    /// What one of several cores counts.
    pub fn counters_of(&self, core: usize) -> &CoreCounters {
        &self.running.as_ref().expect("it runs until it is waited for").counters()[core]
    }

    pub fn drain(&self) {
        self.running.as_ref().expect("it runs until it is waited for").drain().request();
    }

    /// Waits for its end, after a drain was asked for: whether it was a good one.
    pub fn wait(mut self) -> bool {
        self.running.take().expect("it is waited for once").wait()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.drain().request();
            running.wait();
        }
    }
}

/// An edge of one core around the script.
pub fn edge(driver: DriverChoice, connections_max: usize, with_broker: bool) -> Edge {
    edge_of(1, driver, connections_max, with_broker)
}

/// An edge of so many cores; where the machine has fewer, some share a processor.
pub fn edge_of(cores: usize, driver: DriverChoice, connections_max: usize, with_broker: bool) -> Edge {
    edge_with(cores, driver, connections_max, with_broker, |_| {})
}

/// The same, with another plan.
pub fn edge_with(
    cores: usize,
    driver: DriverChoice,
    connections_max: usize,
    with_broker: bool,
    change: impl FnOnce(&mut Plan),
) -> Edge {
    let redis = echo_server();
    let broker = with_broker.then(echo_server);
    let any = "127.0.0.1:0".parse().expect("an address");
    let mut plan = Plan {
        listen: any,
        admin: any,
        waiting_room: Some(any),
        driver,
        cores: flux_net::affinity::allowed().expect("processors").into_iter().cycle().take(cores).collect(),
        connections_per_core_max: connections_max,
        redis: format!("redis://{redis}").parse().expect("an address"),
        kafka_tls: None,
        certificates: Certificates::default(),
        front: Front::default(),
        keep_alive: Duration::from_secs(75),
        drain_delay: Duration::ZERO,
        drain_deadline: Duration::from_secs(60),
        workers: Workers::default(),
    };
    change(&mut plan);
    let running = start(plan, move |_, _, _, _| Script::new(broker)).expect("it starts");
    let waiting_room = running.waiting_room.expect("it was asked for");
    Edge { listen: running.listen, admin: running.admin, waiting_room, running: Some(running) }
}

/// One response as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("an option");
        Client { stream, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send(get(path).as_bytes());
        self.response()
    }

    /// The server's end of this connection: both are in this process.
    pub fn server_end(&self) -> ServerEnd {
        let local = self.stream.local_addr().expect("connected");
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("our own descriptors");
        let end = descriptors
            .filter_map(|entry| entry.expect("an entry").file_name().to_str()?.parse::<RawFd>().ok())
            // SAFETY: it is never closed, and only asked for its peer, which harms no descriptor of any kind.
            .map(|descriptor| ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(descriptor) }))
            .find(|stream| stream.peer_addr().is_ok_and(|peer| peer == local))
            .expect("the server has accepted it");
        ServerEnd(end.try_clone().expect("a descriptor of our own"))
    }

    pub fn shutdown_write(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("shut down");
    }

    /// The next response; panics where the connection ends first.
    pub fn response(&mut self) -> Response {
        loop {
            if let Some(response) = self.parse() {
                return response;
            }
            assert!(
                self.fill() > 0,
                "the connection ended in the middle of {:?}",
                self.unread.escape_ascii().to_string()
            );
        }
    }

    /// The next response to a `HEAD`, of which there is no more than that.
    pub fn head(&mut self) -> Response {
        loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.unread.drain(..end + 4).collect()).expect("text");
                return Response { status: head[9..12].parse().expect("a status"), head, body: String::new() };
            }
            assert!(self.fill() > 0, "the connection ended in a head");
        }
    }

    /// Whether the connection ends without another byte.
    pub fn ends(&mut self) -> bool {
        self.unread.is_empty() && self.fill() == 0
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                count
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.fill(),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    fn parse(&mut self) -> Option<Response> {
        let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.unread[..end].to_vec()).expect("text");
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a number"));
        if self.unread.len() < end + length {
            return None;
        }
        let status = head[9..12].parse().expect("a status");
        let body = String::from_utf8(self.unread[end..end + length].to_vec()).expect("text");
        self.unread.drain(..end + length);
        Some(Response { status, head, body })
    }
}

/// The server's end of a connection, under a descriptor of the test's own.
pub struct ServerEnd(TcpStream);

impl ServerEnd {
    /// Fills the queue of answers on their way to the client, to the last byte that the kernel takes now.
    pub fn fill_send_queue(&self) {
        let bytes = [b'x'; 4096];
        for length in [bytes.len(), 1] {
            while self.send_at_once(&bytes[..length]) {}
        }
    }

    fn send_at_once(&self, bytes: &[u8]) -> bool {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the slice lives through the call, and its length is given.
        unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) > 0 }
    }
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

pub fn word(word: &str) -> String {
    format!("{{\"word\":\"{word}\"}}")
}
