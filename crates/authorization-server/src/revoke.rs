//! POST `/revoke`: a client gives up a token (RFC 7009).
//!
//! Whoever can present a token of its own may revoke it, public clients by their id. A refresh token ends its chain,
//! superseded ones as well; an access token ends the chain it belongs to (RFC 7009 §2.1), because both were one
//! login; a client's own token ends alone. Another client's token, and one that is unknown, is answered like one that
//! was revoked and stays what it is.

use doorward_jose::{JwkSet, UnverifiedJws};
use doorward_oauth::access_token::{self, AccessTokenClaims};
use doorward_oauth::client_auth::Presented;
use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_oauth::introspect as message;
use doorward_oauth::requirement::{self, Requirement};
use doorward_records::facts::{FamilyFacts, RefreshFacts};
use doorward_records::grant::Family;
use doorward_records::revocation::Revoked;
use doorward_records::{Unit, Write};
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use crate::call::{self, CallRefusal, HttpRequest};
use crate::client_auth::Authenticated;
use crate::grants;
use crate::introspect::TokenKind;
use crate::settings::Settings;

/// How far a verifier's clock and ours may be apart: as long is a token looked at after its end.
const LEEWAY_SECONDS: i64 = 60;

/// A request that was read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The token that is given up.
    pub token: Secret,
    /// Refresh or access token; nothing else can be revoked here.
    pub kind: TokenKind,
    /// Who gives it up, not yet authenticated.
    pub presented: Presented,
}

/// Why nothing was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationRefusal {
    /// By what all calls of clients have in common.
    #[error(transparent)]
    Call(#[from] CallRefusal),
    /// A secret of ours that is neither a refresh nor an access token (RFC 7009 §2.2.1).
    #[error("only access tokens and refresh tokens can be revoked here")]
    UnsupportedTokenType,
}

impl RevocationRefusal {
    /// The HTTP status. With 429 and 503, add `Retry-After`.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Call(refusal) => refusal.status(),
            Self::UnsupportedTokenType => 400,
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        match self {
            Self::Call(refusal) => refusal.body(),
            Self::UnsupportedTokenType => ErrorBody::new(ErrorCode::UnsupportedTokenType, self.to_string()),
        }
    }

    /// The rule it enforces.
    #[must_use]
    pub const fn requirement(&self) -> Requirement {
        match self {
            Self::Call(refusal) => refusal.requirement(),
            Self::UnsupportedTokenType => requirement::OAUTH_2_1,
        }
    }
}

/// Reads a request. `token_type_hint` is not looked at: our tokens say themselves what they are.
pub fn parse(http: &HttpRequest<'_>) -> Result<Request, RevocationRefusal> {
    let call = call::read(http, &[])?;
    let token = message::token(&call.form).ok_or(CallRefusal::Missing("token"))?;
    let kind = TokenKind::of(&token);
    if kind == TokenKind::Other {
        return Err(RevocationRefusal::UnsupportedTokenType);
    }
    Ok(Request {
        token,
        kind,
        presented: call.presented,
    })
}

/// The claims of an access token that we signed and that still works; revoked or not. Load its family.
#[must_use]
pub fn read_access_token(
    settings: &Settings,
    keys: &JwkSet,
    token: &Secret,
    now: UnixTime,
) -> Option<AccessTokenClaims> {
    let token = UnverifiedJws::parse(token.expose())
        .ok()?
        .verify_with(keys)
        .ok()?;
    if !token.is_type(access_token::TYPE) {
        return None;
    }
    let claims = serde_json::Value::Object(token.claims().as_object().clone());
    let claims: AccessTokenClaims = serde_json::from_value(claims).ok()?;
    let live = now.seconds() < claims.exp.saturating_add(LEEWAY_SECONDS);
    (claims.iss == settings.issuer && live).then_some(claims)
}

/// What revoking an access token changes: nothing if it is another client's. `family` is what its claims name.
#[must_use]
pub fn access_token(
    settings: &Settings,
    caller: &Authenticated,
    claims: &AccessTokenClaims,
    family: Option<&FamilyFacts>,
    now: UnixTime,
) -> Unit {
    if claims.client_id != caller.client().id {
        return Unit::default();
    }
    match family.map(|facts| &facts.family) {
        Some(family) if claims.family == Some(family.id) => end(settings, family, now),
        // A client's own token, or one whose chain was swept: it is on its own.
        _ => Unit::default().then(Write::AppendRevocation {
            revoked: Revoked::Token(claims.jti),
            at: now,
            expires: now.plus(settings.lifetimes.revocation()),
        }),
    }
}

/// What revoking a refresh token changes: nothing if it is unknown or another client's.
#[must_use]
pub fn refresh_token(
    settings: &Settings,
    caller: &Authenticated,
    facts: Option<&RefreshFacts>,
    now: UnixTime,
) -> Unit {
    match facts.map(|facts| &facts.family.family) {
        Some(family) if family.client == caller.client().id => end(settings, family, now),
        _ => Unit::default(),
    }
}

fn end(settings: &Settings, family: &Family, now: UnixTime) -> Unit {
    if family.revoked {
        return Unit::default();
    }
    grants::revoke(&settings.lifetimes, family, now)
}

#[cfg(test)]
mod tests;
