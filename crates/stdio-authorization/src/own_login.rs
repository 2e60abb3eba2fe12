//! The login that this process runs: a page on loopback with one button, then the same session as `doorward login`.

mod begin;
mod desk;
mod kept;
mod parts;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use doorward_local_login::login_page::LoginPage;
use doorward_local_login::session::{LoggedIn, Session};
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;

use self::begin::Pending;
use self::desk::Desk;
use self::kept::Kept;
pub(crate) use self::parts::OwnLoginParts;
use crate::authority::{LocalAuthority, Login};
use crate::verify::NotVerified;

/// So long it may take to find out who has logged in.
const WHO: Duration = Duration::from_secs(10);
/// The longest name of a person that is shown.
const LONGEST_NAME: usize = 100;

/// See the [module](self).
pub(crate) struct OwnLogin {
    parts: Arc<OwnLoginParts>,
    kept: Arc<Kept>,
    /// What calls were refused for: the next login asks for it.
    wants: Mutex<ScopeSet>,
    /// The login of a person that is under way.
    pending: tokio::sync::Mutex<Option<Pending>>,
    /// Its session.
    entering: Mutex<Weak<Session>>,
    page: tokio::sync::OnceCell<LoginPage>,
    done: Mutex<Weak<LocalAuthority>>,
    this: Weak<Self>,
}

impl OwnLogin {
    pub(crate) fn new(parts: OwnLoginParts) -> Arc<Self> {
        let parts = Arc::new(parts);
        Arc::new_cyclic(|this| Self {
            kept: Arc::new(Kept::new(Arc::clone(&parts))),
            wants: Mutex::new(parts.scopes.clone()),
            parts,
            pending: tokio::sync::Mutex::default(),
            entering: Mutex::default(),
            page: tokio::sync::OnceCell::new(),
            done: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Who is to know when somebody has logged in.
    pub(crate) fn tell_when_done(&self, authority: &Arc<LocalAuthority>) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(authority);
    }

    fn wants(&self) -> ScopeSet {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the next login asks for: also what was granted before, perhaps to another process, or two tools that need different
    /// scopes would throw out each other's token (MCP, "Step-Up Authorization Flow").
    async fn asked(&self) -> ScopeSet {
        let granted = self.kept.granted().await.unwrap_or_default();
        self.wants().union(&granted)
    }

    /// Whether there is a token with all these scopes, as far as is known.
    async fn has(&self, scopes: &ScopeSet) -> bool {
        let (Some(token), Some(granted)) = (self.kept.token().await, self.kept.granted().await) else {
            return false;
        };
        let provider = self.parts.provider;
        let granted = provider.map_or(granted.clone(), |provider| provider.closure(&granted));
        !self.kept.is_lacking(&token) && scopes.is_subset(&granted)
    }

    /// Somebody has.
    async fn logged_in(&self, outcome: &LoggedIn) {
        let (LoggedIn::Now(entry) | LoggedIn::Already(entry)) = outcome else {
            return;
        };
        let tokens = entry.tokens();
        self.kept.entered(entry.clone());
        *self.wants.lock().unwrap_or_else(PoisonError::into_inner) =
            self.parts.scopes.clone().union(&tokens.scope);
        tracing::info!("stdio: somebody has logged in");
        let authority = self.done.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(authority) = authority {
            authority.logged_in();
        }
        // Another person of this machine may have been quicker at the page: the one at the terminal sees who it was.
        let asked = tokio::time::timeout(WHO, self.parts.verify.verify(&tokens.access_token)).await;
        let name = &self.parts.name;
        (self.parts.say)(&match asked {
            Ok(Ok(verified)) => {
                let who = verified.name.map(|who| format!(" as {}", shown(&who)));
                format!("logged in{}: {name} can be used now", who.unwrap_or_default())
            }
            // A login at the wrong place, or for the wrong resource: calls will be refused.
            Ok(Err(NotVerified::Refused(why))) => {
                format!("logged in, but {name} cannot be used with the token that came of it: {why}")
            }
            Ok(Err(NotVerified::Unavailable(_))) | Err(_) => format!("logged in to use {name}"),
        });
    }
}

#[async_trait]
impl Login for OwnLogin {
    async fn token(&self) -> Option<Secret> {
        self.kept.token().await
    }

    async fn refused(&self, token: &Secret) {
        self.kept.refused(token).await;
    }

    async fn settled(&self) {
        let entering = self
            .entering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        for session in self.kept.take_session().into_iter().chain(entering) {
            session.settled().await;
        }
    }

    fn want(&self, scopes: &ScopeSet, lacking: Option<&Secret>) {
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        *wants = wants.union(scopes);
        drop(wants);
        if let Some(token) = lacking {
            self.kept.lacks(token);
        }
        self.kept.look_again();
    }

    async fn url(&self) -> Option<String> {
        let bind = async || {
            let page = LoginPage::bind(Arc::new(Desk(self.this.clone())), self.parts.random.as_ref()).await;
            page.inspect(|page| {
                let url = page.url();
                (self.parts.say)(&format!("{} needs a login: open {url}", self.parts.name));
            })
        };
        match self.page.get_or_try_init(bind).await {
            Ok(page) => Some(page.url().to_owned()),
            Err(error) => {
                tracing::warn!(%error, "stdio: no page for logins");
                None
            }
        }
    }
}

/// A name that somebody else has chosen, for a terminal.
fn shown(name: &str) -> String {
    name.escape_debug().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests;
