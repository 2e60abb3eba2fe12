//! E16, E17, E22: enterprise-managed authorization for people. They sign on at their company's identity provider, once for
//! all servers behind it, and the ID token is kept like any other token. Every hostile case changes one thing about a
//! provider that otherwise lets everybody in.

use std::time::Duration;

use doorward_testkit::client_home::{ClientHome, Running, callback_of, visit};
use doorward_testkit::eventually;
use doorward_testkit::evil::{self, Evil};
use doorward_testkit::forge::Forge;
use doorward_testkit::identity::{IdentityProvider, REVOKE};
use doorward_testkit::oauth::parameter;
use serde_json::{Value, json};

/// An identity provider, and an MCP server that takes what comes from it.
fn world() -> (IdentityProvider, Evil) {
    let provider = IdentityProvider::start();
    (provider.clone(), server_of(&provider))
}

fn server_of(provider: &IdentityProvider) -> Evil {
    let server = Evil::start();
    server.trust_identities(provider);
    server
}

fn with(provider: &IdentityProvider, more: &[&str]) -> Vec<String> {
    let options = provider.options().into_iter();
    options.chain(more.iter().map(|&word| word.to_owned())).collect()
}

async fn login(
    home: &ClientHome,
    provider: &IdentityProvider,
    server: &Evil,
) -> doorward_testkit::command::Finished {
    let options = with(provider, &[]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    home.login(&server.url(), &options).await
}

async fn listed(home: &ClientHome) -> Vec<Value> {
    let finished = home.run(&["login", "--list", "--format", "json"]).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished.json().as_array().expect("a list").clone()
}

#[tokio::test]
async fn e16_e17_e22_a_person_signs_on_once_for_all_servers_of_a_company() {
    let (provider, first) = world();
    let second = server_of(&provider);
    let home = ClientHome::new();
    let done = login(&home, &provider, &first).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let opened = home.opened_urls();
    assert_eq!(opened.len(), 1, "one page, and that of the identity provider");
    assert!(opened[0].starts_with(&provider.issuer()), "{}", opened[0]);
    for name in ["state", "nonce", "code_challenge"] {
        assert!(
            parameter(&opened[0], name).is_some_and(|text| text.len() >= 43),
            "{name}"
        );
    }
    let again = login(&home, &provider, &second).await;
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(
        home.opened_urls().len(),
        1,
        "the sign-on does for the second server"
    );
    assert_eq!((provider.exchanges(), first.authorizations().len()), (2, 0));
    assert_eq!(first.complaints(), Vec::<String>::new());
    for finished in [&done, &again] {
        home.assert_clean(finished, &provider.secrets()).await;
    }
    // E17: neither server ever saw the identity assertion, and the store holds it sealed.
    for server in [&first, &second] {
        for request in server.server().requests() {
            let secrets = provider.secrets();
            let grant = evil::form(&request.body).remove("assertion");
            if grant.is_none() {
                secrets.assert_absent("a request to the MCP server", &request.bytes());
            }
        }
    }
    home.assert_files_clean(&provider.secrets());
    let kept = listed(&home).await;
    let sign_on = kept.iter().find(|entry| entry["single_sign_on"] == json!(true));
    assert_eq!(sign_on.expect("it is listed")["issuer"], json!(provider.issuer()));
    assert_eq!(kept.len(), 3);
    // Other servers need it, so one logout leaves it; and all of them together do not.
    let out = home.run(&["logout", &first.url()]).await;
    assert_eq!((out.code, listed(&home).await.len()), (0, 2), "{}", out.stderr);
    let out = home.run(&["logout", "--all"]).await;
    assert_eq!((out.code, listed(&home).await.len()), (0, 0), "{}", out.stderr);
    let given_back = provider.seen(REVOKE);
    assert_eq!(given_back.len(), 1, "the refresh token, and no ID token");
    assert_eq!(
        evil::form(&given_back[0].body)
            .get("token_type_hint")
            .map(String::as_str),
        Some("refresh_token")
    );
}

#[tokio::test]
async fn e17_a_sign_on_is_ended_by_the_issuer_of_its_provider() {
    let (provider, server) = world();
    let home = ClientHome::new();
    let done = login(&home, &provider, &server).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let out = home.run(&["logout", &provider.issuer()]).await;
    assert_eq!(out.code, 0, "{}", out.stderr);
    let left = listed(&home).await;
    assert_eq!(left.len(), 1, "the tokens of the server stay");
    assert_eq!(left[0]["server"], json!(server.url()));
}

/// A sign-on that must come to nothing: no ID token is exchanged, no MCP server asked for a token, the reason told.
async fn refused(home: &ClientHome, provider: &IdentityProvider, server: &Evil, case: &str, says: &str) {
    let before = (provider.exchanges(), server.seen(evil::TOKEN).len());
    let finished = login(home, provider, server).await;
    assert_eq!(finished.code, 1, "{case}: refused, not:\n{}", finished.stderr);
    assert!(finished.stderr.contains(says), "{case}: {}", finished.stderr);
    let after = (provider.exchanges(), server.seen(evil::TOKEN).len());
    assert_eq!(before, after, "{case}");
    home.assert_clean(&finished, &provider.secrets()).await;
    assert_eq!(listed(home).await, Vec::<Value>::new(), "{case}: nothing is kept");
    provider.behave();
}

#[tokio::test]
async fn e16_an_id_token_that_is_wrong_in_one_thing_is_worth_nothing() {
    let (provider, server) = world();
    let home = ClientHome::new();
    for (claim, value) in [
        ("nonce", json!("of-somebody-else")),
        ("iss", json!("https://idp.evil.example")),
        ("aud", json!("another-client")),
        ("exp", json!(1_000_000_000)),
        ("azp", json!("another-client")),
    ] {
        provider.edit_claims(move |claims| claims[claim] = value.clone());
        refused(&home, &provider, &server, claim, claim).await;
    }
    for alg in ["none", "HS256"] {
        provider.sign_with(move |forge, claims| {
            let header = json!({ "alg": alg, "typ": "JWT", "kid": forge.header()["kid"] });
            if alg == "none" {
                let encode = |value: &Value| Forge::encode(value.to_string().as_bytes());
                return format!("{}.{}.", encode(&header), encode(claims));
            }
            // With what everybody knows as the secret.
            Forge::hmac(&header, claims, forge.public_jwk().to_string().as_bytes())
        });
        refused(&home, &provider, &server, alg, "ID token").await;
    }
    provider.sign_with(|forge, claims| {
        let mut header = forge.header();
        header["typ"] = json!("JWT");
        Forge::attacker().sign(&header, claims)
    });
    refused(&home, &provider, &server, "another key", "signature").await;
    let done = login(&home, &provider, &server).await;
    assert_eq!(done.code, 0, "nothing else was in the way:\n{}", done.stderr);
}

#[tokio::test]
async fn e16_the_answer_of_another_provider_and_codes_without_tls_are_refused() {
    let (provider, server) = world();
    let home = ClientHome::new();
    provider.edit_answer(|answer| {
        for (name, value) in answer {
            if name == "iss" {
                *value = "https://idp.evil.example".to_owned();
            }
        }
    });
    refused(&home, &provider, &server, "mix-up", "iss").await;
    provider.edit_answer(|answer| answer.retain(|(name, _)| name != "iss"));
    refused(&home, &provider, &server, "no iss", "iss").await;
    assert_eq!(
        provider.grants("authorization_code").len(),
        0,
        "no code was sent anywhere"
    );
    for member in ["token_endpoint", "authorization_endpoint", "jwks_uri"] {
        let opened = home.opened().len();
        provider.edit_document(move |document| document[member] = json!("http://198.51.100.7/there"));
        refused(&home, &provider, &server, member, member).await;
        assert_eq!(home.opened().len(), opened, "{member}: nobody is sent there");
    }
    let issuer = format!("{}/", provider.issuer());
    provider.edit_document(move |document| document["issuer"] = json!(issuer.clone()));
    refused(&home, &provider, &server, "a slash more", "issuer").await;
    let done = login(&home, &provider, &server).await;
    assert_eq!(done.code, 0, "nothing else was in the way:\n{}", done.stderr);
}

#[tokio::test]
async fn e16_an_answer_with_another_state_is_dropped_and_the_sign_on_goes_on() {
    let (provider, server) = world();
    let home = ClientHome::new();
    let options = with(&provider, &[]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let running = home.start_login(&server.url(), &options);
    let url = home.opened_url(0, &running).await;
    let callback = callback_of(&url).await;
    let state = parameter(&callback, "state").expect("a state");
    let forged = callback.replace(&state, "A-state-of-somebody-else-that-is-as-long-as-ours");
    let page = visit(&forged).await.expect("a page");
    assert_eq!(page.status, 400, "{}", page.text());
    assert!(running.is_alive(), "it waits on:\n{}", running.stderr());
    assert_eq!(provider.grants("authorization_code").len(), 0);
    visit(&callback).await.expect("a page");
    let finished = running.ended().await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    home.assert_clean(&finished, &provider.secrets()).await;
}

#[tokio::test]
async fn e17_a_sign_on_that_is_over_is_renewed_without_a_person() {
    let (provider, first) = world();
    let second = server_of(&provider);
    let home = ClientHome::new();
    provider.id_tokens_live(20);
    let done = login(&home, &provider, &first).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    eventually("the ID token ends", Duration::from_secs(60), async || {
        let kept = listed(&home).await;
        kept.iter()
            .any(|entry| entry["single_sign_on"] == json!(true) && entry["expired"] == json!(true))
            .then_some(())
    })
    .await;
    provider.id_tokens_live(3600);
    let done = login(&home, &provider, &second).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(home.opened_urls().len(), 1, "nobody was asked again");
    assert_eq!(provider.grants("refresh_token").len(), 1);
    assert_ne!(
        provider.grants("urn:ietf:params:oauth:grant-type:token-exchange")[0]["subject_token"],
        provider.grants("urn:ietf:params:oauth:grant-type:token-exchange")[1]["subject_token"]
    );
    home.assert_clean(&done, &provider.secrets()).await;
}

#[tokio::test]
async fn e16_e22_two_bridges_share_one_sign_on() {
    let (provider, first) = world();
    let second = server_of(&provider);
    let home = ClientHome::new();
    let options = with(&provider, &[]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let bridges: Vec<Running> = [&first, &second]
        .iter()
        .map(|server| home.start_connect(&server.url(), &options))
        .collect();
    for bridge in &bridges {
        bridge.send(&doorward_testkit::mcp::initialize());
    }
    // One has opened the page, and the other has found out that it waits: only then does the person answer.
    let url = home.opened_url(0, &bridges[0]).await;
    eventually("the other one waits", Duration::from_secs(60), async || {
        let said = bridges
            .iter()
            .any(|bridge| bridge.stderr().contains("another doorward"));
        said.then_some(())
    })
    .await;
    visit(&url).await.expect("a page");
    for bridge in &bridges {
        let id = doorward_testkit::mcp::initialize()["id"].clone();
        let answer = bridge.answer(&id).await;
        assert!(answer.get("result").is_some(), "{answer}\n{}", bridge.stderr());
    }
    assert_eq!(home.opened_urls().len(), 1, "one page for both");
    assert_eq!(provider.grants("authorization_code").len(), 1);
    assert_eq!(provider.exchanges(), 2);
    let mut ended = Vec::new();
    for bridge in bridges {
        bridge.close_stdin();
        ended.push(bridge.ended().await);
    }
    for finished in &ended {
        home.assert_clean(finished, &provider.secrets()).await;
    }
}

#[tokio::test]
async fn e16_e22_a_sign_on_that_the_provider_ended_is_made_anew_once() {
    let (provider, first) = world();
    let second = server_of(&provider);
    let home = ClientHome::new();
    let done = login(&home, &provider, &first).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    provider.end_sessions(false);
    let done = login(&home, &provider, &second).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(
        home.opened_urls().len(),
        2,
        "the ID token was not over, and no good"
    );

    // Where no sign-on helps, a person is asked once and told why.
    provider.end_sessions(true);
    let third = server_of(&provider);
    let done = login(&home, &provider, &third).await;
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.contains("the token exchange"), "{}", done.stderr);
    assert_eq!(home.opened_urls().len(), 3);
    assert_eq!(provider.exchanges(), 1 + 2 + 2);
    home.assert_clean(&done, &provider.secrets()).await;
}

/// What the MCP server says of a token says nothing of the sign-on behind it.
#[tokio::test]
async fn a34_e22_more_scopes_take_no_other_sign_on() {
    let (provider, server) = world();
    let home = ClientHome::new();
    let options = with(&provider, &[]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let bridge = home.start_connect(&server.url(), &options);
    // Refused for want of a token first, and for want of a scope then.
    let params = json!({ "name": "t_write", "arguments": {}, "_meta": doorward_testkit::mcp::meta() });
    bridge.send(&json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }));
    let url = home.opened_url(0, &bridge).await;
    visit(&url).await.expect("a page");
    let answer = bridge.answer(&json!(7)).await;
    assert!(answer.get("result").is_some(), "{answer}\n{}", bridge.stderr());
    assert_eq!(provider.exchanges(), 2);
    assert_eq!(home.opened_urls().len(), 1, "nobody was asked again");
    bridge.close_stdin();
    let finished = bridge.ended().await;
    home.assert_clean(&finished, &provider.secrets()).await;
}
