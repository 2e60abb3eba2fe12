//! An issuer with a key, and requests to what it protects.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use doorward_jose::{JwkSet, SigningKey};
use doorward_resource_server::{LocalKeys, ResourceServer, ResourceServerBuilder};
use doorward_types::time::{FixedClock, UnixTime};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://login.test";
pub(crate) const RESOURCE: &str = "https://mcp.test/mcp";

pub(crate) struct World {
    pub(crate) key: SigningKey,
    pub(crate) clock: Arc<FixedClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            key: SigningKey::generate().unwrap(),
            clock: Arc::new(FixedClock::new(UnixTime::from_seconds(NOW))),
        }
    }

    pub(crate) fn builder_of(&self, resource: &str) -> ResourceServerBuilder {
        let keys = JwkSet::new([self.key.public_jwk().clone()]).unwrap();
        ResourceServer::builder(resource)
            .issuer(ISSUER)
            .keys(LocalKeys::new(keys))
            .clock(Arc::clone(&self.clock))
    }

    pub(crate) fn builder(&self) -> ResourceServerBuilder {
        self.builder_of(RESOURCE)
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.key.sign("at+jwt", claims).unwrap()
    }

    pub(crate) fn token(&self, scope: &str) -> String {
        self.sign(&claims(scope))
    }
}

pub(crate) fn claims(scope: &str) -> Value {
    json!({
        "iss": ISSUER, "sub": "alice@login.test", "aud": RESOURCE, "exp": NOW + 600, "iat": NOW, "jti": "t1",
        "client_id": "https://client.test/id", "scope": scope, "groups": ["eng"], "department": "R&D",
    })
}

pub(crate) fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) challenge: Option<String>,
    pub(crate) body: String,
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Reply {
    let response: Response<Body> = app.clone().oneshot(request).await.unwrap();
    let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    assert!(challenges.len() <= 1, "one challenge");
    let challenge = challenges.first().map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Reply {
        status,
        challenge,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) fn get(path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}

/// A message of 2025-06-18.
pub(crate) fn message(token: &str, message: &Value) -> Request<Body> {
    Request::post("/mcp")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-06-18")
        .body(Body::from(message.to_string()))
        .unwrap()
}

pub(crate) fn call(token: &str, tool: &str) -> Request<Body> {
    let params = json!({ "name": tool, "arguments": {} });
    message(
        token,
        &json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }),
    )
}
