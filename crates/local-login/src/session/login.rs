//! Tokens by a person: one browser tab for all copies of the program.

use std::sync::Arc;
use std::time::Duration;

use doorward_client::callback::{CallbackError as AnswerError, CallbackParameters};
use doorward_client::discover::Discovered;
use doorward_client::error::{Error, Hop};
use doorward_client::grant::Grant;
use doorward_client::orchestrate::{self, Options, Outcome, Why};
use doorward_client::paste;
use doorward_client::provider::{ClientOrigin, Pending, Provider as _};
use doorward_client::refresh::{self, Failure};
use doorward_types::secret::Secret;
use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use super::listening::{listen, redirect_uri_for_later};
use super::probe::{self, Said};
use super::renew::{adopted, is_another, renew, to_its_end, usable_now};
use super::{Inner, LoggedIn, Notice, assertion, discover};
use crate::callback::{Arrival, CallbackError, CallbackListener, Ending};
use crate::lock::{self, Held, LockName, Note};
use crate::store::TokensEntry;

/// How often who waits for another process looks.
const BETWEEN: Duration = Duration::from_millis(100);
/// What a login takes besides the person.
const MACHINERY: Duration = Duration::from_mins(1);

/// See [`Session::log_in`](super::Session::log_in).
pub(super) async fn log_in(inner: &Arc<Inner>, anew: bool) -> Result<LoggedIn, Error> {
    let kept = match usable_now(inner).await {
        Ok(kept) => kept,
        // Whoever logs in anew does not mind what is wrong with the old.
        Err(error @ Error::Provider(_)) => return Err(error),
        Err(_) => inner.provider.current().await?,
    };
    let credentials = match &kept {
        Some(entry) => {
            let server = &inner.settings.server;
            inner.headers_of(entry, &http::Method::POST, server).await?
        }
        None => http::HeaderMap::new(),
    };
    // Where nothing is to be discovered, nobody can be asked.
    let said = if inner.settings.discovered.is_none() {
        probe::ask(inner, credentials).await?
    } else if kept.is_some() {
        Said::Welcome
    } else {
        Said::Unclear(StatusCode::OK)
    };
    let rejected = kept.as_ref().map(|entry| entry.tokens().access_token);
    let mut why = Why {
        rejected,
        no_refresh: anew,
        ..Why::default()
    };
    match (said, kept) {
        (Said::Welcome, None) => return Ok(LoggedIn::NotNeeded),
        (Said::Welcome, Some(entry)) if !anew => {
            inner.hold(Some(entry.clone()));
            return Ok(LoggedIn::Already(entry));
        }
        (Said::Refused(status, headers), kept) => {
            let challenge = inner.challenge(&headers)?;
            if inner.note(&headers)
                && challenge.asks_for_nonce()
                && !anew
                && let Some(entry) = kept
            {
                // Nothing is wrong with the token: it only wants a proof with its nonce.
                inner.hold(Some(entry.clone()));
                return Ok(LoggedIn::Already(entry));
            }
            // What is enough for the first message is not what the token is refused for.
            if status == StatusCode::FORBIDDEN
                && let (Some(entry), Some(scope)) = (&kept_again(inner).await?, &challenge.scope)
            {
                why.scope = Some(entry.tokens().requested.union(scope));
            }
            why.challenge = Some(challenge);
        }
        // Nothing that is found under this name would hold: the resource is another one.
        (Said::Unclear(StatusCode::MISDIRECTED_REQUEST), _) => {
            return Err(Error::NeedsUser(format!(
                "{} is not what the server calls itself (421 Misdirected Request): use the URL that its operator gives, letter for letter; \
                 localhost and 127.0.0.1 are two names",
                inner.settings.server
            )));
        }
        (Said::Unclear(status), None) => tracing::debug!(%status, "the server's answer is unclear"),
        (Said::Welcome | Said::Unclear(_), _) => {}
    }
    recover(inner, why, Asker::Person).await.map(LoggedIn::Now)
}

async fn kept_again(inner: &Inner) -> Result<Option<TokensEntry>, Error> {
    Ok(inner.provider.current().await?)
}

/// On whose behalf tokens are come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A person who typed that they want to log in.
    Person,
    /// A program that waits for an answer, with somebody in front of it.
    Program,
    /// A sign of life that programs send by themselves: no page is opened for it.
    Nobody,
}

/// Comes by other tokens than the ones that were refused. The caller holds the turn.
pub(super) async fn recover(inner: &Arc<Inner>, mut why: Why, asker: Asker) -> Result<TokensEntry, Error> {
    let discovered = discover(inner, &why).await?;
    let person = inner.settings.grant.needs_person();
    // Only who says so wants everything anew. A token that was refused says nothing about the sign-on behind it.
    let sign_on_anew = why.no_refresh && asker == Asker::Person;
    if why.scope.is_none()
        && !why.no_refresh
        && let Some(entry) = inner.provider.current().await?
    {
        let fit =
            is_another(&entry, why.rejected.as_ref()) && !refresh::is_due(&entry.tokens(), inner.clock.now());
        if fit && entry.issuer() == discovered.authorization_server.issuer {
            inner.hold(Some(entry.clone()));
            return Ok(entry);
        }
        match renew(inner, entry, Some(discovered.clone())).await {
            Ok(Some(renewed)) => return Ok(renewed),
            Ok(None) => {}
            // A server may never be able to say what became of an old grant. Who asks for a login gets one.
            Err(error) if person && asker == Asker::Person && is_of_the_token_endpoint(&error) => {
                inner.tell.tell(&Notice::LoginEnded(error.to_string()));
                why.no_refresh = true;
            }
            Err(error) => return Err(error),
        }
    }
    if person && (!inner.settings.interactive || asker == Asker::Nobody) {
        if let Some(provider) = &inner.settings.sign_on {
            return Err(Error::NeedsUser(format!(
                "nobody is signed on at {}: run `doorward login URL` with the same options",
                provider.issuer
            )));
        }
        return Err(Error::NeedsUser(format!(
            "nobody is logged in to {server}: run `doorward login {server}`",
            server = inner.settings.server
        )));
    }
    match &inner.settings.grant {
        Grant::EnterpriseManaged(idp) => {
            assertion::under_lock_with(
                inner,
                &why,
                &discovered,
                (idp.subject_token.as_ref(), asker, sign_on_anew),
            )
            .await
        }
        _ => under_lock(inner, &why, &discovered).await,
    }
}

/// Whether the authorization server itself works, as far as is known, and its token endpoint does not.
pub(super) fn is_of_the_token_endpoint(error: &Error) -> bool {
    match error {
        Error::Unreachable { hop, .. } | Error::Answered { hop, .. } => *hop == Hop::Token,
        Error::Refused(refusal) => refusal.hop == Hop::Token,
        _ => false,
    }
}

/// Logs in, or waits for whoever does.
pub(super) async fn under_lock(
    inner: &Arc<Inner>,
    why: &Why,
    discovered: &Discovered,
) -> Result<TokensEntry, Error> {
    let provider = &inner.provider;
    let store = &provider.store;
    let name = LockName::login(&provider.server, &provider.user);
    let deadline = Instant::now() + inner.settings.login_timeout + MACHINERY;
    let mut seen: Option<Note> = None;
    let mut waited = false;
    let mut held = loop {
        let taken = lock::try_take(store, &name).map_err(|error| not_kept(&error))?;
        if let Some(held) = taken {
            // Also who did not wait: another login may have ended since the tokens were looked at.
            if let Some(entry) = shared(inner, why, discovered).await? {
                return Ok(entry);
            }
            if let Some(failed) = failure_of(&seen, lock::note(store, &name)) {
                return Err(Error::NeedsUser(failed));
            }
            break held;
        }
        // The failure of an earlier attempt is none of the one that is under way, which has not written its own note yet.
        let note = lock::note(store, &name).filter(|note| note.failed.is_none());
        if !waited || (note.is_some() && note != seen) {
            inner.tell.tell(&Notice::Waiting {
                pid: note.as_ref().map(|note| note.pid),
                authorization_url: note.as_ref().and_then(|note| note.authorization_url.clone()),
            });
        }
        waited = true;
        seen = note.or(seen);
        if let Some(entry) = shared(inner, why, discovered).await? {
            return Ok(entry);
        }
        if Instant::now() >= deadline {
            let pid = seen
                .map(|note| format!(" (pid {})", note.pid))
                .unwrap_or_default();
            return Err(Error::NeedsUser(format!(
                "another doorward{pid} has been logging in for too long: answer its page, or stop it"
            )));
        }
        tokio::time::sleep(BETWEEN).await;
    };
    let mut note = Note {
        pid: std::process::id(),
        attempt: Secret::generate(inner.random.as_ref()).digest().to_string(),
        ..Note::default()
    };
    held.tell(&note);
    let result = twice(inner, why, discovered, (&mut held, &mut note)).await;
    if let Err(error) = &result {
        note.failed = Some(error.to_string());
        held.tell(&note);
    }
    result
}

/// Tokens that another process came by meanwhile.
async fn shared(inner: &Inner, why: &Why, discovered: &Discovered) -> Result<Option<TokensEntry>, Error> {
    let Some(entry) = inner.provider.current().await? else {
        return Ok(None);
    };
    // Those of an authorization server that is not the MCP server's any more (G14).
    if entry.issuer() != discovered.authorization_server.issuer || entry.resource() != discovered.resource {
        return Ok(None);
    }
    let tokens = entry.tokens();
    let enough = why
        .scope
        .as_ref()
        .is_none_or(|needed| needed.is_subset(&tokens.requested));
    if !is_another(&entry, why.rejected.as_ref()) || !enough || refresh::is_due(&tokens, inner.clock.now()) {
        return Ok(None);
    }
    inner.hold(Some(entry.clone()));
    inner.tell.tell(&Notice::LoggedIn {
        issuer: entry.issuer().to_owned(),
    });
    Ok(Some(entry))
}

/// How the login ended that was waited for: the same question is not put to the same person again.
fn failure_of(seen: &Option<Note>, last: Option<Note>) -> Option<String> {
    let (seen, last) = (seen.as_ref()?, last?);
    let failed = last.failed.filter(|_| last.attempt == seen.attempt)?;
    Some(format!(
        "another doorward (pid {}) could not log in: {failed}",
        last.pid
    ))
}

/// Once more if the authorization server turns out to have forgotten this client.
async fn twice(
    inner: &Arc<Inner>,
    why: &Why,
    discovered: &Discovered,
    (held, note): (&mut Held, &mut Note),
) -> Result<TokensEntry, Error> {
    match once(inner, why, discovered, (&mut *held, &mut *note)).await {
        Err(error)
            if refresh::failure(&error) == Failure::Client
                && !is_of_the_identity_provider(&error)
                && can_register(inner, discovered) =>
        {
            tracing::debug!(%error, "the registration is not known any more");
            inner
                .provider
                .forget_client(&discovered.authorization_server.issuer)
                .await?;
            once(inner, why, discovered, (held, note)).await
        }
        other => other,
    }
}

/// What the identity provider says of the client that is registered there says nothing of the one here.
fn is_of_the_identity_provider(error: &Error) -> bool {
    matches!(
        error,
        Error::Answered {
            hop: Hop::TokenExchange | Hop::SignOn,
            ..
        }
    )
}

fn can_register(inner: &Inner, discovered: &Discovered) -> bool {
    inner.settings.application.pre_registered.is_none()
        && inner.settings.grant.may_register()
        && discovered.authorization_server.registration_endpoint.is_some()
}

async fn once(
    inner: &Arc<Inner>,
    why: &Why,
    discovered: &Discovered,
    (held, note): (&mut Held, &mut Note),
) -> Result<TokensEntry, Error> {
    // The listener is there before anybody is told where to go.
    let listener = if inner.settings.grant.uses_browser() {
        Some(listen(inner, discovered).await?)
    } else {
        None
    };
    let bound = discovered.requires_dpop()
        || why
            .challenge
            .as_ref()
            .is_some_and(|challenge| challenge.requires_dpop());
    // Tokens for another URL of the resource come with their key.
    let (issuer, resource) = (&discovered.authorization_server.issuer, &discovered.resource);
    inner.provider.tokens(issuer, resource).await?;
    let dpop = inner.dpop(bound || inner.settings.dpop).await?;
    let redirect_uri = match &listener {
        Some(listener) => listener.redirect_uri().to_owned(),
        None => redirect_uri_for_later(inner, discovered).await?,
    };
    let options = inner.options(&redirect_uri, Some(dpop));
    let outcome = if matches!(inner.settings.grant, Grant::Device) {
        // Takes as long as the person: it ends when nobody waits any more, and holds up no renewal.
        orchestrate::authorize_at(&inner.environment(), &options, why, discovered).await?
    } else {
        let (shared, options, why, discovered) = (
            Arc::clone(inner),
            options.clone(),
            why.clone(),
            discovered.clone(),
        );
        to_its_end(async move {
            let environment = shared.environment();
            let work = orchestrate::authorize_at(&environment, &options, &why, &discovered);
            shared.provider.with_locks(work).await
        })
        .await?
    };
    let url = match (outcome, &listener) {
        (Outcome::Redirect(url), Some(_)) => url,
        (Outcome::Authorized(tokens), _) => {
            // They may have been found by their resource alone: got for another URL of it, or by a process that was killed before
            // it wrote down which server they are for.
            inner.provider.save_tokens(&tokens).await?;
            return entered(inner).await;
        }
        (Outcome::Redirect(_), None) => return entered(inner).await,
    };
    if inner.settings.discovered.is_none()
        && let Some(network) = &inner.network
    {
        network
            .may_visit(&url)
            .await
            .map_err(|source| Error::Unreachable {
                hop: Hop::Authorization,
                url: Box::new(without_query(&url)),
                source,
            })?;
    }
    note.authorization_url = Some(url.to_string());
    held.tell(note);
    match listener {
        Some(listener) => answer(inner, &options, &listener, &url).await,
        None => entered(inner).await,
    }
}

/// For messages: the request's parameters are nobody's business.
fn without_query(url: &Url) -> Url {
    let mut shown = url.clone();
    shown.set_query(None);
    shown
}

/// New tokens are there.
async fn entered(inner: &Inner) -> Result<TokensEntry, Error> {
    let entry = adopted(inner).await?;
    let entry = entry.ok_or_else(|| Error::NeedsUser("the new tokens were removed at once".to_owned()))?;
    {
        let mut state = inner.state();
        state.from_login = Some(entry.tokens().access_token);
        state.unproven = Some(inner.clock.monotonic());
    }
    inner.tell.tell(&Notice::LoggedIn {
        issuer: entry.issuer().to_owned(),
    });
    Ok(entry)
}

/// Shows the way, waits for the answer, and exchanges its code.
async fn answer(
    inner: &Arc<Inner>,
    options: &Options,
    listener: &CallbackListener,
    url: &Url,
) -> Result<TokensEntry, Error> {
    let Some(pending) = inner.provider.pending().await? else {
        return Err(Error::NeedsUser(
            "the login was replaced by another one".to_owned(),
        ));
    };
    let mut pasted = inner.pasted.lock().await;
    inner.tell.tell(&Notice::LogIn(url.clone()));
    if pasted.is_some() {
        inner.tell.tell(&Notice::MayPaste);
    }
    let deadline = Instant::now() + inner.settings.login_timeout;
    let mut browser = Box::pin(show(inner, url));
    let mut shown = false;
    loop {
        let within = deadline.saturating_duration_since(Instant::now());
        let is_ours = |state: &str| Secret::new(state) == pending.state;
        tokio::select! {
            arrived = listener.wait(is_ours, within) => match arrived {
                Ok(arrival) => return take(inner, options, arrival).await,
                Err(error) => return Err(timed_out(inner, &pending, &error).await),
            },
            line = next_line(&mut pasted) => match line {
                Some(line) => if let Some(parameters) = read_pasted(inner, &line, &pending) {
                    finish(inner, options, parameters).await?;
                    return entered(inner).await;
                },
                None => *pasted = None,
            },
            () = &mut browser, if !shown => shown = true,
        }
    }
}

async fn next_line(pasted: &mut Option<tokio::sync::mpsc::Receiver<String>>) -> Option<String> {
    match pasted {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

/// The answer in a pasted line, if it is the one. An empty line is nothing that was pasted.
fn read_pasted(inner: &Inner, line: &str, pending: &Pending) -> Option<CallbackParameters> {
    if line.trim().is_empty() {
        return None;
    }
    let not_it = |why: String| inner.tell.tell(&Notice::NotAnAnswer(why));
    let query = paste::query_of(line, &pending.redirect_uri)
        .map_err(|error| not_it(error.to_string()))
        .ok()?;
    let parameters = CallbackParameters::from_query(&query)
        .map_err(|error| not_it(error.to_string()))
        .ok()?;
    if !parameters.belongs_to(pending) {
        not_it("it belongs to another login".to_owned());
        return None;
    }
    Some(parameters)
}

/// Opens the page. That it does not work is told: the address was, too.
async fn show(inner: &Inner, url: &Url) {
    let Some(browser) = &inner.browser else {
        return;
    };
    let result = match browser.open(url).await {
        Ok(opened) => opened.finished().await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        inner.tell.tell(&Notice::NoBrowser(error.to_string()));
    }
}

/// The answer that came to the listener; the browser gets a page that says how it ended, once the tokens are in use.
async fn take(inner: &Arc<Inner>, options: &Options, arrival: Arrival) -> Result<TokensEntry, Error> {
    let parameters = match CallbackParameters::from_query(arrival.query()) {
        Ok(parameters) => parameters,
        Err(error) => {
            let reason = error.to_string();
            arrival
                .answer(Ending::Failed {
                    reason: reason.clone(),
                })
                .await;
            return Err(Error::NeedsUser(reason));
        }
    };
    let result = match finish(inner, options, parameters).await {
        Ok(()) => entered(inner).await,
        Err(error) => Err(error),
    };
    let ending = match &result {
        Ok(_) => Ending::LoggedIn {
            server: match &inner.settings.sign_on {
                Some(provider) => format!("your sign-on at {}", provider.issuer),
                None => inner.settings.server.to_string(),
            },
        },
        Err(Error::Answered {
            hop: Hop::Callback,
            code,
            description,
        }) if code == "access_denied" => Ending::Declined {
            words: description.clone(),
        },
        Err(error) => Ending::Failed {
            reason: error.to_string(),
        },
    };
    arrival.answer(ending).await;
    result
}

/// Exchanges the code; to its end, because a code is good for one time.
async fn finish(inner: &Arc<Inner>, options: &Options, parameters: CallbackParameters) -> Result<(), Error> {
    let (shared, options) = (Arc::clone(inner), options.clone());
    to_its_end(async move {
        let environment = shared.environment();
        let work = async {
            match orchestrate::finish(&environment, &options, &parameters).await {
                Ok(_) => Ok(()),
                Err(AnswerError::Failed(error)) => Err(*error),
                Err(error @ AnswerError::NotOurs) => Err(Error::NeedsUser(error.to_string())),
            }
        };
        shared.provider.with_locks(work).await
    })
    .await
}

/// Nobody came. If a kept registration was used, the authorization server may have forgotten it and shown an error page
/// instead: the next login registers anew.
async fn timed_out(inner: &Inner, pending: &Pending, error: &CallbackError) -> Error {
    let in_use = inner.provider.current().await.ok().flatten().is_some();
    if pending.client.origin == ClientOrigin::Dynamic && !in_use {
        let forgotten = inner.provider.forget_client(&pending.issuer).await;
        tracing::debug!(?forgotten, "the registration is not used again");
    }
    Error::NeedsUser(match error {
        CallbackError::TimedOut(_) => format!(
            "nobody logged in within {} seconds: no answer came back from the browser",
            inner.settings.login_timeout.as_secs()
        ),
        error => format!("nobody logged in: {error}"),
    })
}

fn not_kept(error: &crate::store::StoreError) -> Error {
    doorward_client::provider::ProviderError(error.to_string()).into()
}
