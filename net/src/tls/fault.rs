//! Why a TLS connection could not be made, or ended: one plain line that says with whom, and what is missing.

use std::fmt;
use std::io;

use flux_protocol::http::Date;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// The flags and parameters by which an operator says what a link needs, as messages name them.
#[derive(Clone, Copy, Debug)]
pub struct FlagNames {
    /// Files of trusted issuers.
    pub ca: &'static str,
    /// Our certificate.
    pub certificate: &'static str,
    /// Its key.
    pub key: &'static str,
    /// The name that the server's certificate must have.
    pub server_name: &'static str,
}

/// Kinds of failures, as a metric tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A certificate's time is over.
    Expired,
    /// A certificate's time has not come.
    NotYetValid,
    /// Nobody who is trusted has issued the certificate.
    UnknownIssuer,
    /// The certificate is for other names.
    WrongName,
    /// The certificate cannot be used for something else.
    BadCertificate,
    /// The peer refused us: it wants a client certificate, or another one, or does not trust ours.
    Refused,
    /// No version, cipher or key exchange in common.
    Incompatible,
    /// The peer does not speak TLS.
    NotTls,
    /// A client spoke HTTP in the clear.
    PlainHttp,
    /// It said nothing for too long.
    Silent,
    /// It hung up.
    Closed,
    /// The peer broke the protocol, or something else.
    Other,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 12] = [
        Reason::Expired,
        Reason::NotYetValid,
        Reason::UnknownIssuer,
        Reason::WrongName,
        Reason::BadCertificate,
        Reason::Refused,
        Reason::Incompatible,
        Reason::NotTls,
        Reason::PlainHttp,
        Reason::Silent,
        Reason::Closed,
        Reason::Other,
    ];

    /// The value of a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Expired => "expired",
            Reason::NotYetValid => "not_yet_valid",
            Reason::UnknownIssuer => "unknown_issuer",
            Reason::WrongName => "wrong_name",
            Reason::BadCertificate => "bad_certificate",
            Reason::Refused => "refused",
            Reason::Incompatible => "incompatible",
            Reason::NotTls => "not_tls",
            Reason::PlainHttp => "plain_http",
            Reason::Silent => "silent",
            Reason::Closed => "closed",
            Reason::Other => "other",
        }
    }
}

/// See the module. Nothing was sent to the peer but the handshake where it failed there; where it came later, what became
/// of the bytes before it is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TLS with {peer}: {what}")]
pub struct TlsFault {
    /// What kind.
    pub reason: Reason,
    /// With whom: the name that was to be in its certificate.
    pub peer: String,
    /// The sentence.
    pub what: String,
}

impl From<TlsFault> for io::Error {
    fn from(fault: TlsFault) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

/// What rustls has found wrong, in words that are the same as long as that is: logs tell by them what they have said already, so
/// that they hold no time of day. `flags`: of a client, whose operator can mend it with them.
pub(super) fn explained(error: &Error, flags: Option<&FlagNames>) -> (Reason, String) {
    let hint = |pick: fn(&FlagNames) -> &'static str| match flags {
        Some(flags) => format!(" ({})", pick(flags)),
        None => String::new(),
    };
    match error {
        Error::InvalidCertificate(error) => certificate(error, hint),
        Error::NoCertificatesPresented => (Reason::BadCertificate, "it showed no certificate".into()),
        Error::AlertReceived(alert) => refusal(*alert, hint),
        Error::InvalidMessage(_) => (Reason::NotTls, "what it sent is not TLS".into()),
        Error::PeerIncompatible(what) => (Reason::Incompatible, format!("nothing in common to speak: {}", lack(what))),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } | Error::DecryptError => {
            (Reason::Other, format!("it broke the protocol: {error}"))
        }
        other => (Reason::Other, other.to_string()),
    }
}

type Hint<'a> = &'a dyn Fn(fn(&FlagNames) -> &'static str) -> String;

fn certificate(error: &CertificateError, hint: impl Fn(fn(&FlagNames) -> &'static str) -> String) -> (Reason, String) {
    let hint: Hint<'_> = &hint;
    match error {
        CertificateError::Expired => (Reason::Expired, "its certificate has expired".into()),
        CertificateError::ExpiredContext { not_after, .. } => {
            (Reason::Expired, format!("its certificate expired on {}, by the clock here", date(*not_after)))
        }
        CertificateError::NotValidYet => (Reason::NotYetValid, "its certificate is not valid yet".into()),
        CertificateError::NotValidYetContext { not_before, .. } => (
            Reason::NotYetValid,
            format!("its certificate is valid from {} only, by the clock here", date(*not_before)),
        ),
        CertificateError::UnknownIssuer => {
            (Reason::UnknownIssuer, format!("its certificate was issued by nobody who is trusted{}", hint(|f| f.ca)))
        }
        CertificateError::BadSignature => (
            Reason::UnknownIssuer,
            format!(
                "its certificate was not issued with the key of the issuer of that name who is trusted{}",
                hint(|f| f.ca)
            ),
        ),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => (
            Reason::WrongName,
            format!("its certificate has no name, a subject alone is none{}", hint(|f| f.server_name)),
        ),
        CertificateError::NotValidForNameContext { presented, .. } => (
            Reason::WrongName,
            format!("its certificate is for other names: {}{}", names(presented), hint(|f| f.server_name)),
        ),
        CertificateError::NotValidForName => {
            (Reason::WrongName, format!("its certificate is for other names{}", hint(|f| f.server_name)))
        }
        CertificateError::Revoked => (Reason::BadCertificate, "its certificate was revoked".into()),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            (Reason::BadCertificate, "its certificate is not for this end of a connection (extended key usage)".into())
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => (
            Reason::BadCertificate,
            "its certificate is an issuer's (CA:TRUE), not a server's: issue one for the server and trust the issuer"
                .into(),
        ),
        other => (Reason::BadCertificate, format!("its certificate cannot be used: {other}")),
    }
}

fn refusal(alert: AlertDescription, hint: impl Fn(fn(&FlagNames) -> &'static str) -> String) -> (Reason, String) {
    let what = match alert {
        AlertDescription::CertificateRequired => format!("it wants a client certificate{}", hint(|f| f.certificate)),
        AlertDescription::UnknownCA => {
            format!("it does not trust who issued our certificate{}", hint(|f| f.certificate))
        }
        AlertDescription::CertificateExpired => format!("our certificate has expired{}", hint(|f| f.certificate)),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => {
            let why = match alert {
                AlertDescription::BadCertificate => "it is damaged or its signature is wrong",
                AlertDescription::UnsupportedCertificate => "it is of a kind that it does not know",
                AlertDescription::CertificateRevoked => "it was revoked",
                AlertDescription::AccessDenied => "it is good, and who it names may not connect",
                _ => "it does not say why",
            };
            format!("it does not take our certificate: {why}{}", hint(|f| f.certificate))
        }
        AlertDescription::UnrecognisedName => format!("it serves no such name{}", hint(|f| f.server_name)),
        // What OpenSSL says before TLS 1.3 where a client certificate is missing, too.
        AlertDescription::HandshakeFailure => format!(
            "it refused the handshake: nothing in common to speak, or it wants a client certificate{}",
            hint(|f| f.certificate)
        ),
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.3 nor 1.2".into(),
        other => format!("it broke off: {}", complaint(other)),
    };
    (if alert == AlertDescription::ProtocolVersion { Reason::Incompatible } else { Reason::Refused }, what)
}

/// What the other alerts mean (RFC 8446, section 6.2; RFC 5246, section 7.2.2).
fn complaint(alert: AlertDescription) -> String {
    let what = match alert {
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => "it ended the connection",
        AlertDescription::UnexpectedMessage => "a message of ours came where it expected another",
        AlertDescription::BadRecordMac | AlertDescription::DecryptionFailed => {
            "it could not decrypt what we sent, which may have been changed on its way"
        }
        AlertDescription::RecordOverflow => "a record of ours was too long for it",
        AlertDescription::DecodeError => "it could not read a message of ours, which may have been changed on its way",
        AlertDescription::DecryptError => "a signature or a check of the handshake did not hold",
        AlertDescription::IllegalParameter => "something that we said contradicts itself or the protocol",
        AlertDescription::InsufficientSecurity => "it asks for stronger ciphers than we have",
        AlertDescription::InternalError => "it failed by itself (internal error): its own log may say why",
        AlertDescription::InappropriateFallback => "it knows a later version of TLS than it was offered",
        AlertDescription::NoRenegotiation => "it does not begin anew on a connection",
        AlertDescription::MissingExtension => "it misses an extension in what we sent",
        AlertDescription::UnsupportedExtension => "we answered with an extension that it had not offered",
        AlertDescription::UnknownPSKIdentity => "it does not know the key that we have in common",
        AlertDescription::NoApplicationProtocol => "it speaks none of the application protocols that we offer (ALPN)",
        other => return format!("alert {} of TLS", u8::from(other)),
    };
    what.to_owned()
}

/// What the two ends do not have in common.
fn lack(what: &PeerIncompatible) -> String {
    let what = match what {
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher",
        PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
            "no key exchange (here: X25519, P-256, P-384)"
        }
        PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::UncompressedEcPointsRequired
        | PeerIncompatible::EcPointsExtensionRequired => "no form of points on a curve",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
            "no kind of signature that fits the certificate's key"
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => "it speaks neither TLS 1.3 nor 1.2",
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "its TLS 1.2 has no extended master secret (RFC 7627)"
        }
        PeerIncompatible::NullCompressionRequired => "it insists on compression",
        PeerIncompatible::KeyShareExtensionRequired => "it offers no key share",
        other => return format!("{other:?}"),
    };
    what.to_owned()
}

/// The first of them: a certificate may have a hundred. rustls writes them as its own types are called.
fn names(presented: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    let bare = |name: &String| {
        let inner = name.strip_suffix(')').and_then(|name| name.split_once('(')).map_or(&**name, |(_, inner)| inner);
        inner.trim_matches('"').chars().filter(|letter| !letter.is_control()).collect::<String>()
    };
    let mut shown = presented.iter().take(SHOWN_MAX).map(bare).collect::<Vec<_>>().join(", ");
    if presented.len() > SHOWN_MAX {
        shown.push_str(", …");
    }
    shown
}

fn date(time: UnixTime) -> impl fmt::Display {
    String::from_utf8_lossy(Date::new(time.as_secs()).as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn words(error: impl Into<Error>) -> String {
        let line = explained(&error.into(), None).1;
        assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
        line
    }

    /// Logs compare texts to say the same only once: the time would make another of each.
    #[test]
    fn the_same_fault_has_the_same_words_at_any_time() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = |time| CertificateError::ExpiredContext { time: at(time), not_after: at(1_609_372_800) };
        assert_eq!(words(expired(1_700_000_000)), words(expired(1_700_000_001)));
        assert!(words(expired(1_700_000_000)).contains("expired on Thu, 31 Dec 2020 00:00:00 GMT"));
        let early = |time| CertificateError::NotValidYetContext { time: at(time), not_before: at(1_609_372_800) };
        assert_eq!(words(early(1_600_000_000)), words(early(1_600_000_001)));
        assert!(words(early(1_600_000_000)).contains("valid from Thu, 31 Dec 2020 00:00:00 GMT"));
    }

    /// No word of rustls' own names, which are written as one: `DecodeError`.
    #[test]
    fn every_alert_and_every_lack_of_something_in_common_is_told_in_words() {
        let is_name = |word: &str| {
            word.chars()
                .skip(1)
                .zip(word.chars().skip(2))
                .any(|(one, next)| one.is_ascii_lowercase() && next.is_ascii_uppercase())
        };
        for code in 0..=255_u8 {
            let line = words(Error::AlertReceived(AlertDescription::from(code)));
            assert!(!line.split(' ').any(is_name) && !line.contains("Unknown("), "{code}: {line}");
        }
        assert!(words(Error::AlertReceived(AlertDescription::DecodeError)).contains("could not read"));
        for what in [
            PeerIncompatible::NoCipherSuitesInCommon,
            PeerIncompatible::NoKxGroupsInCommon,
            PeerIncompatible::NoSignatureSchemesInCommon,
            PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            PeerIncompatible::ServerDoesNotSupportTls12Or13,
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            PeerIncompatible::Tls12NotOffered,
            PeerIncompatible::Tls12NotOfferedOrEnabled,
            PeerIncompatible::ExtendedMasterSecretExtensionRequired,
            PeerIncompatible::UncompressedEcPointsRequired,
        ] {
            let line = words(what.clone());
            assert!(!line.split(' ').any(is_name), "{what:?}: {line}");
        }
    }
}
