//! Bearer tokens: nobody is named who was not signed for, by a key of the set and its own algorithm; and whoever is, by the rules
//! of SPEC.md as a second reader has them. Files of keys never panic, and let nobody in.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flux_edge::identity::{Bearers, IdentityProvider, KeySet, Rules, SubjectKey};
use flux_test_support::identity::{Signer, now_s};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::allocation;
use crate::input::Input;

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// 2100: valid for as long as this runs.
const LATER: u64 = 4_102_444_800;

/// Keys are drawn anew in each process, so no kept input can hold a signature of theirs.
struct Provider {
    signers: Vec<(Signer, &'static str)>,
    strangers: Vec<Signer>,
    set: Arc<IdentityProvider>,
}

fn rules() -> Rules {
    Rules {
        keys: PathBuf::new(),
        audience: vec!["shop".to_owned()],
        issuer: vec!["https://id.example".to_owned()],
        claim: "sub".to_owned(),
        leeway: LEEWAY,
        subject_key: SubjectKey::new(&[7; 16]).expect("long enough"),
    }
}

fn provider() -> &'static Provider {
    static PROVIDER: OnceLock<Provider> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let signers = vec![
            (Signer::new(Algorithm::HS256), "h"),
            (Signer::new(Algorithm::ES256), "e"),
            (Signer::new(Algorithm::EdDSA), "d"),
            (Signer::new(Algorithm::RS256), "r"),
        ];
        let strangers = [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA].map(Signer::new).into();
        let keys: Vec<Value> = signers.iter().map(|(signer, id)| signer.jwk(id)).collect();
        let keys = KeySet::parse("keys", json!({ "keys": keys }).to_string().as_bytes()).expect("a set");
        let set = Arc::new(IdentityProvider::with_keys(rules(), keys));
        Provider { signers, strangers, set }
    })
}

/// How to sign; then the text of a header and that of the claims, or the whole token.
pub fn token(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (how, who) = (input.byte(), usize::from(input.byte()));
    let header = input.piece(200);
    let claims = input.rest();
    let mut bearers = Bearers::new(Arc::clone(&provider().set));
    let now_ms = now_s() * 1000;
    let mut named = |token: &str| {
        let field = format!("Bearer {token}");
        let first = bearers.user(Some(field.as_bytes()), now_ms);
        let again = bearers.user(Some(field.as_bytes()), now_ms);
        assert_eq!(first.map(|caller| caller.user), again.map(|caller| caller.user), "remembered or not");
        first.ok().map(|caller| caller.user)
    };
    if let Ok(text) = std::str::from_utf8(claims) {
        assert_eq!(named(text), None, "nobody signed it");
    }
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let Provider { signers, strangers, .. } = provider();
    let (signer, id) = &signers[who % signers.len()];
    match how % 4 {
        0 => {
            let found = named(&format!("{message}.{}", signer.sign(message.as_bytes())));
            if let Some(user) = found {
                let subject = subject(signer.algorithm, id, header, claims, now_ms / 1000);
                let subject = subject.unwrap_or_else(|why| panic!("{user} was named, but {why}"));
                assert_eq!(rules().subject_key.identifier(&subject), user);
            }
        }
        1 => {
            let stranger = &strangers[who % strangers.len()];
            assert_eq!(named(&format!("{message}.{}", stranger.sign(message.as_bytes()))), None, "a key of another");
        }
        2 => {
            // A public key taken for a shared secret: as PEM, and as each member of its JWK.
            let jwk = signer.jwk(id);
            let members = ["n", "x", "y", "kid"].iter().filter_map(|name| jwk[*name].as_str());
            let raw = members.clone().filter_map(|text| URL_SAFE_NO_PAD.decode(text).ok());
            let secrets = members.map(|text| text.as_bytes().to_vec()).chain(raw);
            for secret in secrets.chain(signer.public_pem.iter().map(|pem| pem.as_bytes().to_vec())).chain([Vec::new()])
            {
                let mut mac: Hmac<Sha256> = Hmac::new_from_slice(&secret).expect("any length");
                mac.update(message.as_bytes());
                let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
                assert_eq!(named(&format!("{message}.{signature}")), None, "a public key is no secret");
            }
        }
        _ => altered(&mut named, signer, id, how, who),
    }
}

/// A good token names its user; with any letter changed it names nobody.
fn altered(
    named: &mut impl FnMut(&str) -> Option<flux_protocol::order::Identifier>,
    signer: &Signer,
    id: &str,
    how: u8,
    at: usize,
) {
    let algorithm = Value::from(format!("{:?}", signer.algorithm));
    let header = json!({ "alg": algorithm, "kid": id });
    let claims = json!({ "sub": "user-42", "exp": LATER, "aud": "shop", "iss": "https://id.example", "more": at });
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encoded(&header), encoded(&claims));
    let token = format!("{message}.{}", signer.sign(message.as_bytes()));
    assert_eq!(named(&token).map(|user| user.to_string()).as_deref(), Some("user-42"));
    let mut letters = token.into_bytes();
    let place = (at * 256 + usize::from(how)) % letters.len();
    letters[place] = if letters[place] == b'A' { b'B' } else { b'A' };
    let text = String::from_utf8(letters).expect("ASCII");
    assert_eq!(named(&text), None, "letter {place} of {text}");
}

/// Whom a token names that was signed with a key of this algorithm and id: RFC 7515, RFC 7519 and SPEC.md, once more.
fn subject(algorithm: Algorithm, id: &str, header: &[u8], claims: &[u8], now_s: u64) -> Result<String, &'static str> {
    let of = |bytes: &[u8]| serde_json::from_slice::<Map<String, Value>>(bytes);
    let header = of(header).map_err(|_| "its header is no object")?;
    if header.get("alg").and_then(Value::as_str) != Some(&format!("{algorithm:?}")) {
        return Err("its header names another algorithm than it was signed by");
    }
    if header.get("crit").is_some_and(|critical| !critical.is_null()) {
        return Err("it has extensions that must be understood");
    }
    if header.get("kid").is_some_and(|its| !its.is_null() && its != id) {
        return Err("its key is another");
    }
    let claims = of(claims).map_err(|_| "its claims are no object")?;
    let seconds = |name: &str| claims.get(name).map(|value| value.as_f64());
    let (now, leeway) = (now_s as f64, LEEWAY.as_secs_f64() + 1.0);
    match seconds("exp") {
        Some(Some(end)) if end + leeway > now => {}
        _ => return Err("it has no end, or is over"),
    }
    if let Some(start) = seconds("nbf").flatten()
        && start > now + leeway
    {
        return Err("it is not valid yet");
    }
    let has = |name: &str, wanted: &str| match claims.get(name) {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(all)) => all.iter().any(|one| one == wanted),
        _ => false,
    };
    if !has("aud", "shop") || !has("iss", "https://id.example") {
        return Err("it is for another audience, or of another issuer");
    }
    match claims.get("sub") {
        Some(Value::String(text)) if (1..=1024).contains(&text.len()) => Ok(text.clone()),
        Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
        _ => Err("it names no user"),
    }
}

/// A file of keys.
pub fn key_set(bytes: &[u8]) {
    let held_max = (256 << 10) + 1024 * bytes.len();
    let keys = match allocation::within(held_max, "a file of keys", || KeySet::parse("keys", bytes)) {
        Ok(keys) => keys,
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n') && line.len() < 500, "{line}");
            return;
        }
    };
    assert!((1..=64).contains(&keys.len()));
    let mut bearers = Bearers::new(Arc::new(IdentityProvider::with_keys(rules(), keys)));
    let claims = json!({ "sub": "user-42", "exp": LATER, "aud": "shop", "iss": "https://id.example" });
    // RSA's signatures take as long as all others together, and are verified as they are.
    for (signer, _) in &provider().signers[..3] {
        let field = format!("Bearer {}", signer.token_of(&claims));
        assert!(bearers.user(Some(field.as_bytes()), now_s() * 1000).is_err(), "whose key is not in the file");
    }
}
