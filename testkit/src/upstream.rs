//! An MCP server that writes down every byte it gets, reads each body in five ways, and answers as a
//! test scripts it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::raw::find;

/// One request as it came off the wire.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Request line and headers, byte for byte.
    pub head: Vec<u8>,
    /// The body, transfer coding removed.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The method.
    #[must_use]
    pub fn method(&self) -> String {
        self.line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> String {
        self.line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    fn line(&self) -> String {
        String::from_utf8_lossy(&self.head)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// Name and value of each header, in order, names as sent.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        String::from_utf8_lossy(&self.head)
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// Every value of a header.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        self.headers()
            .into_iter()
            .filter(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// Everything in one piece.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), b"\r\n\r\n", &self.body].concat()
    }

    /// The body as JSON; `Null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The MCP method and the name (tool, prompt) that parsers of five kinds find in the body: the
    /// first of two equal keys wins, the last wins, keys compare without case, after compatibility
    /// folding of width, and with broken UTF-8 replaced.
    #[must_use]
    pub fn five_ways(&self) -> BTreeSet<(String, String)> {
        let lenient = String::from_utf8_lossy(&self.body);
        let mut out = BTreeSet::new();
        for fold in [
            |key: &str| key.to_owned(),
            |key: &str| key.to_ascii_lowercase(),
            narrow,
        ] {
            for last_wins in [false, true] {
                let members = members(&lenient, fold);
                let params = pick(&members, "params", last_wins).unwrap_or_default();
                let method = pick(&members, "method", last_wins).unwrap_or_default();
                let inner = self::members(&params, fold);
                let name = pick(&inner, "name", last_wins).unwrap_or_default();
                out.insert((unquote(&method), narrow(&unquote(&name))));
            }
        }
        out
    }
}

/// Full-width letters become ASCII, lower case: what NFKC with case folding does to them.
fn narrow(text: &str) -> String {
    text.chars()
        .map(|c| match u32::from(c) {
            code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(c),
            _ => c,
        })
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}'))
        .collect::<String>()
        .to_ascii_lowercase()
}

fn unquote(raw: &str) -> String {
    serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned())
}

fn pick(members: &[(String, String)], name: &str, last_wins: bool) -> Option<String> {
    let mut found = members
        .iter()
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.clone());
    if last_wins {
        found.next_back()
    } else {
        found.next()
    }
}

/// The members of a JSON object in order, values raw, duplicates kept. Lenient.
fn members(text: &str, fold: fn(&str) -> String) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let text = text.trim_start();
    let Some(mut rest) = text.strip_prefix('{') else {
        return out;
    };
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if rest.is_empty() || rest.starts_with('}') {
            return out;
        }
        let mut keys = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let Some(Ok(key)) = keys.next() else { return out };
        rest = rest[keys.byte_offset()..].trim_start();
        let Some(after) = rest.strip_prefix(':') else {
            return out;
        };
        rest = after.trim_start();
        let mut values =
            serde_json::Deserializer::from_str(rest).into_iter::<Box<serde_json::value::RawValue>>();
        let Some(Ok(value)) = values.next() else {
            return out;
        };
        out.push((fold(&key), value.get().to_owned()));
        rest = &rest[values.byte_offset()..];
    }
}

/// A piece of a scripted answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes, flushed at once. With a chunked answer each is one chunk.
    Bytes(Vec<u8>),
    /// Goes on when the test says so ([`tokio::sync::Notify::notify_one`]).
    Wait(Arc<tokio::sync::Notify>),
    /// Never goes on; ends when the peer closes.
    Hang,
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

type Script = dyn Fn(&Recorded) -> Answer + Send + Sync;

struct Shared {
    script: Mutex<Arc<Script>>,
    special: Mutex<Vec<(String, Arc<Script>)>>,
    requests: Mutex<Vec<Recorded>>,
    open: AtomicUsize,
    hanging: AtomicUsize,
}

/// The server. It lives on a thread of its own until the test process ends.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({})", self.address)
    }
}

impl Upstream {
    /// One that answers like a small MCP server ([`friendly`]).
    #[must_use]
    pub fn start() -> Self {
        Self::scripted(friendly)
    }

    /// One that answers as `script` says.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn scripted(script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            special: Mutex::default(),
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
            hanging: AtomicUsize::new(0),
        });
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be set");
        let address = listener.local_addr().expect("a bound socket");
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((socket, _)) = listener.accept().await {
                    let shared = Arc::clone(&server);
                    tokio::spawn(async move {
                        shared.open.fetch_add(1, Ordering::SeqCst);
                        let _ = serve(socket, &shared).await;
                        shared.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        });
        Self { address, shared }
    }

    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Its socket.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers otherwise from now on.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn script(&self, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().expect("no script panicked") = Arc::new(script);
    }

    /// Answers requests that hold `marker` as `script` says: tests that share a server do not meet.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn script_for(&self, marker: &str, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        self.shared
            .special
            .lock()
            .expect("no script panicked")
            .push((marker.into(), Arc::new(script)));
    }

    /// Every request so far.
    ///
    /// # Panics
    /// When a script panicked before.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().expect("no script panicked").clone()
    }

    /// The requests that hold `marker` anywhere.
    #[must_use]
    pub fn with(&self, marker: &str) -> Vec<Recorded> {
        self.requests()
            .into_iter()
            .filter(|request| find(&request.bytes(), marker.as_bytes()).is_some())
            .collect()
    }

    /// The one request that holds `marker`.
    ///
    /// # Panics
    /// When there is none, or more.
    #[track_caller]
    #[must_use]
    pub fn the(&self, marker: &str) -> Recorded {
        let mut all = self.with(marker);
        assert_eq!(all.len(), 1, "one request with {marker}");
        all.remove(0)
    }

    /// Asserts that no request holds `marker`.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn assert_never_saw(&self, marker: &str) {
        let all = self.with(marker);
        assert!(
            all.is_empty(),
            "the upstream saw {marker}: {}",
            String::from_utf8_lossy(&all[0].bytes())
        );
    }

    /// How many answers hang ([`Part::Hang`]) because their peer has not closed yet.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.shared.hanging.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
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

impl Shared {
    fn script_of(&self, request: &Recorded) -> Arc<Script> {
        let bytes = request.bytes();
        let special = self.special.lock().expect("no script panicked");
        let found = special
            .iter()
            .find(|(marker, _)| find(&bytes, marker.as_bytes()).is_some());
        match found {
            Some((_, script)) => Arc::clone(script),
            None => Arc::clone(&self.script.lock().expect("no script panicked")),
        }
    }
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read_request(&mut socket, &mut buffer).await? else {
            return Ok(());
        };
        shared
            .requests
            .lock()
            .expect("no script panicked")
            .push(request.clone());
        let script = shared.script_of(&request);
        if !answer(&mut socket, script(&request), &shared.hanging).await? {
            return Ok(());
        }
    }
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut chunk = [0; 16 * 1024];
    let count = socket.read(&mut chunk).await?;
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count > 0)
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Recorded>> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        if !more(socket, buffer).await? {
            return Ok(None);
        }
    };
    let head = buffer[..end].to_vec();
    buffer.drain(..end + 4);
    let mut request = Recorded {
        head,
        body: Vec::new(),
    };
    if let Some(length) = request
        .values("content-length")
        .first()
        .and_then(|length| length.parse::<usize>().ok())
    {
        while buffer.len() < length {
            if !more(socket, buffer).await? {
                return Ok(None);
            }
        }
        request.body = buffer.drain(..length).collect();
    } else if !request.values("transfer-encoding").is_empty() {
        loop {
            let Some(line) = find(buffer, b"\r\n") else {
                if !more(socket, buffer).await? {
                    return Ok(None);
                }
                continue;
            };
            let size = String::from_utf8_lossy(&buffer[..line])
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let size = usize::from_str_radix(&size, 16).unwrap_or(0);
            while buffer.len() < line + 2 + size + 2 {
                if !more(socket, buffer).await? {
                    return Ok(None);
                }
            }
            request.body.extend_from_slice(&buffer[line + 2..line + 2 + size]);
            buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                break;
            }
        }
    }
    Ok(Some(request))
}

/// Sends one answer; whether the connection can carry another.
async fn answer(socket: &mut TcpStream, answer: Answer, hanging: &AtomicUsize) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if answer.chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    } else {
        let length: usize = answer
            .parts
            .iter()
            .map(|part| {
                if let Part::Bytes(bytes) = part {
                    bytes.len()
                } else {
                    0
                }
            })
            .sum();
        head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
    }
    socket.write_all(head.as_bytes()).await?;
    for part in answer.parts {
        match part {
            Part::Bytes(bytes) if answer.chunked => {
                socket
                    .write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
                    .await?;
                socket.write_all(&bytes).await?;
                socket.write_all(b"\r\n").await?;
            }
            Part::Bytes(bytes) => socket.write_all(&bytes).await?,
            Part::Wait(signal) => {
                // The peer may give up meanwhile; then there is nobody to answer.
                tokio::select! {
                    () = signal.notified() => {}
                    () = closed(socket) => return Ok(false),
                }
            }
            Part::Hang => {
                hanging.fetch_add(1, Ordering::SeqCst);
                closed(socket).await;
                hanging.fetch_sub(1, Ordering::SeqCst);
                return Ok(false);
            }
            Part::Cut => return Ok(false),
        }
    }
    if answer.chunked {
        socket.write_all(b"0\r\n\r\n").await?;
    }
    Ok(true)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(body: &str) -> Vec<String> {
        let request = Recorded {
            head: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        request
            .five_ways()
            .into_iter()
            .map(|(method, name)| format!("{method} {name}"))
            .collect()
    }

    #[test]
    fn five_parsers_disagree_where_a_body_is_ambiguous() {
        assert_eq!(
            ways(r#"{"method":"tools/call","params":{"name":"a"}}"#),
            ["tools/call a"]
        );
        assert_eq!(
            ways(r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#),
            ["tools/call a", "tools/call b"]
        );
        assert!(
            ways(r#"{"method":"tools/call","params":{"name":"a","NAME":"b"}}"#)
                .contains(&"tools/call b".into())
        );
        assert!(ways(r#"{"method":"tools/call","params":{"name":"ａ"}}"#).contains(&"tools/call a".into()));
    }
}
