//! Tokens as they are kept, and how they are renewed (OAuth 2.1 §4.3).

use std::time::Duration;

use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;

use crate::client_auth::ClientAuthentication;
use crate::discover::Discovered;
use crate::error::{Error, Hop, Refusal};
use crate::provider::Tokens;
use crate::token::{TokenRequest, TokenResponse};

/// A token is renewed so long before it ends that the request which carries it arrives in time. One that lives less than a
/// hundred seconds has a tenth of that, so that it is not renewed for each request.
const LEEWAY: Duration = Duration::from_secs(10);

fn leeway(tokens: &Tokens, end: UnixTime) -> Duration {
    let life = tokens.issued_at.map(|begin| end.since(begin));
    life.map_or(LEEWAY, |life| LEEWAY.min(life / 10))
}

/// Whether the access token has ended, or is about to.
#[must_use]
pub fn is_due(tokens: &Tokens, now: UnixTime) -> bool {
    tokens
        .expires_at
        .is_some_and(|end| end.minus(leeway(tokens, end)) <= now)
}

/// Whether the access token has ended.
#[must_use]
pub fn is_over(tokens: &Tokens, now: UnixTime) -> bool {
    tokens.expires_at.is_some_and(|end| end <= now)
}

/// The request that renews `tokens` with their `refresh_token`. Only to the authorization server that issued them,
/// and for the resource that they are for (A19, A25).
pub fn request(
    discovered: &Discovered,
    tokens: &Tokens,
    refresh_token: &Secret,
    client: &ClientAuthentication,
) -> Result<TokenRequest, Error> {
    let server = &discovered.authorization_server;
    if tokens.issuer != server.issuer || tokens.resource != discovered.resource {
        return Err(Refusal::new(
            Hop::Token,
            Some(&server.token_endpoint),
            ("A25", "MCP authorization, token handling; RFC 9700 §2.2.2"),
            "the tokens were issued by another authorization server or for another resource",
            "log in again: tokens are not shown to a server that did not issue them",
        )
        .into());
    }
    let request = TokenRequest::new(&server.token_endpoint, "refresh_token")
        .with_secret("refresh_token", refresh_token);
    let request = match &discovered.sign_on {
        None => request.with("resource", &tokens.resource),
        Some(_) => request,
    };
    Ok(request.authenticated(client))
}

/// What is kept after a renewal. A server that tells no new refresh token means the old one, and one that tells no scope
/// means the same (RFC 6749 §5.1, §6).
#[must_use]
pub fn renewed(old: &Tokens, response: TokenResponse, now: UnixTime) -> Tokens {
    Tokens {
        issuer: old.issuer.clone(),
        resource: old.resource.clone(),
        client_id: old.client_id.clone(),
        dpop: response.dpop,
        issued_at: Some(now),
        expires_at: response.expires_in.map(|life| now.plus(life)),
        scope: response.scope.unwrap_or_else(|| old.scope.clone()),
        requested: old.requested.clone(),
        refresh_token: response.refresh_token.or_else(|| old.refresh_token.clone()),
        access_token: response.access_token,
    }
}

/// What is kept after a login of `client_id` that asked for `requested`.
#[must_use]
pub fn issued(
    (issuer, resource, client_id): (&str, &str, &str),
    requested: &ScopeSet,
    response: TokenResponse,
    now: UnixTime,
) -> Tokens {
    Tokens {
        issuer: issuer.into(),
        resource: resource.into(),
        client_id: client_id.into(),
        dpop: response.dpop,
        issued_at: Some(now),
        expires_at: response.expires_in.map(|life| now.plus(life)),
        scope: response.scope.unwrap_or_else(|| requested.clone()),
        requested: requested.clone(),
        refresh_token: response.refresh_token,
        access_token: response.access_token,
    }
}

/// What a failed renewal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The refresh token is worth nothing any more: log in again.
    Grant,
    /// The authorization server does not know the client any more: register and log in again.
    Client,
    /// Nothing is known: the server does not work at the moment. The tokens stay.
    Passing,
}

/// Tells what `error` says about the tokens that were to be renewed.
#[must_use]
pub fn failure(error: &Error) -> Failure {
    match error {
        Error::Answered { code, .. } => match code.as_str() {
            "invalid_client" | "unauthorized_client" => Failure::Client,
            // A proof is refused, and not the token: a clock that is wrong must not cost the login (RFC 9449 §5).
            "server_error"
            | "temporarily_unavailable"
            | "slow_down"
            | "use_dpop_nonce"
            | "invalid_dpop_proof" => Failure::Passing,
            _ => Failure::Grant,
        },
        _ => Failure::Passing,
    }
}

#[cfg(test)]
mod tests;
