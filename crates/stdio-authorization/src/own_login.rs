//! The login that this process runs: a page on loopback with one button, then the same session as `doorward login`.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use doorward_client::authorizer::{Attempt, Authorizer as _};
use doorward_client::discover::Discovered;
use doorward_client::grant::Grant;
use doorward_client::http::Http;
use doorward_client::registration::{Application, PreRegistered};
use doorward_local_login::callback::{CallbackHost, CallbackOptions};
use doorward_local_login::login_page::{LoginDesk, LoginDetails, LoginPage, Standing};
use doorward_local_login::session::{Notice, Parts, Session, Settings, Tell};
use doorward_local_login::store::Store;
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
use crate::discovery::{self, Wanted};
use crate::providers::Provider;
use crate::settings::AuthorizationServer;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a login is made of.
pub(crate) struct OwnLoginParts {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) wanted: Wanted,
    pub(crate) scopes: ScopeSet,
    pub(crate) server: AuthorizationServer,
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
    /// What is known of the authorization server, once somebody needed to know.
    discovered: tokio::sync::OnceCell<Discovered>,
    /// Renews what is kept, and never asks a person. Made anew when somebody may have logged in elsewhere: a session holds on to
    /// the tokens that it knows.
    quiet: Mutex<Option<Arc<Session>>>,
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
            discovered: tokio::sync::OnceCell::new(),
            quiet: Mutex::default(),
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

    async fn discovered(&self) -> Result<&Discovered, String> {
        let find = || discovery::discover(self.parts.http.as_ref(), &self.parts.wanted, &self.parts.server);
        self.discovered
            .get_or_try_init(find)
            .await
            .map_err(|error| error.to_string())
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
                    issuer: Some(parts.server.issuer.clone()),
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
        let kept = self.quiet().await?.kept().await.ok()??;
        let provider = self.parts.provider;
        let scope = kept.tokens().scope;
        Some(provider.map_or(scope.clone(), |provider| provider.closure(&scope)))
    }

    async fn quiet(&self) -> Option<Arc<Session>> {
        let discovered = match self.discovered().await {
            Ok(discovered) => discovered.clone(),
            Err(why) => {
                tracing::warn!(why, "stdio: nothing is known of the authorization server");
                return None;
            }
        };
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let session =
            quiet.get_or_insert_with(|| Arc::new(self.session(discovered, self.parts.scopes.clone(), None)));
        Some(Arc::clone(session))
    }

    /// What is kept is read again at the next call.
    fn look_again(&self) {
        *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The token that is kept, renewed if it was about to end.
    async fn kept(&self) -> Option<Secret> {
        let session = self.quiet().await?;
        let headers = session
            .headers(&Method::POST, &self.parts.wanted.resource)
            .await
            .inspect_err(|error| tracing::info!(%error, "stdio: the token that is kept is of no use"))
            .ok()?;
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        Some(Secret::new(value.strip_prefix("Bearer ")?))
    }

    fn is_bad(&self, token: &Secret) -> bool {
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner) == Some(token.digest())
    }

    /// The person has pressed the button: the address of the authorization server, as soon as the session has it.
    async fn begin(self: &Arc<Self>) -> Result<Url, String> {
        let discovered = self.discovered().await?.clone();
        let (address, told) = oneshot::channel();
        let tell = Arc::new(Catching(Mutex::new(Some(address))));
        let session = self.session(discovered, self.wants(), Some(tell));
        let this = Arc::clone(self);
        let login = tokio::spawn(async move {
            let ended = session.log_in(true).await;
            match &ended {
                Ok(_) => {
                    this.look_again();
                    tracing::info!("stdio: somebody has logged in");
                    (this.parts.say)(&format!("logged in: {} can be used now", this.parts.name));
                    let authority = this.done.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
                    if let Some(authority) = authority {
                        authority.logged_in();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "stdio: a login failed");
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
            authorization_server: host(&parts.server.issuer),
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
