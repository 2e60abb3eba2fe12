//! Logging out: tokens are given back (RFC 7009).

use doorward_types::secret::Secret;

use crate::client_auth::ClientAuthentication;
use crate::error::{Error, Hop};
use crate::http::HttpResponse;
use crate::provider::Tokens;
use crate::server_metadata::ServerMetadata;
use crate::token::{TokenRequest, failure};

/// The requests that revoke `tokens`, in their order: the refresh token, whose end ends the grant, and the access token for
/// servers that keep it alive (RFC 7009 §2.1). None if the server has no revocation endpoint, or is not the one that issued
/// them.
#[must_use]
pub fn requests(
    server: &ServerMetadata,
    tokens: &Tokens,
    client: &ClientAuthentication,
) -> Vec<TokenRequest> {
    let Some(endpoint) = server
        .revocation_endpoint
        .as_ref()
        .filter(|_| server.issuer == tokens.issuer)
    else {
        return Vec::new();
    };
    let request = |token: &Secret, hint: &str| {
        TokenRequest::form(endpoint, Hop::Revocation)
            .with_secret("token", token)
            .with("token_type_hint", hint)
            .authenticated(client)
    };
    let refresh = tokens
        .refresh_token
        .iter()
        .map(|token| request(token, "refresh_token"));
    refresh
        .chain([request(&tokens.access_token, "access_token")])
        .collect()
}

/// Whether a token was revoked. A server that cannot revoke this kind of token has said so properly (RFC 7009 §2.2.1).
pub fn process(request: &TokenRequest, response: &HttpResponse) -> Result<(), Error> {
    if response.status.is_success() {
        return Ok(());
    }
    match failure(request.hop(), request.url(), response) {
        Error::Answered { code, .. } if code == "unsupported_token_type" => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests;
