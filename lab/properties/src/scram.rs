//! A login by SCRAM over a broker's connection: it is over if and only if the server has proved that it knows the password, and no
//! challenge makes us do more work than its bound.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use flux_protocol::kafka::connection::{BrokerConnection, ConnectionError};
use flux_protocol::kafka::sasl::identity::Identity;
use flux_protocol::kafka::sasl::mechanism::Mechanism;
use flux_protocol::time::Instant;
use hmac::{Hmac, KeyInit, Mac};
use kafka_protocol::messages::{ApiVersionsResponse, SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use sha2::{Digest, Sha256};

use crate::allocation;
use crate::input::{Input, pieces};

const USER: &str = "shop";
const PASSWORD: &str = "pencil";
const NOW: Instant = Instant::from_micros(1);
/// In a message of the input it stands for what the server alone can know: our nonce, then the signature.
const RIGHT: u8 = 1;
/// Counts between these are taken, and cost milliseconds each: they say nothing that the least one does not.
const COSTLY_ITERATIONS: std::ops::RangeInclusive<u64> = 4097..=100_000;

thread_local! {
    /// One for all runs: it keeps what the password was stretched to.
    static IDENTITY: Identity = Identity::new(Mechanism::ScramSha256, USER, PASSWORD.into(), [9; 32]);
    /// The same of the second reader: the last salt, and what it gave.
    static STRETCHED: RefCell<(Vec<u8>, [u8; 32])> = const { RefCell::new((Vec::new(), [0; 32])) };
}

/// The server's challenge and its last word, with errors; or the whole stream of what it sends.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    if choice & 1 == 1 {
        return stream(input.rest(), choice);
    }
    let errors = [input.byte(), input.byte()].map(|byte| if byte < 200 { 0 } else { i16::from(byte) });
    let (challenge, last) = (input.piece(255), input.rest());

    let mut server = Server::new();
    server.shake_hands();
    let first = text(server.asked());
    let bare = first.strip_prefix("n,,").expect("no channel binding");
    let (name, nonce) = bare.split_once(",r=").expect("a name and a nonce");
    assert_eq!(name, "n=shop");
    let challenge = with(challenge, nonce);
    if iterations(&challenge).is_some_and(|count| COSTLY_ITERATIONS.contains(&count)) {
        return;
    }
    let read = understood(&challenge, nonce).filter(|_| errors[0] == 0);
    let told = server.tell(errors[0], &challenge);
    let Some((salt, server_nonce)) = read else {
        assert!(told.is_err() && !server.connection.is_ready(), "a challenge that is none was answered");
        return;
    };
    told.expect("a challenge as it should be");
    let answer = text(server.asked());
    let salted = stretched(&salt);
    let unproven = format!("c=biws,r={server_nonce}");
    let proof = answer.strip_prefix(&unproven).and_then(|rest| rest.strip_prefix(",p=")).expect("our last message");
    let challenge = String::from_utf8(challenge).expect("looked at above");
    let signed = format!("{bare},{challenge},{unproven}");
    assert_proof(&salted, proof, &signed);
    let server_key = hmac(&salted, b"Server Key");
    let signature = STANDARD.encode(hmac(&server_key, signed.as_bytes()));

    let last = with(last, &signature);
    let is_right = errors[1] == 0
        && last.strip_prefix(b"v=").and_then(|rest| rest.split(|byte| *byte == b',').next())
            == Some(signature.as_bytes())
        && std::str::from_utf8(&last).is_ok();
    let told = server.tell(errors[1], &last);
    assert_eq!((told.is_ok(), server.connection.is_ready()), (is_right, is_right), "{}", last.escape_ascii());
}

/// Any bytes: nobody is let in who cannot know our nonce, whatever the pieces they come in.
fn stream(bytes: &[u8], choice: u8) {
    let run = |pieces: &[&[u8]]| {
        let mut server = Server::new();
        let mut result = Ok(());
        for piece in pieces {
            server.buffer.extend_from_slice(piece);
            result = server.connection.next_answer(NOW, &mut server.buffer).map(|answer| assert!(answer.is_none()));
            if result.is_err() {
                break;
            }
        }
        assert!(!server.connection.is_ready());
        result
    };
    let held_max = (4 << 20) + 1024 * bytes.len();
    let whole = allocation::within(held_max, "a login", || run(&[bytes]));
    assert_eq!(run(&pieces(bytes, choice)), whole, "cut by {choice}");
}

/// A broker of a few lines.
struct Server {
    connection: BrokerConnection<()>,
    buffer: BytesMut,
    out: Vec<u8>,
    answered: i32,
}

impl Server {
    fn new() -> Server {
        let connection = IDENTITY.with(|identity| BrokerConnection::open(NOW, "us", Some(identity)));
        Server { connection, buffer: BytesMut::new(), out: Vec::new(), answered: 0 }
    }

    /// An answer to what was asked last. Only that to SaslAuthenticate has tags.
    fn answer(&mut self, tags: &[u8], body: &[u8]) -> Result<(), ConnectionError> {
        let length = (4 + tags.len() + body.len()) as i32;
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(&self.answered.to_be_bytes());
        self.buffer.extend_from_slice(tags);
        self.buffer.extend_from_slice(body);
        self.answered += 1;
        let answer = self.connection.next_answer(NOW, &mut self.buffer)?;
        assert!(answer.is_none(), "nothing was asked but to be let in");
        Ok(())
    }

    fn shake_hands(&mut self) {
        let mut body = BytesMut::new();
        ApiVersionsResponse::default().encode(&mut body, 4).expect("a constant message");
        self.answer(b"", &body).expect("a handshake");
        let mechanism = Mechanism::ScramSha256.name();
        let body = [b"\0\0\0\0\0\x01\0", &[mechanism.len() as u8][..], mechanism.as_bytes()].concat();
        self.answer(b"", &body).expect("a mechanism");
    }

    /// SaslAuthenticate's answer.
    fn tell(&mut self, error: i16, message: &[u8]) -> Result<(), ConnectionError> {
        let words = (error != 0).then(|| StrBytes::from_static_str("no"));
        let response = SaslAuthenticateResponse::default()
            .with_error_code(error)
            .with_error_message(words)
            .with_auth_bytes(Bytes::copy_from_slice(message));
        let mut body = BytesMut::new();
        response.encode(&mut body, 2).expect("a short message");
        self.answer(b"\0", &body)
    }

    /// What the last SaslAuthenticate request holds.
    fn asked(&mut self) -> Bytes {
        self.out.clear();
        self.connection.poll_write(&mut self.out);
        let mut rest = Bytes::copy_from_slice(&self.out);
        let mut last = Bytes::new();
        while rest.has_remaining() {
            let length = rest.get_i32() as usize;
            last = rest.split_to(length);
        }
        assert_eq!(last.get_i16(), 36, "SaslAuthenticate");
        // Version, correlation id, client id "us", no tags.
        last.advance(2 + 4 + 2 + "us".len() + 1);
        SaslAuthenticateRequest::decode(&mut last, 2).expect("a request of ours").auth_bytes
    }
}

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn with(message: &[u8], right: &str) -> Vec<u8> {
    message.iter().flat_map(|byte| if *byte == RIGHT { right.as_bytes().to_vec() } else { vec![*byte] }).collect()
}

fn iterations(challenge: &[u8]) -> Option<u64> {
    std::str::from_utf8(challenge).ok()?.split(',').find_map(|attribute| attribute.strip_prefix("i="))?.parse().ok()
}

/// Salt and nonce of a challenge that is to be answered (RFC 5802 section 7, RFC 7677 section 4: at least 4096 iterations).
fn understood(challenge: &[u8], nonce: &str) -> Option<(Vec<u8>, String)> {
    let text = std::str::from_utf8(challenge).ok()?;
    let mut attributes = text.split(',');
    let theirs = attributes.next()?.strip_prefix("r=")?;
    let salt = STANDARD.decode(attributes.next()?.strip_prefix("s=")?).ok()?;
    let count = attributes.next()?.strip_prefix("i=")?;
    let is_4096 = count.trim_start_matches('0') == "4096";
    let is_longer = theirs.len() > nonce.len() && theirs.starts_with(nonce) && theirs.len() <= 1024;
    ((1..=1024).contains(&salt.len()) && is_4096 && is_longer).then(|| (salt, theirs.to_owned()))
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// `Hi(password, salt, 4096)` (RFC 5802 section 2.2).
fn stretched(salt: &[u8]) -> [u8; 32] {
    STRETCHED.with_borrow_mut(|(known, salted)| {
        if known != salt {
            let mut last = hmac(PASSWORD.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
            let mut sum = last;
            for _ in 1..4096 {
                last = hmac(PASSWORD.as_bytes(), &last);
                sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
            }
            (*known, *salted) = (salt.to_vec(), sum);
        }
        *salted
    })
}

/// As a server does it: what the proof covers must be what its own copy of the key was made of.
fn assert_proof(salted: &[u8], proof: &str, signed: &str) {
    let stored: [u8; 32] = Sha256::digest(hmac(salted, b"Client Key")).into();
    let signature = hmac(&stored, signed.as_bytes());
    let proof = STANDARD.decode(proof).expect("base64");
    let key: Vec<u8> = proof.iter().zip(signature).map(|(proof, signature)| proof ^ signature).collect();
    assert_eq!(<[u8; 32]>::from(Sha256::digest(key)), stored, "our proof");
}
