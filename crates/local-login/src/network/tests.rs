use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use doorward_client::error::Hop;
use doorward_outbound::{ClientOptions, Resolve, TlsRoots};
use doorward_types::secret::Secret;
use http::{HeaderMap, HeaderValue, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

struct Names(HashMap<&'static str, IpAddr>);

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.0.get(host).copied();
        found
            .map(|address| vec![address])
            .ok_or_else(|| io::Error::other("no such name"))
    }
}

struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

/// Gives everybody the same answer.
async fn server(answer: Vec<u8>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            seen.lock()
                .unwrap()
                .push(String::from_utf8_lossy(&request[..read]).into_owned());
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    Server { port, heads }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn network(server: &str) -> Network {
    let mut options = ClientOptions::new(TlsRoots::new(b"").unwrap());
    options.resolver = Arc::new(Names(HashMap::from([
        ("near.example", HERE),
        ("corp.example", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7))),
        ("public.example", PUBLIC),
        ("localhost", HERE),
        ("metadata.example", IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))),
    ])));
    Network::new(GuardedClient::new(options), Url::parse(server).unwrap())
}

fn request(url: &str, named_by: NamedBy) -> HttpRequest {
    HttpRequest {
        method: Method::GET,
        url: Url::parse(url).unwrap(),
        named_by,
        headers: HeaderMap::new(),
        body: None,
        hop: Hop::ResourceMetadata,
    }
}

#[tokio::test]
async fn cl_07_b10_b12_a_server_names_nothing_that_is_nearer_than_itself() {
    let target = server(ok("{}")).await;
    let port = target.port;
    let near = format!("https://near.example:{port}/");
    let plain = format!("http://127.0.0.1:{port}/");
    for (server, url, may) in [
        ("https://public.example/mcp", near.as_str(), false),
        ("https://public.example/mcp", "https://corp.example/", false),
        ("https://public.example/mcp", "https://metadata.example/", false),
        ("https://public.example/mcp", "https://[::1]/", false),
        ("https://public.example/mcp", plain.as_str(), false),
        ("https://corp.example/mcp", near.as_str(), false),
        ("https://corp.example/mcp", "https://metadata.example/", false),
        ("https://corp.example/mcp", plain.as_str(), false),
        ("http://127.0.0.1:1/mcp", "https://metadata.example/", false),
        ("http://127.0.0.1:1/mcp", plain.as_str(), true),
        ("https://unknown.example/mcp", near.as_str(), false),
        ("https://unknown.example/mcp", "https://corp.example/", false),
    ] {
        let result = network(server).send(request(url, NamedBy::Server)).await;
        if may {
            assert!(result.is_ok(), "{server} {url}: {result:?}");
        } else {
            let refused = matches!(result, Err(TransportError::Forbidden(_)));
            assert!(refused, "{server} {url}: {result:?}");
        }
    }
    assert_eq!(target.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn cl_07_cl_01_a_browser_is_sent_nowhere_nearer_either() {
    let public = network("https://public.example/mcp");
    for url in [
        "http://127.0.0.1:6274/?command=x",
        "http://localhost:6274/",
        "https://near.example/",
        "https://corp.example/authorize",
        "https://metadata.example/",
    ] {
        let refused = public.may_visit(&Url::parse(url).unwrap()).await;
        assert!(
            matches!(refused, Err(TransportError::Forbidden(_))),
            "{url}: {refused:?}"
        );
    }
    for url in [
        "https://public.example/authorize",
        "https://unknown.example/authorize",
    ] {
        assert_eq!(public.may_visit(&Url::parse(url).unwrap()).await, Ok(()), "{url}");
    }
    let near = network("http://127.0.0.1:1/mcp");
    let authorize = Url::parse("http://localhost:6274/authorize").unwrap();
    assert!(
        network("https://corp.example/mcp")
            .may_visit(&authorize)
            .await
            .is_err()
    );
    assert_eq!(
        near.may_visit(&Url::parse("http://127.0.0.1:2/authorize").unwrap())
            .await,
        Ok(())
    );
}

#[tokio::test]
async fn what_the_user_typed_may_be_anywhere_and_its_origin_too() {
    let target = server(ok("{}")).await;
    let url = format!("http://127.0.0.1:{}/mcp", target.port);
    let typed = network("https://public.example/mcp")
        .send(request(&url, NamedBy::User))
        .await;
    assert!(typed.is_ok(), "{typed:?}");
    let network = network(&url);
    let metadata = Url::parse(&url).unwrap().join("/.well-known/x").unwrap();
    assert_eq!(
        network.destination(&metadata, NamedBy::Server).await,
        Destination::Configured
    );
    let elsewhere = Url::parse("http://127.0.0.1:9/").unwrap();
    assert_eq!(
        network.destination(&elsewhere, NamedBy::Server).await,
        Destination::NamedFrom(AddressSpace::Loopback)
    );
}

#[tokio::test]
async fn b11_without_tls_only_this_machine() {
    let refused = network("https://public.example/mcp")
        .send(request("http://corp.example/", NamedBy::User))
        .await;
    assert_eq!(refused.err(), Some(TransportError::NotHttps));
}

#[tokio::test]
async fn cl_09_redirects_and_headers_come_back_as_they_are() {
    let target = server(
        b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/steal\r\nx: 1\r\nx: 2\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
    )
    .await;
    let url = format!("http://127.0.0.1:{}/token", target.port);
    let mut request = request(&url, NamedBy::Server);
    request.method = Method::POST;
    request.body = Some(Secret::new("grant_type=x"));
    request
        .headers
        .insert("authorization", HeaderValue::from_static("Bearer t"));
    let response = network(&url).send(request).await.unwrap();
    assert_eq!(response.status, 307);
    assert_eq!(response.headers.get_all("x").iter().count(), 2);
    assert_eq!(response.body, "hi");
    let heads = target.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1);
    assert!(
        heads[0].contains("content-length: 12") && heads[0].ends_with("grant_type=x"),
        "{heads:?}"
    );
}

#[tokio::test]
async fn what_changes_nothing_is_asked_once_more_and_nothing_else_is() {
    // A server that hangs up on whoever comes first.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let visits = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&visits);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let _ = stream.read(&mut request).await.unwrap();
            let visit = {
                let mut visits = counted.lock().unwrap();
                *visits += 1;
                *visits
            };
            if visit % 2 == 0 {
                let _ = stream.write_all(&ok("{}")).await;
            }
        }
    });
    let network = network(&url);
    assert!(network.send(request(&url, NamedBy::User)).await.is_ok());
    assert_eq!(*visits.lock().unwrap(), 2);
    let mut post = request(&url, NamedBy::User);
    post.method = Method::POST;
    assert!(network.send(post).await.is_err());
    assert_eq!(*visits.lock().unwrap(), 3);
}

#[tokio::test]
async fn an_answer_is_bounded() {
    for (size, fits) in [(MAX_BODY, true), (MAX_BODY + 1, false)] {
        let target = server(ok(&"x".repeat(size))).await;
        let url = format!("http://127.0.0.1:{}/", target.port);
        let result = network(&url).send(request(&url, NamedBy::User)).await;
        assert_eq!(result.is_ok(), fits, "{size}");
    }
}

#[tokio::test]
async fn the_words_for_a_person_name_the_host_and_the_way_out() {
    let network = network("https://public.example/mcp");
    let refused = network
        .send(request("https://corp.example/x", NamedBy::Server))
        .await;
    let words = refused.err().unwrap().to_string();
    assert!(
        words.contains("corp.example") && words.contains("private"),
        "{words}"
    );
    assert!(words.contains("public.example on the public internet"), "{words}");
}

#[test]
fn certificates_come_from_files_that_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("nonsense"), "nonsense").unwrap();
    assert!(roots(None, &|_| None).is_ok());
    assert!(matches!(
        roots(Some(&path("missing")), &|_| None),
        Err(RootsFileError::Unreadable { .. })
    ));
    for name in ["empty", "nonsense"] {
        let error = roots(Some(&path(name)), &|_| None).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    for variable in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        let missing = path("missing").display().to_string();
        let named = roots(None, &|name| (name == variable).then(|| missing.clone()));
        assert!(matches!(named, Err(RootsFileError::Unreadable { .. })));
    }
}
