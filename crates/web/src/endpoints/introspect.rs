//! `POST /introspect` (RFC 7662): resource servers, and clients about their own tokens.

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::call::CallRefusal;
use doorward_authorization_server::client_auth::Authenticated;
use doorward_authorization_server::introspect::{self, Behind, TokenKind};
use doorward_jose::UnverifiedJws;
use doorward_oauth::access_token::TokenSubject;
use doorward_oauth::introspect::{ActiveToken, IntrospectionResponse};
use doorward_records::Unit;
use doorward_resource_server::{Principal, TokenRefusal, UnverifiedToken};
use doorward_types::secret::Secret;
use doorward_types::url::ResourceUri;
use http::StatusCode;

use crate::client_auth::{Refused, authenticate};
use crate::commit::Attempts;
use crate::endpoints::call::{Incoming, log_refusal};
use crate::endpoints::json;
use crate::state::WebState;

/// `POST /introspect`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(response) => return response,
    };
    let request = match incoming.parse(introspect::parse) {
        Ok(request) => request,
        Err(refusal) => return incoming.refuse_call("introspect", None, refusal.into()),
    };
    match answer(&state, &incoming, &request).await {
        Ok(told) => json(StatusCode::OK, told.to_json()),
        Err(refused) => {
            let client = Some(request.presented.client_id().as_str());
            incoming.refuse_call("introspect", client, refused)
        }
    }
}

async fn answer(
    state: &WebState,
    incoming: &Incoming,
    request: &introspect::Request,
) -> Result<IntrospectionResponse, Refused> {
    let mut attempts = Attempts::default();
    let caller = loop {
        let caller = authenticate(state, incoming.peer(), &request.presented, None).await?;
        let unit = caller.using_up(Unit::default());
        // Before anything is told: an assertion that could be used again would tell it to a thief, too.
        if unit.is_empty() || attempts.commit(state.store(), unit).await?.is_some() {
            break caller;
        }
    };
    introspect::check_caller(&caller)?;
    let told = match TokenKind::of(&request.token) {
        TokenKind::Refresh => {
            let facts = state.store().refresh_token(request.token.digest()).await?;
            introspect::refresh_token(state.settings(), &caller, facts.as_ref(), state.now())
        }
        TokenKind::Access => access_token(state, &caller, &request.token).await?,
        TokenKind::Other | TokenKind::Unknown => IntrospectionResponse::Inactive,
    };
    let client = caller.client().id.as_str();
    match &told {
        IntrospectionResponse::Inactive => {
            tracing::info!(?client, active = false, "introspect: answered");
        }
        IntrospectionResponse::Active(token) => {
            let (holder, user) = (token.client.as_str(), &token.subject);
            tracing::info!(?client, active = true, ?holder, %user, "introspect: answered");
        }
    }
    Ok(told)
}

async fn access_token(
    state: &WebState,
    caller: &Authenticated,
    token: &Secret,
) -> Result<IntrospectionResponse, Refused> {
    let Some(resource) = audience(state, token) else {
        return Ok(IntrospectionResponse::Inactive);
    };
    let verdict = state
        .verifier()
        .verify(&resource, UnverifiedToken::new(token.expose()))
        .await;
    let principal = match verdict {
        Ok(principal) => principal,
        // Nothing can be said about any token at the moment: that is no "inactive".
        Err(TokenRefusal::Blind) => return Err(CallRefusal::Unavailable.into()),
        Err(refusal) => {
            log_refusal(
                "introspect: token",
                None,
                doorward_oauth::requirement::OAUTH_2_1,
                refusal.reason(),
            );
            return Ok(IntrospectionResponse::Inactive);
        }
    };
    let behind = match principal.family() {
        Some(family) => Behind::Family(state.store().family(family).await?.map(Box::new)),
        None => {
            let client = state.documents().current(state, principal.client_id()).await?;
            Behind::Client(client.map(Box::new))
        }
    };
    let token = active(state, &principal);
    Ok(introspect::access_token(state.settings(), caller, token, &behind))
}

/// The resource that a token of ours is for: only a signature makes that claim one.
fn audience(state: &WebState, token: &Secret) -> Option<ResourceUri> {
    let keys = state.keys();
    let verified = UnverifiedJws::parse(token.expose())
        .ok()?
        .verify_with(keys.public())
        .ok()?;
    let named = verified.claims().required_string("aud").ok()?;
    let servers = &state.settings().servers;
    servers
        .iter()
        .find(|server| server.resource.as_str() == named)
        .map(|server| server.resource.clone())
}

fn active(state: &WebState, principal: &Principal) -> ActiveToken {
    let is_client = principal.is_client();
    ActiveToken {
        id: Some(principal.token_id()),
        is_access_token: true,
        issuer: state.settings().issuer.clone(),
        subject: if is_client {
            TokenSubject::Client(principal.client_id().clone())
        } else {
            TokenSubject::User(principal.subject())
        },
        username: (!is_client).then(|| principal.username().to_owned()),
        client: principal.client_id().clone(),
        resource: principal.resource().clone(),
        scopes: principal.scopes().clone(),
        issued: principal.issued(),
        expires: principal.expires(),
    }
}
