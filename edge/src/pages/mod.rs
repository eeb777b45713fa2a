//! The pages: the shop on the public listener, the waiting room on its own, or both in a folder for a CDN.
//!
//! The same for everybody and cacheable, so a crowd costs what a cache asks for. Never a word about an order.

pub(crate) mod brand;
pub(crate) mod files;
pub(crate) mod origin;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use flux_protocol::http::{Method, Request, media};

use crate::answer::{Answer, Document};
use crate::pages::brand::Brand;
use crate::pages::files::{self as page_files, Filling, PageFile};
use crate::pages::origin::origin_of;

/// Short enough that a corrected page is seen soon, long enough that a crowd behind a CDN costs nothing; and while the
/// edge is away, what a cache has is better than nothing.
const CACHE_CONTROL: &str = "public, max-age=60, stale-while-revalidate=600, stale-if-error=86400";

/// What the pages are told.
#[derive(Clone, Debug, Default)]
pub struct PageSettings {
    /// Whose they are.
    pub brand: Brand,
    /// The public listener as browsers reach it.
    pub public_url: Option<String>,
    /// A worker's listener as browsers reach it.
    pub ledger_url: Option<String>,
}

/// The pages of one edge; clones share them.
#[derive(Clone, Debug)]
pub struct Pages {
    settings: PageSettings,
    public_port: u16,
    ready: Arc<OnceLock<Ready>>,
}

/// Both pages, ready to be sent.
#[derive(Debug)]
struct Ready {
    shop: Page,
    waiting_room: Page,
}

/// The files of one page and the policy under which they run.
#[derive(Debug)]
struct Page {
    files: Vec<PageFile>,
    policy: String,
}

impl PageSettings {
    /// Writes both pages as an edge would serve them, each in a folder of its own, with a `_headers` file that tells a CDN
    /// the fields to send.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        // A page from a CDN is not on the edge's own port, so the shop must be told where that is too.
        let own = self.public_url.as_deref().unwrap_or("/");
        let pages = [("shop", self.shop(own)), ("waiting-room", self.waiting_room(3000))];
        for (name, page) in pages {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder)?;
            for file in &page.files {
                std::fs::write(folder.join(file.name()), &file.plain.body)?;
            }
            let fields = page.fields().map(|(name, value)| format!("  {name}: {value}\n")).concat();
            std::fs::write(folder.join("_headers"), format!("/*\n{fields}"))?;
        }
        Ok(())
    }

    fn shop(&self, edge: &str) -> Page {
        let ledger = self.ledger_url.as_deref().unwrap_or_default();
        Page::new(page_files::shop(&Filling { brand: &self.brand, edge, ledger }), &[edge, ledger])
    }

    /// By port alone where no address was given, so that nothing of a request stands in a page that a cache may give to
    /// others.
    fn waiting_room(&self, public_port: u16) -> Page {
        let edge = self.public_url.clone().unwrap_or_else(|| format!(":{public_port}"));
        let ledger = self.ledger_url.as_deref().unwrap_or_default();
        let files = page_files::waiting_room(&Filling { brand: &self.brand, edge: &edge, ledger });
        Page::new(files, &[&edge, ledger])
    }
}

impl Pages {
    /// Of an edge whose public listener has this port.
    pub fn new(settings: PageSettings, public_port: u16) -> Pages {
        Pages { settings, public_port, ready: Arc::default() }
    }

    /// A file of the shop. It asks the listener that it came from.
    pub(crate) fn shop(&self, request: &Request<'_>) -> Answer {
        self.ready().shop.serve(request)
    }

    /// A file of the waiting room.
    pub(crate) fn waiting_room(&self, request: &Request<'_>) -> Answer {
        self.ready().waiting_room.serve(request)
    }

    fn ready(&self) -> &Ready {
        self.ready.get_or_init(|| Ready {
            shop: self.settings.shop("/"),
            waiting_room: self.settings.waiting_room(self.public_port),
        })
    }
}

impl Page {
    /// `asked`: whom its scripts may ask: addresses, `:port` of the page's own host, a path, or empty.
    fn new(files: Vec<PageFile>, asked: &[&str]) -> Page {
        let mut policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
            .to_owned();
        for address in asked {
            if let Some(port) = address.strip_prefix(':') {
                // A policy cannot say "this host, another port".
                policy += &format!(" *:{port}");
            } else if let Some(origin) = origin_of(address) {
                policy += &format!(" {origin}");
            }
        }
        Page { files, policy }
    }

    fn fields(&self) -> [(&'static str, &str); 5] {
        [
            ("cache-control", CACHE_CONTROL),
            ("content-security-policy", &self.policy),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ]
    }

    fn serve(&self, request: &Request<'_>) -> Answer {
        let Some(file) = self.files.iter().find(|file| file.path == request.path) else {
            return Answer::error(404, "Not found");
        };
        if !matches!(request.method, Method::Get | Method::Head) {
            return Answer::error(405, "Method not allowed").with_field("allow", "GET, HEAD");
        }
        let zipped = file.gzip.as_ref().filter(|_| request.fields.accept_encoding.is_some_and(media::accepts_gzip));
        let representation = zipped.unwrap_or(&file.plain);
        let known = request.fields.if_none_match;
        let mut answer = if known.is_some_and(|known| media::names_tag(known, representation.tag.as_bytes())) {
            Answer::empty(304)
        } else {
            let body = representation.body.clone();
            Answer::Document(Box::new(Document {
                status: 200,
                fields: Vec::new(),
                content_type: file.content_type,
                body,
            }))
        };
        if zipped.is_some() && answer.status() == 200 {
            answer = answer.with_field("content-encoding", "gzip");
        }
        answer = answer.with_field("etag", &*representation.tag).with_field("vary", "accept-encoding");
        self.fields().into_iter().fold(answer, |answer, (name, value)| answer.with_field(name, value))
    }
}
