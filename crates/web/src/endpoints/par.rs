//! `POST /par` (RFC 9126), and taking up at `/authorize` what was pushed.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::PageProblem;
use doorward_authorization_server::call::{Call, CallRefusal};
use doorward_authorization_server::client_metadata::{Standing, standing};
use doorward_authorization_server::par::{self, PushRefusal, PushedRequest};
use doorward_limits::Retry;
use doorward_oauth::client_auth::Credential;
use doorward_oauth::form::Form;
use doorward_oauth::pushed::{self, PushedResponse};
use doorward_records::Unit;
use doorward_types::secret::Secret;
use http::StatusCode;

use crate::client_auth::{Refused, authenticate};
use crate::commit::{Attempts, Unavailable};
use crate::endpoints::call::{Incoming, log_refusal};
use crate::endpoints::json;
use crate::state::WebState;

/// Binds the cipher text to this use of the key.
const ASSOCIATED: &[u8] = b"pushed authorization request 1";

/// `POST /par`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(response) => return response,
    };
    let call = match incoming.parse(par::parse) {
        Ok(call) => call,
        Err(refusal) => return refuse(&incoming, None, &refusal),
    };
    let client = call.presented.client_id().as_str();
    let sealed = match answer(&state, &incoming, &call).await {
        Ok(pushed) => seal(&state, &pushed),
        Err(NotPushed::Rule(refusal)) => return refuse(&incoming, Some(client), &refusal),
        Err(NotPushed::Storage(error)) => {
            return incoming.refuse_call("par", Some(client), Refused::Storage(error));
        }
    };
    let Some(reference) = sealed else {
        return refuse(&incoming, Some(client), &CallRefusal::Unavailable.into());
    };
    tracing::info!(?client, "par: request taken");
    let response = PushedResponse {
        request_uri: Secret::new(format!("{}{reference}", pushed::PREFIX)),
        expires_in: par::LIFETIME,
    };
    json(StatusCode::CREATED, response.to_json().expose().to_owned())
}

fn refuse(incoming: &Incoming, client: Option<&str>, refusal: &PushRefusal) -> Response {
    log_refusal("par", client, refusal.requirement(), refusal);
    let wait = match refusal {
        PushRefusal::Call(CallRefusal::TooMany(wait)) => Some(Retry(*wait)),
        _ => None,
    };
    incoming.refuse(refusal.status(), refusal.body(), wait)
}

/// Why a request was not taken.
enum NotPushed {
    Rule(PushRefusal),
    Storage(Unavailable),
}

impl From<PushRefusal> for NotPushed {
    fn from(refusal: PushRefusal) -> Self {
        Self::Rule(refusal)
    }
}

impl From<Refused> for NotPushed {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rule(refusal) => Self::Rule(refusal.into()),
            Refused::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<Unavailable> for NotPushed {
    fn from(error: Unavailable) -> Self {
        Self::Storage(error)
    }
}

async fn answer(state: &WebState, incoming: &Incoming, call: &Call) -> Result<PushedRequest, NotPushed> {
    if is_unread_document(state, call).await? {
        return Ok(par::unjudged(call, state.now())?);
    }
    let mut attempts = Attempts::default();
    loop {
        let caller = authenticate(state, incoming.peer(), &call.presented, None).await?;
        let decided = par::decide(state.settings(), call, &caller, state.now());
        let unit = caller.using_up(Unit::default());
        if unit.is_empty() || attempts.commit(state.store(), unit).await?.is_some() {
            return Ok(decided?);
        }
    }
}

/// Whether the client is known by a metadata document that has to be read first. That is done for nobody who has not
/// signed in, so its request is carried as it is, and judged when somebody has. A client that authenticates has to be
/// known.
async fn is_unread_document(state: &WebState, call: &Call) -> Result<bool, NotPushed> {
    let id = call.presented.client_id();
    if !matches!(call.presented.credential(), Credential::None) {
        return Ok(false);
    }
    let current = state
        .documents()
        .current(state, id)
        .await
        .map_err(Unavailable::from)?;
    let standing = standing(state.settings(), id, None, state.now());
    Ok(current.is_none() && matches!(standing, Standing::Fetch(_)))
}

fn seal(state: &WebState, pushed: &PushedRequest) -> Option<String> {
    let plain = serde_json::to_vec(pushed).ok()?;
    let sealer = state.sealer();
    sealer.seal_text(b"", ASSOCIATED, &plain, state.random()).ok()
}

/// The query string of an authorization request: `query` itself, or what was pushed before if it holds a
/// `request_uri` of ours. Then everything else in it but `client_id` counts for nothing (RFC 9126 §4). Other
/// `request_uri`s stay in it and are refused by the rules (AZ-08).
pub(crate) fn resolve<'q>(state: &WebState, query: &'q str) -> Result<Cow<'q, str>, PageProblem> {
    let Ok(form) = Form::parse(query.as_bytes()) else {
        return Ok(Cow::Borrowed(query));
    };
    let Some(reference) = form.get("request_uri").and_then(pushed::reference) else {
        return Ok(Cow::Borrowed(query));
    };
    if form.is_repeated("client_id") || form.is_repeated("request_uri") {
        return Err(PageProblem::AmbiguousClient);
    }
    let pushed = open(state, reference).ok_or(PageProblem::PushedRequest)?;
    let client = form.get("client_id");
    let resolved = pushed.open(client, state.now())?;
    let client = client.map(tracing::field::debug);
    tracing::info!(client, "authorize: pushed request taken up");
    Ok(Cow::Owned(resolved))
}

fn open(state: &WebState, reference: &str) -> Option<PushedRequest> {
    let plain = state.sealer().open_text(b"", ASSOCIATED, reference).ok()?;
    serde_json::from_slice(&plain).ok()
}
