//! The program itself: its exit codes, its words, its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};

use flux_test_support::certificates::Authority;

fn edge(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flux-edge"));
    command.args(flags).env_clear();
    command
}

fn output(flags: &[&str]) -> Output {
    edge(flags).output().expect("it runs")
}

/// An edge that runs, and ends with the test, however that ends.
struct Running(Child);

impl Running {
    fn wait(&mut self) -> ExitStatus {
        self.0.wait().expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has been waited for is not there any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it without Redis and Kafka: servers that are not there yet are waited for.
fn start(more: &[&str]) -> (Running, serde_json::Value) {
    let (child, started, mut log) = start_with_log(more);
    // Its log must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, started)
}

/// The same, and the rest of its log.
fn start_with_log(more: &[&str]) -> (Running, serde_json::Value, BufReader<ChildStderr>) {
    let (child, mut lines, log) = start_at("127.0.0.1:0", more);
    (child, lines.pop().expect("the last one says that it serves"), log)
}

/// Starts it on an address: what it logs until it serves, each line, and the rest of its log.
fn start_at(listen: &str, more: &[&str]) -> (Running, Vec<serde_json::Value>, BufReader<ChildStderr>) {
    let any = "127.0.0.1:0";
    let child = edge(&["--listen", listen, "--admin", any, "--waiting-room", any])
        .args(["--redis", "redis+unix:///nonexistent/redis.sock", "--kafka", "127.0.0.1:1", "--cores", "1"])
        .args(more)
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Running(child.expect("it starts"));
    let mut log = BufReader::new(child.0.stderr.take().expect("piped"));
    let mut lines: Vec<serde_json::Value> = Vec::new();
    while lines.last().is_none_or(|entry| entry["message"] != "flux-edge serves") {
        let mut line = String::new();
        assert!(log.read_line(&mut line).expect("text") > 0, "it ended without a word");
        lines.push(serde_json::from_str(&line).expect("one JSON object a line"));
    }
    (child, lines, log)
}

fn terminate(edge: &Running) {
    let pid = libc::pid_t::try_from(edge.0.id()).expect("a process id");
    // SAFETY: a plain system call; the child has not been waited for, so its id is still its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer");
    response
}

/// A full disk is the same to it as a reader that has gone.
#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let (mut child, started, log) = start_with_log(&[]);
    let admin = started["admin"].as_str().expect("an address").to_owned();
    drop(log);
    assert!(get(&admin, "/livez").starts_with("HTTP/1.1 200 "));
    // It says that it drains, and that it has ended: to nobody.
    terminate(&child);
    let status = child.wait();
    assert!(status.success(), "{status}");
}

/// The ticket and the seed of `protocol/src/queue/ticket.rs`, whose lot OpenSSL has drawn too.
#[test]
fn anybody_can_see_whether_a_ticket_holds_the_true_lot() {
    const TICKET: &str = "gAAAAxafEFTgRYkemKkYepJSqWTD8MhP";
    let seed = "5e".repeat(32);
    for (seed, user, ticket, code, says) in [
        (&*seed, "user-42", TICKET, 0, "true: the ticket says lot 379523156, the seed draws lot 379523156\nslot 3: "),
        (&seed, "user-43", TICKET, 1, "NOT TRUE: the ticket says lot 379523156, the seed draws lot "),
        (&seed[2..], "user-42", TICKET, 2, "must be 64 hexadecimal digits"),
        (&seed, "user-42", &TICKET[1..], 2, "is no ticket"),
    ] {
        let output = output(&["verify-ticket", "--seed", seed, "--user", user, ticket]);
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text")).concat();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    for flags in [&["--redis", "http://host"][..], &["--burst", "1"], &["--nonsense"], &["--admin", "0.0.0.0:1"]] {
        let output = output(flags);
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("flux-edge: "), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_port_that_is_taken_is_a_mistake_too() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = output(&["--listen", &address, "--admin", "127.0.0.1:0", "--waiting-room", "off"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).expect("text").contains(&address));
}

#[test]
fn a_second_edge_on_one_port_serves_and_says_that_it_shares_it() {
    let says_so = |lines: &[serde_json::Value]| {
        lines
            .iter()
            .any(|line| line["message"].as_str().is_some_and(|text| text.contains("another socket has the port")))
    };
    let (mut first, lines, _log) = start_at("127.0.0.1:0", &[]);
    assert!(!says_so(&lines), "{lines:?}");
    let listen = lines.last().expect("a line")["listen"].as_str().expect("an address").to_owned();
    let (mut second, lines, _log) = start_at(&listen, &[]);
    assert!(says_so(&lines), "{lines:?}");
    for edge in [&mut first, &mut second] {
        terminate(edge);
        assert!(edge.wait().success());
    }
}

/// A handshake costs more than most requests, and nothing can be said before it.
#[test]
fn handshakes_count_to_their_address_in_the_waiting_room_too() {
    let authority = Authority::new();
    let server = authority.server("edge", &["localhost"]);
    let (certificate, key) = (server.certificate.display().to_string(), server.key.display().to_string());
    let limits = ["--address-rate", "1", "--address-burst", "3"];
    let (mut child, started) = start(&[&["--tls-cert", &certificate, "--tls-key", &key], &limits[..]].concat());
    for listener in ["listen", "waiting_room"] {
        let address = started[listener].as_str().expect("an address");
        let answers: Vec<String> = (0..40).map(|_| plain_text_to(address)).collect();
        let answered = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 400 ")).count();
        // The first has what is left of the address' burst, or what came to it meanwhile.
        assert!(answered < 40, "{listener}: {answers:?}");
        assert!(answers.iter().any(String::is_empty), "{listener}: {answers:?}");
    }
    terminate(&child);
    assert!(child.wait().success());
}

/// What a listener that speaks TLS says to who does not: all of it, or nothing where it closed before it had read.
fn plain_text_to(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    let mut response = String::new();
    // It may be closed by then.
    let _ = write!(stream, "GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    let _ = stream.read_to_string(&mut response);
    response
}

#[test]
fn a_variable_is_read_and_a_flag_wins() {
    let output = edge(&[]).env("FLUX_BURST", "1").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let output = edge(&["--burst", "1000", "--driver", "none"]).env("FLUX_BURST", "1").output().expect("it runs");
    assert!(String::from_utf8(output.stderr).expect("text").contains("--driver"));
}

#[test]
fn help_and_version_are_not_mistakes() {
    for flag in ["--help", "--version"] {
        let output = output(&[flag]);
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{flag}");
    }
}

#[test]
fn it_serves_without_its_servers_says_why_it_is_not_ready_and_ends_well() {
    for driver in ["auto", "epoll"] {
        let (mut child, started) = start(&["--driver", driver]);
        let address = |name: &str| started[name].as_str().expect("an address").to_owned();
        assert!(get(&address("admin"), "/livez").starts_with("HTTP/1.1 200"));
        let ready = get(&address("admin"), "/readyz");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("core 0"), "{ready}");
        assert!(get(&address("admin"), "/metrics").ends_with("# EOF\n"));
        assert!(get(&address("listen"), "/stock/nothing").starts_with("HTTP/1.1 "));
        terminate(&child);
        assert_eq!(child.wait().code(), Some(0));
    }
}
