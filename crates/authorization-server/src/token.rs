//! POST `/token`: reading the request, and every way it can be refused (RFC 6749 §3.2 and §5.2).

use std::borrow::Cow;

use doorward_oauth::client_auth::{Credential, Presented};
use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::requirement::{self, Requirement};
use doorward_oauth::token::TokenRequest;

use crate::call::{self, CallRefusal, HttpRequest};
use crate::client_auth::{Authenticated, ClientAuthRefusal};
use crate::grants::{authorization_code, client_credentials, device_code, refresh_token};
use crate::settings::Grants;

/// The name of the device grant (RFC 8628 §3.4).
pub const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A token request that was read: authenticate the client, then decide the grant.
#[derive(Clone, Debug)]
pub struct TokenCall {
    /// The client, not yet authenticated.
    pub presented: Presented,
    /// What it asks for.
    pub grant: GrantRequest,
}

impl TokenCall {
    /// What is said when the client could not be authenticated. A refresh token that comes without credentials, for a
    /// client that was removed or switched off, is as dead as one that was revoked: `invalid_grant` (RT-06), so that
    /// its holder throws it away. Whoever showed credentials is told about these.
    #[must_use]
    pub fn not_authenticated(&self, refusal: CallRefusal) -> TokenRefusal {
        use ClientAuthRefusal::{Disabled, Unknown};
        match (&self.grant, self.presented.credential(), refusal) {
            (
                GrantRequest::RefreshToken(_),
                Credential::None,
                CallRefusal::Client(refusal @ (Unknown | Disabled)),
            ) => match refusal {
                Unknown => TokenRefusal::UnknownRefreshToken,
                _ => TokenRefusal::NoLongerAllowed,
            },
            (_, _, refusal) => refusal.into(),
        }
    }
}

/// A request for one of the grants.
#[derive(Clone, Debug)]
pub enum GrantRequest {
    /// A code to redeem.
    AuthorizationCode(authorization_code::Request),
    /// A refresh token to rotate.
    RefreshToken(refresh_token::Request),
    /// A token for the client itself.
    ClientCredentials(client_credentials::Request),
    /// A device code to poll with.
    DeviceCode(device_code::Request),
}

impl GrantRequest {
    /// `grant_type`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AuthorizationCode(_) => "authorization_code",
            Self::RefreshToken(_) => "refresh_token",
            Self::ClientCredentials(_) => "client_credentials",
            Self::DeviceCode(_) => DEVICE_CODE,
        }
    }

    /// Whether the client registered for this grant (RFC 6749 §5.2, `unauthorized_client`).
    pub fn check_registered(&self, client: &Authenticated) -> Result<(), TokenRefusal> {
        if client.client().metadata.registered(self.name()) {
            Ok(())
        } else {
            Err(TokenRefusal::GrantNotRegistered)
        }
    }
}

/// Why there is no token. `Display` is for logs; what the client is told is [`TokenRefusal::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// By what all calls of clients have in common.
    #[error(transparent)]
    Call(#[from] CallRefusal),
    /// The client did not register for this grant.
    #[error("this client is not registered for this grant_type")]
    GrantNotRegistered,
    /// The client may not act for itself: it is public, or no operator added or approved it, or its operator did not
    /// name this server for it.
    #[error("this client may not get tokens of its own for this resource: ask the operator")]
    NotForItself,
    /// A grant that does not exist here (TK-13).
    #[error("this grant_type is not supported: see grant_types_supported of the metadata")]
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
    /// The device code was never issued, or is forgotten.
    #[error("unknown device code")]
    UnknownDeviceCode,
    /// The device code was redeemed before; what it made is revoked.
    #[error("the device code was redeemed before")]
    DeviceCodeRedeemed,
    /// The person has not answered yet (RFC 8628 §3.5).
    #[error("the person has not answered yet")]
    DevicePending,
    /// The same, and this poll came too soon (RFC 8628 §3.5).
    #[error("poll less often: wait five seconds longer from now on")]
    SlowDown,
    /// The person denied (RFC 8628 §3.5).
    #[error("the person denied the request")]
    DeviceDenied,
    /// Nobody answered in time (RFC 8628 §3.5).
    #[error("the device code has expired: ask for a new one")]
    DeviceExpired,
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
    /// The refresh would do no harm, but the call that it seems to be for needs more than it can give: the shell
    /// says this.
    #[error(
        "the last call needs scopes that this grant lacks: connect the app to this server again and allow them; to go on without them, refresh again"
    )]
    MoreNeeded,
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
            Self::Call(refusal) => refusal.code(),
            Self::GrantNotRegistered | Self::NotForItself => ErrorCode::UnauthorizedClient,
            Self::UnsupportedGrantType => ErrorCode::UnsupportedGrantType,
            Self::UnknownCode
            | Self::CodeRedeemed
            | Self::CodeVoid
            | Self::CodeExpired
            | Self::CodeMismatch
            | Self::UnknownRefreshToken
            | Self::UnknownDeviceCode
            | Self::DeviceCodeRedeemed
            | Self::WrongClient
            | Self::Revoked
            | Self::Expired
            | Self::Replayed
            | Self::NoLongerAllowed => ErrorCode::InvalidGrant,
            Self::DevicePending => ErrorCode::AuthorizationPending,
            Self::SlowDown => ErrorCode::SlowDown,
            Self::DeviceDenied => ErrorCode::AccessDenied,
            Self::DeviceExpired => ErrorCode::ExpiredToken,
            Self::Resource => ErrorCode::InvalidTarget,
            Self::Scope => ErrorCode::InvalidScope,
            Self::MoreNeeded => ErrorCode::InteractionRequired,
            // It was revoked: what it derived is as dead as what was revoked itself.
            Self::KeyMissing => ErrorCode::InvalidGrant,
            Self::Unavailable => ErrorCode::TemporarilyUnavailable,
        }
    }

    /// The HTTP status. With 503, add `Retry-After`.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            // RFC 8628 §3.5: as RFC 6749 §5.2 says of every error of this endpoint but one.
            Self::DeviceDenied => 400,
            Self::Call(refusal) => refusal.status(),
            other => other.code().status(),
        }
    }

    /// What the client is told. All refusals of a code (and all of a refresh token) read the same: which
    /// check failed is nobody's business who has the wrong one.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        if let Self::Call(refusal) = self {
            return refusal.body();
        }
        let description: Cow<'static, str> = match self {
            Self::UnknownCode
            | Self::CodeRedeemed
            | Self::CodeVoid
            | Self::CodeExpired
            | Self::CodeMismatch => {
                "the authorization code is not valid for this request: start a new authorization".into()
            }
            Self::UnknownRefreshToken
            | Self::UnknownDeviceCode
            | Self::DeviceCodeRedeemed
            | Self::WrongClient
            | Self::Revoked
            | Self::Expired
            | Self::Replayed
            | Self::KeyMissing
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
            Self::Call(refusal) => refusal.requirement(),
            Self::NotForItself => requirement::CLIENT_CREDENTIALS,
            Self::CodeMismatch => requirement::PKCE_REQUIRED,
            Self::Resource => requirement::ONE_RESOURCE,
            Self::Scope => requirement::SCOPE_GRANTED,
            Self::MoreNeeded => requirement::SCOPE_SUFFICES,
            Self::Replayed | Self::Expired | Self::Revoked => requirement::ROTATION,
            Self::NoLongerAllowed => requirement::ACCESS_RULE,
            _ => requirement::OAUTH_2_1,
        }
    }
}

/// Reads a token request; a grant that is off does not exist.
pub fn parse(http: &HttpRequest<'_>, grants: Grants) -> Result<TokenCall, TokenRefusal> {
    let call::Call { form, presented } = call::read(http, &["resource"])?;
    let message = TokenRequest::read(&form);
    let client = presented.client_id().clone();
    let missing = |name| TokenRefusal::Call(CallRefusal::Missing(name));
    let grant = match message.grant_type.as_deref() {
        Some("authorization_code") => GrantRequest::AuthorizationCode(authorization_code::Request {
            code: message.code.ok_or(missing("code"))?,
            client,
            redirect_uri: message.redirect_uri,
            code_verifier: message.code_verifier,
            resource: message.resource,
            device: None,
        }),
        Some("refresh_token") => GrantRequest::RefreshToken(refresh_token::Request {
            refresh_token: message.refresh_token.ok_or(missing("refresh_token"))?,
            client,
            scope: message.scope,
            resource: message.resource,
        }),
        Some("client_credentials") if grants.client_credentials => {
            GrantRequest::ClientCredentials(client_credentials::Request {
                scope: message.scope,
                resource: message.resource,
            })
        }
        Some(DEVICE_CODE) if grants.device => GrantRequest::DeviceCode(device_code::Request {
            device_code: message.device_code.ok_or(missing("device_code"))?,
            client,
            resource: message.resource,
            device: None,
        }),
        Some(_) => return Err(TokenRefusal::UnsupportedGrantType),
        None => return Err(missing("grant_type")),
    };
    Ok(TokenCall { presented, grant })
}

#[cfg(test)]
mod tests;
