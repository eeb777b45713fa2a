//! A headless Chromium as the tests use it: thirtyfour's WebDriver client without its futures, for a test does one thing
//! after the other. Never leaves a browser behind.

use std::path::Path;
use std::time::{Duration, Instant};

use flux_lab::chromedriver::Chromedriver;
use flux_lab::error::LabError;
use serde_json::Value;
use thirtyfour::cdp::domains::emulation::{MediaFeature, SetDeviceMetricsOverride, SetEmulatedMedia};
use thirtyfour::cdp::domains::network::NetworkConditions;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};
use tokio::runtime::{Builder, Runtime};

/// One command: a page load is the longest.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// How long a page may take to come to what is waited for: the slowest of its pauses, and a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A browser with one window. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Browser {
    /// Drives every command: there is nothing to be done between two of them.
    runtime: Runtime,
    web: WebDriver,
    axe: String,
    driver: Chromedriver,
}

/// How wide and how bright.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Of the window's content, in CSS pixels.
    width: u32,
    height: u32,
    /// The reader prefers a dark page.
    is_dark: bool,
}

impl Look {
    /// A phone by day.
    pub(crate) const PHONE: Look = Look { width: 390, height: 844, is_dark: false };
    /// A phone at night.
    pub(crate) const PHONE_DARK: Look = Look { width: 390, height: 844, is_dark: true };
    /// A desk.
    pub(crate) const DESK: Look = Look { width: 1200, height: 860, is_dark: false };
}

impl Browser {
    /// Starts Chromium with an empty profile of its own.
    pub(crate) fn start() -> Result<Browser, LabError> {
        let axe = axe()?;
        let driver = Chromedriver::start()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| LabError::failed(format!("starting tokio: {error}")))?;
        let session = async {
            WebDriver::builder(driver.url(), capabilities(driver.chromium())?).request_timeout(COMMAND_MAX).await
        };
        let web = runtime.block_on(session).map_err(|error| driver.failure(&format!("gave no session: {error}")))?;
        Ok(Browser { runtime, web, axe, driver })
    }

    /// Goes to an address.
    pub(crate) fn open(&self, url: &str) -> WebDriverResult<()> {
        self.runtime.block_on(self.web.goto(url))
    }

    /// Reloads the page.
    pub(crate) fn reload(&self) -> WebDriverResult<()> {
        self.runtime.block_on(self.web.refresh())
    }

    /// Where it is.
    pub(crate) fn url(&self) -> WebDriverResult<String> {
        Ok(self.runtime.block_on(self.web.current_url())?.into())
    }

    /// Opens a new tab, closes the one before, and goes on in the new one.
    pub(crate) fn close_tab(&self) -> WebDriverResult<()> {
        self.runtime.block_on(async {
            let new = self.web.new_tab().await?;
            self.web.close_window().await?;
            self.web.switch_to_window(new).await
        })
    }

    /// Runs a script's text as the body of a function; what it returns.
    pub(crate) fn run(&self, script: &str) -> WebDriverResult<Value> {
        Ok(self.runtime.block_on(self.web.execute(script, []))?.json().clone())
    }

    /// What the reader sees of the first element that `selector` names; empty where there is none or it is hidden.
    pub(crate) fn text(&self, selector: &str) -> WebDriverResult<String> {
        self.runtime.block_on(async {
            match self.web.find_all(By::Css(selector)).await?.first() {
                Some(element) => element.text().await,
                None => Ok(String::new()),
            }
        })
    }

    /// Waits until `selector` shows a text that holds `words`. The error says what is there instead.
    pub(crate) fn wait_for(&self, selector: &str, words: &str) -> Result<String, LabError> {
        let end = Instant::now() + WAIT_MAX;
        loop {
            // While one page gives way to the next there is nothing to ask.
            let text = self.text(selector).unwrap_or_default();
            if text.contains(words) {
                return Ok(text);
            }
            if Instant::now() >= end {
                let (page, url, log) = (self.text("main"), self.url(), self.log());
                let what = format!("{selector} never showed {words:?}; {url:?} shows {page:?}; its console: {log:?}");
                return Err(self.driver.failure(&what));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Presses a key where the focus is.
    pub(crate) fn press(&self, key: Key) -> WebDriverResult<()> {
        self.runtime.block_on(self.web.action_chain().send_keys(key).perform())
    }

    /// Clicks the first element that `selector` names, as a person would: it must be there to be seen, and nothing over it.
    pub(crate) fn click(&self, selector: &str) -> WebDriverResult<()> {
        self.runtime.block_on(async { self.web.find(By::Css(selector)).await?.click().await })
    }

    /// Sets size and brightness.
    pub(crate) fn look(&self, look: Look) -> WebDriverResult<()> {
        let metrics = SetDeviceMetricsOverride {
            width: look.width,
            height: look.height,
            device_scale_factor: 1.0,
            mobile: look.width < 600,
            scale: None,
            screen_orientation: None,
        };
        let feature = |name: &str, value: &str| MediaFeature { name: name.to_owned(), value: value.to_owned() };
        let scheme = feature("prefers-color-scheme", if look.is_dark { "dark" } else { "light" });
        let features = Some(vec![scheme, feature("prefers-reduced-motion", "reduce")]);
        self.runtime.block_on(async {
            self.web.cdp().send(metrics).await?;
            self.web.cdp().send(SetEmulatedMedia { media: None, features }).await.map(drop)
        })
    }

    /// Takes the network away, or gives it back.
    pub(crate) fn set_offline(&self, offline: bool) -> WebDriverResult<()> {
        let conditions = NetworkConditions { offline, ..NetworkConditions::new() };
        self.runtime.block_on(async {
            let devtools = self.web.cdp();
            devtools.network().enable().await?;
            devtools.network().emulate_network_conditions(conditions).await
        })
    }

    /// Writes what is seen to a PNG file.
    pub(crate) fn screenshot(&self, file: &Path) -> WebDriverResult<()> {
        self.runtime.block_on(self.web.screenshot(file))
    }

    /// What the console said since it was asked last, but for the network's own notes: that an answer was a 409 or did not
    /// come is for the page to handle, and no fault of it.
    pub(crate) fn log(&self) -> WebDriverResult<Vec<String>> {
        let mut entries = self.runtime.block_on(self.web.browser_log())?;
        entries.retain(|entry| entry.source.as_deref() != Some("network"));
        Ok(entries
            .into_iter()
            .map(|entry| format!("{}: {}", entry.source.unwrap_or_default(), entry.message))
            .collect())
    }

    /// What axe-core finds at fault with the page as it is now, one line each.
    pub(crate) fn accessibility_faults(&self) -> WebDriverResult<Vec<String>> {
        let script = "const done = arguments[0]; axe.run(document).then((found) => done(found.violations.map((fault) => \
                      `${fault.id}: ${fault.help}: ${fault.nodes.map((node) => node.html + node.failureSummary).join()}`)), \
                      (error) => done([String(error)]))";
        self.runtime.block_on(async {
            self.web.execute(self.axe.as_str(), []).await?;
            self.web.execute_async(script, []).await?.convert()
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // So that it clears away its profile. Where that fails the driver's end is its end.
        let _ = self.runtime.block_on(self.web.clone().quit());
    }
}

fn capabilities(chromium: &Path) -> WebDriverResult<ChromeCapabilities> {
    let mut chrome = DesiredCapabilities::chrome();
    chrome.set_binary(&chromium.to_string_lossy())?;
    for argument in ["--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en-GB"] {
        chrome.add_arg(argument)?;
    }
    // SAFETY: a plain question to the kernel.
    if unsafe { libc::geteuid() } == 0 {
        chrome.set_no_sandbox()?; // Chromium's sandbox refuses root
    }
    chrome.set_browser_log_level(LoggingPrefsLogLevel::All)?;
    Ok(chrome)
}

/// The text of axe-core, which lab/setup.sh fetches: `target/browser/axe.min.js` of the workspace.
fn axe() -> Result<String, LabError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/browser/axe.min.js");
    std::fs::read_to_string(&file).map_err(|_| LabError::Missing {
        what: format!("axe-core ({})", file.display()),
        install: "lab/setup.sh".to_owned(),
    })
}
