use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use doorward_client::http::{HttpRequest, HttpResponse, TransportError};
use doorward_types::time::{FixedClock, UnixTime};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const RESOURCE: &str = "https://as.example/stdio/notes";

/// An authorization server without a login.
#[derive(Default)]
pub(crate) struct World {
    /// Every path that was asked.
    pub(crate) seen: Mutex<Vec<String>>,
    pub(crate) down: AtomicBool,
    /// The token endpoint is elsewhere.
    pub(crate) moved: AtomicBool,
    pub(crate) scopes: Mutex<Option<Value>>,
}

impl World {
    pub(crate) fn count(&self, end: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|path| path.ends_with(end)).count()
    }

    fn token_endpoint(&self) -> &'static str {
        if self.moved.load(Ordering::SeqCst) {
            "/new/token"
        } else {
            "/token"
        }
    }
}

#[async_trait]
impl Http for World {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let path = request.url.path().to_owned();
        self.seen.lock().unwrap().push(path.clone());
        if self.down.load(Ordering::SeqCst) {
            return Err(TransportError::Failed("connection refused".to_owned()));
        }
        let (status, body) = if path == "/.well-known/oauth-authorization-server" {
            let mut metadata = json!({
                "issuer": ISSUER,
                "authorization_endpoint": format!("{ISSUER}/authorize"),
                "token_endpoint": format!("{ISSUER}{}", self.token_endpoint()),
                "code_challenge_methods_supported": ["S256"],
                "response_types_supported": ["code"],
                "token_endpoint_auth_methods_supported": ["none"],
            });
            if let Some(scopes) = &*self.scopes.lock().unwrap() {
                metadata["scopes_supported"] = scopes.clone();
            }
            (200, metadata)
        } else if path == self.token_endpoint() {
            let tokens = json!({ "access_token": "renewed", "refresh_token": "next", "token_type": "Bearer", "expires_in": 600 });
            (200, tokens)
        } else {
            (404, json!({}))
        };
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(http::header::CONTENT_TYPE, json);
        Ok(HttpResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from(body.to_string()),
        })
    }
}

pub(crate) fn wanted() -> Wanted {
    Wanted {
        resource: Url::parse(RESOURCE).unwrap(),
        scopes: "notes".parse().unwrap(),
    }
}

pub(crate) fn known(world: &Arc<World>, clock: &Arc<FixedClock>) -> Arc<Known> {
    let http = Arc::clone(world) as Arc<dyn Http>;
    let mut server = AuthorizationServer::of_issuer(ISSUER);
    server.scopes_supported = vec!["notes".to_owned()];
    Known::new(http, wanted(), server, Arc::clone(clock) as Arc<dyn Clock>)
}

pub(crate) fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::new(UnixTime::from_seconds(1_800_000_000)))
}

fn token_endpoint(found: &Discovered) -> &str {
    found.authorization_server.token_endpoint.path()
}

#[tokio::test]
async fn r08_what_was_found_is_taken_for_fifteen_minutes() {
    let (world, clock) = (Arc::new(World::default()), clock());
    let known = known(&world, &clock);
    for _ in 0..3 {
        assert_eq!(token_endpoint(&known.for_call().await.unwrap()), "/token");
        known.for_login().await.unwrap();
    }
    let once = world.count("/.well-known/oauth-authorization-server");
    assert_eq!(once, 1);
    world.moved.store(true, Ordering::SeqCst);
    clock.advance(FRESH);
    assert_eq!(token_endpoint(&known.for_call().await.unwrap()), "/new/token");
    // What did not work is asked about at once.
    world.moved.store(false, Ordering::SeqCst);
    known.doubt();
    assert_eq!(token_endpoint(&known.for_login().await.unwrap()), "/token");
}

#[tokio::test]
async fn r08_a_server_that_does_not_answer_is_left_alone_for_a_while() {
    let (world, clock) = (Arc::new(World::default()), clock());
    let known = known(&world, &clock);
    world.down.store(true, Ordering::SeqCst);
    known.for_call().await.unwrap_err();
    let asked = world.seen.lock().unwrap().len();
    assert!(asked > 0);
    known.for_call().await.unwrap_err();
    assert_eq!(world.seen.lock().unwrap().len(), asked);
    world.down.store(false, Ordering::SeqCst);
    // A person who presses the button has it tried.
    known.for_login().await.unwrap();
    known.for_call().await.unwrap();
    // What was found stays known while there is nothing newer to be had.
    world.down.store(true, Ordering::SeqCst);
    clock.advance(FRESH);
    known.for_call().await.unwrap();
    known.for_login().await.unwrap_err();
}

#[tokio::test]
async fn r08_metadata_without_scopes_takes_none_away() {
    let (world, clock) = (Arc::new(World::default()), clock());
    let known = known(&world, &clock);
    let found = known.renewed().await.unwrap();
    let of = |found: &Discovered| described(known.configured(), &found.authorization_server).scopes_supported;
    assert_eq!(of(&found), ["notes"]);
    *world.scopes.lock().unwrap() = Some(json!(["a", "b"]));
    assert_eq!(of(&known.renewed().await.unwrap()), ["a", "b"]);
}
