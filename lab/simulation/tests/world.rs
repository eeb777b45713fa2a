//! The world itself: bytes travel in order, faults do what they are called, and a seed repeats a run.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use flux_net::{Address, ListenOptions, Listener, Stream, Tail, listener, sleep, spawn};
use flux_protocol::time::{Instant, Now};
use flux_simulation::peer::{Peer, SocketId};
use flux_simulation::random::Random;
use flux_simulation::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Sends back what it gets.
#[derive(Default)]
struct Echo {
    out: Vec<(SocketId, Bytes)>,
    ended: usize,
}

impl Peer for Echo {
    fn is_listening(&self, port: u16) -> bool {
        port == 7
    }
    fn handle_open(&mut self, _now: Now, _socket: SocketId, _port: u16) {}
    fn handle_bytes(&mut self, _now: Now, socket: SocketId, received: &mut BytesMut) {
        self.out.push((socket, received.copy_to_bytes(received.len())));
    }
    fn handle_closed(&mut self, _now: Now, _socket: SocketId) {
        self.ended += 1;
    }
    fn handle_time(&mut self, _now: Now) {}
    fn next_deadline(&self) -> Instant {
        Instant::FAR_FUTURE
    }
    fn poll_write(&mut self) -> Option<(SocketId, Bytes)> {
        (!self.out.is_empty()).then(|| self.out.remove(0))
    }
    fn poll_close(&mut self) -> Option<SocketId> {
        None
    }
}

fn address(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

/// Sends numbers to the echo for ever; how many came back, in order.
async fn converse(heard: Rc<Cell<u64>>, failures: Rc<Cell<u64>>) {
    loop {
        if let Ok(mut stream) = Stream::connect(&address("echo", 7), SECOND).await {
            let mut buffer = BytesMut::with_capacity(1 << 16);
            let mut expected = 0_u64;
            'connection: loop {
                let (written, _) = stream.write_all(expected.to_be_bytes().to_vec()).await;
                if written.is_err() {
                    break;
                }
                while buffer.len() < 8 {
                    let (read, tail) = stream.read(Tail(std::mem::take(&mut buffer))).await;
                    buffer = tail.0;
                    if !matches!(read, Ok(1..)) {
                        break 'connection;
                    }
                }
                assert_eq!(buffer.get_u64(), expected, "a connection keeps its order");
                buffer.reserve(64);
                expected += 1;
                heard.set(heard.get() + 1);
            }
        }
        failures.set(failures.get() + 1);
        sleep(Duration::from_millis(100)).await.expect("a timer");
    }
}

struct Run {
    world: World,
    echo: Rc<RefCell<Echo>>,
    heard: Rc<Cell<u64>>,
    failures: Rc<Cell<u64>>,
}

fn run(seed: u64) -> Run {
    let mut world = World::new(Random::new(seed), 1_705_234_700_000);
    let echo = Rc::new(RefCell::new(Echo::default()));
    world.add_peer("echo", Rc::<RefCell<Echo>>::clone(&echo));
    Run { world, echo, heard: Rc::default(), failures: Rc::default() }
}

impl Run {
    fn talker(&mut self) -> flux_simulation::world::ProcessId {
        let (heard, failures) = (Rc::clone(&self.heard), Rc::clone(&self.failures));
        self.world.start("talker", || vec![Box::pin(converse(heard, failures))])
    }

    fn heard_in_a_second(&mut self) -> u64 {
        let before = self.heard.get();
        self.world.run_for(SECOND);
        self.heard.get() - before
    }
}

#[test]
fn a_seed_repeats_a_run_and_another_does_not() {
    let trace = |seed| {
        let mut run = run(seed);
        run.talker();
        run.world.run_for(SECOND);
        (run.world.trace(), run.heard.get())
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1).0, trace(2).0);
    assert!(trace(1).1 > 500, "{:?}", trace(1));
}

#[test]
fn what_is_killed_says_nothing_more_and_its_connections_end() {
    let mut run = run(3);
    let talker = run.talker();
    assert!(run.heard_in_a_second() > 0);
    run.world.kill(talker);
    assert!(!run.world.is_alive(talker));
    assert_eq!(run.heard_in_a_second(), 0);
    assert_eq!(run.echo.borrow().ended, 1);
    assert_eq!(run.world.descriptors(talker), 0);
}

#[test]
fn what_is_paused_goes_on_where_it_was() {
    let mut run = run(4);
    let talker = run.talker();
    assert!(run.heard_in_a_second() > 0);
    run.world.pause(talker, true);
    assert_eq!(run.heard_in_a_second(), 0);
    run.world.pause(talker, false);
    assert!(run.heard_in_a_second() > 0);
    assert_eq!(run.failures.get(), 0);
}

#[test]
fn a_short_cut_loses_nothing_and_a_long_one_ends_connections() {
    let mut run = run(5);
    run.talker();
    assert!(run.heard_in_a_second() > 0);
    run.world.cut("talker", "echo:7");
    run.world.run_for(Duration::from_millis(100)); // What had arrived already is answered.
    assert_eq!(run.heard_in_a_second(), 0);
    run.world.mend("talker", "echo:7");
    assert!(run.heard_in_a_second() > 0);
    assert_eq!(run.failures.get(), 0);
    run.world.cut("talker", "echo:7");
    run.world.run_for(15 * SECOND);
    assert!(run.failures.get() > 0, "the kernel gives up a connection that nobody acknowledges");
    run.world.mend("talker", "echo:7");
    run.world.run_for(2 * SECOND);
    assert!(run.heard_in_a_second() > 0);
}

#[test]
fn a_reset_ends_both_sides() {
    let mut run = run(6);
    run.talker();
    run.world.run_for(SECOND);
    run.world.reset("talker", "echo:7");
    assert_eq!(run.echo.borrow().ended, 1);
    run.world.run_for(SECOND);
    assert_eq!(run.failures.get(), 1);
    assert!(run.heard_in_a_second() > 0);
}

#[test]
fn processes_talk_to_each_other_and_end_with_their_main_future() {
    let mut world = World::new(Random::new(7), 0);
    let served = world.start("server", || {
        vec![Box::pin(async {
            let options = ListenOptions { shared_port: false, wait_for_data: false };
            let bound = listener::bind("127.0.0.1:80".parse().expect("an address"), options).expect("a port");
            let (mut stream, _) = Listener::new(bound).expect("a listener").accept().await.expect("a connection");
            let (read, tail) = stream.read(Tail(BytesMut::with_capacity(16))).await;
            assert_eq!((read.expect("a word"), &tail.0[..]), (5, &b"hello"[..]));
            let (written, _) = stream.write_all(b"goodbye".to_vec()).await;
            written.expect("written");
        })]
    });
    let answer = Rc::new(RefCell::new(String::new()));
    let told = Rc::clone(&answer);
    world.start("client", || {
        spawn(async move {
            let mut stream = Stream::connect(&address("server", 80), SECOND).await.expect("connected");
            stream.write_all(b"hello".to_vec()).await.0.expect("written");
            let mut buffer = BytesMut::with_capacity(64);
            while let (Ok(1..), tail) = stream.read(Tail(std::mem::take(&mut buffer))).await {
                buffer = tail.0;
                buffer.reserve(64);
                *told.borrow_mut() = String::from_utf8(buffer.to_vec()).expect("text");
            }
        });
        vec![Box::pin(std::future::pending())]
    });
    world.run_for(SECOND);
    assert_eq!(*answer.borrow(), "goodbye");
    assert!(!world.is_alive(served));
    let refused = Rc::new(Cell::new(false));
    let told = Rc::clone(&refused);
    world.start("late", || {
        vec![Box::pin(async move { told.set(Stream::connect(&address("server", 80), SECOND).await.is_err()) })]
    });
    world.run_for(SECOND);
    assert!(refused.get(), "nobody listens any more");
}
