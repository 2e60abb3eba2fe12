//! Who may call: a token of the request, of the environment, or of the login that this process runs.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use tokio::sync::Notify;

use crate::run::Authority;
use crate::settings::Settings;
use crate::verify::{NotVerified, Verify};
use crate::wrap::{Reason, RefusedByServer, Verdict};

/// A login that this process can run.
#[async_trait]
pub trait Login: Send + Sync {
    /// A token that somebody logged in for, renewed if it was about to end. `None` if nobody is logged in.
    async fn token(&self) -> Option<Secret>;
    /// The token was found not to be good: it is renewed if it can be, and forgotten if not.
    async fn refused(&self, token: &Secret);
    /// The next login asks for these scopes as well. `lacking`: a token that was found to be without them, whatever was said when it
    /// was issued.
    fn want(&self, scopes: &ScopeSet, lacking: Option<&Secret>);
    /// Where it starts. It listens from now on.
    async fn url(&self) -> Option<String>;
    /// Waits for tokens that are on their way, for a few seconds at most: what was renewed must not be lost at the end.
    async fn settled(&self) {}
}

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Request,
    Environment,
    Login,
}

/// The authority for one person at one machine.
pub struct LocalAuthority {
    settings: Mutex<Arc<Settings>>,
    verify: Arc<dyn Verify>,
    given: Option<Secret>,
    login: Option<Arc<dyn Login>>,
    news: Notify,
}

impl LocalAuthority {
    /// `given`: a token of the environment (`DOORWARD_TOKEN`).
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        verify: Arc<dyn Verify>,
        given: Option<Secret>,
        login: Option<Arc<dyn Login>>,
    ) -> Self {
        Self {
            settings: Mutex::new(settings),
            verify,
            given,
            login,
            news: Notify::new(),
        }
    }

    /// Takes over newer metadata of the authorization servers.
    pub fn update(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.news.notify_one();
    }

    /// To be awaited before the process ends: tokens that are on their way are kept.
    pub async fn settled(&self) {
        if let Some(login) = &self.login {
            login.settled().await;
        }
    }

    /// Somebody has logged in.
    pub fn logged_in(&self) {
        self.news.notify_one();
    }

    /// Starts to listen for logins, so that refusals can say where.
    async fn listen(&self) -> Option<String> {
        match &self.login {
            Some(login) => login.url().await,
            None => None,
        }
    }

    async fn refuse(&self, reason: Reason) -> Verdict {
        Verdict::Refuse {
            reason,
            login_url: self.listen().await,
        }
    }

    async fn find(&self, presented: Option<&Secret>) -> Option<(Secret, From)> {
        if let Some(token) = presented {
            return Some((token.clone(), From::Request));
        }
        if let Some(token) = &self.given {
            return Some((token.clone(), From::Environment));
        }
        let token = self.login.as_ref()?.token().await?;
        Some((token, From::Login))
    }

    /// The verdict on one token, and whether another one may be had without a person.
    async fn judge_token(&self, scopes: &ScopeSet, token: Secret, from: From) -> Verdict {
        match self.verify.verify(&token).await {
            Ok(verified)
                if verified
                    .scopes
                    .as_ref()
                    .is_none_or(|granted| scopes.is_subset(granted)) =>
            {
                Verdict::Pass(token)
            }
            Ok(_) => {
                if let Some(login) = &self.login {
                    login.want(scopes, Some(&token));
                }
                self.refuse(Reason::InsufficientScope).await
            }
            Err(NotVerified::Unavailable(why)) => {
                tracing::warn!(why, "stdio: a token cannot be verified");
                self.refuse(Reason::Unverifiable).await
            }
            Err(NotVerified::Refused(why)) => {
                tracing::info!(why, ?from, "stdio: a token is not good");
                self.refuse(Reason::InvalidToken).await
            }
        }
    }
}

#[async_trait]
impl Authority for LocalAuthority {
    async fn judge(&self, scopes: &ScopeSet, presented: Option<&Secret>) -> Verdict {
        let Some((token, from)) = self.find(presented).await else {
            if let Some(login) = &self.login {
                login.want(scopes, None);
            }
            return self.refuse(Reason::NoToken).await;
        };
        let verdict = self.judge_token(scopes, token.clone(), from).await;
        let Verdict::Refuse { reason, .. } = verdict else {
            return verdict;
        };
        let Some(login) = &self.login else { return verdict };
        match (from, reason) {
            // Renewed, if there is something to renew it with; else the person has to log in again.
            (From::Login, Reason::InvalidToken) => login.refused(&token).await,
            // Whoever logs in because the token of the environment is not enough is not to be refused for it again.
            (From::Environment, Reason::InvalidToken | Reason::InsufficientScope) => {}
            _ => return verdict,
        }
        let Some(other) = login.token().await.filter(|other| *other != token) else {
            return verdict;
        };
        let of_login = self.judge_token(scopes, other.clone(), From::Login).await;
        if let Verdict::Refuse {
            reason: Reason::InvalidToken,
            ..
        } = of_login
            && from == From::Environment
        {
            login.refused(&other).await;
            if let Some(renewed) = login.token().await.filter(|renewed| *renewed != other) {
                return self.judge_token(scopes, renewed, From::Login).await;
            }
        }
        of_login
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn login_url(&self) -> Option<String> {
        self.listen().await
    }

    async fn standing_token(&self) -> Option<Secret> {
        let login = async {
            match &self.login {
                Some(login) => login.token().await,
                None => None,
            }
        };
        // A server is not started with a token that nobody vouches for.
        for token in [self.given.clone(), login.await].into_iter().flatten() {
            if self.verify.verify(&token).await.is_ok() {
                return Some(token);
            }
        }
        None
    }

    async fn news(&self) {
        self.news.notified().await;
    }

    async fn refused_by_server(&self, refused: &RefusedByServer) {
        let token = &refused.token;
        self.verify.forget(token);
        let Some(login) = &self.login else { return };
        match refused.reason {
            Reason::InsufficientScope => login.want(&refused.scopes, Some(token)),
            _ if login.token().await.as_ref() == Some(token) => login.refused(token).await,
            _ => {}
        }
    }
}
