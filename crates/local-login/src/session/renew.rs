//! Tokens without a person: the stored ones, renewed ones, and giving them back.

use std::sync::Arc;
use std::time::Duration;

use doorward_client::discover::Discovered;
use doorward_client::error::Error;
use doorward_client::orchestrate::{self, Why};
use doorward_client::provider::{Provider as _, ProviderError};
use doorward_client::refresh::{self, Failure};
use doorward_types::secret::Secret;

use super::{Inner, LoggedOut, Notice, discover};
use crate::store::TokensEntry;

/// So long what is known of the authorization server is taken for renewals. A server that moves to another one refuses
/// the old tokens, and then it is asked for anew.
const DISCOVERY: Duration = Duration::from_mins(15);

/// The token to send: `None` if there is none that could be any good.
pub(super) async fn usable(inner: &Arc<Inner>) -> Result<Option<TokensEntry>, Error> {
    if let Some(entry) = inner.held()
        && !is_due(inner, &entry)
    {
        return Ok(Some(entry));
    }
    let _turn = inner.turn.lock().await;
    usable_now(inner).await
}

/// [`usable`] for whoever holds the turn.
pub(super) async fn usable_now(inner: &Arc<Inner>) -> Result<Option<TokensEntry>, Error> {
    let Some(entry) = inner.provider.current().await? else {
        inner.hold(None);
        return Ok(None);
    };
    if !is_due(inner, &entry) {
        inner.hold(Some(entry.clone()));
        return Ok(Some(entry));
    }
    let over = refresh::is_over(&entry.tokens(), inner.clock.now());
    let kept = (!over).then(|| entry.clone());
    match renew(inner, entry, None).await {
        Ok(Some(renewed)) => Ok(Some(renewed)),
        // It does for the moment. Once it has ended, the server's refusal says what is to be done.
        Ok(None) => Ok(kept),
        Err(error) if over => Err(error),
        Err(error) => {
            tracing::debug!(%error, "not renewed yet");
            Ok(kept)
        }
    }
}

fn is_due(inner: &Inner, entry: &TokensEntry) -> bool {
    refresh::is_due(&entry.tokens(), inner.clock.now())
}

/// Renews `entry`, unless somebody else has done so, or it is not possible (`None`). `fresh` is what was just found out about the
/// authorization server. Goes on to its end also if nobody waits any more: between the server's answer and the disk,
/// new tokens must not be dropped.
pub(super) async fn renew(
    inner: &Arc<Inner>,
    entry: TokensEntry,
    fresh: Option<Discovered>,
) -> Result<Option<TokensEntry>, Error> {
    let shared = Arc::clone(inner);
    to_its_end(async move {
        let discovered = match fresh {
            Some(discovered) => discovered,
            None => known(&shared).await?,
        };
        let work = renew_locked(&shared, &entry, &discovered);
        shared.provider.with_locks(work).await
    })
    .await
}

/// Runs `work` to its end, whether or not this future is.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(ProviderError(error.to_string()).into()),
    }
}

async fn known(inner: &Inner) -> Result<Discovered, Error> {
    let found = inner.state().discovered.clone();
    if let Some((discovered, when)) = found
        && inner.clock.monotonic().saturating_sub(when) < DISCOVERY
    {
        return Ok(discovered);
    }
    discover(inner, &Why::default()).await
}

async fn renew_locked(
    inner: &Inner,
    entry: &TokensEntry,
    discovered: &Discovered,
) -> Result<Option<TokensEntry>, Error> {
    let provider = &inner.provider;
    let (issuer, resource) = (entry.issuer(), entry.resource());
    // A25: nothing of theirs goes to another authorization server, and for no other resource.
    if discovered.authorization_server.issuer != issuer || discovered.resource != resource {
        return Ok(None);
    }
    let before = entry.tokens();
    let Some(now_kept) = provider.tokens(issuer, resource).await? else {
        return Ok(None);
    };
    if now_kept.access_token != before.access_token && !refresh::is_due(&now_kept, inner.clock.now()) {
        return adopted(inner).await;
    }
    let dpop = if now_kept.dpop {
        Some(inner.dpop(false).await?)
    } else {
        None
    };
    let options = inner.options("", dpop);
    match orchestrate::renew(&inner.environment(), &options, discovered, &now_kept).await {
        Ok(Some(_)) => adopted(inner).await,
        Ok(None) => Ok(None),
        Err(error) => match refresh::failure(&error) {
            Failure::Passing => Err(error),
            failure => {
                inner.tell.tell(&Notice::LoginEnded(error.to_string()));
                if failure == Failure::Client {
                    provider.forget_client(issuer).await?;
                }
                provider.forget_tokens(issuer, resource).await?;
                inner.hold(None);
                Ok(None)
            }
        },
    }
}

/// What is kept now is what is used from now on.
pub(super) async fn adopted(inner: &Inner) -> Result<Option<TokensEntry>, Error> {
    let entry = inner.provider.current().await?;
    inner.hold(entry.clone());
    Ok(entry)
}

/// Whether `entry` has another access token than the one that was refused.
pub(super) fn is_another(entry: &TokensEntry, rejected: Option<&Secret>) -> bool {
    rejected.is_none_or(|rejected| entry.tokens().access_token != *rejected)
}

/// See [`Session::log_out`](super::Session::log_out).
pub(super) async fn log_out(inner: &Arc<Inner>, keep_unrevoked: bool) -> Result<LoggedOut, Error> {
    let shared = Arc::clone(inner);
    to_its_end(async move {
        let work = log_out_locked(&shared, keep_unrevoked);
        shared.provider.with_locks(work).await
    })
    .await
}

async fn log_out_locked(inner: &Inner, keep_unrevoked: bool) -> Result<LoggedOut, Error> {
    let provider = &inner.provider;
    let Some(entry) = provider.current().await? else {
        provider.forget_everything(None).await?;
        return Ok(LoggedOut::Nobody);
    };
    let (issuer, resource) = (entry.issuer().to_owned(), entry.resource().to_owned());
    // Under the lock: nobody renews what is given back.
    let kept = provider.tokens(&issuer, &resource).await?;
    let revoked = revoke(inner, &entry).await;
    if let Err(why) = &revoked
        && keep_unrevoked
    {
        // The machine forgets first and asks then.
        if let (Some(kept), None) = (kept, provider.tokens(&issuer, &resource).await?) {
            provider.save_tokens(&kept).await?;
        }
        return Ok(LoggedOut::NotRevoked { why: why.clone() });
    }
    provider.forget_tokens(&issuer, &resource).await?;
    provider.forget_everything(Some(&entry.server)).await?;
    inner.hold(None);
    {
        let mut state = inner.state();
        (state.from_login, state.unproven) = (None, None);
        state.hopeless.clear();
    }
    Ok(match revoked {
        Ok(()) => LoggedOut::Revoked,
        Err(why) => LoggedOut::NotRevoked { why },
    })
}

/// At the authorization server that issued them, and at no other.
async fn revoke(inner: &Inner, entry: &TokensEntry) -> Result<(), String> {
    if entry.signed_on_as().is_some() && entry.tokens().refresh_token.is_none() {
        // An ID token cannot be revoked: it ends by itself.
        return Ok(());
    }
    let discovered = discover(inner, &Why::default())
        .await
        .map_err(|error| error.to_string())?;
    let server = &discovered.authorization_server;
    if server.issuer != entry.issuer() {
        return Err(format!(
            "the server now names {}, and the tokens are from {}",
            server.issuer,
            entry.issuer()
        ));
    }
    if server.revocation_endpoint.is_none() {
        return Err(format!("{} has no revocation endpoint (RFC 7009)", server.issuer));
    }
    // The metadata may name another resource by now; what is given back is what is kept.
    let discovered = Discovered {
        resource: entry.resource().to_owned(),
        ..discovered
    };
    let options = inner.options("", None);
    orchestrate::log_out(&inner.environment(), &options, &discovered)
        .await
        .map_err(|error| error.to_string())
}
