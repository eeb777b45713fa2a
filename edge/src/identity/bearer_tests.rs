use std::path::PathBuf;
use std::time::Duration;

use flux_test_support::identity::{Signer, base64url, now_s};
use jsonwebtoken::Header;
use serde_json::json;
use tempfile::NamedTempFile;

use super::*;
use crate::identity::SubjectKey;

const ALGORITHMS: [Algorithm; 4] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS256];

fn rules(keys: PathBuf) -> Rules {
    Rules {
        keys,
        audience: Vec::new(),
        issuer: Vec::new(),
        claim: "sub".to_owned(),
        leeway: Duration::from_secs(30),
        subject_key: SubjectKey::new(b"sixteen bytes at").expect("long enough"),
    }
}

/// A file of keys, and who asks by it. The file is there as long as this is.
struct Gate {
    file: NamedTempFile,
    identity: Arc<IdentityProvider>,
    bearers: Bearers,
}

impl Gate {
    fn new(keys: &str, change: impl FnOnce(&mut Rules)) -> Gate {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), keys).expect("keys");
        let mut rules = rules(file.path().to_owned());
        change(&mut rules);
        let identity = Arc::new(IdentityProvider::load(rules).expect("keys"));
        let bearers = Bearers::new(Arc::clone(&identity));
        Gate { file, identity, bearers }
    }

    /// One that holds all of `signers`, by their place.
    fn of(signers: &[Signer]) -> Gate {
        Gate::new(&jwks(signers), |_| {})
    }

    fn ask(&mut self, token: &str) -> Result<String, Refusal> {
        self.ask_at(token, now_s() * 1000)
    }

    fn ask_at(&mut self, token: &str, wall_ms: u64) -> Result<String, Refusal> {
        let caller = self.bearers.user(Some(format!("Bearer {token}").as_bytes()), wall_ms)?;
        Ok(caller.user.to_string())
    }
}

fn jwks(signers: &[Signer]) -> String {
    let keys: Vec<Value> = signers.iter().enumerate().map(|(place, signer)| signer.jwk(&place.to_string())).collect();
    json!({ "keys": keys }).to_string()
}

/// A header that names a key.
fn header(signer: &Signer, id: &str) -> Header {
    Header { kid: Some(id.to_owned()), ..Header::new(signer.algorithm) }
}

/// What an attacker writes without any key: a token whose header is `header`, with the payload and signature of another.
fn with_header(token: &str, header: &str) -> String {
    let (_, rest) = token.split_once('.').expect("three parts");
    format!("{}.{rest}", base64url(header.as_bytes()))
}

#[test]
fn a_token_of_each_algorithm_names_its_user_by_jwk_and_by_pem() {
    let signers = ALGORITHMS.map(Signer::new);
    let mut gate = Gate::of(&signers);
    for (place, signer) in signers.iter().enumerate() {
        let claims = json!({ "sub": format!("user-{place}"), "exp": now_s() + 60 });
        for token in [signer.token_of(&claims), signer.token_with(&header(signer, &place.to_string()), &claims)] {
            assert_eq!(gate.ask(&token), Ok(format!("user-{place}")), "{:?}", signer.algorithm);
        }
    }
    let pem: String = signers.iter().filter_map(|signer| signer.public_pem.clone()).collect();
    let mut gate = Gate::new(&pem, |_| {});
    for signer in signers.iter().filter(|signer| signer.public_pem.is_some()) {
        assert_eq!(gate.ask(&signer.token("u")), Ok("u".to_owned()), "{:?}", signer.algorithm);
    }
}

#[test]
fn only_the_key_of_a_token_verifies_it() {
    let signers = ALGORITHMS.map(Signer::new);
    let mut gate = Gate::of(&signers);
    for algorithm in ALGORITHMS {
        let stranger = Signer::new(algorithm);
        assert_eq!(gate.ask(&stranger.token("u")), Err(Refusal::Signature), "{algorithm:?}");
        let other = ALGORITHMS.iter().position(|known| *known == algorithm).expect("one of them") + 1;
        let wrong_id = header(&signers[other - 1], &(other % ALGORITHMS.len()).to_string());
        let token = signers[other - 1].token_with(&wrong_id, &json!({ "sub": "u", "exp": now_s() + 60 }));
        assert_eq!(gate.ask(&token), Err(Refusal::UnknownKey), "{algorithm:?}");
    }
    let token = signers[1].token("victim");
    let (body, signature) = token.rsplit_once('.').expect("three parts");
    for cut in [body.to_owned(), format!("{body}."), format!("{body}.AAAA"), format!("{body}.{signature}A")] {
        assert!(gate.ask(&cut).is_err(), "{cut}");
    }
}

#[test]
fn no_algorithm_no_signature_and_a_public_key_as_a_secret_are_refused() {
    let signers = ALGORITHMS.map(Signer::new);
    let public = Gate::new(&signers[0].public_pem.clone().expect("public"), |_| {});
    let mut gates = [public, Gate::of(&signers)];
    let token = signers[0].token("victim");
    let (_, payload) = token.split_once('.').expect("three parts");
    let (payload, _) = payload.split_once('.').expect("two parts");
    for gate in &mut gates {
        for name in ["none", "None", "NONE", "", "HS384", "RS512", "PS256", "ES384"] {
            let forged = with_header(&token, &format!(r#"{{"alg":"{name}"}}"#));
            assert_eq!(gate.ask(&forged), Err(Refusal::Malformed), "{name}");
            let unsigned = format!("{}.{payload}.", forged.split('.').next().expect("a header"));
            assert_eq!(gate.ask(&unsigned), Err(Refusal::Malformed), "{name}");
        }
        for crit in [r#"["b64"],"b64":false"#, "[]", "null"] {
            let extended = with_header(&token, &format!(r#"{{"alg":"RS256","crit":{crit}}}"#));
            assert_eq!(gate.ask(&extended), Err(Refusal::Critical), "{crit}");
        }
    }
    // The attacker knows the public key, and signs with it as if it were a shared secret (RFC 8725 section 2.1).
    let public_pem = signers[0].public_pem.clone().expect("public");
    let key = jsonwebtoken::EncodingKey::from_secret(public_pem.as_bytes());
    let claims = json!({ "sub": "victim", "exp": now_s() + 60 });
    let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token");
    assert_eq!(gates[0].ask(&confused), Err(Refusal::UnknownKey));
    assert_eq!(gates[1].ask(&confused), Err(Refusal::Signature));
}

/// Operators count by them, and the manual says what each means.
#[test]
fn each_reason_is_in_the_manual() {
    let manual = include_str!("../../../docs/SPEC.md");
    let line = manual.split("flux_edge_tokens_refused_total{reason}").nth(1).expect("it is named");
    let line = line.split("\n- **").next().expect("its own paragraph");
    for reason in REFUSALS {
        assert!(line.contains(&format!("`{reason}`")), "{reason} is not in {line}");
    }
}

#[test]
fn claims_are_looked_at() {
    let signer = Signer::new(Algorithm::ES256);
    let now = now_s();
    let mut gate = Gate::new(&signer.public_pem.clone().expect("public"), |rules| {
        rules.audience = vec!["shop".to_owned(), "sale".to_owned()];
        rules.issuer = vec!["https://id.example".to_owned()];
    });
    let good = json!({ "sub": "u", "exp": now + 60, "aud": "sale", "iss": "https://id.example" });
    assert_eq!(gate.ask(&signer.token_of(&good)), Ok("u".to_owned()));
    for (claim, value, refusal) in [
        ("exp", json!(now - 60), Err(Refusal::Expired)),
        ("exp", json!(now - 10), Ok("u".to_owned())), // within the leeway
        ("exp", json!(now as f64 + 60.5), Ok("u".to_owned())),
        ("exp", json!("soon"), Err(Refusal::Claims)),
        ("exp", json!(-1), Err(Refusal::Claims)),
        ("exp", Value::Null, Err(Refusal::Claims)),
        ("nbf", json!(now + 600), Err(Refusal::NotYet)),
        ("nbf", json!(now + 10), Ok("u".to_owned())), // within the leeway
        ("nbf", json!("later"), Err(Refusal::Claims)),
        ("aud", json!("another"), Err(Refusal::Audience)),
        ("aud", json!(["another", "shop"]), Ok("u".to_owned())),
        ("aud", json!([]), Err(Refusal::Audience)),
        ("aud", Value::Null, Err(Refusal::Audience)),
        ("iss", json!("https://evil.example"), Err(Refusal::Issuer)),
        ("iss", Value::Null, Err(Refusal::Issuer)),
        // RFC 7519, section 4.1.1: one string, never a list that holds the right one.
        ("iss", json!(["https://evil.example", "https://id.example"]), Err(Refusal::Claims)),
        ("iss", json!(["https://id.example"]), Err(Refusal::Claims)),
        ("iss", json!({"https://id.example": 1}), Err(Refusal::Claims)),
        ("iss", json!(17), Err(Refusal::Claims)),
        ("aud", json!(17), Err(Refusal::Claims)),
        ("aud", json!(["shop", 17]), Err(Refusal::Claims)),
        ("aud", json!({"shop": 1}), Err(Refusal::Claims)),
        ("sub", json!(17), Ok("17".to_owned())),
        ("sub", json!(""), Err(Refusal::Claims)),
        ("sub", json!(["u"]), Err(Refusal::Claims)),
        ("sub", json!("x".repeat(SUBJECT_BYTES_MAX + 1)), Err(Refusal::Claims)),
        ("sub", Value::Null, Err(Refusal::Claims)),
    ] {
        let mut claims = good.clone();
        claims[claim] = value.clone();
        if value.is_null() {
            claims.as_object_mut().expect("claims").remove(claim);
        }
        assert_eq!(gate.ask(&signer.token_of(&claims)), refusal, "{claim} {value}");
    }
    // Where the edge was told no audience, a token for somebody is for somebody else.
    let mut gate = Gate::new(&signer.public_pem.clone().expect("public"), |_| {});
    assert_eq!(gate.ask(&signer.token_of(&good)), Err(Refusal::Audience));
    // What the edge was told nothing of has to be of its type all the same.
    for (claim, value) in
        [("iss", json!(["a"])), ("iss", json!(17)), ("aud", json!(17)), ("aud", json!({})), ("aud", json!([17]))]
    {
        let mut claims = json!({ "sub": "u", "exp": now + 60 });
        claims[claim] = value.clone();
        assert_eq!(gate.ask(&signer.token_of(&claims)), Err(Refusal::Claims), "{claim} {value}");
    }
}

#[test]
fn another_claim_may_name_the_user_and_subjects_become_identifiers() {
    let signer = Signer::new(Algorithm::EdDSA);
    let mut gate = Gate::new(&signer.public_pem.clone().expect("public"), |rules| rules.claim = "email".to_owned());
    let claims = json!({ "sub": "1", "email": "a@b.example", "exp": now_s() + 60 });
    let user = gate.ask(&signer.token_of(&claims)).expect("valid");
    assert!(user.starts_with("h-") && user.len() == 34, "{user}");
    let user = Identifier::new(user.as_bytes()).expect("an identifier");
    assert!(gate.bearers.is_user(user, "a@b.example") && gate.bearers.is_user(user, user.as_str()));
    assert!(!gate.bearers.is_user(user, "b@b.example"));
}

#[test]
fn what_is_no_bearer_token_is_none() {
    let signer = Signer::new(Algorithm::HS256);
    let mut gate = Gate::of(&[Signer::new(Algorithm::HS256)]);
    let token = signer.token("u");
    for field in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic dTpw"), Some(&*format!("Bearer{token}"))]
    {
        let asked = gate.bearers.user(field.map(str::as_bytes), now_s() * 1000);
        assert_eq!(asked.map(|_| ()), Err(Refusal::Missing), "{field:?}");
    }
    for token in ["a", "a.b", "a.b.c", "a.b.c.d", "..", "\u{fc}.b.c", "e30.e30.", "e30.e30.AA"] {
        assert_eq!(gate.ask(token), Err(Refusal::Malformed), "{token}");
    }
}

#[test]
fn a_valid_token_is_remembered_until_it_ends_and_no_longer_than_its_key() {
    let signers = [Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256)];
    let mut gate = Gate::of(&signers);
    let now = now_s();
    let token = signers[0].token_of(&json!({ "sub": "u", "exp": now + 60 }));
    let field = format!("bearer {token}");
    let verified =
        |gate: &mut Gate| gate.bearers.user(Some(field.as_bytes()), now * 1000).map(|caller| caller.verified);
    assert_eq!(verified(&mut gate), Ok(true));
    assert_eq!(verified(&mut gate), Ok(false));
    assert_eq!(gate.ask_at(&token, (now + 89) * 1000), Ok("u".to_owned()), "exp and the leeway");
    assert_eq!(gate.ask_at(&token, (now + 90) * 1000), Err(Refusal::Expired));
    // A file that is no good changes nothing.
    std::fs::write(gate.file.path(), "{").expect("keys");
    assert!(gate.identity.reload().is_err());
    assert_eq!(verified(&mut gate), Ok(false));
    std::fs::write(gate.file.path(), jwks(&signers[1..])).expect("keys");
    assert_eq!(gate.identity.reload().expect("keys"), 1);
    assert_eq!(verified(&mut gate), Err(Refusal::Signature), "its key is gone");
    assert_eq!(gate.ask(&signers[1].token("v")), Ok("v".to_owned()));
}

#[test]
fn a_token_that_lacks_two_claims_is_told_the_same_each_time() {
    let signers = ALGORITHMS.map(Signer::new);
    let mut gate = Gate::new(&jwks(&signers), |rules| {
        rules.audience = vec!["shop".to_owned()];
        rules.issuer = vec!["https://id.example".to_owned()];
    });
    for asked in 0..64 {
        let token = signers[1].token_of(&json!({ "sub": "u", "exp": now_s() + 60, "asked": asked }));
        assert_eq!(gate.ask(&token), Err(Refusal::Audience));
    }
    assert_eq!(
        gate.ask(&signers[1].token_of(&json!({ "sub": "u", "exp": now_s() + 60, "aud": "shop" }))),
        Err(Refusal::Issuer)
    );
}
