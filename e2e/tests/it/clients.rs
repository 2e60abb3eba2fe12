//! Real clients, headless: each registers, logs in, lists and calls tools; a second start needs nobody; an
//! expired token is replaced as that client does it. What each sends is in `docs/clients.md`, and these
//! tests hold that page to it.

mod client;
mod documents;
mod limited;
mod page;
mod servers;
mod services;
mod step_up;
mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, mcp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use client::{Client, Kind};
use page::{Table, measured};
use servers::RealServer;
use wire::{Request, Wire};

const TOOLS: [&str; 6] = [
    "add_note",
    "delete_note",
    "echo",
    "list_notes",
    "read_note",
    "whoami",
];

/// Access tokens live for ten minutes.
const EXPIRY: Duration = Duration::from_secs(12 * 60);

/// Doorward with a movable clock, and the wire that its clients use.
struct World {
    server: Doorward,
    wire: Wire,
    /// Whether the server behind is told who calls.
    is_told: bool,
    /// Kept for as long as Doorward needs it.
    _upstream: Option<Upstream>,
}

impl World {
    /// `--demo`, as a person reaches it: by the name localhost.
    async fn demo() -> Self {
        Self::start(Doorward::builder().demo(), None).await
    }

    /// In front of an MCP server made with rmcp.
    async fn upstream() -> Self {
        let upstream = Upstream::start().await;
        Self::start(Doorward::builder().upstream(&upstream.url), Some(upstream)).await
    }

    async fn start(builder: doorward_testkit::server::Builder, upstream: Option<Upstream>) -> Self {
        let wire = Wire::bind().await;
        let builder = builder.public_url(&wire.public_url()).user("alice", PASSWORD);
        let server = builder.faketime().start().await;
        wire.connect(server.address);
        Self {
            server,
            wire,
            is_told: upstream.is_none(),
            _upstream: upstream,
        }
    }

    fn url(&self) -> String {
        self.server.url("/mcp")
    }

    /// What every client sees, whichever it is.
    fn check(&self, client: &Client, seen: &Value, client_id: &str) {
        assert_eq!(seen["tools"], json!(TOOLS));
        let whoami = if self.is_told {
            json!({ "known": true, "username": "alice", "client_id": client_id, "scopes": ["mcp"] })
        } else {
            json!({ "known": false, "scopes": [] })
        };
        assert_eq!(seen["answers"][0]["structuredContent"], whoami);
        let echo = json!([{ "type": "text", "text": "through the door" }]);
        assert_eq!(seen["answers"][1]["content"], echo);
        if let Some(protocol) = seen["protocol"].as_str() {
            assert_eq!(protocol, revision(client.kind, true));
        }
    }

    /// Lets [`EXPIRY`] pass. A server whose clock jumped refuses calls until it has heard of revocations
    /// again; another user of the same server sees when that is over.
    async fn expire(&self) {
        self.server.advance(EXPIRY);
        let fresh = OAuthClient::native(self.server.site())
            .await
            .login("alice", PASSWORD, &self.url())
            .await;
        let hello = json!({ "text": "hello" });
        let call = || mcp::call(self.server.site(), "/mcp", "echo", &hello).bearer(&fresh.access);
        doorward_testkit::eventually("calls are answered again", Duration::from_secs(60), || async {
            (call().send().await.status == 200).then_some(())
        })
        .await;
    }
}

/// An MCP server made with rmcp, in front of which Doorward is put with `--upstream`.
struct Upstream {
    task: tokio::task::JoinHandle<()>,
    url: String,
}

impl Upstream {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("it is bound"));
        let task = tokio::spawn(async move {
            doorward_demo::serve(listener).await.expect("the listener lives");
        });
        Self { task, url }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn calls() -> Value {
    json!([["whoami", {}], ["echo", { "text": "through the door" }]])
}

/// What a client speaks with a server that has the modern revision, or has not.
const fn revision(kind: Kind, server_is_modern: bool) -> &'static str {
    if server_is_modern && kind.is_modern() {
        "2026-07-28"
    } else {
        "2025-11-25"
    }
}

/// What went to the authorization server, in order.
fn exchanges(requests: &[Request]) -> Vec<String> {
    let named = requests.iter().filter_map(|request| match request.path() {
        "/register" => Some("registration".to_owned()),
        // FastMCP looks at the page before it opens the browser there.
        "/authorize" if request.header("sec-fetch-mode").is_none() => Some("look".to_owned()),
        "/authorize" => Some("login".to_owned()),
        "/token" => request.field("grant_type"),
        _ => None,
    });
    named.collect()
}

/// The whole life of an installation.
async fn lives(kind: Kind, world: World) {
    let mut client = Client::new(kind);
    let (url, calls) = (world.url(), calls());
    let begin: &[&str] = if kind == Kind::FastMcp {
        &["registration", "look", "login", "authorization_code"]
    } else {
        &["registration", "login", "authorization_code"]
    };
    let mut life = Vec::new();
    let (seen, mut all) = if kind.forgets_expiry() {
        let seen = client.start_and_stay(&url, &calls, EXPIRY, world.expire()).await;
        let requests = world.wire.take();
        life.push(exchanges(&requests));
        assert_eq!(life[0], [begin, &["refresh_token"]].concat());
        (seen, requests)
    } else {
        let seen = client.start(&url, true, &calls).await;
        let requests = world.wire.take();
        life.push(exchanges(&requests));
        assert_eq!(life[0], begin, "the first start registers and logs in");
        (seen, requests)
    };
    let sent = Sent::of(kind, &all, &url);
    world.check(&client, &seen, &sent.client_id);

    let nothing: [&str; 0] = [];
    let seen = client.start(&url, false, &calls).await;
    world.check(&client, &seen, &sent.client_id);
    life.push(exchanges(&world.wire.take()));
    assert_eq!(life[1], nothing, "the second start has its tokens");

    world.expire().await;
    client.clock = EXPIRY;
    let seen = client.start(&url, kind.forgets_expiry(), &calls).await;
    world.check(&client, &seen, &sent.client_id);
    let requests = world.wire.take();
    life.push(exchanges(&requests));
    all.extend(requests);
    let replaced: &[&str] = if kind.forgets_expiry() {
        &["login", "authorization_code"]
    } else {
        &["refresh_token"]
    };
    assert_eq!(life[2], replaced, "after expiry");

    let seen = client.start(&url, false, &calls).await;
    world.check(&client, &seen, &sent.client_id);
    assert_eq!(exchanges(&world.wire.take()), nothing, "the new tokens were kept");
    sent.assert_documented(kind);
    assert_names_documented(kind, &all);
    assert_life_documented(kind, &life);
}

/// What a client says of itself and asks for.
struct Sent {
    client_id: String,
    revisions: String,
    redirect: String,
    scope: String,
    application_type: String,
    grants: String,
}

impl Sent {
    fn of(kind: Kind, requests: &[Request], url: &str) -> Self {
        let at = |path: &str| requests.iter().find(|request| request.path() == path);
        let registration = at("/register").expect("it registered").json();
        assert_eq!(registration["token_endpoint_auth_method"], "none");
        let login = at("/authorize").expect("it logged in");
        assert_eq!(login.query("resource").as_deref(), Some(url), "RFC 8707 §2");
        assert_eq!(login.query("code_challenge_method").as_deref(), Some("S256"));
        for token in requests.iter().filter(|request| request.path() == "/token") {
            assert_eq!(token.field("resource").as_deref(), Some(url), "RFC 8707 §2.2");
        }
        let calls = requests
            .iter()
            .filter(|request| request.method == "POST" && request.path() == "/mcp");
        let revisions: BTreeSet<&str> = calls
            .filter_map(|call| call.header("mcp-protocol-version"))
            .collect();
        let revisions: Vec<&str> = revisions.into_iter().collect();
        assert_eq!(revisions, [revision(kind, true)]);
        let grants = registration["grant_types"].as_array();
        let grants = grants.into_iter().flatten().filter_map(Value::as_str);
        Self {
            client_id: login.query("client_id").expect("a client"),
            revisions: revisions.join(", "),
            redirect: without_port(&login.query("redirect_uri").expect("a redirect URI")),
            scope: code(login.query("scope").as_deref()),
            application_type: code(registration["application_type"].as_str()),
            grants: listed(grants),
        }
    }

    fn assert_documented(&self, kind: Kind) {
        let package = format!("`{}` {}", kind.package(), kind.version());
        let redirect = format!("`{}`", self.redirect);
        let cells = [
            kind.name(),
            &package,
            &self.revisions,
            &redirect,
            &self.scope,
            &self.application_type,
            &self.grants,
        ];
        measured(Table::Sends, &cells);
    }
}

/// A value as the page shows it.
fn code(value: Option<&str>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("`{value}`"))
}

fn listed<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| format!("`{value}`")).collect();
    if values.is_empty() {
        "none".to_owned()
    } else {
        values.join(" ")
    }
}

/// The names of everything that a client sent in these requests.
fn assert_names_documented(kind: Kind, requests: &[Request]) {
    let at = |path: &'static str| requests.iter().filter(move |request| request.path() == path);
    let registration = at("/register").next().expect("it registered").json();
    // JSON maps may keep the order of what they were read from.
    let members: BTreeSet<&String> = registration.as_object().expect("an object").keys().collect();
    let logins = at("/authorize").filter(|request| request.header("sec-fetch-mode").is_some());
    let login = logins.map(Request::query_names).next().expect("it logged in");
    let tokens = |grant: &str| {
        let mut of_grant =
            at("/token").filter(|request| request.field("grant_type").as_deref() == Some(grant));
        of_grant
            .next()
            .map(Request::field_names)
            .expect("it asked for tokens")
    };
    let calls =
        at("/mcp").filter(|request| request.method == "POST" && request.json()["method"] == "tools/call");
    let headers: BTreeSet<String> = calls.flat_map(|call| call.headers_with("mcp-")).collect();
    let cells = [
        kind.name().to_owned(),
        listed(members.into_iter().map(String::as_str)),
        listed(login.iter().map(String::as_str)),
        listed(tokens("authorization_code").iter().map(String::as_str)),
        listed(tokens("refresh_token").iter().map(String::as_str)),
        listed(headers.iter().map(String::as_str)),
    ];
    measured(Table::Names, &cells.each_ref().map(String::as_str));
}

/// What it asked the authorization server at its first start, its second one, and one after its token expired.
fn assert_life_documented(kind: Kind, life: &[Vec<String>]) {
    let steps: Vec<String> = life
        .iter()
        .map(|step| {
            if step.is_empty() {
                "nothing".to_owned()
            } else {
                step.join(", ")
                    .replace("authorization_code", "code")
                    .replace("refresh_token", "refresh")
            }
        })
        .collect();
    measured(Table::Lives, &[kind.name(), &steps[0], &steps[1], &steps[2]]);
}

fn without_port(uri: &str) -> String {
    let parsed = url::Url::parse(uri).expect("a URL");
    let port = format!(":{}", parsed.port().expect("a loopback port"));
    uri.replacen(&port, ":PORT", 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v1_lives_with_the_demo_server() {
    lives(Kind::TypeScriptV1, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_lives_with_the_demo_server() {
    lives(Kind::TypeScriptV2, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_finds_the_modern_revision_of_the_demo_server() {
    lives(Kind::TypeScriptV2Auto, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_v1_lives_with_the_demo_server() {
    lives(Kind::PythonV1, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_v2_finds_the_modern_revision_of_the_demo_server() {
    lives(Kind::PythonV2, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fastmcp_lives_with_the_demo_server() {
    lives(Kind::FastMcp, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_remote_lives_with_the_demo_server() {
    lives(Kind::McpRemote, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inspector_lives_with_the_demo_server() {
    lives(Kind::Inspector, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inspector_finds_the_modern_revision_of_the_demo_server() {
    lives(Kind::InspectorAuto, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_lives_with_the_demo_server() {
    lives(Kind::Rmcp, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_discovers_the_modern_revision_of_the_demo_server() {
    lives(Kind::RmcpDiscover, World::demo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v1_lives_with_an_upstream() {
    lives(Kind::TypeScriptV1, World::upstream().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_lives_with_an_upstream() {
    lives(Kind::TypeScriptV2, World::upstream().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_finds_the_modern_revision_of_an_upstream() {
    lives(Kind::TypeScriptV2Auto, World::upstream().await).await;
}

/// A client in front of real servers, one after the other: what it sees is what the server answers without
/// Doorward, the first start logs in and the second has its tokens.
async fn reaches(kind: Kind, servers: impl IntoIterator<Item = RealServer>) {
    let client = Client::new(kind);
    for server in servers {
        server.assert_documented();
        let running = server.running().await;
        let url = running.doorward.url("/mcp");
        let (mut calls, mut direct) = (running.calls.clone(), running.direct.clone());
        direct["protocol"] = json!(revision(kind, server.is_modern()));
        if kind.is_inspector() {
            // It starts anew for each call, and all but the first have its stored tokens.
            for list in [&mut calls, &mut direct["answers"]] {
                list.as_array_mut().expect("a list").truncate(1);
            }
            direct.as_object_mut().expect("an object").remove("protocol");
        }
        let starts: &[bool] = if kind.is_inspector() {
            &[true]
        } else {
            &[true, false]
        };
        for &may_log_in in starts {
            let mut seen = client.start(&url, may_log_in, &calls).await;
            seen["tools"] = for_everybody(&seen["tools"]);
            assert_eq!(seen, direct, "{kind:?} {server:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v1_reaches_real_servers() {
    reaches(Kind::TypeScriptV1, RealServer::COMMON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_reaches_every_real_server() {
    reaches(Kind::TypeScriptV2, RealServer::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_v2_negotiates_with_every_real_server() {
    reaches(Kind::TypeScriptV2Auto, RealServer::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_v1_reaches_real_servers() {
    reaches(Kind::PythonV1, RealServer::COMMON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_v2_negotiates_with_every_real_server() {
    reaches(Kind::PythonV2, RealServer::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fastmcp_negotiates_with_real_servers() {
    reaches(Kind::FastMcp, RealServer::COMMON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_remote_reaches_real_servers() {
    reaches(Kind::McpRemote, RealServer::COMMON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inspector_reaches_real_servers() {
    reaches(Kind::Inspector, RealServer::COMMON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inspector_negotiates_with_real_servers() {
    reaches(Kind::InspectorAuto, RealServer::COMMON).await;
}

/// server-everything offers this only to clients that declare roots, as the Inspector does.
fn for_everybody(tools: &Value) -> Value {
    let all = tools.as_array().expect("a list").iter();
    all.filter(|&name| name != "get-roots-list").cloned().collect()
}

/// Some libraries send head and body apart, and use the connection again as soon as they have their answer.
#[tokio::test]
async fn a_refusal_that_comes_before_the_body_keeps_the_connection() {
    let server = Doorward::builder().demo().start().await;
    let host = server.address;
    for length in [1, 100, 300_000] {
        let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        assert!(answer(&mut socket).await.starts_with("HTTP/1.1 401 "));
        socket.write_all(&vec![b'x'; length]).await.unwrap();
        let next = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(next.as_bytes()).await.unwrap();
        let next = answer(&mut socket).await;
        assert!(
            next.starts_with("HTTP/1.1 200 "),
            "after {length} bytes: {next:?}"
        );
    }
}

/// The head of an answer that has no body to speak of, or nothing if the connection was closed.
async fn answer(socket: &mut tokio::net::TcpStream) -> String {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    let reading = async {
        while let Ok(read @ 1..) = socket.read(&mut chunk).await {
            received.extend_from_slice(&chunk[..read]);
            if received.windows(4).any(|window| window == b"\r\n\r\n") {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
    ended.expect("an answer or the end in time");
    String::from_utf8(received).expect("a head of ASCII")
}

/// VT-12, with a server that people use: what it may read is no matter of its own arguments.
#[tokio::test(flavor = "multi_thread")]
async fn vt_12_a_file_server_cannot_read_the_data_folder() {
    let command = servers::npx(&["@modelcontextprotocol/server-filesystem", "files", "../data"]);
    let doorward = servers::serve(Doorward::builder(), &command).await;
    std::fs::write(doorward.work.join("files/note.txt"), "hello").unwrap();
    let data = doorward.data.display().to_string();
    let names = std::fs::read_dir(&doorward.data).unwrap();
    let secrets = names
        .map(|entry| entry.unwrap().path())
        // A journal is there while a database is made, and gone when the child looks for it.
        .filter(|path| path.is_file() && !path.to_string_lossy().ends_with("-journal"));
    let mut calls = vec![
        json!(["read_text_file", { "path": "note.txt" }]),
        json!(["list_directory", { "path": data }]),
        json!(["write_file", { "path": format!("{data}/new"), "content": "x" }]),
    ];
    let before = calls.len();
    calls.extend(secrets.map(|path| json!(["read_text_file", { "path": path }])));
    assert!(calls.len() > before, "the data folder has files");
    let calls = Value::from(calls);

    let client = Client::new(Kind::TypeScriptV1);
    let seen = client.start(&doorward.url("/mcp"), true, &calls).await;
    let answers = seen["answers"].as_array().expect("answers");
    let text = |answer: &Value| answer["content"][0]["text"].as_str().expect("text").to_owned();
    assert_eq!(text(&answers[0]), "hello");
    let is_refused = |text: &str| {
        ["EACCES", "ENOENT", "EROFS"]
            .iter()
            .any(|code| text.contains(code))
    };
    // The list may name the way to the child's own folder, and nothing else.
    let list = text(&answers[1]);
    assert!(is_refused(&list) || list == "[DIR] homes", "{list}");
    for (answer, call) in answers.iter().zip(calls.as_array().unwrap()).skip(2) {
        let text = text(answer);
        assert!(is_refused(&text), "{call}: {text}");
    }
    assert!(!doorward.data.join("new").exists());

    // The same server where nothing keeps it away: so it was Doorward that did.
    let seen = client::directly(&doorward.work, &command, &calls).await;
    for (answer, call) in seen["answers"]
        .as_array()
        .unwrap()
        .iter()
        .zip(calls.as_array().unwrap())
    {
        let text = text(answer);
        assert!(!is_refused(&text), "{call}: {text}");
    }
}
