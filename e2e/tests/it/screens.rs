//! The pages of an account and of devices in Chromium, looked at and checked by axe; the way from the sign-in to the
//! account by keyboard alone; and a client that is called by a scheme of its own.

use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter};
use doorward_testkit::{Doorward, PASSWORD, eventually};
use fantoccini::Locator;
use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use serde_json::{Value, json};

use crate::chromium::{Chromium, PATIENCE};

mod client_half;
mod scopes;

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn site() -> Doorward {
    let servers = "[[servers]]\nname = \"notes\"\npath = \"/notes/mcp\"\ndemo = true\n";
    let builder = Doorward::builder().config(&format!("{servers}\n[grants]\ndevice = true\n"));
    builder.user("alice", PASSWORD).start().await
}

async fn register(doorward: &Doorward, name: &str, redirect_uri: &str) -> OAuthClient {
    let metadata = json!({
        "client_name": name, "redirect_uris": [redirect_uri], "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token", DEVICE],
        "token_endpoint_auth_method": "none",
    });
    OAuthClient::register_with(doorward, metadata).await
}

async fn codes(doorward: &Doorward, client: &OAuthClient) -> Value {
    let form = [("client_id", client.id.as_str())];
    let reply = doorward.post("/device_authorization").form(&form).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn account_and_device_in_chromium() {
    let doorward = site().await;
    let resource = doorward.url("/notes/mcp");
    let claude = register(&doorward, "Claude Code", "http://127.0.0.1:43123/callback").await;
    let long = "A client with a very long name that goes on for a while, and on, and on: 1234567";
    let other = register(&doorward, long, "https://claude.ai/api/mcp/auth_callback").await;
    for client in [&claude, &claude, &other] {
        client.login("alice", PASSWORD, &resource).await;
    }
    let chromium = Chromium::start().await;
    chromium.goto(&doorward.url("/account")).await;
    chromium.shows("Sign in").await;
    chromium.look("login-account").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows("Your account").await;
    chromium.look("account").await;

    chromium.press("a[href*='what=chain']").await;
    chromium.appears("button.danger").await;
    chromium.look("account-end-sign-in").await;
    chromium.press("a.secondary").await;
    chromium.shows("Your account").await;
    chromium.press("a[href*='what=client']").await;
    chromium.appears("button.danger").await;
    chromium.look("account-disconnect").await;
    chromium.press("button.danger").await;
    chromium.appears(".notice.good").await;
    chromium.shows("Your account").await;
    chromium.look("account-disconnected").await;

    // A device, by the link that it shows.
    let waiting = codes(&doorward, &claude).await;
    chromium
        .goto(waiting["verification_uri_complete"].as_str().expect("a link"))
        .await;
    chromium.shows("Connect a device").await;
    chromium.look("device").await;
    chromium.press("button.primary").await;
    chromium
        .shows("Allow Claude Code on a device to use notes?")
        .await;
    chromium.look("device-approve").await;
    chromium.press("button[value=approve]").await;
    chromium.appears(".notice.bad").await;
    chromium.look("device-not-compared").await;
    chromium.press("input[name=compared]").await;
    chromium.press("button[value=approve]").await;
    chromium.shows("The device is connected").await;
    chromium.look("device-connected").await;
    chromium.goto(&doorward.url("/device")).await;
    chromium.type_into("user_code", "BCDF-GHJK").await;
    chromium.press("button.primary").await;
    chromium.appears(".notice.bad").await;
    chromium.look("device-wrong").await;

    chromium.goto(&doorward.url("/account")).await;
    chromium.shows("Your account").await;
    chromium.look("account-device").await;
    chromium.press("a[href*='what=everything']").await;
    chromium.shows("Disconnect everything?").await;
    chromium.look("account-everything").await;
    chromium.press("button.danger").await;
    chromium.shows("Everything is disconnected").await;
    chromium.look("account-everything-done").await;
    chromium.goto(&doorward.url("/login")).await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows("You are signed in").await;
    chromium.press("main a[href='/account']").await;
    chromium.shows("Your account").await;
    chromium.look("account-empty").await;
    chromium.stop().await;
}

/// Presses keys, one after the other, wherever the focus is.
async fn keys(chromium: &Chromium, keys: &str) {
    let actions = keys
        .chars()
        .fold(KeyActions::new("keyboard".into()), |actions, key| {
            actions
                .then(KeyAction::Down { value: key })
                .then(KeyAction::Up { value: key })
        });
    chromium.page.perform_actions(actions).await.expect("keys");
}

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Goes on with Tab until `selector` has the focus, which must be seen.
async fn tab_to(chromium: &Chromium, selector: &str) {
    let script = format!(
        "const e = document.activeElement; return [e.matches({}), getComputedStyle(e).outlineStyle !== 'none', e.outerHTML.slice(0, 90)]",
        json!(selector)
    );
    let mut passed = Vec::new();
    for _ in 0..40 {
        let found = chromium.page.execute(&script, Vec::new()).await.expect("a focus");
        if found[0] == json!(true) {
            assert_eq!(found[1], json!(true), "the focus is seen: {found}");
            return;
        }
        passed.push(found[2].clone());
        keys(chromium, TAB).await;
    }
    panic!("{selector} is not reached by Tab: {passed:?}");
}

#[tokio::test]
async fn from_sign_in_to_disconnecting_by_keyboard_alone() {
    let doorward = site().await;
    let resource = doorward.url("/notes/mcp");
    let client = register(&doorward, "Claude Code", "http://127.0.0.1:43123/callback").await;
    let pkce = Pkce::new();
    let chromium = Chromium::start().await;
    chromium.goto(&client.authorize_url(&pkce, &resource)).await;
    chromium.shows("Sign in").await;
    // The first field has the focus already.
    keys(&chromium, "alice").await;
    tab_to(&chromium, "#password").await;
    keys(&chromium, PASSWORD).await;
    keys(&chromium, ENTER).await;
    chromium.shows("Allow Claude Code to use notes?").await;
    tab_to(&chromium, "button[value=approve]").await;
    keys(&chromium, ENTER).await;
    let callback = eventually("the way back to the client", PATIENCE, async || {
        let all = chromium.redirects().await;
        all.into_iter()
            .find(|url| url.starts_with("http://127.0.0.1:43123/callback"))
    })
    .await;
    let approved = Approved {
        code: parameter(&callback, "code").expect("a code"),
        pkce,
        redirect_uri: client.redirect_uri.clone(),
        resource: resource.clone(),
        callback,
    };
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);

    chromium.goto(&doorward.url("/account")).await;
    chromium.shows("Your account").await;
    tab_to(&chromium, "a[href*='what=client']").await;
    keys(&chromium, ENTER).await;
    chromium.shows("Disconnect Claude Code?").await;
    tab_to(&chromium, "button.danger").await;
    keys(&chromium, ENTER).await;
    chromium.appears(".notice.good").await;
    chromium.shows("Your account").await;
    let refreshed = client.refresh(tokens.refresh(), &resource).await;
    assert_eq!(refreshed.oauth_error().as_deref(), Some("invalid_grant"));

    // Headings and landmarks, as a screen reader lists them.
    let outline = "return [...document.querySelectorAll('h1, h2, h3, main, nav, header')].map((e) => e.tagName.toLowerCase() + ' ' + (e.tagName[0] === 'H' && e.tagName.length === 2 ? e.textContent : e.getAttribute('aria-label') ?? '')).map((t) => t.trim())";
    let outline = chromium
        .page
        .execute(outline, Vec::new())
        .await
        .expect("an outline");
    assert_eq!(
        outline,
        json!([
            "header",
            "main",
            "h1 Your account",
            "nav Your account",
            "h2 Connected apps",
            "h2 Browsers",
            "h2 If something is wrong"
        ])
    );
    chromium.stop().await;
}

#[tokio::test]
async fn s12_approve_works_when_the_flow_ends_in_a_scheme_of_the_client() {
    let doorward = site().await;
    let resource = doorward.url("/notes/mcp");
    let redirect = "cursor://anysphere.cursor-retrieval/oauth/callback";
    let client = register(&doorward, "Cursor", redirect).await;
    let pkce = Pkce::new();
    let chromium = Chromium::start().await;
    chromium.goto(&client.authorize_url(&pkce, &resource)).await;
    chromium.shows("Sign in").await;
    chromium.sign_in("alice", PASSWORD).await;
    chromium.shows("Allow Cursor to use notes?").await;
    let warning = chromium
        .page
        .find(Locator::Css(".notice.warn"))
        .await
        .expect("a warning");
    assert!(warning.text().await.expect("text").contains("cursor:"));
    chromium.look("consent-scheme").await;
    chromium.redirects().await;
    chromium.press("button[value=approve]").await;
    // The browser was sent there. There is no Cursor here to be opened; what counts is that nothing of our page kept
    // the browser from going (a `form-action` would have), and that the code is good.
    let callback = eventually("the way back to the client", PATIENCE, async || {
        let all = chromium.redirects().await;
        all.into_iter().find(|url| url.starts_with(redirect))
    })
    .await;
    let approved = Approved {
        code: parameter(&callback, "code").expect("a code"),
        pkce,
        redirect_uri: redirect.into(),
        resource,
        callback,
    };
    let _ = Tokens::from_reply(&client.redeem(&approved).await);
    chromium.stop().await;
}
