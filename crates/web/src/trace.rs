//! Every request is followed, so that `doorward explain` can show the login it belongs to.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use doorward_limits::PeerAddress;
use doorward_recorder::{Actor, Arrival, Followed, HEADER, Kind};
use http::{HeaderName, HeaderValue, Uri};
use url::form_urlencoded;

use crate::state::WebState;

const TRACE: HeaderName = HeaderName::from_static(HEADER);
/// Pages that a person sees; everything else is called by programs.
const PAGES: [&str; 8] = [
    "/authorize",
    "/login",
    "/consent",
    "/logout",
    "/setup",
    "/account",
    "/device",
    "/security",
];
/// With what a client begins, if it was here before.
const BEGINNINGS: [&str; 5] = [
    "/authorize",
    "/register",
    "/token",
    "/par",
    "/device_authorization",
];

/// Layer for every route: the answer to a refusal names its trace.
pub(crate) async fn follow(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let Some(followed) = followed(&request) else {
        return next.run(request).await;
    };
    let answering = next.run(request);
    let status = |response: &Response| response.status().as_u16();
    let (mut response, trace) = state.recorder().follow(followed, answering, status).await;
    let is_refusal = response.status().is_client_error() || response.status().is_server_error();
    if let Some(trace) = trace.filter(|_| is_refusal)
        && let Ok(value) = HeaderValue::from_str(&trace.to_string())
    {
        response.headers_mut().insert(TRACE, value);
    }
    response
}

/// What is known of a request before it is answered. `None` for what belongs to no login: probes, style sheets.
fn followed(request: &Request) -> Option<Followed> {
    let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // Endpoints also lie below the path of the issuer.
    let ends_with = |path: &str| template.is_some_and(|template| template.ends_with(path));
    let (path, kind) = match template {
        None => ("(no such page)", Kind::Elsewhere),
        Some("/healthz" | "/readyz" | "/static/{name}") => return None,
        Some(template) if template.contains("/.well-known/") => (template, Kind::Document),
        Some(template) if BEGINNINGS.iter().any(|path| ends_with(path)) => (template, Kind::Begins),
        Some(template) => (template, Kind::Follows),
    };
    let is_page = template.is_none_or(|template| {
        template == "/"
            || PAGES
                .iter()
                .any(|page| ends_with(page) || template.starts_with(&format!("{page}/")))
    });
    let (client, resource) = if ends_with("/authorize") {
        named(request.uri())
    } else {
        (None, None)
    };
    let traceparent = request.headers().get("traceparent");
    Some(Followed {
        actor: if is_page { Actor::Browser } else { Actor::Client },
        method: request.method().as_str().into(),
        path: path.into(),
        kind,
        arrival: Arrival {
            peer: request.extensions().get::<PeerAddress>().map(|peer| peer.0),
            client,
            resource,
            traceparent: traceparent.and_then(|value| value.to_str().ok()).map(Into::into),
        },
    })
}

/// The client and the resource that an authorization request names: all of the query that is ever written down.
fn named(uri: &Uri) -> (Option<String>, Option<String>) {
    let query = uri.query().unwrap_or_default().as_bytes();
    let find = |name: &str| {
        form_urlencoded::parse(query)
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.into_owned())
            .filter(|value| value.len() <= 512)
    };
    (find("client_id"), find("resource"))
}
