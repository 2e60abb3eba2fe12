//! POST `/token`: reading the request, and every way it can be refused (RFC 6749 §3.2 and §5.2).

use std::borrow::Cow;

use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::form::{Form, FormError};
use doorward_oauth::requirement::{self, Requirement};
use doorward_oauth::token::TokenRequest;
use doorward_types::id::ClientId;

use crate::grants::{authorization_code, refresh_token};

/// What the rules need to know of the HTTP request.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// Every `Content-Type` header, in order.
    pub content_type: &'a [&'a str],
    /// Whether there is an `Authorization` header.
    pub has_authorization: bool,
    /// The query string without `?`, if there is one.
    pub query: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// A request for one of the grants.
#[derive(Clone, Debug)]
pub enum GrantRequest {
    /// A code to redeem.
    AuthorizationCode(authorization_code::Request),
    /// A refresh token to rotate.
    RefreshToken(refresh_token::Request),
}

/// Why there is no token. `Display` is for logs; what the client is told is [`TokenRefusal::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not exactly one `Content-Type: application/x-www-form-urlencoded` (TK-11).
    #[error("the body must be application/x-www-form-urlencoded")]
    ContentType,
    /// Parameters in the URL, where logs and histories keep them (TK-12).
    #[error("parameters belong in the body, not in the URL")]
    ParametersInUrl,
    /// The body is not a form.
    #[error("{0}")]
    Form(#[from] FormError),
    /// A parameter was sent twice (TK-12).
    #[error("a parameter was sent more than once")]
    Repeated,
    /// A parameter is missing.
    #[error("a parameter is missing: {0}")]
    Missing(&'static str),
    /// A public client sent a secret, an assertion or an `Authorization` header: nothing here could check
    /// it, and ignoring it would make it look checked (TK-09).
    #[error("this client is public and must not authenticate")]
    ClientAuthentication,
    /// A grant that does not exist here (TK-13).
    #[error("only authorization_code and refresh_token are supported")]
    UnsupportedGrantType,
    /// The code was never issued, or is forgotten.
    #[error("unknown authorization code")]
    UnknownCode,
    /// The code was redeemed before; the same facts again revoke what it made.
    #[error("the authorization code was redeemed before")]
    CodeRedeemed,
    /// The code was voided: five misses, or replaced after a lost reply.
    #[error("the authorization code is void")]
    CodeVoid,
    /// The code is too old.
    #[error("the authorization code has expired")]
    CodeExpired,
    /// Client, redirect URI or verifier are not those of the authorization request.
    #[error("client, redirect_uri or code_verifier do not match")]
    CodeMismatch,
    /// The refresh token was never issued, or is forgotten.
    #[error("unknown refresh token")]
    UnknownRefreshToken,
    /// The refresh token is another client's.
    #[error("the refresh token was issued to another client")]
    WrongClient,
    /// The chain was revoked.
    #[error("the token chain was revoked")]
    Revoked,
    /// The chain was idle for too long, or is too old.
    #[error("the token chain has expired")]
    Expired,
    /// A superseded refresh token outside its grace: somebody has a copy (RFC 9700 §4.14.2).
    #[error("the refresh token was used before: the token chain is revoked")]
    Replayed,
    /// The account, the client, the consent or the access rule no longer allows it.
    #[error("the account, the client, the consent or the access rule no longer allows this")]
    NoLongerAllowed,
    /// Another resource than the granted one, or several.
    #[error("resource is not the one that was granted")]
    Resource,
    /// Malformed, or wider than what was granted.
    #[error("scope is malformed or wider than what was granted")]
    Scope,
    /// The key that derives the successor is not here.
    #[error("the key of this refresh token is missing")]
    KeyMissing,
    /// Storage does not answer, or too many requests wanted the same rows: the shell says this.
    #[error("temporarily unavailable")]
    Unavailable,
}

impl TokenRefusal {
    /// The OAuth error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::ContentType | Self::ParametersInUrl | Self::Form(_) | Self::Repeated | Self::Missing(_) => {
                ErrorCode::InvalidRequest
            }
            Self::ClientAuthentication => ErrorCode::InvalidClient,
            Self::UnsupportedGrantType => ErrorCode::UnsupportedGrantType,
            Self::UnknownCode
            | Self::CodeRedeemed
            | Self::CodeVoid
            | Self::CodeExpired
            | Self::CodeMismatch
            | Self::UnknownRefreshToken
            | Self::WrongClient
            | Self::Revoked
            | Self::Expired
            | Self::Replayed
            | Self::NoLongerAllowed => ErrorCode::InvalidGrant,
            Self::Resource => ErrorCode::InvalidTarget,
            Self::Scope => ErrorCode::InvalidScope,
            Self::KeyMissing => ErrorCode::ServerError,
            Self::Unavailable => ErrorCode::TemporarilyUnavailable,
        }
    }

    /// The HTTP status. With 503, add `Retry-After`.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code().status()
    }

    /// What the client is told. All refusals of a code (and all of a refresh token) read the same: which
    /// check failed is nobody's business who has the wrong one.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let description: Cow<'static, str> = match self {
            Self::UnknownCode
            | Self::CodeRedeemed
            | Self::CodeVoid
            | Self::CodeExpired
            | Self::CodeMismatch => {
                "the authorization code is not valid for this request: start a new authorization".into()
            }
            Self::UnknownRefreshToken
            | Self::WrongClient
            | Self::Revoked
            | Self::Expired
            | Self::Replayed
            | Self::NoLongerAllowed => {
                "this grant is not valid for this client (any more): start a new authorization".into()
            }
            other => other.to_string().into(),
        };
        ErrorBody::new(self.code(), description)
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::CodeMismatch => requirement::PKCE_REQUIRED,
            Self::Resource => requirement::ONE_RESOURCE,
            Self::Scope => requirement::SCOPE_GRANTED,
            Self::Replayed | Self::Expired | Self::Revoked => requirement::ROTATION,
            Self::NoLongerAllowed => requirement::ACCESS_RULE,
            _ => requirement::OAUTH_2_1,
        }
    }
}

/// Reads a token request.
pub fn parse(http: &HttpRequest<'_>) -> Result<GrantRequest, TokenRefusal> {
    if !matches!(http.content_type, [only] if is_form(only)) {
        return Err(TokenRefusal::ContentType);
    }
    if http.query.is_some_and(|query| !query.is_empty()) {
        return Err(TokenRefusal::ParametersInUrl);
    }
    let form = Form::parse(http.body)?;
    if form.repeated(&["resource"]).is_some() {
        return Err(TokenRefusal::Repeated);
    }
    let credentials = ["client_secret", "client_assertion", "client_assertion_type"];
    // An empty one counts as left out (RFC 6749 §3.2): some libraries send `client_secret=` for none.
    if http.has_authorization || credentials.iter().any(|name| form.get(name).is_some()) {
        return Err(TokenRefusal::ClientAuthentication);
    }
    let message = TokenRequest::read(&form);
    let client = || {
        message
            .client_id
            .as_deref()
            .map(ClientId::new)
            .ok_or(TokenRefusal::Missing("client_id"))
    };
    match message.grant_type.as_deref() {
        Some("authorization_code") => Ok(GrantRequest::AuthorizationCode(authorization_code::Request {
            code: message.code.clone().ok_or(TokenRefusal::Missing("code"))?,
            client: client()?,
            redirect_uri: message.redirect_uri,
            code_verifier: message.code_verifier,
            resource: message.resource,
        })),
        Some("refresh_token") => Ok(GrantRequest::RefreshToken(refresh_token::Request {
            refresh_token: message
                .refresh_token
                .clone()
                .ok_or(TokenRefusal::Missing("refresh_token"))?,
            client: client()?,
            scope: message.scope,
            resource: message.resource,
        })),
        Some(_) => Err(TokenRefusal::UnsupportedGrantType),
        None => Err(TokenRefusal::Missing("grant_type")),
    }
}

/// Whether a media type is the form one; parameters such as `charset` are ignored, a list of types is not
/// a type.
fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    !content_type.contains(',') && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests;
