//! What makes of a flag's value one that holds, or says in one line what is wrong with it. Each function is of one flag or of two
//! that belong together; what the configuration consists of stands in [`super`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flux_net::secrets::Secrets;
use flux_net::{ServerTls, flags};
use flux_protocol::front::Networks;
use flux_protocol::secret::SharedSecret;

use crate::config::arguments::PageArguments;
use crate::core::config::AdminToken;
use crate::limits::shell::{
    ADMIN_TOKEN_BYTES_MAX, BOOTSTRAP_BROKERS_MAX, BURST_MAX, BURST_MIN, BURST_PER_RATE, CORS_HEADERS_BYTES_MAX,
    RATE_MAX, THROTTLE_FILL_TIME_MAX, THROTTLE_RATE_MAX, TOPIC_BYTES_MAX, TRUSTED_PROXIES_MAX, WORKERS_MAX,
};
use crate::pages::PageSettings;
use crate::pages::brand::Brand;
use crate::pages::origin::origin_of;
use crate::throttle::Throttle;

/// An empty variable counts as unset: compose files pass those.
pub(super) fn listener_tls(certificate: Option<String>, key: Option<String>) -> Result<Option<ServerTls>, String> {
    let given = |file: Option<String>| file.filter(|file| !file.is_empty());
    match (given(certificate), given(key)) {
        (None, None) => Ok(None),
        (Some(_), None) => Err("--tls-cert needs --tls-key".into()),
        (None, Some(_)) => Err("--tls-key needs --tls-cert".into()),
        (Some(certificate), Some(key)) => ServerTls::load(certificate.into(), key.into())
            .map(Some)
            .map_err(|error| format!("--tls-cert, --tls-key: {error}")),
    }
}

pub(super) fn page_settings(arguments: PageArguments) -> Result<PageSettings, String> {
    let url = |flag: &str, url: Option<String>| match url {
        // An empty variable counts as unset here too.
        None => Ok(None),
        Some(url) if url.is_empty() => Ok(None),
        Some(url) if origin_of(&url).is_some() => Ok(Some(url)),
        Some(_) => Err(format!("{flag} must be an http:// or https:// URL without ? and #, in visible ASCII")),
    };
    Ok(PageSettings {
        brand: Brand::new(&arguments.brand_name, &arguments.brand_color, arguments.brand_logo.as_deref())?,
        public_url: url("--public-url", arguments.public_url)?,
        ledger_url: url("--ledger-url", arguments.ledger_url)?,
    })
}

/// An empty variable counts as unset: compose files pass those.
pub(super) fn checked_token(
    token: Option<&str>,
    file: Option<PathBuf>,
    secrets: &mut Secrets,
) -> Result<Option<AdminToken>, String> {
    let file = file.filter(|path| !path.as_os_str().is_empty());
    let (name, token) = match (token.filter(|token| !token.is_empty()), file) {
        (None, None) => return Ok(None),
        (Some(token), None) => ("FLUX_ADMIN_TOKEN", SharedSecret::from(token)),
        (None, Some(path)) => ("--admin-token-file", secrets.file("--admin-token-file", path)?),
        (Some(_), Some(_)) => return Err("FLUX_ADMIN_TOKEN or --admin-token-file, not both".to_owned()),
    };
    let secret = token.get();
    let text = secret.expose();
    if text.len() <= ADMIN_TOKEN_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(AdminToken::new(token)))
    } else {
        Err(format!("{name} must be visible ASCII without blanks, {ADMIN_TOKEN_BYTES_MAX} bytes at most"))
    }
}

pub(super) fn check_rate(rate: u64, burst: u64) -> Result<(), String> {
    if rate > RATE_MAX {
        return Err(format!("--rate must be at most {RATE_MAX}"));
    }
    let least = BURST_MIN.max(rate.div_ceil(BURST_PER_RATE));
    if !(least..=BURST_MAX).contains(&burst) {
        return Err(format!("--burst must be from {least} (2, or a hundredth of --rate) to {BURST_MAX}"));
    }
    Ok(())
}

/// What a page's script may send: what an order and its callers' tracing say, and what the operator adds.
pub(super) fn cors_headers(more: &str) -> Result<String, String> {
    let mut headers = "content-type, idempotency-key, x-idempotency-key, x-queue-ticket, authorization, traceparent, \
                       tracestate, baggage"
        .to_owned();
    for name in more.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        // Tokens of RFC 9110 section 5.6.2, as far as any field's name uses them.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
            return Err("--cors-headers must be names of header fields, a comma between them".into());
        }
        headers.push_str(", ");
        headers.push_str(&name.to_ascii_lowercase());
    }
    if headers.len() > CORS_HEADERS_BYTES_MAX {
        return Err(format!("--cors-headers: at most {CORS_HEADERS_BYTES_MAX} bytes in all"));
    }
    Ok(headers)
}

/// The proxies whose word counts, and what is to be said of them.
pub(super) fn trusted_proxies(list: &str, warnings: &mut Vec<String>) -> Result<Networks, String> {
    let networks = Networks::parse(list).map_err(|error| format!("--trusted-proxies: {error}"))?;
    if networks.len() > TRUSTED_PROXIES_MAX {
        return Err(format!("--trusted-proxies must name at most {TRUSTED_PROXIES_MAX} networks"));
    }
    if networks.holds_everybody() {
        warnings.push(
            "--trusted-proxies names everybody: whoever connects is believed to ask for whomever they say, and limited by no address"
                .to_owned(),
        );
    }
    Ok(networks)
}

/// The table of a limit; none where the rate is 0. `usual_burst` holds where none was chosen.
pub(super) fn throttle(
    (rate_flag, rate): (&str, u64),
    (burst_flag, burst): (&str, Option<u64>),
    usual_burst: u64,
) -> Result<Option<Arc<Throttle>>, String> {
    if rate == 0 {
        return match burst {
            None => Ok(None),
            Some(_) => Err(format!("{burst_flag} limits nothing without {rate_flag}")),
        };
    }
    let burst = burst.unwrap_or(usual_burst);
    if rate > THROTTLE_RATE_MAX {
        return Err(format!("{rate_flag} must be at most {THROTTLE_RATE_MAX}"));
    }
    let most = rate * THROTTLE_FILL_TIME_MAX.as_secs();
    if !(1..=most).contains(&burst) {
        return Err(format!("{burst_flag} must be from 1 to {most} (60 s of {rate_flag})"));
    }
    Ok(Some(Arc::new(Throttle::new(rate, burst))))
}

pub(super) fn check_span(flag: &str, span: Duration, least: Duration, most: Duration) -> Result<(), String> {
    if span < least || span > most {
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        return Err(format!("{flag} must be from {least} to {most}"));
    }
    Ok(())
}

/// Kafka's own rule for names.
pub(super) fn check_topic(topic: &str) -> Result<(), String> {
    let legal = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !legal || topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || matches!(topic, "." | "..") {
        return Err("--topic must be 1 to 249 of A-Z a-z 0-9 . _ -".into());
    }
    Ok(())
}

pub(super) fn check_ports(
    listen: SocketAddr,
    admin: SocketAddr,
    waiting_room: Option<SocketAddr>,
) -> Result<(), String> {
    let clash = |a: SocketAddr, b: SocketAddr| a.port() != 0 && a == b;
    // The public listener shares its port among cores, so the kernel would not notice another one of ours on it.
    if clash(listen, admin) {
        return Err("--listen and --admin must differ".into());
    }
    if waiting_room.is_some_and(|room| clash(room, listen) || clash(room, admin)) {
        return Err("--waiting-room must differ from --listen and --admin".into());
    }
    Ok(())
}

pub(super) fn brokers(list: &str) -> Result<Vec<(String, u16)>, String> {
    let brokers = flags::addresses("--kafka", list, 9092)?;
    if brokers.is_empty() || brokers.len() > BOOTSTRAP_BROKERS_MAX {
        return Err(format!("--kafka must name 1 to {BOOTSTRAP_BROKERS_MAX} brokers"));
    }
    Ok(brokers)
}

pub(super) fn workers(list: &str) -> Result<Vec<(String, u16)>, String> {
    let workers = flags::addresses("--workers", list, 3002)?;
    if workers.len() > WORKERS_MAX {
        return Err(format!("--workers must name at most {WORKERS_MAX} workers"));
    }
    Ok(workers)
}
