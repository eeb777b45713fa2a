//! A headless Chromium, driven over WebDriver (W3C, <https://www.w3.org/TR/webdriver2/>): for the tests of what people see.
//!
//! Spoken by hand over the lab's own HTTP client: a dozen commands of one JSON object each need no runtime and no client
//! library. Never leaves a browser behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Doing, LabError};
use crate::http_client;
use crate::ports::Port;
use crate::process::{Ending, Process};
use crate::run_dir::RunDir;
use crate::servers::find_in_path;

const START_MAX: Duration = Duration::from_secs(60);
/// One command: a page load is the longest.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// How long a page may take to come to what is waited for: the slowest of its pauses, and a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A browser with one window. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    port: Port,
    session: String,
    axe: String,
    _run: RunDir,
}

/// How wide and how bright.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Of the window's content, in CSS pixels.
    pub width: u32,
    /// Likewise.
    pub height: u32,
    /// The reader prefers a dark page.
    pub dark: bool,
}

impl Look {
    /// A phone by day.
    pub const PHONE: Look = Look { width: 390, height: 844, dark: false };
    /// A phone at night.
    pub const PHONE_DARK: Look = Look { width: 390, height: 844, dark: true };
    /// A desk.
    pub const DESK: Look = Look { width: 1200, height: 860, dark: false };
}

impl Browser {
    /// Starts Chromium with an empty profile of its own.
    ///
    /// # Errors
    /// Where Chromium, its driver or axe-core are missing, or do not come up.
    pub fn start() -> Result<Browser, LabError> {
        let chromium = installed("chromium")?;
        let chromedriver = installed("chromedriver")?;
        let axe = axe()?;
        let run = RunDir::new()?;
        let port = Port::reserve()?;
        let log = run.join("chromedriver.log");
        let mut command = Command::new(chromedriver);
        command.arg(format!("--port={}", port.number()));
        let mut driver = Process::start("chromedriver", command, &log, Ending::KILL)?;
        let address = port.address();
        driver.wait_ready(START_MAX, || {
            let answer = http_client::request(address, "GET", "/status", &[], b"", Duration::from_secs(2));
            answer.is_ok_and(|answer| answer.json()["value"]["ready"] == true)
        })?;
        let mut browser = Browser { driver, port, session: String::new(), axe, _run: run };
        let mut arguments = vec!["--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en-GB"];
        // SAFETY: a plain question to the kernel.
        if unsafe { libc::geteuid() } == 0 {
            arguments.push("--no-sandbox"); // Chromium's sandbox refuses root
        }
        let session = browser.command(
            "POST",
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"binary": chromium, "args": arguments},
            }}}),
        )?;
        let Some(id) = session["sessionId"].as_str() else {
            return Err(LabError::failed(format!("WebDriver gave no session: {session}")));
        };
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, LabError> {
        let path = format!("{}{path}", self.session);
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let headers = [("content-type", "application/json")];
        let address = self.port.address();
        let answer = http_client::request(address, method, &path, &headers, body.as_bytes(), COMMAND_MAX)?;
        let value = answer.json()["value"].clone();
        if answer.status == 200 {
            return Ok(value);
        }
        let (error, message) = (value["error"].as_str().unwrap_or("?"), value["message"].as_str().unwrap_or("?"));
        Err(self.driver.failure(&format!("WebDriver {method} {path}: {error}: {message}")))
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// Where the page does not load.
    pub fn open(&self, url: &str) -> Result<(), LabError> {
        self.command("POST", "/url", &json!({ "url": url })).map(drop)
    }

    /// Reloads the page.
    ///
    /// # Errors
    /// As [`Browser::open`].
    pub fn reload(&self) -> Result<(), LabError> {
        self.command("POST", "/refresh", &json!({})).map(drop)
    }

    /// Where it is.
    ///
    /// # Errors
    /// Where the browser is gone.
    pub fn url(&self) -> Result<String, LabError> {
        Ok(self.command("GET", "/url", &Value::Null)?.as_str().unwrap_or_default().to_owned())
    }

    /// Opens a new tab, closes the one before, and goes on in the new one.
    ///
    /// # Errors
    /// Where the browser is gone.
    pub fn close_tab(&self) -> Result<(), LabError> {
        let new = self.command("POST", "/window/new", &json!({"type": "tab"}))?;
        self.command("DELETE", "/window", &Value::Null)?;
        self.command("POST", "/window", &json!({"handle": new["handle"]})).map(drop)
    }

    /// Runs a script's text as the body of a function; what it returns.
    ///
    /// # Errors
    /// Where it throws.
    pub fn run(&self, script: &str) -> Result<Value, LabError> {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// What the reader sees of the first element that `selector` names; empty where there is none or it is hidden.
    ///
    /// # Errors
    /// Where the selector is none.
    pub fn text(&self, selector: &str) -> Result<String, LabError> {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        Ok(self.run(&script)?.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until `selector` shows a text that holds `words`.
    ///
    /// # Errors
    /// Where that does not come; the text says what is there instead.
    pub fn wait_for(&self, selector: &str, words: &str) -> Result<String, LabError> {
        let end = Instant::now() + WAIT_MAX;
        loop {
            // While one page gives way to the next there is nothing to ask.
            let text = self.text(selector).unwrap_or_default();
            if text.contains(words) {
                return Ok(text);
            }
            if Instant::now() >= end {
                let page = self.text("main").unwrap_or_default();
                let (url, log) = (self.url().unwrap_or_default(), self.log().unwrap_or_default());
                let what = format!("{selector} never showed {words:?}; {url} shows {page:?}; its console: {log:?}");
                return Err(self.driver.failure(&what));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Presses keys, such as `"\u{E004}"` (Tab) or `"\u{E007}"` (Enter), one after the other, where the focus is.
    ///
    /// # Errors
    /// Where the browser is gone.
    pub fn press(&self, keys: &str) -> Result<(), LabError> {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.command("POST", "/actions", &actions).map(drop)
    }

    /// Clicks the first element that `selector` names, as a person would: it must be there to be seen.
    ///
    /// # Errors
    /// Where it is not, or something lies over it.
    pub fn click(&self, selector: &str) -> Result<(), LabError> {
        let found = self.command("POST", "/element", &json!({"using": "css selector", "value": selector}))?;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str).unwrap_or_default();
        self.command("POST", &format!("/element/{id}/click"), &json!({})).map(drop)
    }

    /// A command of Chromium's own (DevTools protocol).
    ///
    /// # Errors
    /// Where it is refused.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Result<Value, LabError> {
        self.command("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Sets size and brightness.
    ///
    /// # Errors
    /// Where the browser is gone.
    pub fn look(&self, look: Look) -> Result<(), LabError> {
        let metrics =
            json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]});
        self.devtools("Emulation.setEmulatedMedia", &media).map(drop)
    }

    /// Takes the network away, or gives it back.
    ///
    /// # Errors
    /// Where the browser is gone.
    pub fn set_offline(&self, offline: bool) -> Result<(), LabError> {
        let conditions = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.devtools("Network.enable", &json!({}))?;
        self.devtools("Network.emulateNetworkConditions", &conditions).map(drop)
    }

    /// Writes what is seen to a PNG file.
    ///
    /// # Errors
    /// Where it cannot be taken or written.
    pub fn screenshot(&self, file: &Path) -> Result<(), LabError> {
        let taken = self.devtools("Page.captureScreenshot", &json!({"format": "png"}))?;
        let png = base64(taken["data"].as_str().unwrap_or_default())
            .ok_or_else(|| LabError::failed("a screenshot that is no base64"))?;
        std::fs::write(file, png).doing(|| format!("writing {}", file.display()))
    }

    /// What the console said since it was asked last, but for the network's own notes: that an answer was a 409 or did not
    /// come is for the page to handle, and no fault of it.
    ///
    /// # Errors
    /// Where the browser is gone.
    pub fn log(&self) -> Result<Vec<String>, LabError> {
        let entries = self.command("POST", "/se/log", &json!({"type": "browser"}))?;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let told = entries.iter().filter(|entry| entry["source"] != "network");
        Ok(told.map(|entry| format!("{}: {}", entry["source"], entry["message"])).collect())
    }

    /// What axe-core finds at fault with the page as it is now, one line each.
    ///
    /// # Errors
    /// Where it cannot run.
    pub fn accessibility_faults(&self) -> Result<Vec<String>, LabError> {
        self.run(&self.axe)?;
        let script = "const done = arguments[0]; axe.run(document).then((found) => done(found.violations.map((fault) => \
                      `${fault.id}: ${fault.help}: ${fault.nodes.map((node) => node.html + node.failureSummary).join()}`)), \
                      (error) => done([String(error)]))";
        let faults = self.command("POST", "/execute/async", &json!({"script": script, "args": []}))?;
        let Some(faults) = faults.as_array() else { return Err(LabError::failed(format!("axe-core said {faults}"))) };
        Ok(faults.iter().map(|fault| fault.as_str().unwrap_or_default().to_owned()).collect())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // So that it clears away its profile. Where that fails the driver's end is its end.
        let _ = self.command("DELETE", "", &Value::Null);
    }
}

fn installed(name: &str) -> Result<PathBuf, LabError> {
    let missing = || LabError::Missing { what: name.to_owned(), install: "lab/setup.sh".to_owned() };
    find_in_path(name).ok_or_else(missing)
}

/// The text of axe-core, which lab/setup.sh fetches: `target/browser/axe.min.js` of the workspace.
fn axe() -> Result<String, LabError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/browser/axe.min.js");
    std::fs::read_to_string(&file).map_err(|_| LabError::Missing {
        what: format!("axe-core ({})", file.display()),
        install: "lab/setup.sh".to_owned(),
    })
}

/// Bytes of base64 (RFC 4648 section 4); `None` where it is none.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_the_standard_shows_it() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("Zm9*"), None);
    }
}
