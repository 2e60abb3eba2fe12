//! An rmcp server behind the authorization server that rmcp's own example of one has: no resource metadata, a 401 that says
//! nothing, and metadata at the origin, as 2025-03-26 had it. Tokens last for seconds; everybody who asks is let in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Form, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rmcp::handler::server::common::Extension;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Fields = HashMap<String, String>;

/// What the authorization server knows.
#[derive(Default)]
struct Issued {
    origin: String,
    issuer: String,
    lifetime: Duration,
    registrations: u64,
    logins: u64,
    refreshes: u64,
    serial: u64,
    /// Codes, and the challenge that each belongs to.
    codes: HashMap<String, Fields>,
    /// Access tokens: number and end.
    access: HashMap<String, (u64, Instant)>,
    refresh: Vec<String>,
}

type Shared = Arc<Mutex<Issued>>;

/// The number of the token that a request came with.
#[derive(Clone, Copy)]
struct Used(u64);

#[derive(Clone)]
struct Tools(Shared);

#[tool_router]
impl Tools {
    #[tool(description = "What happened so far")]
    async fn history(&self, Extension(parts): Extension<Parts>) -> String {
        let issued = self.0.lock().unwrap();
        json!({
            "registrations": issued.registrations,
            "logins": issued.logins,
            "refreshes": issued.refreshes,
            "serial": issued.serial,
            "used": parts.extensions.get::<Used>().unwrap().0,
        })
        .to_string()
    }
}

#[tool_handler(name = "protected")]
impl ServerHandler for Tools {}

/// Starts it, and hands back its URL. `issuer` makes the issuer out of the origin: rmcp's example leaves the scheme out.
pub(crate) async fn start(lifetime: Duration, issuer: impl Fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let shared = Shared::new(Mutex::new(Issued {
        issuer: issuer(&origin),
        origin: origin.clone(),
        lifetime,
        ..Issued::default()
    }));
    let tools = Tools(Arc::clone(&shared));
    let mcp: StreamableHttpService<Tools, LocalSessionManager> = StreamableHttpService::new(
        move || Ok(tools.clone()),
        LocalSessionManager::default().into(),
        rmcp::transport::StreamableHttpServerConfig::default(),
    );
    let app = Router::new()
        .nest_service("/mcp", mcp)
        .layer(from_fn_with_state(Arc::clone(&shared), bearer))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/oauth/register", post(register))
        .route("/oauth/authorize", get(authorize))
        .route("/oauth/token", post(token))
        .with_state(shared);
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("{origin}/mcp")
}

async fn bearer(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION);
    let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let used = token.and_then(|token| {
        let issued = shared.lock().unwrap();
        let (serial, end) = issued.access.get(token)?;
        (*end > Instant::now()).then_some(Used(*serial))
    });
    let Some(used) = used else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.extensions_mut().insert(used);
    next.run(request).await
}

async fn metadata(State(shared): State<Shared>) -> Json<Value> {
    let issued = shared.lock().unwrap();
    let origin = &issued.origin;
    Json(json!({
        "issuer": issued.issuer,
        "authorization_endpoint": format!("{origin}/oauth/authorize"),
        "token_endpoint": format!("{origin}/oauth/token"),
        "registration_endpoint": format!("{origin}/oauth/register"),
        "jwks_uri": format!("{origin}/oauth/jwks"),
        "scopes_supported": ["profile", "email"],
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

/// As in the example: a secret for everybody, and no word about how to use it.
async fn register(State(shared): State<Shared>, Json(asked): Json<Value>) -> impl IntoResponse {
    let mut issued = shared.lock().unwrap();
    issued.registrations += 1;
    let client = json!({
        "client_id": format!("client-{}", issued.registrations),
        "client_secret": "a secret that nobody uses",
        "client_name": asked["client_name"],
        "redirect_uris": asked["redirect_uris"],
    });
    (StatusCode::CREATED, Json(client))
}

async fn authorize(State(shared): State<Shared>, Query(asked): Query<Fields>) -> impl IntoResponse {
    let mut issued = shared.lock().unwrap();
    issued.logins += 1;
    let code = format!("code-{}", issued.logins);
    let mut back = url::Url::parse(&asked["redirect_uri"]).unwrap();
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked["state"]);
    issued.codes.insert(code, asked);
    (StatusCode::FOUND, [(LOCATION, back.to_string())])
}

async fn token(State(shared): State<Shared>, Form(asked): Form<Fields>) -> Response {
    let mut issued = shared.lock().unwrap();
    let field = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let granted = match field("grant_type").as_str() {
        "authorization_code" => issued.codes.remove(&field("code")).is_some_and(|request| {
            request["redirect_uri"] == field("redirect_uri")
                && !request["code_challenge"].is_empty()
                && !field("code_verifier").is_empty()
        }),
        "refresh_token" => {
            let before = issued.refresh.len();
            issued.refresh.retain(|token| *token != field("refresh_token"));
            let granted = issued.refresh.len() < before;
            issued.refreshes += u64::from(granted);
            granted
        }
        _ => false,
    };
    if !granted {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into_response();
    }
    issued.serial += 1;
    let (access, refresh) = (
        format!("mcp-token-{}", issued.serial),
        format!("mcp-refresh-{}", issued.serial),
    );
    let entry = (issued.serial, Instant::now() + issued.lifetime);
    issued.access.insert(access.clone(), entry);
    issued.refresh.push(refresh.clone());
    let answer = json!({
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": issued.lifetime.as_secs(),
        "refresh_token": refresh,
        "scope": "profile email",
    });
    Json(answer).into_response()
}
