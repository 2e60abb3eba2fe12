use doorward_resource_server::{Principal, PrincipalFacts};
use doorward_types::id::{ClientId, FamilyId, Tenant, TokenId, UserId};
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;

const SESSION: &str = "mcp-session-id";

fn post(body: &Value) -> http::request::Builder {
    let method = body["method"].as_str().unwrap_or_default();
    let mut request = Request::post("/mcp")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header("mcp-method", method);
    if let Some(name) = body["params"]["name"].as_str() {
        request = request.header("mcp-name", name);
    }
    request
}

fn bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

/// The messages of a JSON or event-stream body.
async fn messages(response: Response<Body>) -> Vec<Value> {
    let stream = response.headers()[CONTENT_TYPE]
        .to_str()
        .unwrap()
        .starts_with("text/event-stream");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&body).unwrap();
    if !stream {
        return vec![serde_json::from_str(text).unwrap()];
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(str::trim)
        .filter(|data| !data.is_empty())
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn modern(method: &str, params: &Value) -> Value {
    let mut params = params.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn principal(number: u128, username: &str) -> Arc<Principal> {
    let id = uuid::Uuid::from_u128(number);
    Arc::new(Principal::for_test(PrincipalFacts {
        subject: UserId::from_uuid(id),
        username: username.to_owned(),
        groups: Vec::new(),
        client_id: ClientId::new("client-1"),
        scopes: "mcp".parse().unwrap(),
        client_scopes: None,
        authenticated: None,
        resource: ResourceUri::parse("https://mcp.example.com/mcp").unwrap(),
        family: Some(FamilyId::from_uuid(id)),
        revocation_sequence: 0,
        token_id: TokenId::from_uuid(id),
        issued: UnixTime::from_seconds(0),
        expires: UnixTime::from_seconds(600),
        tenant: Tenant::default_tenant(),
    }))
}

async fn ask(demo: &Demo, method: &str, params: Value) -> Value {
    ask_as(demo, None, method, params).await
}

async fn call_as(demo: &Demo, who: &Arc<Principal>, tool: &str, arguments: Value) -> Value {
    ask_as(
        demo,
        Some(who),
        "tools/call",
        json!({"name": tool, "arguments": arguments}),
    )
    .await
}

async fn ask_as(demo: &Demo, who: Option<&Arc<Principal>>, method: &str, params: Value) -> Value {
    let body = modern(method, &params);
    let mut request = post(&body)
        .header("mcp-protocol-version", "2026-07-28")
        .body(bytes(&body))
        .unwrap();
    if let Some(who) = who {
        request.extensions_mut().insert(Arc::clone(who));
    }
    let response = demo.call(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    messages(response).await.pop().unwrap()["result"].clone()
}

async fn call(demo: &Demo, tool: &str, arguments: Value) -> Value {
    ask(demo, "tools/call", json!({"name": tool, "arguments": arguments})).await
}

#[tokio::test]
async fn the_modern_revision_needs_no_session() {
    let demo = Demo::new();
    let discovered = ask(&demo, "server/discover", json!({})).await;
    assert!(
        discovered["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("2026-07-28"))
    );

    let tools = ask(&demo, "tools/list", json!({})).await;
    let mut names: Vec<&str> = tools["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "add_note",
            "delete_note",
            "echo",
            "list_notes",
            "read_note",
            "whoami"
        ]
    );

    // JSON Schema knows no Rust types, and clients warn about formats that they do not know.
    assert!(!tools.to_string().contains("uint64"), "{tools}");

    let answer = call(&demo, "echo", json!({"text": "hello"})).await;
    assert_eq!(answer["content"], json!([{"type": "text", "text": "hello"}]));
    assert_eq!(answer.get("structuredContent"), None);
}

#[tokio::test]
async fn nobody_is_known_whatever_the_headers_say() {
    let body = modern("tools/call", &json!({"name": "whoami", "arguments": {}}));
    let request = post(&body)
        .header("mcp-protocol-version", "2026-07-28")
        .header("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")
        .header("x-user", "alice")
        .body(bytes(&body))
        .unwrap();
    let answer = messages(Demo::new().call(request).await).await.pop().unwrap();
    assert_eq!(
        answer["result"]["structuredContent"],
        json!({"known": false, "scopes": []})
    );
}

#[tokio::test]
async fn users_are_told_who_they_are_and_see_their_own_notes() {
    let demo = Demo::new();
    let (alice, bob) = (principal(1, "alice"), principal(2, "bob"));
    let who = call_as(&demo, &alice, "whoami", json!({})).await;
    let expected = json!({"known": true, "username": "alice", "client_id": "client-1", "scopes": ["mcp"]});
    assert_eq!(who["structuredContent"], expected);
    assert_eq!(
        serde_json::from_str::<Value>(who["content"][0]["text"].as_str().unwrap()).unwrap(),
        expected
    );

    call_as(&demo, &alice, "add_note", json!({"text": "milk"})).await;
    assert_eq!(
        call_as(&demo, &bob, "list_notes", json!({})).await["structuredContent"],
        json!({"notes": []})
    );
    let stolen = call_as(&demo, &bob, "read_note", json!({"id": 1})).await;
    assert_eq!(
        stolen["content"][0]["text"],
        "You have no note 1. list_notes shows the ones you have."
    );
    let own = call_as(&demo, &alice, "read_note", json!({"id": 1})).await;
    assert_eq!(own["structuredContent"], json!({"id": 1, "text": "milk"}));
}

#[tokio::test]
async fn notes_come_and_go() {
    let demo = Demo::new();
    let added = call(&demo, "add_note", json!({"text": "milk"})).await["structuredContent"].clone();
    assert_eq!(added["text"], "milk");
    let listed = call(&demo, "list_notes", json!({})).await;
    assert_eq!(listed["structuredContent"], json!({"notes": [added]}));
    let deleted = call(&demo, "delete_note", json!({"id": added["id"]})).await;
    assert_eq!(deleted["isError"], json!(false));
    let gone = call(&demo, "read_note", json!({"id": added["id"]})).await;
    assert_eq!(gone["isError"], json!(true));
    assert_eq!(
        gone["content"][0]["text"],
        "You have no note 1. list_notes shows the ones you have."
    );
}

#[tokio::test]
async fn a_legacy_client_gets_a_session_and_may_end_it() {
    let demo = Demo::new();
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let response = demo.call(post(&body).body(bytes(&body)).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let session = response.headers()[SESSION].clone();
    let answer = messages(response).await.pop().unwrap();
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(answer["result"]["serverInfo"]["name"], "doorward-demo");

    let in_session = |body: &Value| {
        post(body)
            .header(SESSION, &session)
            .header("mcp-protocol-version", "2025-11-25")
            .body(bytes(body))
            .unwrap()
    };
    let body = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(demo.call(in_session(&body)).await.status(), StatusCode::ACCEPTED);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "hi"}}});
    let answer = messages(demo.call(in_session(&body)).await).await.pop().unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "hi");

    let mut end = in_session(&json!({})).map(|_| Bytes::new());
    *end.method_mut() = Method::DELETE;
    assert!(demo.call(end).await.status().is_success());
    assert_eq!(demo.call(in_session(&body)).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn standing_alone_it_serves_loopback_hosts_and_no_web_page() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener));
    let body = modern(
        "tools/call",
        &json!({"name": "echo", "arguments": {"text": "hi"}}),
    );
    let own = address.to_string();
    let cases = [
        (own.as_str(), None, 200),
        (own.as_str(), Some("https://evil.test"), 403),
        ("evil.test", None, 403),
    ];
    for (host, origin, status) in cases {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut request = post(&body)
            .header("mcp-protocol-version", "2026-07-28")
            .header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let response = sender
            .send_request(request.body(Full::new(bytes(&body))).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status, "Host {host}, Origin {origin:?}");
    }
    server.abort();
}
