use serde_json::json;

use super::*;
use crate::http::Site;
use crate::mcp;
use crate::oauth::{OAuthClient, Pkce, Tokens, parameter, with};

const CALLBACK: &str = "http://127.0.0.1:9/cb";

async fn code(client: &OAuthClient, pkce: &Pkce, resource: &str) -> crate::oauth::Approved {
    let reply = crate::http::get(&client.authorize_url(pkce, resource))
        .lenient()
        .send()
        .await;
    let callback = reply.location().expect("a redirect").to_owned();
    crate::oauth::Approved {
        code: parameter(&callback, "code").expect("a code"),
        pkce: pkce.clone(),
        redirect_uri: CALLBACK.into(),
        resource: resource.into(),
        callback,
    }
}

async fn call(evil: &Evil, tool: &str, token: &str) -> crate::http::Reply {
    mcp::call(&Site::new(evil.base()), MCP, tool, &json!({}))
        .bearer(token)
        .lenient()
        .send()
        .await
}

#[tokio::test]
async fn a_good_client_is_let_in() {
    let evil = Evil::start();
    let site = Site::new(evil.base());
    let client = OAuthClient::register(&site, "good", CALLBACK).await;
    let approved = code(&client, &Pkce::new(), &evil.url()).await;
    assert_eq!(parameter(&approved.callback, "iss"), Some(evil.issuer()));
    assert_eq!(parameter(&approved.callback, "state").as_deref(), Some("S1"));
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);
    assert_eq!(
        mcp::text_of(&call(&evil, "t_read", &tokens.access).await),
        "t_read ok"
    );
    assert_eq!(call(&evil, "t_write", &tokens.access).await.status, 403);
    assert_eq!(call(&evil, "t_read", "at_wrong").await.status, 401);
    evil.expire_access_tokens();
    assert_eq!(call(&evil, "t_read", &tokens.access).await.status, 401);
    let renewed = Tokens::from_reply(&client.refresh(tokens.refresh(), &evil.url()).await);
    assert_eq!(call(&evil, "t_read", &renewed.access).await.status, 200);
    assert_eq!(client.refresh(tokens.refresh(), &evil.url()).await.status, 400);
    assert_eq!(evil.reused(), 1);
    assert_eq!(evil.complaints().len(), 1);
    assert_eq!(evil.secrets().len(), 5, "a code and two pairs of tokens");
}

#[tokio::test]
async fn a_bad_client_is_not() {
    let evil = Evil::start();
    let site = Site::new(evil.base());
    let client = OAuthClient::register(&site, "bad", CALLBACK).await;
    for (name, value) in [
        ("code_verifier", Some("x".repeat(43))),
        ("redirect_uri", Some("http://127.0.0.1:8/cb".into())),
        ("resource", Some("http://127.0.0.1:8/mcp".into())),
        ("resource", None),
        ("client_id", Some("somebody".into())),
        ("code", Some("code_guessed".into())),
    ] {
        let approved = code(&client, &Pkce::new(), &evil.url()).await;
        let form = with(client.code_form(&approved), name, value.as_deref());
        assert!((400..=401).contains(&client.token(&form).await.status), "{name}");
    }
    let approved = code(&client, &Pkce::new(), &evil.url()).await;
    assert_eq!(client.redeem(&approved).await.status, 200);
    assert_eq!(client.redeem(&approved).await.status, 400, "a code is good once");
    let elsewhere = Pkce::new();
    let other = Evil::start();
    let approved = code(&client, &elsewhere, &other.url()).await;
    let tokens = Tokens::from_reply(&client.redeem(&approved).await);
    assert_eq!(
        call(&evil, "t_read", &tokens.access).await.status,
        401,
        "another resource"
    );
}

#[tokio::test]
async fn one_answer_changes_at_a_time() {
    let evil = Evil::start();
    let site = Site::new(evil.base());
    evil.edit(SERVER_METADATA, |metadata| metadata["issuer"] = json!("x"));
    let metadata = site.get(SERVER_METADATA).lenient().send().await.json();
    assert_eq!(metadata["issuer"], "x");
    assert_eq!(metadata["token_endpoint"], evil.at(TOKEN));
    evil.redirect(RESOURCE_METADATA, 307, "http://127.0.0.1:8/");
    assert_eq!(site.get(RESOURCE_METADATA).lenient().send().await.status, 307);
    evil.behave();
    assert_eq!(
        site.get(RESOURCE_METADATA).lenient().send().await.json()["resource"],
        evil.url()
    );
    let gate = evil.hold(SERVER_METADATA);
    let held = tokio::spawn(site.get(SERVER_METADATA).lenient().send());
    crate::eventually("the request arrives", crate::http::PATIENCE, async || {
        (evil.seen(SERVER_METADATA).len() == 2).then_some(())
    })
    .await;
    assert!(!held.is_finished());
    gate.notify_one();
    assert_eq!(held.await.expect("an answer").json()["issuer"], evil.issuer());
}

#[tokio::test]
async fn a_canary_tells_what_came() {
    let evil = Evil::start();
    evil.assert_untouched();
    evil.assert_no_credentials();
    let site = Site::new(evil.base());
    site.get("/x").bearer("secret").lenient().send().await;
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| evil.assert_untouched()));
    assert!(told.is_err());
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| evil.assert_no_credentials()));
    assert!(told.is_err());
}
