//! Programs as the lab controls them, and that nothing outlives the process that started it. This binary plays the other parts
//! itself: a program with `/readyz`, and an owner of servers that gets killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::ports::Port;
use flux_lab::programs::Program;
use flux_lab::run_dir::RunDir;
use flux_lab::servers::{Postgres, PostgresOptions, Redis, RedisOptions};

fn main() {
    match std::env::var("LAB_TEST_ROLE").as_deref() {
        Ok("program") => return play_program(),
        Ok("owner") => return play_owner(),
        _ => {}
    }
    // `cargo test some_name` names other tests.
    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && !"processes".contains(&argument)) {
        return;
    }
    for (name, test) in [
        ("a_program_is_started_paused_killed_and_terminated", a_program_is_controlled as fn()),
        ("nothing_outlives_an_owner_that_is_killed", nothing_outlives_its_owner),
    ] {
        test();
        println!("test {name} ... ok");
    }
}

/// Ready from its second probe on; ends with code 0 on SIGTERM (the default action would be the signal).
fn play_program() {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGTERM]).unwrap();
    std::thread::spawn(move || {
        signals.forever().next();
        println!("drained");
        std::process::exit(0);
    });
    assert!(std::env::var_os("FLUX_STRAY").is_none(), "the developer's own environment is kept out");
    println!("listening on {}", std::env::var("FLUX_ADMIN").unwrap());
    let listener = TcpListener::bind(std::env::var("FLUX_ADMIN").unwrap()).unwrap();
    for (number, stream) in listener.incoming().enumerate() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let status = if number == 0 { "503 Service Unavailable" } else { "200 OK" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    }
}

fn a_program_is_controlled() {
    // SAFETY: this binary has no other thread yet that could read the environment.
    unsafe { std::env::set_var("FLUX_STRAY", "1") };
    let run = RunDir::new().unwrap();
    let port = Port::reserve().unwrap();
    let environment = [("LAB_TEST_ROLE", "program"), ("FLUX_ADMIN", &port.address().to_string())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let binary = std::env::current_exe().unwrap();
    let mut program = Program::new(&run, "fake", binary, environment, port.address());
    assert!(!program.is_running() && !program.is_ready());
    program.start().unwrap();
    assert!(program.is_running() && program.is_ready());

    program.pause().unwrap();
    let mut stream = TcpStream::connect(port.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").unwrap();
    assert!(stream.read(&mut [0; 64]).is_err(), "it is stopped");
    program.resume();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(stream.read(&mut [0; 64]).unwrap() > 0);

    let first = program.pid().unwrap();
    program.kill();
    assert!(!program.is_running() && !is_alive(first));
    program.start().unwrap();
    let status = program.terminate(Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(program.output().contains("listening on") && program.output().contains("drained"));
    assert!(program.terminate(Duration::from_secs(1)).is_err(), "it does not run");
}

/// Starts servers, stops one of them in its tracks, and waits to be killed.
fn play_owner() {
    let run = RunDir::new().unwrap();
    let _redis = Redis::start(&run, RedisOptions::default()).unwrap();
    let _postgres = Postgres::start(&run, PostgresOptions { fsync: false, ..Default::default() }).unwrap();
    let mut paused = Postgres::start(&run, PostgresOptions { fsync: false, ..Default::default() }).unwrap();
    paused.pause().unwrap();
    println!("{}", run.path().display());
    std::thread::sleep(Duration::from_secs(600));
}

fn nothing_outlives_its_owner() {
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.env("LAB_TEST_ROLE", "owner").stdout(Stdio::piped());
    let mut owner = owner.spawn().unwrap();
    let mut directory = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut directory).unwrap();
    let below = descendants(owner.id());
    assert!(below.len() > 10, "Redis, two PostgreSQL with their backends, a guard: {below:?}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    while below.iter().any(|pid| is_alive(*pid)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nobody was left to do it.
    std::fs::remove_dir_all(directory.trim()).unwrap();
}

fn stat(pid: u32) -> Option<(u32, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(_, state)| state != "Z")
}

fn descendants(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let above = found[at];
        found.extend(all.iter().filter(|child| stat(**child).is_some_and(|(parent, _)| parent == above)));
        at += 1;
    }
    found.split_off(1)
}
