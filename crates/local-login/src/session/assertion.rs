//! Tokens by the assertion of a company's identity provider: it is at hand before anything is locked, and replaced once if it is refused.

use std::sync::Arc;

use doorward_client::discover::Discovered;
use doorward_client::error::{Error, Hop};
use doorward_client::grant::AssertionSource;
use doorward_client::orchestrate::Why;

use super::Inner;
use super::login::{Asker, is_of_the_token_endpoint, under_lock};
use crate::store::TokensEntry;

/// [`under_lock`] with an assertion of `source`, come by anew if it is `sign_on_anew` or not good.
pub(super) async fn under_lock_with(
    inner: &Arc<Inner>,
    why: &Why,
    discovered: &Discovered,
    (source, asker, sign_on_anew): (&dyn AssertionSource, Asker, bool),
) -> Result<TokensEntry, Error> {
    // A person may have to sign on first: before anything is locked that others need for their renewals.
    let may_ask = asker != Asker::Nobody;
    match source.ready(sign_on_anew, may_ask).await {
        Err(error) if asker == Asker::Person && is_of_the_token_endpoint(&error) => {
            source.ready(true, may_ask).await?;
        }
        ready => ready?,
    }
    let result = under_lock(inner, why, discovered).await;
    match result {
        Err(error) if may_ask && refuses_the_assertion(&error) && may_replace(inner, source).await? => {
            tracing::debug!(%error, "the identity provider does not take its own assertion any more");
            source.ready(true, may_ask).await?;
            let result = under_lock(inner, why, discovered).await;
            if result.as_ref().is_err_and(refuses_the_assertion) {
                // What it does not like is not this assertion: the next call asks nobody.
                may_replace(inner, source).await?;
            }
            result
        }
        result => result,
    }
}

/// Whether the identity provider refused the assertion itself, as it does when an administrator ended the session. `invalid_request`, which
/// RFC 8693 §2.2.2 has for that, too, also says that the person may not: no other assertion would help.
fn refuses_the_assertion(error: &Error) -> bool {
    matches!(error, Error::Answered { hop: Hop::TokenExchange, code, .. } if code == "invalid_grant")
}

/// Whether the assertion was not refused before: for each, a person is asked once.
async fn may_replace(inner: &Inner, source: &dyn AssertionSource) -> Result<bool, Error> {
    let digest = source.assertion().await?.digest();
    Ok(inner.state().refused_assertion.replace(digest) != Some(digest))
}
