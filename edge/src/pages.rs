//! The pages: demo storefront on the public listener, waiting room on its own. Static files, embedded; never a word
//! about an order.

use std::borrow::Cow;
use std::sync::LazyLock;

use flux_protocol::http::{Method, Request};
use sha2::{Digest, Sha256};

use crate::answer::{Answer, Document};
use crate::core::CoreConfig;

/// One embedded file.
struct Page {
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

macro_rules! page {
    ($path:literal, $file:literal, $content_type:literal) => {
        Page { path: $path, content_type: $content_type, body: include_bytes!(concat!("../static/", $file)) }
    };
}

const HTML: &str = "text/html; charset=utf-8";

static STOREFRONT: [Page; 5] = [
    page!("/", "index.html", "text/html; charset=utf-8"),
    page!("/index.js", "index.js", "text/javascript; charset=utf-8"),
    page!("/pursue.js", "pursue.js", "text/javascript; charset=utf-8"),
    page!("/page.css", "page.css", "text/css; charset=utf-8"),
    page!("/icon.svg", "icon.svg", "image/svg+xml"),
];

static WAITING_ROOM: [Page; 5] = [
    page!("/", "waiting-room.html", "text/html; charset=utf-8"),
    page!("/waiting-room.js", "waiting-room.js", "text/javascript; charset=utf-8"),
    page!("/pursue.js", "pursue.js", "text/javascript; charset=utf-8"),
    page!("/page.css", "page.css", "text/css; charset=utf-8"),
    page!("/icon.svg", "icon.svg", "image/svg+xml"),
];

/// Nothing from elsewhere, nothing inline; the waiting room may ask an edge wherever it is.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src http: https:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Short enough that a corrected page is seen soon, long enough that a crowd behind a CDN costs nothing.
const CACHE_CONTROL: &str = "public, max-age=60";

/// A file of the storefront.
pub(crate) fn storefront(request: &Request<'_>) -> Answer {
    serve(&STOREFRONT, request, None)
}

/// A file of the waiting room.
pub(crate) fn waiting_room(config: &CoreConfig, request: &Request<'_>) -> Answer {
    serve(&WAITING_ROOM, request, edge_of(config))
}

/// Where the waiting room's page finds the edge, if that is not port 3000 of its own host: told in its `<meta>`. By port
/// alone, so that nothing of a request stands in a page that a cache may give to others.
fn edge_of(config: &CoreConfig) -> Option<String> {
    let port = config.public_port;
    (port != 3000).then(|| format!("<meta name=\"flux-edge\" content=\":{port}\">"))
}

fn serve(pages: &'static [Page], request: &Request<'_>, edge: Option<String>) -> Answer {
    let Some(page) = pages.iter().find(|page| page.path == request.path) else {
        return Answer::error(404, "Not found");
    };
    if !matches!(request.method, Method::Get | Method::Head) {
        return Answer::error(405, "Method not allowed").with_field("allow", "GET, HEAD");
    }
    let body = match edge {
        Some(meta) if page.content_type == HTML => {
            let text = std::str::from_utf8(page.body).expect("our own page is UTF-8");
            Cow::Owned(text.replace("<meta name=\"flux-edge\" content=\"\">", &meta).into_bytes())
        }
        _ => Cow::Borrowed(page.body),
    };
    let tag = format!("\"{}\"", tag_of(&body));
    let unchanged = request.fields.if_none_match.is_some_and(|known| known == tag.as_bytes());
    let answer = if unchanged {
        Answer::empty(304)
    } else {
        Answer::Document(Box::new(Document { status: 200, fields: Vec::new(), content_type: page.content_type, body }))
    };
    answer
        .with_field("etag", tag)
        .with_field("cache-control", CACHE_CONTROL)
        .with_field("content-security-policy", CONTENT_SECURITY_POLICY)
        .with_field("x-content-type-options", "nosniff")
        .with_field("referrer-policy", "no-referrer")
}

/// Half of the body's SHA-256. Embedded bodies are tagged once.
fn tag_of(body: &[u8]) -> String {
    static KNOWN: LazyLock<Vec<(&'static [u8], String)>> =
        LazyLock::new(|| STOREFRONT.iter().chain(&WAITING_ROOM).map(|page| (page.body, digest(page.body))).collect());
    let known = KNOWN.iter().find(|(page, _)| std::ptr::eq(*page, body));
    known.map_or_else(|| digest(body), |(_, tag)| tag.clone())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
