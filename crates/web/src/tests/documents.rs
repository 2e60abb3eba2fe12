//! Clients that are known by the URL of their metadata document, with a network that the test holds.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use doorward_outbound::{Destination, Fetch, FetchError, Fetched};
use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::harness::{PASSWORD, Reply, Site, authorize_url, redeem, refresh_fields};

/// What stands where, and who was asked.
#[derive(Default)]
pub(super) struct Sites {
    documents: Mutex<HashMap<String, Result<Fetched, FetchError>>>,
    asked: Mutex<Vec<(String, Destination)>>,
}

impl Sites {
    fn put(&self, url: &str, document: &Value) {
        let fetched = Fetched {
            body: document.to_string().into(),
            fresh_for: None,
        };
        self.documents.lock().unwrap().insert(url.into(), Ok(fetched));
    }

    fn fail(&self, url: &str, error: FetchError) {
        self.documents.lock().unwrap().insert(url.into(), Err(error));
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl Fetch for Sites {
    async fn fetch(&self, url: &Url, destination: Destination) -> Result<Fetched, FetchError> {
        self.asked.lock().unwrap().push((url.to_string(), destination));
        let documents = self.documents.lock().unwrap();
        documents
            .get(url.as_str())
            .cloned()
            .unwrap_or(Err(FetchError::Unresolved))
    }
}

const APP: &str = "https://app.example/client.json";

fn document(name: &str) -> Value {
    json!({ "client_id": APP, "client_name": name, "redirect_uris": ["http://127.0.0.1/cb"],
        "grant_types": ["authorization_code", "refresh_token"] })
}

async fn code(site: &Site, name: &str) -> String {
    let mut browser = site.browser();
    let login = browser.get(&authorize_url(APP, &[])).await;
    let consent = browser.sign_in(&login, "alice", PASSWORD).await;
    assert!(consent.body.contains(name), "{}", consent.body);
    browser.answer(&consent, "approve").await.location()["code"].clone()
}

fn refresh_token(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    reply.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn g5_nothing_is_fetched_for_somebody_who_did_not_sign_in() {
    let site = Site::new().await;
    site.fetch.put(APP, &document("The app"));
    let mut browser = site.browser();
    let login = browser.get(&authorize_url(APP, &[])).await;
    assert!(login.body.contains("app.example"), "{}", login.body);
    let wrong = browser.sign_in(&login, "alice", "wrong").await;
    assert!(wrong.body.contains("app.example"), "{}", wrong.body);
    assert_eq!(site.fetch.asked(), 0);
    let consent = browser.sign_in(&wrong, "alice", PASSWORD).await;
    for shown in ["The app", "app.example", APP, "Published by"] {
        assert!(consent.body.contains(shown), "{shown} in {}", consent.body);
    }
    let far = Destination::Named {
        by_loopback_peer: false,
    };
    assert_eq!(*site.fetch.asked.lock().unwrap(), [(APP.to_owned(), far)]);
    // The form of somebody else, in another browser, leads nowhere.
    let other = site.browser().sign_in(&login, "alice", PASSWORD).await;
    assert!(!other.body.contains("value=\"approve\""));
}

#[tokio::test]
async fn g8_tokens_come_from_the_copy_and_stale_ones_are_renewed() {
    let site = Site::new().await;
    site.fetch.put(APP, &document("The app"));
    let code = code(&site, "The app").await;
    let mut token = refresh_token(&site.token(&redeem(APP, &code)).await);
    assert_eq!(site.fetch.asked(), 1);
    site.clock.advance(Duration::from_secs(601));
    token = refresh_token(&site.token(&refresh_fields(APP, &token)).await);
    assert_eq!(site.fetch.asked(), 2, "stale, renewed");
    site.fetch.fail(APP, FetchError::TimedOut);
    site.clock.advance(Duration::from_secs(3600));
    token = refresh_token(&site.token(&refresh_fields(APP, &token)).await);
    site.clock.advance(Duration::from_secs(23 * 3600));
    let late = site.token(&refresh_fields(APP, &token)).await;
    assert_ne!(
        late.status,
        StatusCode::OK,
        "the last good copy is older than a day"
    );
    site.fetch.put(APP, &document("The app"));
    refresh_token(&site.token(&refresh_fields(APP, &token)).await);
}

#[tokio::test]
async fn rg_09_bad_results_are_pages_and_never_remembered() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let login = browser.get(&authorize_url(APP, &[])).await;
    site.fetch.fail(APP, FetchError::Status(500));
    browser
        .sign_in(&login, "alice", PASSWORD)
        .await
        .assert_page("could not be read");
    site.fetch.put(APP, &json!({ "client_id": APP }));
    browser
        .get(&authorize_url(APP, &[]))
        .await
        .assert_page("not usable");
    site.fetch.put(APP, &document("The app"));
    let consent = browser.get(&authorize_url(APP, &[])).await;
    assert_eq!(consent.status, StatusCode::OK, "{}", consent.body);
    assert_eq!(site.fetch.asked(), 3);
}

#[tokio::test]
async fn cn_09_changed_metadata_voids_the_page() {
    let site = Site::new().await;
    site.fetch.put(APP, &document("Honest"));
    let mut browser = site.browser();
    let login = browser.get(&authorize_url(APP, &[])).await;
    let shown = browser.sign_in(&login, "alice", PASSWORD).await;
    site.clock.advance(Duration::from_secs(599));
    site.fetch.put(APP, &document("Changed"));
    let fresh = browser.get(&authorize_url(APP, &[])).await;
    assert!(fresh.body.contains("Honest"));
    site.clock.advance(Duration::from_secs(2));
    let anew = browser.get(&authorize_url(APP, &[])).await;
    assert!(anew.body.contains("Changed"));
    browser.answer(&fresh, "approve").await.assert_page("changed");
    browser.answer(&shown, "approve").await.assert_page("too old");
    assert!(
        browser
            .answer(&anew, "approve")
            .await
            .location()
            .contains_key("code")
    );
}

#[tokio::test]
async fn rg_12_one_person_cannot_make_us_fetch_without_end() {
    let site = Site::new().await;
    let mut browser = site.browser();
    let login = browser.get(&authorize_url(APP, &[])).await;
    browser.sign_in(&login, "alice", PASSWORD).await;
    for n in 0..60 {
        let id = format!("https://h{n}.example/c");
        browser
            .get(&authorize_url(&id, &[]))
            .await
            .assert_page("could not be read");
    }
    let asked = site.fetch.asked();
    assert!((20..=31).contains(&asked), "{asked}");
    // Others are not concerned.
    let mut other = site.browser();
    let login = other.get(&authorize_url(APP, &[])).await;
    site.fetch.put(APP, &document("The app"));
    let consent = other.sign_in(&login, "bob", PASSWORD).await;
    assert!(consent.body.contains("The app"), "{}", consent.body);
}

#[tokio::test]
async fn a_request_that_waited_keeps_its_age_and_its_errors_go_back_to_the_client() {
    let site = Site::new().await;
    site.fetch.put(APP, &document("The app"));
    let mut browser = site.browser();
    let login = browser
        .get(&authorize_url(APP, &[("code_challenge_method", "plain")]))
        .await;
    browser
        .sign_in(&login, "alice", PASSWORD)
        .await
        .assert_redirect("invalid_request", "plain");
    let mut browser = site.browser();
    let login = browser.get(&authorize_url(APP, &[])).await;
    site.clock.advance(Duration::from_secs(601));
    browser
        .sign_in(&login, "alice", PASSWORD)
        .await
        .assert_page("too old");
    let login = browser
        .get(&authorize_url(
            APP,
            &[("redirect_uri", "https://evil.example/cb")],
        ))
        .await;
    browser
        .sign_in(&login, "alice", PASSWORD)
        .await
        .assert_page("Nothing was sent there");
}
