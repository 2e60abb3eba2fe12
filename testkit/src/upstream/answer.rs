//! What a test scripts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::recorded::Recorded;
use super::{Counted, Shared};

/// A piece of a scripted answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes, flushed at once. With a chunked answer each is one chunk.
    Bytes(Vec<u8>),
    /// Goes on when the test says so ([`tokio::sync::Notify::notify_one`]).
    Wait(Arc<tokio::sync::Notify>),
    /// Never goes on; ends when the peer closes.
    Hang,
    /// Goes on after a while.
    Pause(Duration),
    /// The same bytes again and again, this far apart, until the peer closes; without a span, as fast as they
    /// are taken.
    Repeat(Vec<u8>, Duration),
    /// Bytes one by one, this far apart.
    Drip(Vec<u8>, Duration),
    /// Closes the connection without an end.
    Cut,
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers beside the framing.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub parts: Vec<Part>,
    /// Whether it is sent in chunks as they come (else with `Content-Length`).
    pub chunked: bool,
    /// Whether the parts are all that is sent: no head, no framing; then the connection is closed.
    pub raw: bool,
}

impl Answer {
    /// An answer with a body of one piece.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), content_type.into())],
            parts: vec![Part::Bytes(body.into())],
            chunked: false,
            raw: false,
        }
    }

    /// 200 with JSON.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self::new(200, "application/json", value.to_string())
    }

    /// A JSON-RPC result for `request`.
    #[must_use]
    pub fn result(request: &Recorded, result: &Value) -> Self {
        Self::json(&json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": result }))
    }

    /// 200 with an event stream.
    #[must_use]
    pub fn events(parts: Vec<Part>) -> Self {
        Self {
            status: 200,
            headers: vec![("Content-Type".into(), "text/event-stream".into())],
            parts,
            chunked: true,
            raw: false,
        }
    }

    /// An answer without body or content type.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            parts: Vec::new(),
            chunked: false,
            raw: false,
        }
    }

    /// Nothing but these bytes, pauses and ends: no head of its own.
    #[must_use]
    pub fn raw(parts: Vec<Part>) -> Self {
        Self {
            parts,
            raw: true,
            ..Self::empty(0)
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// `data: …` as an event-stream piece.
#[must_use]
pub fn event(id: Option<&str>, data: &Value) -> Part {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Part::Bytes(format!("{id}data: {data}\n\n").into_bytes())
}

/// The answers of a small, stateless MCP server of both eras: every tool answers `NAME ok`, and
/// `arguments.answer` when it is there.
#[must_use]
pub fn friendly(request: &Recorded) -> Answer {
    let body = request.json();
    if request.method() != "POST" {
        return Answer::empty(405);
    }
    let tool = |name: &str| json!({ "name": name, "description": name, "inputSchema": { "type": "object" } });
    let result = match body["method"].as_str().unwrap_or_default() {
        "initialize" => {
            json!({ "protocolVersion": body["params"]["protocolVersion"], "capabilities": { "tools": {} },
            "serverInfo": { "name": "upstream", "version": "1" } })
        }
        "server/discover" => {
            json!({ "resultType": "complete", "supportedVersions": [crate::mcp::MODERN], "capabilities": { "tools": {} },
            "serverInfo": { "name": "upstream", "version": "1" } })
        }
        "ping" => json!({}),
        "tools/list" => json!({ "resultType": "complete", "tools": [tool("t_read"), tool("t_write")] }),
        "tools/call" => {
            let said = body["params"]["arguments"]["answer"].as_str().map_or_else(
                || format!("{} ok", body["params"]["name"].as_str().unwrap_or_default()),
                str::to_owned,
            );
            json!({ "resultType": "complete", "content": [{ "type": "text", "text": said }] })
        }
        _ if body["id"].is_null() => return Answer::empty(202),
        _ => {
            return Answer::json(&json!({ "jsonrpc": "2.0", "id": body["id"],
                "error": { "code": -32601, "message": "no such method" } }));
        }
    };
    Answer::result(request, &result)
}

impl Answer {
    /// The same answer, none of it sent before the signal comes.
    #[must_use]
    pub fn after(self, signal: &Arc<tokio::sync::Notify>) -> Self {
        let mut parts = vec![Part::Wait(Arc::clone(signal))];
        if !self.raw {
            let head = self.head();
            parts.push(Part::Bytes(
                head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
                    .into_bytes(),
            ));
        }
        parts.extend(self.parts);
        Self::raw(parts)
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.chunked {
            return head + "Transfer-Encoding: chunked\r\n\r\n";
        }
        let length: usize = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Bytes(bytes) | Part::Drip(bytes, _) => bytes.len(),
                _ => 0,
            })
            .sum();
        head + &format!("Content-Length: {length}\r\n\r\n")
    }
}

/// Sends one answer; whether the connection can carry another.
pub(super) async fn send(socket: &mut TcpStream, answer: Answer, shared: &Shared) -> std::io::Result<bool> {
    let (raw, chunked) = (answer.raw, answer.chunked);
    // From before its first byte on: whoever has read what comes before it finds it counted.
    let never_ends = |part: &Part| matches!(part, Part::Hang | Part::Repeat(..));
    let _counted = answer
        .parts
        .iter()
        .any(never_ends)
        .then(|| Counted::new(&shared.hanging));
    if !raw {
        socket.write_all(answer.head().as_bytes()).await?;
    }
    for part in answer.parts {
        match part {
            Part::Bytes(bytes) => write(socket, &bytes, chunked, shared).await?,
            Part::Wait(signal) => {
                if !unless_closed(socket, signal.notified()).await {
                    return Ok(false);
                }
            }
            Part::Pause(span) => {
                if !unless_closed(socket, tokio::time::sleep(span)).await {
                    return Ok(false);
                }
            }
            Part::Hang => {
                closed(socket).await;
                return Ok(false);
            }
            Part::Repeat(bytes, span) => loop {
                write(socket, &bytes, chunked, shared).await?;
                if !span.is_zero() && !unless_closed(socket, tokio::time::sleep(span)).await {
                    return Ok(false);
                }
            },
            Part::Drip(bytes, span) => {
                for byte in bytes {
                    write(socket, &[byte], chunked, shared).await?;
                    if !unless_closed(socket, tokio::time::sleep(span)).await {
                        return Ok(false);
                    }
                }
            }
            Part::Cut => return Ok(false),
        }
    }
    if chunked {
        socket.write_all(b"0\r\n\r\n").await?;
    }
    Ok(!raw)
}

async fn write(socket: &mut TcpStream, bytes: &[u8], chunked: bool, shared: &Shared) -> std::io::Result<()> {
    if chunked {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        socket.write_all(&chunk).await?;
    } else {
        socket.write_all(bytes).await?;
    }
    let count = u64::try_from(bytes.len()).unwrap_or(0);
    shared.sent.fetch_add(count, Ordering::SeqCst);
    Ok(())
}

/// Waits; not to the end if the peer gives up meanwhile, because then there is nobody to answer.
async fn unless_closed(socket: &TcpStream, waiting: impl Future<Output = ()>) -> bool {
    tokio::select! {
        () = waiting => true,
        () = closed(socket) => false,
    }
}

async fn closed(socket: &TcpStream) {
    let mut byte = [0; 1];
    loop {
        match socket.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
