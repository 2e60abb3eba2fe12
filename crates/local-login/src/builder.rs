//! A session with the usual parts, for programs that are run by a person or for one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use doorward_client::client_assertion::ClientKey;
use doorward_client::grant::Grant;
use doorward_client::registration::{Application, PreRegistered};
use doorward_outbound::{ClientOptions, GuardedClient, ProxyError, ProxyRules};
use doorward_types::random::SystemRandom;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::SystemClock;
use http::HeaderMap;
use url::Url;

use crate::browser::Browser;
use crate::callback::CallbackOptions;
use crate::network::{Network, RootsFileError, roots};
use crate::session::{Notice, Parts, Session, Settings, Tell};
use crate::store::{KeySource, Store, StoreError, default_folder};

/// How long a person may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The token store cannot be used.
    #[error("the token store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The certificate authorities cannot be read.
    #[error("the certificate authorities cannot be read: {0}")]
    Roots(#[from] RootsFileError),
    /// The proxy of the environment cannot be used.
    #[error("the proxy cannot be used: {0}")]
    Proxy(#[from] ProxyError),
}

/// Puts a [`Session`] together: the token store of the user, the certificate authorities and the proxy of the system, their
/// browser, notices on standard error. Everything else of [`Settings`] is open to be changed.
pub struct SessionBuilder {
    /// Who logs in where, and how.
    pub settings: Settings,
    store: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    browser: bool,
    tell: Arc<dyn Tell>,
}

impl SessionBuilder {
    /// A session with the MCP server at `server`. `client_name` is what people see when they are asked for consent.
    #[must_use]
    pub fn new(server: Url, client_name: &str) -> Self {
        let settings = Settings {
            server,
            user: "default".to_owned(),
            application: Application {
                client_name: client_name.to_owned(),
                client_uri: None,
                software_id: None,
                software_version: None,
                client_metadata_url: None,
                pre_registered: None,
                may_register: true,
            },
            client_key: None,
            scope: None,
            authorize_parameters: Vec::new(),
            headers: HeaderMap::new(),
            grant: Grant::AuthorizationCode,
            dpop: false,
            callback: CallbackOptions::default(),
            interactive: true,
            login_timeout: PATIENCE,
            allow_insecure_http: false,
            discovered: None,
            sign_on: None,
        };
        Self {
            settings,
            store: None,
            ca_file: None,
            browser: true,
            tell: Arc::new(|notice: &Notice| on_stderr(notice)),
        }
    }

    /// How tokens are come by. Grants that need no person ask none.
    #[must_use]
    pub fn grant(mut self, grant: Grant) -> Self {
        self.settings.interactive = grant.needs_person();
        self.settings.grant = grant;
        self
    }

    /// As a client that the operator of the authorization server knows, with its secret if it has one.
    #[must_use]
    pub fn client(mut self, client_id: &str, client_secret: Option<Secret>) -> Self {
        self.settings.application.pre_registered = Some(PreRegistered {
            client_id: client_id.to_owned(),
            client_secret,
            token_endpoint_auth_method: None,
            issuer: None,
        });
        self
    }

    /// With the key that it authenticates with (`private_key_jwt`).
    #[must_use]
    pub fn client_key(mut self, key: ClientKey) -> Self {
        self.settings.client_key = Some(Arc::new(key));
        self
    }

    /// With these scopes instead of what the server names.
    #[must_use]
    pub fn scope(mut self, scope: ScopeSet) -> Self {
        self.settings.scope = Some(scope);
        self
    }

    /// With tokens kept in this folder instead of `DOORWARD_STORE` or the user's own.
    #[must_use]
    pub fn store(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store = Some(folder.into());
        self
    }

    /// With the certificate authorities in this file besides those of the system.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Opens no browser: the address is only told.
    #[must_use]
    pub const fn without_browser(mut self) -> Self {
        self.browser = false;
        self
    }

    /// Tells notices somewhere else than on standard error.
    #[must_use]
    pub fn tell(mut self, tell: Arc<dyn Tell>) -> Self {
        self.tell = tell;
        self
    }

    /// The session, and the network that it shares with whoever talks to the server.
    pub fn open(self) -> Result<(Arc<Session>, GuardedClient), BuildError> {
        let mut options = ClientOptions::new(roots(self.ca_file.as_deref(), &variable)?);
        options.proxy = ProxyRules::from_environment(&variable)?;
        options.insecure_http = self.settings.allow_insecure_http;
        let client = GuardedClient::new(options);
        let network = Network::new(client.clone(), self.settings.server.clone());
        let parts = Parts {
            store: Store::open(&folder(self.store)?, KeySource::File, Arc::new(SystemRandom))?,
            http: Arc::new(network.clone()),
            network: Some(network),
            browser: self.browser.then(|| Browser::from_environment(&variable)),
            pasted: None,
            tell: self.tell,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        };
        Ok((Arc::new(Session::new(self.settings, parts)), client))
    }
}

fn folder(given: Option<PathBuf>) -> Result<PathBuf, StoreError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match given.or_else(|| set("DOORWARD_STORE").map(PathBuf::from)) {
        Some(folder) => Ok(folder),
        None => default_folder(set("HOME"), set("XDG_DATA_HOME")),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(
    clippy::print_stderr,
    reason = "the documented default of a builder for programs at a terminal; `tell` replaces it"
)]
fn on_stderr(notice: &Notice) {
    for line in notice.to_string().lines() {
        eprintln!("{}", line.escape_debug());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r21_a_session_needs_a_server_and_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let server = Url::parse("https://mcp.example/mcp").unwrap();
        let builder = SessionBuilder::new(server.clone(), "Reader")
            .client("job", Some(Secret::new("hush")))
            .grant(Grant::ClientCredentials)
            .scope("read".parse().unwrap())
            .store(folder.path().join("store"))
            .without_browser();
        assert!(!builder.settings.interactive, "nobody is asked");
        assert!(!format!("{:?}", builder.settings).contains("hush"));
        let (session, _) = builder.open().unwrap();
        assert!(session.kept().await.unwrap().is_none());
        let unreadable = SessionBuilder::new(server, "Reader")
            .ca_file("/nowhere/ca.pem")
            .open();
        assert!(matches!(unreadable.err().unwrap(), BuildError::Roots(_)));
    }
}
