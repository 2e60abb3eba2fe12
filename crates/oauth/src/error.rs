//! Error codes and the JSON body that carries them (RFC 6749 §4.1.2.1 and §5.2, and their successors).

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

/// An OAuth error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed (RFC 6749 §4.1.2.1, §5.2).
    InvalidRequest,
    /// Client authentication failed or was attempted where there is none (RFC 6749 §5.2).
    InvalidClient,
    /// The code or refresh token is not (or no longer) good (RFC 6749 §5.2).
    InvalidGrant,
    /// The client may not use this grant (RFC 6749 §5.2).
    UnauthorizedClient,
    /// The grant type is not supported (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// The scope is malformed or wider than what was granted (RFC 6749 §5.2).
    InvalidScope,
    /// The resource is unknown, malformed or not the granted one (RFC 8707 §2).
    InvalidTarget,
    /// The person, or the access rule, said no (RFC 6749 §4.1.2.1).
    AccessDenied,
    /// Another response type than `code` (RFC 6749 §4.1.2.1).
    UnsupportedResponseType,
    /// We failed (RFC 6749 §4.1.2.1).
    ServerError,
    /// We are overloaded or storage does not answer (RFC 6749 §4.1.2.1).
    TemporarilyUnavailable,
    /// `prompt=none`, but nobody is signed in (OpenID Connect Core §3.1.2.6).
    LoginRequired,
    /// `prompt=none`, but consent must be shown (OpenID Connect Core §3.1.2.6).
    ConsentRequired,
    /// The person has to be asked (OpenID Connect Core §3.1.2.6).
    InteractionRequired,
    /// A `request` object was sent (RFC 9101 §7).
    RequestNotSupported,
    /// A `request_uri` was sent (RFC 9101 §7).
    RequestUriNotSupported,
    /// The person has not answered yet (RFC 8628 §3.5).
    AuthorizationPending,
    /// The same, and the client polls too often (RFC 8628 §3.5).
    SlowDown,
    /// The device code is too old (RFC 8628 §3.5).
    ExpiredToken,
    /// A redirect URI cannot be registered (RFC 7591 §3.2.2).
    InvalidRedirectUri,
    /// Client metadata cannot be registered (RFC 7591 §3.2.2).
    InvalidClientMetadata,
    /// A token of this kind cannot be revoked (RFC 7009 §2.2.1).
    UnsupportedTokenType,
    /// The bearer token is not good for this (RFC 6750 §3.1).
    InvalidToken,
}

impl ErrorCode {
    /// The code as it is written in responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InteractionRequired => "interaction_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::InvalidToken => "invalid_token",
        }
    }

    /// The HTTP status of a JSON answer with this code (RFC 6749 §5.2): 401 for failed client
    /// authentication, 403 for a refusal that no better request can change, 503 and 500 for our own
    /// failures, else 400.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::AccessDenied => 403,
            Self::ServerError => 500,
            Self::TemporarilyUnavailable => 503,
            _ => 400,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// `{"error": …, "error_description": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub error: ErrorCode,
    /// What went wrong and what to do next, for people. Never a value that the request carried.
    pub error_description: Cow<'static, str>,
}

impl ErrorBody {
    /// A body with `description`; characters that RFC 6749 §5.2 does not allow become `?`.
    #[must_use]
    pub fn new(error: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        let description = description.into();
        let allowed = |c: char| matches!(c, ' '..='!' | '#'..='[' | ']'..='~');
        let error_description = if description.chars().all(allowed) {
            description
        } else {
            description
                .chars()
                .map(|c| if allowed(c) { c } else { '?' })
                .collect::<String>()
                .into()
        };
        Self {
            error,
            error_description,
        }
    }

    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_only_what_rfc_6749_allows() {
        let body = ErrorBody::new(ErrorCode::InvalidGrant, "a \"quoted\" \\ é word");
        assert_eq!(
            body.to_json(),
            r#"{"error":"invalid_grant","error_description":"a ?quoted? ? ? word"}"#
        );
    }

    #[test]
    fn failed_client_authentication_is_401_and_the_rest_400() {
        assert_eq!(ErrorCode::InvalidClient.status(), 401);
        assert_eq!(ErrorCode::InvalidGrant.status(), 400);
        assert_eq!(ErrorCode::TemporarilyUnavailable.status(), 503);
    }
}
