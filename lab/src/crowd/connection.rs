//! One keep-alive connection of the crowd: takes a job, sends it, reads the answer, says what it came to.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use monoio::buf::{IoBufMut, SliceMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::engine::Shared;
use super::history::Exchange;
use super::order::Order;
use super::outcome::{Doubt, Outcome, Refusal};
use super::work::{Job, Next};

/// A server closes a connection that rests for long (an edge as `--keep-alive` says, what stands before it perhaps sooner); one
/// that has rested for so long is opened anew.
const REST_MAX_US: u64 = 10_000_000;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const READ_BYTES: usize = 1024;
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where a connection goes and comes from.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) target: SocketAddr,
    pub(super) source: Option<Ipv4Addr>,
}

/// What came back for one request.
struct Answer {
    outcome: Outcome,
    status: Option<u16>,
    retry_after: Option<Duration>,
    /// Whether the connection may be used again.
    keep: bool,
}

impl Answer {
    fn none(outcome: Outcome) -> Answer {
        Answer { outcome, status: None, retry_after: None, keep: false }
    }
}

/// Opens a connection, from `source` where given.
pub(super) async fn open(target: SocketAddr, source: Option<Ipv4Addr>, uring: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(target)) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
    match monoio::time::timeout(CONNECT_MAX, stream.writable(true)).await {
        Ok(result) => result?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    }
    let descriptor = stream.as_raw_fd();
    let error = with_socket(descriptor, |socket| socket.take_error())?;
    if let Some(error) = error {
        return Err(error);
    }
    if uring {
        // The ring answers EAGAIN on a descriptor that does not block, in place of waiting.
        with_socket(descriptor, |socket| socket.set_nonblocking(false))?;
    }
    Ok(stream)
}

fn with_socket<T>(descriptor: RawFd, act: impl FnOnce(&socket2::SockRef<'_>) -> T) -> T {
    // SAFETY: the stream that owns the descriptor outlives this call.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    act(&socket2::SockRef::from(&borrowed))
}

/// Serves buyers until there is nothing left to do. `slot` is its place in [`Shared::overdue`].
pub(super) async fn serve(shared: Rc<Shared>, slot: usize, ends: Ends, mut stream: Option<TcpStream>) {
    let mut used_us = shared.clock.now_us();
    let mut out = Vec::with_capacity(512);
    let mut read = Vec::with_capacity(READ_BYTES);
    while let Some(job) = next_job(&shared).await {
        let mut now_us = shared.clock.now_us();
        if now_us > used_us + REST_MAX_US {
            stream = None;
        }
        if stream.is_none() {
            stream = open(ends.target, ends.source, shared.uring).await.ok();
            shared.report.borrow_mut().reconnects += 1;
            now_us = shared.clock.now_us();
        }
        let sent_us = now_us;
        let answer = match &mut stream {
            None => Answer::none(Outcome::No(Refusal::NotSent)),
            Some(stream) => {
                let overdue_us = sent_us + shared.options.timeout.as_micros() as u64;
                shared.overdue.borrow_mut()[slot] = Some((stream.as_raw_fd(), overdue_us));
                write_request(&mut out, &job.order, ends.target, shared.options.accept_json);
                let mut answer = exchange(stream, &mut out, &mut read).await;
                shared.overdue.borrow_mut()[slot] = None;
                if matches!(answer.outcome, Outcome::Unknown(Doubt::Reset)) && shared.clock.now_us() >= overdue_us {
                    answer.outcome = Outcome::Unknown(Doubt::Timeout);
                }
                answer
            }
        };
        let answered_us = shared.clock.now_us();
        used_us = answered_us;
        if !answer.keep {
            stream = None;
        }
        note(&shared, job, &answer, sent_us, answered_us);
    }
    shared.open.set(shared.open.get() - 1);
}

fn note(shared: &Shared, job: Job, answer: &Answer, sent_us: u64, answered_us: u64) {
    let mut report = shared.report.borrow_mut();
    report.note(&answer.outcome, answer.status, answered_us - sent_us, answered_us.saturating_sub(job.due_us));
    shared.progress.note(&answer.outcome);
    if shared.options.history {
        let order = std::sync::Arc::clone(&job.order);
        let exchange = Exchange { order, attempt: job.attempt, sent_us, answered_us, outcome: answer.outcome };
        report.history.exchanges.push(exchange);
    }
    let mut work = shared.work.borrow_mut();
    if work.finished(job, &answer.outcome, answer.retry_after, answered_us) {
        report.note_buyer(&answer.outcome);
        shared.progress.note_buyer();
    }
    if work.is_over(answered_us) {
        drop(work);
        shared.wake_all();
    }
}

/// The next job, or `None` when there will be none.
async fn next_job(shared: &Shared) -> Option<Job> {
    poll_fn(|context| {
        let now_us = shared.clock.now_us();
        match shared.work.borrow_mut().next(now_us) {
            Next::Job(job) => Poll::Ready(Some(job)),
            Next::Over => Poll::Ready(None),
            Next::Rest => {
                shared.resting.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

fn write_request(out: &mut Vec<u8>, order: &Order, host: SocketAddr, accept_json: bool) {
    use std::io::Write as _;
    out.clear();
    let Order { product, user, key, quantity } = order;
    let digits = quantity.checked_ilog10().unwrap_or(0) as usize + 1;
    // What the three pieces below take beside the order's own words.
    let length = r#"{"productId":"","userId":"","quantity":}"#.len() + product.len() + user.len() + digits;
    let accept = if accept_json { "accept: application/json\r\n" } else { "" };
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "POST /order HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{accept}x-idempotency-key: {key}\r\n\
         content-length: {length}\r\n\r\n{{\"productId\":\"{product}\",\"userId\":\"{user}\",\"quantity\":{quantity}}}"
    );
}

/// Sends what stands in `out` and reads one answer. Both buffers are given back for the next time.
async fn exchange(stream: &mut TcpStream, out: &mut Vec<u8>, read: &mut Vec<u8>) -> Answer {
    let lost = || Answer::none(Outcome::Unknown(Doubt::Reset));
    let (written, buffer) = stream.write_all(std::mem::take(out)).await;
    *out = buffer;
    if written.is_err() {
        return lost();
    }
    read.clear();
    loop {
        if read.capacity() - read.len() < READ_BYTES / 2 {
            if read.len() > ANSWER_BYTES_MAX {
                return Answer::none(Outcome::Unknown(Doubt::Garbled));
            }
            read.reserve(READ_BYTES);
        }
        let (from, to) = (read.len(), read.capacity());
        let slice: SliceMut<Vec<u8>> = std::mem::take(read).slice_mut(from..to);
        let (got, slice) = stream.read(slice).await;
        *read = slice.into_inner();
        match got {
            Ok(0) | Err(_) => return lost(),
            Ok(_) => {}
        }
        match parse(read) {
            Parsed::Partial => {}
            Parsed::Whole(answer) => return answer,
            Parsed::Bad => return Answer::none(Outcome::Unknown(Doubt::Garbled)),
        }
    }
}

enum Parsed {
    Partial,
    Whole(Answer),
    Bad,
}

fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Bad,
    };
    let Some(status) = response.code else { return Parsed::Bad };
    let (mut length, mut keep, mut replayed, mut retry_after) = (None, true, false, None);
    for field in response.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("content-length") {
            length = number(value);
        } else if field.name.eq_ignore_ascii_case("connection") {
            keep = !value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("idempotency-replayed") {
            replayed = value == b"true";
        } else if field.name.eq_ignore_ascii_case("retry-after") {
            retry_after = number(value).map(Duration::from_secs);
        }
    }
    // The edge names the length of every answer; one that does not is not an answer of ours.
    let Some(length) = length else { return Parsed::Bad };
    let end = head as u64 + length;
    match (bytes.len() as u64).cmp(&end) {
        std::cmp::Ordering::Less => Parsed::Partial,
        // An answer to a question nobody asked.
        std::cmp::Ordering::Greater => Parsed::Bad,
        std::cmp::Ordering::Equal => {
            let outcome = Outcome::read(status, &bytes[head..], replayed);
            Parsed::Whole(Answer { outcome, status: Some(status), retry_after, keep })
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_says_its_true_length() {
        for quantity in [1, 10, 1000] {
            let mut out = Vec::new();
            let order = Order::new("iphone-15", "user-42", "key-1", quantity);
            write_request(&mut out, &order, SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)), true);
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut request = httparse::Request::new(&mut fields);
            let head = request.parse(&out).unwrap().unwrap();
            let field = |name| request.headers.iter().find(|field| field.name == name).unwrap().value;
            assert_eq!(number(field("content-length")), Some((out.len() - head) as u64));
            assert_eq!(field("x-idempotency-key"), b"key-1");
            let body: serde_json::Value = serde_json::from_slice(&out[head..]).unwrap();
            assert_eq!(body, serde_json::json!({"productId": "iphone-15", "userId": "user-42", "quantity": quantity}));
        }
    }

    #[test]
    fn a_connection_comes_from_the_source_it_is_given() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::time::TimeDriver<monoio::LegacyDriver>>::new().build().unwrap();
        runtime.block_on(async {
            let _first = open(target, Some(Ipv4Addr::new(127, 0, 0, 3)), false).await.unwrap();
            let _second = open(target, None, false).await.unwrap();
        });
        let sources = [(); 2].map(|()| listener.accept().unwrap().1.ip());
        assert_eq!(sources, [Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::LOCALHOST]);
        drop(listener);
        assert!(runtime.block_on(open(target, None, false)).is_err(), "nobody listens");
    }

    #[test]
    fn an_answer_is_whole_only_at_its_last_byte() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 38\r\n\r\n\
            {\"status\":\"unavailable\",\"msg\":\"later\"}";
        for cut in 0..whole.len() {
            assert!(matches!(parse(&whole[..cut]), Parsed::Partial), "cut at {cut}");
        }
        let Parsed::Whole(answer) = parse(whole) else { panic!("it is whole") };
        assert_eq!(answer.outcome, Outcome::No(Refusal::Unavailable));
        assert_eq!(answer.retry_after, Some(Duration::from_secs(2)));
        assert!(answer.keep);
        assert!(matches!(parse(&[&whole[..], b"H"].concat()), Parsed::Bad));
        assert!(matches!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Parsed::Bad), "no length");
        assert!(matches!(parse(b"SSH-2.0\r\n"), Parsed::Bad));
    }
}
