//! The login that this process runs: a page on loopback with one button, then the same session as `doorward login`.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use doorward_client::authorizer::{Attempt, Authorizer as _};
use doorward_client::discover::Discovered;
use doorward_client::grant::Grant;
use doorward_client::http::Http;
use doorward_client::refresh::{is_due, is_over};
use doorward_client::registration::{Application, PreRegistered};
use doorward_local_login::callback::{CallbackHost, CallbackOptions};
use doorward_local_login::login_page::{LoginDesk, LoginDetails, LoginPage, Standing};
use doorward_local_login::session::{LoggedIn, Notice, Parts, Session, Settings, Tell};
use doorward_local_login::store::{Store, StoreError, TokensEntry};
use doorward_types::digest::Digest;
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::oneshot;
use url::Url;

use crate::authority::{LocalAuthority, Login};
use crate::discovery::{Known, Wanted};
use crate::providers::Provider;
use crate::verify::Verify;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// So long nothing is renewed again after it could not be.
const PAUSE: Duration = Duration::from_secs(10);
/// So long it may take to find out who has logged in.
const WHO: Duration = Duration::from_secs(10);
/// The longest name of a person that is shown.
const LONGEST_NAME: usize = 100;

/// What a login is made of.
pub(crate) struct OwnLoginParts {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) wanted: Wanted,
    pub(crate) scopes: ScopeSet,
    /// The authorization server.
    pub(crate) known: Arc<Known>,
    /// Who says whose a token is.
    pub(crate) verify: Arc<dyn Verify>,
    pub(crate) provider: Option<&'static Provider>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) callback_port: Option<u16>,
    pub(crate) http: Arc<dyn Http>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) say: Arc<dyn Fn(&str) + Send + Sync>,
}

/// See the [module](self).
pub(crate) struct OwnLogin {
    parts: OwnLoginParts,
    /// What calls were refused for: the next login asks for it.
    wants: Mutex<ScopeSet>,
    /// A token that is kept, and was found not to be good.
    bad: Mutex<Option<Digest>>,
    /// What is kept, as it was last read. Made empty when somebody may have logged in elsewhere.
    held: Mutex<Option<TokensEntry>>,
    /// Renews what is kept, and never asks a person; with what it knows of the authorization server.
    quiet: Mutex<Option<(Discovered, Arc<Session>)>>,
    /// The session of the newest login of a person.
    entering: Mutex<Weak<Session>>,
    /// When something could last not be renewed.
    in_vain: Mutex<Option<Duration>>,
    page: tokio::sync::OnceCell<LoginPage>,
    done: Mutex<Weak<LocalAuthority>>,
    this: Weak<Self>,
}

impl OwnLogin {
    pub(crate) fn new(parts: OwnLoginParts) -> Arc<Self> {
        let wants = Mutex::new(parts.scopes.clone());
        Arc::new_cyclic(|this| Self {
            parts,
            wants,
            bad: Mutex::default(),
            held: Mutex::default(),
            quiet: Mutex::default(),
            entering: Mutex::default(),
            in_vain: Mutex::default(),
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

    fn session(&self, discovered: Discovered, scope: ScopeSet, tell: Option<Arc<dyn Tell>>) -> Session {
        let parts = &self.parts;
        let interactive = tell.is_some();
        let settings = Settings {
            server: parts.wanted.resource.clone(),
            user: parts.user.clone(),
            application: Application {
                client_name: format!("{} (stdio)", parts.name),
                client_uri: None,
                software_id: Some("doorward".to_owned()),
                software_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                client_metadata_url: None,
                pre_registered: parts.client_id.as_ref().map(|client_id| PreRegistered {
                    client_id: client_id.clone(),
                    client_secret: parts.client_secret.clone(),
                    token_endpoint_auth_method: None,
                    issuer: Some(parts.known.configured().issuer.clone()),
                }),
                may_register: true,
            },
            client_key: None,
            scope: Some(scope),
            authorize_parameters: Vec::new(),
            headers: HeaderMap::new(),
            grant: Grant::AuthorizationCode,
            dpop: false,
            callback: CallbackOptions {
                host: CallbackHost::V4,
                ports: parts.callback_port.into_iter().collect(),
                path: "/callback".to_owned(),
            },
            interactive,
            login_timeout: PATIENCE,
            allow_insecure_http: false,
            discovered: Some(discovered),
            sign_on: None,
        };
        let silent: Arc<dyn Tell> = Arc::new(Silent);
        Session::new(
            settings,
            Parts {
                store: parts.store.clone(),
                http: Arc::clone(&parts.http),
                network: None,
                browser: None,
                pasted: None,
                tell: tell.unwrap_or(silent),
                clock: Arc::clone(&parts.clock),
                random: Arc::clone(&parts.random),
            },
        )
    }

    /// What was granted to the token that is kept.
    async fn granted(&self) -> Option<ScopeSet> {
        let scope = self.held_or_stored().await?.tokens().scope;
        let provider = self.parts.provider;
        Some(provider.map_or(scope.clone(), |provider| provider.closure(&scope)))
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
        let session = Arc::new(self.session(discovered.clone(), self.parts.scopes.clone(), None));
        *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) = Some((discovered, Arc::clone(&session)));
        Some(session)
    }

    fn session_of_before(&self) -> Option<(Discovered, Arc<Session>)> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    fn look_again(&self) {
        self.hold(None);
    }

    fn hold(&self, entry: Option<TokensEntry>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = entry;
    }

    fn held(&self) -> Option<TokensEntry> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let when = *self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        when.is_some_and(|when| self.parts.clock.monotonic().saturating_sub(when) < PAUSE)
    }

    /// What is known of the authorization server may be the reason.
    fn note_in_vain(&self) {
        self.parts.known.doubt();
        let now = self.parts.clock.monotonic();
        *self.in_vain.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    fn is_bad(&self, token: &Secret) -> bool {
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner) == Some(token.digest())
    }

    /// Somebody has: what was held against the login of before is forgotten.
    async fn logged_in(&self, outcome: &LoggedIn) {
        let (LoggedIn::Now(entry) | LoggedIn::Already(entry)) = outcome else {
            return;
        };
        let tokens = entry.tokens();
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.in_vain.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.wants.lock().unwrap_or_else(PoisonError::into_inner) =
            self.parts.scopes.clone().union(&tokens.scope);
        self.hold(Some(entry.clone()));
        tracing::info!("stdio: somebody has logged in");
        let authority = self.done.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(authority) = authority {
            authority.logged_in();
        }
        // Another person of this machine may have been quicker at the page: the one at the terminal sees who it was.
        let asked = tokio::time::timeout(WHO, self.parts.verify.verify(&tokens.access_token)).await;
        let who = asked
            .ok()
            .and_then(Result::ok)
            .and_then(|verified| verified.subject);
        let who = who.map(|who| format!(" as {}", shown(&who))).unwrap_or_default();
        (self.parts.say)(&format!("logged in{who}: {} can be used now", self.parts.name));
    }

    /// The person has pressed the button: the address of the authorization server, as soon as the session has it.
    async fn begin(self: &Arc<Self>) -> Result<Url, String> {
        let discovered = self.parts.known.for_login().await?;
        let (address, told) = oneshot::channel();
        let tell = Arc::new(Catching(Mutex::new(Some(address))));
        let session = Arc::new(self.session(discovered, self.wants(), Some(tell)));
        *self.entering.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&session);
        let this = Arc::clone(self);
        let login = tokio::spawn(async move {
            let ended = session.log_in(true).await;
            match &ended {
                Ok(outcome) => this.logged_in(outcome).await,
                Err(error) => {
                    tracing::warn!(%error, "stdio: a login failed");
                    this.parts.known.doubt();
                    (this.parts.say)(&format!("the login failed: {error}"));
                }
            }
            ended.map(drop).map_err(|error| error.to_string())
        });
        tokio::select! {
            Ok(url) = told => Ok(url),
            // It failed before there was an address.
            ended = login => match ended {
                Ok(Err(why)) => Err(why),
                _ => Err("the login ended before it began".to_owned()),
            },
        }
    }
}

#[async_trait]
impl Login for OwnLogin {
    async fn token(&self) -> Option<Secret> {
        let token = self.kept().await?;
        if !self.is_bad(&token) {
            return Some(token);
        }
        // Somebody may have logged in since, here or in another process.
        self.look_again();
        self.kept().await.filter(|token| !self.is_bad(token))
    }

    async fn refused(&self, token: &Secret) {
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.digest());
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

    async fn settled(&self) {
        let quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner).take();
        let entering = self
            .entering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        for session in quiet.into_iter().map(|(_, session)| session).chain(entering) {
            session.settled().await;
        }
    }

    fn want(&self, scopes: &ScopeSet) {
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        *wants = wants.union(scopes);
        drop(wants);
        self.look_again();
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

/// The page's side of a login. It keeps nothing alive.
struct Desk(Weak<OwnLogin>);

#[async_trait]
impl LoginDesk for Desk {
    async fn standing(&self) -> Standing {
        let Some(login) = self.0.upgrade() else {
            return Standing::LoggedIn;
        };
        let wants = login.wants();
        if login.token().await.is_some()
            && login
                .granted()
                .await
                .is_some_and(|granted| wants.is_subset(&granted))
        {
            return Standing::LoggedIn;
        }
        let parts = &login.parts;
        Standing::Wanted(LoginDetails {
            program: parts.name.clone(),
            authorization_server: host(&parts.known.configured().issuer),
            resource: parts.wanted.resource.to_string(),
            scopes: crate::settings::names(&wants),
        })
    }

    async fn begin(&self) -> Result<Url, String> {
        match self.0.upgrade() {
            Some(login) => login.begin().await,
            None => Err("the server that wanted this login has ended".to_owned()),
        }
    }
}

fn host(issuer: &str) -> String {
    let url = Url::parse(issuer).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or(issuer).to_owned()
}

/// A name that somebody else has chosen, for a terminal.
fn shown(name: &str) -> String {
    name.escape_debug().take(LONGEST_NAME).collect()
}

/// Hands the first address on.
struct Catching(Mutex<Option<oneshot::Sender<Url>>>);

impl Tell for Catching {
    fn tell(&self, notice: &Notice) {
        let url = match notice {
            Notice::LogIn(url) => Some(url.clone()),
            // Another copy of this server is at it: its page is as good.
            Notice::Waiting {
                authorization_url: Some(url),
                ..
            } => Url::parse(url).ok(),
            _ => None,
        };
        if let Some(url) = url
            && let Some(address) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            let _gone = address.send(url);
        }
    }
}

struct Silent;

impl Tell for Silent {
    fn tell(&self, notice: &Notice) {
        tracing::debug!(%notice, "stdio: a notice of the session");
    }
}

#[cfg(test)]
mod tests;
