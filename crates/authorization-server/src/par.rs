//! POST `/par`: an authorization request that the client hands over before it sends the browser (RFC 9126).
//!
//! The `request_uri` **is** the request, sealed: nothing is stored, so a flood of pushed requests costs nothing and
//! every replica can take up what another one sealed. It is good for a minute and a half and for the client that
//! pushed it; it may be opened more than once in that time, because opening an authorization request only reads and
//! browsers reload (RFC 9126 §7.3).

use std::time::Duration;

use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::pushed;
use doorward_oauth::requirement::{self, Requirement};
use doorward_records::client::Client;
use doorward_types::id::ClientId;
use doorward_types::time::UnixTime;
use serde::{Deserialize, Serialize};

use crate::authorize::{self, Rejected};
use crate::call::{self, Call, CallRefusal, HttpRequest};
use crate::client_auth::Authenticated;
use crate::page::PageProblem;
use crate::settings::Settings;

/// How long a pushed request waits for its browser.
pub const LIFETIME: Duration = Duration::from_secs(90);

/// The longest request, in bytes as a query string: sealed and in a URL it must still pass through every proxy.
pub const MAX_QUERY: usize = 4096;

/// A request that was pushed, as it is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushedRequest {
    client: ClientId,
    query: String,
    expires: UnixTime,
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRefusal {
    /// By what all calls of clients have in common.
    #[error(transparent)]
    Call(#[from] CallRefusal),
    /// A pushed request cannot name another one (RFC 9126 §2.1).
    #[error("request_uri cannot be pushed: push the parameters themselves")]
    RequestUri,
    /// Longer than [`MAX_QUERY`].
    #[error("the pushed request is too long: at most 4096 bytes")]
    TooLong,
    /// The authorization endpoint would refuse it.
    #[error("{0}")]
    Rejected(Rejected),
}

impl PushRefusal {
    /// The OAuth error code (RFC 9126 §2.3).
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Call(refusal) => refusal.code(),
            Self::RequestUri | Self::TooLong => ErrorCode::InvalidRequest,
            Self::Rejected(rejected) => rejected.error,
        }
    }

    /// The HTTP status. With 429 and 503, add `Retry-After`.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Call(refusal) => refusal.status(),
            Self::TooLong => 413,
            Self::RequestUri | Self::Rejected(_) => 400,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        match self {
            Self::Call(refusal) => refusal.body(),
            other => ErrorBody::new(other.code(), other.to_string()),
        }
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::Call(refusal) => refusal.requirement(),
            Self::RequestUri | Self::TooLong => requirement::OAUTH_2_1,
            Self::Rejected(rejected) => rejected.requirement,
        }
    }
}

/// Reads a pushed request. Load and authenticate the client; one that is known by a metadata document which nobody has
/// read yet cannot be.
pub fn parse(http: &HttpRequest<'_>) -> Result<Call, PushRefusal> {
    let call = call::read(http, &["resource"])?;
    if call.form.has("request_uri") {
        return Err(PushRefusal::RequestUri);
    }
    Ok(call)
}

/// Takes a request of an authenticated client, if the authorization endpoint would take it now.
pub fn decide(
    settings: &Settings,
    call: &Call,
    caller: &Authenticated,
    now: UnixTime,
) -> Result<PushedRequest, PushRefusal> {
    let pushed = unjudged(call, now)?;
    judge(settings, &pushed, caller.client())?;
    Ok(pushed)
}

/// Takes a request as it is: the authorization endpoint judges it when the client's document has been read.
pub fn unjudged(call: &Call, now: UnixTime) -> Result<PushedRequest, PushRefusal> {
    let client = call.presented.client_id().clone();
    let mut query = pushed::authorization_query(&call.form);
    // RFC 7523 §3: an assertion names the client by itself.
    if call.form.get("client_id").is_none() {
        let id: String = url::form_urlencoded::byte_serialize(client.as_str().as_bytes()).collect();
        query = format!("client_id={id}&{query}");
    }
    if query.len() > MAX_QUERY {
        return Err(PushRefusal::TooLong);
    }
    Ok(PushedRequest {
        client,
        query,
        expires: now.plus(LIFETIME),
    })
}

fn judge(settings: &Settings, pushed: &PushedRequest, client: &Client) -> Result<(), PushRefusal> {
    let request = authorize::parse(&pushed.query).map_err(|problem| PushRefusal::Rejected(problem.into()))?;
    authorize::check_pushed(settings, &request, client).map_err(PushRefusal::Rejected)
}

impl PushedRequest {
    /// The query string of the authorization request, for the client that pushed it, in time. `client` is the
    /// `client_id` beside the `request_uri` (RFC 9126 §4).
    pub fn open(self, client: Option<&str>, now: UnixTime) -> Result<String, PageProblem> {
        if client != Some(self.client.as_str()) || now >= self.expires {
            return Err(PageProblem::PushedRequest);
        }
        Ok(self.query)
    }
}

#[cfg(test)]
mod tests;
