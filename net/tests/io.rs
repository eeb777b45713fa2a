//! Real sockets on loopback, each test on every driver that this kernel offers.

mod support;

use std::cell::Cell;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use flux_net::limits::{RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES, UNTAKEN_TIME_MAX};
use flux_net::listener::{bind, is_taken};
use flux_net::{
    Address, Clock, Doorbell, Driver, DriverChoice, ListenOptions, Listener, Notify, Runtime, RuntimeOptions, Stream,
    Tail, Timer, sleep, spawn, within,
};

const LIMIT: Duration = Duration::from_secs(20);
const PLAIN: ListenOptions = ListenOptions { shared_port: false, wait_for_data: false };

fn on_each_driver<F: Future<Output = ()>>(test: impl Fn() -> F) {
    support::on_each_driver_within(LIMIT, test);
}

fn listen() -> (Listener, Address) {
    let listener =
        Listener::new(bind("127.0.0.1:0".parse().expect("an address"), PLAIN).expect("a port")).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    (listener, Address::Tcp { host: "127.0.0.1".into(), port })
}

#[test]
fn a_port_that_others_share_is_told_from_one_that_nobody_has() {
    let shared = ListenOptions { shared_port: true, wait_for_data: true };
    let first = bind("127.0.0.1:0".parse().expect("an address"), shared).expect("a port");
    let address = first.local_addr().expect("an address");
    assert!(is_taken(address).expect("an answer"));
    drop(bind(address, shared).expect("nothing keeps a second one from it"));
    drop(first);
    assert!(!is_taken(address).expect("an answer"));
}

#[test]
fn auto_ends_with_a_driver_and_says_what_was_refused() {
    let runtime = Runtime::build(RuntimeOptions::default()).expect("epoll at least");
    match runtime.driver() {
        Driver::Uring(_) => assert!(runtime.refused().is_empty()),
        Driver::Epoll => assert_eq!(runtime.refused().len(), 1),
    }
    let epoll = Runtime::build(RuntimeOptions { driver: DriverChoice::Epoll, monoio_timers: true }).expect("epoll");
    assert_eq!(epoll.driver(), Driver::Epoll);
}

#[test]
fn newcomers_that_are_ignored_are_refused_in_the_end_and_who_had_begun_is_served() {
    on_each_driver(|| async {
        let options = ListenOptions { shared_port: true, wait_for_data: true };
        let address = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::new(bind(address, options).expect("a port")).expect("a listener");
        let address = listener.local_addr().expect("an address");
        // Known to the kernel, and not handed over before it sends something.
        let mut begun = std::net::TcpStream::connect(address).expect("connected");
        listener.ignore_newcomers().expect("a filter");
        let newcomer = std::thread::spawn(move || std::net::TcpStream::connect(address).map(drop));
        let newcomer = async move {
            while !newcomer.is_finished() {
                sleep(Duration::from_millis(10)).await.expect("a timer");
            }
            newcomer.join().expect("it connects or not")
        };
        begun.write_all(b"hello").expect("sent");
        let (mut stream, _) = listener.accept().await.expect("the one that had begun");
        let (read, tail) = stream.read(Tail(BytesMut::with_capacity(64))).await;
        assert_eq!((read.expect("bytes"), &tail.0[..]), (5, &b"hello"[..]));
        stream.write_all(b"and more".to_vec()).await.0.expect("written");
        sleep(Duration::from_millis(50)).await.expect("a timer");
        assert!(!listener.has_waiting().expect("a socket"), "nobody came in since");
        listener.close();
        let refused = newcomer.await.expect_err("the port is closed when it asks again");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "nothing was sent that could be lost");
    });
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_seen() {
    on_each_driver(|| async {
        let (listener, address) = listen();
        assert!(!listener.has_waiting().expect("a socket"));
        let _client = std::net::TcpStream::connect(address.to_string()).expect("connected");
        assert!(listener.has_waiting().expect("a socket"));
        listener.accept().await.expect("it");
        assert!(!listener.has_waiting().expect("a socket"));
    });
}

#[test]
fn bytes_go_round_and_the_end_is_seen() {
    on_each_driver(|| async {
        let (listener, address) = listen();
        spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let (read, tail) = stream.read(Tail(BytesMut::with_capacity(64))).await;
            assert_eq!(read.expect("bytes"), 5);
            stream.write_all(tail.0).await.0.expect("written");
        });
        let stream = Stream::connect(&address, LIMIT).await.expect("connected");
        let (mut read, mut write) = stream.into_split();
        // The reader is pending before anything is written: both halves are in use at once.
        let seen = Rc::new(Cell::new(0));
        let (told, done) = (Rc::clone(&seen), Rc::new(Notify::new()));
        let finished = Rc::clone(&done);
        spawn(async move {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(16);
                let (result, tail) = read.read(Tail(buffer)).await;
                buffer = tail.0;
                match result.expect("a read") {
                    0 => break,
                    count => told.set(told.get() + count),
                }
            }
            assert_eq!(&buffer[..], b"hello");
            finished.notify();
        });
        write.write_all(b"hello".to_vec()).await.0.expect("written");
        done.notified().await;
        assert_eq!(seen.get(), 5);
    });
}

#[test]
fn unix_sockets_and_names_connect_and_closed_ports_refuse() {
    on_each_driver(|| async {
        let path = std::env::temp_dir().join(format!(
            "flux-net-{}-{:?}.sock",
            std::process::id(),
            std::thread::current().id()
        ));
        let _ = std::fs::remove_file(&path);
        let _listener = UnixListener::bind(&path).expect("a socket");
        Stream::connect(&Address::Unix(path.clone()), LIMIT).await.expect("connected");
        std::fs::remove_file(&path).expect("removed");
        assert!(Stream::connect(&Address::Unix(path), LIMIT).await.is_err());

        let (listener, address) = listen();
        let Address::Tcp { port, .. } = address else { unreachable!("a TCP listener") };
        Stream::connect(&Address::Tcp { host: "localhost".into(), port }, LIMIT).await.expect("by name");
        // Dropping alone closes a moment later on a ring, behind the connect.
        listener.close();
        let refused = Stream::connect(&Address::Tcp { host: "127.0.0.1".into(), port }, LIMIT).await;
        assert_eq!(refused.err().map(|error| error.kind()), Some(std::io::ErrorKind::ConnectionRefused));
    });
}

#[test]
fn closing_a_listener_ends_pending_accepts() {
    on_each_driver(|| async {
        let (listener, _) = listen();
        let listener = Rc::new(listener);
        let ended = Rc::new(Notify::new());
        let tasks = listener.accept_tasks(3);
        let left = Rc::new(Cell::new(tasks));
        for _ in 0..tasks {
            let (listener, ended, left) = (Rc::clone(&listener), Rc::clone(&ended), Rc::clone(&left));
            spawn(async move {
                assert!(listener.accept().await.is_err());
                left.set(left.get() - 1);
                ended.notify();
            });
        }
        sleep(Duration::from_millis(1)).await.expect("a timer");
        listener.close();
        while left.get() > 0 {
            ended.notified().await;
        }
    });
}

#[test]
fn shutdown_ends_a_pending_read_and_a_pending_write() {
    on_each_driver(|| async {
        let (listener, address) = listen();
        let stream = Stream::connect(&address, LIMIT).await.expect("connected");
        let (mut accepted, _) = listener.accept().await.expect("accepted");
        let (mut read, write) = stream.into_split();
        spawn(async move {
            sleep(Duration::from_millis(1)).await.expect("a timer");
            write.shutdown(Shutdown::Read).expect("shut down");
            // Nobody reads the other end, so this write cannot end by itself.
            std::mem::forget(write);
        });
        let (end, _) = read.read(Tail(BytesMut::with_capacity(8))).await;
        assert_eq!(end.expect("the end"), 0);
        let descriptor = accepted.as_raw_fd();
        spawn(async move {
            sleep(Duration::from_millis(5)).await.expect("a timer");
            flux_net::stream::shutdown(descriptor, Shutdown::Both).expect("shut down");
        });
        let (result, _) = accepted.write_all(vec![0_u8; 64 << 20]).await;
        assert!(result.is_err());
    });
}

#[test]
fn an_accepted_connection_has_bounded_buffers_and_patience() {
    on_each_driver(|| async {
        let (listener, address) = listen();
        let _stream = Stream::connect(&address, LIMIT).await.expect("connected");
        let (accepted, _) = listener.accept().await.expect("accepted");
        // SAFETY: the stream owns the descriptor and outlives the borrow.
        let accepted = unsafe { BorrowedFd::borrow_raw(accepted.as_raw_fd()) };
        let options = socket2::SockRef::from(&accepted);
        // The kernel doubles what it is told.
        assert_eq!(options.send_buffer_size().expect("an option"), 2 * SEND_BUFFER_BYTES);
        assert_eq!(options.recv_buffer_size().expect("an option"), 2 * RECEIVE_BUFFER_BYTES);
        assert_eq!(options.tcp_user_timeout().expect("an option"), Some(UNTAKEN_TIME_MAX));
    });
}

#[test]
fn try_write_says_when_there_is_no_room() {
    on_each_driver(|| async {
        let (listener, address) = listen();
        let stream = Stream::connect(&address, LIMIT).await.expect("connected");
        let (_accepted, _) = listener.accept().await.expect("accepted");
        let chunk = vec![0_u8; 1 << 20];
        let error = loop {
            match stream.try_write(&chunk) {
                Ok(sent) => assert!(sent > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_timer_can_be_set_earlier_while_it_is_waited_for() {
    on_each_driver(|| async {
        let clock = Clock::start();
        let timer = Rc::new(Timer::new().expect("a timer"));
        timer.set(Duration::from_secs(3600));
        let other = Rc::clone(&timer);
        spawn(async move {
            sleep(Duration::from_micros(300)).await.expect("a timer");
            other.set(Duration::ZERO);
        });
        timer.fired().await.expect("fired");
        assert!(clock.now().instant.as_micros() >= 300);
        // It stands still now: only the limit ends the wait.
        assert!(within(Duration::from_millis(2), timer.fired()).await.expect("a timer").is_none());
        timer.set(Duration::from_micros(100));
        timer.fired().await.expect("fired again");
    });
}

#[test]
fn a_doorbell_is_heard_from_another_thread_once_for_many_rings() {
    on_each_driver(|| async {
        let doorbell = Doorbell::new().expect("a doorbell");
        let listener = doorbell.listen().expect("a listener");
        let button = doorbell.clone();
        let thread = std::thread::spawn(move || {
            button.ring();
            button.ring();
        });
        listener.rung().await.expect("heard");
        thread.join().expect("rang twice");
        doorbell.ring();
        listener.rung().await.expect("heard again");
        assert!(within(Duration::from_millis(2), listener.rung()).await.expect("a timer").is_none());
    });
}
