//! Why a request may not enter, and what it is answered.

use bytes::Bytes;
use doorward_policy::Refusal;
use doorward_types::scope::ScopeSet;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::bearer::CredentialError;
use crate::challenge::Challenges;
use crate::receive::NotACall;
use crate::verify::TokenRefusal;

/// Seconds after which it may be worth trying again where the fault is ours.
const RETRY: u32 = 5;

/// Why a request may not enter. The text is for the one who asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no bearer token (RFC 6750 §3.1): how every login begins.
    #[error("log in first: the WWW-Authenticate header says where")]
    NoToken,
    /// Its credentials are malformed.
    #[error("{0}")]
    Credential(CredentialError),
    /// Its token may not enter.
    #[error("{0}")]
    Token(TokenRefusal),
    /// Its token grants too little. `needed` goes into the challenge: all that is needed, so that one step up is enough.
    #[error("the token lacks a scope that this needs: log in again and grant it")]
    Scope {
        /// What to ask for.
        needed: ScopeSet,
    },
    /// Whatever was granted, this account may not do this. No challenge: another token would not help.
    #[error("this account may not do this: ask the server's operator about it")]
    Permission,
    /// The scope table, or a policy, refuses the call.
    #[error("{0}")]
    Policy(Refusal),
    /// Messages are judged here, and this is not where MCP is served.
    #[error("this is not the path of the MCP endpoint")]
    NotTheMcpPath,
    /// Its body did not arrive in time.
    #[error("the body did not arrive in time")]
    SlowBody,
    /// It is no MCP call.
    #[error("{0}")]
    NotACall(NotACall),
}

impl Refused {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::Credential(_) => StatusCode::BAD_REQUEST,
            Self::Token(refusal) => refusal.status(),
            Self::Scope { .. } | Self::Permission | Self::Policy(_) => StatusCode::FORBIDDEN,
            Self::NotTheMcpPath => StatusCode::NOT_FOUND,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::NotACall(error) => error.status(),
        }
    }

    /// A stable word for logs and for `data.reason` of the answer.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Credential(_) => "bad_credential",
            Self::Token(refusal) => refusal.reason(),
            Self::Scope { .. } => "insufficient_scope",
            Self::Permission => "no_permission",
            Self::Policy(refusal) => refusal.reason(),
            Self::NotTheMcpPath => "not_the_mcp_path",
            Self::SlowBody => "body_timed_out",
            Self::NotACall(error) => error.reason(),
        }
    }

    /// The one challenge that goes with it; `None` where no other token would help.
    #[must_use]
    pub fn challenge(&self, challenges: &Challenges) -> Option<HeaderValue> {
        match self {
            Self::NoToken => Some(challenges.missing()),
            Self::Credential(error) => Some(challenges.malformed(*error)),
            Self::Token(refusal) => challenges.refused(*refusal),
            Self::Scope { needed } => Some(challenges.insufficient_scope(needed)),
            Self::Policy(refusal) => refusal
                .challenge()
                .map(|needed| challenges.insufficient_scope(needed)),
            Self::Permission | Self::NotTheMcpPath | Self::SlowBody | Self::NotACall(_) => None,
        }
    }

    /// The whole answer: status, challenge, and a JSON-RPC error with `id`, the request's as JSON text, if it was read.
    /// While nothing was read, legacy revisions want `id: null` and 2026-07-28 wants none.
    #[must_use]
    pub fn answer(&self, challenges: &Challenges, id: Option<&str>, legacy: bool) -> Response<Bytes> {
        let status = self.status();
        let mut data = json!({ "reason": self.reason() });
        let scopes = match self {
            Self::Scope { needed } => Some(needed),
            Self::Policy(refusal) => refusal.scopes(),
            _ => None,
        };
        if let (Some(scopes), Some(data)) = (scopes, data.as_object_mut()) {
            data.insert(
                "scopes".into(),
                scopes.iter().map(|scope| scope.as_str()).collect(),
            );
        }
        let code = match self {
            Self::NotACall(error) => error.code(),
            _ => None,
        };
        let code = code.unwrap_or_else(|| i32::from(status.as_u16()));
        let error = json!({ "code": code, "message": self.to_string(), "data": data });
        let mut response = Response::new(body(&error, id, legacy));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(challenge) = self.challenge(challenges) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
        }
        response
    }
}

/// The id is repeated as it was written: a number in JSON can be more than any number type holds.
fn body(error: &Value, id: Option<&str>, legacy: bool) -> Bytes {
    let id = id.filter(|id| serde_json::from_str::<&RawValue>(id).is_ok());
    let id = match (id, legacy) {
        (Some(id), _) => format!("\"id\":{id},"),
        (None, true) => "\"id\":null,".to_owned(),
        (None, false) => String::new(),
    };
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{error}}}").into()
}
