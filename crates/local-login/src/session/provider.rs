//! The store as the client's machines see it: one person, one MCP server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use doorward_client::device::DeviceAuthorization;
use doorward_client::error::Error;
use doorward_client::provider::{ClientInformation, ClientOrigin, Pending, Provider, ProviderError, Tokens};
use doorward_client::registration::PreRegistered;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use url::Url;

use super::notice::{Notice, Tell};
use crate::lock::{self, Held, LockName};
use crate::store::{ClientEntry, Pin, ServerEntry, Store, StoreError, TokensEntry};

/// The longest that a renewal takes: two discoveries and a token request, all bounded by the network.
const RENEWAL: Duration = Duration::from_secs(90);
/// So long the end of the program waits for an answer with tokens that is on its way.
const LAST: Duration = Duration::from_secs(10);

/// Keeps tokens and registrations in the store; what is under way stays in this process, so that two copies never mix up
/// each other's verifiers.
pub(super) struct StoreProvider {
    pub(super) store: Store,
    pub(super) server: String,
    pub(super) user: String,
    pub(super) configured: Option<PreRegistered>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tell: Arc<dyn Tell>,
    state: Mutex<State>,
    /// One renewal, exchange of a code or logout at a time. Whoever works under it has it itself, and not the caller, who may stop
    /// waiting.
    one: tokio::sync::Semaphore,
    /// The refresh locks that are held. `None` outside of [`StoreProvider::with_locks`].
    locks: tokio::sync::Mutex<Option<Vec<(LockName, Held)>>>,
}

#[derive(Default)]
struct State {
    pending: Option<Pending>,
    /// Registered a moment ago, while tokens of the one before are still in use.
    candidate: Option<ClientInformation>,
    /// Tokens for which there was no room.
    unsaved: Option<Unsaved>,
}

#[derive(Clone)]
struct Unsaved {
    tokens: Tokens,
    /// The access token that is kept instead: if another one is there by now, somebody was quicker.
    instead_of: Option<Secret>,
}

impl StoreProvider {
    pub(super) fn new(
        store: Store,
        (server, user): (String, String),
        configured: Option<PreRegistered>,
        clock: Arc<dyn Clock>,
        tell: Arc<dyn Tell>,
    ) -> Self {
        Self {
            store,
            server,
            user,
            configured,
            clock,
            tell,
            state: Mutex::default(),
            one: tokio::sync::Semaphore::new(1),
            locks: tokio::sync::Mutex::default(),
        }
    }

    /// Runs `work`, in which every look at tokens first takes their refresh lock, until the end: what was read is what is
    /// renewed, and no other process uses the same refresh token (A27). One at a time in this process.
    pub(super) async fn with_locks<T>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let one = self.one.acquire().await;
        let _one = one.map_err(|_| ProviderError("this program is ending".to_owned()))?;
        *self.locks.lock().await = Some(Vec::new());
        let result = work.await;
        *self.locks.lock().await = None;
        result
    }

    /// Waits for what is done in [`with_locks`](Self::with_locks), for ten seconds at most, and lets nothing else begin.
    pub(super) async fn settled(&self) {
        let last = tokio::time::timeout(LAST, self.one.acquire()).await;
        if last.is_err() {
            tracing::warn!("an authorization server has not answered: what it may have renewed is lost");
        }
        self.one.close();
    }

    async fn lock(&self, issuer: &str, resource: &str) -> Result<(), ProviderError> {
        let mut locks = self.locks.lock().await;
        let Some(locks) = locks.as_mut() else {
            return Ok(());
        };
        let name = LockName::refresh(issuer, resource, &self.user);
        if !locks.iter().any(|(held, _)| *held == name) {
            let held = self.take(&name).await?;
            locks.push((name, held));
        }
        Ok(())
    }

    async fn take(&self, name: &LockName) -> Result<Held, ProviderError> {
        let held = lock::take(&self.store, name, RENEWAL, |_| {}).await;
        held.map_err(|error| ProviderError(error.to_string()))?
            .ok_or_else(|| {
                ProviderError(format!(
                    "another doorward has been renewing the tokens for {} seconds",
                    RENEWAL.as_secs()
                ))
            })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that may wait for the disk.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, &str, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let (store, server, user) = (self.store.clone(), self.server.clone(), self.user.clone());
        tokio::task::spawn_blocking(move || work(&store, &server, &user))
            .await
            .map_err(|error| ProviderError(error.to_string()))?
            .map_err(|error| ProviderError(error.to_string()))
    }

    /// The tokens that were last got for this server, whoever issued them.
    pub(super) async fn current(&self) -> Result<Option<TokensEntry>, ProviderError> {
        self.save_again().await;
        if let Some(unsaved) = self.state().unsaved.clone() {
            return Ok(Some(self.entry(&unsaved.tokens)));
        }
        self.blocking(|store, server, user| {
            let Some(place) = store.server(server, user)? else {
                return Ok(None);
            };
            tokens_for(store, server, user, (&place.issuer, &place.resource))
        })
        .await
    }

    /// Forgets what goes with the tokens of this server: their key, whose a client id is, and credentials that were typed.
    /// A registration is used again.
    /// `of` is the URL that the tokens were got for, which may be another one of the same resource.
    pub(super) async fn forget_everything(&self, of: Option<&str>) -> Result<(), ProviderError> {
        let of = of.map(str::to_owned);
        self.blocking(move |store, server, user| {
            if let Some(place) = store.server(server, user)? {
                for server in std::iter::once(server).chain(of.as_deref()) {
                    let client = store
                        .client(&place.issuer, server, user)?
                        .map(ClientInformation::from);
                    if client.is_some_and(|client| client.origin == ClientOrigin::PreRegistered) {
                        store.forget_client(&place.issuer, server, user)?;
                    }
                }
                store.forget_server(server, user)?;
            }
            store.forget_dpop_key(server, user)?;
            store.forget_pins(server)
        })
        .await
    }

    fn entry(&self, tokens: &Tokens) -> TokensEntry {
        TokensEntry::new(&self.user, &self.server, tokens, self.clock.now())
    }

    /// Tokens that found no room get another try, unless somebody else has put newer ones there, or taken them away.
    async fn save_again(&self) {
        let Some(unsaved) = self.state().unsaved.clone() else {
            return;
        };
        let Ok(kept) = self.stored(&unsaved.tokens).await else {
            return;
        };
        if kept != unsaved.instead_of || self.write_tokens(&unsaved.tokens).await.is_ok() {
            let mut state = self.state();
            if state
                .unsaved
                .as_ref()
                .is_some_and(|now| now.tokens.access_token == unsaved.tokens.access_token)
            {
                state.unsaved = None;
            }
        }
    }

    /// The access token that is kept in the place of `tokens`.
    async fn stored(&self, tokens: &Tokens) -> Result<Option<Secret>, ProviderError> {
        let (issuer, resource) = (tokens.issuer.clone(), tokens.resource.clone());
        let kept = self.blocking(move |store, _, user| store.tokens(&issuer, &resource, user));
        Ok(kept.await?.map(|entry| entry.tokens().access_token))
    }

    async fn write_tokens(&self, tokens: &Tokens) -> Result<(), ProviderError> {
        let entry = self.entry(tokens);
        self.blocking(move |store, server, user| {
            store.save_tokens(&entry)?;
            let place = ServerEntry {
                issuer: entry.issuer().to_owned(),
                resource: entry.resource().to_owned(),
            };
            store.save_server(server, user, &place)
        })
        .await
    }

    async fn write_client(&self, client: &ClientInformation) -> Result<(), ProviderError> {
        let entry = ClientEntry::from(client);
        self.blocking(move |store, server, user| store.save_client(server, user, &entry))
            .await
    }

    /// The secret that was typed with this client id: it is what a pin protects.
    fn secret_of(&self, client_id: &str) -> Option<Secret> {
        let given = self.configured.as_ref()?;
        (given.client_id == client_id).then(|| given.client_secret.clone())?
    }

    /// Notes whose a pre-registered client is; the first one that it is used with is the only one (CL-08).
    async fn pin(&self, client: &ClientInformation) -> Result<(), ProviderError> {
        let client = client.clone();
        self.blocking(move |store, server, _| {
            let secret = client.client_secret.as_ref();
            match store.pin(server, &client.client_id, secret)? {
                Some(_) => Ok(()),
                None => store.save_pin(
                    server,
                    &client.client_id,
                    secret,
                    &Pin {
                        issuer: client.issuer.clone(),
                        server: server.to_owned(),
                        of_secret: secret.is_some(),
                    },
                ),
            }
        })
        .await
    }
}

/// The tokens for a resource. Those that were got for another URL of it are of use only with the client that they were issued to,
/// and the key that they are bound to: both are taken over.
fn tokens_for(
    store: &Store,
    server: &str,
    user: &str,
    (issuer, resource): (&str, &str),
) -> Result<Option<TokensEntry>, StoreError> {
    let Some(entry) = store.tokens(issuer, resource, user)? else {
        return Ok(None);
    };
    if entry.server == server {
        return Ok(Some(entry));
    }
    let tokens = entry.tokens();
    let is_theirs = |client: &ClientEntry| client.client_id() == tokens.client_id;
    let own = store.client(issuer, server, user)?;
    if !own.as_ref().is_some_and(is_theirs)
        && let Some(theirs) = store.client(issuer, &entry.server, user)?.filter(is_theirs)
    {
        store.save_client(server, user, &theirs)?;
    }
    if tokens.dpop
        && let Some(key) = store.dpop_key(&entry.server, user)?
        && store.dpop_key(server, user)?.as_ref() != Some(&key)
    {
        store.save_dpop_key(server, user, &key)?;
    }
    Ok(Some(entry))
}

#[async_trait]
impl Provider for StoreProvider {
    async fn tokens(&self, issuer: &str, resource: &str) -> Result<Option<Tokens>, ProviderError> {
        self.lock(issuer, resource).await?;
        self.save_again().await;
        if let Some(unsaved) = &self.state().unsaved
            && unsaved.tokens.issuer == issuer
            && unsaved.tokens.resource == resource
        {
            return Ok(Some(unsaved.tokens.clone()));
        }
        let (issuer, resource) = (issuer.to_owned(), resource.to_owned());
        let found = self
            .blocking(move |store, server, user| tokens_for(store, server, user, (&issuer, &resource)))
            .await?;
        Ok(found.map(|entry| entry.tokens()))
    }

    async fn save_tokens(&self, tokens: &Tokens) -> Result<(), ProviderError> {
        let candidate = self.state().candidate.clone();
        if let Some(client) = candidate.filter(|client| client.client_id == tokens.client_id)
            && self.write_client(&client).await.is_ok()
        {
            self.state().candidate = None;
        }
        // A renewal of the old ones that is under way elsewhere ends first: neither its tokens nor its failure may take the place
        // of these. Those that nobody waits for in vain are written all the same.
        let alone = self.locks.lock().await.is_none();
        let _held = if alone {
            let name = LockName::refresh(&tokens.issuer, &tokens.resource, &self.user);
            self.take(&name).await.ok()
        } else {
            if let Err(error) = self.lock(&tokens.issuer, &tokens.resource).await {
                tracing::debug!(%error, "tokens are written without their lock");
            }
            None
        };
        let instead_of = self.stored(tokens).await.ok().flatten();
        let written = self.write_tokens(tokens).await;
        match written {
            Ok(()) => self.state().unsaved = None,
            // The refresh token of before may be used up: what came in its place must not be lost with the error.
            Err(error) => {
                self.state().unsaved = Some(Unsaved {
                    tokens: tokens.clone(),
                    instead_of,
                });
                self.tell.tell(&Notice::NotKept(error.0));
            }
        }
        Ok(())
    }

    async fn forget_tokens(&self, issuer: &str, resource: &str) -> Result<(), ProviderError> {
        self.state().unsaved = None;
        let (issuer, resource) = (issuer.to_owned(), resource.to_owned());
        self.blocking(move |store, _, user| store.forget_tokens(&issuer, &resource, user).map(drop))
            .await
    }

    async fn client(&self, issuer: &str) -> Result<Option<ClientInformation>, ProviderError> {
        if let Some(client) = &self.state().candidate
            && client.issuer == issuer
        {
            return Ok(Some(client.clone()));
        }
        let issuer = issuer.to_owned();
        let found = self
            .blocking(move |store, server, user| store.client(&issuer, server, user))
            .await?;
        Ok(found.map(ClientInformation::from))
    }

    async fn issuer_of(&self, client_id: &str) -> Result<Option<String>, ProviderError> {
        let (client_id, secret) = (client_id.to_owned(), self.secret_of(client_id));
        let pin = self
            .blocking(move |store, server, _| store.pin(server, &client_id, secret.as_ref()))
            .await?;
        Ok(pin.map(|pin| pin.issuer))
    }

    async fn save_client(&self, client: &ClientInformation) -> Result<(), ProviderError> {
        if client.origin == ClientOrigin::PreRegistered {
            self.pin(client).await?;
        }
        // Tokens that another registration got are refreshed as that one, until there are new ones.
        let in_use = self.current().await.ok().flatten().is_some_and(|entry| {
            let tokens = entry.tokens();
            tokens.issuer == client.issuer && tokens.client_id != client.client_id
        });
        // An id that somebody typed is written down when it was good for something: a wrong one would stay.
        if in_use || client.origin == ClientOrigin::PreRegistered {
            self.state().candidate = Some(client.clone());
            return Ok(());
        }
        self.write_client(client).await
    }

    async fn forget_client(&self, issuer: &str) -> Result<(), ProviderError> {
        self.state().candidate = None;
        let issuer = issuer.to_owned();
        self.blocking(move |store, server, user| store.forget_client(&issuer, server, user).map(drop))
            .await
    }

    async fn pending(&self) -> Result<Option<Pending>, ProviderError> {
        Ok(self.state().pending.clone())
    }

    async fn save_pending(&self, pending: Option<&Pending>) -> Result<(), ProviderError> {
        self.state().pending = pending.cloned();
        Ok(())
    }

    /// Nothing yet: the listener and the lock belong to whoever asked, and the URL comes back to it.
    async fn redirect(&self, _authorization_url: &Url) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn show_code(&self, authorization: &DeviceAuthorization) -> Result<(), ProviderError> {
        self.tell.tell(&Notice::OnAnotherDevice(authorization.words()));
        Ok(())
    }

    async fn pause(&self, duration: Duration) -> Result<(), ProviderError> {
        tokio::time::sleep(duration).await;
        Ok(())
    }
}
