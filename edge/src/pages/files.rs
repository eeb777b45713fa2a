//! The files that the pages consist of, ready to be sent: texts filled in, tagged, compressed. They stand in `static/`, whole
//! and readable; nothing builds them.
//!
//! Never looks at a request.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::pages::brand::Brand;

/// One file, by its path.
#[derive(Debug)]
pub(crate) struct PageFile {
    /// `/` is the page itself.
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) plain: Representation,
    /// Where it is smaller.
    pub(crate) gzip: Option<Representation>,
}

/// Bytes and their entity tag, which differs by coding (RFC 9110 section 8.8.3.3).
#[derive(Debug)]
pub(crate) struct Representation {
    pub(crate) body: Bytes,
    /// Strong, with its quotes.
    pub(crate) tag: String,
}

/// What a page's text is filled with.
pub(crate) struct Filling<'a> {
    pub(crate) brand: &'a Brand,
    /// An address or `:port`.
    pub(crate) edge: &'a str,
    /// An address, or empty.
    pub(crate) ledger: &'a str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../static/", $name))
    };
}

/// What both pages use.
const COMMON: [(&str, &str); 8] = [
    ("/answer.js", file!("answer.js")),
    ("/browser.js", file!("browser.js")),
    ("/line.js", file!("line.js")),
    ("/order.js", file!("order.js")),
    ("/pursue.js", file!("pursue.js")),
    ("/sale.js", file!("sale.js")),
    ("/texts.js", file!("texts.js")),
    ("/view.js", file!("view.js")),
];

/// The files of the shop.
pub(crate) fn shop(filling: &Filling<'_>) -> Vec<PageFile> {
    files(file!("index.html"), ("/shop.js", file!("shop.js")), filling)
}

/// The files of the waiting room.
pub(crate) fn waiting_room(filling: &Filling<'_>) -> Vec<PageFile> {
    files(file!("waiting-room.html"), ("/waiting-room.js", file!("waiting-room.js")), filling)
}

fn files(page: &str, script: (&'static str, &'static str), filling: &Filling<'_>) -> Vec<PageFile> {
    let style = file!("page.css").to_owned() + &filling.brand.css();
    let logo = filling.brand.logo();
    let logo_path = match logo.content_type {
        "image/png" => "/logo.png",
        "image/webp" => "/logo.webp",
        _ if logo.file == "icon.svg" => "/icon.svg",
        _ => "/logo.svg",
    };
    let mut files = vec![
        PageFile::new("/", HTML, Bytes::from(filled(page, filling))),
        PageFile::new("/page.css", STYLE, Bytes::from(style)),
        PageFile::new(logo_path, logo.content_type, logo.body.clone()),
    ];
    let scripts = COMMON.iter().copied().chain([script]);
    files.extend(scripts.map(|(path, script)| PageFile::new(path, SCRIPT, Bytes::from(without_comments(script)))));
    files
}

/// A script without the lines that only explain it: they are for engineers who change it, not for a phone on a bad
/// network.
fn without_comments(script: &str) -> String {
    script.split_inclusive('\n').filter(|line| !line.trim_start().starts_with("//")).collect()
}

/// A page with its shared parts and what it is told. Parts come first: they hold nothing to fill in, and what is filled in is
/// not looked at again.
fn filled(page: &str, filling: &Filling<'_>) -> String {
    let name = filling.brand.html_name();
    let words = [
        ("{countdown}\n", file!("countdown.html")),
        ("{way}\n", file!("way.html")),
        ("{logo}", filling.brand.logo().file),
        ("{edge}", filling.edge),
        ("{ledger}", filling.ledger),
        ("{brand}", &name),
    ];
    words.iter().fold(page.to_owned(), |text, (word, value)| text.replace(word, value))
}

impl PageFile {
    fn new(path: &'static str, content_type: &'static str, body: Bytes) -> PageFile {
        let tag: String = Sha256::digest(&body)[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let zipped = gzip(&body);
        let gzip = (zipped.len() < body.len())
            .then(|| Representation { body: Bytes::from(zipped), tag: format!("\"{tag}-gzip\"") });
        PageFile { path, content_type, plain: Representation { body, tag: format!("\"{tag}\"") }, gzip }
    }

    /// Its name in a folder.
    pub(crate) fn name(&self) -> &str {
        match self.path {
            "/" => "index.html",
            path => &path[1..],
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes everything")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What the pages may weigh together, uncompressed: a phone on a bad network loads them first (less than half of it, compressed).
    const PAGES_BYTES_MAX: usize = 54 * 1024;

    fn filling(brand: &Brand) -> Filling<'_> {
        Filling { brand, edge: ":3000", ledger: "" }
    }

    #[test]
    fn together_they_are_small_and_each_name_stands_once() {
        let brand = Brand::default();
        let (shop, room) = (shop(&filling(&brand)), waiting_room(&filling(&brand)));
        let mut files: Vec<&PageFile> = shop.iter().chain(&room).collect();
        files.sort_by_key(|file| (file.path, file.plain.tag.as_str()));
        files.dedup_by_key(|file| (file.path, file.plain.tag.as_str()));
        let bytes: usize = files.iter().map(|file| file.plain.body.len()).sum();
        assert!(bytes < PAGES_BYTES_MAX, "{bytes}");
        for files in [&shop, &room] {
            assert_eq!(files.iter().filter(|file| file.path == "/").count(), 1);
        }
    }

    #[test]
    fn what_is_compressed_is_the_same_and_tagged_apart() {
        let brand = Brand::default();
        for file in shop(&filling(&brand)) {
            let Some(zipped) = &file.gzip else { continue };
            let mut body = Vec::new();
            flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut body).expect("gzip");
            assert!(body == file.plain.body, "{}", file.path);
            assert_ne!(zipped.tag, file.plain.tag);
        }
    }

    #[test]
    fn every_file_that_a_page_names_is_there_and_nothing_is_left_to_fill_in() {
        let brand = Brand::default();
        for files in [shop(&filling(&brand)), waiting_room(&filling(&brand))] {
            let text = |file: &PageFile| String::from_utf8(file.plain.body.to_vec()).expect("text");
            for file in &files {
                let text = text(file);
                let html = file.path == "/";
                for (before, after) in [("href=\"", "\""), ("src=\"", "\""), ("from './", "'")] {
                    for named in text.split(before).skip(1).filter_map(|rest| rest.split(after).next()) {
                        let found = named == "#" || files.iter().any(|file| file.name() == named);
                        assert!(found, "{} names {named:?}", file.path);
                    }
                }
                assert!(!html || !text.contains('{'), "{text}");
                assert!(
                    !text.contains("http://") || file.content_type == "image/svg+xml",
                    "{} loads nothing",
                    file.path
                );
            }
        }
    }
}
