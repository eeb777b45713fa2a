//! What we want to know of a certificate (X.509) or a public key beside what TLS judges: when it is valid, which hash its
//! signature stands on (RFC 5280 section 4.1, DER as in X.690), which numbers it consists of.
//!
//! Never judges a certificate: `None` is "not known", where an element is not what the standard has there.

/// Element types, X.690 section 8.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Where a certificate's version stands.
const EXPLICIT_0: u8 = 0xa0;

/// A hash that signatures are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureHash {
    /// MD5 or SHA-1: broken, and still met.
    Weak,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// When `certificate` (DER) expires, seconds since the Unix epoch; 0 where that was before it.
pub fn expiry(certificate: &[u8]) -> Option<u64> {
    validity(certificate).map(|(_, not_after)| not_after)
}

/// From when and until when `certificate` (DER) is valid, seconds since the Unix epoch each; 0 where that was before it.
pub fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let (body, _) = parts(certificate)?;
    let body = if body.first() == Some(&EXPLICIT_0) { any(body)?.2 } else { body };
    let (_, rest) = typed(INTEGER, body)?; // serial number
    let (_, rest) = typed(SEQUENCE, rest)?; // signature
    let (_, rest) = typed(SEQUENCE, rest)?; // issuer
    let (validity, _) = typed(SEQUENCE, rest)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some((not_before, not_after))
}

/// A point of time, seconds since the Unix epoch, 0 where it was before; and what follows it.
fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (kind, text, rest) = any(bytes)?;
    let (year, text) = match kind {
        UTC_TIME => {
            let (year, text) = digits(text, 2)?;
            // RFC 5280 section 4.1.2.5.1.
            (if year < 50 { 2000 + year } else { 1900 + year }, text)
        }
        GENERALIZED_TIME => digits(text, 4)?,
        _ => return None,
    };
    let (month, text) = digits(text, 2)?;
    let (day, text) = digits(text, 2)?;
    let (hour, text) = digits(text, 2)?;
    let (minute, text) = digits(text, 2)?;
    let (second, text) = digits(text, 2)?;
    let holds = text == b"Z" && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    let days = if holds { days_from_epoch(year, month, day) } else { return None };
    Some((u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).unwrap_or(0), rest))
}

/// The hash in the algorithm that `certificate` (DER) was signed with; `None` where there is none of its own (Ed25519) or it
/// is not told by the algorithm alone (RSASSA-PSS).
pub fn signature_hash(certificate: &[u8]) -> Option<SignatureHash> {
    let (_, rest) = parts(certificate)?;
    let (algorithm, _) = typed(SEQUENCE, rest)?;
    let (id, _) = typed(OBJECT_ID, algorithm)?;
    match id {
        // 1.2.840.113549.1.1: RSA, RFC 8017 appendix C.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last] => match last {
            4 | 5 => Some(SignatureHash::Weak),
            11 => Some(SignatureHash::Sha256),
            12 => Some(SignatureHash::Sha384),
            13 => Some(SignatureHash::Sha512),
            _ => None,
        },
        // 1.2.840.10045.4: ECDSA, RFC 5758.
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => Some(SignatureHash::Weak),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last] => match last {
            2 => Some(SignatureHash::Sha256),
            3 => Some(SignatureHash::Sha384),
            4 => Some(SignatureHash::Sha512),
            _ => None,
        },
        _ => None,
    }
}

/// Modulus and exponent, big-endian, of an RSA key as RFC 8017 appendix A.1.1 writes it (`RSAPublicKey`, DER).
pub fn rsa_public_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (numbers, _) = typed(SEQUENCE, key)?;
    let (modulus, rest) = typed(INTEGER, numbers)?;
    let (exponent, _) = typed(INTEGER, rest)?;
    Some((modulus, exponent))
}

/// What is signed, and what follows it.
fn parts(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (contents, _) = typed(SEQUENCE, certificate)?;
    typed(SEQUENCE, contents)
}

/// The contents of an element of this type, and what follows it.
fn typed(kind: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = any(bytes)?;
    (found == kind).then_some((contents, rest))
}

/// The first element: its type and contents, and what follows it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let octets = usize::from(first & 0x7f);
        // A certificate of 16 MiB is none.
        if !(1..=3).contains(&octets) || rest.len() < octets {
            return None;
        }
        length = rest[..octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        rest = &rest[octets..];
    }
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((kind, contents, rest))
}

fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let number = digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))?;
    Some((number, rest))
}

/// Days from 1 January 1970 to a date of the Gregorian calendar.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    // A year that begins in March has its leap day at its end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(kind: u8, contents: &[u8]) -> Vec<u8> {
        let length = contents.len();
        let header =
            if length < 0x80 { vec![kind, length as u8] } else { vec![kind, 0x82, (length >> 8) as u8, length as u8] };
        [&header, contents].concat()
    }

    /// As much of a certificate as is looked at.
    fn certificate(version: bool, not_after: (u8, &str), algorithm: &[u8]) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &element(OBJECT_ID, algorithm));
        let validity = [element(UTC_TIME, b"200101000000Z"), element(not_after.0, not_after.1.as_bytes())].concat();
        let mut body = if version { element(EXPLICIT_0, &element(INTEGER, &[2])) } else { Vec::new() };
        body.extend(element(INTEGER, &[7; 20]));
        body.extend(&algorithm);
        body.extend(element(SEQUENCE, &[0x31; 200])); // an issuer: never looked into
        body.extend(element(SEQUENCE, &validity));
        element(SEQUENCE, &[element(SEQUENCE, &body), algorithm, element(0x03, &[0; 71])].concat())
    }

    const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        for (not_after, seconds) in [
            ((UTC_TIME, "261130121318Z"), 1_796_040_798),
            ((UTC_TIME, "491231235959Z"), 2_524_607_999),
            ((UTC_TIME, "500101000000Z"), 0),
            ((GENERALIZED_TIME, "20500101000000Z"), 2_524_608_000),
            ((GENERALIZED_TIME, "20240229000000Z"), 1_709_164_800),
            ((GENERALIZED_TIME, "99991231235959Z"), 253_402_300_799),
        ] {
            for version in [true, false] {
                let certificate = certificate(version, not_after, ECDSA_SHA384);
                assert_eq!(validity(&certificate), Some((1_577_836_800, seconds)), "{not_after:?}");
                assert_eq!(expiry(&certificate), Some(seconds));
            }
        }
    }

    #[test]
    fn the_hash_is_the_signatures() {
        let of = |algorithm: &[u8]| signature_hash(&certificate(true, (UTC_TIME, "261130121318Z"), algorithm));
        let rsa = |last| of(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last]);
        assert_eq!(of(ECDSA_SHA384), Some(SignatureHash::Sha384));
        assert_eq!([5, 11, 12, 13].map(rsa), {
            use SignatureHash::{Sha256, Sha384, Sha512, Weak};
            [Weak, Sha256, Sha384, Sha512].map(Some)
        });
        assert_eq!(rsa(10), None, "RSASSA-PSS has it in its parameters");
        assert_eq!(of(&[0x2b, 0x65, 0x70]), None, "Ed25519 has none of its own");
    }

    #[test]
    fn what_is_cut_off_or_no_certificate_is_not_known() {
        let whole = certificate(true, (UTC_TIME, "261130121318Z"), ECDSA_SHA384);
        for end in 0..whole.len() {
            assert_eq!((expiry(&whole[..end]), signature_hash(&whole[..end])), (None, None), "{end} bytes");
        }
        for wrong in [(UTC_TIME, "2611301213Z"), (INTEGER, "261130121318Z")] {
            assert_eq!(expiry(&certificate(true, wrong, ECDSA_SHA384)), None);
        }
        let no_times = ["261330121318Z", "261100121318Z", "261132121318Z", "261130241318Z", "261130126018Z"];
        for no_time in no_times {
            assert_eq!(expiry(&certificate(true, (UTC_TIME, no_time), ECDSA_SHA384)), None, "{no_time}");
        }
        assert_eq!(expiry(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn an_rsa_key_is_two_numbers() {
        let key = element(SEQUENCE, &[element(INTEGER, &[0, 0xff]), element(INTEGER, &[1, 0, 1])].concat());
        assert_eq!(rsa_public_key(&key), Some((&[0, 0xff][..], &[1, 0, 1][..])));
        for end in 0..key.len() {
            assert_eq!(rsa_public_key(&key[..end]), None, "{end} bytes");
        }
    }
}
