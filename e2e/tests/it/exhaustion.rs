//! DS and FT: more than there is room for, slower than anybody may be, and nobody who reads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doorward_testkit::http2::{DATA, END_HEADERS, HEADERS, Http2, block, frame};
use doorward_testkit::measure::{Memory, limit_descriptors, lowest_free_descriptor};
use doorward_testkit::server::Output;
use doorward_testkit::upstream::{Answer, Part};
use doorward_testkit::{Doorward, eventually, marker, mcp, raw};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Catalogue, RA};

const MIB: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);

fn full() -> bool {
    std::env::var_os("DOORWARD_FULL").is_some()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Request line and headers, without the empty line.
fn head(catalogue: &Catalogue, line: &str, fields: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: {}\r\n{fields}",
        catalogue.doorward.host()
    )
}

/// What each endpoint that takes a body wants to see before it reads one.
fn takers(catalogue: &Catalogue, token: &str) -> Vec<(String, &'static [u16])> {
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n";
    let mcp = format!(
        "{json}Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: {}\r\n",
        mcp::MODERN
    );
    vec![
        (
            head(
                catalogue,
                &format!("POST {RA}"),
                &format!("{mcp}{}", bearer(token)),
            ),
            &[413],
        ),
        (head(catalogue, &format!("POST {RA}"), &mcp), &[401]),
        (head(catalogue, "POST /token", form), &[413]),
        (head(catalogue, "POST /register", json), &[413]),
        (head(catalogue, "POST /authorize", form), &[413]),
        (head(catalogue, "POST /login", form), &[413]),
        // Not read at all.
        (head(catalogue, "POST /healthz", form), &[404, 405, 413]),
        (head(catalogue, "POST /nowhere", form), &[404, 405, 413]),
    ]
}

/// Sends `head` and goes on with the body until the server is done with us. The first answer's status, and
/// how much of the body it took.
async fn upload(address: SocketAddr, head: &str, chunked: bool, length: u64) -> (u16, u64) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let framing = if chunked {
        "Transfer-Encoding: chunked\r\n\r\n".to_owned()
    } else {
        format!("Content-Length: {length}\r\n\r\n")
    };
    writer
        .write_all(format!("{head}{framing}").as_bytes())
        .await
        .unwrap();
    let writing = tokio::spawn(async move {
        let piece = vec![b'a'; 64 << 10];
        let mut sent = 0;
        while sent < length {
            let size = format!("{:x}\r\n", piece.len());
            let parts: &[&[u8]] = if chunked {
                &[size.as_bytes(), &piece, b"\r\n"]
            } else {
                &[&piece]
            };
            for part in parts {
                if writer.write_all(part).await.is_err() {
                    return sent;
                }
            }
            sent += piece.len() as u64;
        }
        sent
    });
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(MINUTE, reading)
        .await
        .expect("the server ends the connection");
    writing.abort();
    let sent = writing.await.unwrap_or(u64::MAX);
    let text = String::from_utf8_lossy(&received).into_owned();
    let status = text
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, sent)
}

#[tokio::test]
async fn ds_01_ft_18_a_body_that_is_too_much_is_refused_before_it_is_kept() {
    let catalogue = Catalogue::start().await;
    let token = catalogue.t().await;
    let memory = Memory::watch(catalogue.doorward.pid());
    for (head, expected) in takers(&catalogue, &token) {
        for chunked in [false, true] {
            let (status, _) = upload(catalogue.doorward.address(), &head, chunked, 100 * MIB).await;
            assert!(
                expected.contains(&status),
                "chunked: {chunked}, {head}\nstatus {status}"
            );
        }
    }
    assert!(memory.growth() <= 16 * MIB, "{} bytes more", memory.growth());
    assert!(memory.most() <= 256 * MIB, "{} bytes", memory.most());
    catalogue.still_good().await;
}

#[tokio::test]
async fn ds_01_ft_18_a_head_that_is_too_much_is_refused() {
    let catalogue = Catalogue::start().await;
    let token = catalogue.t().await;
    let memory = Memory::watch(catalogue.doorward.pid());
    let megabyte = "y".repeat(1 << 20);
    let fields: String = (0..10_000).map(|number| format!("X-{number}: 1\r\n")).collect();
    let path = "a".repeat(64 << 10);
    for (what, line, more) in [
        (
            "1 MiB in one field",
            format!("POST {RA}"),
            format!("X: {megabyte}\r\n"),
        ),
        ("10,000 fields", format!("POST {RA}"), fields.clone()),
        ("10,000 fields to a page", "GET /login".into(), fields),
        ("64 KiB of path", format!("GET /{path}"), String::new()),
        (
            "20 KiB of path",
            format!("GET /{}", &path[..20 << 10]),
            String::new(),
        ),
        (
            "64 KiB of query",
            format!("GET /authorize?x={path}"),
            String::new(),
        ),
        (
            "20 KiB of query",
            format!("GET /authorize?x={}", &path[..20 << 10]),
            String::new(),
        ),
        ("1 MiB of target", format!("GET /{megabyte}"), String::new()),
        ("1 MiB of method", megabyte.clone(), String::new()),
    ] {
        let request = format!(
            "{}{more}{}\r\n",
            head(&catalogue, &line, "Connection: close\r\n"),
            bearer(&token)
        );
        let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
        // A method of a megabyte is no HTTP.
        let no_http = what == "1 MiB of method" && reply.status == 400;
        assert!(
            matches!(reply.status, 413 | 414 | 431) || no_http,
            "{what}: {}",
            reply.text()
        );
    }
    assert!(memory.growth() <= 16 * MIB, "{} bytes more", memory.growth());
    catalogue.still_good().await;
}

#[tokio::test]
async fn ds_09_packed_bodies_are_refused_unopened() {
    let catalogue = Catalogue::start().await;
    let token = catalogue.t().await;
    let case = marker();
    for coding in ["gzip", "deflate", "br", "zstd", "identity, gzip", "x-unknown"] {
        for (head, expected) in takers(&catalogue, &token) {
            let request = format!(
                "{head}Content-Encoding: {coding}\r\nConnection: close\r\nContent-Length: 30\r\n\r\n{case}{}",
                "x".repeat(30 - case.len())
            );
            let reply = raw::until_closed(catalogue.doorward.address(), request.as_bytes()).await;
            let expected = if expected == [401] { 401 } else { 415 };
            assert!(
                reply.status == expected || head.contains("/healthz"),
                "{coding}: {head}: {}",
                reply.text()
            );
        }
    }
    catalogue.up_a.assert_never_saw(&case);
    catalogue.still_good().await;
}

/// Sends `first` and then one byte each ten seconds; how long until the server ended it.
async fn trickle(address: SocketAddr, first: String, connected: Arc<AtomicUsize>) -> Duration {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(first.as_bytes()).await.unwrap();
    connected.fetch_add(1, Ordering::SeqCst);
    let begun = Instant::now();
    let mut buffer = [0; 4096];
    let mut tick = tokio::time::interval(Duration::from_secs(10));
    tick.tick().await;
    loop {
        tokio::select! {
            read = socket.read(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return begun.elapsed();
                }
            }
            _ = tick.tick() => {
                if socket.write_all(b"a").await.is_err() {
                    return begun.elapsed();
                }
            }
        }
    }
}

/// The latency that 99 of 100 good calls stay within.
async fn latency(catalogue: &Catalogue, token: &str, calls: usize) -> Duration {
    let mut all = Vec::new();
    for _ in 0..calls {
        let begun = Instant::now();
        let reply = catalogue.call("good").bearer(token).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        all.push(begun.elapsed());
    }
    all.sort();
    all[calls * 99 / 100]
}

#[tokio::test]
async fn ds_02_ft_18_slow_peers_are_given_up_and_others_do_not_notice() {
    let catalogue = Catalogue::start().await;
    let token = catalogue.t().await;
    let address = catalogue.doorward.address();
    let idle = latency(&catalogue, &token, 300).await;
    let each = if full() { 800 } else { 25 };
    let memory = Memory::watch(catalogue.doorward.pid());
    let connected = Arc::new(AtomicUsize::new(0));
    let mut slow = Vec::new();
    let heads = [
        String::new(),
        "POST ".into(),
        head(&catalogue, "GET /login", "X: "),
    ];
    let bodies = takers(&catalogue, &token);
    let bodies = bodies
        .iter()
        .take(4)
        .map(|(head, _)| format!("{head}Content-Length: 1000\r\n\r\n{{"));
    for first in heads.into_iter().chain(bodies) {
        for _ in 0..each {
            slow.push(tokio::spawn(trickle(
                address,
                first.clone(),
                Arc::clone(&connected),
            )));
        }
    }
    eventually("all are connected", MINUTE, || async {
        (connected.load(Ordering::SeqCst) == slow.len()).then_some(())
    })
    .await;
    let under_load = latency(&catalogue, &token, 300).await;
    for slow in slow {
        let took = slow.await.unwrap();
        // The limit is 30 seconds; the rest is for a busy machine.
        assert!(
            took < Duration::from_secs(45),
            "a slow peer was kept for {took:?}"
        );
    }
    eprintln!(
        "p99 {idle:?} alone, {under_load:?} among slow peers, {} bytes more",
        memory.growth()
    );
    if full() {
        // The peers are tasks of this process, too, which share its thread with the good calls.
        let most = idle * 2 + Duration::from_millis(250);
        assert!(
            under_load <= most,
            "{idle:?} alone, {under_load:?} among slow peers"
        );
    }
    assert!(memory.most() <= 256 * MIB, "{} bytes", memory.most());
    catalogue.still_good().await;
}

#[tokio::test]
async fn ds_02_slow_peers_of_http2_are_given_up() {
    let catalogue = Catalogue::start().await;
    let host = catalogue.doorward.host();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", host.as_str()),
        (":path", "/token"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let block = block(&fields);
    let mut connections = Vec::new();
    for (what, bytes) in [
        ("no request", Vec::new()),
        (
            "half a frame",
            frame(HEADERS, END_HEADERS, 1, &block)[..20].to_vec(),
        ),
        ("half a block", frame(HEADERS, 0, 1, &block)),
    ] {
        let mut peer = Http2::connect(catalogue.doorward.address(), &[]).await;
        peer.send(&bytes).await.unwrap();
        connections.push(tokio::spawn(async move {
            eprintln!("{what}");
            peer.closed(Duration::from_secs(45)).await;
        }));
    }
    let mut peer = Http2::connect(catalogue.doorward.address(), &[]).await;
    let body = [
        frame(HEADERS, END_HEADERS, 1, &block),
        frame(DATA, 0, 1, b"grant_type="),
    ]
    .concat();
    peer.send(&body).await.unwrap();
    let answered = async {
        loop {
            match peer.next().await {
                Some(frame) if frame.kind == HEADERS => return frame.status(),
                Some(_) => {}
                None => return None,
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(45), answered).await;
    assert_eq!(status.expect("an answer in time"), Some(400), "half a body");
    for connection in connections {
        connection.await.unwrap();
    }
    catalogue.still_good().await;
}

/// An upstream that answers with events as fast as they are taken.
fn gushing(catalogue: &Catalogue, case: &str) {
    let event = format!(
        "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"data\":\"{}\"}}}}\n\n",
        "x".repeat(16 << 10)
    );
    catalogue.up_a.script_for(case, move |_| {
        Answer::events(vec![Part::Repeat(event.clone().into_bytes(), Duration::ZERO)])
    });
}

/// What the allocator may keep beside what the streams hold: a part for each thread, so it is more on a machine with more cores.
const OF_THREADS: u64 = 12 * MIB;

/// A kilobyte a second, for some seconds.
const SIPS: usize = 5;

#[tokio::test]
async fn ds_08_ft_18_a_slow_reader_holds_its_upstream_back() {
    const STREAMS: u64 = 16;
    let catalogue = Catalogue::start().await;
    let token = catalogue.t().await;
    let case = marker();
    gushing(&catalogue, &case);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "t_read", "arguments": { "marker": case }, "_meta": mcp::meta() } })
    .to_string();
    let fields = format!(
        "{}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: {}\r\nMcp-Method: tools/call\r\nMcp-Name: t_read\r\nContent-Length: {}\r\n\r\n",
        bearer(&token),
        mcp::MODERN,
        body.len()
    );
    let request = format!("{}{body}", head(&catalogue, &format!("POST {RA}"), &fields));
    let memory = Memory::watch(catalogue.doorward.pid());
    let mut sockets = Vec::new();
    for _ in 0..STREAMS {
        let mut socket = TcpStream::connect(catalogue.doorward.address()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    let mut buffer = [0; 1024];
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..SIPS {
        second.tick().await;
        for socket in &mut sockets {
            assert!(socket.read(&mut buffer).await.unwrap() > 0, "the stream goes on");
        }
    }
    eprintln!("HTTP/1.1: {} KiB a stream", memory.growth() / 1024 / STREAMS);
    assert!(
        memory.growth() <= STREAMS * MIB + OF_THREADS,
        "{} bytes more",
        memory.growth()
    );
    assert!(
        catalogue.up_a.sent() < STREAMS * 32 * MIB,
        "the upstream is held back"
    );
    drop(sockets);
    eventually("the upstream is let go", MINUTE, || async {
        (catalogue.up_a.hanging() == 0).then_some(())
    })
    .await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn ds_06_ds_08_a_stream_whose_window_is_shut_holds_its_upstream_back() {
    const STREAMS: u64 = 16;
    let catalogue = Catalogue::start().await;
    let token = format!("Bearer {}", catalogue.t().await);
    let case = marker();
    gushing(&catalogue, &case);
    let host = catalogue.doorward.host();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", host.as_str()),
        (":path", RA),
        ("authorization", &token),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", mcp::MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t_read"),
    ];
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "t_read", "arguments": { "marker": case }, "_meta": mcp::meta() } })
    .to_string();
    let memory = Memory::watch(catalogue.doorward.pid());
    // Windows as they are by default; they are never opened again.
    let mut peer = Http2::connect(catalogue.doorward.address(), &[]).await;
    for _ in 0..STREAMS {
        peer.request(&fields, body.as_bytes()).await.unwrap();
    }
    eventually("every call is at the upstream", MINUTE, || async {
        (catalogue.up_a.hanging() as u64 == STREAMS).then_some(())
    })
    .await;
    // Other streams of the same connection go on, and pings are answered, while all of these are shut.
    for _ in 0..SIPS {
        let status = [
            (":method", "HEAD"),
            (":scheme", "http"),
            (":authority", &host),
            (":path", "/healthz"),
        ];
        let stream = peer.request(&status, &[]).await.unwrap();
        let answer = peer
            .until(|frame| frame.kind == HEADERS && frame.stream == stream)
            .await
            .unwrap();
        assert_eq!(answer.status(), Some(200));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    eprintln!("HTTP/2: {} KiB a stream", memory.growth() / 1024 / STREAMS);
    assert!(
        memory.growth() <= STREAMS * MIB + OF_THREADS,
        "{} bytes more",
        memory.growth()
    );
    if !full() {
        drop(peer);
        return catalogue.still_good().await;
    }
    // The peer answers every ping, so the connection lives; but nothing of a stream is taken.
    let given_up = async {
        while catalogue.up_a.hanging() > 0 {
            let _ = tokio::time::timeout(Duration::from_secs(1), peer.until(|_| false)).await;
        }
    };
    tokio::time::timeout(3 * MINUTE, given_up)
        .await
        .expect("stalled streams let their upstream go");
    catalogue.still_good().await;
}

/// What a new connection gets for a simple question: the status, 0 if it is closed without an answer.
async fn knock(address: SocketAddr, host: &str) -> (u16, Option<TcpStream>) {
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return (0, None);
    };
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let _ = socket.write_all(request.as_bytes()).await;
    let mut buffer = [0; 4096];
    let read = tokio::time::timeout(MINUTE, socket.read(&mut buffer)).await;
    let count = read.expect("an answer, or a close, in time").unwrap_or(0);
    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
    if text.starts_with("HTTP/1.1 503") {
        assert!(text.to_ascii_lowercase().contains("retry-after: "), "{text}");
    }
    let status = text
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, Some(socket))
}

#[tokio::test]
async fn ft_18_few_descriptors_and_many_connections() {
    let catalogue = Catalogue::start_with(Doorward::builder().descriptors(64)).await;
    catalogue.still_good().await;
    let (address, host) = (catalogue.doorward.address(), catalogue.doorward.host());
    let before = catalogue.doorward.logs().len();
    for _ in 0..3 {
        let mut open = Vec::new();
        let (mut served, mut refused) = (0, 0);
        for _ in 0..500 {
            match knock(address, &host).await {
                (200, socket) => {
                    served += 1;
                    open.push(socket);
                }
                (503, socket) => {
                    refused += 1;
                    open.push(socket);
                }
                // Refused all the same: the answer was lost to the close.
                (0, socket) => open.push(socket),
                (status, _) => panic!("status {status}"),
            }
        }
        assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
        assert!(served < 64, "{served} served");
        drop(open);
        eventually("connections are taken again", Duration::from_secs(60), || async {
            (knock(address, &host).await.0 == 200).then_some(())
        })
        .await;
        catalogue.still_good().await;
    }
    let logs = catalogue.doorward.logs();
    let lines = logs[before..]
        .lines()
        .filter(|line| line.contains("turned away"))
        .count();
    assert!(
        (1..30).contains(&lines),
        "a flood of connections is no flood of lines: {lines}"
    );
}

#[tokio::test]
async fn ft_18_streams_of_one_connection_cannot_take_every_descriptor() {
    let catalogue = Catalogue::start_with(Doorward::builder().descriptors(64)).await;
    let token = catalogue.t().await;
    let case = marker();
    catalogue
        .up_a
        .script_for(&case, |_| Answer::events(vec![Part::Hang]));
    let (address, host) = (catalogue.doorward.address(), catalogue.doorward.host());
    // One connection, and an upstream connection for each of its streams.
    let authorization = format!("Bearer {token}");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", host.as_str()),
        (":path", RA),
        ("authorization", &authorization),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", mcp::MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t_read"),
    ];
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "t_read", "arguments": { "marker": case }, "_meta": mcp::meta() } })
    .to_string();
    let mut peer = Http2::connect(address, &[]).await;
    for _ in 0..100 {
        peer.request(&fields, body.as_bytes()).await.unwrap();
    }
    let refused = peer
        .until(|frame| frame.kind == HEADERS && frame.status() == Some(503))
        .await;
    assert!(
        refused.is_some(),
        "calls beyond the descriptors are refused, and the connection lives"
    );
    for _ in 0..20 {
        let (status, _) = knock(address, &host).await;
        assert!(matches!(status, 200 | 503), "{status}");
    }
    drop(peer);
    eventually("calls are taken again", MINUTE, || async {
        let reply = catalogue.call("good").bearer(&token).send().await;
        (reply.status == 200).then_some(())
    })
    .await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn ft_18_without_any_descriptor_peers_are_turned_away_and_not_left_waiting() {
    let catalogue = Catalogue::start().await;
    catalogue.still_good().await;
    let (address, host) = (catalogue.doorward.address(), catalogue.doorward.host());
    let pid = catalogue.doorward.pid();
    let before = catalogue.doorward.logs().len();
    limit_descriptors(pid, lowest_free_descriptor(pid));
    let mut open = Vec::new();
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let (status, socket) = knock(address, &host).await;
        statuses.push(status);
        open.push(socket);
    }
    assert!(
        statuses.iter().all(|status| matches!(status, 0 | 200 | 503)),
        "{statuses:?}"
    );
    assert!(
        statuses.iter().filter(|status| **status != 200).count() > 50,
        "{statuses:?}"
    );
    limit_descriptors(pid, 4096);
    eventually("connections are taken again", MINUTE, || async {
        (knock(address, &host).await.0 == 200).then_some(())
    })
    .await;
    let logs = catalogue.doorward.logs();
    let lines = logs[before..]
        .lines()
        .filter(|line| line.contains("turned away"))
        .count();
    assert!((1..10).contains(&lines), "one line for many connections: {lines}");
    catalogue.still_good().await;
}

/// Many events for the log, more than the pipe and the queue hold.
async fn fill_the_log(doorward: &Doorward) {
    let request = "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n".repeat(100);
    let request = format!("{request}GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n");
    for _ in 0..70 {
        let reply = raw::until_closed(doorward.address(), request.as_bytes()).await;
        assert_eq!(reply.statuses().len(), 101, "{}", reply.text());
    }
}

#[tokio::test]
async fn ft_20_nobody_reads_the_log() {
    let builder = Doorward::builder().arg("--log-level").arg("debug");
    let catalogue = Catalogue::start_with(builder.stderr(Output::Unread)).await;
    fill_the_log(&catalogue.doorward).await;
    catalogue.still_good().await;
    // Whoever comes to read at last learns that something is missing.
    catalogue.doorward.read_stderr();
    eventually("the number of dropped events is told", MINUTE, || async {
        fill_the_log(&catalogue.doorward).await;
        catalogue
            .doorward
            .stderr()
            .contains("log events dropped")
            .then_some(())
    })
    .await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn ft_20_an_unread_log_does_not_keep_the_server_from_ending() {
    let builder = Doorward::builder().demo().arg("--log-level").arg("debug");
    let doorward = builder
        .stderr(Output::Unread)
        .stdout(Output::Unread)
        .start()
        .await;
    fill_the_log(&doorward).await;
    doorward.terminate();
    assert_eq!(doorward.wait(MINUTE).await, 0);
}

#[tokio::test]
async fn ft_20_closed_outputs_are_no_reason_to_stop() {
    for (stdout, stderr) in [
        (Output::File, Output::Closed),
        (Output::Closed, Output::File),
        (Output::Closed, Output::Closed),
    ] {
        let builder = Doorward::builder().arg("--log-level").arg("debug");
        let catalogue = Catalogue::start_with(builder.stdout(stdout).stderr(stderr)).await;
        fill_the_log(&catalogue.doorward).await;
        catalogue.still_good().await;
        catalogue.doorward.terminate();
        assert_eq!(catalogue.doorward.wait(MINUTE).await, 0);
    }
}
