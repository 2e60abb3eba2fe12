//! A whole site in memory, and a browser that keeps its cookies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use doorward_authorization_server::client_metadata::DocumentPolicy;
use doorward_authorization_server::keys;
use doorward_authorization_server::password;
use doorward_authorization_server::settings::{
    Grants, Lifetimes, RegistrationMode, RegistrationPolicy, Settings,
};
use doorward_policy::{AccessRule, ListMode, ProtectedServer, ScopeEntry, ScopeTable};
use doorward_recorder::Recorder;
use doorward_records::account::User;
use doorward_records::{Unit, Write};
use doorward_resource_server::{JwtVerifier, JwtVerifierSettings, LocalKeys, RevocationSet};
use doorward_seal::MasterKey;
use doorward_storage::Store;
use doorward_storage::memory::MemoryStore;
use doorward_types::digest::Digest;
use doorward_types::id::{ServerName, Tenant, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::secret::Secret;
use doorward_types::time::{Clock as _, FixedClock, UnixTime};
use doorward_types::url::{Issuer, ResourceUri};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::documents::Sites;
use crate::{Challenged, PasswordPool, Throttles, WebParts, WebState, router};

pub(super) const PASSWORD: &str = "correct horse battery";
pub(super) const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";
pub(super) const CALLBACK: &str = "http://127.0.0.1:43123/cb";
pub(super) const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

/// A site with users alice and bob (same password), one or two servers, and a store in memory.
pub(super) struct Site {
    pub(super) router: Router,
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Arc<FixedClock>,
    pub(super) origin: String,
    pub(super) fetch: Arc<Sites>,
    pub(super) challenged: Challenged,
}

/// What a test varies.
pub(super) struct Setup {
    pub(super) issuer: &'static str,
    pub(super) servers: Vec<ProtectedServer>,
    pub(super) grants: Grants,
    pub(super) wrap: fn(Arc<MemoryStore>) -> Arc<dyn Store>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            issuer: "https://mcp.example.com",
            servers: vec![server("notes", AccessRule::everyone())],
            grants: Grants::default(),
            wrap: |store| store,
        }
    }
}

pub(super) fn server(name: &str, allow: AccessRule) -> ProtectedServer {
    let scope = |suffix: &str| {
        ScopeEntry::new(
            format!("{name}{suffix}").parse().unwrap(),
            format!("Use {name}{suffix}"),
        )
    };
    ProtectedServer {
        name: ServerName::new(name),
        path: format!("/{name}/mcp"),
        resource: ResourceUri::parse(&format!("https://mcp.example.com/{name}/mcp")).unwrap(),
        scopes: ScopeTable::new(vec![scope(""), scope(":more")]).unwrap(),
        allow,
        lists: ListMode::default(),
    }
}

impl Site {
    pub(super) async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    pub(super) async fn with(setup: Setup) -> Self {
        let random = Arc::new(CountingRandom::default());
        let store = Arc::new(MemoryStore::new());
        let master_key = Arc::new(MasterKey::generate(&*random));
        let hash = password::hash(&Secret::new(PASSWORD), &*random).unwrap();
        for (n, name) in ["alice", "bob"].into_iter().enumerate() {
            let user = User {
                tenant: Tenant::default_tenant(),
                id: UserId::generate(NOW.plus(Duration::from_secs(n as u64)), &*random),
                username: name.into(),
                password_hash: Some(hash.clone()),
                groups: vec!["eng".into()],
                admin: false,
                disabled: false,
                created: NOW,
            };
            store
                .commit(Unit::writes(vec![Write::InsertUser(user)]))
                .await
                .unwrap();
        }
        let settings = Settings {
            issuer: Issuer::parse(setup.issuer).unwrap(),
            tenant: Tenant::default_tenant(),
            servers: setup.servers,
            lifetimes: Lifetimes::default(),
            registration: RegistrationPolicy::new(RegistrationMode::KnownHosts),
            client_metadata_documents: DocumentPolicy::default(),
            grants: setup.grants,
        };
        let ring = key_ring(&store, &master_key, &random).await;
        let public_url: url::Url = setup.issuer.parse().unwrap();
        let clock = Arc::new(FixedClock::new(NOW));
        let recorder = Recorder::without_file(Arc::clone(&clock) as Arc<_>, Arc::clone(&random) as Arc<_>);
        let fetch = Arc::new(Sites::default());
        let revocations = Arc::new(RevocationSet::new());
        revocations.heard(clock.monotonic());
        let verifier = JwtVerifier::new(JwtVerifierSettings {
            issuer: settings.issuer.clone(),
            tenant: settings.tenant.clone(),
            keys: Arc::new(LocalKeys::new(ring.public().clone())),
            revocations: revocations as _,
            clock: Arc::clone(&clock) as Arc<_>,
            cache_capacity: 100,
        });
        let challenged = Challenged::new(&(Arc::clone(&clock) as Arc<_>));
        let state = WebState::new(WebParts {
            challenged: challenged.clone(),
            settings,
            public_url: public_url.clone(),
            allowed_origins: vec!["http://localhost:6274".into()],
            store: (setup.wrap)(Arc::clone(&store)),
            keys: Arc::new(ArcSwap::from_pointee(ring)),
            master_key,
            clock: Arc::clone(&clock) as Arc<_>,
            random,
            passwords: PasswordPool::new(2, 8),
            fetch: Arc::clone(&fetch) as Arc<_>,
            client_metadata: None,
            verifier: Arc::new(verifier),
            recorder,
            throttles: Throttles::new(&(Arc::clone(&clock) as Arc<_>)),
        });
        Self {
            router: router(state),
            store,
            clock,
            origin: public_url.origin().ascii_serialization(),
            fetch,
            challenged,
        }
    }

    pub(super) fn browser(&self) -> Browser<'_> {
        Browser {
            site: self,
            cookies: BTreeMap::new(),
        }
    }

    /// Sends a request as it is.
    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// A request without a body.
    pub(super) async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(request(method, path, headers, String::new())).await
    }

    /// A JSON or form POST, as programs send it.
    pub(super) async fn post(&self, path: &str, content_type: &str, body: String) -> Reply {
        self.send(request(
            Method::POST,
            path,
            &[("content-type", content_type)],
            body,
        ))
        .await
    }

    /// Registers a public client with these redirect URIs and gives its id.
    pub(super) async fn register(&self, name: &str, redirect_uris: &[&str]) -> String {
        let body = serde_json::json!({
            "client_name": name, "redirect_uris": redirect_uris, "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        });
        let reply = self.post("/register", "application/json", body.to_string()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        reply.json()["client_id"].as_str().unwrap().to_owned()
    }

    /// POST /token with these fields.
    pub(super) async fn token(&self, fields: &[(&str, &str)]) -> Reply {
        self.post("/token", "application/x-www-form-urlencoded", form(fields))
            .await
    }

    /// A code for alice, through every page.
    pub(super) async fn code(&self, client: &str) -> String {
        let mut browser = self.browser();
        let consent = browser.consent_page(client, &[]).await;
        let reply = browser.answer(&consent, "approve").await;
        reply.location()["code"].clone()
    }
}

async fn key_ring(store: &MemoryStore, master_key: &MasterKey, random: &CountingRandom) -> keys::KeyRing {
    for unit in keys::missing(&[], &Tenant::default_tenant(), master_key, NOW, random).unwrap() {
        store.commit(unit).await.unwrap();
    }
    keys::KeyRing::open(&store.keys().await.unwrap(), master_key).unwrap()
}

/// The baseline authorization request.
pub(super) fn authorize_url(client: &str, changes: &[(&str, &str)]) -> String {
    let challenge = Digest::of(VERIFIER.as_bytes()).to_string();
    let mut fields: Vec<(&str, &str)> = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("scope", "notes"),
        ("state", "S1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", "https://mcp.example.com/notes/mcp"),
    ];
    for (name, value) in changes {
        // `-name` leaves one out, `+name` adds one more.
        if let Some(name) = name.strip_prefix('-') {
            fields.retain(|(field, _)| field != &name);
        } else if let Some(name) = name.strip_prefix('+') {
            fields.push((name, value));
        } else {
            fields.retain(|(field, _)| field != name);
            fields.push((name, value));
        }
    }
    format!("/authorize?{}", form(&fields))
}

pub(super) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

pub(super) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body)).unwrap()
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A hidden field of the page.
    pub(super) fn hidden(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let from = self
            .body
            .find(&start)
            .unwrap_or_else(|| panic!("no {name} in {}", self.body))
            + start.len();
        self.body[from..].split('"').next().unwrap().to_owned()
    }

    /// The query of the address the browser is sent to.
    pub(super) fn location(&self) -> BTreeMap<String, String> {
        let url: url::Url = self
            .header("location")
            .parse()
            .unwrap_or_else(|_| panic!("{self:?}"));
        url.query_pairs().into_owned().collect()
    }

    /// Checks that this is a page that sends the browser nowhere.
    pub(super) fn assert_page(&self, context: &str) {
        assert!(self.status.is_client_error(), "{context}: {}", self.status);
        assert_eq!(self.header("location"), "", "{context}");
        assert!(self.header("content-type").starts_with("text/html"), "{context}");
    }

    /// Checks that this sends the browser back to the client with an error.
    pub(super) fn assert_redirect(&self, error: &str, context: &str) {
        assert!(
            matches!(self.status.as_u16(), 302 | 303),
            "{context}: {} {}",
            self.status,
            self.body
        );
        assert!(self.header("location").starts_with(CALLBACK), "{context}");
        let query = self.location();
        assert_eq!(query.get("error").map(String::as_str), Some(error), "{context}");
        assert_eq!(query["iss"], "https://mcp.example.com", "{context}");
        assert!(!query.contains_key("code"), "{context}");
    }
}

/// A browser: it keeps cookies and says where its forms come from.
pub(super) struct Browser<'a> {
    site: &'a Site,
    pub(super) cookies: BTreeMap<String, String>,
}

impl Browser<'_> {
    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], String::new()).await
    }

    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let origin = self.site.origin.clone();
        self.post_from(&origin, path, fields).await
    }

    pub(super) async fn post_from(&mut self, origin: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", origin),
        ];
        self.send(Method::POST, path, &headers, form(fields)).await
    }

    async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Reply {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let cookies = cookies.join("; ");
        let mut headers = headers.to_vec();
        if !cookies.is_empty() {
            headers.push(("cookie", &cookies));
        }
        let reply = self.site.send(request(method, path, &headers, body)).await;
        for line in reply.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
        reply
    }

    /// The value of the session cookie.
    pub(super) fn session(&self) -> Option<&str> {
        self.cookies
            .iter()
            .find(|(name, _)| name.contains("session"))
            .map(|(_, value)| value.as_str())
    }

    /// Sends the login form of this page.
    pub(super) async fn sign_in(&mut self, page: &Reply, username: &str, password: &str) -> Reply {
        let (csrf, sealed) = (page.hidden("csrf"), page.hidden("request"));
        let fields = [
            ("csrf", csrf.as_str()),
            ("request", &sealed),
            ("username", username),
            ("password", password),
        ];
        self.post("/login", &fields).await
    }

    /// From the authorization request to the consent page, as alice.
    pub(super) async fn consent_page(&mut self, client: &str, changes: &[(&str, &str)]) -> Reply {
        let page = self.get(&authorize_url(client, changes)).await;
        let page = if self.session().is_some() {
            page
        } else {
            self.sign_in(&page, "alice", PASSWORD).await
        };
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert!(page.body.contains("name=\"decision\""), "{}", page.body);
        page
    }

    /// Answers a consent page with the scope `notes` ticked.
    pub(super) async fn answer(&mut self, page: &Reply, decision: &str) -> Reply {
        let (csrf, sealed) = (page.hidden("csrf"), page.hidden("request"));
        let fields = [
            ("csrf", csrf.as_str()),
            ("request", &sealed),
            ("scope", "notes"),
            ("decision", decision),
        ];
        self.post("/consent", &fields).await
    }
}

/// The baseline redemption of a code.
pub(super) fn redeem<'a>(client: &'a str, code: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("client_id", client),
        ("code_verifier", VERIFIER),
        ("resource", "https://mcp.example.com/notes/mcp"),
    ]
}

/// The baseline refresh.
pub(super) fn refresh_fields<'a>(client: &'a str, token: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", client),
        ("resource", "https://mcp.example.com/notes/mcp"),
    ]
}

impl Site {
    /// A new setup link for a user.
    pub(super) async fn setup_link(&self, username: &str) -> String {
        let user = self.store.user_by_name(username).await.unwrap().unwrap();
        let random = doorward_types::random::SystemRandom;
        let (secret, unit) =
            doorward_authorization_server::setup::issue(&Lifetimes::default(), user.id, NOW, &random);
        self.store.commit(unit).await.unwrap();
        secret.expose().to_owned()
    }

    /// Disables a user.
    pub(super) async fn disable(&self, username: &str) {
        let user = self.store.user_by_name(username).await.unwrap().unwrap();
        let disabled = Write::UpdateUser(User {
            disabled: true,
            ..user
        });
        self.store.commit(Unit::writes(vec![disabled])).await.unwrap();
    }
}

/// What was logged, one line per event.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Log {
    /// Captures every event of this thread until the guard is dropped.
    pub(super) fn capture() -> (Self, (tracing::subscriber::DefaultGuard, tracing::Dispatch)) {
        // While there is only one subscriber, an event that another test reaches first is switched off for
        // all threads; a second one that is kept alive prevents that.
        let second = tracing::Dispatch::new(tracing_subscriber::registry());
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, (tracing::subscriber::set_default(subscriber), second))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
