//! What the tests of this crate share: a network that is a table, an application that keeps things in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use doorward_oauth::form::Form;
use doorward_types::random::CountingRandom;
use doorward_types::time::{FixedClock, UnixTime};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::http::{Http, HttpRequest, HttpResponse, TransportError};
use crate::machine::Answer;
use crate::orchestrate::{Environment, Options};
use crate::provider::{ClientInformation, ClientOrigin, Pending, Provider, ProviderError, Tokens};
use crate::registration::Application;

pub(crate) fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

pub(crate) fn response(status: u16, body: impl Into<String>) -> HttpResponse {
    HttpResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.into().into(),
    }
}

pub(crate) fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

/// A request as tests look at it.
pub(crate) struct Sent {
    pub(crate) request: HttpRequest,
}

impl Sent {
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.request.method, self.request.url)
    }

    pub(crate) fn body(&self) -> &str {
        self.request.body.as_ref().map_or("", |body| body.expose())
    }

    pub(crate) fn form(&self) -> Form {
        Form::parse(self.body().as_bytes()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.body()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.request.headers.get(name)?.to_str().unwrap())
    }
}

/// A network that is a table: what each `METHOD URL` answers, one after the other, the last one for ever. Else 404.
#[derive(Default)]
pub(crate) struct Script {
    routes: Mutex<HashMap<String, VecDeque<Answer>>>,
    sent: Mutex<Vec<Sent>>,
}

impl Script {
    pub(crate) fn on(self, route: &str, answer: impl Into<Answered>) -> Self {
        self.add(route, answer);
        self
    }

    pub(crate) fn add(&self, route: &str, answer: impl Into<Answered>) {
        let mut routes = self.routes.lock().unwrap();
        routes.entry(route.into()).or_default().push_back(answer.into().0);
    }

    /// Forgets what `route` answers.
    pub(crate) fn clear(&self, route: &str) {
        self.routes.lock().unwrap().remove(route);
    }

    pub(crate) fn answer(&self, request: HttpRequest) -> Answer {
        let sent = Sent { request };
        let mut routes = self.routes.lock().unwrap();
        let answer = match routes.get_mut(&sent.line()) {
            Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
            Some(queue) => queue.front().unwrap().clone(),
            None => Ok(response(404, "nothing here")),
        };
        self.sent.lock().unwrap().push(sent);
        answer
    }

    pub(crate) fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap()
    }

    /// What was sent, as `METHOD URL` lines, and forgets it.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.sent().drain(..).map(|sent| sent.line()).collect()
    }
}

/// Makes tables short.
pub(crate) struct Answered(Answer);

impl From<Value> for Answered {
    fn from(body: Value) -> Self {
        Self(Ok(response(200, body.to_string())))
    }
}

impl From<(u16, Value)> for Answered {
    fn from((status, body): (u16, Value)) -> Self {
        Self(Ok(response(status, body.to_string())))
    }
}

impl From<(u16, &str)> for Answered {
    fn from((status, body): (u16, &str)) -> Self {
        Self(Ok(response(status, body)))
    }
}

impl From<TransportError> for Answered {
    fn from(error: TransportError) -> Self {
        Self(Err(error))
    }
}

#[async_trait]
impl Http for Script {
    async fn send(&self, request: HttpRequest) -> Answer {
        self.answer(request)
    }
}

/// Everything in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) tokens: Mutex<HashMap<(String, String), Tokens>>,
    pub(crate) clients: Mutex<HashMap<String, ClientInformation>>,
    pub(crate) pending: Mutex<Option<Pending>>,
    pub(crate) shown: Mutex<Vec<Url>>,
}

#[async_trait]
impl Provider for Memory {
    async fn tokens(&self, issuer: &str, resource: &str) -> Result<Option<Tokens>, ProviderError> {
        Ok(self
            .tokens
            .lock()
            .unwrap()
            .get(&(issuer.into(), resource.into()))
            .cloned())
    }

    async fn save_tokens(&self, tokens: &Tokens) -> Result<(), ProviderError> {
        let key = (tokens.issuer.clone(), tokens.resource.clone());
        self.tokens.lock().unwrap().insert(key, tokens.clone());
        Ok(())
    }

    async fn forget_tokens(&self, issuer: &str, resource: &str) -> Result<(), ProviderError> {
        self.tokens
            .lock()
            .unwrap()
            .remove(&(issuer.into(), resource.into()));
        Ok(())
    }

    async fn client(&self, issuer: &str) -> Result<Option<ClientInformation>, ProviderError> {
        Ok(self.clients.lock().unwrap().get(issuer).cloned())
    }

    async fn issuer_of(&self, client_id: &str) -> Result<Option<String>, ProviderError> {
        let clients = self.clients.lock().unwrap();
        let mut pre_registered = clients
            .values()
            .filter(|client| client.origin == ClientOrigin::PreRegistered);
        Ok(pre_registered
            .find(|client| client.client_id == client_id)
            .map(|client| client.issuer.clone()))
    }

    async fn save_client(&self, client: &ClientInformation) -> Result<(), ProviderError> {
        self.clients
            .lock()
            .unwrap()
            .insert(client.issuer.clone(), client.clone());
        Ok(())
    }

    async fn forget_client(&self, issuer: &str) -> Result<(), ProviderError> {
        self.clients.lock().unwrap().remove(issuer);
        Ok(())
    }

    async fn pending(&self) -> Result<Option<Pending>, ProviderError> {
        Ok(self.pending.lock().unwrap().clone())
    }

    async fn save_pending(&self, pending: Option<&Pending>) -> Result<(), ProviderError> {
        *self.pending.lock().unwrap() = pending.cloned();
        Ok(())
    }

    async fn redirect(&self, authorization_url: &Url) -> Result<(), ProviderError> {
        self.shown.lock().unwrap().push(authorization_url.clone());
        Ok(())
    }
}

/// A client at its desk.
pub(crate) struct Desk {
    pub(crate) http: Script,
    pub(crate) memory: Memory,
    pub(crate) clock: FixedClock,
    pub(crate) random: CountingRandom,
}

impl Desk {
    pub(crate) fn new(http: Script) -> Self {
        Self {
            http,
            memory: Memory::default(),
            clock: FixedClock::new(UnixTime::from_seconds(1_000_000)),
            random: CountingRandom::default(),
        }
    }

    pub(crate) fn env(&self) -> Environment<'_> {
        Environment {
            provider: &self.memory,
            http: &self.http,
            clock: &self.clock,
            random: &self.random,
        }
    }
}

pub(crate) fn application() -> Application {
    Application {
        client_name: "Test client".into(),
        client_uri: None,
        software_id: None,
        software_version: None,
        client_metadata_url: None,
        pre_registered: None,
        may_register: true,
    }
}

pub(crate) fn options(server: &str) -> Options {
    Options {
        server: url(server),
        redirect_uri: "http://127.0.0.1:4711/callback".into(),
        application: application(),
        grant: crate::grant::Grant::default(),
        scope: None,
        extra: Vec::new(),
        wants_refresh: true,
        legacy: false,
        allow_insecure_http: false,
        key: None,
        dpop: None,
        prefer_dpop: false,
    }
}

/// Metadata of an authorization server that can everything.
pub(crate) fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true
    })
}

/// `metadata` with some members replaced; `null` removes one.
pub(crate) fn metadata_with(issuer: &str, changes: &Value) -> Value {
    let mut document = metadata(issuer);
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            document.as_object_mut().unwrap().remove(name);
        } else {
            document[name] = value.clone();
        }
    }
    document
}

pub(crate) fn tokens(issuer: &str, resource: &str) -> Tokens {
    Tokens {
        issuer: issuer.into(),
        resource: resource.into(),
        client_id: "client-1".into(),
        access_token: doorward_types::secret::Secret::new("access-1"),
        dpop: false,
        issued_at: None,
        expires_at: None,
        refresh_token: Some(doorward_types::secret::Secret::new("refresh-1")),
        scope: "notes".parse().unwrap(),
        requested: "notes".parse().unwrap(),
    }
}

pub(crate) fn client(issuer: &str) -> ClientInformation {
    ClientInformation {
        issuer: issuer.into(),
        client_id: "client-1".into(),
        client_secret: None,
        token_endpoint_auth_method: None,
        redirect_uri: None,
        origin: ClientOrigin::Dynamic,
        secret_expires_at: None,
    }
}
