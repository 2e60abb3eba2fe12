//! `doorward connect` as a process: between a scripted host on its stdin and stdout, and servers of both eras, hostile
//! ones, and ones that go away.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use doorward_testkit::client_home::{ClientHome, PATIENCE, Running};
use doorward_testkit::eventually;
use doorward_testkit::everything::serve;
use serde_json::{Value, json};

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "host", "version": "1" } } })
}

fn call(id: u32, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

fn modern(id: u32, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "host", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {} });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

async fn open(bridge: &Running) {
    let answer = bridge.ask(&initialize()).await;
    assert_eq!(
        answer["result"]["protocolVersion"],
        "2025-11-25",
        "{answer}\n{}",
        bridge.stderr()
    );
    bridge.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
}

/// A server that sends what `answer` makes of each request, byte for byte, and closes.
fn raw_server(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                request.extend_from_slice(&piece[..count]);
                let text = String::from_utf8_lossy(&request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .to_ascii_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    answer(body, &mut stream);
                    break;
                }
            }
        }
    });
    url
}

fn respond(stream: &mut TcpStream, content: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The bridge may have seen enough.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}

#[tokio::test]
async fn hosts_of_both_eras_reach_a_server_of_both() {
    let server = serve::start();
    let home = ClientHome::new();
    let bridge = home.start_connect(&server.url(), &[]);
    open(&bridge).await;
    for id in 1..=10 {
        bridge.send(&call(id, "test_simple_text"));
    }
    for id in 1..=10 {
        let answer = bridge.answer(&json!(id)).await;
        assert!(answer["result"]["content"][0]["text"].is_string(), "{answer}");
    }
    bridge.close_stdin();
    assert_eq!(bridge.ended().await.code, 0);

    let bridge = home.start_connect(&server.url(), &[]);
    let found = bridge.ask(&modern(1, "server/discover", json!({}))).await;
    assert!(
        found["result"]["supportedVersions"]
            .as_array()
            .is_some_and(|versions| versions.contains(&json!("2026-07-28"))),
        "{found}"
    );
    let answer = bridge
        .ask(&modern(
            2,
            "tools/call",
            json!({ "name": "test_simple_text", "arguments": {} }),
        ))
        .await;
    assert!(answer["result"]["content"][0]["text"].is_string(), "{answer}");
    bridge.signal("TERM");
    assert_eq!(bridge.ended().await.code, 0);
}

#[tokio::test]
async fn cl_15_stdout_is_one_message_per_line_whatever_the_server_sends() {
    let url = raw_server(|body, stream| {
        let request: Value = serde_json::from_str(body).unwrap_or_default();
        let id = &request["id"];
        match request["params"]["name"].as_str() {
            Some("newlines") => {
                let text = format!(
                    "{{\n\"jsonrpc\": \"2.0\",\r\n\"id\": {id},\n\"result\": {{\"t\": \"\u{2028}\"}}\n}}\n"
                );
                respond(stream, "application/json", text.as_bytes());
            }
            Some("utf8") => respond(
                stream,
                "application/json",
                b"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"t\":\"\xff\xfe\"}}",
            ),
            Some("ansi") => respond(stream, "application/json", b"\x1b[2J\x1b]0;title\x07"),
            Some("cut") => respond(
                stream,
                "text/event-stream",
                b"data: {\"jsonrpc\":\"2.0\",\"id\":4,\"res",
            ),
            Some("huge") => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":5,\"result\":\"");
                let piece = vec![b'x'; 1 << 20];
                for _ in 0..100 {
                    if stream.write_all(&piece).is_err() {
                        break;
                    }
                }
            }
            _ if request["method"] == "initialize" => {
                let result = json!({ "jsonrpc": "2.0", "id": id, "result": { "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": { "name": "raw", "version": "1" } } });
                respond(stream, "application/json", result.to_string().as_bytes());
            }
            _ => {
                let _ = stream.write_all(
                    b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
            }
        }
    });
    let home = ClientHome::new();
    let bridge = home.start_connect(&url, &[]);
    open(&bridge).await;
    assert!(bridge.ask(&call(1, "newlines")).await["result"].is_object());
    for (id, tool) in [(2, "utf8"), (3, "ansi"), (4, "cut"), (5, "huge")] {
        let told = bridge.ask(&call(id, tool)).await;
        assert_eq!(told["error"]["code"], 502, "{tool}: {told}");
    }
    bridge.close_stdin();
    let finished = bridge.ended().await;
    assert_eq!(finished.code, 0);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", finished.stdout);
    for line in lines {
        let message: Value = serde_json::from_str(line).expect("a message");
        assert_eq!(message["jsonrpc"], "2.0");
        assert!(!line.contains(['\u{2028}', '\u{1b}']), "{line}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_and_ends_with_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let home = ClientHome::new();
    let bridge = home.start_connect(&format!("http://{address}/mcp"), &[]);
    let told = bridge.ask(&initialize()).await;
    assert_eq!(told["error"]["code"], 503, "{told}");
    bridge.close_stdin();
    assert_eq!(bridge.ended().await.code, 1, "nobody ever got through");
}

#[tokio::test]
async fn options_reach_the_server_and_nothing_of_them_the_log() {
    let server = serve::start();
    let home = ClientHome::new().with_env("API_KEY", "k3y-of-mine");
    let more = [
        "--header",
        "X-Api-Key: ${API_KEY}",
        "--ignore-tool",
        "test_simple*",
        "--verbose",
    ];
    let bridge = home.start_connect(&server.url(), &more);
    open(&bridge).await;
    let list = bridge
        .ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
        .await;
    let names: Vec<&str> = list["result"]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert!(
        !names.is_empty() && !names.contains(&"test_simple_text"),
        "{names:?}"
    );
    let told = bridge.ask(&call(2, "test_simple_text")).await;
    assert_eq!(told["error"]["code"], -32602, "{told}");
    eventually("the log", PATIENCE, async || {
        bridge.stderr().contains("> POST").then_some(())
    })
    .await;
    assert!(!bridge.stderr().contains("k3y-of-mine"), "{}", bridge.stderr());
}
