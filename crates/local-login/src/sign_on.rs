//! Single sign-on at the company's identity provider, for enterprise-managed authorization (E16, E17).
//!
//! It is a [`Session`] like that with an MCP server, and everything is shared with those: the callback, the browser, what is
//! pasted, the locks (one tab for all copies of the program), the sealed store. What it keeps is the ID token, by identity
//! provider, client id and user; all MCP servers behind the same provider use the same sign-on.

use std::sync::Arc;

use async_trait::async_trait;
use doorward_client::client_assertion::ClientKey;
use doorward_client::enterprise::IdpCredential;
use doorward_client::error::Error;
use doorward_client::grant::{AssertionSource, Grant};
use doorward_client::provider::ProviderError;
use doorward_client::refresh;
use doorward_client::registration::{Application, PreRegistered};
use doorward_client::sign_on::SCOPE;
use doorward_types::scope::{Scope, ScopeSet};
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use http::HeaderMap;
use url::Url;

use crate::session::{LoggedOut, Parts, Session, Settings};

/// An identity provider and what this program is there, as its administrator says (E22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its `issuer`, byte for byte.
    pub issuer: String,
    /// The client id.
    pub client_id: String,
}

impl Provider {
    /// What the store calls it where servers have their URL. No URL has a space in it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.issuer, self.client_id)
    }
}

/// The sign-on of one person. It asks for one when it has to, and never before.
pub struct SignOn {
    session: Session,
    issuer: String,
    clock: Arc<dyn Clock>,
}

impl SignOn {
    /// One at `provider`, where the program shows who it is with `credential`. Of `like`, the settings for the MCP server, the user, the
    /// callback, the patience and the parameters of the authorization request are taken over.
    ///
    /// # Errors
    /// The issuer is not a URL.
    pub fn new(
        provider: Provider,
        credential: &IdpCredential,
        like: &Settings,
        parts: Parts,
    ) -> Result<Self, Error> {
        let server = Url::parse(&provider.issuer)
            .map_err(|error| Error::NeedsUser(format!("the issuer of the identity provider: {error}")))?;
        let (client_secret, client_key): (Option<Secret>, Option<Arc<ClientKey>>) = match credential {
            IdpCredential::None => (None, None),
            IdpCredential::SecretBasic(secret) | IdpCredential::SecretPost(secret) => {
                (Some(secret.clone()), None)
            }
            IdpCredential::Key(key) => (None, Some(Arc::clone(key))),
        };
        let clock = Arc::clone(&parts.clock);
        let issuer = provider.issuer.clone();
        let settings = Settings {
            server,
            user: like.user.clone(),
            application: Application {
                client_metadata_url: None,
                pre_registered: Some(PreRegistered {
                    client_id: provider.client_id.clone(),
                    client_secret,
                    token_endpoint_auth_method: None,
                    issuer: Some(provider.issuer.clone()),
                }),
                may_register: false,
                ..like.application.clone()
            },
            client_key,
            scope: SCOPE
                .parse::<Scope>()
                .ok()
                .map(|scope| std::iter::once(scope).collect::<ScopeSet>()),
            authorize_parameters: like.authorize_parameters.clone(),
            headers: HeaderMap::new(),
            grant: Grant::AuthorizationCode,
            dpop: false,
            callback: like.callback.clone(),
            interactive: like.interactive,
            login_timeout: like.login_timeout,
            allow_insecure_http: false,
            discovered: None,
            sign_on: Some(provider),
        };
        Ok(Self {
            session: Session::new(settings, parts),
            issuer,
            clock,
        })
    }

    /// Gives the refresh token back, if there is one, and forgets the sign-on.
    ///
    /// # Errors
    /// The store does not work.
    pub async fn log_out(&self, keep_unrevoked: bool) -> Result<LoggedOut, Error> {
        self.session.log_out(keep_unrevoked).await
    }
}

#[async_trait]
impl AssertionSource for SignOn {
    async fn assertion(&self) -> Result<Secret, ProviderError> {
        let kept = self.session.kept().await;
        let kept = kept.map_err(|error| ProviderError(error.to_string()))?;
        kept.map(|entry| entry.tokens())
            .filter(|tokens| !refresh::is_over(tokens, self.clock.now()))
            .map(|tokens| tokens.access_token)
            .ok_or_else(|| ProviderError(format!("nobody is signed on at {} any more", self.issuer)))
    }

    fn name(&self) -> String {
        format!("the sign-on at {}", self.issuer)
    }

    async fn ready(&self, anew: bool, may_ask: bool) -> Result<(), Error> {
        self.session.signed_on(anew, may_ask).await.map(drop)
    }

    async fn settled(&self) {
        self.session.settled().await;
    }
}

#[cfg(test)]
mod tests;
