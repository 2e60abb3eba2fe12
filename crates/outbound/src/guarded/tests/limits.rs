//! Sizes, times, ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::*;
use super::world::{HERE, Scene, World, eventually, get, ok};

const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";

#[tokio::test]
async fn a_body_is_there_piece_by_piece_and_ends_its_connection_when_it_is_dropped() {
    let world = World::start(Scene::Hang(STREAM.to_vec()), &[HERE]).await;
    let mut body = world.ask("/").await.unwrap().into_body();
    assert_eq!(body.chunk().await.unwrap().unwrap(), "first");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), body.chunk())
            .await
            .is_err()
    );
    drop(body);
    eventually("the server sees the end", || {
        world.counts.gone.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_given_up_ends_its_connection() {
    let world = World::start(Scene::Silent, &[HERE]).await;
    let given_up = tokio::time::timeout(Duration::from_millis(300), world.ask("/")).await;
    assert!(given_up.is_err());
    eventually("the server sees the end", || {
        world.counts.gone.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_was_closed_while_nobody_used_it_is_replaced() {
    let world = World::start(Scene::AnswerAndClose(ok("", "x")), &[HERE]).await;
    for round in 1..=3 {
        let body = world.ask("/").await.unwrap().into_body();
        assert_eq!(body.read(10).await.unwrap(), "x");
        eventually("it came", || world.connections() == round).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn every_wait_can_have_an_end() {
    let world = World::start(Scene::Silent, &[HERE]).await;
    let client = GuardedClient::new(ClientOptions {
        head_timeout: Some(Duration::from_millis(50)),
        ..world.options.clone()
    });
    let refused = client.send(get(&world.url("/")), Destination::Configured).await;
    assert_eq!(refused.err(), Some(ClientError::TimedOut("the answer")));

    let world = World::start(Scene::Hang(STREAM.to_vec()), &[HERE]).await;
    let client = GuardedClient::new(ClientOptions {
        gap_timeout: Some(Duration::from_millis(50)),
        ..world.options.clone()
    });
    let body = client
        .send(get(&world.url("/")), Destination::Configured)
        .await
        .unwrap();
    let cut = body.into_body().read(1000).await;
    assert_eq!(cut.err(), Some(ClientError::TimedOut("the rest of the answer")));

    // TLS that is never answered.
    let world = World::start(Scene::Silent, &[HERE]).await;
    let client = GuardedClient::new(ClientOptions {
        connect_timeout: Duration::from_millis(50),
        ..world.options.clone()
    });
    let url = world.url("/").replace("http:", "https:");
    let refused = client
        .send(get(&url), Destination::Configured)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, ClientError::ConnectTimedOut { .. }),
        "{refused}"
    );
    assert!(refused.nothing_sent() && refused.is_temporary());
}

#[tokio::test]
async fn cl_14_cl_15_heads_and_bodies_have_a_size() {
    let long = format!("www-authenticate: Bearer {}\r\n", "x".repeat(70 * 1024));
    let world = World::start(Scene::Answer(ok(&long, "x")), &[HERE]).await;
    assert!(matches!(world.ask("/").await.err(), Some(ClientError::Broken(_))));
    let many = "a: b\r\n".repeat(500);
    let world = World::start(Scene::Answer(ok(&many, "x")), &[HERE]).await;
    assert!(matches!(world.ask("/").await.err(), Some(ClientError::Broken(_))));

    let world = World::start(Scene::Answer(ok("", &"x".repeat(1001))), &[HERE]).await;
    let body = world.ask("/").await.unwrap().into_body();
    assert_eq!(body.read(1000).await.err(), Some(ClientError::TooLong(1000)));
    let body = world.ask("/").await.unwrap().into_body();
    assert_eq!(body.read(1001).await.unwrap().len(), 1001);

    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunks = b"10\r\n0123456789abcdef\r\n".repeat(100);
    let world = World::start(Scene::Answer([head, chunks].concat()), &[HERE]).await;
    let body = world.ask("/").await.unwrap().into_body();
    assert_eq!(body.read(1000).await.err(), Some(ClientError::TooLong(1000)));
}

#[tokio::test]
async fn what_is_not_http_or_ends_early_is_an_error_and_says_which() {
    let world = World::start(Scene::Endless(b"nonsense ".to_vec()), &[HERE]).await;
    assert!(matches!(world.ask("/").await.err(), Some(ClientError::Broken(_))));
    let world = World::start(Scene::AnswerAndClose(b"HTTP/1.1 200".to_vec()), &[HERE]).await;
    let error = world.ask("/").await.err().unwrap();
    assert_eq!(error, ClientError::Ended);
    assert!(!error.nothing_sent());
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    let world = World::start(Scene::AnswerAndClose(short), &[HERE]).await;
    let body = world.ask("/").await.unwrap().into_body();
    assert_eq!(body.read(100).await.err(), Some(ClientError::Ended));
    let packed = ok("content-encoding: gzip\r\n", "x");
    let world = World::start(Scene::Answer(packed), &[HERE]).await;
    assert_eq!(world.ask("/").await.err(), Some(ClientError::Encoded));
}

#[tokio::test]
async fn nobody_there_is_said_with_the_host() {
    let world = World::start(Scene::Silent, &[HERE]).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let refused = world
        .send(
            get(&format!("http://app.example:{port}/")),
            Destination::Configured,
        )
        .await;
    let error = refused.err().unwrap();
    assert!(
        matches!(&error, ClientError::Unreachable { host, .. } if host == "app.example"),
        "{error}"
    );
    assert!(error.nothing_sent() && error.is_temporary());
    let unknown = World::start(Scene::Silent, &[]).await;
    assert!(matches!(
        unknown.ask("/").await.err(),
        Some(ClientError::Unresolved { .. })
    ));
}
