//! A session of one person with one MCP server: tokens that are good, however many copies of the program run.
//!
//! [`Session`] is the [`Authorizer`] of a transport. It gives the stored token while it is good and renews it shortly before
//! it ends. What a refusal asks for is done once, whoever asks: in this process by taking turns, between processes by
//! locks that die with them. A refresh token is only used under its lock and after a look at what others have stored
//! meanwhile (A27); a person is only asked under the login lock, in one tab, while the others wait and share the outcome.

mod assertion;
mod listening;
mod login;
mod notice;
mod probe;
mod provider;
mod renew;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use doorward_client::authorizer::{Attempt, Authorizer};
use doorward_client::challenge::Challenge;
use doorward_client::client_assertion::ClientKey;
use doorward_client::decide::{Decision, Known, authorization, decide};
use doorward_client::discover::Discovered;
use doorward_client::dpop::{self, Dpop};
use doorward_client::error::Error;
use doorward_client::grant::Grant;
use doorward_client::http::Http;
use doorward_client::machine::drive;
use doorward_client::orchestrate::{self, Environment, Options, Why};
use doorward_client::provider::{ProviderError, Tokens};
use doorward_client::refresh;
use doorward_client::registration::Application;
use doorward_client::sign_on::FindIdentityProvider;
use doorward_client::step_up::StepUps;
use doorward_types::digest::Digest;
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::mpsc;
use url::Url;

pub use self::notice::{Notice, Tell};
use self::provider::StoreProvider;
use crate::browser::Browser;
use crate::callback::CallbackOptions;
use crate::network::Network;
use crate::sign_on::Provider;
use crate::store::{DpopKeyEntry, Store, TokensEntry};

/// The most operations that are remembered as refused whatever was done.
const HOPELESS: usize = 1024;
/// Nobody logs in more often than so for tokens that end before they can be used.
const AT_ONCE: Duration = Duration::from_mins(1);

/// Who logs in where, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The MCP server, as its user calls it.
    pub server: Url,
    /// The label of the person.
    pub user: String,
    /// What this program is to authorization servers.
    pub application: Application,
    /// The key that it authenticates with.
    pub client_key: Option<Arc<ClientKey>>,
    /// The scopes that its user wants instead of what the server names.
    pub scope: Option<ScopeSet>,
    /// More parameters of the authorization request.
    pub authorize_parameters: Vec<(String, String)>,
    /// Headers for the MCP server alone.
    pub headers: HeaderMap,
    /// How tokens are come by.
    pub grant: Grant,
    /// Whether tokens are bound to a key wherever that is possible.
    pub dpop: bool,
    /// Where answers come to. Without ports, the one of the registration that is kept, or one that fits the server.
    pub callback: CallbackOptions,
    /// Whether a person may be asked.
    pub interactive: bool,
    /// How long a person may take.
    pub login_timeout: Duration,
    /// Whether plain `http` to the server is meant, also if it is elsewhere.
    pub allow_insecure_http: bool,
    /// What is known of the resource and its authorization server, for programs that log in without an MCP server that
    /// could tell: then nothing is asked.
    pub discovered: Option<Discovered>,
    /// A sign-on at an identity provider instead of a login to an MCP server.
    pub sign_on: Option<Provider>,
}

/// What a session works with.
pub struct Parts {
    /// Where tokens are kept.
    pub store: Store,
    /// The network of the login.
    pub http: Arc<dyn Http>,
    /// The same network for what else is sent to this server.
    pub network: Option<Network>,
    /// What shows pages; none: addresses are only told.
    pub browser: Option<Browser>,
    /// What a person pastes, line by line.
    pub pasted: Option<mpsc::Receiver<String>>,
    /// Where notices go.
    pub tell: Arc<dyn Tell>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

/// How [`Session::log_in`] ended.
#[derive(Debug)]
pub enum LoggedIn {
    /// The server answers anybody.
    NotNeeded,
    /// There were good tokens.
    Already(TokensEntry),
    /// There are tokens now.
    Now(TokensEntry),
}

/// How [`Session::log_out`] ended.
#[derive(Debug, PartialEq, Eq)]
pub enum LoggedOut {
    /// There were no tokens.
    Nobody,
    /// The tokens are worth nothing any more, and forgotten.
    Revoked,
    /// The server may still accept them.
    NotRevoked {
        /// Why.
        why: String,
    },
}

/// See the [module](self).
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    http: Arc<dyn Http>,
    network: Option<Network>,
    browser: Option<Browser>,
    pasted: tokio::sync::Mutex<Option<mpsc::Receiver<String>>>,
    tell: Arc<dyn Tell>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    provider: StoreProvider,
    /// One refusal, one renewal at a time.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<TokensEntry>,
    step_ups: StepUps,
    from_login: Option<Secret>,
    /// See [`Authorizer::logins`].
    logins: u64,
    /// When somebody logged in, if nothing has succeeded since.
    unproven: Option<Duration>,
    /// What the server refuses with the tokens of a login as well, though it may take them for everything else.
    hopeless: HashSet<String>,
    /// The last assertion that the identity provider did not take.
    refused_assertion: Option<Digest>,
    dpop: Option<Dpop>,
    /// With when it was found.
    discovered: Option<(Discovered, Duration)>,
    /// Where the last request went: nonces belong to an endpoint.
    last: Option<Url>,
    /// See [`Authorizer::is_modern`].
    is_modern: bool,
}

impl State {
    /// Another login would be refused for this operation as the last one was, however well everything else goes (CL-13).
    fn note_hopeless(&mut self, attempt: &Attempt<'_>) {
        let is_from_login =
            sent_token(attempt.sent).is_some_and(|sent| self.from_login.as_ref() == Some(&sent));
        if attempt.status != StatusCode::UNAUTHORIZED || !is_from_login {
            return;
        }
        if self.hopeless.len() >= HOPELESS {
            self.hopeless.clear();
        }
        self.hopeless.insert(attempt.operation.to_owned());
    }
}

/// The access token that a request went with.
fn sent_token(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    value.split_once(' ').map(|(_, token)| Secret::new(token))
}

impl Session {
    /// A session that has not looked at anything yet.
    #[must_use]
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let server = match &settings.sign_on {
            Some(provider) => provider.name(),
            None => settings.server.as_str().to_owned(),
        };
        let names = (server, settings.user.clone());
        let provider = StoreProvider::new(
            parts.store,
            names,
            settings.application.pre_registered.clone(),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.tell),
        );
        Self {
            inner: Arc::new(Inner {
                settings,
                http: parts.http,
                network: parts.network,
                browser: parts.browser,
                pasted: tokio::sync::Mutex::new(parts.pasted),
                tell: parts.tell,
                clock: parts.clock,
                random: parts.random,
                provider,
                turn: tokio::sync::Mutex::default(),
                state: Mutex::default(),
            }),
        }
    }

    /// The network that login and MCP traffic share.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.inner.network.as_ref()
    }

    /// The MCP server, as its user calls it.
    #[must_use]
    pub fn server(&self) -> &Url {
        &self.inner.settings.server
    }

    /// The tokens that are kept, good or not.
    pub async fn kept(&self) -> Result<Option<TokensEntry>, Error> {
        Ok(self.inner.provider.current().await?)
    }

    /// Logs in, unless there are good tokens already and it is not to be done anew.
    pub async fn log_in(&self, anew: bool) -> Result<LoggedIn, Error> {
        let _turn = self.inner.turn.lock().await;
        login::log_in(&self.inner, anew).await
    }

    /// For the end of the program: waits for an answer with tokens that is on its way until they are kept, for ten seconds at
    /// most. From then on nothing is renewed. A refresh token whose successor is lost would cost the login (A27).
    pub async fn settled(&self) {
        let provider = self.inner.provider.settled();
        match &self.inner.settings.grant {
            Grant::EnterpriseManaged(idp) => {
                tokio::join!(provider, idp.subject_token.settled());
            }
            _ => provider.await,
        }
    }

    /// What is kept of a sign-on, renewed, or come by anew; `anew`: even if it is good; `may_ask`: also by asking a person.
    pub(crate) async fn signed_on(&self, anew: bool, may_ask: bool) -> Result<TokensEntry, Error> {
        let inner = &self.inner;
        let _turn = inner.turn.lock().await;
        if !anew && let Some(entry) = renew::usable_now(inner).await? {
            return Ok(entry);
        }
        let kept = inner.provider.current().await?;
        let rejected = kept.filter(|_| anew).map(|entry| entry.tokens().access_token);
        let why = Why {
            rejected,
            no_refresh: anew,
            ..Why::default()
        };
        let asker = if may_ask {
            login::Asker::Program
        } else {
            login::Asker::Nobody
        };
        login::recover(inner, why, asker).await
    }

    /// Gives the tokens back and forgets them. With `keep_unrevoked` they stay if the server cannot be told.
    pub async fn log_out(&self, keep_unrevoked: bool) -> Result<LoggedOut, Error> {
        let _turn = self.inner.turn.lock().await;
        renew::log_out(&self.inner, keep_unrevoked).await
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn environment(&self) -> Environment<'_> {
        Environment {
            provider: &self.provider,
            http: self.http.as_ref(),
            clock: self.clock.as_ref(),
            random: self.random.as_ref(),
        }
    }

    fn options(&self, redirect_uri: &str, dpop: Option<Dpop>) -> Options {
        let settings = &self.settings;
        Options {
            server: settings.server.clone(),
            redirect_uri: redirect_uri.to_owned(),
            application: settings.application.clone(),
            grant: settings.grant.clone(),
            scope: settings.scope.clone(),
            extra: settings.authorize_parameters.clone(),
            wants_refresh: true,
            legacy: true,
            allow_insecure_http: settings.allow_insecure_http,
            key: settings.client_key.clone(),
            dpop,
            prefer_dpop: settings.dpop,
        }
    }

    /// Whether another login would bring nothing: the last one has not been good for anything yet. Tokens that ended before they
    /// were used say nothing about it, unless they ended at once.
    fn in_vain(&self, unproven: Option<Duration>, anonymous: bool) -> bool {
        let age = unproven.map(|since| self.clock.monotonic().saturating_sub(since));
        age.is_some_and(|age| !anonymous || age < AT_ONCE)
    }

    /// What the refusal says. URLs in it are judged here and nowhere else.
    fn challenge(&self, headers: &HeaderMap) -> Result<Challenge, Error> {
        let policy = self.options("", None).policy()?;
        Ok(Challenge::read(headers, &policy))
    }

    fn held(&self) -> Option<TokensEntry> {
        self.state().held.clone()
    }

    fn hold(&self, entry: Option<TokensEntry>) {
        self.state().held = entry;
    }

    /// The key that tokens are bound to: the one that is kept, else a new one. A new one is only kept if it is `needed`.
    async fn dpop(&self, needed: bool) -> Result<Dpop, Error> {
        let kept = self
            .provider
            .blocking(|store, server, user| store.dpop_key(server, user))
            .await?;
        if let Some(entry) = kept {
            let unusable = || {
                ProviderError("the key that tokens are bound to cannot be read: log out and in again".into())
            };
            let bytes = entry.bytes().ok_or_else(unusable)?;
            let known = self.state().dpop.clone();
            let dpop = Dpop::from_pkcs8(&bytes)?;
            // The one in memory has the nonces.
            let dpop = known
                .filter(|known| known.thumbprint() == dpop.thumbprint())
                .unwrap_or(dpop);
            self.state().dpop = Some(dpop.clone());
            return Ok(dpop);
        }
        let dpop = match self.state().dpop.clone() {
            Some(dpop) => dpop,
            None => Dpop::generate()?,
        };
        self.state().dpop = Some(dpop.clone());
        if needed {
            let entry = DpopKeyEntry::new(&dpop.to_pkcs8()?);
            self.provider
                .blocking(move |store, server, user| store.save_dpop_key(server, user, &entry))
                .await?;
        }
        Ok(dpop)
    }

    /// The headers that go with `entry`'s token.
    async fn headers_of(&self, entry: &TokensEntry, method: &Method, url: &Url) -> Result<HeaderMap, Error> {
        let tokens = entry.tokens();
        let mut headers = HeaderMap::new();
        let value = authorization(&tokens).ok_or_else(|| {
            Error::NeedsUser(
                "the token that the authorization server gave does not fit into a header".to_owned(),
            )
        })?;
        headers.insert(http::header::AUTHORIZATION, value);
        if tokens.dpop {
            let known = self.state().dpop.clone();
            let own = entry.server == self.settings.server.as_str();
            let key = match known.filter(|_| own) {
                Some(key) => key,
                None => self.dpop(false).await?,
            };
            let now = self.clock.now();
            let proof = key.proof(method, url, Some(&tokens.access_token), now, self.random.as_ref())?;
            headers.insert(dpop::HEADER, proof);
        }
        Ok(headers)
    }

    /// Takes over a nonce; whether it is a new one.
    fn note(&self, headers: &HeaderMap) -> bool {
        let state = self.state();
        let url = state.last.as_ref().unwrap_or(&self.settings.server);
        state.dpop.as_ref().is_some_and(|dpop| dpop.note(url, headers))
    }
}

#[async_trait]
impl Authorizer for Session {
    async fn headers(&self, method: &Method, url: &Url) -> Result<HeaderMap, Error> {
        let inner = &self.inner;
        let Some(entry) = renew::usable(inner).await? else {
            return Ok(HeaderMap::new());
        };
        inner.state().last = Some(url.clone());
        inner.headers_of(&entry, method, url).await
    }

    async fn refused(&self, attempt: Attempt<'_>) -> Result<(), Error> {
        let inner = &self.inner;
        let challenge = inner.challenge(attempt.headers)?;
        let new_nonce = inner.note(attempt.headers);
        let _turn = inner.turn.lock().await;
        let kept = inner.provider.current().await?;
        let anonymous = !attempt.sent.contains_key(http::header::AUTHORIZATION);
        // Tokens that have ended were not sent for that reason, and it is no use to send them now.
        let over = |tokens: &Tokens| anonymous && refresh::is_over(tokens, inner.clock.now());
        let tokens = kept
            .as_ref()
            .map(TokensEntry::tokens)
            .filter(|tokens| !over(tokens));
        let decision = {
            let mut state = inner.state();
            let from_login = state.from_login.clone();
            let hopeless = !anonymous && state.hopeless.contains(attempt.operation);
            let known = Known {
                tokens: tokens.as_ref(),
                from_login: from_login.as_ref(),
                in_vain: hopeless || inner.in_vain(state.unproven, anonymous),
                new_nonce,
            };
            let decision = decide(&attempt, &challenge, known, &mut state.step_ups);
            if matches!(decision, Decision::GiveUp(_)) {
                state.note_hopeless(&attempt);
            }
            decision
        };
        match decision {
            Decision::Again => {
                inner.hold(kept);
                Ok(())
            }
            Decision::GiveUp(error) => Err(error),
            Decision::Authorize(why) => {
                let asked_for_scope = why.scope.is_some();
                let before = inner.state().from_login.clone();
                let asker = if attempt.operation == "ping" {
                    login::Asker::Nobody
                } else {
                    login::Asker::Program
                };
                let tokens = login::recover(inner, *why, asker).await?.tokens();
                {
                    let mut state = inner.state();
                    if !asked_for_scope && state.from_login.is_some() && state.from_login != before {
                        state.logins += 1;
                    }
                }
                inner.state().step_ups.granted(&tokens.resource, &tokens.scope);
                Ok(())
            }
        }
    }

    fn succeeded(&self, operation: &str) {
        let mut state = self.inner.state();
        state.unproven = None;
        state.hopeless.remove(operation);
        if let Some(resource) = state.held.as_ref().map(|held| held.resource().to_owned()) {
            state.step_ups.succeeded(&resource, operation);
        }
    }

    fn is_modern(&self) {
        self.inner.state().is_modern = true;
    }

    fn logins(&self) -> u64 {
        self.inner.state().logins
    }

    fn answered(&self, headers: &HeaderMap) {
        if headers.contains_key(dpop::NONCE_HEADER) {
            self.inner.note(headers);
        }
    }
}

/// Asks anew where the server's authorization server is.
async fn discover(inner: &Inner, why: &Why) -> Result<Discovered, Error> {
    if let Some(discovered) = &inner.settings.discovered {
        return Ok(discovered.clone());
    }
    let discovered = match &inner.settings.sign_on {
        Some(provider) => {
            let mut find = FindIdentityProvider::new(&provider.issuer, &provider.client_id)?;
            drive(&mut find, inner.http.as_ref()).await?
        }
        None => {
            let mut options = inner.options("", None);
            // Tokens that were got before anybody knew are renewed where they are from.
            options.legacy = why.challenge.is_none() || !inner.state().is_modern;
            orchestrate::discover(&inner.environment(), &options, why.challenge.as_ref()).await?
        }
    };
    inner.state().discovered = Some((discovered.clone(), inner.clock.monotonic()));
    Ok(discovered)
}
