//! What a client sends, seen from between it and Doorward.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One HTTP request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        parameter(query.as_bytes(), name)
    }

    /// A parameter of a form.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        parameter(&self.body, name)
    }

    /// Names of the query's parameters, sorted.
    pub(super) fn query_names(&self) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        names(query.as_bytes())
    }

    /// Names of the form's fields, sorted.
    pub(super) fn field_names(&self) -> Vec<String> {
        names(&self.body)
    }

    /// Names of the header fields that begin like this.
    pub(super) fn headers_with(&self, prefix: &str) -> Vec<String> {
        let all = self.headers.iter().map(|(name, _)| name.clone());
        all.filter(|name| name.starts_with(prefix)).collect()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}

fn names(encoded: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = url::form_urlencoded::parse(encoded)
        .map(|(name, _)| name.into_owned())
        .collect();
    names.sort();
    names
}

fn parameter(encoded: &[u8], name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(encoded);
    pairs
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.into_owned())
}

/// A loopback port that passes every byte on and remembers the requests.
pub(super) struct Wire {
    port: u16,
    waiting: Mutex<Option<TcpListener>>,
    seen: Arc<Mutex<Vec<Request>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Wire {
    pub(super) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self {
            port: listener.local_addr().expect("it is bound").port(),
            waiting: Mutex::new(Some(listener)),
            seen: Arc::default(),
            task: Mutex::default(),
        }
    }

    /// What clients call the server behind it.
    pub(super) fn public_url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Passes on to `address` from now on.
    pub(super) fn connect(&self, address: SocketAddr) {
        let listener = self.waiting.lock().unwrap().take().expect("it is connected once");
        let seen = Arc::clone(&self.seen);
        *self.task.lock().unwrap() = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, address, Arc::clone(&seen)));
            }
        }));
    }

    /// The requests since the last time.
    pub(super) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }
}

async fn pass(client: TcpStream, address: SocketAddr, seen: Arc<Mutex<Vec<Request>>>) {
    let Ok(server) = TcpStream::connect(address).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let down = async move {
        // Either side may vanish; the other one sees its end by the halves being dropped.
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let up = async move {
        let (mut unread, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
        while let Ok(read @ 1..) = from_client.read(&mut chunk).await {
            unread.extend_from_slice(&chunk[..read]);
            while let Some((request, length)) = split(&unread) {
                unread.drain(..length);
                seen.lock().unwrap().push(request);
            }
            if to_server.write_all(&chunk[..read]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
    };
    tokio::join!(down, up);
}

/// The first request in `bytes` and its length, once it is all there. Bodies have a Content-Length: none of
/// these clients sends chunks.
fn split(bytes: &[u8]) -> Option<(Request, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head of ASCII");
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method,
        target,
        headers,
        body: Vec::new(),
    };
    assert_eq!(request.header("transfer-encoding"), None, "{head}");
    let body = request
        .header("content-length")
        .map_or(0, |length| length.parse().expect("a length"));
    let all = end + 4 + body;
    request.body = bytes.get(end + 4..all)?.to_vec();
    Some((request, all))
}
