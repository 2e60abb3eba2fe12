use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::http1::Messages;
use super::http2::{Frames, PREFACE};
use super::*;

/// Reads `bytes` in pieces of `size`.
fn read(bytes: &[u8], size: usize) -> (Messages, Seen) {
    let (mut messages, seen) = (Messages::default(), Seen::default());
    for piece in bytes.chunks(size) {
        messages.read(piece, &seen);
    }
    (messages, seen)
}

#[test]
fn hd_10_only_one_way_to_say_how_long_a_request_is() {
    for (fields, plain) in [
        ("", true),
        ("Content-Length: 5\r\n", true),
        ("content-length:5\r\n", true),
        ("Transfer-Encoding: chunked\r\n", true),
        ("Transfer-Encoding: Chunked\r\n", true),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", false),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", false),
        (
            "transfer-encoding: chunked\r\nX: y\r\ncONTENT-length: 0\r\n",
            false,
        ),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", false),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", false),
        ("Content-Length: 5, 5\r\n", false),
        ("Content-Length: +5\r\n", false),
        ("Content-Length: -1\r\n", false),
        ("Content-Length: 0x5\r\n", false),
        ("Content-Length: 5 5\r\n", false),
        ("Content-Length: \r\n", false),
        ("Content-Length: 18446744073709551616\r\n", false),
        ("Transfer-Encoding: chunked, identity\r\n", false),
        ("Transfer-Encoding: identity\r\n", false),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            false,
        ),
        ("Transfer-Encoding: xchunked\r\n", false),
        ("Transfer-Encoding:\r\n", false),
        ("Transfer-Encoding:\r\n chunked\r\n", false),
        ("Transfer-Encoding : chunked\r\n", false),
        ("Content-Length\r\n", false),
    ] {
        let head = format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        for size in [1, 2, 3, 7, head.len()] {
            let (_, seen) = read(head.as_bytes(), size);
            assert_eq!(seen.is_plainly_framed(0), plain, "{fields:?} in pieces of {size}");
        }
    }
}

#[test]
fn hd_10_odd_chunks_are_not_followed() {
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    for (body, followed) in [
        ("5\r\nabcde\r\n0\r\n\r\n", true),
        ("5;name=value\r\nabcde\r\n0\r\n\r\n", true),
        ("5 \r\nabcde\r\n000\r\nTrailer: 1\r\n\r\n", true),
        ("0\r\n\r\n", true),
        ("A\r\n0123456789\r\n0\r\n\r\n", true),
        ("5\nabcde\r\n0\r\n\r\n", false),
        ("5\r\nabcde\r\n0\n\n", false),
        ("5\r\nabcde\r\n0\r\nTrailer: 1\n\r\n", false),
        ("5;a\nb\r\nabcde\r\n0\r\n\r\n", false),
        ("+5\r\nabcde\r\n0\r\n\r\n", false),
        ("0x5\r\nabcde\r\n0\r\n\r\n", false),
        ("\r\n0\r\n\r\n", false),
        ("ffffffffffffffff5\r\nabcde\r\n0\r\n\r\n", false),
    ] {
        let bytes = format!("{head}{body}{next}");
        for size in [1, 4, bytes.len()] {
            let (messages, seen) = read(bytes.as_bytes(), size);
            assert!(seen.is_plainly_framed(0), "{body:?}");
            assert_eq!(
                seen.is_plainly_framed(1),
                followed,
                "{body:?} in pieces of {size}"
            );
            assert_eq!(messages.in_message(), !followed, "{body:?}");
        }
    }
}

#[test]
fn an_endless_head_or_line_is_not_kept() {
    let (messages, seen) = read(&vec![b'a'; 1 << 20], 1000);
    assert!(!messages.in_head() && !seen.is_plainly_framed(0));
    let mut bytes = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;".to_vec();
    bytes.resize(1 << 20, b'a');
    let (_, seen) = read(&bytes, 1000);
    assert!(seen.is_plainly_framed(0) && !seen.is_plainly_framed(1));
}

/// One request as it goes over the wire, and whether it is plain.
fn message() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let body = proptest::collection::vec(any::<u8>(), 0..300);
    (body, 0..6usize, 1..40usize, any::<bool>()).prop_map(|(body, kind, piece, trailer)| {
        let length = body.len();
        let mut bytes = Vec::new();
        let sized = format!("Content-Length: {length}\r\n");
        let (fields, chunked, plain) = match kind {
            0 => (String::new(), None, true),
            1 | 2 => (sized, Some(false), true),
            3 | 4 => ("Transfer-Encoding: chunked\r\n".into(), Some(true), true),
            _ => (
                format!("Transfer-Encoding: chunked\r\n{sized}"),
                Some(true),
                false,
            ),
        };
        bytes.extend_from_slice(format!("POST /{length} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
        match chunked {
            None => {}
            Some(false) => bytes.extend_from_slice(&body),
            Some(true) => {
                for chunk in body.chunks(piece) {
                    let extension = if piece % 2 == 0 { ";a=b" } else { "" };
                    bytes.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(if trailer {
                    b"0\r\nA: b\r\n\r\n"
                } else {
                    b"0\r\n\r\n"
                });
            }
        }
        (bytes, plain)
    })
}

/// Serves `bytes` by the library over a [`Wire`]; for each request that the library saw, whether it was
/// plainly framed.
async fn served(bytes: Vec<u8>, piece: usize) -> Vec<bool> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let wire = Wire::new(server, None);
    let seen = wire.seen();
    let verdicts = Mutex::new(Vec::new());
    let service = service_fn(|request: http::Request<Incoming>| {
        let number = verdicts.lock().unwrap().len() as u64;
        verdicts.lock().unwrap().push(seen.is_plainly_framed(number));
        async move {
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let client = async move {
        for piece in bytes.chunks(piece) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        let mut answers = Vec::new();
        let _ = client.read_to_end(&mut answers).await;
    };
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(wire), service);
    let _ = tokio::join!(connection, client);
    verdicts.into_inner().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Both readers see the same requests, however the bytes come.
    #[test]
    fn hd_10_two_readers_of_one_connection_agree(
        messages in proptest::collection::vec(message(), 1..8),
        piece in 1..600usize,
    ) {
        let bytes = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let verdicts = runtime.block_on(served(bytes, piece));
        // The library closes after a request that was not plain.
        let plain = messages.iter().take_while(|(_, plain)| *plain).count();
        let mut expected = vec![true; plain];
        if plain < messages.len() {
            expected.push(false);
        }
        prop_assert_eq!(verdicts, expected);
    }
}

/// A wire, and the peer's end of it.
fn wire() -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
    let (ours, peers) = tokio::io::duplex(1 << 16);
    (Wire::new(ours, None), peers)
}

/// How long it takes until reading fails, while the peer sends `bytes` one each `interval`.
async fn given_up(bytes: Vec<u8>, interval: Duration) -> Duration {
    let (mut wire, mut peer) = wire();
    let begun = Instant::now();
    tokio::spawn(async move {
        for byte in bytes {
            if peer.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(interval).await;
        }
        std::future::pending::<()>().await;
    });
    let mut buffer = [0; 1024];
    loop {
        match wire.read(&mut buffer).await {
            Ok(0) => panic!("the peer did not close"),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                return begun.elapsed();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ds_02_who_trickles_a_head_is_given_up() {
    let second = Duration::from_secs(1);
    let mut http2 = PREFACE.to_vec();
    http2.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for (what, bytes) in [
        ("nothing", Vec::new()),
        (
            "a head",
            b"POST /a HTTP/1.1\r\nHost: example.test\r\nAccept: */*\r\n".to_vec(),
        ),
        ("a preface", PREFACE.to_vec()),
        ("a connection without a request", http2),
    ] {
        assert_eq!(given_up(bytes, 10 * second).await, HEAD_TIMEOUT, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn ds_02_a_second_head_has_a_deadline_of_its_own_and_idling_has_none() {
    let (mut wire, mut peer) = wire();
    let mut buffer = [0; 1024];
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(wire.read(&mut buffer).await.unwrap(), 18);
    let idle = tokio::time::timeout(HEAD_TIMEOUT * 10, wire.read(&mut buffer)).await;
    assert!(idle.is_err(), "the library has a timer for that");
    peer.write_all(b"GET").await.unwrap();
    let begun = Instant::now();
    assert_eq!(wire.read(&mut buffer).await.unwrap(), 3);
    assert!(wire.read(&mut buffer).await.is_err());
    assert_eq!(begun.elapsed(), HEAD_TIMEOUT);
}

/// A frame with `length` bytes of payload.
fn frame(length: u8, kind: u8, flags: u8) -> Vec<u8> {
    let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
    frame.resize(9 + usize::from(length), 0);
    frame
}

/// How many of these frames a peer may send at once.
fn allowed(frame: &[u8], most: usize) -> usize {
    let (mut frames, seen) = (Frames::new(Instant::now()), Seen::default());
    (0..most)
        .take_while(|_| frames.read(frame, &seen).is_ok())
        .count()
}

#[tokio::test(start_paused = true)]
async fn ds_06_frames_that_carry_nothing_are_paid_for() {
    const MANY: usize = 1_000_000;
    for (what, bytes, most) in [
        ("PING", frame(8, 6, 0), 2_000),
        ("SETTINGS", frame(0, 4, 0), 2_000),
        ("acknowledgements", frame(0, 4, 1), 2_000),
        ("PRIORITY", frame(5, 2, 0), 2_000),
        ("RST_STREAM", frame(4, 3, 0), 2_000),
        ("CONTINUATION", frame(0, 9, 0), 2_000),
        ("empty DATA", frame(0, 0, 0), 2_000),
        ("padding", frame(255, 0, 8), 2_000),
        ("crumbs", frame(1, 0, 0), 20_000),
        ("WINDOW_UPDATE", frame(4, 8, 0), 200_000),
        ("an unknown type", frame(0, 77, 0), 2_000),
        ("DATA", frame(200, 0, 0), MANY),
        ("requests", frame(30, 1, 5), MANY),
        ("ends of requests", frame(0, 0, 1), MANY),
    ] {
        assert_eq!(allowed(&bytes, MANY), most, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn ds_06_the_budget_fills_up_with_time() {
    let (mut frames, seen) = (Frames::new(Instant::now()), Seen::default());
    let ping = frame(8, 6, 0);
    for _ in 0..60 {
        for _ in 0..200 {
            // In two pieces, as they may come.
            frames.read(&ping[..5], &seen).unwrap();
            assert!(frames.unfinished().is_some());
            frames.read(&ping[5..], &seen).unwrap();
            assert!(frames.unfinished().is_none());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn an_answer_to_a_message_that_goes_on_is_not_lost_to_a_reset() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (peer, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    let (mut peer, mut wire) = (peer.unwrap(), Wire::new(accepted.unwrap().0, None));
    peer.write_all(b"POST / HTTP/1.1\r\nContent-Length: 900000\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 100];
    assert!(wire.read(&mut buffer).await.unwrap() > 0);
    wire.write_all(b"refused").await.unwrap();
    drop(wire);
    peer.write_all(&vec![0; 900_000]).await.unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"refused");
}
