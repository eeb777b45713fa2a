//! SCRAM (RFC 5802, and RFC 7677 for SHA-256) without channel binding: its messages and proofs, as Kafka speaks it.
//!
//! ```text
//! client   n,,n=user,r=nonce
//! server   r=nonce+more,s=salt,i=iterations
//! client   c=biws,r=nonce+more,p=proof
//! server   v=signature            or  e=error
//! ```
//!
//! Kafka takes user and password as their UTF-8 bytes, so nothing is prepared (no SASLprep).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// Least iterations that are taken: Kafka's own least, and RFC 7677's.
pub(super) const ITERATIONS_MIN: u64 = 4096;

/// Most iterations that are taken. Kafka's own most is 16,384; a hundred thousand cost some 50 ms of a core.
pub(super) const ITERATIONS_MAX: u64 = 100_000;

/// Longest salt, bytes, and longest nonce, characters: Kafka's are 26 bytes and some 50 characters.
const SALT_BYTES_MAX: usize = 1024;
const NONCE_BYTES_MAX: usize = 1024;

/// "n,,": no channel binding, no other user to act for.
const GS2_HEADER: &str = "n,,";

/// The functions of one hash.
#[derive(Clone, Copy)]
pub(crate) struct Algorithm {
    pub(crate) hash: fn(&[u8]) -> Vec<u8>,
    /// Key, message.
    pub(crate) hmac: fn(&[u8], &[u8]) -> Vec<u8>,
    /// Password, salt, iterations: RFC 5802's `Hi`, which is PBKDF2 with one block.
    pub(crate) stretch: fn(&[u8], &[u8], u32) -> Vec<u8>,
}

pub(crate) const SHA_256: Algorithm = Algorithm {
    hash: |bytes| Sha256::digest(bytes).to_vec(),
    hmac: mac::<Hmac<Sha256>>,
    stretch: stretch::<Hmac<Sha256>>,
};

pub(crate) const SHA_512: Algorithm = Algorithm {
    hash: |bytes| Sha512::digest(bytes).to_vec(),
    hmac: mac::<Hmac<Sha512>>,
    stretch: stretch::<Hmac<Sha512>>,
};

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac: M = keyed(key);
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn stretch<M: Mac + KeyInit + Clone>(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let keyed: M = keyed(password);
    let mut mac = keyed.clone();
    mac.update(salt);
    mac.update(&1_u32.to_be_bytes());
    let mut last = mac.finalize().into_bytes();
    let mut sum = last.clone();
    for _ in 1..iterations {
        let mut mac = keyed.clone();
        mac.update(&last);
        last = mac.finalize().into_bytes();
        for (sum, byte) in sum.iter_mut().zip(&last) {
            *sum ^= byte;
        }
    }
    sum.to_vec()
}

/// What a password becomes with a salt: enough to log in, so as secret as the password.
pub(super) struct Keys {
    client: Vec<u8>,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    /// Takes [`Algorithm::stretch`]'s time.
    pub(super) fn derive(algorithm: &Algorithm, password: &[u8], salt: &[u8], iterations: u32) -> Keys {
        let salted = (algorithm.stretch)(password, salt, iterations);
        let client = (algorithm.hmac)(&salted, b"Client Key");
        Keys { stored: (algorithm.hash)(&client), server: (algorithm.hmac)(&salted, b"Server Key"), client }
    }
}

/// Our first message.
#[derive(Debug)]
pub(super) struct ClientFirst {
    bare: String,
    nonce: String,
}

impl ClientFirst {
    /// `nonce` is drawn anew for each login, unpredictable, and base64.
    pub(super) fn new(user: &str, nonce: String) -> ClientFirst {
        ClientFirst { bare: format!("n={},r={nonce}", saslname(user)), nonce }
    }

    pub(super) fn message(&self) -> String {
        format!("{GS2_HEADER}{}", self.bare)
    }
}

/// A name in which no comma or equals sign can end it early (RFC 5802 section 5.1).
pub(super) fn saslname(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The server's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst {
    text: String,
    nonce: String,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

/// What is wrong with a message of the server's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Form(&'static str),
    Iterations(u64),
    /// `e=`: the server's word for why.
    Refused(String),
    Proof,
}

impl ServerFirst {
    pub(super) fn read(message: &[u8], first: &ClientFirst) -> Result<ServerFirst, Wrong> {
        let text = std::str::from_utf8(message).map_err(|_| Wrong::Form("a challenge that is no text"))?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(Wrong::Refused(error.to_owned()));
        }
        if text.starts_with("m=") {
            return Err(Wrong::Form("an extension that must be understood"));
        }
        let mut attributes = text.split(',');
        let mut next = |name| attributes.next().and_then(|attribute| attribute.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(iterations)) = (next("r="), next("s="), next("i=")) else {
            return Err(Wrong::Form("a challenge without nonce, salt and iterations"));
        };
        // One that is ours and no more would let the server choose nothing, and one that is not ours is another login's.
        if !nonce.starts_with(&first.nonce) || nonce.len() == first.nonce.len() || nonce.len() > NONCE_BYTES_MAX {
            return Err(Wrong::Form("a nonce that does not begin with ours"));
        }
        let salt = STANDARD.decode(salt).ok().filter(|salt| (1..=SALT_BYTES_MAX).contains(&salt.len()));
        let salt = salt.ok_or(Wrong::Form("a salt that is none"))?;
        let is_number = !iterations.is_empty() && iterations.bytes().all(|byte| byte.is_ascii_digit());
        let count =
            iterations.parse().ok().filter(|_| is_number).ok_or(Wrong::Form("iterations that are no number"))?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&count) {
            return Err(Wrong::Iterations(count));
        }
        let iterations = u32::try_from(count).expect("bounded above");
        Ok(ServerFirst { nonce: nonce.to_owned(), salt, iterations, text: text.to_owned() })
    }
}

/// The signature that only a server that knows the password's keys can answer our last message with.
#[derive(Debug)]
pub(super) struct Expected(Vec<u8>);

/// Our last message, and what must come back.
pub(super) fn prove(
    algorithm: &Algorithm,
    keys: &Keys,
    first: &ClientFirst,
    server: &ServerFirst,
) -> (String, Expected) {
    let unproven = format!("c={},r={}", STANDARD.encode(GS2_HEADER), server.nonce);
    let signed = format!("{},{},{unproven}", first.bare, server.text);
    let signature = (algorithm.hmac)(&keys.stored, signed.as_bytes());
    let proof: Vec<u8> = keys.client.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
    let expected = (algorithm.hmac)(&keys.server, signed.as_bytes());
    (format!("{unproven},p={}", STANDARD.encode(proof)), Expected(expected))
}

impl Expected {
    /// Whether the server's last message carries it. The time it takes tells nothing of where two signatures differ.
    pub(super) fn verify(&self, message: &[u8]) -> Result<(), Wrong> {
        let text = std::str::from_utf8(message).map_err(|_| Wrong::Form("a last word that is no text"))?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(Wrong::Refused(error.to_owned()));
        }
        let signature = text.strip_prefix("v=").and_then(|rest| rest.split(',').next());
        let signature = signature.and_then(|text| STANDARD.decode(text).ok()).ok_or(Wrong::Proof)?;
        let differs = self.0.iter().zip(&signature).fold(0, |differs, (a, b)| differs | (a ^ b));
        if signature.len() == self.0.len() && differs == 0 { Ok(()) } else { Err(Wrong::Proof) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha1::Sha1;

    /// RFC 5802's own example is of SHA-1, which no broker offers: with it the messages are held against the RFC.
    const SHA_1: Algorithm = Algorithm {
        hash: |bytes| <Sha1 as sha1::Digest>::digest(bytes).to_vec(),
        hmac: hmac_sha_1,
        stretch: |password, salt, iterations| {
            let mut last = hmac_sha_1(password, &[salt, &[0, 0, 0, 1]].concat());
            let mut sum = last.clone();
            for _ in 1..iterations {
                last = hmac_sha_1(password, &last);
                sum = sum.iter().zip(&last).map(|(a, b)| a ^ b).collect();
            }
            sum
        },
    };

    fn hmac_sha_1(key: &[u8], message: &[u8]) -> Vec<u8> {
        use sha1::Digest;
        let block = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).unwrap_or(&0) ^ pad).collect() };
        let inner = Sha1::digest([&block(0x36)[..], message].concat());
        Sha1::digest([&block(0x5c)[..], &inner].concat()).to_vec()
    }

    fn log_in(algorithm: &Algorithm, nonce: &str, server_first: &str) -> (String, String, Expected) {
        let first = ClientFirst::new("user", nonce.to_owned());
        let server = ServerFirst::read(server_first.as_bytes(), &first).unwrap();
        let keys = Keys::derive(algorithm, b"pencil", &server.salt, server.iterations);
        let (last, expected) = prove(algorithm, &keys, &first, &server);
        (first.message(), last, expected)
    }

    #[test]
    fn the_example_of_rfc_5802_section_5() {
        let (first, last, expected) = log_in(
            &SHA_1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        );
        assert_eq!(first, "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(last, "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
        assert_eq!(expected.verify(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), Ok(()));
    }

    #[test]
    fn the_example_of_rfc_7677_section_3() {
        let (first, last, expected) = log_in(
            &SHA_256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(expected.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert_eq!(expected.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=y"), Ok(()), "an extension");
        let forged = [&b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="[..], b"v=", b"v=6rriTQ==", b"", b"ok"];
        for message in forged {
            assert_eq!(expected.verify(message), Err(Wrong::Proof));
        }
        assert_eq!(expected.verify(b"e=other-error"), Err(Wrong::Refused("other-error".to_owned())));
    }

    /// No RFC has an example of SCRAM with SHA-512.
    #[test]
    fn sha_512_stretches_and_signs_as_sha_512() {
        let salted = (SHA_512.stretch)(b"password", b"salt", 4096);
        // PBKDF2-HMAC-SHA-512, 4096 iterations, one block: the vector that libraries of PBKDF2 share.
        let shared = "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5\
                      143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5";
        let hex: String = salted.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, shared);
    }

    #[test]
    fn names_hold_no_comma_and_no_equals_sign() {
        assert_eq!(ClientFirst::new("a,b=c=2C", "x".to_owned()).message(), "n,,n=a=2Cb=3Dc=3D2C,r=x");
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        let first = ClientFirst::new("user", "abc".to_owned());
        let read = |text: &str| ServerFirst::read(text.as_bytes(), &first);
        assert!(read("r=abcd,s=AA==,i=4096").is_ok());
        assert!(read("r=abcd,s=AA==,i=4096,x=later").is_ok(), "an extension that need not be understood");
        for text in [
            "",
            "r=abc,s=AA==,i=4096",
            "r=abd,s=AA==,i=4096",
            "r=xabcd,s=AA==,i=4096",
            "s=AA==,r=abcd,i=4096",
            "r=abcd,s=,i=4096",
            "r=abcd,s=A,i=4096",
            "r=abcd,s=AA==",
            "r=abcd,s=AA==,i=",
            "r=abcd,s=AA==,i=+4096",
            "r=abcd,s=AA==,i=-1",
            "m=x,r=abcd,s=AA==,i=4096",
        ] {
            assert!(matches!(read(text), Err(Wrong::Form(_))), "{text}");
        }
        for count in [0, 1, 4095, 100_001, u64::from(u32::MAX) + 4097] {
            assert_eq!(read(&format!("r=abcd,s=AA==,i={count}")), Err(Wrong::Iterations(count)));
        }
        assert_eq!(read("e=unknown-user"), Err(Wrong::Refused("unknown-user".to_owned())));
        assert!(matches!(ServerFirst::read(b"\xff", &first), Err(Wrong::Form(_))));
    }
}
