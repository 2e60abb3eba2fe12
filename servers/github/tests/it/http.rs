//! The server over Streamable HTTP, in front of a stand-in for GitHub.

use std::sync::Arc;

use doorward_github::api::Api;
use doorward_github::http::{HttpServer, router};
use doorward_outbound::{ClientOptions, GuardedClient, TlsRoots};
use doorward_stdio_authorization::GitHubTokens;
use doorward_stdio_authorization::providers::GITHUB;
use doorward_testkit::github::{App, CLIENT_ID, CLIENT_SECRET, Failure, GitHub};
use doorward_testkit::http::{Reply, Site};
use doorward_testkit::mcp;
use doorward_types::secret::Secret;
use doorward_types::time::SystemClock;
use serde_json::{Value, json};
use url::Url;

/// Serves it for tokens of the one app, and gives its site.
async fn start(github: &GitHub) -> Site {
    let client = GuardedClient::new(ClientOptions::new(TlsRoots::new(&[]).unwrap()));
    let api = Url::parse(&github.api()).unwrap();
    let verify = GitHubTokens::new(client.clone(), &api, Arc::new(SystemClock)).unwrap();
    let verify = verify
        .of_app(&api, CLIENT_ID, &Secret::new(CLIENT_SECRET))
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let provider = Url::parse(&github.base()).unwrap();
    let router = router(HttpServer {
        api: Api::new(client, api),
        resource: format!("{base}/mcp"),
        authorization_server: GITHUB.authorization_server(Some(&provider)).unwrap(),
        scopes: "read:user".parse().unwrap(),
        client_id: CLIENT_ID.to_owned(),
        verify: Arc::new(verify),
    })
    .unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Site::new(&base)
}

async fn call(site: &Site, tool: &str, arguments: Value, token: &str) -> Reply {
    let request = mcp::call(site, "/mcp", tool, &arguments).bearer(token);
    request.lenient().send().await
}

async fn login_of(site: &Site, token: &str) -> String {
    let reply = call(site, "get_github_user_info", json!({}), token).await;
    let answer = mcp::answer(&reply);
    let login = &answer["result"]["structuredContent"]["login"];
    login.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn challenge(reply: &Reply) -> &str {
    reply.header("www-authenticate").expect("a challenge")
}

#[tokio::test]
async fn r01_without_a_token_a_client_is_led_to_github() {
    let github = GitHub::start(App::OAuth);
    let site = start(&github).await;
    let metadata_url = site.url("/.well-known/oauth-protected-resource/mcp");
    for request in [
        mcp::call(&site, "/mcp", "get_github_user_info", &json!({})),
        mcp::legacy(&site, "/mcp", None, &mcp::initialize()),
        site.get("/mcp"),
    ] {
        let reply = request.lenient().send().await;
        assert_eq!(reply.status, 401, "{}", reply.text());
        assert!(
            challenge(&reply).contains(&format!(
                "resource_metadata=\"{metadata_url}\", scope=\"read:user\""
            )),
            "{}",
            challenge(&reply)
        );
    }
    let document = doorward_testkit::http::get(&metadata_url)
        .lenient()
        .send()
        .await
        .json();
    assert_eq!(document["resource"], site.url("/mcp"));
    assert_eq!(document["authorization_servers"], json!([github.base()]));
    assert_eq!(document["scopes_supported"], json!(["read:user"]));
    assert!(
        github.server().requests().is_empty(),
        "GitHub is asked about tokens only"
    );
}

#[tokio::test]
async fn r01_r07_vt_07_tokens_that_are_not_of_this_app_get_nowhere() {
    let github = GitHub::start(App::OAuth);
    let site = start(&github).await;
    let elsewhere = github.token_of_another_app("read:user repo");
    for bad in [elsewhere.as_str(), "gho_forged", "a.jwt.ofsomebody"] {
        let reply = call(&site, "get_github_user_info", json!({}), bad).await;
        assert_eq!(reply.status, 401, "{bad}: {}", reply.text());
        assert!(
            challenge(&reply).contains("error=\"invalid_token\""),
            "{}",
            challenge(&reply)
        );
    }
    let asked = github.server().with("GET /api/v3/user");
    assert!(asked.is_empty(), "a token of another app is not used: {asked:?}");
    github.fail("/api/v3/applications", Some(Failure::Outage));
    let reply = call(
        &site,
        "get_github_user_info",
        json!({}),
        &github.token("read:user"),
    )
    .await;
    assert_eq!(reply.status, 503, "nobody vouches for it: {}", reply.text());
}

#[tokio::test]
async fn r01_both_eras_and_each_request_acts_for_whom_its_token_says() {
    let github = GitHub::start(App::OAuth);
    let site = start(&github).await;
    let (one, two) = (github.token("read:user"), github.token_of("hubot", "read:user"));
    for _ in 0..3 {
        assert_eq!(login_of(&site, &one).await, "octo-test");
        assert_eq!(login_of(&site, &two).await, "hubot");
    }

    // With a session it is the same: the session remembers nobody's token.
    let opened = mcp::legacy(&site, "/mcp", None, &mcp::initialize()).bearer(&one);
    let opened = opened.lenient().send().await;
    let session = opened.header("mcp-session-id").expect("a session").to_owned();
    assert_eq!(
        mcp::answer(&opened)["result"]["serverInfo"]["name"],
        "doorward-github"
    );
    let message = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    mcp::legacy(&site, "/mcp", Some(&session), &message)
        .bearer(&one)
        .lenient()
        .send()
        .await;
    for (id, token, login) in [(1, &one, "octo-test"), (2, &two, "hubot"), (3, &one, "octo-test")] {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": { "name": "get_github_user_info", "arguments": {} } });
        let reply = mcp::legacy(&site, "/mcp", Some(&session), &message).bearer(token);
        let answer = mcp::answer(&reply.lenient().send().await);
        assert_eq!(answer["result"]["structuredContent"]["login"], login, "{answer}");
    }
}

#[tokio::test]
async fn r01_private_repositories_are_a_step_up() {
    let github = GitHub::start(App::OAuth);
    let site = start(&github).await;
    let (narrow, none) = (github.token("read:user"), github.token("gist"));
    let reply = call(&site, "get_github_user_info", json!({}), &none).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(challenge(&reply).contains("scope=\"read:user\", error=\"insufficient_scope\""));
    let private = json!({ "visibility": "private", "per_page": 5 });
    let reply = call(&site, "get_github_user_repos", private.clone(), &narrow).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(
        challenge(&reply).contains("scope=\"read:user repo\", error=\"insufficient_scope\""),
        "{}",
        challenge(&reply)
    );
    assert_eq!(reply.json()["id"], 1, "{}", reply.text());
    github.server().assert_never_saw("/api/v3/user/repos");
    // All that it may see is another question.
    let reply = call(&site, "get_github_user_repos", json!({}), &narrow).await;
    assert!(
        mcp::answer(&reply)["result"]["structuredContent"].is_object(),
        "{}",
        reply.text()
    );
    let reply = call(
        &site,
        "get_github_user_repos",
        private.clone(),
        &github.token("repo read:user"),
    )
    .await;
    let listed = &mcp::answer(&reply)["result"]["structuredContent"]["repositories"];
    assert_eq!(listed.as_array().map(Vec::len), Some(5), "{}", reply.text());
    // A token of a GitHub App has no scopes: GitHub is the judge.
    let reply = call(&site, "get_github_user_repos", private, &github.app_token()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn r01_vt_10_what_github_refuses_at_the_call_is_refused_at_the_door_from_then_on() {
    let github = GitHub::start(App::OAuth);
    let site = start(&github).await;
    let token = github.token("read:user");
    assert_eq!(login_of(&site, &token).await, "octo-test");
    github.revoke_all();
    let reply = call(&site, "get_github_user_info", json!({}), &token).await;
    let answer = mcp::answer(&reply);
    let data = &answer["error"]["data"]["authorization"];
    assert_eq!(data["error"], "invalid_token", "{answer}");
    assert_eq!(data["resource"], site.url("/mcp"));
    assert_eq!(data["authorization_servers"][0]["issuer"], github.base());
    let reply = call(&site, "get_github_user_info", json!({}), &token).await;
    assert_eq!(reply.status, 401, "{}", reply.text());
}

#[tokio::test]
async fn r01_web_pages_that_call_themselves_loopback_are_refused() {
    let github = GitHub::start(App::OAuth);
    let site = start(&github).await;
    let token = github.token("read:user");
    for (name, value) in [("Host", "evil.example"), ("Origin", "https://evil.example")] {
        let request = mcp::call(&site, "/mcp", "get_github_user_info", &json!({}));
        let reply = request.bearer(&token).set(name, value).lenient().send().await;
        assert_eq!(reply.status, 403, "{name}: {}", reply.text());
    }
}
