//! What a login is made of, and the session that it makes.

use std::sync::Arc;
use std::time::Duration;

use doorward_client::discover::Discovered;
use doorward_client::grant::Grant;
use doorward_client::http::Http;
use doorward_client::registration::{Application, PreRegistered};
use doorward_local_login::callback::{CallbackHost, CallbackOptions};
use doorward_local_login::session::{Notice, Parts, Session, Settings, Tell};
use doorward_local_login::store::Store;
use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::Clock;
use http::HeaderMap;

use crate::discovery::{Known, Wanted};
use crate::providers::Provider;
use crate::verify::Verify;

/// How long a person may take.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);

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

impl OwnLoginParts {
    /// A session for these scopes. One that has nobody to tell asks no person.
    pub(super) fn session(
        &self,
        discovered: Discovered,
        scope: ScopeSet,
        tell: Option<Arc<dyn Tell>>,
    ) -> Session {
        let parts = self;
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
}

struct Silent;

impl Tell for Silent {
    fn tell(&self, notice: &Notice) {
        tracing::debug!(%notice, "stdio: a notice of the session");
    }
}
