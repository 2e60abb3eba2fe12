//! A company's identity provider: OpenID Connect with one user who is signed in already, and the token exchange of
//! enterprise-managed authorization. It behaves, until a test changes one thing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use url::Url;

use crate::evil::{form, path_of, query};
use crate::forge::Forge;
use crate::leak::Secrets;
use crate::random_text;
use crate::upstream::{Answer, Recorded, Upstream};

/// The client id of the one client, which is public.
pub const CLIENT_ID: &str = "doorward-at-idp";
/// The path of the authorization endpoint.
pub const AUTHORIZE: &str = "/sso/authorize";
/// The path of the token endpoint.
pub const TOKEN: &str = "/sso/token";
/// The path of the revocation endpoint.
pub const REVOKE: &str = "/sso/revoke";
/// The path of the metadata.
pub const DOCUMENT: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/sso/keys";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;
type Sign = Arc<dyn Fn(&Forge, &Value) -> String + Send + Sync>;
type Back = Arc<dyn Fn(&mut Vec<(String, String)>) + Send + Sync>;

/// ID-JAGs that were given out and not used yet.
#[derive(Clone, Debug, Default)]
pub struct IdJags(Arc<Mutex<HashSet<String>>>);

impl IdJags {
    /// Whether it is one; from now on it is none.
    #[must_use]
    pub fn take(&self, id_jag: &str) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id_jag)
    }

    fn add(&self, id_jag: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id_jag.to_owned());
    }
}

struct Code {
    nonce: String,
    challenge: String,
    redirect_uri: String,
}

struct State {
    base: String,
    forge: Forge,
    lifetime: u64,
    codes: HashMap<String, Code>,
    refresh: HashSet<String>,
    id_tokens: HashMap<String, u64>,
    /// It takes no ID token.
    refuses: bool,
    id_jags: IdJags,
    document: Option<Edit>,
    claims: Option<Edit>,
    sign: Option<Sign>,
    back: Option<Back>,
    secrets: Secrets,
}

/// The provider, on a thread of its own until the test process ends.
#[derive(Clone)]
pub struct IdentityProvider {
    server: Upstream,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityProvider({})", self.server.address())
    }
}

impl IdentityProvider {
    /// One on a free port of `127.0.0.1`.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            base: String::new(),
            forge: Forge::attacker(),
            lifetime: 3600,
            codes: HashMap::new(),
            refresh: HashSet::new(),
            id_tokens: HashMap::new(),
            refuses: false,
            id_jags: IdJags::default(),
            document: None,
            claims: None,
            sign: None,
            back: None,
            secrets: Secrets::default(),
        }));
        let answering = Arc::clone(&state);
        let server = Upstream::scripted(move |request| answer(&mut lock(&answering), request));
        lock(&state).base = format!("http://{}", server.address());
        Self { server, state }
    }

    /// Its `issuer`.
    #[must_use]
    pub fn issuer(&self) -> String {
        lock(&self.state).base.clone()
    }

    /// The options of `doorward login` and `connect` that name it.
    #[must_use]
    pub fn options(&self) -> [String; 4] {
        [
            "--idp-issuer".into(),
            self.issuer(),
            "--idp-client-id".into(),
            CLIENT_ID.into(),
        ]
    }

    /// The grants that it gave out.
    #[must_use]
    pub fn id_jags(&self) -> IdJags {
        lock(&self.state).id_jags.clone()
    }

    /// How long ID tokens last from now on, in seconds.
    pub fn id_tokens_live(&self, seconds: u64) {
        lock(&self.state).lifetime = seconds;
    }

    /// Changes the metadata.
    pub fn edit_document(&self, edit: impl Fn(&mut Value) + Send + Sync + 'static) {
        lock(&self.state).document = Some(Arc::new(edit));
    }

    /// Changes the claims of ID tokens.
    pub fn edit_claims(&self, edit: impl Fn(&mut Value) + Send + Sync + 'static) {
        lock(&self.state).claims = Some(Arc::new(edit));
    }

    /// Makes ID tokens of their claims in another way than by signing them.
    pub fn sign_with(&self, sign: impl Fn(&Forge, &Value) -> String + Send + Sync + 'static) {
        lock(&self.state).sign = Some(Arc::new(sign));
    }

    /// Changes what goes back to the redirect URI.
    pub fn edit_answer(&self, back: impl Fn(&mut Vec<(String, String)>) + Send + Sync + 'static) {
        lock(&self.state).back = Some(Arc::new(back));
    }

    /// Forgets everybody who is signed on, as an administrator may; and with `for_good`, takes no ID token of later either.
    pub fn end_sessions(&self, for_good: bool) {
        let mut state = lock(&self.state);
        state.id_tokens.clear();
        state.refresh.clear();
        state.refuses = for_good;
    }

    /// Does everything right again.
    pub fn behave(&self) {
        let mut state = lock(&self.state);
        (state.document, state.claims, state.sign, state.back) = (None, None, None, None);
    }

    /// Everything that must not be seen anywhere.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        lock(&self.state).secrets.clone()
    }

    /// The requests for `path`.
    #[must_use]
    pub fn seen(&self, path: &str) -> Vec<Recorded> {
        let requests = self.server.requests().into_iter();
        requests.filter(|request| path_of(request) == path).collect()
    }

    /// The forms of this `grant_type` that its token endpoint got.
    #[must_use]
    pub fn grants(&self, grant_type: &str) -> Vec<BTreeMap<String, String>> {
        let forms = self.seen(TOKEN).into_iter().map(|request| form(&request.body));
        forms
            .filter(|form| form.get("grant_type").is_some_and(|kind| kind == grant_type))
            .collect()
    }

    /// How often an ID token was exchanged.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.grants(EXCHANGE).len()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test is another process and has the machine's clock, too"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|since| since.as_secs()).unwrap_or_default()
}

fn answer(state: &mut State, request: &Recorded) -> Answer {
    match path_of(request).as_str() {
        DOCUMENT => Answer::json(&state.metadata()),
        KEYS => Answer::json(&json!({ "keys": [state.forge.public_jwk()] })),
        AUTHORIZE => state.authorize(&query(&request.target())),
        TOKEN => {
            let asked = form(&request.body);
            match state.token(&asked) {
                Ok(answer) => Answer::json(&answer).header("Cache-Control", "no-store"),
                Err(why) => {
                    let body = json!({ "error": "invalid_grant", "error_description": why });
                    Answer::new(400, "application/json", body.to_string())
                }
            }
        }
        REVOKE => {
            if let Some(token) = form(&request.body).get("token") {
                state.refresh.remove(token);
            }
            Answer::empty(200)
        }
        _ => Answer::empty(404),
    }
}

impl State {
    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.base);
        let mut document = json!({
            "issuer": self.base,
            "authorization_endpoint": at(AUTHORIZE),
            "token_endpoint": at(TOKEN),
            "jwks_uri": at(KEYS),
            "revocation_endpoint": at(REVOKE),
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["openid", "offline_access"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": true,
        });
        if let Some(edit) = &self.document {
            edit(&mut document);
        }
        document
    }

    fn authorize(&mut self, asked: &BTreeMap<String, String>) -> Answer {
        let get = |name: &str| asked.get(name).cloned().unwrap_or_default();
        let scope = get("scope");
        let right = get("client_id") == CLIENT_ID
            && get("response_type") == "code"
            && get("code_challenge_method") == "S256"
            && scope.split(' ').any(|one| one == "openid")
            && !asked.contains_key("resource");
        let redirect_uri = get("redirect_uri");
        let Some(mut back) = Url::parse(&redirect_uri).ok().filter(|_| right) else {
            return Answer::new(400, "text/plain", format!("not like this: {asked:?}"));
        };
        let code = format!("sso_code_{}", random_text());
        self.secrets.add("code of the sign-on", &code);
        let kept = Code {
            nonce: get("nonce"),
            challenge: get("code_challenge"),
            redirect_uri,
        };
        self.codes.insert(code.clone(), kept);
        let mut parameters = vec![
            ("code".to_owned(), code),
            ("state".to_owned(), get("state")),
            ("iss".to_owned(), self.base.clone()),
        ];
        if let Some(edit) = &self.back {
            edit(&mut parameters);
        }
        back.query_pairs_mut().extend_pairs(parameters);
        Answer::empty(302).header("Location", back.as_str())
    }

    fn token(&mut self, asked: &BTreeMap<String, String>) -> Result<Value, String> {
        let get = |name: &str| asked.get(name).cloned().unwrap_or_default();
        if get("client_id") != CLIENT_ID {
            return Err("another client".into());
        }
        match get("grant_type").as_str() {
            "authorization_code" => {
                let code = self.codes.remove(&get("code")).ok_or("an unknown code")?;
                let challenge = Forge::encode(digest(&SHA256, get("code_verifier").as_bytes()).as_ref());
                if challenge != code.challenge || get("redirect_uri") != code.redirect_uri {
                    return Err("not what was asked for".into());
                }
                Ok(self.signed_on(Some(&code.nonce)))
            }
            "refresh_token" if self.refresh.remove(&get("refresh_token")) => Ok(self.signed_on(None)),
            EXCHANGE => self.exchange(asked),
            _ => Err("not that".into()),
        }
    }

    fn signed_on(&mut self, nonce: Option<&str>) -> Value {
        let end = now() + self.lifetime;
        let mut claims = json!({
            "iss": self.base, "sub": "employee-7", "aud": CLIENT_ID, "iat": now(), "exp": end, "jti": random_text(),
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        if let Some(edit) = &self.claims {
            edit(&mut claims);
        }
        let id_token = match &self.sign {
            Some(sign) => sign(&self.forge, &claims),
            None => {
                let mut header = self.forge.header();
                header["typ"] = json!("JWT");
                self.forge.sign(&header, &claims)
            }
        };
        let refresh = format!("sso_rt_{}", random_text());
        let access = format!("sso_at_{}", random_text());
        for (what, secret) in [
            ("ID token", &id_token),
            ("refresh token of the sign-on", &refresh),
            ("access token of the sign-on", &access),
        ] {
            self.secrets.add(what, secret);
        }
        self.refresh.insert(refresh.clone());
        self.id_tokens.insert(id_token.clone(), end);
        json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 86_400, "refresh_token": refresh, "id_token": id_token,
        })
    }

    fn exchange(&mut self, asked: &BTreeMap<String, String>) -> Result<Value, String> {
        let get = |name: &str| asked.get(name).cloned().unwrap_or_default();
        let known = self.id_tokens.get(&get("subject_token"));
        if self.refuses || known.is_none_or(|end| *end <= now()) {
            return Err("the subject token is not good".into());
        }
        let mut header = self.forge.header();
        header["typ"] = json!("oauth-id-jag+jwt");
        let claims = json!({
            "iss": self.base, "sub": "employee-7", "aud": get("audience"), "resource": get("resource"),
            "client_id": "as-registered", "jti": random_text(), "iat": now(), "exp": now() + 300,
        });
        let id_jag = self.forge.sign(&header, &claims);
        self.secrets.add("ID-JAG", &id_jag);
        self.id_jags.add(&id_jag);
        Ok(json!({
            "access_token": id_jag, "token_type": "N_A", "expires_in": 300,
            "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        }))
    }
}
