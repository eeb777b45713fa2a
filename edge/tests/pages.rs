//! The pages as they are served: coding, tags, policy; as they are written for a CDN; and their logic, by Node's test runner.

mod asked;

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use flux_edge::config::{Invocation, SecretVariables};
use flux_edge::core::request::Role;

struct Response {
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn status(&self) -> &str {
        &self.head[9..12]
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

fn ask(flags: &[&str], role: Role, request: &str) -> Response {
    let mut out = asked::ask(flags, role, request);
    let end = out.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    let body = out.split_off(end);
    Response { head: String::from_utf8(out).expect("text"), body }
}

fn get(role: Role, path: &str, fields: &str) -> Response {
    ask(&[], role, &format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n"))
}

#[test]
fn a_page_is_compressed_for_who_takes_it_and_is_the_same() {
    for role in [Role::Public, Role::WaitingRoom] {
        for path in ["/", "/page.css", "/pursue.js", "/texts.js"] {
            let plain = get(role, path, "");
            assert_eq!((plain.status(), plain.field("content-encoding")), ("200", None));
            let zipped = get(role, path, "accept-encoding: br, gzip\r\n");
            assert_eq!((zipped.status(), zipped.field("content-encoding")), ("200", Some("gzip")));
            let mut body = Vec::new();
            flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut body).expect("gzip");
            assert!(body == plain.body && zipped.body.len() < plain.body.len(), "{path}");
            let declined = get(role, path, "accept-encoding: gzip;q=0, *\r\n");
            assert!(declined.body == plain.body, "{path}");
            for response in [&plain, &zipped, &declined] {
                assert_eq!(response.field("vary"), Some("accept-encoding"));
                assert_eq!(response.field("content-length"), Some(&*response.body.len().to_string()));
            }
        }
    }
}

#[test]
fn what_a_cache_has_is_not_sent_again() {
    for coding in ["", "accept-encoding: gzip\r\n"] {
        let first = get(Role::WaitingRoom, "/", coding);
        let tag = first.field("etag").expect("a tag");
        assert!(tag.starts_with('"') && tag.ends_with('"'), "strong: {tag}");
        for known in [tag.to_owned(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
            let again = get(Role::WaitingRoom, "/", &format!("{coding}if-none-match: {known}\r\n"));
            assert_eq!((again.status(), again.body.len()), ("304", 0), "{known}");
            for name in ["etag", "cache-control", "vary", "content-security-policy"] {
                assert_eq!(again.field(name), first.field(name), "{name}");
            }
            assert_eq!(again.field("content-length"), None);
        }
        let other = if coding.is_empty() { "accept-encoding: gzip\r\n" } else { "" };
        let changed = get(Role::WaitingRoom, "/", &format!("{other}if-none-match: {tag}\r\n"));
        assert_eq!(changed.status(), "200", "the other coding has another tag");
    }
}

#[test]
fn every_file_runs_under_a_policy_that_lets_nothing_in() {
    for role in [Role::Public, Role::WaitingRoom] {
        for path in ["/", "/page.css", "/view.js", "/icon.svg"] {
            let response = get(role, path, "");
            let policy = response.field("content-security-policy").expect("a policy");
            for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
                assert!(policy.contains(part), "{policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(response.field("x-content-type-options"), Some("nosniff"));
            assert_eq!(response.field("referrer-policy"), Some("no-referrer"));
            assert!(response.field("cache-control").is_some_and(|cache| cache.starts_with("public, max-age=")));
        }
    }
    let policy = |flags: &[&str], role| {
        let response = ask(flags, role, "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        response.field("content-security-policy").expect("a policy").to_owned()
    };
    let ends = |policy: String, end: &str| assert!(policy.ends_with(end), "{policy}");
    ends(policy(&[], Role::Public), "connect-src 'self'");
    ends(policy(&[], Role::WaitingRoom), "connect-src 'self' *:3210");
    let told = ["--public-url", "https://shop.example/a", "--ledger-url", "https://books.example/"];
    ends(policy(&told, Role::Public), "connect-src 'self' https://books.example");
    ends(policy(&told, Role::WaitingRoom), "connect-src 'self' https://shop.example https://books.example");
}

#[test]
fn the_brand_stands_in_both_pages() {
    let flags = ["--brand-name", "Tom & Co", "--brand-color", "#ffee00"];
    for role in [Role::Public, Role::WaitingRoom] {
        let page = ask(&flags, role, "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(page.text().contains("<span>Tom &amp; Co</span>"), "{}", page.text());
        let style = ask(&flags, role, "GET /page.css HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(style.text().contains("--accent: #ffee00"), "yellow can be read on the dark card");
        assert!(
            !style.text().contains(":root { --accent: #ffee00; --on-accent: #0b0e14; }\n@media"),
            "not on the light"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let logo = folder.path().join("logo.png");
    std::fs::write(&logo, b"\x89PNG").expect("written");
    let flags = ["--brand-logo", logo.to_str().expect("text")];
    let picture = ask(&flags, Role::Public, "GET /logo.png HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!((picture.status(), picture.field("content-type")), ("200", Some("image/png")));
    let page = ask(&flags, Role::Public, "GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert!(page.text().contains("<img src=\"logo.png\""), "{}", page.text());
}

#[test]
fn the_pages_are_written_to_a_folder_as_they_are_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("cdn");
    let flags = ["--public-url", "https://shop.example", "--brand-name", "Shop"];
    let line = [&["flux-edge", "pages", "--out", out.to_str().expect("text")], &flags[..]].concat();
    let Ok(Invocation::WritePages { pages, out }) = Invocation::read(line, SecretVariables::default(), &[0]) else {
        panic!("a command")
    };
    pages.write_to(&out).expect("written");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (file, path) in [("index.html", "/"), ("pursue.js", "/pursue.js"), ("page.css", "/page.css")] {
        let served = ask(&flags, Role::WaitingRoom, &format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        assert_eq!(read(&format!("waiting-room/{file}")), served.text(), "{file}");
    }
    assert!(read("shop/index.html").contains(r#"<meta name="flux-edge" content="https://shop.example">"#));
    let fields = read("waiting-room/_headers");
    assert!(fields.starts_with("/*\n  cache-control: public"), "{fields}");
    assert!(fields.contains("content-security-policy: default-src 'none'"), "{fields}");
}

#[test]
fn other_methods_and_paths_are_refused() {
    let post = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n";
    let refused = ask(&[], Role::WaitingRoom, post);
    assert_eq!((refused.status(), refused.field("allow")), ("405", Some("GET, HEAD")));
    assert_eq!(get(Role::WaitingRoom, "/shop.js", "").status(), "404");
    assert_eq!(get(Role::Public, "/waiting-room.js", "").status(), "404");
    let head = ask(&[], Role::Public, "HEAD / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!((head.status(), head.body.len()), ("200", 0));
}

#[test]
fn their_logic_holds() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
    let files =
        ["dashboard.test.mjs", "foreign.test.mjs", "line.test.mjs", "pursue.test.mjs"].map(|name| tests.join(name));
    let ran = Command::new("node").arg("--test").args(&files).output().expect("node: see lab/setup.sh");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}{}", String::from_utf8_lossy(&ran.stderr));
}
