//! Open streams: nothing is buffered, and they end when they must.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use doorward_records::revocation::{Revocation, Revoked};
use http_body::Body as _;

use super::*;

pub(super) async fn next(body: &mut Body) -> Option<Result<Bytes, crate::BodyError>> {
    let frame = tokio::time::timeout(Duration::from_secs(20), body.frame())
        .await
        .expect("a frame in time");
    frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
}

async fn open(fixture: &Fixture) -> (mpsc::Sender<Result<&'static str, BoxError>>, Body) {
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let headers = [("accept", "text/event-stream")];
    let response = fixture
        .send(request("GET", "/a/mcp", "alice", "", &headers))
        .await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    (sender, response.into_body())
}

#[tokio::test]
async fn events_pass_one_by_one_as_they_come() {
    let fixture = Fixture::new().await;
    let (sender, mut body) = open(&fixture).await;
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        sender.send(Ok(event)).await.unwrap();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), event);
    }
    drop(sender);
    assert!(next(&mut body).await.is_none());
    assert!(!body.is_end_stream() && body.size_hint().exact().is_none());
    assert_eq!(fixture.upstream.seen()[0].method, Method::GET);
}

#[tokio::test]
async fn ft_a_stream_that_is_cut_is_an_error() {
    let fixture = Fixture::new().await;
    let (sender, mut body) = open(&fixture).await;
    sender.send(Ok("data: 1\n\n")).await.unwrap();
    assert!(next(&mut body).await.unwrap().is_ok());
    sender.send(Err("cut".into())).await.unwrap();
    assert!(next(&mut body).await.unwrap().is_err());
}

#[tokio::test]
async fn p11_a_client_that_goes_away_ends_the_upstream_s_stream() {
    let fixture = Fixture::new().await;
    let (sender, body) = open(&fixture).await;
    drop(body);
    tokio::time::timeout(Duration::from_secs(1), sender.closed())
        .await
        .expect("closed within 1 s");
}

#[tokio::test]
async fn p11_a_client_that_goes_away_before_the_answer_ends_the_call() {
    struct Dropped(mpsc::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.try_send(());
        }
    }
    let (called, mut calls) = mpsc::channel(1);
    let (dropped, mut drops) = mpsc::channel(1);
    let service = tower::service_fn(move |_: Request<Bytes>| {
        let _ = called.try_send(());
        let guard = Dropped(dropped.clone());
        async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok::<_, std::convert::Infallible>(json(200, OK))
        }
    });
    let servers = vec![unlimited(Arc::new(server("a")), Upstream::in_process(service))];
    let fixture = Fixture::of(Arc::default(), &settings(), servers);
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let gateway = Arc::clone(&fixture.gateway);
    let task = tokio::spawn(async move { gateway.handle(route, post("alice", CALL, &[])).await });
    calls.recv().await.unwrap();
    task.abort();
    tokio::time::timeout(Duration::from_secs(1), drops.recv())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn p11_a_client_that_goes_away_closes_the_upstream_s_connection() {
    use tokio::io::AsyncReadExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let fixture = Fixture::with(Arc::default(), &settings(), &[("a", &url)]);
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let gateway = Arc::clone(&fixture.gateway);
    let task = tokio::spawn(async move { gateway.handle(route, post("alice", CALL, &[])).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(CALL.as_bytes()) {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    task.abort();
    let closed = tokio::time::timeout(Duration::from_secs(1), stream.read_buf(&mut seen)).await;
    assert_eq!(closed.expect("closed within 1 s").unwrap_or(0), 0);
}

fn in_process(response: Response<ScriptBody>) -> Fixture {
    let response = Arc::new(Mutex::new(Some(response)));
    let service = tower::service_fn(move |_: Request<Bytes>| {
        let response = response.lock().unwrap().take().unwrap();
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let servers = vec![unlimited(Arc::new(server("a")), Upstream::in_process(service))];
    Fixture::of(Arc::default(), &settings(), servers)
}

pub(super) fn revoke(what: Revoked) -> [Revocation; 1] {
    [Revocation {
        sequence: 1,
        revoked: what,
        at: UnixTime::EPOCH,
        expires: UnixTime::from_seconds(9999),
    }]
}

/// Ends all that alice may do.
pub(super) fn revoke_all(fixture: &Fixture) {
    let alice = principal("alice").unwrap();
    fixture.revocations.apply(&revoke(Revoked::User(alice.subject())));
}

#[tokio::test(start_paused = true)]
async fn mb_19_a_stream_ends_within_5_s_of_a_revocation() {
    let alice = principal("alice").unwrap();
    for (revoked, ends) in [
        (Revoked::Family(alice.family().unwrap()), true),
        (Revoked::User(alice.subject()), true),
        (Revoked::Client(alice.client_id().clone()), true),
        (Revoked::User(principal("bob").unwrap().subject()), false),
    ] {
        let (sender, response) = events();
        let fixture = in_process(response);
        let mut body = fixture.post("alice", CALL, &[]).await.into_body();
        sender.send(Ok("data: 1\n\n")).await.unwrap();
        assert!(next(&mut body).await.unwrap().is_ok());
        let started = tokio::time::Instant::now();
        fixture.revocations.apply(&revoke(revoked.clone()));
        let ended = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
        assert_eq!(ended.is_ok(), ends, "{revoked:?}");
        if ends {
            assert!(
                ended.unwrap().is_none(),
                "a clean end: the client may come back with a new token"
            );
            assert!(started.elapsed() <= Duration::from_secs(5));
            assert!(sender.is_closed(), "the upstream's stream has ended too");
        }
    }
}

const LISTENING: [(&str, &str); 2] = [
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "subscriptions/listen"),
];
const COMPLETION: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":\"m\",\"result\":{\"resultType\":\"complete\",\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":\"m\"}}}\n\n";

#[tokio::test(start_paused = true)]
async fn mb_19_a_subscription_that_we_end_is_completed() {
    let alice = principal("alice").unwrap();
    for (said, completed) in [
        (&[][..], true),
        (&["data: 1\n\n"], true),
        (&["data: 1\n\n", ": ping\n\n"], true),
        (&["data: 1\n", "\n"], true),
        (&["data: 1\r\n\r"], true),
        (&["data: 1\n\n", "data: {\"half"], false),
    ] {
        let (sender, response) = events();
        let fixture = in_process(response);
        let message = modern(
            "subscriptions/listen",
            r#""notifications":{"toolsListChanged":true}"#,
        );
        let mut body = fixture.post("alice", &message, &LISTENING).await.into_body();
        assert!(body.is_listening());
        for part in said {
            sender.send(Ok(part)).await.unwrap();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), part);
        }
        fixture.revocations.apply(&revoke(Revoked::User(alice.subject())));
        let last = tokio::time::timeout(Duration::from_secs(5), body.frame())
            .await
            .unwrap();
        let last = last.map(|frame| frame.unwrap().into_data().unwrap());
        assert_eq!(
            last.as_deref(),
            completed.then_some(COMPLETION.as_bytes()),
            "{said:?}"
        );
        assert!(sender.is_closed(), "the upstream's stream has ended too");
        assert!(
            !completed || next(&mut body).await.is_none(),
            "and nothing after it"
        );
        assert!(body.is_end_stream());
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_when_it_is_told_to_and_other_answers_go_on() {
    for (method, message, headers, listening, rest) in [
        (
            "POST",
            modern("subscriptions/listen", r#""notifications":{}"#),
            &LISTENING[..],
            true,
            COMPLETION,
        ),
        ("GET", String::new(), &[("accept", "text/event-stream")], true, ""),
        (
            "POST",
            CALL.into(),
            &[("content-type", "application/json")],
            false,
            "",
        ),
    ] {
        let (_sender, response) = events();
        let fixture = in_process(response);
        let mut request = post("alice", &message, headers);
        *request.method_mut() = method.parse().unwrap();
        let mut body = fixture.send(request).await.into_body();
        assert_eq!(body.is_listening(), listening);
        body.end_stream();
        assert_eq!(body.collect().await.unwrap().to_bytes(), rest, "{method}");
    }
    let fixture = in_process(json(200, OK));
    let mut body = fixture.post("alice", CALL, &[]).await.into_body();
    body.end_stream();
    assert_eq!(body.collect().await.unwrap().to_bytes(), OK, "no stream");
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_ends_after_a_revocation_too() {
    let (sender, response) = events();
    let fixture = in_process(response);
    let mut body = fixture.post("alice", CALL, &[]).await.into_body();
    fixture
        .revocations
        .apply(&revoke(Revoked::User(principal("alice").unwrap().subject())));
    for _ in 0..50 {
        if sender.send(Ok("data: x\n\n")).await.is_err() || next(&mut body).await.is_none() {
            return;
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    panic!("the stream is still open after 5 s");
}

#[tokio::test(start_paused = true)]
async fn a_stream_lasts_an_hour_give_or_take_10_percent() {
    let mut ends = Vec::new();
    for _ in 0..3 {
        let (sender, response) = events();
        let fixture = in_process(response);
        let mut body = fixture.post("alice", CALL, &[]).await.into_body();
        let started = tokio::time::Instant::now();
        assert!(body.frame().await.is_none());
        let lasted = started.elapsed();
        assert!((3240..=3960).contains(&lasted.as_secs()), "{lasted:?}");
        ends.push(lasted);
        drop(sender);
    }
    let random = CountingRandom::default();
    let spread: std::collections::BTreeSet<_> = (0..20)
        .map(|_| crate::guard::spread(Duration::from_secs(3600), &random))
        .collect();
    assert!(spread.len() > 10, "not all at once");
}

#[tokio::test(start_paused = true)]
async fn p7_a_gateway_that_is_blind_to_revocations_ends_streams() {
    let (sender, response) = events();
    let fixture = in_process(response);
    let mut body = fixture.post("alice", CALL, &[]).await.into_body();
    fixture.clock.advance(Duration::from_secs(61));
    let ended = tokio::time::timeout(Duration::from_secs(5), body.frame())
        .await
        .unwrap();
    assert!(ended.is_none());
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn ft_12_an_answer_that_is_never_finished_is_cut() {
    let (sender, mut response) = events();
    let kind = "application/json".parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    let fixture = in_process(response);
    let mut body = fixture.post("alice", CALL, &[]).await.into_body();
    let started = tokio::time::Instant::now();
    let trickle = tokio::spawn(async move {
        while sender.send(Ok("{")).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let cut = loop {
        match tokio::time::timeout(Duration::from_secs(60), body.frame()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => break error,
            other => panic!("neither a part nor an error: {other:?}"),
        }
    };
    assert!(matches!(cut, crate::BodyError::UpstreamTimedOut), "{cut}");
    let waited = started.elapsed().as_secs();
    assert!((9..=11).contains(&waited), "{waited} s");
    tokio::time::timeout(Duration::from_secs(5), trickle)
        .await
        .expect("the upstream's body is dropped")
        .unwrap();
}

/// A request body of which `parts` can be taken; it counts them.
fn counted(parts: usize, part: &'static [u8]) -> (Arc<AtomicUsize>, ScriptBody) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let stream = futures_util::stream::poll_fn(move |_| {
        if counter.load(Ordering::SeqCst) == parts {
            return Poll::Ready(None);
        }
        counter.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(part)))))
    });
    (taken, StreamBody::new(stream).boxed())
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_is_read_to_its_end_so_that_the_answer_arrives() {
    let fixture = Fixture::new().await;
    let part: &'static [u8] = &[b'x'; 32 << 10];
    // The limit of a body is 64 KiB here, and four times that is thrown away.
    for (token, parts, expected, status) in [
        ("nobody", 3, 3, 401),
        ("nobody", 100, 9, 401),
        ("alice", 4, 4, 413),
    ] {
        let (taken, body) = counted(parts, part);
        let request = post(token, "", &[]).map(|_| body);
        let route = fixture.gateway.route("/a/mcp").unwrap();
        let response = fixture.gateway.handle(route, request).await;
        assert_eq!(response.status(), status);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(taken.load(Ordering::SeqCst), expected, "{token} {parts}");
    }
}
