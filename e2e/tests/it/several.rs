//! Several servers behind one Doorward, each a resource of its own; one of them may ask nobody who they are.

use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::{Answer, Part, Upstream, event};
use doorward_testkit::{Doorward, PASSWORD, marker, mcp};
use serde_json::json;

const SCRIPT: &str = env!("CARGO_BIN_EXE_scripted-stdio");
const METADATA: &str = "/.well-known/oauth-protected-resource";

fn three(upstream: &Upstream, more: &str) -> String {
    let server =
        |name: &str, rest: &str| format!("[[servers]]\nname = \"{name}\"\npath = \"/{name}/mcp\"\n{rest}\n");
    let http = format!(
        "upstream = \"{}\"\nforward_headers = [\"X-Tenant\"]\n{more}",
        upstream.url()
    );
    let stdio = format!("command = [{SCRIPT:?}, \"modern\"]");
    format!(
        "{}{}{}",
        server("web", &http),
        server("demo", "demo = true"),
        server("pipe", &stdio)
    )
}

async fn token(doorward: &Doorward, path: &str) -> String {
    let client = OAuthClient::register(doorward, "N1", "http://127.0.0.1/cb").await;
    client.login("alice", PASSWORD, &doorward.url(path)).await.access
}

/// A call that each of the three kinds answers.
fn call(doorward: &Doorward, path: &str) -> doorward_testkit::http::Request {
    let tool = if path == "/demo/mcp" { "whoami" } else { "t_read" };
    mcp::call(doorward, path, tool, &json!({ "marker": "m" }))
}

#[tokio::test]
async fn rs_04_three_servers_of_three_kinds_take_their_own_tokens_only() {
    let up = Upstream::start();
    let doorward = Doorward::builder()
        .config(&three(&up, ""))
        .user("alice", PASSWORD)
        .start()
        .await;
    let paths = ["/web/mcp", "/demo/mcp", "/pipe/mcp"];
    let mut tokens = Vec::new();
    for path in paths {
        let metadata = doorward.get(&format!("{METADATA}{path}")).send().await;
        assert_eq!(metadata.json()["resource"], doorward.url(path), "{path}");
        tokens.push(token(&doorward, path).await);
    }
    assert_eq!(
        doorward.get(METADATA).send().await.status,
        404,
        "it would be nobody's in particular"
    );
    for (own, token) in tokens.iter().enumerate() {
        for (other, path) in paths.iter().enumerate() {
            let reply = call(&doorward, path).bearer(token).send().await;
            let expected = if own == other { 200 } else { 401 };
            assert_eq!(reply.status, expected, "token {own} at {path}: {}", reply.text());
        }
    }
    let named = call(&doorward, "/web/mcp")
        .header("X-Tenant", "blue")
        .header("X-Other", "no");
    assert_eq!(named.bearer(&tokens[0]).send().await.status, 200);
    let seen = up.requests().pop().unwrap();
    assert_eq!(seen.values("X-Tenant"), ["blue"]);
    assert!(seen.values("X-Other").is_empty() && seen.values("Authorization").is_empty());
}

#[tokio::test]
async fn an_anonymous_server_asks_nobody_and_its_neighbours_everybody() {
    let up = Upstream::start();
    let more = "allow_insecure_anonymous = true\n";
    let doorward = Doorward::builder()
        .config(&three(&up, more))
        .user("alice", PASSWORD)
        .start()
        .await;
    for said in [doorward.stdout(), doorward.stderr()] {
        assert!(
            said.contains("allow_insecure_anonymous: server `web` answers everybody"),
            "{said}"
        );
    }
    let reply = call(&doorward, "/web/mcp").send().await;
    assert_eq!(mcp::text_of(&reply), "t_read ok");
    assert_eq!(
        doorward.get(&format!("{METADATA}/web/mcp")).send().await.status,
        200
    );
    for path in ["/demo/mcp", "/pipe/mcp"] {
        let reply = call(&doorward, path).send().await;
        assert_eq!(reply.status, 401, "{path}");
        assert!(reply.header("WWW-Authenticate").unwrap().starts_with("Bearer "));
    }
    // A credential is judged as anywhere.
    let before = up.requests().len();
    for credential in ["Bearer nonsense", "Bearer ", "Basic YTpi", "DPoP x", "nonsense"] {
        let reply = call(&doorward, "/web/mcp")
            .header("Authorization", credential)
            .send()
            .await;
        assert!(
            matches!(reply.status, 400 | 401),
            "{credential}: {}",
            reply.status
        );
    }
    let (web, demo) = (
        token(&doorward, "/web/mcp").await,
        token(&doorward, "/demo/mcp").await,
    );
    assert_eq!(call(&doorward, "/web/mcp").bearer(&demo).send().await.status, 401);
    assert_eq!(up.requests().len(), before, "none of it reached the upstream");
    assert_eq!(call(&doorward, "/web/mcp").bearer(&web).send().await.status, 200);
    assert_eq!(call(&doorward, "/demo/mcp").bearer(&web).send().await.status, 401);
    // A browser's page of another origin, and another host, stay out.
    let foreign = call(&doorward, "/web/mcp")
        .header("Origin", "https://evil.test")
        .send()
        .await;
    assert_eq!(foreign.status, 403);

    // When it is anonymous no more, open streams of nobody end.
    let open = marker();
    up.script_for(&open, |_| {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message" });
        Answer::events(vec![event(None, &note), Part::Hang])
    });
    let open = mcp::call(&doorward, "/web/mcp", "t_read", &json!({ "marker": open }));
    let mut stream = open.stream().await;
    assert!(stream.event().await.is_some());
    std::fs::write(doorward.config_file(), three(&up, "")).unwrap();
    doorward.hang_up();
    assert!(stream.event().await.is_none());
    assert_eq!(call(&doorward, "/web/mcp").send().await.status, 401);
}
