use std::io::{ErrorKind, Read, Write};

use super::*;

/// A server that sends back what it reads, and closes when its client does.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                std::io::copy(&mut reader, &mut stream).ok();
                stream.shutdown(Shutdown::Write).ok();
            });
        }
    });
    address
}

fn through(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn answer(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Whether nothing comes for a moment.
fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let silent = stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    silent
}

#[test]
fn bytes_and_the_end_of_the_stream_pass_both_ways() {
    let proxy = Proxy::before(echo()).unwrap();
    let mut stream = through(&proxy);
    let sent: Vec<u8> = (0..200_000u32).map(|byte| byte as u8).collect();
    let writing = {
        let (mut stream, sent) = (stream.try_clone().unwrap(), sent.clone());
        std::thread::spawn(move || {
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        })
    };
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert!(got == sent);
    drop(stream);
    while proxy.connections() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_held_arrives_later_and_what_is_swallowed_never() {
    let proxy = Proxy::before(echo()).unwrap();
    let mut stream = through(&proxy);
    proxy.set(Way::ToClient, Wire::Hold);
    stream.write_all(b"held").unwrap();
    assert!(is_silent(&mut stream));
    proxy.set(Way::ToClient, Wire::Delay(Duration::from_millis(1)));
    assert_eq!(answer(&mut stream, 4), b"held");
    proxy.set(Way::ToServer, Wire::Swallow);
    stream.write_all(b"gone").unwrap();
    assert!(is_silent(&mut stream), "no answer, and no end either");
}

#[test]
fn a_pattern_stops_the_wire_at_its_first_byte() {
    let proxy = Proxy::before(echo()).unwrap();
    let mut stream = through(&proxy);
    proxy.trap(Way::ToServer, b"stop", Then::Hold(Way::ToServer));
    stream.write_all(b"before-stop-after").unwrap();
    assert_eq!(answer(&mut stream, 7), b"before-");
    proxy.wait_seen(Duration::from_secs(30)).unwrap();
    assert!(is_silent(&mut stream));
    proxy.pass();
    assert_eq!(answer(&mut stream, 10), b"stop-after");
    assert_eq!(proxy.seen(), 1);
    proxy.trap(Way::ToServer, b"never", Then::Damage(1));
    assert!(proxy.wait_seen(Duration::from_millis(1)).is_err());
}

#[test]
fn a_pattern_one_way_holds_the_other_or_is_damaged() {
    let proxy = Proxy::before(echo()).unwrap();
    let mut stream = through(&proxy);
    proxy.trap(Way::ToServer, b"ask", Then::Hold(Way::ToClient));
    stream.write_all(b"ask").unwrap();
    proxy.wait_seen(Duration::from_secs(30)).unwrap();
    assert!(is_silent(&mut stream));
    proxy.pass();
    assert_eq!(answer(&mut stream, 3), b"ask");
    proxy.trap(Way::ToServer, b"ab", Then::Damage(1));
    stream.write_all(b"abab").unwrap();
    assert_eq!(answer(&mut stream, 4), b"acab", "once");
}

#[test]
fn a_cut_lets_so_many_bytes_pass_and_resets() {
    let proxy = Proxy::before(echo()).unwrap();
    let mut stream = through(&proxy);
    proxy.set(Way::ToClient, Wire::CutAfter(3));
    stream.write_all(b"abcdef").unwrap();
    let mut got = Vec::new();
    // A reset may overtake bytes that were on their way.
    let ended = stream.read_to_end(&mut got);
    assert!(ended.is_err() || got.len() <= 3, "{got:?}");
    assert!(b"abc".starts_with(&got[..]), "{got:?}");
    let mut next = through(&proxy);
    next.write_all(b"again").unwrap();
    assert_eq!(answer(&mut next, 5), b"again");
}

#[test]
fn a_reset_is_a_reset_and_loses_what_was_held() {
    let proxy = Proxy::before(echo()).unwrap();
    let mut stream = through(&proxy);
    stream.write_all(b"x").unwrap();
    answer(&mut stream, 1);
    proxy.set(Way::ToServer, Wire::Hold);
    stream.write_all(b"lost").unwrap();
    proxy.reset();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    proxy.pass();
    let mut next = through(&proxy);
    next.write_all(b"new").unwrap();
    assert_eq!(answer(&mut next, 3), b"new");
}

#[test]
fn a_proxy_without_a_target_resets_and_can_be_aimed_elsewhere() {
    let proxy = Proxy::new().unwrap();
    let mut early = through(&proxy);
    assert!(early.read(&mut [0]).is_err());
    proxy.aim(echo());
    let mut stream = through(&proxy);
    stream.write_all(b"hi").unwrap();
    assert_eq!(answer(&mut stream, 2), b"hi");
}
