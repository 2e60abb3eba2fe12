//! Servers of 2024-11-05: HTTP+SSE.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward_bridge::settings::{Settings, Transport};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::host::{Host, call, initialize};
use crate::server::{Asked, Piece, Reply, Server, data, events, message, status};

/// A server whose answers come on its stream. As a script cannot push, the stream is asked for once per answer: what is to
/// come is put into it when it is opened, in the order of a test that knows its requests.
fn script(answers: Vec<Value>, post: u16) -> impl Fn(&Asked) -> Reply + Send + Sync {
    let streams = Arc::new(Mutex::new(0_u32));
    move |asked: &Asked| match (&asked.method, &*asked.path) {
        (&Method::GET, "/mcp") => {
            let mut streams = streams.lock().unwrap();
            *streams += 1;
            let mut pieces = vec![data(format!(
                "event: endpoint\ndata: /messages?stream={}\n\n",
                *streams
            ))];
            for answer in &answers {
                pieces.push(Piece::Wait(Duration::from_millis(150)));
                pieces.push(message(answer));
            }
            pieces.push(Piece::Hang);
            events(pieces)
        }
        (&Method::POST, "/mcp") => status(post),
        (&Method::POST, path) if path.starts_with("/messages?stream=") => status(202),
        _ => status(404),
    }
}

fn opened() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {"name": "old", "version": "1"}}})
}

#[tokio::test]
async fn http_with_sse_is_the_last_resort() {
    for post in [400, 404, 405] {
        let answers = vec![
            opened(),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"ok": true}}),
        ];
        let server = Server::start(script(answers, post)).await;
        let mut host = Host::start(Settings::new(server.url()));
        assert_eq!(host.open().await["result"]["serverInfo"]["name"], "old");
        assert_eq!(host.call(&call(1, "x")).await["result"]["ok"], true);
        let sent: Vec<_> = server
            .asked()
            .into_iter()
            .filter(|asked| asked.path.starts_with("/messages"))
            .collect();
        let methods: Vec<_> = sent.iter().map(Asked::rpc).collect();
        assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call"]);
        assert!(host.close().await.is_empty());
    }
}

#[tokio::test]
async fn a_transport_can_be_pinned() {
    let server = Server::start(script(vec![opened()], 404)).await;
    let mut settings = Settings::new(server.url());
    settings.transport = Transport::Streamable;
    let mut host = Host::start(settings.clone());
    assert_eq!(host.call(&initialize()).await["error"]["code"], 404);
    assert!(server.asked().iter().all(|asked| asked.method == Method::POST));
    settings.transport = Transport::Sse;
    let before = server.asked().len();
    let mut host = Host::start(settings);
    assert!(host.call(&initialize()).await["result"].is_object());
    assert_eq!(server.asked()[before].method, Method::GET);
}

#[tokio::test]
async fn a_url_that_is_no_endpoint_is_told_as_one() {
    let server = Server::start(|_: &Asked| status(404)).await;
    let mut host = Host::start(Settings::new(server.url()));
    for _ in 0..2 {
        let told = host.call(&initialize()).await;
        assert_eq!(told["error"]["code"], 404);
        assert!(
            told["error"]["message"]
                .as_str()
                .unwrap()
                .contains("MCP endpoint"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn cl_09_messages_are_not_sent_to_an_endpoint_elsewhere() {
    let foreign = Server::start(|_: &Asked| status(202)).await;
    let target = format!("http://{}/messages", foreign.address);
    let server = Server::start(move |asked: &Asked| match asked.method {
        Method::GET => events(vec![
            data(format!("event: endpoint\ndata: {target}\n\n")),
            Piece::Hang,
        ]),
        _ => status(405),
    })
    .await;
    let mut settings = Settings::new(server.url());
    settings.transport = Transport::Sse;
    settings
        .headers
        .insert("authorization", "Bearer secret".parse().unwrap());
    let mut host = Host::start(settings);
    let told = host.call(&initialize()).await;
    assert!(
        told["error"]["message"].as_str().unwrap().contains("not its own"),
        "{told}"
    );
    assert!(foreign.asked().is_empty());
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_again_with_a_new_session() {
    let (cut, mut told) = mpsc::unbounded_channel::<()>();
    let server = Server::start({
        let inner = script(
            vec![
                opened(),
                json!({"jsonrpc": "2.0", "id": 2, "result": {"again": true}}),
            ],
            404,
        );
        move |asked: &Asked| {
            let first = asked.path == "/mcp" && asked.method == Method::GET && cut.send(()).is_ok() && {
                static FIRST: std::sync::Once = std::sync::Once::new();
                let mut is_first = false;
                FIRST.call_once(|| is_first = true);
                is_first
            };
            if first {
                return events(vec![
                    data("event: endpoint\ndata: /messages?stream=0\n\n"),
                    Piece::Wait(Duration::from_millis(150)),
                    message(&opened()),
                    Piece::Wait(Duration::from_millis(300)),
                    Piece::Cut,
                ]);
            }
            inner(asked)
        }
    })
    .await;
    let mut settings = Settings::new(server.url());
    settings.transport = Transport::Sse;
    let mut host = Host::start(settings);
    host.open().await;
    let lost = host.call(&call(1, "lost")).await;
    assert_eq!(
        (&lost["id"], &lost["error"]["code"]),
        (&json!(1), &json!(502)),
        "{lost}"
    );
    assert_eq!(host.call(&call(2, "again")).await["result"]["again"], true);
    assert_eq!(server.of("initialize").len(), 2);
    assert!(told.recv().await.is_some());
}
