//! What is kept of a login: read when it is needed, renewed when it is due, and remembered as long as nothing speaks against it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_client::authorizer::{Attempt, Authorizer as _};
use doorward_client::discover::Discovered;
use doorward_client::refresh::{is_due, is_over};
use doorward_local_login::session::Session;
use doorward_local_login::store::{StoreError, TokensEntry};
use doorward_types::digest::Digest;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};

use super::parts::OwnLoginParts;

/// So long nothing is renewed again after it could not be.
const PAUSE: Duration = Duration::from_secs(10);

/// See the [module](self).
pub(super) struct Kept {
    parts: Arc<OwnLoginParts>,
    /// A token that is kept, and was found not to be good.
    bad: Mutex<Option<Digest>>,
    /// A token that is kept, and was found to be without scopes, whatever was said when it was issued.
    lacking: Mutex<Option<Digest>>,
    /// What is kept, as it was last read. Made empty when somebody may have logged in elsewhere.
    held: Mutex<Option<TokensEntry>>,
    /// Renews what is kept, and never asks a person; with what it knows of the authorization server.
    quiet: Mutex<Option<(Discovered, Arc<Session>)>>,
    /// When something could last not be renewed.
    in_vain: Mutex<Option<Duration>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    pub(super) fn new(parts: Arc<OwnLoginParts>) -> Self {
        Self {
            parts,
            bad: Mutex::default(),
            lacking: Mutex::default(),
            held: Mutex::default(),
            quiet: Mutex::default(),
            in_vain: Mutex::default(),
        }
    }

    /// A token that is not known to be bad.
    pub(super) async fn token(&self) -> Option<Secret> {
        let token = self.kept().await?;
        if !self.is_bad(&token) {
            return Some(token);
        }
        // Somebody may have logged in since, here or in another process.
        self.look_again();
        self.kept().await.filter(|token| !self.is_bad(token))
    }

    /// See [`Login::refused`](crate::authority::Login::refused).
    pub(super) async fn refused(&self, token: &Secret) {
        *locked(&self.bad) = Some(token.digest());
        self.look_again();
        // Somebody else may have renewed it already, or there is nothing to do so with.
        let renewable = self.stored().await.is_some_and(|entry| {
            let tokens = entry.tokens();
            tokens.access_token == *token && tokens.refresh_token.is_some()
        });
        if !renewable || self.was_in_vain() {
            return;
        }
        let (Some(session), Ok(mut sent)) = (
            self.quiet().await,
            HeaderValue::try_from(format!("Bearer {}", token.expose())),
        ) else {
            return;
        };
        sent.set_sensitive(true);
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        let attempt = Attempt {
            status: StatusCode::UNAUTHORIZED,
            headers: &std::iter::once((WWW_AUTHENTICATE, challenge)).collect(),
            sent: &std::iter::once((AUTHORIZATION, sent)).collect(),
            operation: "verify",
            tries: 1,
        };
        // Without a person: renewed by its refresh token, or given up.
        if let Err(error) = session.refused(attempt).await {
            tracing::info!(%error, "stdio: the token cannot be renewed");
            self.note_in_vain();
        }
        self.look_again();
    }

    /// A call needed more than `token` has.
    pub(super) fn lacks(&self, token: &Secret) {
        *locked(&self.lacking) = Some(token.digest());
    }

    /// Whether a call needed more than `token` has.
    pub(super) fn is_lacking(&self, token: &Secret) -> bool {
        *locked(&self.lacking) == Some(token.digest())
    }

    /// Somebody has logged in: what was held against the login of before is forgotten.
    pub(super) fn entered(&self, entry: TokensEntry) {
        *locked(&self.bad) = None;
        *locked(&self.lacking) = None;
        *locked(&self.in_vain) = None;
        self.hold(Some(entry));
    }

    /// The session that renews, if there was one; it is not used again.
    pub(super) fn take_session(&self) -> Option<Arc<Session>> {
        locked(&self.quiet).take().map(|(_, session)| session)
    }

    /// What was granted to the token that is kept.
    pub(super) async fn granted(&self) -> Option<ScopeSet> {
        Some(self.held_or_stored().await?.tokens().scope)
    }

    /// The session that renews. It takes metadata, so it is asked for only when there is something to renew.
    async fn quiet(&self) -> Option<Arc<Session>> {
        let discovered = match self.parts.known.for_call().await {
            Ok(discovered) => discovered,
            Err(why) => {
                tracing::warn!(why, "stdio: nothing is known of the authorization server");
                return None;
            }
        };
        if let Some((of, session)) = self.session_of_before()
            && (of == discovered || self.has_unsaved(&session).await)
        {
            return Some(session);
        }
        let session = self
            .parts
            .session(discovered.clone(), self.parts.scopes.clone(), None);
        let session = Arc::new(session);
        *locked(&self.quiet) = Some((discovered, Arc::clone(&session)));
        Some(session)
    }

    fn session_of_before(&self) -> Option<(Discovered, Arc<Session>)> {
        locked(&self.quiet).clone()
    }

    /// Whether `session` alone has tokens for which there was no room: with it they would be lost (A27).
    async fn has_unsaved(&self, session: &Session) -> bool {
        let Ok(Some(kept)) = session.kept().await else {
            return false;
        };
        let stored = self.in_store().await.ok().flatten();
        stored.is_none_or(|stored| stored.tokens().access_token != kept.tokens().access_token)
    }

    /// What is kept is read again at the next call.
    pub(super) fn look_again(&self) {
        self.hold(None);
    }

    fn hold(&self, entry: Option<TokensEntry>) {
        *locked(&self.held) = entry;
    }

    fn held(&self) -> Option<TokensEntry> {
        locked(&self.held).clone()
    }

    async fn in_store(&self) -> Result<Option<TokensEntry>, StoreError> {
        let parts = &self.parts;
        let (store, user) = (parts.store.clone(), parts.user.clone());
        let server = parts.wanted.resource.as_str().to_owned();
        let reading = tokio::task::spawn_blocking(move || match store.server(&server, &user)? {
            Some(place) => store.tokens(&place.issuer, &place.resource, &user),
            None => Ok(None),
        });
        reading.await.unwrap_or(Ok(None))
    }

    /// What is kept. Nobody is asked over the network.
    async fn stored(&self) -> Option<TokensEntry> {
        let entry = match self.session_of_before() {
            // It may have tokens for which there was no room.
            Some((_, session)) => session.kept().await.map_err(|error| error.to_string()),
            None => self.in_store().await.map_err(|error| error.to_string()),
        };
        let entry = entry
            .inspect_err(|why| tracing::warn!(why, "stdio: what is kept cannot be read"))
            .ok()
            .flatten();
        self.hold(entry.clone());
        entry
    }

    async fn held_or_stored(&self) -> Option<TokensEntry> {
        match self.held() {
            Some(held) => Some(held),
            None => self.stored().await,
        }
    }

    /// The token that is kept, renewed if it was about to end.
    async fn kept(&self) -> Option<Secret> {
        let due = |entry: &TokensEntry| is_due(&entry.tokens(), self.parts.clock.now());
        let entry = match self.held().filter(|held| !due(held)) {
            Some(held) => held,
            None => self.stored().await?,
        };
        let before = entry.tokens();
        // A token that is bound to a key is of no use over stdio.
        if before.dpop {
            return None;
        }
        if !due(&entry) {
            return Some(before.access_token);
        }
        let for_now = (!is_over(&before, self.parts.clock.now())).then_some(before.access_token.clone());
        if before.refresh_token.is_none() || self.was_in_vain() {
            return for_now;
        }
        match self.renewed().await {
            Ok(token) if token.as_ref() == Some(&before.access_token) => {
                self.note_in_vain();
                token
            }
            Ok(token) => token,
            Err(why) => {
                tracing::info!(why, "stdio: the token that is kept cannot be renewed now");
                self.note_in_vain();
                for_now
            }
        }
    }

    /// The token that the session has after it has renewed what was due.
    async fn renewed(&self) -> Result<Option<Secret>, String> {
        let session = self
            .quiet()
            .await
            .ok_or("its authorization server does not answer")?;
        let headers = session.headers(&Method::POST, &self.parts.wanted.resource).await;
        self.look_again();
        let headers = headers.map_err(|error| error.to_string())?;
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        Ok(value
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(Secret::new))
    }

    fn was_in_vain(&self) -> bool {
        let when = *locked(&self.in_vain);
        when.is_some_and(|when| self.parts.clock.monotonic().saturating_sub(when) < PAUSE)
    }

    /// What is known of the authorization server may be the reason.
    fn note_in_vain(&self) {
        self.parts.known.doubt();
        let now = self.parts.clock.monotonic();
        *locked(&self.in_vain) = Some(now);
    }

    fn is_bad(&self, token: &Secret) -> bool {
        *locked(&self.bad) == Some(token.digest())
    }
}
