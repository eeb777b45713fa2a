//! TLS on real sockets, each test on every driver that this kernel offers. The peers are rustls on threads of their own, with
//! sockets that block.

mod peer;
#[path = "../support/mod.rs"]
mod support;

use std::cell::Cell;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use flux_net::listener::bind;
use flux_net::tls::{FlagNames, Reason, TlsFault, TlsOptions, Verification};
use flux_net::{Address, ClientTls, ListenOptions, Listener, Notify, ReadHalf, ServerTls, Stream, Tail, spawn};
use flux_test_support::certificates::{Authority, Identity};
use peer::{Peer, Server, joined};

const LIMIT: Duration = Duration::from_secs(60);
const PLAIN: ListenOptions = ListenOptions { shared_port: false, wait_for_data: false };
const FLAGS: FlagNames =
    FlagNames { ca: "--x-tls-ca", certificate: "--x-tls-cert", key: "--x-tls-key", server_name: "--x-tls-server-name" };

fn on_each_driver<F: Future<Output = ()>>(test: impl Fn() -> F) {
    support::on_each_driver_within(LIMIT, test);
}

fn options(authority: &Authority) -> TlsOptions {
    TlsOptions {
        ca: vec![authority.file()],
        identity: None,
        server_name: None,
        verification: Verification::Full,
        flags: FLAGS,
    }
}

fn client(authority: &Authority) -> ClientTls {
    ClientTls::load("x", options(authority)).expect("the issuer's file")
}

/// Some bytes that tell where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position / 251 + position) as u8).collect()
}

async fn read_exactly(read: &mut ReadHalf, length: usize) -> BytesMut {
    let mut buffer = BytesMut::new();
    while buffer.len() < length {
        buffer.reserve(16 * 1024);
        let (result, tail) = read.read(Tail(buffer)).await;
        buffer = tail.0;
        assert_ne!(result.expect("a read"), 0, "the end after {} bytes", buffer.len());
    }
    buffer
}

async fn fault(stream: std::io::Result<Stream>) -> TlsFault {
    let error = stream.err().expect("no connection");
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    error.get_ref().and_then(|inner| inner.downcast_ref::<TlsFault>()).unwrap_or_else(|| panic!("{line}")).clone()
}

#[test]
fn bytes_go_both_ways_at_once_and_the_second_connection_resumes() {
    let authority = Authority::new();
    let identity = authority.server("server", &["127.0.0.1"]);
    on_each_driver(|| async {
        const LENGTH: usize = 3_000_001;
        let tls = client(&authority);
        for round in 0..2 {
            let server = Server::start(&identity, None, |mut peer| {
                let mut heard = vec![0; LENGTH];
                peer.read_exact(&mut heard).expect("all of it");
                assert!(heard == pattern(LENGTH));
                peer.write_all(&heard).expect("taken");
                peer.goodbye();
            });
            let stream = Stream::connect_with(&server.address, Some(&tls), LIMIT).await.expect("connected");
            assert!(stream.peer_certificate().is_some());
            let (mut read, mut write) = stream.into_split();
            spawn(async move { assert_eq!(write.write_all(pattern(LENGTH)).await.0.expect("written"), LENGTH) });
            assert!(read_exactly(&mut read, LENGTH).await == pattern(LENGTH));
            let (end, _) = read.read(Tail(BytesMut::with_capacity(64))).await;
            assert_eq!(end.expect("a goodbye"), 0);
            server.join().await;
            assert_eq!((tls.figures().full(), tls.figures().resumed()), (1, round));
            assert!(tls.figures().peer_expiry().is_some_and(|seconds| seconds > 4_000_000_000));
        }
    });
}

/// A peer that writes megabytes before it reads a byte, and asks for new keys after every 100 records: where we stopped
/// reading while it takes nothing of ours, both would wait for ever. What we wrote meanwhile arrives whole.
#[test]
fn new_keys_with_both_directions_full_stop_nobody() {
    let authority = Authority::new();
    let identity = authority.server("server", &["127.0.0.1"]);
    on_each_driver(|| async {
        const RECORDS: usize = 6_000;
        const RECORD: usize = 1_000;
        const OURS: usize = 24 << 20;
        let server = Server::start(&identity, None, |mut peer| {
            for (record, bytes) in pattern(RECORDS * RECORD).chunks(RECORD).enumerate() {
                peer.write_all(bytes).expect("taken");
                if record % 100 == 99 {
                    peer.ask_for_new_keys();
                }
            }
            let mut heard = vec![0; OURS];
            peer.read_exact(&mut heard).expect("all of it");
            assert!(heard == pattern(OURS));
            peer.goodbye();
        });
        let stream = Stream::connect_with(&server.address, Some(&client(&authority)), LIMIT).await.expect("connected");
        let (mut read, mut write) = stream.into_split();
        // Fills its direction first: from here on the write waits.
        let (blocked, done) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (is_blocked, finished) = (Rc::clone(&blocked), Rc::clone(&done));
        spawn(async move {
            let bytes = pattern(OURS);
            let mut sent = 0;
            while let Ok(count) = write.try_write(&bytes[sent..(sent + 64 * 1024).min(OURS)]) {
                sent += count;
            }
            assert!(sent < OURS, "the peer reads nothing yet");
            is_blocked.notify();
            write.write_all(bytes[sent..].to_vec()).await.0.expect("written");
            finished.notify();
        });
        blocked.notified().await;
        assert!(read_exactly(&mut read, RECORDS * RECORD).await == pattern(RECORDS * RECORD));
        done.notified().await;
        server.join().await;
    });
}

/// What a slow peer makes a connection hold is one write, whoever asks how often.
#[test]
fn nothing_more_is_encrypted_while_something_waits() {
    let authority = Authority::new();
    let identity = authority.server("server", &["127.0.0.1"]);
    on_each_driver(|| async {
        let (go, gone) = std::sync::mpsc::channel::<usize>();
        let server = Server::start(&identity, None, move |mut peer| {
            peer.shake_hands();
            let mut heard = vec![0; gone.recv().expect("told")];
            peer.read_exact(&mut heard).expect("all of it");
            peer.goodbye();
        });
        let stream = Stream::connect_with(&server.address, Some(&client(&authority)), LIMIT).await.expect("connected");
        let (mut read, mut write) = stream.into_split();
        let burst = vec![7; 1 << 20];
        let mut taken = 0;
        let refused = loop {
            match write.try_write(&burst) {
                Ok(count) => taken += count,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(write.try_write(b"more").map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
        go.send(taken + 4).expect("it listens");
        write.write_all(b"last".to_vec()).await.0.expect("written");
        let (end, _) = read.read(Tail(BytesMut::with_capacity(64))).await;
        assert_eq!(end.expect("a goodbye"), 0);
        server.join().await;
    });
}

#[test]
fn a_shutdown_ends_a_pending_read_and_a_blocked_write() {
    let authority = Authority::new();
    let identity = authority.server("server", &["127.0.0.1"]);
    on_each_driver(|| async {
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let server = Server::start(&identity, None, move |mut peer| {
            // The handshake and a byte; then it reads nothing before the writer's end.
            let _ = std::io::Read::read(&mut peer, &mut [0]);
            let _ = is_over.recv();
            peer.wait_for_end();
        });
        let stream = Stream::connect_with(&server.address, Some(&client(&authority)), LIMIT).await.expect("connected");
        let (mut read, mut write) = stream.into_split();
        let socket = std::os::fd::AsRawFd::as_raw_fd(&write);
        let ended = Rc::new(Cell::new(false));
        let (seen, done) = (Rc::clone(&ended), Rc::new(Notify::new()));
        let finished = Rc::clone(&done);
        spawn(async move {
            assert!(write.write_all(vec![0; 64 << 20]).await.0.is_err(), "nobody reads");
            seen.set(true);
            finished.notify();
        });
        flux_net::sleep(Duration::from_millis(50)).await.expect("a timer");
        flux_net::stream::shutdown(socket, Shutdown::Both).expect("open");
        let (end, _) = read.read(Tail(BytesMut::with_capacity(64))).await;
        assert_eq!(end.unwrap_or(0), 0);
        done.notified().await;
        assert!(ended.get());
        drop((read, over));
        server.join().await;
    });
}

#[test]
fn what_is_missing_is_said_in_one_line_and_counted() {
    let (authority, impostor, stranger) = (Authority::new(), Authority::new(), Authority::called("a stranger"));
    on_each_driver(|| async {
        let tls = client(&authority);
        let meet = async |identity: Identity| {
            let server = Server::start(&identity, None, |mut peer| peer.wait_for_end());
            let fault = fault(Stream::connect_with(&server.address, Some(&tls), LIMIT).await).await;
            server.join().await;
            assert_eq!(fault.peer, server_name(&fault.peer), "the address is said");
            fault
        };
        let other = meet(authority.server("other", &["db.example", "*.cache.example", "10.0.0.1"])).await;
        assert_eq!(other.reason, Reason::WrongName);
        assert_eq!(
            other.what,
            "its certificate is for other names: db.example, *.cache.example, 10.0.0.1 (--x-tls-server-name)"
        );
        let expired = meet(authority.expired("expired", &["127.0.0.1"])).await;
        assert_eq!(expired.reason, Reason::Expired);
        assert_eq!(expired.what, "its certificate expired on Thu, 31 Dec 2020 00:00:00 GMT, by the clock here");
        let unknown = meet(stranger.server("unknown", &["127.0.0.1"])).await;
        assert_eq!(unknown.reason, Reason::UnknownIssuer);
        assert_eq!(unknown.what, "its certificate was issued by nobody who is trusted (--x-tls-ca)");
        let forged = meet(impostor.server("forged", &["127.0.0.1"])).await;
        assert_eq!(forged.reason, Reason::UnknownIssuer);
        assert!(forged.what.contains("not issued with the key of the issuer of that name"), "{}", forged.what);
        for (reason, times) in [(Reason::WrongName, 1), (Reason::Expired, 1), (Reason::UnknownIssuer, 2)] {
            assert_eq!(tls.figures().failures(reason), times, "{reason:?}");
        }
        assert_eq!((tls.figures().full(), tls.figures().failures(Reason::Other)), (0, 0));
    });
}

/// An address as `Display` writes it.
fn server_name(text: &str) -> String {
    Address::parse_tcp(text, 1).expect("an address").to_string()
}

#[test]
fn the_name_may_differ_from_the_address_and_less_may_be_asked_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    on_each_driver(|| async {
        let connect = async |options: TlsOptions, identity: &Identity| {
            let server = Server::start(identity, None, |mut peer| peer.wait_for_end());
            let tls = ClientTls::load("x", options).expect("files");
            let connected = Stream::connect_with(&server.address, Some(&tls), LIMIT).await;
            let outcome = connected.map(drop);
            server.join().await;
            outcome
        };
        let named = authority.server("named", &["cache.example"]);
        let name = Some(flux_net::tls::ServerName::try_from("cache.example").expect("a name"));
        connect(TlsOptions { server_name: name, ..options(&authority) }, &named).await.expect("its own name");
        connect(options(&authority), &named).await.expect_err("the address is not its name");
        let less = TlsOptions { verification: Verification::Issuer, ..options(&authority) };
        connect(less.clone(), &named).await.expect("its issuer is trusted");
        let foreign = stranger.server("foreign", &["127.0.0.1"]);
        connect(less, &foreign).await.expect_err("its issuer is not");
        connect(TlsOptions { verification: Verification::Nothing, ..options(&authority) }, &foreign)
            .await
            .expect("nothing was asked");
    });
}

#[test]
fn a_server_that_wants_to_know_us_is_told_or_says_so() {
    let authority = Authority::new();
    let (identity, ours) = (authority.server("server", &["127.0.0.1"]), authority.client("edge"));
    on_each_driver(|| async {
        let server = Server::start(&identity, Some(authority.file()), |mut peer| {
            peer.write_all(b"welcome").expect("taken");
            peer.goodbye();
        });
        let with = TlsOptions { identity: Some((ours.certificate.clone(), ours.key.clone())), ..options(&authority) };
        let tls = ClientTls::load("x", with).expect("files");
        assert!(tls.figures().own_expiry().is_some());
        let stream = Stream::connect_with(&server.address, Some(&tls), LIMIT).await.expect("connected");
        let (mut read, _write) = stream.into_split();
        assert_eq!(&read_exactly(&mut read, 7).await[..], b"welcome");
        server.join().await;

        let server = Server::start(&identity, Some(authority.file()), |mut peer| peer.wait_for_end());
        let tls = client(&authority);
        // In TLS 1.3 the client is done first: the refusal comes where the first answer would.
        let mut stream = Stream::connect_with(&server.address, Some(&tls), LIMIT).await.expect("half of it");
        let (refused, _) = stream.read(Tail(BytesMut::with_capacity(64))).await;
        let line = refused.expect_err("refused").to_string();
        assert_eq!(line, format!("TLS with {}: it wants a client certificate (--x-tls-cert)", server.address));
        assert_eq!(tls.figures().failures(Reason::Refused), 1);
        server.join().await;
    });
}

#[test]
fn a_server_without_tls_is_no_server() {
    let authority = Authority::new();
    on_each_driver(|| async {
        let tls = client(&authority);
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::parse_tcp(&silent.local_addr().expect("bound").to_string(), 1).expect("an address");
        let limit = Duration::from_millis(200);
        let silence = fault(Stream::connect_with(&address, Some(&tls), limit).await).await;
        assert_eq!(silence.reason, Reason::Silent);
        assert_eq!(silence.what, "no answer to the handshake: is TLS spoken on that port?");
        let plain = std::thread::spawn(move || {
            // The one that was given up waits first.
            for _ in 0..2 {
                let (mut stream, _) = silent.accept().expect("a client");
                // The one that was given up may be gone.
                let _ = stream.write_all(b"-ERR unknown command\r\n");
                let _ = stream.read(&mut [0; 1024]);
            }
        });
        let spoken = fault(Stream::connect_with(&address, Some(&tls), LIMIT).await).await;
        assert_eq!((spoken.reason, &*spoken.what), (Reason::NotTls, "what it sent is not TLS"));
        joined(plain).await;
    });
}

/// Where TLS was spoken before, nobody is sent to look at ports: the server hangs, or something on the way closes.
#[test]
fn whether_tls_is_spoken_there_is_not_asked_of_a_server_that_spoke_it() {
    let authority = Authority::new();
    let identity = authority.server("server", &["127.0.0.1"]);
    on_each_driver(|| async {
        let tls = client(&authority);
        let server = Server::start(&identity, None, |mut peer| peer.wait_for_end());
        let address = server.address.clone();
        drop(Stream::connect_with(&address, Some(&tls), LIMIT).await.expect("connected"));
        server.join().await;
        let again = std::net::TcpListener::bind(address.to_string()).expect("the same port");
        let limit = Duration::from_millis(200);
        let silence = fault(Stream::connect_with(&address, Some(&tls), limit).await).await;
        assert_eq!(silence.reason, Reason::Silent);
        assert_eq!(silence.what, "no answer to the handshake, where one has succeeded before");
        let closing = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = again.accept().expect("a client");
                // What was said is read, so that the end is no reset.
                let _ = stream.read(&mut [0; 4096]);
            }
        });
        let closed = fault(Stream::connect_with(&address, Some(&tls), LIMIT).await).await;
        assert_eq!(closed.reason, Reason::Closed);
        assert!(!closed.what.contains("is TLS spoken"), "{}", closed.what);
        joined(closing).await;
    });
}

#[test]
fn files_are_read_anew_and_what_cannot_be_used_changes_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let identity = stranger.server("server", &["127.0.0.1"]);
    let trusted = authority.directory().join("trusted.pem");
    on_each_driver(|| async {
        std::fs::copy(authority.file(), &trusted).expect("copied");
        let tls =
            ClientTls::load("x", TlsOptions { ca: vec![trusted.clone()], ..options(&authority) }).expect("a file");
        let connect = async || {
            let server = Server::start(&identity, None, |mut peer| peer.wait_for_end());
            let connected = Stream::connect_with(&server.address, Some(&tls), LIMIT).await.map(drop);
            server.join().await;
            connected
        };
        connect().await.expect_err("a stranger's");
        assert!(!tls.reload().expect("the same"));
        std::fs::write(&trusted, "no certificate").expect("written");
        let line = tls.reload().expect_err("nothing in it").to_string();
        assert!(line.contains("trusted.pem: no certificate in it"), "{line}");
        assert_eq!(tls.figures().reload_failures(), 1);
        connect().await.expect_err("what was trusted still is, and no more");
        std::fs::copy(stranger.file(), &trusted).expect("copied");
        assert!(tls.reload().expect("the other"));
        connect().await.expect("trusted now");
    });
}

#[test]
fn a_certificate_that_is_out_of_date_is_told_and_takes_no_good_ones_place() {
    let authority = Authority::new();
    let good = authority.server("own", &["shop.example"]);
    let tls = ServerTls::load(good.certificate.clone(), good.key.clone()).expect("files");
    let link = TlsOptions { identity: Some((good.certificate.clone(), good.key.clone())), ..options(&authority) };
    let link = ClientTls::load("x", link).expect("files");
    std::fs::set_permissions(&good.key, Permissions::from_mode(0o600)).expect("ours");
    assert!(tls.warnings().is_empty() && link.warnings().is_empty());
    authority.expired("own", &["shop.example"]);
    for line in [tls.reload().map(drop), link.reload().map(drop)] {
        let line = line.expect_err("it is out of date").to_string();
        assert!(line.contains("own") && line.contains("expired on") && !line.contains('\n'), "{line}");
    }
    assert_eq!((tls.figures().reload_failures(), link.figures().reload_failures()), (1, 1));
    // Where it is all there is, a program starts with it: the clock may be what is wrong. And a good one takes its place.
    let late = ServerTls::load(good.certificate.clone(), good.key.clone()).expect("files");
    std::fs::set_permissions(&good.key, Permissions::from_mode(0o644)).expect("ours");
    let warnings = late.warnings();
    assert!(
        matches!(&warnings[..], [old, open] if old.contains("expired on") && open.contains("chmod")),
        "{warnings:?}"
    );
    authority.server("own", &["shop.example"]);
    assert!(late.reload().expect("a good one") && tls.reload().expect("another good one"));
    std::fs::set_permissions(&good.key, Permissions::from_mode(0o600)).expect("ours");
    assert!(late.warnings().is_empty());
}

fn listen() -> (Listener, Address) {
    let listener =
        Listener::new(bind("127.0.0.1:0".parse().expect("an address"), PLAIN).expect("a port")).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    (listener, Address::Tcp { host: "127.0.0.1".into(), port })
}

#[test]
fn a_listener_serves_both_versions_resumes_and_shows_what_it_read_last() {
    let authority = Authority::new();
    on_each_driver(|| async {
        let identity = authority.server("public", &["shop.example"]);
        let tls = ServerTls::load(identity.certificate.clone(), identity.key.clone()).expect("files");
        let (listener, address) = listen();
        let clients = Peer::client_config(&authority.file());
        let speak = async |versions: peer::Versions| {
            let (address, clients) = (address.to_string(), clients.clone());
            let client = std::thread::spawn(move || {
                let mut peer = Peer::connect(&address, "shop.example", &clients, versions);
                peer.write_all(b"ping").expect("taken");
                let mut heard = [0; 4];
                peer.read_exact(&mut heard).expect("an answer");
                assert_eq!(&heard, b"pong");
                peer.wait_for_end();
                (peer.alpn(), peer.certificate())
            });
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = stream.serve_tls(&tls, b"").await.expect("a handshake");
            let mut heard = BytesMut::new();
            while heard.len() < 4 {
                heard.reserve(64);
                let (read, tail) = stream.read(Tail(heard)).await;
                heard = tail.0;
                assert_ne!(read.expect("a read"), 0);
            }
            assert_eq!(&heard[..], b"ping");
            stream.write_all(b"pong".to_vec()).await.0.expect("written");
            drop(stream);
            joined(client).await
        };
        let (alpn, first) = speak(peer::Versions::Tls13).await;
        assert_eq!(alpn.as_deref(), Some(&b"http/1.1"[..]));
        speak(peer::Versions::Tls13).await;
        assert_eq!((tls.figures().full(), tls.figures().resumed()), (1, 1));
        speak(peer::Versions::Tls12).await;
        speak(peer::Versions::Tls12).await;
        assert_eq!((tls.figures().full(), tls.figures().resumed()), (2, 2));

        let key = std::fs::read(&identity.key).expect("a key");
        std::fs::write(&identity.key, b"half a key").expect("written");
        tls.reload().expect_err("no key");
        std::fs::write(&identity.key, key).expect("written");
        authority.server("public", &["shop.example"]);
        assert!(tls.reload().expect("another certificate"));
        let fresh = Peer::client_config(&authority.file());
        let before = tls.figures().full();
        let clients = fresh;
        let (address, config) = (address.to_string(), clients);
        let client = std::thread::spawn(move || {
            let mut peer = Peer::connect(&address, "shop.example", &config, peer::Versions::Tls13);
            peer.wait_for_end();
            peer.certificate()
        });
        let (stream, _) = listener.accept().await.expect("a client");
        drop(stream.serve_tls(&tls, b"").await.expect("a handshake"));
        assert_ne!(joined(client).await, first, "the new one");
        assert_eq!(tls.figures().full(), before + 1);
        listener.close();
    });
}

#[test]
fn clients_without_tls_are_told_or_closed_and_counted() {
    let authority = Authority::new();
    let identity = authority.server("public", &["shop.example"]);
    on_each_driver(|| async {
        let tls = ServerTls::load(identity.certificate.clone(), identity.key.clone()).expect("files");
        let (listener, address) = listen();
        for (sent, answer, reason) in [
            (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &b"this is TLS"[..], Reason::PlainHttp),
            (b"\x00\x01\x02\x03garbage", b"", Reason::NotTls),
            (b"", b"", Reason::Closed),
        ] {
            let address = address.to_string();
            let client = std::thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).expect("connected");
                stream.write_all(sent).expect("sent");
                if sent.is_empty() {
                    return Vec::new();
                }
                let mut heard = Vec::new();
                // A reset is an end too: what was sent is not all read.
                let _ = stream.read_to_end(&mut heard);
                heard
            });
            let (stream, _) = listener.accept().await.expect("a client");
            assert_eq!(fault(stream.serve_tls(&tls, b"this is TLS").await).await.reason, reason);
            let heard = joined(client).await;
            if reason == Reason::PlainHttp {
                assert_eq!(heard, answer);
            }
            assert_eq!(tls.figures().failures(reason), 1);
        }
        assert_eq!(tls.figures().full(), 0);
        listener.close();
    });
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let authority = Authority::new();
    let (one, other) = (authority.server("one", &["a"]), authority.server("two", &["b"]));
    let line = |certificate: &Identity, key: &Identity| {
        ServerTls::load(certificate.certificate.clone(), key.key.clone()).expect_err("refused").to_string()
    };
    let mixed = line(&one, &other);
    assert!(mixed.ends_with("the key is not this certificate's"), "{mixed}");
    let missing = Identity { certificate: "/nonexistent/fullchain.pem".into(), key: other.key.clone() };
    assert!(line(&missing, &other).starts_with("/nonexistent/fullchain.pem: "));
    let swapped = Identity { certificate: one.key.clone(), key: one.certificate.clone() };
    assert!(line(&swapped, &one).contains("no certificate in it"));
    assert!(line(&one, &swapped).contains("no private key in it"));
}

/// A copy that was cut off, or an editor's slip: what is wrong is said in words, and no line of a key.
#[test]
fn a_file_that_was_written_by_half_is_told_in_words() {
    let authority = Authority::new();
    let (good, broken) = (authority.server("good", &["a"]), authority.server("broken", &["b"]));
    let text = |path| std::fs::read_to_string(path).expect("a file");
    let (certificate, key) = (text(&good.certificate), text(&good.key));
    let line = |certificate: &str, key: &str| {
        std::fs::write(&broken.certificate, certificate).expect("written");
        std::fs::write(&broken.key, key).expect("written");
        let line = ServerTls::load(broken.certificate.clone(), broken.key.clone()).expect_err("refused").to_string();
        assert!(!line.contains('[') && !line.contains('\n'), "{line}");
        line
    };
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let cut = line(&half(&certificate), &key);
    assert!(cut.ends_with("the section CERTIFICATE has no end: the file is cut off"), "{cut}");
    let cut = line(&certificate, &half(&key));
    assert!(cut.ends_with("the section PRIVATE KEY has no end: the file is cut off"), "{cut}");
    let begun = line(&certificate.replacen("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE--", 1), &key);
    assert!(begun.ends_with("a line that begins a section does not end with five dashes"), "{begun}");
    let garbled = line(&certificate.replacen("MII", "M!I", 1), &key);
    assert!(garbled.ends_with("what a section holds is no base64"), "{garbled}");
}
