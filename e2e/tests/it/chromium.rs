//! A headless Chromium, driven through chromedriver.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use doorward_testkit::eventually;
use doorward_testkit::port::Port;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// One Chromium at a time: several on a small machine only wait for each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// A Chromium of its own, with an empty profile.
pub(crate) struct Chromium {
    pub(crate) page: Client,
    driver: Child,
    /// Process id of the browser itself: it outlives a driver that is killed.
    browser: Option<u32>,
    _profile: tempfile::TempDir,
    _port: Port,
    _turn: MutexGuard<'static, ()>,
}

/// A Chrome DevTools command (a chromedriver extension of WebDriver).
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _url: &url::Url) -> (http::Method, Option<String>) {
        (
            http::Method::POST,
            Some(json!({ "cmd": self.0, "params": self.1 }).to_string()),
        )
    }
}

/// What happened since it was last asked (a chromedriver extension of WebDriver).
#[derive(Debug)]
struct PerformanceLog;

impl WebDriverCompatibleCommand for PerformanceLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _url: &url::Url) -> (http::Method, Option<String>) {
        (
            http::Method::POST,
            Some(json!({ "type": "performance" }).to_string()),
        )
    }
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more command-line arguments.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        let turn = TURN.lock().await;
        let profile = doorward_testkit::folder("c-");
        // Sockets have short names only; where they would be too long, Chromium's lie where it likes.
        let temporary = Some(profile.path()).filter(|path| path.as_os_str().len() < 45);
        let port = Port::reserve();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", port.number()))
            .env("HOME", profile.path())
            .envs(temporary.map(|path| ("TMPDIR", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts (Debian packages chromium and chromium-driver): run `cargo xtask test --install`");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", profile.path().join("profile").display()),
        ]
        .map(str::to_owned);
        let more = more.iter().map(|&argument| argument.to_owned());
        let arguments: Vec<String> = arguments.into_iter().chain(more).collect();
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "performance": "ALL" },
        });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities.as_object().cloned().unwrap_or_default());
        let url = format!("http://127.0.0.1:{}", port.number());
        let page = eventually("a Chromium", PATIENCE, async || builder.connect(&url).await.ok()).await;
        let id = page
            .capabilities()
            .and_then(|facts| facts.get("goog:processID"))
            .and_then(Value::as_u64);
        let browser = id.and_then(|id| u32::try_from(id).ok());
        assert!(
            browser.is_some(),
            "chromedriver tells the process id: {:?}",
            page.capabilities()
        );
        Self {
            page,
            driver,
            browser,
            _profile: profile,
            _port: port,
            _turn: turn,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.page.clone().close().await.expect("Chromium closes");
        self.browser = None;
    }

    pub(crate) async fn dev_tools(&self, command: &'static str, parameters: Value) -> Value {
        self.page
            .issue_cmd(DevTools(command, parameters))
            .await
            .expect(command)
    }

    /// The addresses to which redirects led since it was last asked.
    pub(crate) async fn redirects(&self) -> Vec<String> {
        let log = self.page.issue_cmd(PerformanceLog).await.expect("a log");
        let entries = log.as_array().cloned().unwrap_or_default();
        let events = entries
            .iter()
            .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        events
            .filter_map(|event| {
                let headers = &event["message"]["params"]["headers"];
                let name = ["location", "Location"]
                    .into_iter()
                    .find(|name| headers.get(name).is_some())?;
                headers[name].as_str().map(str::to_owned)
            })
            .collect()
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.page.goto(url).await.expect(url);
    }

    pub(crate) async fn type_into(&self, name: &str, text: &str) {
        let selector = format!("input[name={name}]");
        let wait = self.page.wait().at_most(PATIENCE);
        let field = wait.for_element(Locator::Css(&selector)).await.expect(name);
        field.clear().await.expect(name);
        field.send_keys(text).await.expect(name);
    }

    pub(crate) async fn appears(&self, selector: &str) {
        let wait = self.page.wait().at_most(PATIENCE);
        wait.for_element(Locator::Css(selector)).await.expect(selector);
    }

    /// Presses what is there or about to be. Say first what page [`Self::shows`], where the one before has
    /// such an element too.
    pub(crate) async fn press(&self, selector: &str) {
        let wait = self.page.wait().at_most(PATIENCE);
        wait.for_element(Locator::Css(selector))
            .await
            .expect(selector)
            .click()
            .await
            .expect(selector);
    }

    /// Waits for the page with this heading: a click returns before the next page is there.
    pub(crate) async fn shows(&self, heading: &str) {
        let heading = json!(heading);
        let script = "return document.readyState === 'complete' && document.querySelector('h1')?.innerText";
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.page.execute(script, Vec::new()).await;
            if found.as_ref().is_ok_and(|found| *found == heading) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{heading} within {PATIENCE:?}, not {found:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn sign_in(&self, username: &str, password: &str) {
        self.type_into("username", username).await;
        self.type_into("password", password).await;
        self.press("button.primary").await;
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // A test that failed left its browser open.
        if let Some(browser) = self.browser {
            doorward_testkit::command::kill(browser, "TERM");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
