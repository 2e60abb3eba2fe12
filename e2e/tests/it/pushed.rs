//! Pushed authorization requests (RFC 9126), and the `request_uri` half of AZ-08.

use std::time::Duration;

use doorward_testkit::browser::Browser;
use doorward_testkit::canary::Canary;
use doorward_testkit::http::Reply;
use doorward_testkit::oauth::{Approved, OAuthClient, Pkce, Tokens, parameter, with};
use doorward_testkit::{Doorward, PASSWORD};

use crate::machine::{Machine, redeem};
use crate::support::{Catalogue, assert_no_store, assert_page, assert_t, look};

crate::shared_catalogue!();

const CALLBACK: &str = "https://c3.test/cb";
const URN: &str = "urn:ietf:params:oauth:request_uri:";

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

async fn push(doorward: &Doorward, fields: &[(String, String)]) -> Reply {
    doorward.post("/par").form(&pairs(fields)).send().await
}

#[track_caller]
fn request_uri(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_no_store(reply);
    let body = reply.json();
    assert_eq!(body["expires_in"], 90);
    let uri = body["request_uri"].as_str().expect("a request_uri");
    assert!(uri.starts_with(URN), "{uri}");
    uri.into()
}

fn authorize(client: &OAuthClient, request_uri: &str) -> String {
    client.url_with(&[
        ("client_id".into(), client.id.clone()),
        ("request_uri".into(), request_uri.into()),
    ])
}

fn approved(client: &OAuthClient, pkce: Pkce, callback: String, resource: String) -> Approved {
    Approved {
        code: parameter(&callback, "code").unwrap_or_else(|| panic!("a code in {callback}")),
        pkce,
        redirect_uri: client.redirect_uri.clone(),
        resource,
        callback,
    }
}

#[tokio::test]
async fn a_pushed_request_ends_in_tokens_for_every_kind_of_client() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let public = catalogue.n1().await;
    let pkce = Pkce::new();
    let uri = request_uri(&push(doorward, &public.parameters(&pkce, &catalogue.ra())).await);
    // Opening it reads only: it can be opened again, by a browser that reloads.
    for _ in 0..2 {
        assert_eq!(look(catalogue, &authorize(&public, &uri)).await.status, 200);
    }
    let mut browser = Browser::new(doorward);
    let callback = browser
        .login_and_approve(&authorize(&public, &uri), "alice", PASSWORD)
        .await;
    assert_eq!(parameter(&callback, "state").as_deref(), Some("S1"));
    assert_eq!(parameter(&callback, "iss").as_deref(), Some(catalogue.issuer()));
    let approved_code = approved(&public, pkce, callback, catalogue.ra());
    catalogue.keep(&Tokens::from_reply(&public.redeem(&approved_code).await));
    for machine in [
        Machine::basic(doorward, &["--redirect-uri", CALLBACK]),
        Machine::key(doorward, &["--redirect-uri", CALLBACK]),
    ] {
        let client = machine.as_client(doorward, CALLBACK);
        let pkce = Pkce::new();
        // RFC 7523 section 3: an assertion names the client, `client_id` may be left out.
        let fields = with(client.parameters(&pkce, &catalogue.ra()), "client_id", None);
        let uri = request_uri(&machine.send(doorward, "/par", &pairs(&fields)).await);
        let url = authorize(&client, &uri);
        let callback = catalogue
            .alice()
            .await
            .login_and_approve(&url, "alice", PASSWORD)
            .await;
        let code = approved(&client, pkce, callback, catalogue.ra());
        let tokens = Tokens::from_reply(&machine.send(doorward, "/token", &redeem(&code)).await);
        catalogue.keep(&tokens);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn what_was_pushed_counts_and_nothing_beside_it() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let pkce = Pkce::new();
    let uri = request_uri(&push(&catalogue.doorward, &client.parameters(&pkce, &catalogue.ra())).await);
    let url = format!(
        "{}&redirect_uri=https%3A%2F%2Fevil.test%2Fcb&state=evil&scope=b&code_challenge=x&response_type=token",
        authorize(&client, &uri)
    );
    let callback = catalogue
        .alice()
        .await
        .login_and_approve(&url, "alice", PASSWORD)
        .await;
    assert!(callback.starts_with(&client.redirect_uri), "{callback}");
    assert_eq!(parameter(&callback, "state").as_deref(), Some("S1"));
    let code = approved(&client, pkce, callback, catalogue.ra());
    catalogue.keep(&Tokens::from_reply(&client.redeem(&code).await));
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_pushed_request_is_its_clients_and_for_a_minute_and_a_half() {
    let catalogue = Catalogue::start_with(Doorward::builder().faketime()).await;
    let (client, other) = (catalogue.n1().await, catalogue.c2().await);
    let fields = client.parameters(&Pkce::new(), &catalogue.ra());
    let uri = request_uri(&push(&catalogue.doorward, &fields).await);
    assert_eq!(look(&catalogue, &authorize(&client, &uri)).await.status, 200);
    for bad in [
        authorize(&other, &uri),
        authorize(&client, &format!("{uri}A")),
        authorize(
            &client,
            &uri.replacen(':', "%3A", 0)
                .replace("request_uri:", "request_uri:A"),
        ),
        authorize(&client, URN),
        client.url_with(&[("request_uri".into(), uri.clone())]),
        format!("{}&client_id={}", authorize(&client, &uri), other.id),
        format!("{}&request_uri=x", authorize(&client, &uri)),
    ] {
        assert_page(&look(&catalogue, &bad).await);
    }
    catalogue.doorward.advance(Duration::from_secs(95));
    assert_page(&look(&catalogue, &authorize(&client, &uri)).await);
}

#[tokio::test]
async fn a_request_that_would_be_refused_is_refused_when_it_is_pushed() {
    let catalogue = catalogue().await;
    let doorward = &catalogue.doorward;
    let client = catalogue.n1().await;
    let good = client.parameters(&Pkce::new(), &catalogue.ra());
    for (name, value, error) in [
        ("redirect_uri", Some("https://evil.test/cb"), "invalid_request"),
        ("response_type", Some("token"), "unsupported_response_type"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("resource", Some("https://evil.test/mcp"), "invalid_target"),
        ("scope", Some("\""), "invalid_scope"),
        ("request", Some("a.b.c"), "request_not_supported"),
        ("request_uri", Some("https://evil.test/"), "invalid_request"),
        ("client_id", Some("app_nobody"), "invalid_client"),
        ("client_id", None, "invalid_request"),
    ] {
        assert_t(&push(doorward, &with(good.clone(), name, value)).await, &[error]);
    }
    let twice: Vec<_> = good
        .iter()
        .cloned()
        .chain([("state".into(), "S2".into())])
        .collect();
    assert_t(&push(doorward, &twice).await, &["invalid_request"]);
    let long = push(doorward, &with(good.clone(), "state", Some(&"x".repeat(5000)))).await;
    assert_eq!(
        (long.status, long.oauth_error().as_deref()),
        (413, Some("invalid_request"))
    );
    // A client that authenticates has to.
    let c3 = Machine::basic(doorward, &["--redirect-uri", CALLBACK]);
    let own = c3
        .as_client(doorward, CALLBACK)
        .parameters(&Pkce::new(), &catalogue.ra());
    assert_t(&push(doorward, &own).await, &["invalid_client"]);
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_08_a_request_uri_that_was_not_pushed_here_is_refused_and_never_fetched() {
    let catalogue = catalogue().await;
    let canary = Canary::start();
    let client = catalogue.c1().await;
    let full = client.parameters(&Pkce::new(), &catalogue.ra());
    for foreign in [canary.url("/request.jwt"), "urn:example:request:1".into()] {
        let url = client.url_with(&with(full.clone(), "request_uri", Some(&foreign)));
        let reply = look(catalogue, &url).await;
        catalogue.assert_redirected(
            &reply,
            &client.redirect_uri,
            Some("S1"),
            &["request_uri_not_supported"],
        );
    }
    // One that looks like ours has nothing in it that could be trusted to send anybody anywhere.
    let url = client.url_with(&with(full, "request_uri", Some(&format!("{URN}forged"))));
    assert_page(&look(catalogue, &url).await);
    assert_eq!(canary.visits(), 0);
    catalogue.still_good().await;
}

#[tokio::test]
async fn a_client_known_by_a_document_can_push_before_its_document_was_read() {
    let catalogue = catalogue().await;
    let id = "https://client.invalid/metadata.json";
    let unread = OAuthClient {
        site: catalogue.doorward.site().clone(),
        id: id.into(),
        redirect_uri: "https://client.invalid/cb".into(),
        registration: serde_json::Value::Null,
    };
    let fields = unread.parameters(&Pkce::new(), &catalogue.ra());
    let uri = request_uri(&push(&catalogue.doorward, &fields).await);
    // Carried as it is: the sign-in comes first, as without a push.
    let reply = look(catalogue, &authorize(&unread, &uri)).await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.text().contains("password"),
        "the sign-in page: {}",
        reply.text()
    );
    // Nobody can pretend to have authenticated as a client that nobody has read about.
    let secret = with(fields, "client_secret", Some("x"));
    assert_t(&push(&catalogue.doorward, &secret).await, &["invalid_client"]);
    catalogue.still_good().await;
}
