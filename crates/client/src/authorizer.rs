//! What an MCP transport needs to know of authorization: headers to send, and what to do when it is refused.

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::error::Error;

/// An answer of the MCP server that is about authorization.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// 401, 403, or 400 with a challenge.
    pub status: StatusCode,
    /// The answer's headers, with its `WWW-Authenticate` lines.
    pub headers: &'a HeaderMap,
    /// What [`Authorizer::headers`] had given for the request that was refused.
    pub sent: &'a HeaderMap,
    /// What was being done, for the count of upgrades per operation: `tools/call delete_note`, `initialize`.
    pub operation: &'a str,
    /// How often this one message was refused by now, from 1.
    pub tries: u8,
}

/// Authorizes the requests of one transport to one MCP server.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// The headers of the next request (`Authorization`, and `DPoP` where tokens are bound to a key): from a token that is still good,
    /// refreshed if it is about to expire. Empty when nobody has logged in: the server may not ask for it. Never in a URL.
    async fn headers(&self, method: &Method, url: &Url) -> Result<HeaderMap, Error>;

    /// Does what a refusal asks for: refresh, log in, ask for more scopes, take over a nonce. `Ok` means: ask for
    /// [`headers`](Self::headers) again and send the same message once more. `Err` means: give up, and tell why.
    async fn refused(&self, attempt: Attempt<'_>) -> Result<(), Error>;

    /// Takes note of an answer that was not a refusal (a `DPoP-Nonce` that it brought, RFC 9449 §8.2).
    fn answered(&self, headers: &HeaderMap);

    /// Counts the logins by which another person may have come: not renewals, and not those that only asked for more scopes.
    /// What a server handed out under an earlier one (its session, its cookies) does not go along with the tokens of a later.
    fn logins(&self) -> u64 {
        0
    }

    /// Takes note that the server has answered as one of 2026-07-28 or later, which has metadata: what revision 2025-03-26 assumed of
    /// servers without any does not hold for it (D3).
    fn is_modern(&self) {}

    /// Takes note that `operation` went through (a status of success): when it asks for more scopes another day, because the
    /// grant was revoked, it has its tries again.
    fn succeeded(&self, _operation: &str) {}
}
