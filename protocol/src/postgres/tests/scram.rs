//! SCRAM-SHA-256 (RFC 5802, RFC 7677) against a server written here from the RFC.

use sha2::{Digest, Sha256};

use super::*;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain(&[0, 0]).take(3).fold(0usize, |word, byte| word << 8 | usize::from(*byte));
        for position in 0..4 {
            let digit = char::from(ALPHABET[word >> (18 - 6 * position) & 63]);
            text.push(if position <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    assert!(key.len() <= 64);
    let pad = |with: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    sha256(&[pad(0x5c), sha256(&[&pad(0x36), text].concat()).to_vec()].concat())
}

fn xor(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| left[at] ^ right[at])
}

fn authentication(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut message = vec![b'R'];
    message.extend((body.len() as u32 + 8).to_be_bytes());
    message.extend(kind.to_be_bytes());
    message.extend(body);
    message
}

fn hand(session: &mut Session, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
    session.handle_bytes(NOW, &mut BytesMut::from(bytes))?;
    Ok(written(session))
}

/// What a server that knows `password` would say to this client.
struct Server {
    salted: [u8; 32],
    first_bare: String,
    first: String,
}

impl Server {
    fn answer_first(password: &str, client: &[u8], iterations: u32) -> Server {
        let text = String::from_utf8(client.to_vec()).expect("SCRAM is text");
        let first_bare = text[text.find("n,,").expect("no channel binding") + 3..].to_owned();
        let nonce = first_bare.strip_prefix("n=,r=").expect("an empty user name and a nonce");
        let mut salted = hmac(password.as_bytes(), b"salt\0\0\0\x01");
        let mut last = salted;
        for _ in 1..iterations {
            last = hmac(password.as_bytes(), &last);
            salted = xor(salted, last);
        }
        let first = format!("r={nonce}server,s={},i={iterations}", base64(b"salt"));
        Server { salted, first_bare, first }
    }

    /// Checks the proof; the final message, honest.
    fn answer_final(&self, client: &[u8]) -> String {
        let text = String::from_utf8(client[5..].to_vec()).expect("SCRAM is text");
        let (without_proof, proof) = text.split_once(",p=").expect("a proof");
        let message = format!("{},{},{without_proof}", self.first_bare, self.first);
        let key = hmac(&self.salted, b"Client Key");
        let signature = hmac(&sha256(&key), message.as_bytes());
        assert_eq!(proof, base64(&xor(key, signature)), "the client knows the password");
        format!("v={}", base64(&hmac(&hmac(&self.salted, b"Server Key"), message.as_bytes())))
    }
}

fn begun(iterations: u32) -> (Session, Server, Vec<u8>) {
    let mut session = opened("postgres://shop:pencil@db/flux");
    written(&mut session);
    let (_, asked) = recorded!("sasl_asked");
    let first = hand(&mut session, &asked).expect("a real server's bytes");
    let server = Server::answer_first("pencil", &first, iterations);
    let answer = authentication(11, server.first.as_bytes());
    (session, server, answer)
}

#[test]
fn both_sides_prove_themselves() {
    let (mut session, server, first) = begun(4096);
    let proof = hand(&mut session, &first).expect("an honest server");
    let last = server.answer_final(&proof);
    let (_, startup) = recorded!("startup_trust");
    let bytes = [authentication(12, last.as_bytes()), startup].concat();
    assert_eq!(hand(&mut session, &bytes), Ok(vec![]));
    assert!(session.is_up());
}

#[test]
fn a_server_that_does_not_know_the_password_is_not_believed() {
    for last in [format!("v={}", base64(&[7; 32])), "v=".into(), "e=other-error".into(), "nonsense".into()] {
        let (mut session, server, first) = begun(4096);
        server.answer_final(&hand(&mut session, &first).expect("an honest start"));
        let outcome = hand(&mut session, &authentication(12, last.as_bytes()));
        assert!(matches!(outcome, Err(SessionError::Login(LoginError::Scram(_)))), "{outcome:?}");
    }
    // Nor one that breaks the exchange off with "all is well".
    let (mut session, _, first) = begun(4096);
    hand(&mut session, &first).expect("an honest start");
    assert_eq!(hand(&mut session, &authentication(0, b"")), Err(SessionError::Login(LoginError::Order)));
    let (mut session, ..) = begun(4096);
    assert_eq!(hand(&mut session, &authentication(0, b"")), Err(SessionError::Login(LoginError::Order)));
}

#[test]
fn hostile_first_messages() {
    // Another nonce than ours; a number of rounds that would keep us busy for minutes; not SCRAM.
    for first in ["r=other,s=c2FsdA==,i=4096", "", "r="] {
        let (mut session, ..) = begun(4096);
        let outcome = hand(&mut session, &authentication(11, first.as_bytes()));
        assert!(matches!(outcome, Err(SessionError::Login(LoginError::Scram(_)))), "{outcome:?}");
    }
    let (mut session, server, _) = begun(1);
    let absurd = server.first.replace(",i=1", ",i=4000000000");
    let outcome = hand(&mut session, &authentication(11, absurd.as_bytes()));
    assert!(matches!(outcome, Err(SessionError::Login(LoginError::Scram(_)))), "{outcome:?}");
}

#[test]
fn mechanisms_that_are_not_spoken() {
    for (kind, body) in [(10, &b"SCRAM-SHA-256-PLUS\0OAUTHBEARER\0\0"[..]), (7, b""), (9, b""), (2, b"")] {
        let mut session = opened("postgres://shop:pencil@db/flux");
        let outcome = hand(&mut session, &authentication(kind, body));
        assert!(matches!(outcome, Err(SessionError::Login(LoginError::Method(_)))), "{outcome:?}");
    }
}

#[test]
fn md5_where_the_server_still_asks_for_it() {
    let mut session = opened("postgres://md5_user:password@db/flux");
    written(&mut session);
    let answer = hand(&mut session, &authentication(5, &[0x2a, 0x3d, 0x8f, 0xe0])).expect("MD5 is spoken");
    assert_eq!(answer, b"p\0\0\0\x28md562af4dd09bbb41884907a838a3233294\0");
}
