//! Every page in Chromium: it works without script, nothing overflows, everything can be read, and the
//! screenshots under `target/screenshots` are there to be looked at.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter};
use doorward_testkit::{Doorward, PASSWORD, eventually};
use fantoccini::Locator;
use serde_json::json;

use crate::chromium::{Chromium, PATIENCE};

/// Width and height in CSS pixels. The narrowest is only measured, the others are also pictured.
const SIZES: [(&str, u32, u32); 3] = [("phone", 390, 844), ("desktop", 1280, 800), ("narrow", 320, 568)];

/// What is wrong with the page as it is shown, in words; empty if nothing is.
const INSPECT: &str = r#"
    const problems = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) problems.push(`overflows: ${root.scrollWidth} > ${root.clientWidth}`);
    if (!root.lang) problems.push('no language');
    if (document.querySelectorAll('h1').length !== 1) problems.push('not exactly one h1');
    const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
    const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let texts = 0;
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
        texts += 1;
        const [a, b] = [parse(getComputedStyle(element).color), behind(element)].map(luminance).sort((x, y) => y - x);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < 4.5) problems.push(`contrast ${contrast.toFixed(2)}: ${walker.currentNode.data.trim()}`);
    }
    if (texts < 4) problems.push('hardly any text');
    for (const input of document.querySelectorAll('input:not([type=hidden]):not([aria-hidden])'))
        if (!input.labels.length) problems.push(`no label: ${input.name}`);
    for (const control of document.querySelectorAll('button.primary, button.secondary, .field input'))
        if (control.getClientRects().length && control.getBoundingClientRect().height < 44) problems.push(`small target: ${control.name || control.textContent}`);
    if (!document.styleSheets.length || !document.styleSheets[0].cssRules.length) problems.push('no style sheet');
    for (const script of document.scripts)
        if (!script.src.startsWith(`${location.origin}/static/passkey-`)) problems.push('a script');
    return problems;
"#;

impl Chromium {
    /// Inspects the page in every size, light and dark, and keeps pictures of it.
    pub(crate) async fn look(&self, name: &str) {
        let folder = screenshots();
        eventually("the page with its style", PATIENCE, async || {
            let script = "return document.readyState === 'complete'";
            let complete = self.page.execute(script, Vec::new()).await;
            complete
                .is_ok_and(|complete| complete == json!(true))
                .then_some(())
        })
        .await;
        for (size, width, height) in SIZES {
            for scheme in ["light", "dark"] {
                let screen =
                    json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
                self.dev_tools("Emulation.setDeviceMetricsOverride", screen).await;
                let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
                self.dev_tools("Emulation.setEmulatedMedia", media).await;
                let problems = self
                    .page
                    .execute(INSPECT, Vec::new())
                    .await
                    .expect("the page can be inspected");
                assert_eq!(problems, json!([]), "{name}, {size}, {scheme}");
                assert_eq!(self.axe().await, json!([]), "{name}, {size}, {scheme}: axe");
                if size == "narrow" {
                    continue;
                }
                let whole = json!({ "format": "png", "captureBeyondViewport": true });
                let picture = self.dev_tools("Page.captureScreenshot", whole).await;
                let picture = STANDARD
                    .decode(picture["data"].as_str().expect("a picture"))
                    .expect("a picture");
                std::fs::write(folder.join(format!("{name}-{size}-{scheme}.png")), picture)
                    .expect("a picture");
            }
        }
        self.dev_tools("Emulation.clearDeviceMetricsOverride", json!({}))
            .await;
    }
}

fn screenshots() -> PathBuf {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder");
    let folder = target.join("screenshots");
    std::fs::create_dir_all(&folder).expect("a folder for screenshots");
    folder
}

/// Where a client on this computer waits for its answer. It listens until the test process ends.
struct Callback {
    url: String,
    calls: std::sync::Mutex<std::sync::mpsc::Receiver<String>>,
}

impl Callback {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let origin = format!(
            "http://127.0.0.1:{}",
            listener.local_addr().expect("bound").port()
        );
        let (send, calls) = std::sync::mpsc::channel();
        let url = format!("{origin}/callback");
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let mut lines = BufReader::new(&socket).lines().map_while(Result::ok);
                let Some(first) = lines.next() else { continue };
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                let target = first.split(' ').nth(1).unwrap_or_default();
                if target.starts_with("/callback") {
                    let _ = send.send(format!("{origin}{target}"));
                }
                let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone";
                let _ = (&socket).write_all(answer.as_bytes());
            }
        });
        Self {
            url,
            calls: std::sync::Mutex::new(calls),
        }
    }

    /// The address with which the browser came.
    async fn called(&self) -> String {
        let next = async || self.calls.lock().expect("one reader").try_recv().ok();
        eventually("a call of the client's callback", PATIENCE, next).await
    }
}

async fn demo() -> Doorward {
    Doorward::builder().demo().user("alice", PASSWORD).start().await
}

fn resource(doorward: &Doorward) -> String {
    doorward.url("/mcp")
}

#[tokio::test]
async fn sign_in_and_approve_in_chromium() {
    let (doorward, callback) = (demo().await, Callback::start());
    let client = OAuthClient::register(&doorward, "Claude Code", &callback.url).await;
    let pkce = Pkce::new();
    let chromium = Chromium::start().await;
    chromium
        .goto(&client.authorize_url(&pkce, &resource(&doorward)))
        .await;
    chromium.shows("Sign in").await;
    chromium.look("login").await;
    chromium.sign_in("alice", "not the password").await;
    chromium.appears(".notice.bad").await;
    chromium.look("login-wrong").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows("Allow Claude Code to use mcp?").await;
    chromium.look("consent").await;
    let focused = chromium
        .page
        .execute("return document.activeElement.tagName", Vec::new())
        .await;
    assert_eq!(
        focused.expect("an element"),
        json!("BODY"),
        "nothing is pressed by accident"
    );

    chromium.press("button[value=approve]").await;
    let called = callback.called().await;
    assert_eq!(
        parameter(&called, "iss").as_deref(),
        Some(doorward.public_url.as_str())
    );
    let approved = Approved {
        code: parameter(&called, "code").expect("a code"),
        pkce,
        redirect_uri: client.redirect_uri.clone(),
        resource: resource(&doorward),
        callback: called,
    };
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);
    assert_eq!(tokens.claims()["username"], "alice");

    chromium.stop().await;
}

#[tokio::test]
async fn cn_07_deny_in_chromium_and_no_script_of_a_stranger_runs() {
    let (doorward, callback) = (demo().await, Callback::start());
    let name = "\"><img src=x onerror=\"document.title='owned'\"><svg onload=alert(1)>";
    let client = OAuthClient::register(&doorward, name, &callback.url).await;
    let chromium = Chromium::start().await;
    chromium
        .goto(&client.authorize_url(&Pkce::new(), &resource(&doorward)))
        .await;
    assert_ne!(chromium.page.title().await.expect("a title"), "owned");
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows(&format!("Allow {name} to use mcp?")).await;
    assert_ne!(chromium.page.title().await.expect("a title"), "owned");
    chromium.look("consent-hostile").await;

    // "Not you?" goes on with the same request.
    chromium.press("button.link").await;
    chromium.shows("Sign in").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows(&format!("Allow {name} to use mcp?")).await;
    chromium.press("button[value=deny]").await;
    let called = callback.called().await;
    assert_eq!(parameter(&called, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&called, "code"), None);

    // The keyboard alone: from the top of the page to "Deny" and "Allow", in this order.
    chromium
        .goto(&client.authorize_url(&Pkce::new(), &resource(&doorward)))
        .await;
    let mut order = Vec::new();
    for _ in 0..5 {
        let body = chromium
            .page
            .find(Locator::Css(":focus, body:not(:has(:focus))"))
            .await
            .expect("a focus");
        body.send_keys("\u{e004}").await.expect("a tab");
        let script = "const e = document.activeElement; return [e.value || e.textContent, getComputedStyle(e).outlineStyle]";
        order.push(
            chromium
                .page
                .execute(script, Vec::new())
                .await
                .expect("an element"),
        );
    }
    assert_eq!(
        order,
        [
            json!(["Not you?", "solid"]),
            json!(["mcp", "solid"]),
            json!(["your account", "solid"]),
            json!(["deny", "solid"]),
            json!(["approve", "solid"])
        ]
    );
    chromium.stop().await;
}

#[tokio::test]
async fn setup_in_chromium() {
    let doorward = demo().await;
    let added = doorward
        .command(&["user", "add", "carol", "--public-url", &doorward.public_url])
        .ok();
    let link = added
        .stdout
        .split_whitespace()
        .find(|word| word.contains("/setup"))
        .expect("a setup link");
    let chromium = Chromium::start().await;
    chromium.goto(link).await;
    chromium.shows("Choose a password").await;
    chromium.look("setup").await;
    let fill = async |password: &str, again: &str| {
        chromium.type_into("password", password).await;
        chromium.type_into("password_again", again).await;
        chromium.press("button.primary").await;
    };
    fill("one long password", "another long password").await;
    chromium.appears(".notice.bad").await;
    chromium.look("setup-different").await;
    fill("one long password", "one long password").await;
    chromium.shows("Your password is set").await;
    chromium.look("setup-done").await;
    chromium.goto(link).await;
    chromium.shows("This link does not work any more").await;

    chromium.goto(&doorward.url("/login")).await;
    chromium.sign_in("carol", "one long password").await;
    chromium.shows("You are signed in").await;
    chromium.look("signed-in").await;
    chromium.press("button.secondary").await;
    chromium.shows("You are signed out").await;
    chromium.stop().await;
}

#[tokio::test]
async fn start_page_and_error_pages_in_chromium() {
    let doorward = demo().await;
    let chromium = Chromium::start().await;
    for (path, heading, name) in [
        ("/", "An MCP server lives here", "home"),
        ("/authorize?client_id=dcr_unknown", "Unknown app", "error"),
        ("/nothing/here", "There is nothing here", "not-found"),
        (
            "/consent",
            "This page cannot be opened by its address",
            "wrong-method",
        ),
    ] {
        chromium.goto(&doorward.url(path)).await;
        chromium.shows(heading).await;
        chromium.look(name).await;
    }
    // The number on the page is the one in the log.
    let number = chromium
        .page
        .find(Locator::Css(".reference code"))
        .await
        .expect("a number");
    let number = number.text().await.expect("a number");
    doorward.logged(&number).await;
    chromium.stop().await;
}
