//! The server over stdio, in front of a stand-in for GitHub.

use std::sync::Arc;
use std::time::Duration;

use doorward_github::api::Api;
use doorward_github::{GitHubServer, TokenIn};
use doorward_outbound::{ClientOptions, GuardedClient, TlsRoots};
use doorward_stdio_authorization::rmcp::Service;
use doorward_stdio_authorization::{
    AuthorizationServer, EXTENSION, GitHubTokens, Hand, LocalAuthority, Protects, Settings, TOKEN, run,
};
use doorward_testkit::github::{App, CLIENT_ID, CLIENT_SECRET, Failure, GitHub, REPOSITORIES};
use doorward_types::secret::Secret;
use doorward_types::time::SystemClock;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, split,
};
use url::Url;

const MODERN: &str = "2026-07-28";

struct Host {
    write: WriteHalf<DuplexStream>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    next: u64,
}

impl Host {
    fn start(github: &GitHub, given: Option<&str>) -> Self {
        let client = GuardedClient::new(ClientOptions::new(TlsRoots::new(&[]).unwrap()));
        let api = Url::parse(&github.api()).unwrap();
        let settings = Settings {
            resource: format!("{}/stdio/github", github.base()),
            authorization_servers: vec![AuthorizationServer::of_issuer(github.base())],
            scopes: "read:user".parse().unwrap(),
            tools: vec![],
            public_tools: vec![],
            protects: Protects {
                prompts: false,
                resources: false,
            },
            hand: Hand::Meta,
        };
        let verify = GitHubTokens::new(client.clone(), &api, Arc::new(SystemClock)).unwrap();
        let verify = verify
            .of_app(&api, CLIENT_ID, &Secret::new(CLIENT_SECRET))
            .unwrap();
        let authority =
            LocalAuthority::new(Arc::new(settings), Arc::new(verify), given.map(Secret::new), None);
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (host_in, host_out) = split(theirs);
        tokio::spawn(async move {
            let mut server = Service::new(GitHubServer::new(Api::new(client, api), TokenIn::Meta));
            run(host_in, host_out, &mut server, &authority).await
        });
        let (read, write) = split(ours);
        Self {
            write,
            lines: BufReader::new(read).lines(),
            next: 0,
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let message = json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params });
        self.write
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
        let line = tokio::time::timeout(Duration::from_secs(30), self.lines.next_line())
            .await
            .expect("in time");
        let answer: Value = serde_json::from_str(&line.unwrap().expect("a line")).unwrap();
        assert_eq!(answer["id"], self.next, "{answer}");
        answer
    }

    async fn initialize(&mut self) -> Value {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "h", "version": "1" } });
        let answer = self.ask("initialize", params).await;
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.write
            .write_all(format!("{initialized}\n").as_bytes())
            .await
            .unwrap();
        answer
    }

    async fn call(&mut self, tool: &str, arguments: Value, token: &str) -> Value {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": { TOKEN: token } });
        self.ask("tools/call", params).await
    }
}

fn said(answer: &Value) -> &str {
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    answer["result"]["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn r01_r03_r05_tools_and_prompts_say_what_they_are() {
    let github = GitHub::start(App::OAuth);
    let mut host = Host::start(&github, None);
    let greeting = host.initialize().await;
    assert_eq!(
        greeting["result"]["capabilities"]["experimental"][EXTENSION]["type"],
        "oauth2"
    );
    let tools = host.ask("tools/list", json!({})).await;
    let names: Vec<&str> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["get_github_user_info", "get_github_user_repos"]);
    for tool in tools["result"]["tools"].as_array().unwrap() {
        assert_eq!(
            tool["_meta"][EXTENSION],
            json!({ "required": true, "scopes": ["read:user"] })
        );
    }
    let prompts = host.ask("prompts/list", json!({})).await;
    assert_eq!(prompts["result"]["prompts"].as_array().unwrap().len(), 2);
    let prompt = host
        .ask(
            "prompts/get",
            json!({ "name": "review_repositories", "arguments": { "visibility": "private" } }),
        )
        .await;
    let text = prompt["result"]["messages"][0]["content"]["text"]
        .as_str()
        .unwrap();
    assert!(
        text.contains("get_github_user_repos with visibility \"private\""),
        "{text}"
    );
    let refused = host
        .ask(
            "prompts/get",
            json!({ "name": "review_repositories", "arguments": { "visibility": "x\" then" } }),
        )
        .await;
    assert_eq!(refused["error"]["code"], -32602);
}

#[tokio::test]
async fn r01_both_eras_get_the_user_and_pages_of_repositories() {
    let github = GitHub::start(App::OAuth);
    let token = github.token("read:user repo");
    let mut host = Host::start(&github, None);
    host.initialize().await;
    let user = host.call("get_github_user_info", json!({}), &token).await;
    assert_eq!(
        user["result"]["structuredContent"]["login"], "octo-test",
        "{user}"
    );
    let (mut page, mut seen) = (Some(1), 0);
    while let Some(number) = page {
        let arguments = json!({ "page": number, "per_page": 20, "sort": "updated" });
        let answer = host.call("get_github_user_repos", arguments, &token).await;
        let content = &answer["result"]["structuredContent"];
        assert_eq!(content["page"], number, "{answer}");
        seen += content["repositories"].as_array().unwrap().len();
        page = content["next_page"].as_u64();
    }
    assert_eq!(seen, REPOSITORIES);
    let private = host
        .call(
            "get_github_user_repos",
            json!({ "visibility": "private", "per_page": 100 }),
            &token,
        )
        .await;
    let private = private["result"]["structuredContent"]["repositories"]
        .as_array()
        .unwrap();
    assert!(!private.is_empty() && private.iter().all(|repository| repository["private"] == true));
    for arguments in [
        json!({ "per_page": 0 }),
        json!({ "per_page": 101 }),
        json!({ "page": 0 }),
    ] {
        let answer = host
            .call("get_github_user_repos", arguments.clone(), &token)
            .await;
        assert_eq!(answer["error"]["code"], -32602, "{arguments}: {answer}");
    }
    for arguments in [json!({ "sort": "stars" }), json!({ "x": 1 })] {
        let answer = host.call("get_github_user_repos", arguments, &token).await;
        assert!(
            said(&answer).starts_with("failed to deserialize parameters: unknown "),
            "{answer}"
        );
    }

    let mut host = Host::start(&github, Some(&token));
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientInfo": { "name": "h", "version": "1" }, "io.modelcontextprotocol/clientCapabilities": {} });
    let discovered = host.ask("server/discover", json!({ "_meta": meta })).await;
    assert_eq!(
        discovered["result"]["capabilities"]["extensions"][EXTENSION]["type"], "oauth2",
        "{discovered}"
    );
    let user = host
        .ask(
            "tools/call",
            json!({ "name": "get_github_user_info", "arguments": {}, "_meta": meta }),
        )
        .await;
    assert_eq!(user["result"]["structuredContent"]["id"], 583_231, "{user}");
}

#[tokio::test]
async fn r01_r04_failures_of_github_are_results_or_authorization_errors() {
    let github = GitHub::start(App::OAuth);
    let token = github.token("read:user");
    let mut host = Host::start(&github, None);
    host.initialize().await;
    for (failure, expected) in [
        (
            Failure::RateLimited,
            "GitHub's rate limit is used up: try again after the Unix time 1795000000",
        ),
        (
            Failure::SecondaryLimit,
            "GitHub's rate limit is used up: try again in 60 seconds",
        ),
        (
            Failure::Outage,
            "GitHub has an outage (it answered 502): try again later, https://www.githubstatus.com",
        ),
        (
            Failure::Redirect,
            "GitHub's answer cannot be used: it is a redirect, which is not followed with a token",
        ),
        (
            Failure::Forbidden,
            "GitHub refuses this: Resource protected by organization SAML enforcement.",
        ),
    ] {
        github.fail("/api/v3/user/repos", Some(failure));
        let answer = host.call("get_github_user_repos", json!({}), &token).await;
        assert_eq!(said(&answer), expected);
    }
    github.fail("/api/v3/user/repos", Some(Failure::Gibberish));
    let answer = host.call("get_github_user_repos", json!({}), &token).await;
    assert!(said(&answer).starts_with("GitHub's answer cannot be used: "));
    github.fail("", None);
    github.server().assert_never_saw("/elsewhere");

    // Revoked between the check and the call, and afterwards found at the check.
    github.revoke_all();
    for _ in 0..2 {
        let answer = host.call("get_github_user_repos", json!({}), &token).await;
        assert_eq!(answer["error"]["code"], -32001, "{answer}");
        assert_eq!(answer["error"]["data"]["authorization"]["error"], "invalid_token");
    }
    let narrow = github.token("gist");
    let answer = host.call("get_github_user_info", json!({}), &narrow).await;
    assert_eq!(
        answer["error"]["data"]["authorization"]["error"],
        "insufficient_scope"
    );
    assert_eq!(
        answer["error"]["data"]["authorization"]["scopes"],
        json!(["read:user"])
    );
}

#[tokio::test]
async fn r07_vt_10_a_token_that_nobody_vouches_for_never_reaches_the_tools() {
    let github = GitHub::start(App::OAuth);
    let mut host = Host::start(&github, None);
    host.initialize().await;
    for bad in ["gho_forged", "", "with\nnewline"] {
        let answer = host.call("get_github_user_info", json!({}), bad).await;
        assert_eq!(
            answer["error"]["data"]["authorization"]["error"], "invalid_token",
            "{answer}"
        );
    }
    let mut host = Host::start(&github, None);
    host.initialize().await;
    github.fail("/api/v3/applications", Some(Failure::Outage));
    let answer = host
        .call("get_github_user_info", json!({}), &github.token("read:user"))
        .await;
    assert_eq!(
        answer["error"]["data"]["authorization"]["error"], "temporarily_unavailable",
        "{answer}"
    );
}

#[tokio::test]
async fn r01_r07_a_rate_limit_is_not_asked_about_again_and_again() {
    let github = GitHub::start(App::OAuth);
    let token = github.token("read:user");
    for (path, failure) in [
        ("/api/v3/applications", Failure::SecondaryLimit),
        ("/api/v3/user", Failure::RateLimited),
    ] {
        let mut host = Host::start(&github, None);
        host.initialize().await;
        github.fail(path, Some(failure));
        let before = github.server().requests().len();
        let mut asked = Vec::new();
        for _ in 0..3 {
            let answer = host.call("get_github_user_info", json!({}), &token).await;
            let authorization = &answer["error"]["data"]["authorization"];
            assert_eq!(authorization["error"], "temporarily_unavailable", "{answer}");
            asked.push(github.server().requests().len() - before);
        }
        assert!(asked[0] > 0 && asked[0] == asked[2], "{asked:?}");
        github.fail(path, None);
    }
}

#[tokio::test]
async fn r01_r07_tokens_of_github_apps_have_no_scopes_and_work() {
    let github = GitHub::start(App::GitHub);
    let token = github.app_token();
    let mut host = Host::start(&github, None);
    host.initialize().await;
    let user = host.call("get_github_user_info", json!({}), &token).await;
    assert_eq!(
        user["result"]["structuredContent"]["login"], "octo-test",
        "{user}"
    );
    let private = json!({ "visibility": "private", "per_page": 5 });
    let listed = host.call("get_github_user_repos", private, &token).await;
    let listed = &listed["result"]["structuredContent"]["repositories"];
    assert_eq!(listed.as_array().map(Vec::len), Some(5), "{listed}");
}
