//! `POST /token` (RFC 6749 §3.2): codes and refresh tokens become access tokens.

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use doorward_authorization_server::grants::authorization_code::CodeFacts;
use doorward_authorization_server::grants::{Decided, Issue, authorization_code, refresh_token};
use doorward_authorization_server::mint;
use doorward_authorization_server::token::{self, GrantRequest, HttpRequest, TokenRefusal};
use doorward_oauth::token::TokenResponse;
use doorward_records::code::CodeState;
use doorward_storage::LoadError;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body;
use crate::commit::{Attempts, Unavailable};
use crate::endpoints::{bad_body, json, oauth_error};
use crate::state::WebState;

/// Why there is no token.
enum Refused {
    /// By a rule.
    Rule(TokenRefusal),
    /// Because storage did not answer; nothing was changed.
    Storage(Unavailable),
}

/// `POST /token`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match body::read_any(Request::from_parts(parts.clone(), body)).await {
        Ok(body) => body,
        Err(error) => return bad_body(error, body::FORM),
    };
    match answer(&state, &parts, &body).await {
        Ok(response) => json(StatusCode::OK, response.to_json().expose().to_owned()),
        Err(Refused::Rule(refusal)) => {
            let mut response = refuse(&refusal);
            // RFC 6749 §5.2: who tried with the header is told the scheme.
            if response.status() == StatusCode::UNAUTHORIZED && parts.headers.contains_key(AUTHORIZATION) {
                let basic = HeaderValue::from_static("Basic realm=\"token\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            }
            response
        }
        Err(Refused::Storage(error)) => {
            error.log("token");
            refuse(&TokenRefusal::Unavailable)
        }
    }
}

fn refuse(refusal: &TokenRefusal) -> Response {
    tracing::info!(rule = refusal.requirement().id, reason = ?refusal, "token: refused");
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = refusal.body();
    oauth_error(status, body.error, body.error_description)
}

async fn answer(state: &WebState, parts: &Parts, body: &Bytes) -> Result<TokenResponse, Refused> {
    let content_type = text_of(&parts.headers);
    let request = token::parse(&HttpRequest {
        content_type: &content_type,
        has_authorization: parts.headers.contains_key(AUTHORIZATION),
        query: parts.uri.query(),
        body,
    })
    .map_err(Refused::Rule)?;
    let keys = state.keys();
    let mut attempts = Attempts::default();
    loop {
        let Decided { unit, outcome } = match &request {
            GrantRequest::AuthorizationCode(request) => {
                let facts = code_facts(state, request).await.map_err(storage)?;
                let (now, random) = (state.now(), state.random());
                authorization_code::decide(state.settings(), keys.refresh(), request, &facts, now, random)
            }
            GrantRequest::RefreshToken(request) => {
                let facts = state
                    .store()
                    .refresh_token(request.lookup())
                    .await
                    .map_err(storage)?;
                let (now, random) = (state.now(), state.random());
                refresh_token::decide(
                    state.settings(),
                    keys.refresh(),
                    request,
                    facts.as_ref(),
                    now,
                    random,
                )
            }
        };
        // What harms must be as durable as what helps; a refusal that changes nothing needs no commit.
        if unit.is_empty() && outcome.is_err() {
            return Err(Refused::Rule(outcome.err().unwrap_or(TokenRefusal::Unavailable)));
        }
        let Some(committed) = attempts
            .commit(state.store(), unit)
            .await
            .map_err(Refused::Storage)?
        else {
            continue;
        };
        let issue = outcome.map_err(Refused::Rule)?;
        log(&request, &issue);
        return mint::mint(
            &keys,
            &state.settings().issuer,
            &issue,
            committed.revocation_sequence,
        )
        .map_err(|error| {
            tracing::error!(%error, "token: not signed");
            Refused::Rule(TokenRefusal::KeyMissing)
        });
    }
}

fn storage(error: LoadError) -> Refused {
    Refused::Storage(error.into())
}

/// Every `Content-Type`; one that is no text reads as an empty one, which is refused.
fn text_of(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all(CONTENT_TYPE)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect()
}

async fn code_facts(state: &WebState, request: &authorization_code::Request) -> Result<CodeFacts, LoadError> {
    let store = state.store();
    let Some(code) = store.code(request.lookup()).await? else {
        return Ok(CodeFacts::default());
    };
    let family = match code.state {
        CodeState::Redeemed { family } => store.family(family).await?.map(|facts| facts.family),
        CodeState::Open | CodeState::Void => None,
    };
    Ok(CodeFacts {
        client: store.client(&code.client).await?,
        user: store.user(code.user).await?,
        grant: store.grant_by_id(code.grant).await?,
        family,
        code: Some(code),
    })
}

fn log(request: &GrantRequest, issue: &Issue) {
    let step = match request {
        GrantRequest::AuthorizationCode(_) => "token: code redeemed",
        GrantRequest::RefreshToken(_) => "token: refreshed",
    };
    let (client, resource) = (issue.client.as_str(), issue.resource.as_str());
    let (user, token) = (&issue.subject, issue.token);
    let family = issue.family.map(|family| family.to_string());
    let scopes = issue.scopes.to_string();
    tracing::info!(?client, ?resource, %user, ?family, %token, ?scopes, "{step}");
}
