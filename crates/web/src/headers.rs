//! The response headers that every answer of this crate carries. One place, so that no page is forgotten.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::state::WebState;

/// No script, no frame, nothing from elsewhere. There is no `form-action` on purpose: browsers apply it
/// to every later hop of the redirect back to the client, and the Allow button would then do nothing.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The same for the pages that ask for a passkey, which takes a script: one file of ours, none in the page.
const POLICY_WITH_SCRIPT: &str = "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Marks an answer whose page loads our script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scripted;

/// Adds what a handler did not say itself: by default nothing is cached and no referrer is sent.
pub(crate) async fn protect(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = match response.extensions_mut().remove::<Scripted>() {
        Some(Scripted) => POLICY_WITH_SCRIPT,
        None => POLICY,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, default) in [(REFERRER_POLICY, "no-referrer"), (CACHE_CONTROL, "no-store")] {
        let name: HeaderName = name;
        headers.entry(name).or_insert(HeaderValue::from_static(default));
    }
    if state.site().is_https() {
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    response
}

/// For pages with a form: with `no-referrer` browsers would send `Origin: null` with the form.
pub(crate) const FORM_REFERRER: (HeaderName, HeaderValue) =
    (REFERRER_POLICY, HeaderValue::from_static("same-origin"));
