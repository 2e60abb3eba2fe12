//! Through a proxy.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::super::*;
use super::world::{HERE, Scene, World, get, ok, read_head};

struct ProxyServer {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

/// A proxy that leads every request to one port of this machine, or answers itself.
async fn proxy(to: u16, instead: Option<&'static str>) -> ProxyServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://carl:p%40ss@127.0.0.1:{}",
        listener.local_addr().unwrap().port()
    );
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let head = read_head(&mut stream).await.unwrap();
                seen.lock().unwrap().push(head.clone());
                if let Some(instead) = instead {
                    let _ = stream.write_all(instead.as_bytes()).await;
                    return;
                }
                let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                if head.starts_with("CONNECT ") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                } else {
                    let stripped: String = head
                        .split_inclusive("\r\n")
                        .filter(|line| !line.to_ascii_lowercase().starts_with("proxy-"))
                        .collect();
                    server.write_all(stripped.as_bytes()).await.unwrap();
                }
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    ProxyServer { url, heads }
}

/// `carl:p@ss`.
const BASIC: &str = "Basic Y2FybDpwQHNz";

fn through(world: &World, proxy: &ProxyServer) -> GuardedClient {
    GuardedClient::new(ClientOptions {
        proxy: ProxyRules::url(&proxy.url, "").unwrap(),
        ..world.options.clone()
    })
}

#[tokio::test]
async fn a_tunnel_carries_tls_and_the_name_is_the_proxys_to_resolve() {
    let world = World::start_tls(Scene::Answer(ok("", "hello")), &[HERE], false).await;
    let proxy = proxy(world.port, None).await;
    let client = through(&world, &proxy);
    for _ in 0..2 {
        let response = client
            .send(get(&world.url("/a")), Destination::Configured)
            .await
            .unwrap();
        assert_eq!(response.into_body().read(100).await.unwrap(), "hello");
    }
    let heads = proxy.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(
        heads[0].starts_with(&format!("CONNECT app.example:{} HTTP/1.1\r\n", world.port)),
        "{heads:?}"
    );
    assert!(
        heads[0].contains(&format!("Proxy-Authorization: {BASIC}\r\n")),
        "{heads:?}"
    );
    assert!(
        !world.head(0).to_ascii_lowercase().contains("proxy-"),
        "{}",
        world.head(0)
    );
    assert_eq!(world.names.asked.load(Ordering::SeqCst), 0);
    // Who resolves the name knows where it is, and does not say.
    let url = Url::parse(&world.url("/")).unwrap();
    assert_eq!(client.address_space(&url).await, Ok(AddressSpace::Public));
}

#[tokio::test]
async fn cl_07_a_proxy_is_no_way_around_the_guard() {
    let world = World::start_tls(Scene::Answer(ok("", "x")), &[HERE], false).await;
    let proxy = proxy(world.port, None).await;
    let client = through(&world, &proxy);
    let from_public = Destination::NamedFrom(AddressSpace::Public);
    // Addresses as they stand there, in every spelling, this machine, and a name that leads to it from here.
    for host in [
        "10.0.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "127.0.0.1",
        "2130706433",
        "[::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "localhost",
        "app.example",
    ] {
        let url = format!("https://{host}:{}/", world.port);
        let refused = client.send(get(&url), from_public).await;
        assert!(
            matches!(refused, Err(ClientError::Forbidden { .. })),
            "{host}: {refused:?}"
        );
    }
    assert!(proxy.heads.lock().unwrap().is_empty());
    assert_eq!(world.connections(), 0);
}

#[tokio::test]
async fn without_tls_the_proxy_is_told_the_whole_url_and_only_if_the_user_allows_it() {
    let far: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7))];
    let world = World::start(Scene::Answer(ok("", "hello")), &[far]).await;
    let proxy = proxy(world.port, None).await;
    let refused = through(&world, &proxy)
        .send(get(&world.url("/a?b=c")), Destination::Configured)
        .await;
    assert!(matches!(refused, Err(ClientError::NotHttps(_))), "{refused:?}");
    let client = GuardedClient::new(ClientOptions {
        proxy: ProxyRules::url(&proxy.url, "").unwrap(),
        insecure_http: true,
        ..world.options.clone()
    });
    let mut request = get(&world.url("/a?b=c"));
    request.headers_mut().insert(
        "proxy-authorization",
        HeaderValue::from_static("Basic bm90IG1pbmU="),
    );
    let response = client.send(request, Destination::Configured).await.unwrap();
    assert_eq!(response.into_body().read(100).await.unwrap(), "hello");
    let heads = proxy.heads.lock().unwrap().clone();
    assert!(
        heads[0].starts_with(&format!("GET {} HTTP/1.1\r\n", world.url("/a?b=c"))),
        "{heads:?}"
    );
    assert!(
        heads[0]
            .to_ascii_lowercase()
            .contains("proxy-authorization: basic"),
        "{heads:?}"
    );
    assert_eq!(heads[0].matches("roxy-").count(), 1, "{heads:?}");
    assert!(heads[0].contains(BASIC), "{heads:?}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_its_password_is_not() {
    let world = World::start_tls(Scene::Answer(ok("", "x")), &[HERE], false).await;
    let endless: &'static str = Box::leak("HTTP/1.1 200 OK\r\nx: y".repeat(1000).into_boxed_str());
    for (instead, expected) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nnever", "403"),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\n\r\n",
            "302",
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1 200 OK\r\n", "ended the connection"),
        (endless, "too long"),
    ] {
        let proxy = proxy(world.port, Some(instead)).await;
        let refused = through(&world, &proxy)
            .send(get(&world.url("/")), Destination::Configured)
            .await;
        let error = refused.err().unwrap();
        assert!(matches!(error, ClientError::Proxy { .. }), "{error:?}");
        let words = error.to_string();
        assert!(words.contains(expected) && words.contains("127.0.0.1"), "{words}");
        assert!(
            !words.contains("p@ss") && !words.contains("carl") && !words.contains(BASIC),
            "{words}"
        );
        assert!(error.nothing_sent());
    }
    assert_eq!(world.connections(), 0);
}
