//! A protected MCP server with its own authorization server that behaves, until a test changes one thing.
//!
//! Everything it receives is recorded, so that a test can claim what was never sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use serde_json::Value;
use tokio::sync::Notify;

use crate::identity::IdentityProvider;
use crate::leak::Secrets;
use crate::upstream::{Answer, Part, Recorded, Upstream};

mod authorization;
mod book;
pub mod front;
mod resource;

use book::Book;

#[cfg(test)]
mod tests;

/// The path of the MCP endpoint.
pub const MCP: &str = "/mcp";
/// The path of the resource metadata.
pub const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource/mcp";
/// The path of the authorization server metadata.
pub const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";
/// The path of the authorization endpoint.
pub const AUTHORIZE: &str = "/authorize";
/// The path of the token endpoint.
pub const TOKEN: &str = "/token";
/// The path of the registration endpoint.
pub const REGISTER: &str = "/register";
/// The path of the revocation endpoint.
pub const REVOKE: &str = "/revoke";

type Replacement = dyn Fn(&Recorded) -> Answer + Send + Sync;
type Change = dyn Fn(&Recorded, Answer) -> Answer + Send + Sync;

#[derive(Clone)]
enum Rule {
    Instead(Arc<Replacement>),
    After(Arc<Change>),
}

struct World {
    base: OnceLock<String>,
    book: Mutex<Book>,
    rules: Mutex<HashMap<String, Rule>>,
    /// Authorization servers whose tokens the MCP server takes besides its own.
    trusted: Mutex<Vec<Arc<World>>>,
}

/// The server. It lives on a thread of its own until the test process ends.
#[derive(Clone)]
pub struct Evil {
    server: Upstream,
    world: Arc<World>,
}

impl std::fmt::Debug for Evil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evil({})", self.base())
    }
}

impl Evil {
    /// One on a free port of `127.0.0.1` that does everything right.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// One that calls itself `base` (`https://evil.test`), behind a [`front::Authority`].
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn named(base: &str) -> Self {
        Self::start_as(Some(base))
    }

    fn start_as(base: Option<&str>) -> Self {
        let world = Arc::new(World {
            base: OnceLock::new(),
            book: Mutex::default(),
            rules: Mutex::default(),
            trusted: Mutex::default(),
        });
        let answering = Arc::clone(&world);
        let server = Upstream::scripted(move |request| answering.answer(request));
        let base = base.map_or_else(|| format!("http://{}", server.address()), str::to_owned);
        world.base.set(base).expect("set once");
        Self { server, world }
    }

    /// The recording server under it.
    #[must_use]
    pub const fn server(&self) -> &Upstream {
        &self.server
    }

    /// `http://127.0.0.1:PORT`, which is the issuer too.
    #[must_use]
    pub fn base(&self) -> &str {
        self.world.base()
    }

    /// The issuer of its authorization server.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.base().into()
    }

    /// The absolute URL of a path.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// The MCP endpoint, which is the resource too.
    #[must_use]
    pub fn url(&self) -> String {
        self.at(MCP)
    }

    /// Answers requests for `path` (without query) in place of the right answer.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn instead(&self, path: &str, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        self.rule(path, Rule::Instead(Arc::new(script)));
    }

    /// Changes the right answer for `path`.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn change(&self, path: &str, change: impl Fn(&Recorded, Answer) -> Answer + Send + Sync + 'static) {
        self.rule(path, Rule::After(Arc::new(change)));
    }

    /// Changes the JSON of the right answer for `path`; an answer that holds no JSON stays as it is.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn edit(&self, path: &str, edit: impl Fn(&mut Value) + Send + Sync + 'static) {
        self.change(path, move |_, mut answer| {
            if let [Part::Bytes(bytes)] = answer.parts.as_mut_slice()
                && let Ok(mut value) = serde_json::from_slice::<Value>(bytes)
            {
                edit(&mut value);
                *bytes = value.to_string().into_bytes();
            }
            answer
        });
    }

    /// Replaces the value of a header of the right answer for `path`, where it has one.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn set_header(&self, path: &str, name: &str, value: &str) {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.change(path, move |_, mut answer| {
            for (have, old) in &mut answer.headers {
                if have.eq_ignore_ascii_case(&name) {
                    old.clone_from(&value);
                }
            }
            answer
        });
    }

    /// Redirects `path` elsewhere with this status.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn redirect(&self, path: &str, status: u16, to: &str) {
        let to = to.to_owned();
        self.instead(path, move |_| Answer::empty(status).header("Location", &to));
    }

    /// Works out the right answer for `path` and holds it back until the signal comes.
    ///
    /// # Panics
    /// When a script panicked before.
    #[must_use]
    pub fn hold(&self, path: &str) -> Arc<Notify> {
        let signal = Arc::new(Notify::new());
        let wait = Arc::clone(&signal);
        self.change(path, move |_, answer| answer.after(&wait));
        signal
    }

    /// Behaves again.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn behave(&self) {
        lock(&self.world.rules).clear();
    }

    /// Behaves again at one path.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn behave_at(&self, path: &str) {
        lock(&self.world.rules).remove(path);
    }

    /// The right answer, for scripts that give it sometimes.
    #[must_use]
    pub fn right_answer(&self, request: &Recorded) -> Answer {
        self.world.right_answer(request)
    }

    /// Its resource metadata name `other` as the authorization server, and its MCP server takes the tokens of both.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn switch_to(&self, other: &Self) {
        lock(&self.world.trusted).push(Arc::clone(&other.world));
        let issuer = other.issuer();
        self.edit(RESOURCE_METADATA, move |metadata| {
            metadata["authorization_servers"] = serde_json::json!([issuer]);
        });
    }

    /// A client that its operator registered, for any loopback redirect.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn pre_register(&self, id: &str, secret: Option<&str>) {
        lock(&self.world.book).pre_register(id, secret);
    }

    /// How long access tokens live from now on, in seconds as `expires_in` says.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn tokens_live(&self, seconds: u64) {
        lock(&self.world.book).expires_in = seconds;
    }

    /// Ends every access token that is out; refresh tokens stay.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn expire_access_tokens(&self) {
        lock(&self.world.book).expire();
    }

    /// Ends every token that is out.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn revoke_everything(&self) {
        lock(&self.world.book).revoke_all();
    }

    /// Refresh tokens can be used more than once from now on; each use still gives a new one.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn refresh_tokens_stay_good(&self) {
        lock(&self.world.book).lasting = true;
    }

    /// How often a refresh token was presented that had been used before.
    ///
    /// # Panics
    /// When a script panicked before.
    #[must_use]
    pub fn reused(&self) -> usize {
        lock(&self.world.book).reused
    }

    /// What the token endpoint refused so far, in words.
    ///
    /// # Panics
    /// When a script panicked before.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        lock(&self.world.book).complaints.clone()
    }

    /// Every code, token and secret that it gave out.
    ///
    /// # Panics
    /// When a script panicked before.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        lock(&self.world.book).secrets.clone()
    }

    /// Every request for `path` so far.
    #[must_use]
    pub fn seen(&self, path: &str) -> Vec<Recorded> {
        self.server
            .requests()
            .into_iter()
            .filter(|request| path_of(request) == path)
            .collect()
    }

    /// The forms that came to `path`.
    #[must_use]
    pub fn forms(&self, path: &str) -> Vec<BTreeMap<String, String>> {
        self.seen(path)
            .iter()
            .map(|request| form(&request.body))
            .collect()
    }

    /// The token requests with this grant type.
    #[must_use]
    pub fn grants(&self, grant_type: &str) -> Vec<BTreeMap<String, String>> {
        self.forms(TOKEN)
            .into_iter()
            .filter(|form| form.get("grant_type").is_some_and(|have| have == grant_type))
            .collect()
    }

    /// The queries that came to the authorization endpoint.
    #[must_use]
    pub fn authorizations(&self) -> Vec<BTreeMap<String, String>> {
        self.seen(AUTHORIZE)
            .iter()
            .map(|request| query(&request.target()))
            .collect()
    }

    /// Asserts that nobody ever came.
    ///
    /// # Panics
    /// When somebody did, with what.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let seen: Vec<_> = self.server.requests().iter().map(Recorded::bytes).collect();
        let shown: Vec<_> = seen.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
        assert!(shown.is_empty(), "{self:?} was asked: {shown:#?}");
    }

    /// Asserts that no request carried a credential: no `Authorization`, `Cookie` or `DPoP` header, no code, no
    /// token, no secret in a form.
    ///
    /// # Panics
    /// When one did.
    #[track_caller]
    pub fn assert_no_credentials(&self) {
        for request in self.server.requests() {
            for name in ["authorization", "proxy-authorization", "cookie", "dpop"] {
                assert!(
                    request.values(name).is_empty(),
                    "{self:?} got {name}: {}",
                    String::from_utf8_lossy(&request.bytes())
                );
            }
            let fields = form(&request.body);
            for name in [
                "code",
                "code_verifier",
                "refresh_token",
                "client_secret",
                "client_assertion",
                "token",
            ] {
                assert!(
                    !fields.contains_key(name),
                    "{self:?} got {name}: {}",
                    String::from_utf8_lossy(&request.bytes())
                );
            }
        }
    }

    /// Lets in whom this identity provider gives an ID-JAG for.
    pub fn trust_identities(&self, provider: &IdentityProvider) {
        lock(&self.world.book).id_jags = Some(provider.id_jags());
    }

    fn rule(&self, path: &str, rule: Rule) {
        lock(&self.world.rules).insert(path.into(), rule);
    }
}

impl World {
    fn base(&self) -> &str {
        self.base.get().expect("set at the start")
    }

    fn answer(&self, request: &Recorded) -> Answer {
        let rule = lock(&self.rules).get(&path_of(request)).cloned();
        match rule {
            None => self.right_answer(request),
            Some(Rule::Instead(script)) => script(request),
            Some(Rule::After(change)) => change(request, self.right_answer(request)),
        }
    }

    fn right_answer(&self, request: &Recorded) -> Answer {
        let path = path_of(request);
        match path.as_str() {
            MCP => self.mcp(request),
            RESOURCE_METADATA => Answer::json(&self.resource_metadata()),
            SERVER_METADATA => Answer::json(&self.server_metadata()),
            REGISTER => self.register(request),
            AUTHORIZE => self.authorize(request),
            TOKEN => self.token(request),
            REVOKE => self.revoke(request),
            _ => Answer::empty(404),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no script panicked")
}

/// The target without its query.
#[must_use]
pub fn path_of(request: &Recorded) -> String {
    let target = request.target();
    target.split('?').next().unwrap_or_default().to_owned()
}

/// The parameters of a form.
#[must_use]
pub fn form(body: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

/// The parameters of a URL or target.
#[must_use]
pub fn query(target: &str) -> BTreeMap<String, String> {
    let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    form(query.split('#').next().unwrap_or_default().as_bytes())
}
