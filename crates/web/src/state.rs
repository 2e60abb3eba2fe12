//! What every handler can reach.

use std::sync::Arc;

use arc_swap::ArcSwap;
use doorward_authorization_server::keys::KeyRing;
use doorward_authorization_server::settings::Settings;
use doorward_limits::{Limiter, NetworkLimiter, PeerAddress, Quota, Retry};
use doorward_outbound::Fetch;
use doorward_recorder::Recorder;
use doorward_resource_server::{Principal, TokenVerifier};
use doorward_seal::{Mac, MasterKey, Purpose, Sealer};
use doorward_storage::Store;
use doorward_types::random::Random;
use doorward_types::time::{Clock, UnixTime};
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::challenged::Challenged;
use crate::client_auth::Failures;
use crate::cookies::{CookieNames, Cookies};
use crate::documents::Documents;
use crate::guesses::Guesses;
use crate::pages::Chrome;
use crate::pages::home::{ShownClient, ShownServer};
use crate::passwords::PasswordPool;
use crate::text::{LONG, SHORT, shown};
use crate::throttle::Throttles;
use crate::{assets, csrf};

/// Addresses whose registrations are counted; one costs about a hundred bytes.
const REMEMBERED_ADDRESSES: usize = 10_000;
/// Over loopback comes a proxy that speaks for everybody, as long as it is not in `trusted_proxies`: so much more
/// is let through there than from an address that is somebody's own.
const LOCAL_FACTOR: u32 = 20;

/// What the binary gives to build a [`WebState`].
pub struct WebParts {
    /// The rules' settings: issuer, servers, lifetimes, registration policy.
    pub settings: Settings,
    /// The URL under which people and clients reach us.
    pub public_url: Url,
    /// Origins whose scripts may call the token and registration endpoints.
    pub allowed_origins: Vec<String>,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The signing keys and the keys of refresh tokens; swapped when they are rotated.
    pub keys: Arc<ArcSwap<KeyRing>>,
    /// Keys for sealed forms and `csrf` values are derived from it.
    pub master_key: Arc<MasterKey>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where chance comes from.
    pub random: Arc<dyn Random>,
    /// Where passwords are checked.
    pub passwords: PasswordPool,
    /// Writes down the steps of logins.
    pub recorder: Recorder,
    /// How often somebody may try to sign in.
    pub throttles: Throttles,
    /// Token chains that were told that they lack scopes.
    pub challenged: Challenged,
    /// Judges access tokens, for introspection.
    pub verifier: Arc<dyn TokenVerifier<Arc<Principal>>>,
    /// Where documents of clients are read.
    pub fetch: Arc<dyn Fetch>,
    /// The document that describes the operator's own MCP client, if it is served.
    pub client_metadata: Option<String>,
}

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
pub struct WebState(Arc<Inner>);

struct Inner {
    settings: Settings,
    site: Site,
    store: Arc<dyn Store>,
    keys: Arc<ArcSwap<KeyRing>>,
    sealer: Sealer,
    csrf: Mac,
    sign_in: Sealer,
    authenticators: Sealer,
    known: Mac,
    throttles: Throttles,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    passwords: PasswordPool,
    recorder: Recorder,
    documents: Documents,
    client_metadata: Option<String>,
    guesses: Guesses,
    challenged: Challenged,
    client_failures: Failures,
    verifier: Arc<dyn TokenVerifier<Arc<Principal>>>,
    registrations: NetworkLimiter,
    /// Besides that, for all who come over loopback.
    local_registrations: Limiter<()>,
}

/// What follows from the configuration once and for all.
pub(crate) struct Site {
    pub(crate) chrome: Chrome,
    pub(crate) servers: Vec<ShownServer>,
    pub(crate) clients: Vec<ShownClient>,
    pub(crate) oauth_metadata: String,
    pub(crate) openid_metadata: String,
    pub(crate) cookies: CookieNames,
    /// Our own origin, as browsers write it.
    pub(crate) origin: String,
    /// Our host: the relying party of passkeys (WebAuthn §5.1.2). Empty if it is an address, which cannot be one.
    pub(crate) rp_id: String,
    allowed_origins: Vec<String>,
    https: bool,
}

impl WebState {
    /// Derives keys, names and documents.
    #[must_use]
    pub fn new(parts: WebParts) -> Self {
        let site = Site::new(&parts.settings, &parts.public_url, parts.allowed_origins);
        let policy = &parts.settings.registration;
        let quota = |burst: u32, capacity| Quota {
            burst,
            per: policy.per_address_time,
            capacity,
        };
        let (each, clock) = (policy.per_address, &parts.clock);
        let registrations = NetworkLimiter::new(quota(each, REMEMBERED_ADDRESSES), clock);
        let local = quota(each.saturating_mul(LOCAL_FACTOR), 1);
        let local_registrations = Limiter::new(local, Arc::clone(clock));
        // http is served on loopback only.
        let on_loopback = parts.public_url.scheme() == "http";
        let documents = Documents::new(parts.fetch, &parts.clock, on_loopback);
        Self(Arc::new(Inner {
            site,
            documents,
            client_metadata: parts.client_metadata,
            guesses: Guesses::new(&parts.clock),
            challenged: parts.challenged,
            client_failures: Failures::new(&parts.clock),
            verifier: parts.verifier,
            sealer: Sealer::new(&parts.master_key, Purpose::AuthorizationRequest),
            csrf: Mac::new(&parts.master_key, Purpose::Csrf),
            sign_in: Sealer::new(&parts.master_key, Purpose::SignIn),
            authenticators: Sealer::new(&parts.master_key, Purpose::Authenticator),
            known: Mac::new(&parts.master_key, Purpose::Device),
            throttles: parts.throttles,
            settings: parts.settings,
            store: parts.store,
            keys: parts.keys,
            clock: parts.clock,
            random: parts.random,
            passwords: parts.passwords,
            recorder: parts.recorder,
            registrations,
            local_registrations,
        }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn site(&self) -> &Site {
        &self.0.site
    }

    /// The document of the operator's own client.
    pub(crate) fn client_metadata(&self) -> Option<&str> {
        self.0.client_metadata.as_deref()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    pub(crate) fn keys(&self) -> Arc<KeyRing> {
        self.0.keys.load_full()
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.0.sealer
    }

    /// For what waits between two steps of a sign-in.
    pub(crate) fn sign_in_sealer(&self) -> &Sealer {
        &self.0.sign_in
    }

    /// For second factors and passkeys at rest.
    pub(crate) fn authenticator_sealer(&self) -> &Sealer {
        &self.0.authenticators
    }

    /// Makes and checks the cookie of browsers in which somebody signed in before.
    pub(crate) fn known_browsers(&self) -> &Mac {
        &self.0.known
    }

    pub(crate) fn throttles(&self) -> &Throttles {
        &self.0.throttles
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.0.clock.now()
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.0.random
    }

    /// For work on another thread.
    pub(crate) fn shared_random(&self) -> Arc<dyn Random> {
        Arc::clone(&self.0.random)
    }

    pub(crate) fn client_failures(&self) -> &Failures {
        &self.0.client_failures
    }

    /// How often user codes are typed and asked for.
    pub(crate) fn guesses(&self) -> &Guesses {
        &self.0.guesses
    }

    /// Token chains that were told that they lack scopes.
    pub(crate) fn challenged(&self) -> &Challenged {
        &self.0.challenged
    }

    pub(crate) fn verifier(&self) -> &dyn TokenVerifier<Arc<Principal>> {
        &*self.0.verifier
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.0.documents
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    pub(crate) fn passwords(&self) -> &PasswordPool {
        &self.0.passwords
    }

    /// Counts a new registration from `peer`, or says when the next one is possible.
    pub(crate) fn new_registration(&self, peer: Option<PeerAddress>) -> Result<(), Retry> {
        match peer.map(PeerAddress::network) {
            Some(network) if !network.is_loopback() => self.0.registrations.check(&network),
            _ => self.0.local_registrations.check(&()),
        }
    }

    pub(crate) fn cookies(&self, headers: &HeaderMap) -> Cookies {
        self.0.site.cookies.read(headers)
    }

    /// The `csrf` value for a form.
    pub(crate) fn csrf(&self, bound: csrf::Bound<'_>) -> String {
        csrf::token(&self.0.csrf, bound)
    }

    /// Checks the `csrf` value of a form.
    pub(crate) fn check_csrf(
        &self,
        bound: Option<csrf::Bound<'_>>,
        value: Option<&str>,
    ) -> Result<(), csrf::ForgedForm> {
        csrf::check(&self.0.csrf, bound, value)
    }
}

impl Site {
    fn new(settings: &Settings, public_url: &Url, allowed_origins: Vec<String>) -> Self {
        let https = public_url.scheme() == "https";
        let port = public_url.port_or_known_default().unwrap_or_default();
        let host = public_url.host_str().unwrap_or_default();
        let host = match public_url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let servers = settings.servers.iter().map(|server| ShownServer {
            name: shown(server.name.as_str(), SHORT),
            url: shown(server.resource.as_str(), LONG),
        });
        let clients = settings.registration.listed.iter().map(|client| ShownClient {
            id: client.id.clone(),
            name: shown(&client.name, SHORT),
        });
        let metadata = settings.metadata();
        Self {
            chrome: Chrome {
                style: assets::style_path(),
                icon: assets::icon_path(),
                host,
            },
            servers: servers.collect(),
            clients: clients.collect(),
            oauth_metadata: serde_json::json!(metadata).to_string(),
            openid_metadata: serde_json::json!(metadata.openid()).to_string(),
            cookies: CookieNames::new(https, port),
            origin: public_url.origin().ascii_serialization(),
            rp_id: public_url.domain().unwrap_or_default().to_owned(),
            allowed_origins,
            https,
        }
    }

    /// Whether we are reached over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// Whether a script of this origin may call us: ours, or a configured one; compared byte for byte.
    pub(crate) fn allows_origin(&self, origin: &[u8]) -> bool {
        origin == self.origin.as_bytes() || self.allowed_origins.iter().any(|ours| ours.as_bytes() == origin)
    }

    /// `Set-Cookie` for a cookie value, appended.
    pub(crate) fn set_cookie(headers: &mut HeaderMap, cookie: Option<HeaderValue>) {
        if let Some(cookie) = cookie {
            headers.append(http::header::SET_COOKIE, cookie);
        }
    }
}
