//! Against servers on loopback that do what a test says, with names that the test holds.

mod limits;
mod through_proxy;
mod world;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;

use super::*;
use crate::address::AddressSpace;
use world::{HERE, Scene, World, get, ok};

/// Behind the address of this machine, so that nothing is dialled there.
const AND_FAR: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
];
const FROM_PUBLIC: Destination = Destination::NamedFrom(AddressSpace::Public);

#[tokio::test]
async fn a_connection_is_kept_and_its_name_asked_once() {
    let world = World::start(Scene::Answer(ok("", "hello")), &[HERE]).await;
    for _ in 0..5 {
        let response = world.ask("/a").await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().read(100).await.unwrap(), "hello");
    }
    assert_eq!(world.connections(), 1);
    assert_eq!(world.names.asked.load(Ordering::SeqCst), 1);
    let head = world.head(0);
    assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("accept-encoding: identity"), "{head}");
    assert!(head.contains("user-agent: doorward/"), "{head}");
}

#[tokio::test]
async fn cl_07_b12_nothing_is_dialled_that_a_server_may_not_name() {
    let world = World::start(Scene::Answer(ok("", "secret")), &[HERE]).await;
    for space in [AddressSpace::Private, AddressSpace::Public] {
        let refused = world
            .send(get(&world.url("/")), Destination::NamedFrom(space))
            .await;
        assert!(
            matches!(refused, Err(ClientError::Forbidden { .. })),
            "{refused:?}"
        );
        for literal in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "2130706433",
            "127.1",
            "0x7f.1",
        ] {
            let url = format!("https://{literal}:{}/", world.port);
            let refused = world.send(get(&url), Destination::NamedFrom(space)).await;
            assert!(
                matches!(refused, Err(ClientError::Forbidden { .. })),
                "{literal}: {refused:?}"
            );
        }
    }
    assert_eq!(world.connections(), 0);
    let near = Destination::NamedFrom(AddressSpace::Loopback);
    assert!(world.send(get(&world.url("/")), near).await.is_ok());
}

#[tokio::test]
async fn cl_07_a_connection_that_the_user_asked_for_serves_no_server() {
    let world = World::start(Scene::Answer(ok("", "x")), &[HERE]).await;
    world.ask("/").await.unwrap().into_body().read(10).await.unwrap();
    // It is idle in a pool now, under the same name.
    let refused = world.send(get(&world.url("/")), FROM_PUBLIC).await;
    assert!(
        matches!(refused, Err(ClientError::Forbidden { .. })),
        "{refused:?}"
    );
    assert_eq!(world.heads(), 1);
}

#[tokio::test]
async fn cl_07_a_name_that_looked_near_and_is_far_counts_as_far() {
    // Near when it is asked about, far when it is talked to: then its server would name what is near (DNS rebinding).
    let world = World::start(Scene::Answer(ok("", "x")), &[HERE, AND_FAR]).await;
    let url = Url::parse(&world.url("/")).unwrap();
    assert_eq!(world.client.address_space(&url).await, Ok(AddressSpace::Loopback));
    assert!(world.client.address_space(&url).await.is_ok());
    let options = ClientOptions {
        insecure_http: true,
        ..world.options.clone()
    };
    let client = GuardedClient::new(options);
    world.names.rewind();
    assert_eq!(client.address_space(&url).await, Ok(AddressSpace::Loopback));
    client
        .send(get(&world.url("/")), Destination::Configured)
        .await
        .unwrap();
    assert_eq!(client.address_space(&url).await, Ok(AddressSpace::Public));
}

#[tokio::test]
async fn cl_07_one_bad_address_among_good_ones_is_enough() {
    let public = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));
    let world = World::start(Scene::Silent, &[&[public, HERE[0]]]).await;
    let refused = world.send(get(&world.url("/")), FROM_PUBLIC).await;
    assert!(
        matches!(refused, Err(ClientError::Forbidden { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn cl_09_b13_a_redirect_is_handed_back_and_not_followed() {
    let elsewhere = World::start(Scene::Answer(ok("", "caught")), &[HERE]).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url("/steal")
        );
        let world = World::start(Scene::Answer(answer.into_bytes()), &[HERE]).await;
        let mut request = get(&world.url("/mcp"));
        request
            .headers_mut()
            .insert("authorization", HeaderValue::from_static("Bearer t"));
        let response = world.send(request, Destination::Configured).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(world.heads(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn b11_b20_e7_without_tls_only_this_machine_is_asked() {
    let world = World::start(Scene::Answer(ok("", "x")), &[AND_FAR]).await;
    for destination in [
        Destination::Configured,
        Destination::NamedFrom(AddressSpace::Loopback),
    ] {
        let refused = world.send(get(&world.url("/")), destination).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!(world.connections(), 0);
    let client = GuardedClient::new(ClientOptions {
        insecure_http: true,
        ..world.options.clone()
    });
    // The user may say otherwise for what the user typed, a server may not.
    assert!(
        client
            .send(get(&world.url("/")), Destination::Configured)
            .await
            .is_ok()
    );
    let near = World::start(
        Scene::Answer(ok("", "x")),
        &[&[IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7))]],
    )
    .await;
    let client = GuardedClient::new(ClientOptions {
        insecure_http: true,
        ..near.options.clone()
    });
    let refused = client
        .send(get(&near.url("/")), Destination::NamedFrom(AddressSpace::Private))
        .await;
    assert!(matches!(refused, Err(ClientError::NotHttps(_))), "{refused:?}");
}

#[tokio::test]
async fn b20_what_is_no_http_url_is_not_asked() {
    let world = World::start(Scene::Silent, &[HERE]).await;
    for url in [
        "ftp://app.example/",
        "file:///etc/passwd",
        "/relative",
        "https://user:password@app.example/",
        "https://user@app.example/",
        "javascript:alert(1)",
    ] {
        let mut request = Request::new(Bytes::new());
        let Ok(uri) = url.parse() else { continue };
        *request.uri_mut() = uri;
        let refused = world.send(request, Destination::Configured).await;
        assert_eq!(refused.err(), Some(ClientError::NotHttp), "{url}");
    }
    assert_eq!(world.names.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn e7_the_certificate_must_be_the_hosts() {
    let world = World::start_tls(Scene::Answer(ok("", "x")), &[HERE], false).await;
    assert!(world.ask("/").await.is_ok());
    let other = world.url("/").replace("app.example", "other.example");
    let refused = world.send(get(&other), Destination::Configured).await;
    assert!(matches!(refused, Err(ClientError::Tls { .. })), "{refused:?}");
    assert!(refused.err().unwrap().nothing_sent());
    let strict = GuardedClient::new(ClientOptions {
        roots: TlsRoots::new(b"").unwrap(),
        ..world.options.clone()
    });
    let refused = strict.send(get(&world.url("/")), Destination::Configured).await;
    assert!(
        matches!(&refused, Err(ClientError::Tls { detail, .. }) if detail.contains("UnknownIssuer") && detail.contains("--ca-file")),
        "{refused:?}"
    );
    assert_eq!(world.heads(), 1);
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_and_wanted() {
    let world = World::start_http2().await;
    let old = world.ask("/").await.unwrap();
    assert_eq!(old.version(), http::Version::HTTP_11);
    let client = GuardedClient::new(ClientOptions {
        http2: true,
        ..world.options.clone()
    });
    let (one, two) = tokio::join!(
        client.send(get(&world.url("/1")), Destination::Configured),
        client.send(get(&world.url("/2")), Destination::Configured)
    );
    for response in [one.unwrap(), two.unwrap()] {
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.into_body().read(100).await.unwrap(), "hello");
    }
}

#[tokio::test]
async fn only_ipv4_is_dialled_if_the_user_says_so() {
    let both: &[IpAddr] = &[IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let world = World::start(Scene::Answer(ok("", "x")), &[both, &[both[0]]]).await;
    let client = GuardedClient::new(ClientOptions {
        ipv4_only: true,
        ..world.options.clone()
    });
    assert!(
        client
            .send(get(&world.url("/")), Destination::Configured)
            .await
            .is_ok()
    );
    let other = world.url("/").replace("app.example", "six.example");
    let refused = client.send(get(&other), Destination::Configured).await;
    assert!(
        matches!(refused, Err(ClientError::Unresolved { .. })),
        "{refused:?}"
    );
}
