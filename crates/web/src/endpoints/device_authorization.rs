//! `POST /device_authorization` (RFC 8628 §3.1): a device without a browser asks for its two codes.

use axum::extract::{Request, State};
use axum::response::Response;
use doorward_authorization_server::call::{self, Call, CallRefusal};
use doorward_authorization_server::device::{self, DeviceRefusal, DeviceRequest, Started};
use doorward_limits::Retry;
use doorward_oauth::device::DeviceAuthorizationResponse;
use doorward_recorder::Login;
use doorward_records::client::Client;
use doorward_types::digest::Digest;
use doorward_types::id::TraceId;
use doorward_types::random;
use http::StatusCode;

use crate::client_auth::{self, Refused};
use crate::commit::{Attempts, Unavailable};
use crate::endpoints::call::{Incoming, log_refusal};
use crate::endpoints::json;
use crate::state::WebState;

const ENDPOINT: &str = "device authorization";

/// Why a device gets no codes.
enum Stopped {
    /// As every call is stopped.
    Call(Refused),
    /// By a rule of this endpoint.
    Rule(DeviceRefusal),
}

impl From<Refused> for Stopped {
    fn from(refused: Refused) -> Self {
        Self::Call(refused)
    }
}

impl From<CallRefusal> for Stopped {
    fn from(refusal: CallRefusal) -> Self {
        Self::Call(refusal.into())
    }
}

/// `POST /device_authorization`.
pub(crate) async fn post(State(state): State<WebState>, request: Request) -> Response {
    let incoming = match Incoming::read(request).await {
        Ok(incoming) => incoming,
        Err(response) => return response,
    };
    let call = match incoming.parse(|http| call::read(http, &["resource"])) {
        Ok(call) => call,
        Err(refusal) => return incoming.refuse_call(ENDPOINT, None, refusal.into()),
    };
    let client = Some(call.presented.client_id().as_str());
    match answer(&state, &incoming, &call).await {
        Ok(response) => json(StatusCode::OK, response.to_json().expose().to_owned()),
        Err(Stopped::Call(refused)) => incoming.refuse_call(ENDPOINT, client, refused),
        Err(Stopped::Rule(refusal)) => {
            log_refusal(ENDPOINT, client, refusal.requirement(), &refusal);
            incoming.refuse(refusal.code().status(), refusal.body(), None)
        }
    }
}

async fn answer(
    state: &WebState,
    incoming: &Incoming,
    call: &Call,
) -> Result<DeviceAuthorizationResponse, Stopped> {
    let request = DeviceRequest::parse(&call.form).map_err(Stopped::Rule)?;
    if let Err(Retry(wait)) = state.guesses().asked(incoming.peer()) {
        return Err(CallRefusal::TooMany(wait).into());
    }
    let mut attempts = Attempts::default();
    loop {
        let caller = client_auth::authenticate(state, incoming.peer(), &call.presented, None).await?;
        let (settings, now, random) = (state.settings(), state.now(), state.random());
        let trace = begun(state, caller.client(), &request);
        let started = device::start(settings, caller.client(), &request, trace, now, random);
        let Started { unit, response } = started.map_err(Stopped::Rule)?;
        match attempts.commit(state.store(), caller.using_up(unit)).await {
            Ok(Some(_)) => {
                let client = call.presented.client_id().as_str();
                tracing::info!(?client, "device authorization: codes given");
                return Ok(response);
            }
            // The code is taken (one in billions), or the client changed: again, with another code.
            Ok(None) => {}
            // Still: too many devices wait. They go within the hour after they expire.
            Err(Unavailable::Contended) => {
                return Err(CallRefusal::TooMany(std::time::Duration::from_mins(1)).into());
            }
            Err(error) => return Err(Refused::from(error).into()),
        }
    }
}

/// From here the trace of this login is exact: the codes carry it to the browser, then to the tokens. No two requests
/// for codes are the same login, not even of one client behind one address.
fn begun(state: &WebState, client: &Client, request: &DeviceRequest) -> Option<TraceId> {
    let unlike_every_other: [u8; 16] = random::bytes(state.random());
    doorward_recorder::login(&Login {
        client: client.id.as_str(),
        resource: request.resource.first().map(String::as_str),
        request: Digest::of(&unlike_every_other),
    })
}
