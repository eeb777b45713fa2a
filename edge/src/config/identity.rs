//! Flags about bearer tokens, checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flux_net::secrets::Secrets;

use crate::config::span::span;
use crate::identity::{Rules, SUBJECT_KEY_BYTES_MIN, SubjectKey};
use crate::limits::shell::JWT_LEEWAY_MAX;

/// Whose bearer tokens orders need, if any.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdentityArguments {
    /// Orders need a bearer token (JWT) signed by one of the keys in this file: a JWK set, or public keys as PEM; read anew
    /// on SIGHUP and daily. Needs FLUX_JWT_SUBJECT_KEY [default: none, and userId is what callers say]
    #[arg(long, env = "FLUX_JWT_KEYS", value_name = "FILE")]
    pub(crate) jwt_keys: Option<PathBuf>,

    /// Values of `aud`, a comma between them, one of which a token must have [default: tokens with an `aud` are refused]
    #[arg(long, env = "FLUX_JWT_AUDIENCE", value_name = "NAME,…")]
    pub(crate) jwt_audience: Option<String>,

    /// Values of `iss`, a comma between them, one of which a token must have [default: any]
    #[arg(long, env = "FLUX_JWT_ISSUER", value_name = "NAME,…")]
    pub(crate) jwt_issuer: Option<String>,

    /// The claim that names the user: a string or a whole number
    #[arg(long, env = "FLUX_JWT_CLAIM", value_name = "NAME", default_value = "sub")]
    pub(crate) jwt_claim: String,

    /// By how much the clocks of the edge and the identity provider may differ (up to 10min)
    #[arg(long, env = "FLUX_JWT_LEEWAY", value_name = "SPAN", default_value = "30s", value_parser = span)]
    pub(crate) jwt_leeway: Duration,

    /// A file that holds the key which users' names are hashed with, in place of FLUX_JWT_SUBJECT_KEY
    #[arg(long, env = "FLUX_JWT_SUBJECT_KEY_FILE", value_name = "FILE")]
    pub(crate) jwt_subject_key_file: Option<PathBuf>,
}

impl IdentityArguments {
    /// What is asked of tokens; `None`: nothing is.
    ///
    /// # Errors
    /// A mistake, one line.
    pub(crate) fn rules(self, variable: Option<&str>, secrets: &mut Secrets) -> Result<Option<Rules>, String> {
        let Some(keys) = self.jwt_keys.filter(|path| !path.as_os_str().is_empty()) else {
            // Whoever says any of this believes that tokens are asked for.
            let is_given = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
            let orphans = [
                ("--jwt-audience", is_given(self.jwt_audience.as_deref())),
                ("--jwt-issuer", is_given(self.jwt_issuer.as_deref())),
                ("FLUX_JWT_SUBJECT_KEY", is_given(variable)),
                ("--jwt-subject-key-file", self.jwt_subject_key_file.is_some_and(|path| !path.as_os_str().is_empty())),
            ];
            return match orphans.iter().find(|(_, is_given)| *is_given) {
                Some((flag, _)) => Err(format!("{flag} is about bearer tokens, and --jwt-keys is missing")),
                None => Ok(None),
            };
        };
        if self.jwt_leeway > JWT_LEEWAY_MAX {
            return Err(format!("--jwt-leeway must be at most {}", humantime::format_duration(JWT_LEEWAY_MAX)));
        }
        if self.jwt_claim.is_empty() {
            return Err("--jwt-claim must name a claim".to_owned());
        }
        let file = self.jwt_subject_key_file.filter(|path| !path.as_os_str().is_empty());
        let subject_key = match (variable.filter(|key| !key.is_empty()), file) {
            (None, None) => None,
            (Some(key), None) => SubjectKey::new(key.as_bytes()),
            // Another key would make every such user another one: it is not read anew.
            (None, Some(path)) => SubjectKey::new(secrets.fixed("--jwt-subject-key-file", &path)?.expose().as_bytes()),
            (Some(_), Some(_)) => return Err("FLUX_JWT_SUBJECT_KEY or --jwt-subject-key-file, not both".to_owned()),
        };
        let subject_key = subject_key.ok_or_else(|| {
            format!(
                "--jwt-keys needs FLUX_JWT_SUBJECT_KEY, at least {SUBJECT_KEY_BYTES_MIN} bytes and the same on all edges: users \
                 whose names are no identifiers are stored as its keyed hash (openssl rand -hex 32 makes one)"
            )
        })?;
        Ok(Some(Rules {
            keys,
            audience: names(self.jwt_audience),
            issuer: names(self.jwt_issuer),
            claim: self.jwt_claim,
            leeway: self.jwt_leeway,
            subject_key,
        }))
    }
}

fn names(list: Option<String>) -> Vec<String> {
    let list = list.unwrap_or_default();
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
