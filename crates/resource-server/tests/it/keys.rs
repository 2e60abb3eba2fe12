//! Keys and verdicts from an authorization server, over real sockets on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use doorward_jose::{JwkSet, SigningKey};
use doorward_resource_server::remote::Introspection;
use doorward_resource_server::{AccessToken, ResourceServer, ResourceServerBuilder};
use doorward_types::time::{FixedClock, UnixTime};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::{NOW, RESOURCE, claims, get as request, send, with};

/// An authorization server whose answers can be changed.
struct Issuer {
    url: String,
    key: SigningKey,
    keys: Arc<Mutex<Value>>,
    introspection: Arc<Mutex<Value>>,
    fetches: Arc<AtomicUsize>,
    questions: Arc<Mutex<Vec<String>>>,
    /// What tokens that begin with `held` wait for, as long as there is something.
    held: watch::Sender<bool>,
    clock: Arc<FixedClock>,
}

impl Issuer {
    async fn start() -> Self {
        let key = SigningKey::generate().unwrap();
        let keys = JwkSet::new([key.public_jwk().clone()]).unwrap();
        let keys = Arc::new(Mutex::new(serde_json::to_value(keys).unwrap()));
        let introspection = Arc::new(Mutex::new(json!({ "active": false })));
        let (fetches, questions) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metadata = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string();
        let json = |body: String| ([("content-type", "application/json")], body);
        let (served, counted) = (Arc::clone(&keys), Arc::clone(&fetches));
        let (answer, asked) = (Arc::clone(&introspection), Arc::clone(&questions));
        let (held, released) = watch::channel(true);
        let app = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || json(metadata.clone())),
            )
            .route(
                "/keys",
                get(async move || {
                    counted.fetch_add(1, Ordering::SeqCst);
                    json(served.lock().unwrap().to_string())
                }),
            )
            .route(
                "/introspect",
                post(async move |headers: http::HeaderMap, body: String| {
                    let who = headers["authorization"].to_str().unwrap();
                    asked.lock().unwrap().push(format!("{who} {body}"));
                    if body.starts_with("token=held") {
                        let mut released = released.clone();
                        while *released.borrow_and_update() && released.changed().await.is_ok() {}
                    }
                    json(answer.lock().unwrap().to_string())
                }),
            );
        tokio::spawn(async move { axum::serve(listener, app).await });
        let clock = Arc::new(FixedClock::new(UnixTime::from_seconds(NOW)));
        Self {
            url,
            key,
            keys,
            introspection,
            fetches,
            questions,
            held,
            clock,
        }
    }

    fn builder(&self) -> ResourceServerBuilder {
        ResourceServer::builder(RESOURCE)
            .issuer(&self.url)
            .clock(Arc::clone(&self.clock))
    }

    fn token_of(&self, key: &SigningKey) -> String {
        key.sign("at+jwt", &with(claims("a"), "iss", json!(self.url)))
            .unwrap()
    }

    fn token(&self) -> String {
        self.token_of(&self.key)
    }

    /// Behind this server, and asked about every token.
    fn asked(&self) -> Router {
        let introspection = Introspection::new(format!("{}/introspect", self.url), "me", "secret");
        app(&self.builder().introspection(introspection).build().unwrap())
    }

    fn vouch(&self) {
        *self.introspection.lock().unwrap() = json!({
            "active": true, "sub": "alice", "client_id": "c", "aud": RESOURCE, "exp": NOW + 600, "token_type": "Bearer",
        });
    }

    fn questions_with(&self, word: &str) -> usize {
        let questions = self.questions.lock().unwrap();
        questions
            .iter()
            .filter(|question| question.contains(word))
            .count()
    }

    fn fetched(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

fn app(server: &ResourceServer) -> Router {
    let hello = async |token: AccessToken| token.subject().to_owned();
    Router::new().route("/mcp", get(hello)).layer(server.layer())
}

async fn status(app: &Router, token: &str) -> u16 {
    send(app, request("/mcp", Some(token))).await.status.as_u16()
}

/// The good token with another key id.
fn with_random_key_id(token: &str, n: usize) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (_, rest) = token.split_once('.').unwrap();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("unknown-{n}") });
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test]
async fn r27_keys_are_found_by_the_issuers_metadata_and_fetched_once() {
    let issuer = Issuer::start().await;
    let app = app(&issuer.builder().build().unwrap());
    let token = issuer.token();
    let (a, b, c) = tokio::join!(status(&app, &token), status(&app, &token), status(&app, &token));
    assert_eq!((a, b, c), (200, 200, 200));
    assert_eq!(issuer.fetched(), 1, "three that waited, one fetch");
}

#[tokio::test]
async fn ds_03_random_key_ids_cause_one_fetch_per_cool_down_and_good_tokens_pass() {
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        5000
    } else {
        500
    };
    let issuer = Issuer::start().await;
    let app = app(&issuer
        .builder()
        .jwks_uri(format!("{}/keys", issuer.url))
        .build()
        .unwrap());
    let good = issuer.token();
    assert_eq!(status(&app, &good).await, 200);
    let good_keys = issuer.keys.lock().unwrap().clone();
    let mut allowed = 1;
    for emptied in [false, true] {
        if emptied {
            *issuer.keys.lock().unwrap() = json!({ "keys": [] });
        }
        for n in 0..rounds {
            if n == rounds / 2 {
                issuer.clock.advance(Duration::from_secs(10));
                allowed += 1;
            }
            let bad = with_random_key_id(&good, n);
            assert_eq!(status(&app, &bad).await, 401);
            if n % 50 == 0 {
                assert_eq!(status(&app, &good).await, 200, "known keys are kept");
            }
        }
        assert_eq!(issuer.fetched(), allowed, "emptied: {emptied}");
    }
    // Rotation: a new key works after the cool-down, and what the removed one signed is over.
    let new = SigningKey::generate().unwrap();
    let set = JwkSet::new([new.public_jwk().clone()]).unwrap();
    *issuer.keys.lock().unwrap() = serde_json::to_value(set).unwrap();
    let rotated = issuer.token_of(&new);
    assert_eq!(status(&app, &rotated).await, 401, "cooling down");
    issuer.clock.advance(Duration::from_secs(10));
    assert_eq!(status(&app, &rotated).await, 200);
    assert_eq!(status(&app, &good).await, 401);
    assert_ne!(*issuer.keys.lock().unwrap(), good_keys);
}

#[tokio::test]
async fn ds_03_without_any_key_nothing_is_said_about_tokens() {
    let issuer = Issuer::start().await;
    *issuer.keys.lock().unwrap() = json!({ "keys": [] });
    let app = app(&issuer.builder().build().unwrap());
    let good = issuer.token();
    for n in 0..50 {
        let reply = send(&app, request("/mcp", Some(&with_random_key_id(&good, n)))).await;
        assert_eq!((reply.status.as_u16(), reply.challenge), (503, None));
    }
    assert_eq!(issuer.fetched(), 1);
}

#[tokio::test]
async fn r27_introspection_is_authenticated_remembered_for_seconds_and_fails_closed() {
    let issuer = Issuer::start().await;
    let introspection = Introspection::new(format!("{}/introspect", issuer.url), "my server", "s&cret");
    let app = app(&issuer.builder().introspection(introspection).build().unwrap());
    let good = json!({
        "active": true, "iss": issuer.url, "sub": "alice", "client_id": "c", "aud": RESOURCE, "scope": "a",
        "exp": NOW + 600, "token_type": "Bearer",
    });
    *issuer.introspection.lock().unwrap() = good.clone();
    for _ in 0..3 {
        assert_eq!(status(&app, "opaque").await, 200);
    }
    // RFC 6749 §2.3.1: `my+server:s%26cret`.
    assert_eq!(
        *issuer.questions.lock().unwrap(),
        ["Basic bXkrc2VydmVyOnMlMjZjcmV0 token=opaque&token_type_hint=access_token"]
    );
    *issuer.introspection.lock().unwrap() = json!({ "active": false });
    issuer.clock.advance(Duration::from_secs(30));
    assert_eq!(
        status(&app, "opaque").await,
        401,
        "revoked, and known after 30 seconds"
    );
    for (n, (name, value, expected)) in [
        ("aud", json!("https://mcp.test/other"), 401),
        ("aud", json!(null), 401),
        ("iss", json!("https://evil.test"), 401),
        ("token_type", json!("DPoP"), 401),
        ("token_type", json!(null), 401),
        ("cnf", json!({}), 401),
        ("exp", json!(NOW - 100), 401),
        ("exp", json!("1"), 401),
        ("sub", json!(1), 401),
        ("active", json!("true"), 503),
        ("active", json!(1), 503),
    ]
    .into_iter()
    .enumerate()
    {
        *issuer.introspection.lock().unwrap() = with(good.clone(), name, value.clone());
        assert_eq!(
            status(&app, &format!("opaque{n}")).await,
            expected,
            "{name}: {value}"
        );
    }
    *issuer.introspection.lock().unwrap() = json!("no object");
    assert_eq!(status(&app, "other").await, 503);
    *issuer.introspection.lock().unwrap() = good;
    assert_eq!(status(&app, "other").await, 200, "no answer is not remembered");
}

/// As many requests at once, each with a token of its own.
fn flood(app: &Router, tokens: impl Iterator<Item = String>) -> JoinSet<u16> {
    let mut flood = JoinSet::new();
    for token in tokens {
        let app = app.clone();
        flood.spawn(async move { status(&app, &token).await });
    }
    flood
}

#[tokio::test]
async fn ds_03_invented_tokens_keep_nobody_out_whose_token_was_good() {
    let issuer = Issuer::start().await;
    issuer.vouch();
    let app = issuer.asked();
    assert_eq!(status(&app, "good").await, 200);
    issuer.clock.advance(Duration::from_secs(30));
    let mut flood = flood(&app, (0..300).map(|n| format!("held{n}")));
    let mut refused = 0;
    // Those who find the waiting room full are sent away while every place is taken.
    while refused < 200 {
        let ended = tokio::time::timeout(Duration::from_secs(60), flood.join_next()).await;
        assert_eq!(ended.expect("an answer at once").unwrap().unwrap(), 503);
        refused += 1;
    }
    assert!((1..=4).contains(&issuer.questions_with("token=held")));
    // Whoever queues is sent away after five seconds.
    let good = tokio::time::timeout(Duration::from_secs(60), status(&app, "good")).await;
    assert_eq!(
        good,
        Ok(200),
        "it was good half a minute ago, so it need not queue"
    );
    assert_eq!(issuer.questions_with("token=good"), 2);
    issuer.held.send_replace(false);
    while let Some(status) = flood.join_next().await {
        assert!([200, 503].contains(&status.unwrap()));
    }
    assert_eq!(status(&app, "held-new").await, 200);
}

#[tokio::test]
async fn ds_03_bad_tokens_push_no_good_one_out_of_memory() {
    let issuer = Issuer::start().await;
    issuer.vouch();
    let app = issuer.asked();
    assert_eq!(status(&app, "good").await, 200);
    *issuer.introspection.lock().unwrap() = json!({ "active": false });
    for n in 0..1500 {
        assert_eq!(status(&app, &format!("bad{n}")).await, 401);
    }
    assert_eq!(status(&app, "good").await, 200, "remembered");
    assert_eq!(status(&app, "bad1499").await, 401);
    assert_eq!(issuer.questions_with("bad1499"), 1, "remembered, too");
    issuer.clock.advance(Duration::from_secs(30));
    assert_eq!(status(&app, "good").await, 401, "and asked about in time");
    issuer.vouch();
    issuer.clock.advance(Duration::from_secs(30));
    assert_eq!(status(&app, "bad1499").await, 200, "no verdict is for ever");
}

#[tokio::test]
async fn ds_03_those_who_wait_for_one_answer_get_that_answer() {
    let issuer = Issuer::start().await;
    issuer.vouch();
    let app = issuer.asked();
    let mut same = flood(&app, (0..50).map(|_| "held".to_owned()));
    until(|| issuer.questions_with("token=held") == 1).await;
    issuer.held.send_replace(false);
    while let Some(status) = same.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(issuer.questions_with("token=held"), 1);
}

#[tokio::test]
async fn ds_03_who_goes_away_leaves_the_question_to_the_next() {
    let issuer = Issuer::start().await;
    issuer.vouch();
    let app = issuer.asked();
    let mut first = flood(&app, std::iter::once("held".to_owned()));
    until(|| issuer.questions_with("token=held") == 1).await;
    let mut second = flood(&app, std::iter::once("held".to_owned()));
    tokio::task::yield_now().await;
    first.shutdown().await;
    until(|| issuer.questions_with("token=held") == 2).await;
    issuer.held.send_replace(false);
    assert_eq!(second.join_next().await.unwrap().unwrap(), 200);
}

/// Until it is so, and not for ever.
async fn until(is_so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time");
}

#[tokio::test]
async fn ds_03_a_token_that_says_itself_that_it_cannot_be_good_is_not_asked_about() {
    let issuer = Issuer::start().await;
    issuer.vouch();
    let app = issuer.asked();
    let signed = |name: &str, value: Value| {
        let claims = with(claims("a"), "iss", json!(issuer.url));
        issuer.key.sign("at+jwt", &with(claims, name, value)).unwrap()
    };
    for (name, value) in [("iss", json!("https://somebody.test")), ("exp", json!(NOW - 61))] {
        let reply = send(&app, request("/mcp", Some(&signed(name, value)))).await;
        assert_eq!(reply.status, 401, "{name}");
        assert!(reply.challenge.unwrap().contains("invalid_token"));
    }
    assert_eq!(
        issuer.questions_with("token="),
        0,
        "nobody is told of them, the issuer included"
    );
    for (name, value) in [
        ("exp", json!(NOW - 59)),
        ("exp", json!("soon")),
        ("iss", json!(null)),
    ] {
        assert_eq!(
            status(&app, &signed(name, value)).await,
            200,
            "{name}: it is asked"
        );
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
async fn ft_15_keys_that_cannot_be_renewed_work_for_a_day_and_no_longer() {
    for broken in [json!({ "keys": [] }), json!("no set"), json!({})] {
        let issuer = Issuer::start().await;
        let app = app(&issuer
            .builder()
            .jwks_uri(format!("{}/keys", issuer.url))
            .build()
            .unwrap());
        let lasting = with(
            with(claims("a"), "iss", json!(issuer.url)),
            "exp",
            json!(NOW + 1_000_000),
        );
        let good = issuer.key.sign("at+jwt", &lasting).unwrap();
        assert_eq!(status(&app, &good).await, 200);
        let whole = std::mem::replace(&mut *issuer.keys.lock().unwrap(), broken);
        // Fresh for five minutes; a day from then on.
        issuer.clock.advance(Duration::from_secs(4 * 60) + 24 * HOUR);
        assert_eq!(status(&app, &good).await, 200, "the last good set");
        issuer.clock.advance(Duration::from_secs(60));
        let reply = send(&app, request("/mcp", Some(&good))).await;
        assert_eq!((reply.status.as_u16(), reply.challenge), (503, None));
        *issuer.keys.lock().unwrap() = whole;
        issuer.clock.advance(Duration::from_secs(10));
        assert_eq!(status(&app, &good).await, 200, "and back");
    }
}
