//! Ways around a check: settings that could be read as if they did nothing, layers in layers, other routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get as on_get, post as on_post};
use doorward_policy::{AccessRule, NoFurtherPolicy, Refusal, ScopeEntry, ScopeTable};
use doorward_resource_server::{
    AccessToken, BuildError, Refused, ResourceServer, ResourceServerBuilder, ScopeRule, TokenRefusal,
    TokenVerifier, UnverifiedToken, Verification,
};
use doorward_types::url::ResourceUri;
use http::Request;
use http::request::Parts;
use serde_json::{Value, json};

use crate::world::{ISSUER, RESOURCE, World, claims, get, message, send, with};

async fn hello(token: AccessToken) -> String {
    format!("{} of {}", token.subject(), token.issuer())
}

fn table() -> ScopeTable {
    let mut entry = ScopeEntry::new("admin".parse().unwrap(), "Everything");
    entry.tools = vec!["*".parse().unwrap()];
    ScopeTable::new(vec![entry]).unwrap()
}

fn ping(token: &str) -> Request<Body> {
    message(token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }))
}

fn at(path: &str, mut request: Request<Body>) -> Request<Body> {
    *request.uri_mut() = path.parse().unwrap();
    request
}

fn admins(server: &ResourceServer) -> doorward_resource_server::ProtectLayer {
    server.require(ScopeRule::all_of(["admin"]).unwrap())
}

fn head(token: &str) -> Parts {
    get("/mcp", Some(token)).into_parts().0
}

#[tokio::test]
async fn r30_allow_holds_without_a_table_and_under_require() {
    let world = World::new();
    let ours = world.token("admin");
    let staff = world.sign(&with(claims("admin"), "groups", json!(["staff"])));
    for with_table in [false, true] {
        let builder = world
            .builder()
            .allow(AccessRule::parse(&["group:staff"]).unwrap());
        let builder = match with_table {
            true => builder.scope_table(table()),
            false => builder,
        };
        let server = builder.build().unwrap();
        let app = Router::new()
            .route("/mcp", on_post(hello))
            .layer(server.layer())
            .route("/admin", on_get(hello).route_layer(admins(&server)));
        for (token, expected) in [(&ours, 403), (&staff, 200)] {
            for request in [ping(token), get("/admin", Some(token))] {
                let path = request.uri().clone();
                let reply = send(&app, request).await;
                assert_eq!(
                    reply.status, expected,
                    "{path}, table: {with_table}: {}",
                    reply.body
                );
                assert_eq!(reply.challenge, None, "no other token would help");
                assert_eq!(reply.body.contains("not_allowed"), expected == 403);
            }
        }
        assert_eq!(
            server.authenticate(&head(&ours)).await,
            Err(Refused::Policy(Refusal::NotAllowed))
        );
        assert!(server.authenticate(&head(&staff)).await.is_ok());
    }
}

#[test]
fn r24_r30_a_policy_without_a_table_is_told() {
    let world = World::new();
    let built = world.builder().policy(NoFurtherPolicy).build();
    assert!(matches!(built, Err(BuildError::PolicyWithoutTable)));
    let built = world.builder().policy(NoFurtherPolicy).scope_table(table());
    assert!(built.build().is_ok());
}

#[test]
fn r30_a_list_of_nobody_is_no_rule() {
    assert!(
        AccessRule::parse::<&str>(&[]).is_err(),
        "it would admit everybody"
    );
}

const PARTNERS: &str = "https://partners.test";

/// The server of somebody else's tokens for the same resource.
fn partners(world: &World) -> ResourceServerBuilder {
    world.builder().issuer(PARTNERS)
}

#[tokio::test]
async fn r39_rs_05_a_server_in_a_server_of_the_same_resource_asks_for_its_own_token() {
    let (staff, others) = (World::new(), World::new());
    let inner = staff.builder().build().unwrap();
    let outer = partners(&others).build().unwrap();
    let app = Router::new()
        .route("/wipe", on_get(hello).route_layer(admins(&inner)))
        .layer(outer.layer());
    let theirs = others.sign(&with(claims("admin"), "iss", json!(PARTNERS)));
    let reply = send(&app, get("/wipe", Some(&theirs))).await;
    assert_eq!(reply.status, 401, "{}", reply.body);
    assert!(reply.challenge.unwrap().contains("invalid_token"));
    // Nor does it take what somebody else put beside the request.
    let mut head = get("/wipe", None).into_parts().0;
    let token = outer.authenticate(&self::head(&theirs)).await.unwrap();
    head.extensions.insert(token);
    head.extensions.insert(inner.clone());
    assert_eq!(inner.authenticate(&head).await, Err(Refused::NoToken));
}

#[tokio::test]
async fn r39_settings_of_the_inner_server_hold() {
    let world = World::new();
    let outer = world.builder().build().unwrap();
    let token = world.token("admin");
    for (what, inner, status) in [
        ("tenant", world.builder().tenant("acme"), 401),
        (
            "allow",
            world.builder().allow(AccessRule::parse(&["user:bob"]).unwrap()),
            403,
        ),
        ("nothing", world.builder(), 200),
    ] {
        let app = Router::new()
            .route(
                "/wipe",
                on_get(hello).route_layer(admins(&inner.build().unwrap())),
            )
            .layer(outer.layer());
        assert_eq!(
            send(&app, get("/wipe", Some(&token))).await.status,
            status,
            "{what}"
        );
    }
}

struct Counting(Arc<AtomicUsize>);

impl TokenVerifier for Counting {
    fn verify<'a>(&'a self, _: &'a ResourceUri, _: UnverifiedToken<'a>) -> Verification<'a> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Verification::known(Err(TokenRefusal::Inactive))
    }
}

#[tokio::test]
async fn r25_within_its_own_layer_a_server_verifies_once() {
    let world = World::new();
    let server = world.builder().build().unwrap();
    let app = Router::new()
        .route(
            "/wipe",
            on_get(async |head: Parts| head.headers.len().to_string()),
        )
        .layer(admins(&server.clone()))
        // What comes between has no say in whose request it is.
        .layer(axum::middleware::map_request(
            async |mut request: Request<Body>| {
                request.headers_mut().remove("authorization");
                request
            },
        ))
        .layer(server.layer());
    let reply = send(&app, get("/wipe", Some(&world.token("admin")))).await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (200, "0"));
    let asked = Arc::new(AtomicUsize::new(0));
    let own = ResourceServer::builder(RESOURCE).issuer(ISSUER);
    let own = own.verifier(Counting(Arc::clone(&asked))).build().unwrap();
    let app = Router::new().route("/wipe", on_get(hello)).layer(own.layer());
    assert_eq!(
        send(&app.layer(server.layer()), get("/wipe", Some(&world.token(""))))
            .await
            .status,
        401
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn rs_15_under_a_table_only_the_resources_own_path_is_open() {
    let world = World::new();
    let server = world.builder().scope_table(table()).build().unwrap();
    let app = Router::new()
        .route("/", on_post(hello))
        .route("/mcp", on_post(hello).get(hello))
        .route("/mcp/wipe", on_post(hello))
        .route("/wipe", on_post(hello))
        .route("/export", on_get(hello))
        .layer(server.layer());
    let token = world.token("");
    for path in ["/mcp", "/mcp/", "/mcp?x=1"] {
        let reply = send(&app, at(path, ping(&token))).await;
        let expected = if path == "/mcp/" { 404 } else { 200 };
        assert_eq!(reply.status, expected, "{path}: {}", reply.body);
    }
    for path in ["/wipe", "/", "/mcp/wipe", "/mcp%2Fwipe", "//mcp", "/elsewhere"] {
        let reply = send(&app, at(path, ping(&token))).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.body);
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body["error"]["data"]["reason"], "not_the_mcp_path", "{path}");
    }
    let stream = |path: &str| {
        let mut request = get(path, Some(&token));
        let accept = "text/event-stream".parse().unwrap();
        request.headers_mut().insert("accept", accept);
        request
    };
    assert_eq!(send(&app, stream("/mcp")).await.status, 200);
    assert_eq!(send(&app, stream("/export")).await.status, 404);
    let nobody = send(&app, get("/export", None)).await;
    assert_eq!(nobody.status, 401, "strangers learn nothing about paths");
}

#[tokio::test]
async fn rs_15_the_path_is_known_however_the_layer_is_nested() {
    let world = World::new();
    let token = world.token("");
    let server = world
        .builder_of("https://mcp.test/api/mcp")
        .scope_table(table())
        .build()
        .unwrap();
    let token_of = with(claims(""), "aud", json!("https://mcp.test/api/mcp"));
    let good = world.sign(&token_of);
    let mcp = || {
        Router::new()
            .route("/", on_post(hello))
            .route("/wipe", on_post(hello))
    };
    for (how, app) in [
        (
            "the layer in two nests",
            Router::new().nest("/api", Router::new().nest("/mcp", mcp().layer(server.layer()))),
        ),
        (
            "between them",
            Router::new().nest("/api", Router::new().nest("/mcp", mcp()).layer(server.layer())),
        ),
        (
            "around them",
            Router::new()
                .nest("/api", Router::new().nest("/mcp", mcp()))
                .layer(server.layer()),
        ),
        (
            "around a service",
            Router::new()
                .nest_service("/api/mcp", mcp())
                .layer(server.layer()),
        ),
        (
            "around the service in the nest",
            Router::new().nest_service("/api/mcp", tower_layer::Layer::layer(&server.layer(), mcp())),
        ),
    ] {
        for (path, status) in [("/api/mcp", 200), ("/api/mcp/wipe", 404)] {
            let reply = send(&app, at(path, ping(&good))).await;
            assert_eq!(reply.status, status, "{how}, {path}: {}", reply.body);
        }
        assert_eq!(
            send(&app, at("/api/mcp", ping(&token))).await.status,
            401,
            "{how}"
        );
    }
}

#[tokio::test]
async fn rs_15_behind_a_proxy_that_rewrites_paths_they_are_named() {
    let world = World::new();
    let build = |paths: &[&str]| {
        world
            .builder()
            .scope_table(table())
            .mcp_paths(paths.iter().copied())
    };
    let server = build(&["/internal/mcp", "/old"]).build().unwrap();
    let app = Router::new()
        .route("/mcp", on_post(hello))
        .route("/internal/mcp", on_post(hello))
        .layer(server.layer());
    let token = world.token("");
    assert_eq!(send(&app, at("/internal/mcp", ping(&token))).await.status, 200);
    assert_eq!(send(&app, ping(&token)).await.status, 404, "no longer");
    for paths in [&[][..], &["mcp"], &["/mcp", ""], &["/mcp?x"]] {
        assert!(
            matches!(build(paths).build(), Err(BuildError::McpPath(_))),
            "{paths:?}"
        );
    }
}

#[tokio::test]
async fn ds_02_a_body_that_does_not_arrive_is_not_waited_for() {
    let world = World::new();
    let server = world.builder().scope_table(table());
    let server = server.body_timeout(Duration::from_millis(50)).build().unwrap();
    let app = Router::new().route("/mcp", on_post(hello)).layer(server.layer());
    let (_open, body) = endless();
    let request = ping(&world.token("")).map(|_| body);
    let reply = send(&app, request).await;
    assert_eq!((reply.status.as_u16(), reply.challenge), (408, None));
    assert!(reply.body.contains("body_timed_out"), "{}", reply.body);
}

/// A body that gives its first byte and then nothing, as long as what is returned beside it is kept.
fn endless() -> (tokio::sync::oneshot::Sender<()>, Body) {
    let (open, closed) = tokio::sync::oneshot::channel::<()>();
    (open, Body::new(Endless { begun: false, closed }))
}

struct Endless {
    begun: bool,
    closed: tokio::sync::oneshot::Receiver<()>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if !std::mem::replace(&mut self.begun, true) {
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"{")))));
        }
        std::future::Future::poll(std::pin::Pin::new(&mut self.closed), context).map(|_| None)
    }
}
