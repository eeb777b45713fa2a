//! How long a token lives, by its own word: the `exp` of a JSON Web Token (RFC 7519 section 4.1.4). It is read, never believed:
//! whether a token is good is the broker's to say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flux_protocol::secret::Secret;
use serde_json::Value;

/// A new token is fetched when so much of the life that the last one had left is over, per cent.
const FETCHED_AT_PERCENT: u32 = 80;

/// Least time between two tokens.
pub const FETCH_GAP_MIN: Duration = Duration::from_secs(1);

/// A token that does not say when it ends is fetched anew after this, and any other at the latest.
pub const FETCH_GAP_MAX: Duration = Duration::from_secs(300);

/// When the next one is to be fetched, counted from now.
pub fn next_fetch(token: &Secret, now: SystemTime) -> Duration {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = ends_at(token).map(|end| end.saturating_sub(since_epoch));
    left.map_or(FETCH_GAP_MAX, |left| left * FETCHED_AT_PERCENT / 100).clamp(FETCH_GAP_MIN, FETCH_GAP_MAX)
}

/// When the token ends, since the epoch.
fn ends_at(token: &Secret) -> Option<Duration> {
    let claims = token.expose().split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?).ok()?;
    Duration::try_from_secs_f64(claims.get("exp")?.as_f64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_fetched_before_the_last_one_ends() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = |claims: &str| {
            let token = Secret::new(&format!("e30.{}.", URL_SAFE_NO_PAD.encode(claims)));
            next_fetch(&token, now)
        };
        assert_eq!(after("{\"exp\":1000100}"), Duration::from_secs(80));
        assert_eq!(after("{\"exp\":1000100.5}"), Duration::from_millis(80_400));
        assert_eq!(after("{\"exp\":1000000}"), FETCH_GAP_MIN);
        assert_eq!(after("{\"exp\":5}"), FETCH_GAP_MIN);
        for claims in ["{\"exp\":9000000}", "{}", "{\"exp\":\"soon\"}", "{\"exp\":-1}", "{\"exp\":1e300}", "no"] {
            assert_eq!(after(claims), FETCH_GAP_MAX, "{claims}");
        }
        assert_eq!(next_fetch(&Secret::new("opaque"), now), FETCH_GAP_MAX);
    }
}
