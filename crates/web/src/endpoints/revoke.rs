//! `POST /revoke` (RFC 7009).

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use doorward_authorization_server::call::CallRefusal;
use doorward_authorization_server::client_auth::Authenticated;
use doorward_authorization_server::introspect::TokenKind;
use doorward_authorization_server::revoke::{self, RevocationRefusal};
use doorward_limits::Retry;
use doorward_records::Unit;
use doorward_storage::LoadError;
use http::StatusCode;

use crate::client_auth::{Refused, authenticate};
use crate::commit::Attempts;
use crate::endpoints::call::{Incoming, log_refusal};
use crate::state::WebState;

/// `POST /revoke`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(response) => return response,
    };
    let request = match incoming.parse(revoke::parse) {
        Ok(request) => request,
        Err(refusal) => return refuse(&incoming, refusal),
    };
    match answer(&state, &incoming, &request).await {
        // RFC 7009 §2.2: also for a token that is unknown; what counts is that it does not work.
        Ok(()) => StatusCode::OK.into_response(),
        Err(refused) => {
            let client = Some(request.presented.client_id().as_str());
            incoming.refuse_call("revoke", client, refused)
        }
    }
}

fn refuse(incoming: &Incoming, refusal: RevocationRefusal) -> Response {
    log_refusal("revoke", None, refusal.requirement(), &refusal);
    let wait = match refusal {
        RevocationRefusal::Call(CallRefusal::TooMany(wait)) => Some(Retry(wait)),
        _ => None,
    };
    incoming.refuse(refusal.status(), refusal.body(), wait)
}

/// A revocation that did not become durable is not reported as done.
async fn answer(state: &WebState, incoming: &Incoming, request: &revoke::Request) -> Result<(), Refused> {
    let mut attempts = Attempts::default();
    loop {
        let caller = authenticate(state, incoming.peer(), &request.presented, None).await?;
        let unit = decide(state, request, &caller).await?;
        let (client, effect) = (caller.client().id.as_str(), !unit.is_empty());
        let unit = caller.using_up(unit);
        if unit.is_empty() || attempts.commit(state.store(), unit).await?.is_some() {
            tracing::info!(?client, effect, "revoke: done");
            return Ok(());
        }
    }
}

async fn decide(
    state: &WebState,
    request: &revoke::Request,
    caller: &Authenticated,
) -> Result<Unit, LoadError> {
    let (settings, store) = (state.settings(), state.store());
    Ok(match request.kind {
        TokenKind::Refresh => {
            let facts = store.refresh_token(request.token.digest()).await?;
            revoke::refresh_token(settings, caller, facts.as_ref(), state.now())
        }
        TokenKind::Access => {
            let keys = state.keys();
            let now = state.now();
            let Some(claims) = revoke::read_access_token(settings, keys.public(), &request.token, now) else {
                return Ok(Unit::default());
            };
            let family = match claims.family {
                Some(family) => store.family(family).await?,
                None => None,
            };
            revoke::access_token(settings, caller, &claims, family.as_ref(), now)
        }
        TokenKind::Other | TokenKind::Unknown => Unit::default(),
    })
}
