//! The layer, the extractors and the guards on axum, and the table in front of rmcp's way of reading requests.

use axum::Router;
use axum::routing::get as on_get;
use doorward_policy::{ScopeEntry, ScopeTable};
use doorward_resource_server::{
    AccessToken, Granted, Permission, ResourceServer, ScopeRule, TokenFacts, TokenRefusal, TokenVerifier,
    UnverifiedToken, Verification,
};
use doorward_types::url::{Issuer, ResourceUri};
use http::Request;
use http::request::Parts;
use serde_json::{Value, json};

use crate::world::{ISSUER, NOW, RESOURCE, World, call, claims, get, message, send, with};

const METADATA: &str = "https://mcp.test/.well-known/oauth-protected-resource/mcp";

async fn hello(token: AccessToken) -> String {
    format!("Hello {}", token.subject())
}

fn app(server: &ResourceServer) -> Router {
    Router::new().route("/mcp", on_get(hello)).layer(server.layer())
}

#[tokio::test]
async fn r24_r28_the_layer_serves_metadata_and_sends_the_tokenless_there() {
    let world = World::new();
    let server = world
        .builder()
        .required_scopes("notes:read")
        .name("Notes")
        .documentation("https://mcp.test/docs")
        .build()
        .unwrap();
    let app = app(&server);
    let refused = send(&app, get("/mcp", None)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.challenge.unwrap(),
        format!("Bearer resource_metadata=\"{METADATA}\", scope=\"notes:read\"")
    );
    let path = METADATA.strip_prefix("https://mcp.test").unwrap();
    let document = send(&app, get(path, None)).await;
    assert_eq!(document.status, 200);
    let document: Value = serde_json::from_str(&document.body).unwrap();
    assert_eq!(document["resource"], RESOURCE);
    assert_eq!(document["authorization_servers"], json!([ISSUER]));
    assert_eq!(document["scopes_supported"], json!(["notes:read"]));
    assert_eq!(document["resource_name"], "Notes");
    assert_eq!(document["resource_documentation"], "https://mcp.test/docs");
    let bare = send(&app, get("/.well-known/oauth-protected-resource", None)).await;
    assert_eq!(bare.status, 401, "not said to be the only one of the host");
}

#[tokio::test]
async fn r23_r25_a_handler_gets_the_verified_token_with_its_claims() {
    let world = World::new();
    let server = world.builder().build().unwrap();
    let facts = async |token: AccessToken| {
        json!([
            token.subject(),
            token.client_id(),
            token.scopes(),
            token.issuer(),
            token.resource(),
            token.groups(),
            token.expires().seconds(),
            token.issued().unwrap().seconds(),
            token.token_id(),
            token.is_client(),
            token.claim("department"),
            token.tenant().map(ToString::to_string),
        ])
        .to_string()
    };
    let app = Router::new().route("/mcp", on_get(facts)).layer(server.layer());
    for _ in 0..2 {
        let token = world.token("notes:read notes:write");
        let reply = send(&app, get("/mcp", Some(&token))).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(
            serde_json::from_str::<Value>(&reply.body).unwrap(),
            json!([
                "alice@login.test",
                "https://client.test/id",
                "notes:read notes:write",
                ISSUER,
                RESOURCE,
                ["eng"],
                NOW + 600,
                NOW,
                "t1",
                false,
                "R&D",
                null,
            ])
        );
    }
}

#[tokio::test]
async fn r27_rs_04_rs_05_rs_06_rs_13_what_is_no_token_for_this_resource_is_refused() {
    let world = World::new();
    let app = app(&world.builder().build().unwrap());
    let other = World::new();
    let good = claims("a");
    let mut cases = vec![("another key", other.sign(&good))];
    for (name, value) in [
        ("aud", json!("https://mcp.test/mcp/")),
        ("aud", json!("https://mcp.test")),
        ("aud", json!([RESOURCE, "https://other.test"])),
        ("aud", json!([])),
        ("aud", json!(null)),
        ("iss", json!("https://login.test/")),
        ("exp", json!(NOW - 61)),
        ("exp", json!("9999999999")),
        ("iat", json!(NOW + 3600)),
        ("nbf", json!(NOW + 3600)),
        ("nonce", json!("n")),
        ("at_hash", json!("h")),
        ("cnf", json!({ "jkt": "x" })),
        ("scope", json!(["a"])),
        ("sub", json!("")),
        ("client_id", json!(7)),
        ("groups", json!("eng")),
        ("jti", json!(null)),
    ] {
        cases.push((name, world.sign(&with(good.clone(), name, value))));
    }
    for typ in ["JWT", "id_token+jwt", "dpop+jwt", "doorward-identity+jwt"] {
        cases.push((typ, world.key.sign(typ, &good).unwrap()));
    }
    for (what, token) in cases {
        for _ in 0..2 {
            let reply = send(&app, get("/mcp", Some(&token))).await;
            assert_eq!(reply.status, 401, "{what}");
            assert!(
                reply.challenge.unwrap().contains("error=\"invalid_token\""),
                "{what}"
            );
        }
    }
    let one = world.sign(&with(good, "aud", json!([RESOURCE])));
    assert_eq!(send(&app, get("/mcp", Some(&one))).await.status, 200);
}

#[tokio::test]
async fn r26_scopes_are_asked_for_together_and_malformed_credentials_are_400() {
    let world = World::new();
    let app = app(&world.builder().required_scopes("a b").build().unwrap());
    let reply = send(&app, get("/mcp", Some(&world.token("a")))).await;
    assert_eq!(reply.status, 403);
    let challenge = reply.challenge.unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"a b\""));
    assert_eq!(
        send(&app, get("/mcp", Some(&world.token("a b c")))).await.status,
        200
    );
    let token = world.token("a b");
    let twice = Request::get("/mcp").header("authorization", format!("Bearer {token}, Bearer {token}"));
    let reply = send(&app, twice.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(reply.status, 400);
    assert!(reply.challenge.unwrap().contains("error=\"invalid_request\""));
    let in_url = send(&app, get(&format!("/mcp?access_token={token}"), None)).await;
    assert_eq!(in_url.status, 400);
}

struct Edit;

impl Permission for Edit {
    fn scopes() -> ScopeRule {
        ScopeRule::any_of(["notes:write", "notes:admin"]).unwrap()
    }

    fn allows(token: &AccessToken, head: &Parts) -> bool {
        token.groups().iter().any(|group| group == "eng") && !head.headers.contains_key("x-readonly")
    }
}

#[tokio::test]
async fn r26_r30_guards_on_routes_and_handlers() {
    let world = World::new();
    let server = world.builder().required_scopes("notes:read").build().unwrap();
    let rule = server.require(ScopeRule::all_of(["notes:read", "notes:export"]).unwrap());
    let rule = rule.and(|token, _| token.groups().iter().any(|group| group == "eng"));
    let app = Router::new()
        .route(
            "/edit",
            on_get(async |granted: Granted<Edit>| granted.token().subject().to_owned()),
        )
        .route("/export", on_get(hello).route_layer(rule))
        .layer(server.layer());
    let reply = send(&app, get("/edit", Some(&world.token("notes:read")))).await;
    assert_eq!(reply.status, 403);
    assert!(
        reply
            .challenge
            .unwrap()
            .contains("scope=\"notes:write\", error=\"insufficient_scope\"")
    );
    for enough in ["notes:read notes:write", "notes:read notes:admin"] {
        assert_eq!(
            send(&app, get("/edit", Some(&world.token(enough)))).await.status,
            200
        );
    }
    let foreign = with(claims("notes:read notes:write notes:export"), "groups", json!([]));
    let foreign = world.sign(&foreign);
    for path in ["/edit", "/export"] {
        let reply = send(&app, get(path, Some(&foreign))).await;
        assert_eq!(reply.status, 403, "{path}");
        assert_eq!(reply.challenge, None, "another token would not help");
    }
    let reply = send(&app, get("/export", Some(&world.token("notes:read")))).await;
    assert!(
        reply
            .challenge
            .unwrap()
            .contains("scope=\"notes:export notes:read\"")
    );
    let token = world.token("notes:read notes:export");
    assert_eq!(send(&app, get("/export", Some(&token))).await.status, 200);
    let unprotected = Router::new().route("/", on_get(hello));
    assert_eq!(send(&unprotected, get("/", Some(&token))).await.status, 500);
}

#[tokio::test]
async fn r39_a_token_of_another_resource_of_the_host_is_nothing() {
    let world = World::new();
    let outer = world.builder().build().unwrap();
    let inner = world.builder_of("https://mcp.test/admin").build().unwrap();
    let rule = inner.require(ScopeRule::all_of([""; 0]).unwrap());
    let app = Router::new()
        .route("/admin", on_get(hello).route_layer(rule))
        .layer(outer.layer());
    let reply = send(&app, get("/admin", Some(&world.token("a")))).await;
    assert_eq!(reply.status, 401);
    let challenge = reply.challenge.unwrap();
    assert!(
        challenge.contains("/.well-known/oauth-protected-resource/admin\""),
        "{challenge}"
    );
}

fn table() -> ScopeTable {
    let mut read = ScopeEntry::new("t:read".parse().unwrap(), "Read");
    read.tools = vec!["read_*".parse().unwrap()];
    let mut write = ScopeEntry::new("t:write".parse().unwrap(), "Write");
    write.tools = vec!["write".parse().unwrap(), "read_write".parse().unwrap()];
    write.step_up = true;
    ScopeTable::new(vec![read, write]).unwrap()
}

#[tokio::test]
async fn r26_rs_15_a_table_judges_each_message_and_hands_on_what_it_judged() {
    let world = World::new();
    let server = world.builder().scope_table(table()).build().unwrap();
    let echo = async |token: AccessToken, body: String| format!("{} {body}", token.subject());
    let app = Router::new()
        .route("/mcp", axum::routing::post(echo))
        .layer(server.layer());
    let token = world.token("t:read");
    let reply = send(&app, call(&token, "read_note")).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.body.starts_with("alice@login.test {") && reply.body.contains("read_note"));

    let reply = send(&app, call(&token, "read_write")).await;
    assert_eq!(reply.status, 403);
    assert!(
        reply
            .challenge
            .unwrap()
            .contains("scope=\"t:read t:write\", error=\"insufficient_scope\"")
    );
    let error: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(error["id"], 7);
    assert_eq!(error["error"]["data"]["reason"], "insufficient_scope");
    assert_eq!(error["error"]["data"]["scopes"], json!(["t:read", "t:write"]));

    let unnamed = send(&app, call(&token, "other")).await;
    assert_eq!((unnamed.status.as_u16(), unnamed.challenge), (403, None));
    let nothing = world.token("");
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    assert_eq!(send(&app, message(&nothing, &list)).await.status, 200);
    let twice = Request::post("/mcp")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(axum::body::Body::from(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_a","name":"write"}}"#,
        ))
        .unwrap();
    assert_eq!(send(&app, twice).await.status, 400);
}

/// A verifier of one's own: whoever knows the word is bob.
struct Word;

impl TokenVerifier for Word {
    fn verify<'a>(&'a self, resource: &'a ResourceUri, token: UnverifiedToken<'a>) -> Verification<'a> {
        if token.expose() != "sesame" {
            return Verification::known(Err(TokenRefusal::Inactive));
        }
        let facts = TokenFacts {
            issuer: Issuer::parse(ISSUER).unwrap(),
            subject: "bob".into(),
            client_id: doorward_types::id::ClientId::new("c"),
            scopes: "a".parse().unwrap(),
            groups: Vec::new(),
            resource: resource.clone(),
            token_id: None,
            issued: None,
            not_before: None,
            expires: doorward_types::time::UnixTime::from_seconds(NOW + 60),
            authenticated: None,
            tenant: None,
            claims: serde_json::Map::new(),
        };
        let now = doorward_types::time::UnixTime::from_seconds(NOW);
        Verification::known(token.accept(facts, resource, now))
    }
}

#[tokio::test]
async fn r23_a_verifier_of_ones_own() {
    let server = ResourceServer::builder(RESOURCE)
        .issuer(ISSUER)
        .verifier(Word)
        .build()
        .unwrap();
    let app = app(&server);
    assert_eq!(send(&app, get("/mcp", Some("sesame"))).await.body, "Hello bob");
    assert_eq!(send(&app, get("/mcp", Some("mustard"))).await.status, 401);
}

#[test]
fn r24_settings_that_cannot_be_meant_are_told() {
    let build = |resource: &str, issuer: &str, scopes: &str| {
        ResourceServer::builder(resource)
            .issuer(issuer)
            .required_scopes(scopes)
            .build()
            .map(drop)
    };
    assert!(build(RESOURCE, ISSUER, "a b").is_ok());
    for (resource, issuer, scopes, word) in [
        ("http://mcp.test/mcp", ISSUER, "", "resource"),
        (RESOURCE, "https://login.test?x", "", "issuer"),
        (RESOURCE, ISSUER, "a  b", "scopes"),
    ] {
        let error = build(resource, issuer, scopes).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(ResourceServer::builder(RESOURCE).build().is_err(), "no issuer");
}
