//! AZ: the authorization endpoint.

use doorward_testkit::browser::Browser;
use doorward_testkit::canary::Canary;
use doorward_testkit::oauth::{OAuthClient, Pkce, parameter, with};
use doorward_testkit::{PASSWORD, raw};
use serde_json::json;

use crate::support::{Catalogue, assert_no_store, assert_page, look, look_as};

crate::shared_catalogue!();

async fn ask(
    catalogue: &Catalogue,
    client: &OAuthClient,
    name: &str,
    value: Option<&str>,
) -> doorward_testkit::Reply {
    let parameters = with(client.parameters(&Pkce::new(), &catalogue.ra()), name, value);
    look_as(&catalogue.alice().await, &client.url_with(&parameters))
        .await
        .reply
}

#[tokio::test]
async fn az_01_unknown_client_or_redirect_is_a_page_that_goes_nowhere() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    assert_page(&ask(catalogue, &client, "client_id", Some("dcr_nobody")).await);
    assert_page(&ask(catalogue, &client, "client_id", None).await);
    assert_page(&ask(catalogue, &client, "redirect_uri", Some("https://evil.test/cb")).await);
    let two = OAuthClient::register_with(
        &catalogue.doorward,
        json!({ "client_name": "two", "redirect_uris": ["https://c1.test/cb", "https://c1.test/cb2"],
            "token_endpoint_auth_method": "none" }),
    )
    .await;
    assert_page(&ask(catalogue, &two, "redirect_uri", None).await);
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_02_s10_redirect_near_misses_are_refused() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let near = [
        "https://c1.test/CB",
        "https://C1.test/cb",
        "HTTPS://c1.test/cb",
        "https://c1.test/cb/",
        "https://c1.test/cb?x",
        "https://c1.test/cb?",
        "https://c1.test:443/cb",
        "https://c1.test:8443/cb",
        "https://c1.test@evil/cb",
        "https://evil@c1.test/cb",
        "https://c1.test.evil/cb",
        "https://c1.test\\.evil/cb",
        "https:\\\\c1.test\\cb",
        "https://c1.test/x/%2e%2e/cb",
        "https://c1.test/x/../cb",
        "https://c1.test/%63b",
        "https://c1.test/%2563b",
        "https://c1.test/cb#",
        "https://c1.test/cb#fragment",
        "http://c1.test/cb",
        "https://\u{441}1.test/cb",
        "https://xn--1-ftb.test/cb",
        "ht\ttps://c1.test/cb",
        "https://c1.test/cb\t",
        " https://c1.test/cb",
        "https://c1.test/cb\n",
        "https:c1.test/cb",
        "//c1.test/cb",
    ];
    assert!(near.len() >= 20);
    for uri in near {
        let reply = ask(catalogue, &client, "redirect_uri", Some(uri)).await;
        assert_ne!(reply.status, 200, "{uri:?}");
        assert_page(&reply);
    }
    let right = ask(catalogue, &client, "redirect_uri", Some("https://c1.test/cb")).await;
    assert_eq!(right.status, 200, "{}", right.text());
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_03_loopback_redirects_may_change_their_port_only() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    for uri in [
        "http://127.0.0.1/cb",
        "http://127.0.0.1:1024/cb",
        "http://127.0.0.1:65535/cb",
    ] {
        let reply = ask(catalogue, &client, "redirect_uri", Some(uri)).await;
        assert_eq!(reply.status, 200, "{uri}: {}", reply.text());
    }
    for uri in [
        "http://localhost:1024/cb",
        "http://127.0.0.1.evil.test:1024/cb",
        "http://127.1:1024/cb",
        "http://2130706433:1024/cb",
        "http://0.0.0.0:1024/cb",
        "http://[::1]:1024/cb",
        "http://[::ffff:127.0.0.1]:1024/cb",
        "http://user@127.0.0.1:1024/cb",
        "http://127.0.0.1:1024@evil.test/cb",
        "http://127.0.0.1:1024/other",
        "http://127.0.0.1:1024/cb/",
        "http://127.0.0.1:1024/cb?x=1",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:/cb",
        "https://127.0.0.1:1024/cb",
    ] {
        assert_page(&ask(catalogue, &client, "redirect_uri", Some(uri)).await);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_04_only_codes_and_only_in_the_query() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    for kind in [
        Some("token"),
        Some("code token"),
        Some("id_token"),
        Some("code id_token"),
        Some("none"),
        None,
    ] {
        let reply = ask(catalogue, &client, "response_type", kind).await;
        let errors = ["unsupported_response_type", "invalid_request"];
        catalogue.assert_redirected(&reply, &client.redirect_uri, Some("S1"), &errors);
        assert!(!reply.location().unwrap().contains('#'), "nothing in a fragment");
    }
    for mode in ["fragment", "form_post", "web_message", "unheard-of"] {
        let reply = ask(catalogue, &client, "response_mode", Some(mode)).await;
        catalogue.assert_redirected(&reply, &client.redirect_uri, Some("S1"), &["invalid_request"]);
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_05_s256_for_every_client() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let refused = async |name: &str, value: Option<&str>| {
        let reply = ask(catalogue, &client, name, value).await;
        catalogue.assert_redirected(&reply, &client.redirect_uri, Some("S1"), &["invalid_request"]);
    };
    for method in [None, Some("plain"), Some("s256"), Some("S512"), Some("")] {
        refused("code_challenge_method", method).await;
    }
    let (short, long) = ("a".repeat(42), "a".repeat(129));
    let bad_alphabet = format!("{}=", "a".repeat(42));
    let spaced = format!("{} ", "a".repeat(42));
    for challenge in [
        None,
        Some(""),
        Some(short.as_str()),
        Some(long.as_str()),
        Some(bad_alphabet.as_str()),
        Some(spaced.as_str()),
    ] {
        refused("code_challenge", challenge).await;
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_06_a_parameter_twice_is_refused() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let browser = catalogue.alice().await;
    let mut right = client.parameters(&Pkce::new(), &catalogue.ra());
    right.push(("scope".into(), "a".into()));
    for (name, value) in &right {
        if name == "resource" {
            continue;
        }
        for second in [value.as_str(), "other"] {
            let mut parameters = right.clone();
            parameters.push((name.clone(), second.into()));
            let reply = look_as(&browser, &client.url_with(&parameters)).await.reply;
            if matches!(name.as_str(), "client_id" | "redirect_uri") {
                assert_page(&reply);
            } else {
                // Which of two states is the client's cannot be known, so none may come back.
                let state = (name != "state").then_some("S1");
                catalogue.assert_redirected(&reply, &client.redirect_uri, state, &["invalid_request"]);
            }
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_07_a_resource_that_is_not_one_of_ours_is_an_invalid_target() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let fragment = format!("{}#x", catalogue.ra());
    let other_scheme = catalogue.ra().replace("http://", "https://");
    for resource in [
        None,
        Some("https://unknown.test/mcp"),
        Some(fragment.as_str()),
        Some("/a/mcp"),
        Some(other_scheme.as_str()),
        Some(""),
        Some("*"),
    ] {
        let reply = ask(catalogue, &client, "resource", resource).await;
        catalogue.assert_redirected(&reply, &client.redirect_uri, Some("S1"), &["invalid_target"]);
    }
    let mut both = client.parameters(&Pkce::new(), &catalogue.ra());
    both.push(("resource".into(), catalogue.rb()));
    let reply = look_as(&catalogue.alice().await, &client.url_with(&both))
        .await
        .reply;
    catalogue.assert_redirected(&reply, &client.redirect_uri, Some("S1"), &["invalid_target"]);
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_08_request_objects_are_refused_and_nothing_is_fetched() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let canary = Canary::start();
    let by_reference = ask(catalogue, &client, "request_uri", Some(&canary.url("/request"))).await;
    let errors = ["request_uri_not_supported"];
    catalogue.assert_redirected(&by_reference, &client.redirect_uri, Some("S1"), &errors);
    let by_value = ask(catalogue, &client, "request", Some("eyJhbGciOiJub25lIn0.e30.")).await;
    catalogue.assert_redirected(
        &by_value,
        &client.redirect_uri,
        Some("S1"),
        &["request_not_supported"],
    );
    for unknown in [
        "sector_identifier_uri",
        "jwks_uri",
        "logo_uri",
        "registration",
        "claims",
        "x",
    ] {
        let reply = ask(catalogue, &client, unknown, Some(&canary.url("/fetched"))).await;
        assert_eq!(reply.status, 200, "{unknown} is ignored: {}", reply.text());
    }
    catalogue.still_good().await;
    assert_eq!(canary.visits(), 0);
}

#[tokio::test]
async fn az_09_the_issuer_is_in_every_authorization_response() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let metadata = catalogue
        .doorward
        .get("/.well-known/oauth-authorization-server")
        .send()
        .await
        .json();
    assert_eq!(metadata["issuer"], catalogue.issuer());
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    let mut browser = catalogue.alice().await;
    let url = client.authorize_url(&Pkce::new(), &catalogue.ra());
    for (decision, member) in [("approve", "code"), ("deny", "error")] {
        let callback = browser.login_and_decide(&url, "alice", PASSWORD, decision).await;
        assert!(callback.starts_with("https://c1.test/cb?"), "{callback}");
        assert!(parameter(&callback, member).is_some(), "{callback}");
        assert_eq!(parameter(&callback, "iss").as_deref(), Some(catalogue.issuer()));
        assert_eq!(parameter(&callback, "state").as_deref(), Some("S1"));
    }
    let denied = browser.login_and_decide(&url, "alice", PASSWORD, "deny").await;
    assert_eq!(parameter(&denied, "error").as_deref(), Some("access_denied"));
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_10_prompt_none_never_gives_a_code() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let parameters = with(
        client.parameters(&Pkce::new(), &catalogue.ra()),
        "prompt",
        Some("none"),
    );
    let url = client.url_with(&parameters);
    let nobody = Browser::new(&catalogue.doorward)
        .visit("GET", &url, &[], "none")
        .await;
    catalogue.assert_redirected(
        &nobody.reply,
        &client.redirect_uri,
        Some("S1"),
        &["login_required"],
    );
    let signed_in = look_as(&catalogue.alice().await, &url).await;
    catalogue.assert_redirected(
        &signed_in.reply,
        &client.redirect_uri,
        Some("S1"),
        &["consent_required"],
    );
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_11_both_metadata_documents_tell_the_same_truth() {
    let catalogue = catalogue().await;
    let site = &catalogue.doorward;
    let oauth = site.get("/.well-known/oauth-authorization-server").send().await;
    let oidc = site.get("/.well-known/openid-configuration").send().await;
    assert_eq!((oauth.status, oidc.status), (200, 200));
    let (oauth, oidc) = (oauth.json(), oidc.json());
    assert_eq!(oauth["issuer"], catalogue.issuer());
    assert_eq!(oauth["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(oauth["response_types_supported"], json!(["code"]));
    let grants = oauth["grant_types_supported"].as_array().unwrap();
    for absent in [
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
    ] {
        assert!(!grants.contains(&json!(absent)), "{absent} is not advertised");
    }
    for (name, value) in oauth.as_object().unwrap() {
        if let Some(both) = oidc.get(name) {
            assert_eq!(value, both, "{name}");
        } else {
            panic!("{name} is missing from the OpenID document");
        }
        if let Some(url) = value.as_str().filter(|text| text.contains("://")) {
            assert!(url.starts_with(catalogue.issuer()), "{name} = {url}");
        }
    }
    for advertised in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
        "jwks_uri",
    ] {
        let url = oauth[advertised]
            .as_str()
            .unwrap_or_else(|| panic!("{advertised}"));
        let reply = site.get(url).send().await;
        assert_ne!(reply.status, 404, "{advertised}");
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn az_12_redirects_are_plain_and_pages_tell_no_referrer() {
    let catalogue = catalogue().await;
    let client = catalogue.c1().await;
    let mut browser = Browser::new(&catalogue.doorward);
    let page = browser
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let mut form = page.login_form();
    assert_eq!(page.reply.header("Referrer-Policy"), Some("same-origin"));
    assert_no_store(&page.reply);
    form.fill("username", "alice");
    form.fill("password", PASSWORD);
    let consent = browser.submit_without_following(&page, &form, "").await;
    assert!(
        matches!(consent.reply.status, 200 | 302 | 303),
        "never 307 or 308: {}",
        consent.reply.status
    );
    assert_no_store(&consent.reply);
    assert_eq!(consent.reply.header("Referrer-Policy"), Some("same-origin"));
    let mut form = consent.consent_form();
    form.tick_all();
    let done = browser.submit_without_following(&consent, &form, "approve").await;
    assert!(matches!(done.reply.status, 302 | 303), "{}", done.reply.status);
    assert_eq!(done.reply.header("Referrer-Policy"), Some("no-referrer"));
    assert_no_store(&done.reply);
    assert!(parameter(done.reply.location().unwrap(), "code").is_some());
    assert!(
        !done.reply.text().contains("://"),
        "no subresource beside a code: {}",
        done.reply.text()
    );
    let error = ask(catalogue, &client, "response_type", Some("token")).await;
    assert_eq!(error.header("Referrer-Policy"), Some("no-referrer"));
    assert_no_store(&error);
    catalogue.still_good().await;
}

#[tokio::test]
async fn the_authorization_url_can_be_opened_again_and_again_without_cookies() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let url = client.authorize_url(&Pkce::new(), &catalogue.ra());
    for _ in 0..3 {
        let reply = look(catalogue, &url).await;
        assert_eq!(reply.status, 200);
    }
    let callback = catalogue
        .alice()
        .await
        .login_and_approve(&url, "alice", PASSWORD)
        .await;
    assert!(parameter(&callback, "code").is_some());
    assert!(callback.starts_with("http://127.0.0.1/cb?"), "{callback}");
}

#[tokio::test]
async fn the_authorization_endpoint_takes_forms_by_post() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let parameters = client.parameters(&Pkce::new(), &catalogue.ra());
    let fields: Vec<(&str, &str)> = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let reply = catalogue.doorward.post("/authorize").form(&fields).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn an_answered_page_gives_no_second_code() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let mut browser = catalogue.alice().await;
    let page = browser
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let mut form = page.consent_form();
    form.tick_all();
    let denied = browser.submit(&page, &form, "deny").await;
    assert_eq!(
        parameter(&denied.redirect().unwrap(), "error").as_deref(),
        Some("access_denied")
    );
    let after = browser.submit(&page, &form, "approve").await;
    assert!(
        after
            .redirect()
            .is_none_or(|url| parameter(&url, "code").is_none()),
        "deny, then back and approve: no code"
    );
    let none = raw::find(&after.reply.body, b"code=");
    assert!(none.is_none());
    catalogue.still_good().await;
}

#[tokio::test]
async fn nothing_ticked_is_denied() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let mut browser = catalogue.alice().await;
    let page = browser
        .get(&client.authorize_url(&Pkce::new(), &catalogue.ra()))
        .await;
    let mut form = page.consent_form();
    form.remove("scope");
    let done = browser.submit(&page, &form, "approve").await;
    let url = done.redirect().unwrap_or_else(|| panic!("{}", done.text()));
    assert_eq!(parameter(&url, "error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn a_lost_reply_is_repeated_with_a_new_code_and_the_old_one_is_void() {
    let catalogue = catalogue().await;
    let client = catalogue.n1().await;
    let mut browser = catalogue.alice().await;
    let pkce = Pkce::new();
    let page = browser.get(&client.authorize_url(&pkce, &catalogue.ra())).await;
    let mut form = page.consent_form();
    form.tick_all();
    let mut codes = Vec::new();
    for _ in 0..2 {
        let done = browser.submit(&page, &form, "approve").await;
        codes.push(parameter(&done.redirect().unwrap(), "code").unwrap());
    }
    assert_ne!(codes[0], codes[1]);
    let redeem = async |code: &str| {
        let mut form = client.parameters(&pkce, &catalogue.ra());
        form.retain(|(name, _)| matches!(name.as_str(), "client_id" | "redirect_uri" | "resource"));
        form.push(("grant_type".into(), "authorization_code".into()));
        form.push(("code".into(), code.into()));
        form.push(("code_verifier".into(), pkce.verifier.clone()));
        client.token(&form).await
    };
    assert_eq!(
        redeem(&codes[0]).await.oauth_error().as_deref(),
        Some("invalid_grant")
    );
    assert_eq!(redeem(&codes[1]).await.status, 200);
}
