//! The store as the client's machines see it: one person, one MCP server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use doorward_client::device::DeviceAuthorization;
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
    /// The refresh locks that are held. `None` outside of [`StoreProvider::with_locks`].
    locks: tokio::sync::Mutex<Option<Vec<(LockName, Held)>>>,
}

#[derive(Default)]
struct State {
    pending: Option<Pending>,
    /// Registered a moment ago, while tokens of the one before are still in use.
    candidate: Option<ClientInformation>,
    /// Tokens for which there was no room.
    unsaved: Option<Tokens>,
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
            locks: tokio::sync::Mutex::default(),
        }
    }

    /// Runs `work`, in which every look at tokens first takes their refresh lock, until the end: what was read is what is
    /// renewed, and no other process uses the same refresh token (A27). One at a time in this process.
    pub(super) async fn with_locks<T>(&self, work: impl Future<Output = T> + Send) -> T {
        *self.locks.lock().await = Some(Vec::new());
        let result = work.await;
        *self.locks.lock().await = None;
        result
    }

    async fn lock(&self, issuer: &str, resource: &str) -> Result<(), ProviderError> {
        let mut locks = self.locks.lock().await;
        let Some(locks) = locks.as_mut() else {
            return Ok(());
        };
        let name = LockName::refresh(issuer, resource, &self.user);
        if locks.iter().any(|(held, _)| *held == name) {
            return Ok(());
        }
        let held = lock::take(&self.store, &name, RENEWAL, |_| {}).await;
        match held.map_err(|error| ProviderError(error.to_string()))? {
            Some(held) => {
                locks.push((name, held));
                Ok(())
            }
            None => Err(ProviderError(format!(
                "another doorward has been renewing the tokens for {} seconds",
                RENEWAL.as_secs()
            ))),
        }
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
        if let Some(tokens) = self.state().unsaved.clone() {
            return Ok(Some(self.entry(&tokens)));
        }
        self.blocking(|store, server, user| {
            let Some(place) = store.server(server, user)? else {
                return Ok(None);
            };
            store.tokens(&place.issuer, &place.resource, user)
        })
        .await
    }

    /// Forgets what goes with the tokens of this server: their key, whose a client id is, and credentials that were typed.
    /// A registration is used again.
    pub(super) async fn forget_everything(&self) -> Result<(), ProviderError> {
        self.blocking(|store, server, user| {
            if let Some(place) = store.server(server, user)? {
                let client = store
                    .client(&place.issuer, server, user)?
                    .map(ClientInformation::from);
                if client.is_some_and(|client| client.origin == ClientOrigin::PreRegistered) {
                    store.forget_client(&place.issuer, server, user)?;
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

    /// Tokens that found no room get another try.
    async fn save_again(&self) {
        let Some(tokens) = self.state().unsaved.clone() else {
            return;
        };
        if self.write_tokens(&tokens).await.is_ok() {
            let mut state = self.state();
            if state
                .unsaved
                .as_ref()
                .is_some_and(|unsaved| unsaved.access_token == tokens.access_token)
            {
                state.unsaved = None;
            }
        }
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
                    },
                ),
            }
        })
        .await
    }
}

#[async_trait]
impl Provider for StoreProvider {
    async fn tokens(&self, issuer: &str, resource: &str) -> Result<Option<Tokens>, ProviderError> {
        self.lock(issuer, resource).await?;
        self.save_again().await;
        if let Some(tokens) = &self.state().unsaved
            && tokens.issuer == issuer
            && tokens.resource == resource
        {
            return Ok(Some(tokens.clone()));
        }
        let (issuer, resource) = (issuer.to_owned(), resource.to_owned());
        let found = self
            .blocking(move |store, _, user| store.tokens(&issuer, &resource, user))
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
        let written = self.write_tokens(tokens).await;
        match written {
            Ok(()) => self.state().unsaved = None,
            // The refresh token of before may be used up: what came in its place must not be lost with the error.
            Err(error) => {
                self.state().unsaved = Some(tokens.clone());
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
        if in_use {
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
