//! What an application writes that uses the client library without a store: everything is kept in memory, and the user is
//! sent to the authorization server right away.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use doorward_client::authorizer::{Attempt, Authorizer};
use doorward_client::callback::CallbackParameters;
use doorward_client::challenge::Challenge;
use doorward_client::error::Error;
use doorward_client::orchestrate::{self, Decision, Environment, Known, Options, Outcome, Why};
use doorward_client::provider::{ClientInformation, Pending, Provider, ProviderError, Tokens};
use doorward_client::step_up::StepUps;
use doorward_local_login::network::Network;
use doorward_types::random::SystemRandom;
use doorward_types::secret::Secret;
use doorward_types::time::SystemClock;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Method};
use url::Url;

use crate::browser;

/// Keeps everything for as long as the program runs.
#[derive(Default)]
struct Memory(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    tokens: HashMap<(String, String), Tokens>,
    clients: HashMap<String, ClientInformation>,
    pending: Option<Pending>,
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Provided<T> = Result<T, ProviderError>;

#[async_trait]
impl Provider for Memory {
    async fn tokens(&self, issuer: &str, resource: &str) -> Provided<Option<Tokens>> {
        let key = (issuer.to_owned(), resource.to_owned());
        Ok(self.kept().tokens.get(&key).cloned())
    }

    async fn save_tokens(&self, tokens: &Tokens) -> Provided<()> {
        let key = (tokens.issuer.clone(), tokens.resource.clone());
        self.kept().tokens.insert(key, tokens.clone());
        Ok(())
    }

    async fn forget_tokens(&self, issuer: &str, resource: &str) -> Provided<()> {
        self.kept()
            .tokens
            .remove(&(issuer.to_owned(), resource.to_owned()));
        Ok(())
    }

    async fn client(&self, issuer: &str) -> Provided<Option<ClientInformation>> {
        Ok(self.kept().clients.get(issuer).cloned())
    }

    async fn issuer_of(&self, client_id: &str) -> Provided<Option<String>> {
        let kept = self.kept();
        let found = kept.clients.values().find(|client| client.client_id == client_id);
        Ok(found.map(|client| client.issuer.clone()))
    }

    async fn save_client(&self, client: &ClientInformation) -> Provided<()> {
        self.kept().clients.insert(client.issuer.clone(), client.clone());
        Ok(())
    }

    async fn forget_client(&self, issuer: &str) -> Provided<()> {
        self.kept().clients.remove(issuer);
        Ok(())
    }

    async fn pending(&self) -> Provided<Option<Pending>> {
        Ok(self.kept().pending.clone())
    }

    async fn save_pending(&self, pending: Option<&Pending>) -> Provided<()> {
        self.kept().pending = pending.cloned();
        Ok(())
    }

    async fn redirect(&self, _: &Url) -> Provided<()> {
        Ok(())
    }
}

/// The login of one user at one MCP server.
pub(crate) struct Login {
    options: Options,
    network: Network,
    memory: Memory,
    /// One refusal at a time is dealt with; the others find what it brought.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: Option<Tokens>,
    from_login: Option<Secret>,
    step_ups: StepUps,
}

impl Login {
    pub(crate) fn new(options: Options, network: Network) -> Self {
        Self {
            options,
            network,
            memory: Memory::default(),
            state: tokio::sync::Mutex::default(),
        }
    }

    fn environment(&self) -> Environment<'_> {
        Environment {
            provider: &self.memory,
            http: &self.network,
            clock: &SystemClock,
            random: &SystemRandom,
        }
    }

    /// Renews tokens, or sends the user to the authorization server.
    async fn authorize(&self, state: &mut State, why: &Why) -> Result<(), Error> {
        let environment = self.environment();
        let url = match orchestrate::authorize(&environment, &self.options, why).await? {
            Outcome::Authorized(tokens) => {
                state.tokens = Some(tokens);
                return Ok(());
            }
            Outcome::Redirect(url) => url,
        };
        let back = browser::open(url.as_str()).await;
        let back = back.map_err(|error| Error::NeedsUser(error.to_string()))?;
        let failed = |error: doorward_client::callback::CallbackError| Error::NeedsUser(error.to_string());
        let answer = CallbackParameters::from_url(&back).map_err(failed)?;
        let tokens = orchestrate::finish(&environment, &self.options, &answer)
            .await
            .map_err(failed)?;
        state.from_login = Some(tokens.access_token.clone());
        state.tokens = Some(tokens);
        Ok(())
    }
}

#[async_trait]
impl Authorizer for Login {
    async fn headers(&self, method: &Method, url: &Url) -> Result<HeaderMap, Error> {
        let state = self.state.lock().await;
        let mut headers = HeaderMap::new();
        let Some(tokens) = &state.tokens else {
            return Ok(headers);
        };
        if let Some(value) = orchestrate::authorization(tokens) {
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(dpop) = self.options.dpop.as_ref().filter(|_| tokens.dpop) {
            let now = doorward_types::time::Clock::now(&SystemClock);
            let proof = dpop.proof(method, url, Some(&tokens.access_token), now, &SystemRandom);
            let proof = proof.map_err(|error| Error::NeedsUser(error.to_string()))?;
            headers.insert(HeaderName::from_static("dpop"), proof);
        }
        Ok(headers)
    }

    async fn refused(&self, attempt: Attempt<'_>) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let challenge = Challenge::read(attempt.headers, &self.options.policy()?);
        let dpop = self.options.dpop.as_ref();
        let State {
            tokens,
            from_login,
            step_ups,
        } = &mut *state;
        let known = Known {
            tokens: tokens.as_ref(),
            from_login: from_login.as_ref(),
            new_nonce: dpop.is_some_and(|dpop| dpop.note(&self.options.server, attempt.headers)),
            in_vain: false,
        };
        let decision = orchestrate::decide(&attempt, &challenge, known, step_ups);
        match decision {
            Decision::Again => Ok(()),
            Decision::Authorize(why) => self.authorize(&mut state, &why).await,
            Decision::GiveUp(error) => Err(error),
        }
    }

    fn answered(&self, headers: &HeaderMap) {
        if let Some(dpop) = &self.options.dpop {
            dpop.note(&self.options.server, headers);
        }
    }
}
