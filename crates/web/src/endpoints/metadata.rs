//! What clients discover (RFC 8414, OpenID Connect Discovery). The same document answers at every place
//! where a client of any revision may look for this issuer, and nowhere else: a document under another
//! identifier's path would name an issuer that the asking client must refuse (RFC 8414 §3.3).

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{any, get};
use doorward_types::url::Issuer;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::cors;
use crate::endpoints::{json, jwks};
use crate::state::WebState;

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/.well-known/jwks.json";

/// Public documents may be kept for five minutes.
pub(crate) const BRIEFLY: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The routes of the documents, readable from every origin.
pub(crate) fn routes(issuer: &Issuer) -> Router<WebState> {
    let path = issuer_path(issuer);
    let mut router = Router::new()
        .route(OAUTH, get(oauth))
        .route(OPENID, get(openid))
        .route(JWKS, get(jwks::show));
    if !path.is_empty() {
        router = router
            .route(&format!("{OAUTH}{path}"), get(oauth))
            .route(&format!("{OPENID}{path}"), get(openid))
            .route(&format!("{path}{OAUTH}"), get(oauth))
            .route(&format!("{path}{OPENID}"), get(openid))
            .route(&format!("{path}{JWKS}"), get(jwks::show));
    }
    // Browsers only see that a document is missing if the answer is readable from their origin, too.
    router
        .route("/.well-known/{*other}", any(absent))
        .layer(from_fn(cors::open))
}

/// The path of an issuer without a trailing slash (RFC 8414 §3.1); empty if there is none.
pub(crate) fn issuer_path(issuer: &Issuer) -> String {
    url::Url::parse(issuer.as_str())
        .map(|url| url.path().trim_end_matches('/').to_owned())
        .unwrap_or_default()
}

async fn oauth(State(state): State<WebState>) -> Response {
    document(state.site().oauth_metadata.clone())
}

async fn openid(State(state): State<WebState>) -> Response {
    document(state.site().openid_metadata.clone())
}

/// What the operator's own client is (client ID metadata document draft, section 4), for authorization servers elsewhere.
pub(crate) async fn client(State(state): State<WebState>) -> Response {
    match state.client_metadata() {
        Some(body) => document(body.to_owned()),
        None => absent().await,
    }
}

async fn absent() -> Response {
    json(
        StatusCode::NOT_FOUND,
        r#"{"error":"not_found","error_description":"there is no such document here"}"#.into(),
    )
}

/// A public document.
pub(crate) fn document(body: String) -> Response {
    let mut response = json(StatusCode::OK, body);
    response.headers_mut().insert(CACHE_CONTROL, BRIEFLY);
    response
}
