//! An MCP server that answers as a test says, over real connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

/// A request as the server got it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// `Null` if there is none.
    pub(crate) body: Value,
    /// Its bytes.
    pub(crate) raw: Bytes,
}

impl Asked {
    pub(crate) fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What comes of a body.
pub(crate) enum Piece {
    Data(Bytes),
    Wait(Duration),
    /// The connection breaks.
    Cut,
    /// It stays open for good.
    Hang,
}

pub(crate) fn data(text: impl Into<Bytes>) -> Piece {
    Piece::Data(text.into())
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<Piece>,
    /// The connection breaks instead.
    pub(crate) none: bool,
}

pub(crate) fn status(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        body: Vec::new(),
        none: false,
    }
}

pub(crate) fn text(content: &str, body: impl Into<Bytes>) -> Reply {
    status(200)
        .with("content-type", content)
        .body(vec![Piece::Data(body.into())])
}

pub(crate) fn answer(value: &Value) -> Reply {
    text("application/json", value.to_string())
}

pub(crate) fn result(asked: &Asked, result: &Value) -> Reply {
    answer(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result}))
}

pub(crate) fn events(pieces: Vec<Piece>) -> Reply {
    status(200).with("content-type", "text/event-stream").body(pieces)
}

/// An event with one message.
pub(crate) fn message(value: &Value) -> Piece {
    data(format!("event: message\ndata: {value}\n\n"))
}

pub(crate) fn broken() -> Reply {
    Reply {
        none: true,
        ..status(200)
    }
}

impl Reply {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Vec<Piece>) -> Self {
        self.body = body;
        self
    }
}

struct Pieces(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.0.poll_recv(context);
        next.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, Arc::default(), script)
    }

    fn on(
        listener: TcpListener,
        asked: Arc<Mutex<Vec<Asked>>>,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let script: Arc<Script> = Arc::new(script);
        let kept = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                let service = hyper::service::service_fn(move |request| {
                    serve(request, Arc::clone(&script), Arc::clone(&kept))
                });
                connections.spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("http://{}/mcp", self.address)).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests of one JSON-RPC method.
    pub(crate) fn of(&self, rpc: &str) -> Vec<Asked> {
        self.asked()
            .into_iter()
            .filter(|asked| asked.rpc() == rpc)
            .collect()
    }

    /// All connections break; after `down`, another server is there at the same address.
    pub(crate) async fn restart(
        self,
        down: Duration,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.task.abort();
        let (address, asked) = (self.address, Arc::clone(&self.asked));
        // Bound as soon as the old one is gone, and not listened at: nobody else gets the port meanwhile.
        let kept = loop {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            if socket.bind(address).is_ok() {
                break socket;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        tokio::time::sleep(down).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        drop(kept);
        Self::on(socket.listen(64).unwrap(), asked, script)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    request: Request<Incoming>,
    script: Arc<Script>,
    kept: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Pieces>, std::io::Error> {
    let (head, body) = request.into_parts();
    let raw = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&raw).unwrap_or_default(),
        raw,
    };
    kept.lock().unwrap().push(asked.clone());
    let reply = script(&asked);
    if reply.none {
        return Err(std::io::Error::other("broken by the test"));
    }
    let (send, pieces) = mpsc::channel(1);
    let mut response = Response::new(Pieces(pieces));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    for (name, value) in reply.headers {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    tokio::spawn(feed(reply.body, send));
    Ok(response)
}

async fn feed(body: Vec<Piece>, send: mpsc::Sender<Result<Bytes, std::io::Error>>) -> Option<Infallible> {
    for piece in body {
        match piece {
            Piece::Data(bytes) => send.send(Ok(bytes)).await.ok()?,
            Piece::Wait(time) => tokio::time::sleep(time).await,
            Piece::Cut => send.send(Err(std::io::Error::other("cut"))).await.ok()?,
            Piece::Hang => send.closed().await,
        }
    }
    None
}
