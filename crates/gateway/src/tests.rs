//! The gateway in front of a scripted upstream that is a real HTTP server on loopback.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use doorward_policy::{AccessRule, ListMode, NoFurtherPolicy, Policy, ProtectedServer, ScopeTable};
use doorward_recorder::Recorder;
use doorward_resource_server::{
    Principal, PrincipalFacts, RevocationSet, TokenRefusal, TokenVerifier, UnverifiedToken, Verification,
};
use doorward_seal::{MasterKey, Purpose, Sealer};
use doorward_types::id::{ClientId, FamilyId, ServerName, Tenant, TokenId, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::time::{Clock, FixedClock, UnixTime};
use doorward_types::url::{Issuer, ResourceUri};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::{Body, BoxError, Gateway, Observer, Parts, RateLimits, Server, Settings, Upstream};

mod answers;
mod decisions;
mod handles;
mod headers;
mod limits;
mod lists;
mod messages;
mod metadata;
mod parameters;
mod policy;
mod records;
mod sessions;
mod standing;
mod stdio;
mod streams;

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t_read","arguments":{}}}"#;
const OK: &str = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;

type ScriptBody = BoxBody<Bytes, BoxError>;

/// What the upstream got.
#[derive(Clone, Debug)]
struct Seen {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

/// An upstream that answers as it is told, `{}` otherwise.
#[derive(Default)]
struct Script {
    seen: Mutex<Vec<Seen>>,
    answers: Mutex<VecDeque<Response<ScriptBody>>>,
    connections: AtomicUsize,
}

impl Script {
    fn answer(&self, response: Response<ScriptBody>) {
        self.answers.lock().unwrap().push_back(response);
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ScriptBody>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let seen = Seen {
            method: head.method,
            target: head.uri.to_string(),
            headers: head.headers,
            body,
        };
        self.seen.lock().unwrap().push(seen);
        let next = self.answers.lock().unwrap().pop_front();
        Ok(next.unwrap_or_else(|| json(200, OK)))
    }

    async fn listen(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                script.connections.fetch_add(1, Ordering::Relaxed);
                let script = Arc::clone(&script);
                let service = hyper::service::service_fn(move |request| Arc::clone(&script).serve(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }
}

fn whole(text: impl Into<Bytes>) -> ScriptBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Response<ScriptBody> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(whole(body)).unwrap()
}

fn json(status: u16, body: &'static str) -> Response<ScriptBody> {
    answer(status, &[("content-type", "application/json")], body)
}

/// An event stream whose events the test sends; dropping the sender ends it, sending an error cuts it.
fn events() -> (mpsc::Sender<Result<&'static str, BoxError>>, Response<ScriptBody>) {
    let (sender, mut receiver) = mpsc::channel::<Result<&'static str, BoxError>>(8);
    let stream = futures_util::stream::poll_fn(move |context| {
        receiver
            .poll_recv(context)
            .map(|item| item.map(|item| item.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))))
    });
    let body = StreamBody::new(stream).boxed();
    let response = Response::builder()
        .header("content-type", "text/event-stream")
        .body(body)
        .unwrap();
    (sender, response)
}

/// Tokens are known by their text: `alice`, `bob`, and `alice-other-client` for every server named `a`.
#[derive(Default)]
struct Tokens {
    resources_asked: Mutex<Vec<String>>,
}

impl TokenVerifier<Arc<Principal>> for Tokens {
    fn verify<'a>(
        &'a self,
        resource: &'a ResourceUri,
        token: UnverifiedToken<'a>,
    ) -> Verification<'a, Arc<Principal>> {
        self.resources_asked
            .lock()
            .unwrap()
            .push(resource.as_str().into());
        let Some(principal) = principal(token.expose()) else {
            return Verification::known(Err(TokenRefusal::BadSignature));
        };
        if principal.resource() != resource {
            return Verification::known(Err(TokenRefusal::WrongAudience));
        }
        Verification::known(Ok(Arc::new(principal)))
    }

    /// Good tokens are remembered, bad ones are not.
    fn recall(
        &self,
        _: &ResourceUri,
        token: UnverifiedToken<'_>,
    ) -> Option<Result<Arc<Principal>, TokenRefusal>> {
        principal(token.expose()).map(|principal| Ok(Arc::new(principal)))
    }
}

fn principal(token: &str) -> Option<Principal> {
    let (user, client, scopes) = match token {
        "alice" => (1, "c1", "a"),
        "alice-again" => (1, "c1", "a extra"),
        "alice-other-client" => (1, "c2", "a"),
        "alice-no-scope" => (1, "c1", "other"),
        "bob" => (2, "c1", "a"),
        "mallory" => (3, "c1", "a"),
        _ => return None,
    };
    let uuid = uuid::Uuid::from_u128(user);
    Some(Principal::for_test(PrincipalFacts {
        subject: UserId::from_uuid(uuid),
        username: token.split('-').next().unwrap_or_default().into(),
        groups: vec![],
        client_id: ClientId::new(client),
        scopes: scopes.parse().unwrap(),
        client_scopes: None,
        authenticated: None,
        resource: ResourceUri::parse("https://gw.test/a/mcp").unwrap(),
        family: Some(FamilyId::from_uuid(uuid)),
        revocation_sequence: 0,
        token_id: TokenId::from_uuid(uuid),
        issued: UnixTime::EPOCH,
        expires: UnixTime::from_seconds(600),
        tenant: Tenant::default_tenant(),
    }))
}

fn server(name: &str) -> ProtectedServer {
    ProtectedServer {
        name: ServerName::new(name),
        path: format!("/{name}/mcp"),
        resource: ResourceUri::parse(&format!("https://gw.test/{name}/mcp")).unwrap(),
        scopes: ScopeTable::whole(name.parse().unwrap(), name),
        lists: ListMode::default(),
        allow: AccessRule::parse(&["user:alice", "user:bob"]).unwrap(),
    }
}

/// A server without limits: the clock of these tests stands, so nothing ever comes back.
fn unlimited(protected: Arc<ProtectedServer>, upstream: Upstream) -> Server {
    Server {
        limits: no_limits(),
        ..Server::new(protected, upstream)
    }
}

fn no_limits() -> RateLimits {
    RateLimits {
        calls: None,
        discovery: None,
        address: None,
        tool: None,
        tools: Vec::new(),
        refused: None,
        streams: None,
    }
}

fn settings() -> Settings {
    let mut settings = Settings::new("https://gw.test", Issuer::parse("https://gw.test").unwrap());
    settings.allowed_origins = vec!["http://localhost:6274".into()];
    settings.body_limit = 64 << 10;
    settings.head_timeout = Duration::from_secs(10);
    settings
}

struct Fixture {
    gateway: Arc<Gateway>,
    upstream: Arc<Script>,
    tokens: Arc<Tokens>,
    revocations: Arc<RevocationSet>,
    clock: Arc<FixedClock>,
}

impl Fixture {
    async fn new() -> Self {
        let upstream = Arc::new(Script::default());
        let address = upstream.listen().await;
        let url = format!("http://{address}/up?fixed=1");
        Self::with(upstream, &settings(), &[("a", &url), ("b", &url)])
    }

    fn with(upstream: Arc<Script>, settings: &Settings, servers: &[(&str, &str)]) -> Self {
        let servers = servers
            .iter()
            .map(|(name, url)| unlimited(Arc::new(server(name)), Upstream::http(url).unwrap()))
            .collect();
        Self::of(upstream, settings, servers)
    }

    fn of(upstream: Arc<Script>, settings: &Settings, servers: Vec<Server>) -> Self {
        Self::under(Arc::new(NoFurtherPolicy), upstream, settings, servers)
    }

    fn under(
        policy: Arc<dyn Policy>,
        upstream: Arc<Script>,
        settings: &Settings,
        servers: Vec<Server>,
    ) -> Self {
        Self::observed(policy, Arc::new(()), upstream, settings, servers)
    }

    /// One server, whose decisions `observer` is told.
    async fn observed_by(observer: Arc<dyn Observer>) -> Self {
        let upstream = Arc::new(Script::default());
        let url = format!("http://{}/up", upstream.listen().await);
        let server = unlimited(Arc::new(server("a")), Upstream::http(&url).unwrap());
        Self::observed(
            Arc::new(NoFurtherPolicy),
            observer,
            upstream,
            &settings(),
            vec![server],
        )
    }

    fn observed(
        policy: Arc<dyn Policy>,
        observer: Arc<dyn Observer>,
        upstream: Arc<Script>,
        settings: &Settings,
        servers: Vec<Server>,
    ) -> Self {
        let clock = Arc::new(FixedClock::new(UnixTime::from_seconds(60)));
        let revocations = Arc::new(RevocationSet::new());
        revocations.heard(clock.monotonic());
        let tokens = Arc::new(Tokens::default());
        let random = Arc::new(CountingRandom::default());
        let master = MasterKey::generate(&*random);
        let parts = Parts {
            verifier: Arc::clone(&tokens) as _,
            revocations: Arc::clone(&revocations) as _,
            policy,
            sealer: Arc::new(Sealer::new(&master, Purpose::McpSession)),
            clock: Arc::clone(&clock) as _,
            recorder: Recorder::without_file(Arc::clone(&clock) as _, Arc::clone(&random) as _),
            observer,
            meters: Arc::new(crate::Meters::new(Arc::clone(&clock) as _)),
            random,
        };
        let gateway = Arc::new(Gateway::new(settings, servers, parts).unwrap());
        Self {
            gateway,
            upstream,
            tokens,
            revocations,
            clock,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Body> {
        let route = self.gateway.route(request.uri().path()).expect("a route");
        let gateway = Arc::clone(&self.gateway);
        // On a task of its own, which also shows that the future can move between threads.
        tokio::spawn(async move { gateway.handle(route, request).await })
            .await
            .unwrap()
    }

    /// POST of `body` to `/a/mcp` as `token`.
    async fn post(&self, token: &str, body: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.send(post(token, body, headers)).await
    }
}

fn request(
    method: &str,
    path: &str,
    token: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gw.test");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

fn post(token: &str, body: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = request("POST", "/a/mcp", token, body, headers);
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ] {
        request
            .headers_mut()
            .entry(name)
            .or_insert_with(|| value.parse().unwrap());
    }
    request
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn error(response: Response<Body>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_str(&text(response).await).unwrap()
}

fn modern(method: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":"m","method":"{method}","params":{{{params}{comma}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
    )
}
