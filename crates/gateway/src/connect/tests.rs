use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::body::UpstreamBody;

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Says what it is told to, one text for each request, and `hello` when that is all said. `!` closes the connection.
#[derive(Default)]
struct Server {
    accepted: AtomicUsize,
    texts: Mutex<Vec<&'static str>>,
    heads: Mutex<Vec<String>>,
}

impl Server {
    async fn listen(self: &Arc<Self>) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/mcp?a=b", listener.local_addr().unwrap());
        let server = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                server.accepted.fetch_add(1, Ordering::Relaxed);
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if !head.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let said = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        server.heads.lock().unwrap().push(said);
                        let next = server.texts.lock().unwrap().pop();
                        let text = next.unwrap_or(WHOLE);
                        stream
                            .write_all(text.trim_end_matches('!').as_bytes())
                            .await
                            .unwrap();
                        if text.ends_with('!') {
                            return;
                        }
                    }
                });
            }
        });
        uri.parse().unwrap()
    }

    fn says(&self, text: &'static str) {
        self.texts.lock().unwrap().push(text);
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn client(uri: &Uri) -> HttpClient {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let https = HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
        .unwrap();
    HttpClient {
        connector: https.https_or_http().enable_http1().wrap_connector(tcp),
        connect_timeout: Duration::from_secs(10),
        host: host(uri).unwrap(),
        target: uri.path_and_query().cloned().unwrap().into(),
        idle: Arc::default(),
        uri: uri.clone(),
    }
}

async fn ask(client: &HttpClient) -> Result<Response<Answer>, NoAnswer> {
    client.request(Request::new(Full::default())).await
}

async fn read(answer: Response<Answer>) -> Result<Bytes, crate::body::BodyError> {
    let mut body =
        crate::body::Body::relayed(UpstreamBody::Http(answer.into_body()), Duration::from_secs(10));
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame?.into_data().unwrap());
    }
    Ok(bytes.into())
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Arc::new(Server::default());
    let client = client(&server.listen().await);
    server.says("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    server.says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    assert_eq!(read(ask(&client).await.unwrap()).await.unwrap(), "hello");
    assert_eq!(ask(&client).await.unwrap().status(), 202);
    for _ in 0..3 {
        assert_eq!(read(ask(&client).await.unwrap()).await.unwrap(), "hello");
    }
    assert_eq!(server.accepted(), 1);
    let heads = server.heads.lock().unwrap().clone();
    let host = format!("host: {}\r\n", client.uri.authority().unwrap());
    for head in heads {
        assert!(head.starts_with("GET /mcp?a=b HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&host), "{head}");
    }
}

#[tokio::test]
async fn who_waits_has_a_connection_of_their_own() {
    let server = Arc::new(Server::default());
    let client = client(&server.listen().await);
    let (first, second) = (ask(&client).await.unwrap(), ask(&client).await.unwrap());
    assert_eq!(server.accepted(), 2);
    assert_eq!(read(second).await.unwrap(), "hello");
    assert_eq!(read(first).await.unwrap(), "hello");
    let again = (ask(&client).await.unwrap(), ask(&client).await.unwrap());
    assert_eq!(server.accepted(), 2);
    drop(again);
}

#[tokio::test]
async fn a_connection_with_something_left_on_it_is_not_used_again() {
    let server = Arc::new(Server::default());
    let client = client(&server.listen().await);
    for (text, whole) in [
        // Nobody reads the rest of it.
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", false),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello!", true),
    ] {
        let before = server.accepted();
        server.says(text);
        let answer = ask(&client).await.unwrap();
        if whole {
            assert_eq!(read(answer).await.unwrap(), "hello", "{text}");
        } else {
            drop(answer);
        }
        assert_eq!(
            read(ask(&client).await.unwrap()).await.unwrap(),
            "hello",
            "{text}"
        );
        assert!(server.accepted() > before, "{text}");
        // None is idle that another answer could come over.
        drop(client.idle.take().await);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let server = Arc::new(Server::default());
    let client = client(&server.listen().await);
    server.says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello!");
    assert!(read(ask(&client).await.unwrap()).await.is_err());
    server.says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n!");
    assert!(read(ask(&client).await.unwrap()).await.is_err());
    server.says("HTTP/1.1 200!");
    assert!(matches!(ask(&client).await, Err(NoAnswer::Failed(_))));
    assert_eq!(server.accepted(), 3, "nothing is sent twice");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_used() {
    let server = Arc::new(Server::default());
    let client = client(&server.listen().await);
    server.says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!");
    assert_eq!(read(ask(&client).await.unwrap()).await.unwrap(), "hello");
    // Until the close has arrived here.
    while let Some(line) = client.idle.take().await {
        client.idle.keep(line);
        tokio::task::yield_now().await;
    }
    assert_eq!(read(ask(&client).await.unwrap()).await.unwrap(), "hello");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let client = client(&uri.parse().unwrap());
    assert!(matches!(ask(&client).await, Err(NoAnswer::Unreachable(_))));
}

#[test]
fn a_port_that_the_scheme_implies_is_not_said() {
    for (uri, said) in [
        ("http://mcp.test/mcp", "mcp.test"),
        ("http://mcp.test:80/mcp", "mcp.test"),
        ("https://mcp.test:443/", "mcp.test"),
        ("https://mcp.test:80/", "mcp.test:80"),
        ("http://127.0.0.1:3001/mcp", "127.0.0.1:3001"),
        ("http://[::1]:3001/mcp", "[::1]:3001"),
    ] {
        assert_eq!(host(&uri.parse().unwrap()).unwrap(), said, "{uri}");
    }
}
