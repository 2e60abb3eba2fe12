//! How a client comes to its id (G1 to G14; RFC 7591, client id metadata documents).

use doorward_oauth::client_metadata::ClientIdUrl;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use crate::client_auth::Method;
use crate::document::Document;
use crate::error::{Error, Hop, Refusal};
use crate::http::{HttpRequest, HttpResponse, NamedBy};
use crate::machine::{Answer, Machine, Step, reached};
use crate::named_url::UrlPolicy;
use crate::provider::{ClientInformation, ClientOrigin};
use crate::server_metadata::ServerMetadata;
use crate::text::shown;
use crate::token::failure;

const RULE: (&str, &str) = ("G11", "RFC 7591 §3.2.1");
/// The longest client id or secret that is kept, in bytes.
const MAX_CREDENTIAL: usize = 4096;

/// Credentials that an operator gave out and a user typed (G10).
#[derive(Clone, Debug)]
pub struct PreRegistered {
    /// The client id.
    pub client_id: String,
    /// Its secret, if it has one.
    pub client_secret: Option<Secret>,
    /// How it authenticates, if the operator said.
    pub token_endpoint_auth_method: Option<String>,
    /// The authorization server that gave it out, if the user says so. Else it belongs to the first one it is used with.
    pub issuer: Option<String>,
}

/// What an application is, for those who ask.
#[derive(Clone, Debug)]
pub struct Application {
    /// `client_name`, which people see when they are asked for consent.
    pub client_name: String,
    /// `client_uri`.
    pub client_uri: Option<Url>,
    /// `software_id`.
    pub software_id: Option<String>,
    /// `software_version`.
    pub software_version: Option<String>,
    /// The URL of its client id metadata document, if it has one (G3).
    pub client_metadata_url: Option<String>,
    /// What its user was given by an operator.
    pub pre_registered: Option<PreRegistered>,
    /// Whether it may register itself (RFC 7591).
    pub may_register: bool,
}

/// What is done about a client id.
#[derive(Debug)]
pub enum Registration {
    /// There is one.
    Client(ClientInformation),
    /// It is asked for.
    Register(Box<Register>),
}

/// What is kept about clients by the time one is chosen.
#[derive(Debug, Default)]
pub struct Kept {
    /// The client that is kept for this authorization server.
    pub client: Option<ClientInformation>,
    /// The issuer that the pre-registered client id was used with before, whichever that is (CL-08).
    pub pinned_to: Option<String>,
}

/// Chooses in the order of the specification (G1): pre-registered, metadata document, what was registered before, dynamic
/// registration, the user.
pub fn choose(
    server: &ServerMetadata,
    application: &Application,
    kept: Kept,
    redirect_uri: &str,
    now: UnixTime,
) -> Result<Registration, Error> {
    if let Some(given) = &application.pre_registered {
        return pre_registered(server, given, kept.pinned_to.as_deref()).map(Registration::Client);
    }
    let kept = kept.client.filter(|kept| kept.issuer == server.issuer);
    if let Some(kept) = kept
        .as_ref()
        .filter(|kept| kept.origin == ClientOrigin::PreRegistered)
    {
        return Ok(Registration::Client(kept.clone()));
    }
    if let (Some(url), true) = (
        &application.client_metadata_url,
        server.client_id_metadata_document_supported,
    ) {
        return metadata_document(server, url).map(Registration::Client);
    }
    if let Some(kept) = kept.filter(|kept| is_usable(kept, redirect_uri, now)) {
        return Ok(Registration::Client(kept));
    }
    match &server.registration_endpoint {
        Some(endpoint) if application.may_register => Ok(Registration::Register(Box::new(Register::new(
            server,
            endpoint,
            application,
            redirect_uri,
        )))),
        _ => Err(ask_the_user(server, application)),
    }
}

/// Whether a registration that is kept does for a request with `redirect_uri`. Exact comparison, because that is what some
/// servers do with ports, too.
fn is_usable(kept: &ClientInformation, redirect_uri: &str, now: UnixTime) -> bool {
    kept.origin == ClientOrigin::Dynamic
        && kept
            .redirect_uri
            .as_deref()
            .is_none_or(|registered| registered == redirect_uri)
        && kept.secret_expires_at.is_none_or(|end| now < end)
}

/// A secret is shown to nobody but the authorization server that gave it out (G13, G14, CL-08).
fn pre_registered(
    server: &ServerMetadata,
    given: &PreRegistered,
    pinned_to: Option<&str>,
) -> Result<ClientInformation, Error> {
    if let Some(issuer) = given
        .issuer
        .as_deref()
        .or(pinned_to)
        .filter(|issuer| *issuer != server.issuer)
    {
        return Err(Refusal::new(
            Hop::ServerMetadata,
            server.document_url(),
            ("G14", "MCP client registration, authorization server binding"),
            format!(
                "the MCP server now names the authorization server \"{}\", but the client id {} belongs to \"{}\"",
                shown(&server.issuer),
                shown(&given.client_id),
                shown(issuer)
            ),
            "ask the MCP server's operator whether the change is meant, and get a client id of the new authorization server; \
             the old one's is not sent there",
        )
        .into());
    }
    Ok(ClientInformation {
        issuer: server.issuer.clone(),
        client_id: given.client_id.clone(),
        client_secret: given.client_secret.clone(),
        token_endpoint_auth_method: given.token_endpoint_auth_method.clone(),
        redirect_uri: None,
        origin: ClientOrigin::PreRegistered,
        secret_expires_at: None,
    })
}

fn metadata_document(server: &ServerMetadata, url: &str) -> Result<ClientInformation, Error> {
    // G3: https, with a path, without what readers could take for different things.
    ClientIdUrl::parse(url).map_err(|why| {
        Error::NeedsUser(format!(
            "the client metadata URL \"{}\" cannot be a client id: {why}",
            shown(url)
        ))
    })?;
    Ok(ClientInformation {
        issuer: server.issuer.clone(),
        client_id: url.into(),
        client_secret: None,
        token_endpoint_auth_method: None,
        redirect_uri: None,
        origin: ClientOrigin::MetadataDocument,
        secret_expires_at: None,
    })
}

fn ask_the_user(server: &ServerMetadata, application: &Application) -> Error {
    let why = match (&server.registration_endpoint, &application.client_metadata_url) {
        (None, Some(_)) => "it takes neither client metadata documents nor registrations",
        (None, None) if server.client_id_metadata_document_supported => {
            "it takes no registrations, and this client was given no URL of a client metadata document"
        }
        (None, None) => "it takes no registrations",
        (Some(_), _) => "this client was told not to register itself",
    };
    Error::NeedsUser(format!(
        "The authorization server {} does not know this client: {why}. Register a client there (or ask its operator for one) \
         and give its client id, and its secret if it has one.",
        shown(&server.issuer)
    ))
}

/// Registers a client (RFC 7591 §3.1).
#[derive(Debug)]
pub struct Register {
    issuer: String,
    endpoint: Url,
    redirect_uri: String,
    metadata: Map<String, Value>,
    /// Methods of authentication that are still to be tried.
    methods: Vec<Method>,
    method: Option<Method>,
    first_error: Option<Error>,
}

impl Register {
    fn new(server: &ServerMetadata, endpoint: &Url, application: &Application, redirect_uri: &str) -> Self {
        let mut methods = methods(server);
        methods.reverse();
        Self {
            issuer: server.issuer.clone(),
            endpoint: endpoint.clone(),
            redirect_uri: redirect_uri.into(),
            metadata: metadata(server, application, redirect_uri),
            methods,
            method: None,
            first_error: None,
        }
    }

    fn request(&self, method: Method) -> HttpRequest {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut metadata = self.metadata.clone();
        metadata.insert("token_endpoint_auth_method".into(), method.name().into());
        HttpRequest {
            method: http::Method::POST,
            url: self.endpoint.clone(),
            named_by: NamedBy::Server,
            headers,
            body: Some(Secret::new(Value::Object(metadata).to_string())),
            hop: Hop::Registration,
        }
    }

    fn read(&self, response: &HttpResponse, asked: Method) -> Result<ClientInformation, Error> {
        if !matches!(response.status, StatusCode::CREATED | StatusCode::OK) {
            return Err(self.explain(failure(Hop::Registration, &self.endpoint, response)));
        }
        let policy = UrlPolicy::strict();
        let refuse = |problem: &str| {
            let remedy = "its operator must answer as RFC 7591 section 3.2.1 says";
            Error::from(Refusal::new(
                Hop::Registration,
                Some(&self.endpoint),
                RULE,
                problem,
                remedy,
            ))
        };
        let document = Document::parse(&response.body, Hop::Registration, &self.endpoint, RULE, &policy)
            .ok_or_else(|| refuse("the answer is not a JSON object with unique keys"))?;
        let client_id = document
            .text("client_id")?
            .filter(|id| is_credential(id))
            .ok_or_else(|| refuse("client_id is missing or holds other characters than printable ASCII"))?;
        let secret = document
            .text("client_secret")?
            .filter(|secret| !secret.is_empty());
        if secret.is_some_and(|secret| !is_credential(secret)) {
            return Err(refuse(
                "client_secret holds other characters than printable ASCII",
            ));
        }
        let registered = document.texts("redirect_uris")?.unwrap_or_default();
        if !registered.is_empty() && !registered.contains(&self.redirect_uri) {
            return Err(Refusal::new(
                Hop::Registration,
                Some(&self.endpoint),
                ("S8", "RFC 7591 §3.2.1; OAuth 2.1 §2.3.1"),
                format!("it registered other redirect URIs than {}, which was asked for", self.redirect_uri),
                "its operator must register redirect URIs as they are sent, or refuse them with invalid_redirect_uri",
            )
            .into());
        }
        let method = document.text("token_endpoint_auth_method")?.map(str::to_owned);
        // Not told, and no secret came: then it is what was asked for.
        let method = method.or_else(|| secret.is_none().then(|| asked.name().to_owned()));
        Ok(ClientInformation {
            issuer: self.issuer.clone(),
            client_id: client_id.into(),
            client_secret: secret.map(Secret::new),
            token_endpoint_auth_method: method
                .filter(|method| method != Method::None.name() || secret.is_none()),
            redirect_uri: Some(self.redirect_uri.clone()),
            origin: ClientOrigin::Dynamic,
            secret_expires_at: document
                .whole_number("client_secret_expires_at")?
                .filter(|seconds| *seconds != 0)
                .map(|seconds| UnixTime::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))),
        })
    }

    /// G12: what a refusal because of the redirect URI means for whoever reads it.
    fn explain(&self, error: Error) -> Error {
        let Error::Answered {
            code, description, ..
        } = &error
        else {
            return error;
        };
        if code != "invalid_redirect_uri" {
            return error;
        }
        let said = description
            .as_ref()
            .map(|text| format!(" (\"{text}\")"))
            .unwrap_or_default();
        Refusal::new(
            Hop::Registration,
            Some(&self.endpoint),
            ("G12", "MCP client registration, application type and redirect URI constraints"),
            format!("it does not register the redirect URI {}{said}", self.redirect_uri),
            "its operator must allow loopback redirect URIs for native applications (RFC 8252 section 7.3); or use another \
             callback host or port that it allows, or a client id that was registered there by hand",
        )
        .into()
    }
}

impl Machine for Register {
    type Output = ClientInformation;

    fn resume(&mut self, answer: Option<Answer>) -> Result<Step<ClientInformation>, Error> {
        if let (Some(asked), Some(answer)) = (self.method.take(), answer) {
            let response = reached(answer, Hop::Registration, &self.endpoint)?;
            match self.read(&response, asked) {
                Ok(client) => return Ok(Step::Done(client)),
                // G12: adjusted and tried again, if something else is possible.
                Err(error @ Error::Answered { .. })
                    if is_about_metadata(&error) && !self.methods.is_empty() =>
                {
                    self.first_error.get_or_insert(error);
                }
                Err(error) => return Err(self.first_error.take().unwrap_or(error)),
            }
        }
        match self.methods.pop() {
            Some(method) => {
                self.method = Some(method);
                Ok(Step::Send(Box::new(self.request(method))))
            }
            None => Err(self
                .first_error
                .take()
                .unwrap_or_else(|| unregistrable(&self.endpoint))),
        }
    }
}

fn is_about_metadata(error: &Error) -> bool {
    matches!(error, Error::Answered { code, .. } if code == "invalid_client_metadata")
}

/// What is asked for, best first: a public client if the server has those, because a secret on a user's machine proves nothing
/// (RFC 8252 §8.5). A list that is not there says `client_secret_basic` (RFC 8414 §2), which not every server means.
fn methods(server: &ServerMetadata) -> Vec<Method> {
    match &server.token_endpoint_auth_methods_supported {
        None => vec![Method::None, Method::ClientSecretBasic],
        Some(listed) => [Method::None, Method::ClientSecretBasic, Method::ClientSecretPost]
            .into_iter()
            .filter(|method| listed.iter().any(|name| name == method.name()))
            .collect(),
    }
}

/// The metadata of RFC 7591 §2. No `scope`: a client that names some may be held to them when a call needs more.
fn metadata(server: &ServerMetadata, application: &Application, redirect_uri: &str) -> Map<String, Value> {
    let mut metadata = Map::new();
    let mut set = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
    set("client_name", json!(application.client_name));
    set("redirect_uris", json!([redirect_uri]));
    let mut grants = vec!["authorization_code", "refresh_token"];
    // One registration serves every way in which its user may log in later.
    let listed = server.grant_types_supported.as_deref().unwrap_or_default();
    if listed.iter().any(|name| name == crate::device::GRANT_TYPE) {
        grants.push(crate::device::GRANT_TYPE);
    }
    set("grant_types", json!(grants));
    set("response_types", json!(["code"]));
    set("application_type", json!(application_type(redirect_uri)));
    for (name, value) in [
        ("client_uri", application.client_uri.as_ref().map(Url::as_str)),
        ("software_id", application.software_id.as_deref()),
        ("software_version", application.software_version.as_deref()),
    ] {
        if let Some(value) = value {
            set(name, json!(value));
        }
    }
    metadata
}

/// G11: `web` for a redirect to a web site, `native` for this machine and for apps.
fn application_type(redirect_uri: &str) -> &'static str {
    match Url::parse(redirect_uri) {
        Ok(url) if url.scheme() == "https" && !doorward_types::url::is_loopback(&url) => "web",
        _ => "native",
    }
}

fn is_credential(text: &str) -> bool {
    (1..=MAX_CREDENTIAL).contains(&text.len()) && text.bytes().all(|b| matches!(b, 0x20..=0x7e))
}

fn unregistrable(endpoint: &Url) -> Error {
    Refusal::new(
        Hop::Registration,
        Some(endpoint),
        ("G12", "RFC 8414 §2; RFC 7591 §2"),
        "token_endpoint_auth_methods_supported lists no method that a client can register for by itself",
        "its operator must list none, client_secret_basic or client_secret_post; or use a client id that was registered there \
         by hand",
    )
    .into()
}

#[cfg(test)]
mod tests;
