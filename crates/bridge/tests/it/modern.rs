//! Servers of 2026-07-28.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use doorward_bridge::settings::Settings;
use http::Method;
use serde_json::{Value, json};

use crate::host::{Host, eventually, initialize, modern};
use crate::legacy;
use crate::server::{Asked, Piece, Reply, Server, answer, events, message, result, status};

fn tools() -> Value {
    let region = |header: &str| json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": header}, "n": {"type": "integer"}}});
    json!({"resultType": "complete", "tools": [
        {"name": "plain", "inputSchema": {"type": "object", "$defs": {"a": {"$anchor": "x"}}}},
        {"name": "regional", "inputSchema": region("Region")},
        {"name": "broken", "inputSchema": region("not a token")}]})
}

fn usual(asked: &Asked) -> Reply {
    match (&asked.method, asked.rpc()) {
        (&Method::POST, "server/discover") => result(
            asked,
            &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {}}),
        ),
        (&Method::POST, "tools/list") => result(asked, &tools()),
        (&Method::POST, "tools/call") => result(asked, &json!({"resultType": "complete", "content": []})),
        (&Method::POST, _) => refusal(asked, 404, -32601),
        _ => status(405),
    }
}

fn refusal(asked: &Asked, status: u16, code: i64) -> Reply {
    let error = json!({"code": code, "message": "no", "data": {"supported": ["2027-01-01"]}});
    Reply {
        status,
        ..answer(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": error}))
    }
}

#[tokio::test]
async fn requests_are_mirrored_into_headers_and_invalid_tools_left_out() {
    let server = Server::start(usual).await;
    let mut host = Host::start(Settings::new(server.url()));
    host.call(&modern(1, "server/discover", json!({}))).await;
    let list = host.call(&modern(2, "tools/list", json!({}))).await;
    let mut expected = tools();
    expected["tools"].as_array_mut().unwrap().pop();
    assert_eq!(list["result"], expected);
    host.call(&modern(
        3,
        "tools/call",
        json!({"name": "regional", "arguments": {"region": " Zürich", "n": 1}}),
    ))
    .await;
    let unknown = host.call(&modern(4, "no/such", json!({}))).await;
    assert_eq!(unknown["error"]["code"], -32601);
    assert!(host.close().await.is_empty());

    let asked = server.asked();
    assert!(
        asked.iter().all(|asked| asked.method == Method::POST),
        "no stream, no session"
    );
    for asked in &asked {
        assert_eq!(asked.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(asked.header("mcp-method"), Some(asked.rpc()));
        assert_eq!(asked.header("mcp-session-id"), None);
    }
    let call = &server.of("tools/call")[0];
    assert_eq!(call.header("mcp-name"), Some("regional"));
    assert_eq!(call.header("mcp-param-region"), Some("=?base64?IFrDvHJpY2g=?="));
    assert_eq!(server.of("tools/list").len(), 1);
}

#[tokio::test]
async fn a_tool_that_is_called_before_it_was_listed_is_looked_up() {
    let server = Server::start(usual).await;
    let mut host = Host::start(Settings::new(server.url()));
    host.call(&modern(1, "server/discover", json!({}))).await;
    for id in 2..5 {
        host.send(&modern(
            id,
            "tools/call",
            json!({"name": "regional", "arguments": {"region": "eu"}, "_meta": {}}),
        ))
        .await;
    }
    for _ in 2..5 {
        assert!(host.message().await["result"].is_object());
    }
    let listed = server.of("tools/list");
    assert_eq!(listed.len(), 1, "once for all");
    assert_eq!(listed[0].header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(
        listed[0].body["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"],
        "host"
    );
    assert!(
        server
            .of("tools/call")
            .iter()
            .all(|call| call.header("mcp-param-region") == Some("eu"))
    );
}

#[tokio::test]
async fn a_header_mismatch_is_answered_by_a_look_at_the_schema() {
    let version = Arc::new(AtomicU32::new(0));
    let current = Arc::clone(&version);
    let server = Server::start(move |asked: &Asked| {
        let annotated = current.load(Ordering::SeqCst) > 0;
        match asked.rpc() {
            "tools/list" if !annotated => result(
                asked,
                &json!({"tools": [{"name": "regional", "inputSchema": {}}, {"name": "stubborn"}]}),
            ),
            "tools/call" if asked.body["params"]["name"] == "stubborn" => refusal(asked, 400, -32020),
            "tools/call" if annotated && asked.header("mcp-param-region").is_none() => {
                refusal(asked, 400, -32020)
            }
            _ => usual(asked),
        }
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.call(&modern(1, "tools/list", json!({}))).await;
    version.store(1, Ordering::SeqCst);
    let call = modern(
        2,
        "tools/call",
        json!({"name": "regional", "arguments": {"region": "eu"}}),
    );
    assert!(host.call(&call).await["result"].is_object());
    assert_eq!(server.of("tools/call").len(), 2);
    // And what another look does not help against is the host's to see.
    let told = host
        .call(&modern(3, "tools/call", json!({"name": "stubborn"})))
        .await;
    assert_eq!(told["error"]["code"], -32020);
    assert_eq!(server.of("tools/call").len(), 3);
}

#[tokio::test]
async fn a_version_that_the_server_does_not_speak_is_the_hosts_to_choose() {
    let server = Server::start(|asked: &Asked| match asked.header("mcp-protocol-version") {
        Some("2027-01-01") => usual(asked),
        _ => refusal(asked, 400, -32022),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    let told = host.call(&modern(1, "server/discover", json!({}))).await;
    assert_eq!(told["error"]["data"]["supported"], json!(["2027-01-01"]));
    let mut again = modern(2, "server/discover", json!({}));
    again["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2027-01-01".into();
    assert!(host.call(&again).await["result"].is_object());
    assert!(server.of("initialize").is_empty());
}

#[tokio::test]
async fn cancellation_closes_the_stream_and_sends_nothing() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "subscriptions/listen" => events(vec![
            message(&json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": asked.body["id"]}, "notifications": {}}})),
            Piece::Hang,
        ]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.call(&modern(1, "server/discover", json!({}))).await;
    let acknowledged = host
        .call(&modern(2, "subscriptions/listen", json!({"notifications": {}})))
        .await;
    assert_eq!(
        acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        2
    );
    // Others go on meanwhile.
    assert!(host.call(&modern(3, "tools/list", json!({}))).await["result"].is_object());
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}))
        .await;
    assert!(host.call(&modern(4, "tools/list", json!({}))).await["result"].is_object());
    assert!(server.of("notifications/cancelled").is_empty());
    assert!(host.close().await.is_empty());
}

#[tokio::test]
async fn a_subscription_that_breaks_off_is_told() {
    let server = Server::start(|asked: &Asked| match asked.rpc() {
        "subscriptions/listen" => events(vec![
            message(&json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged"})),
            Piece::Cut,
        ]),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    host.call(&modern(1, "server/discover", json!({}))).await;
    host.call(&modern(2, "subscriptions/listen", json!({"notifications": {}})))
        .await;
    let told = host.message().await;
    assert_eq!((&told["id"], &told["error"]["code"]), (&json!(2), &json!(502)));
}

#[tokio::test]
async fn a_modern_host_reaches_a_legacy_server() {
    let server = Server::start(|asked: &Asked| match (&asked.method, asked.header("mcp-protocol-version")) {
        (&Method::POST, Some("2026-07-28")) => {
            Reply { status: 400, ..answer(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "Bad Request: Unsupported protocol version"}})) }
        }
        _ => legacy::usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    let discovered = host.call(&modern(1, "server/discover", json!({}))).await;
    assert!(
        discovered["result"]["supportedVersions"].is_array(),
        "{discovered}"
    );
    let got = host
        .call(&modern(
            2,
            "tools/call",
            json!({"name": "get_note", "arguments": {}}),
        ))
        .await;
    assert_eq!(got["result"]["tool"], "get_note", "{got}");
    assert_eq!(server.of("initialize").len(), 1);
    assert_eq!(server.of("tools/call")[0].header("mcp-session-id"), Some("one"));
    host.close().await;
    eventually("the session is ended", || {
        server.asked().iter().any(|asked| asked.method == Method::DELETE)
    })
    .await;
}

#[tokio::test]
async fn a_legacy_host_reaches_a_modern_server() {
    let server = Server::start(|asked: &Asked| match asked.header("mcp-method") {
        None if asked.method == Method::POST => refusal(asked, 400, -32020),
        _ => usual(asked),
    })
    .await;
    let mut host = Host::start(Settings::new(server.url()));
    let opened = host.call(&initialize()).await;
    assert_eq!(opened["result"]["protocolVersion"], "2025-11-25", "{opened}");
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    let got = host
        .call(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "regional", "arguments": {"region": "eu"}}}))
        .await;
    assert!(got["result"]["content"].is_array(), "{got}");
    let call = &server.of("tools/call")[0];
    assert_eq!(call.header("mcp-param-region"), Some("eu"));
    assert_eq!(call.header("mcp-protocol-version"), Some("2026-07-28"));
}
