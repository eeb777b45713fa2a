//! A real Redis of the test's own, and a connection that speaks with it through `flux_protocol::resp`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use flux_edge::redis::scripts::Scripts;
use flux_protocol::resp::{
    Arguments, Belief, Decoder, ErrorKind, Limits, OwnedFrame, Script, ServerError, Value, command,
};

/// How long a server may take to answer before the test gives up: never what a test measures.
const PATIENCE: Duration = Duration::from_secs(30);

/// `redis-server` on loopback in a directory of its own; ended when dropped.
pub struct Server {
    process: Process,
    directory: tempfile::TempDir,
    pub port: u16,
}

impl Server {
    pub fn start() -> Server {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (process, port) = spawn(directory.path());
        Server { process, directory, port }
    }

    /// Ends the process and starts it again over the same data and on another port.
    pub fn restart(&mut self) {
        self.process.end();
        (self.process, self.port) = spawn(self.directory.path());
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.port).expect("it has answered before")
    }
}

/// A process that ends with the value, also where a test panics before the server has come up.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Process {
        Process(command.spawn().expect("it is installed"))
    }

    fn end(&mut self) {
        // It may be gone already; either way none is left behind.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(directory: &std::path::Path) -> (Process, u16) {
    let begun = Instant::now();
    loop {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let mut process = Process::start(
            Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes", "--dir"])
                .arg(directory)
                .stdout(Stdio::null()),
        );
        // Where another process took the port in between, ours ends by itself and another port is tried.
        while process.0.try_wait().expect("our own process").is_none() {
            if answers(port, process.0.id()) {
                return (process, port);
            }
            assert!(begun.elapsed() < PATIENCE, "redis-server did not come up");
            std::thread::yield_now();
        }
        assert!(begun.elapsed() < PATIENCE, "redis-server ends at once");
    }
}

#[test]
fn a_server_does_not_outlive_a_test_that_panics_while_it_starts() {
    let (told, pid) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let process = Process::start(Command::new("redis-server").args(["--port", "0"]).stdout(Stdio::null()));
        told.send(process.0.id()).expect("somebody listens");
        panic!("as a test does whose server does not come up");
    });
    let pid = pid.recv().expect("started");
    assert!(test.join().is_err());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "ended and waited for");
}

/// Whether the process `pid` serves `port`. Another test's server may have taken the port in between, and end while it is
/// being asked: that is no answer.
fn answers(port: u16, pid: u32) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let asked =
        stream.set_read_timeout(Some(Duration::from_secs(1))).and_then(|()| stream.write_all(b"INFO server\r\n"));
    let wanted = format!("process_id:{pid}\r\n");
    let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
    while asked.is_ok() {
        match stream.read(&mut chunk) {
            Ok(length) if length > 0 => said.extend_from_slice(&chunk[..length]),
            Ok(_) | Err(_) => return false,
        }
        if String::from_utf8_lossy(&said).contains(&wanted) {
            return true;
        }
    }
    false
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
    pub scripts: Scripts,
}

impl Client {
    pub fn connect(port: u16) -> Option<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nodelay(true).expect("a connected socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a connected socket");
        let scripts = Scripts::new();
        Some(Client { stream, decoder: Decoder::new(Limits::DEFAULT), buffer: BytesMut::new(), scripts })
    }

    /// Sends `wire`, which holds one command, and reads its reply.
    fn exchange(&mut self, wire: &[u8]) -> OwnedFrame {
        self.stream.write_all(wire).expect("Redis takes it");
        loop {
            if let Some(reply) = self.decoder.poll(&mut self.buffer).expect("Redis speaks RESP") {
                return match reply.value() {
                    Value::Array(items) => OwnedFrame::Array(items.map(frame).collect()),
                    other => frame(other),
                };
            }
            let mut chunk = [0; 64 << 10];
            let length = self.stream.read(&mut chunk).expect("Redis answers");
            assert!(length > 0, "Redis closed the connection");
            self.buffer.extend_from_slice(&chunk[..length]);
        }
    }

    /// One command of text arguments.
    pub fn command(&mut self, arguments: &[&str]) -> OwnedFrame {
        let mut wire = Vec::new();
        command(&mut wire, &arguments.iter().map(|argument| argument.as_bytes()).collect::<Vec<_>>());
        self.exchange(&wire)
    }

    /// One command whose arguments stand in `line`, blanks between.
    pub fn run(&mut self, line: &str) -> OwnedFrame {
        self.command(&line.split(' ').collect::<Vec<_>>())
    }

    /// A script, loaded where Redis does not know it yet.
    pub fn call(&mut self, pick: fn(&Scripts) -> &Script, keys: &[String], arguments: &[String]) -> OwnedFrame {
        let script = pick(&self.scripts).clone();
        self.call_script(&script, keys, arguments)
    }

    /// Any other script, likewise.
    pub fn call_script(&mut self, script: &Script, keys: &[String], arguments: &[String]) -> OwnedFrame {
        let collect = |texts: &[String]| {
            let mut collected = Arguments::default();
            texts.iter().for_each(|text| collected.push(text.as_bytes()));
            collected
        };
        let (mut wire, mut load) = (Vec::new(), Vec::new());
        script.write_call(&mut wire, &[&collect(keys)], &[&collect(arguments)]);
        let answer = self.exchange(&wire);
        if refusal(&answer) != Some((ErrorKind::NoScript, Belief::Refused)) {
            return answer;
        }
        script.write_load(&mut load);
        let digest = script.digest().to_vec();
        assert_eq!(self.exchange(&load), OwnedFrame::BulkString(digest), "Redis counts the same digest");
        self.exchange(&wire)
    }

    /// Everything in the data base, key by key, as `DUMP` gives it: equal where nothing was changed.
    pub fn snapshot(&mut self) -> Vec<(String, OwnedFrame)> {
        let mut keys = strings(self.run("KEYS *"));
        keys.sort();
        keys.into_iter().map(|key| (key.clone(), self.command(&["DUMP", &key]))).collect()
    }

    /// The clock that the scripts see, in µs.
    pub fn time_us(&mut self) -> u64 {
        let parts = strings(self.run("TIME"));
        parts[0].parse::<u64>().expect("seconds") * 1_000_000 + parts[1].parse::<u64>().expect("microseconds")
    }

    /// A field of `INFO`.
    pub fn info(&mut self, section: &str, field: &str) -> String {
        let text = text(self.command(&["INFO", section]));
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.expect("INFO names the field").to_owned()
    }
}

/// A reply as a value of its own.
pub fn frame(value: Value<'_>) -> OwnedFrame {
    match value {
        Value::Status(text) => OwnedFrame::SimpleString(text.to_vec()),
        Value::Error(error) => OwnedFrame::Error(String::from_utf8_lossy(error.message()).into_owned()),
        Value::Integer(number) => OwnedFrame::Integer(number),
        Value::Bulk(bytes) => OwnedFrame::BulkString(bytes.to_vec()),
        Value::Null => OwnedFrame::Null,
        Value::Array(items) => OwnedFrame::Array(items.map(frame).collect()),
    }
}

/// Which error an answer is and what to believe, `None` where it is none.
pub fn refusal(answer: &OwnedFrame) -> Option<(ErrorKind, Belief)> {
    match answer {
        OwnedFrame::Error(message) => {
            let mut wire = format!("-{message}\r\n").into_bytes();
            let mut buffer = BytesMut::from(wire.as_mut_slice() as &[u8]);
            let mut decoder = Decoder::new(Limits::DEFAULT);
            let reply = decoder.poll(&mut buffer).expect("well-formed").expect("complete");
            let Value::Error(error) = reply.value() else { panic!("an error line") };
            let error: ServerError<'_> = error;
            Some((error.kind(), error.belief()))
        }
        _ => None,
    }
}

/// A string, number or status as text; empty for null.
pub fn text(answer: OwnedFrame) -> String {
    match answer {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => String::from_utf8(bytes).expect("text"),
        OwnedFrame::Integer(number) => number.to_string(),
        OwnedFrame::Null => String::new(),
        other => panic!("no text: {other:?}"),
    }
}

/// An array of what [`text`] takes.
pub fn strings(answer: OwnedFrame) -> Vec<String> {
    match answer {
        OwnedFrame::Array(items) => items.into_iter().map(text).collect(),
        other => panic!("no array: {other:?}"),
    }
}
