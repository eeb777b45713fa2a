//! A gateway on one origin with the edge, as shops have them: it passes everything on, and answers some orders in its place.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use flux_lab::http_client::{self, HttpAnswer};

use crate::REQUEST_MAX;

/// What becomes of an order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// The edge is asked, and the gateway answers in its place with a page of this status.
    Sold(u16),
    /// The edge is not asked; a page of this status.
    Kept(u16),
}

/// What it is to do, and what it saw.
#[derive(Debug, Default)]
struct Book {
    /// The last one is done again and again.
    deeds: VecDeque<Deed>,
    /// Keys of the orders that came.
    keys: Vec<String>,
}

/// A gateway in front of one edge's public listener, until the test's end.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Gateway {
    pub(crate) fn start(edge: SocketAddr) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::<Mutex<Book>>::default();
        let shared = Arc::clone(&book);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let book = Arc::clone(&shared);
                // A browser opens connections that it may never use.
                std::thread::spawn(move || pass_on(stream.unwrap(), edge, &book));
            }
        });
        Gateway { address, book }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does `deeds` with the next orders, the last of them until it is told otherwise; nothing: passes all on.
    pub(crate) fn does(&self, deeds: &[Deed]) {
        self.book.lock().unwrap().deeds = deeds.iter().copied().collect();
    }

    /// The keys of the orders that came, in turn.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.book.lock().unwrap().keys.clone()
    }
}

fn pass_on(stream: TcpStream, edge: SocketAddr, book: &Mutex<Book>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let (line, rest) = head.split_once("\r\n").unwrap();
        let [method, path] = line.split(' ').take(2).collect::<Vec<_>>()[..] else { return };
        let fields: Vec<(String, &str)> = rest
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let passed: Vec<(&str, &str)> = fields
            .iter()
            .filter(|(name, _)| {
                matches!(name.as_str(), "accept" | "content-type" | "x-idempotency-key" | "x-queue-ticket")
            })
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let deed = (path == "/order").then(|| {
            let mut book = book.lock().unwrap();
            book.keys.push(field("x-idempotency-key").unwrap_or_default().to_owned());
            if book.deeds.len() == 1 { book.deeds.front().copied() } else { book.deeds.pop_front() }
        });
        let told = match deed.flatten() {
            Some(Deed::Kept(status)) => page(status),
            Some(Deed::Sold(status)) => {
                http_client::request(edge, method, path, &passed, &body, REQUEST_MAX).unwrap();
                page(status)
            }
            None => http_client::request(edge, method, path, &passed, &body, REQUEST_MAX).unwrap(),
        };
        if write(reader.get_mut(), &told).is_err() {
            return;
        }
    }
}

/// What a gateway shows to people, whatever page asks.
fn page(status: u16) -> HttpAnswer {
    let headers = vec![("content-type".to_owned(), "text/html; charset=utf-8".to_owned())];
    HttpAnswer { status, headers, body: format!("<!doctype html><title>{status}</title>").into_bytes() }
}

fn write(stream: &mut TcpStream, answer: &HttpAnswer) -> std::io::Result<()> {
    let mut told = format!("HTTP/1.1 {} Told\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        if !matches!(name.as_str(), "content-length" | "connection" | "date") {
            told += &format!("{name}: {value}\r\n");
        }
    }
    told += "\r\n";
    let mut told = told.into_bytes();
    told.extend_from_slice(&answer.body);
    stream.write_all(&told)
}
