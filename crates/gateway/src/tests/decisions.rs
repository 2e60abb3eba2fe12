//! Every way in which a request can end is told to the observer once, with its evidence.

use std::net::IpAddr;
use std::task::Poll;

use doorward_limits::PeerAddress;

use super::*;
use crate::{Decision, Outcome};

/// What was observed: outcome, reason, status, method, name, user.
type Seen = (
    Outcome,
    Option<&'static str>,
    Option<u16>,
    Option<String>,
    Option<String>,
    Option<UserId>,
);

#[derive(Default)]
struct Witness {
    seen: Mutex<Vec<Seen>>,
    ids: Mutex<Vec<uuid::Uuid>>,
    peers: Mutex<Vec<Option<IpAddr>>>,
    needed: Mutex<Vec<Option<String>>>,
    /// Whether each was repeated, and told too often.
    recurrences: Mutex<Vec<(bool, bool)>>,
}

impl Observer for Witness {
    fn observe(&self, decision: &Decision<'_>) {
        self.ids.lock().unwrap().push(decision.id);
        self.peers.lock().unwrap().push(decision.peer);
        let recurrence = (decision.repeated, decision.too_often);
        self.recurrences.lock().unwrap().push(recurrence);
        let needed = decision.needed.map(|needed| {
            let mut names = Vec::new();
            needed.each(|scope| names.push(scope.to_string()));
            names.join(" ")
        });
        self.needed.lock().unwrap().push(needed);
        assert_eq!(decision.server.resource.as_str(), "https://gw.test/a/mcp");
        assert_eq!(decision.issuer.as_str(), "https://gw.test");
        assert_eq!(decision.transport.as_str(), "http");
        self.seen.lock().unwrap().push((
            decision.outcome,
            decision.reason,
            decision.status,
            decision.method.map(Into::into),
            decision.name.map(Into::into),
            decision.principal.map(Principal::subject),
        ));
    }
}

impl Witness {
    /// What was seen since the last time.
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn watched() -> (Fixture, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    let fixture = Fixture::observed_by(Arc::clone(&witness) as _).await;
    (fixture, witness)
}

fn request(token: Option<&str>, body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::post("/a/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap();
    request
        .extensions_mut()
        .insert(PeerAddress([192, 0, 2, 1].into()));
    request
}

fn alice() -> Option<UserId> {
    principal("alice").map(|principal| principal.subject())
}

#[tokio::test]
async fn r38_every_end_of_a_request_is_observed_once() {
    let (fixture, witness) = watched().await;
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let send = |token, body| fixture.gateway.handle(route, request(token, body));
    let (call, read) = (Some("tools/call".to_owned()), Some("t_read".to_owned()));

    assert_eq!(send(Some("alice"), CALL).await.status(), 200);
    let permitted = (
        Outcome::Permitted,
        None,
        Some(200),
        call.clone(),
        read.clone(),
        alice(),
    );
    assert_eq!(witness.take(), [permitted]);
    assert_eq!(
        witness.needed.lock().unwrap().pop().flatten().as_deref(),
        Some("a"),
        "what it needed and had"
    );

    assert_eq!(send(None, CALL).await.status(), 401);
    let nobody = (Outcome::Refused, Some("no_token"), Some(401), None, None, None);
    assert_eq!(witness.take(), [nobody]);

    assert_eq!(send(Some("forged"), CALL).await.status(), 401);
    assert_eq!(
        witness.take().first().map(|seen| seen.1),
        Some(Some("bad_signature"))
    );

    let answer = send(Some("alice-no-scope"), CALL).await;
    assert_eq!(answer.status(), 403);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let told: Value = serde_json::from_slice(&body).unwrap();
    let id = witness.ids.lock().unwrap().last().unwrap().to_string();
    assert_eq!(
        told["error"]["data"]["decision_id"],
        id.as_str(),
        "the id that its caller is told"
    );
    assert_eq!(
        witness.needed.lock().unwrap().last().unwrap().as_deref(),
        Some("a other")
    );
    let refused = (
        Outcome::Refused,
        Some("insufficient_scope"),
        Some(403),
        call,
        read,
        alice(),
    );
    assert_eq!(witness.take(), [refused]);

    fixture.upstream.answer(json(401, "{}"));
    assert_eq!(send(Some("alice"), CALL).await.status(), 502);
    let seen = witness.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].0, Outcome::Failed);

    let peers = witness.peers.lock().unwrap().clone();
    assert!(
        peers.iter().all(|peer| *peer == Some([192, 0, 2, 1].into())),
        "{peers:?}"
    );
    let mut ids = witness.ids.lock().unwrap().clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), peers.len(), "each decision has its own id");
}

#[tokio::test]
async fn r34_r38_the_same_refusal_is_news_once_and_written_down_ten_times() {
    let (fixture, witness) = watched().await;
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let send = |token, body| fixture.gateway.handle(route, request(token, body));
    let seen = || std::mem::take(&mut *witness.recurrences.lock().unwrap());
    let (news, again, enough) = ((false, false), (true, false), (true, true));
    for _ in 0..12 {
        assert_eq!(send(Some("alice-no-scope"), CALL).await.status(), 403);
    }
    let mut expected = vec![news];
    expected.extend([again; 9]);
    expected.extend([enough; 2]);
    assert_eq!(seen(), expected);
    // Another user, another object, another reason, a call that is permitted: each is another thing.
    let other =
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t_write","arguments":{}}}"#;
    assert_eq!(send(Some("mallory"), CALL).await.status(), 403);
    assert_eq!(send(Some("alice-no-scope"), other).await.status(), 403);
    assert_eq!(send(Some("alice"), "{").await.status(), 400);
    assert_eq!(send(Some("alice"), CALL).await.status(), 200);
    assert_eq!(seen(), [news; 4]);
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(send(Some("alice-no-scope"), CALL).await.status(), 403);
    assert_eq!(seen(), [news]);
    // Whoever has no token is known by address, and by what they sent instead.
    for _ in 0..2 {
        assert_eq!(send(None, CALL).await.status(), 401);
        assert_eq!(send(Some("forged"), CALL).await.status(), 401);
    }
    assert_eq!(seen(), [news, news, again, again]);
    for _ in 0..56 {
        send(None, CALL).await;
    }
    assert_eq!(seen().last(), Some(&again));
    send(Some("forged too"), CALL).await;
    assert_eq!(seen(), [(false, true)], "one address does not fill the record");
    send(Some("forged again"), CALL).await;
    assert_eq!(seen(), [enough], "nor the memory of what was told to others");
}

#[tokio::test]
async fn r38_a_stream_is_observed_again_when_it_ends() {
    let (fixture, witness) = watched().await;
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let (events, answer) = events();
    fixture.upstream.answer(answer);
    let response = fixture.gateway.handle(route, request(Some("alice"), CALL)).await;
    assert_eq!(witness.take().len(), 1);
    drop(events);
    response.into_body().collect().await.unwrap();
    let seen = witness.take();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].0, seen[0].1), (Outcome::Ended, Some("upstream_ended")));
    {
        let ids = witness.ids.lock().unwrap();
        assert_eq!(ids[0], ids[1], "the end has the id of the beginning");
    }
    let (_events, answer) = self::events();
    fixture.upstream.answer(answer);
    let response = fixture.gateway.handle(route, request(Some("alice"), CALL)).await;
    drop(response);
    let seen = witness.take();
    assert_eq!((seen[0].0, seen[1].0), (Outcome::Permitted, Outcome::Ended));
    assert_eq!(seen[1].1, Some("client_left"));
}

#[tokio::test]
async fn r38_a_client_that_leaves_before_the_answer_is_observed() {
    let (fixture, witness) = watched().await;
    let route = fixture.gateway.route("/a/mcp").unwrap();
    let gateway = Arc::clone(&fixture.gateway);
    let mut handling = Box::pin(async move { gateway.handle(route, request(Some("alice"), CALL)).await });
    futures_util::future::poll_fn(|context| {
        let _: Poll<Response<Body>> = handling.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
    drop(handling);
    let seen = witness.take();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].0, seen[0].2), (Outcome::Left, None));
}
