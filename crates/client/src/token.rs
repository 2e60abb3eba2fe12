//! Token requests and responses (RFC 6749 §4.1.3, §5 and §6; RFC 8707 §2.2; RFC 9449 §5).

use std::time::Duration;

use doorward_jose::parse_object;
use doorward_types::scope::{Scope, ScopeSet};
use doorward_types::secret::Secret;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use crate::challenge::is_error_code;
use crate::client_auth::ClientAuthentication;
use crate::error::{Error, Hop, Refusal};
use crate::http::{HttpRequest, HttpResponse, NamedBy, TransportError};
use crate::text::shown;

/// The longest token that is kept, in bytes.
const MAX_TOKEN: usize = 32 * 1024;
/// The codes that ask for something, with whichever status they come.
const WAITS: [&str; 3] = ["authorization_pending", "slow_down", "use_dpop_nonce"];
/// The longest `scope` that is kept, in bytes.
const MAX_SCOPE: usize = 4096;

/// A form that goes to a token endpoint, or to one that is talked to in the same way (revocation, device authorization).
#[derive(Clone, Debug)]
pub struct TokenRequest {
    url: Url,
    hop: Hop,
    named_by: NamedBy,
    form: Vec<(String, Secret)>,
    headers: HeaderMap,
}

impl TokenRequest {
    /// A request for `grant_type` at `token_endpoint`, which a server named.
    #[must_use]
    pub fn new(token_endpoint: &Url, grant_type: &str) -> Self {
        Self::form(token_endpoint, Hop::Token).with("grant_type", grant_type)
    }

    /// An empty form to `url`, which a server named.
    #[must_use]
    pub fn form(url: &Url, hop: Hop) -> Self {
        Self {
            url: url.clone(),
            hop,
            named_by: NamedBy::Server,
            form: Vec::new(),
            headers: HeaderMap::new(),
        }
    }

    /// The URL was written down by the user (an identity provider in the configuration).
    #[must_use]
    pub fn named_by_user(mut self) -> Self {
        self.named_by = NamedBy::User;
        self
    }

    /// With another step's name, for messages.
    #[must_use]
    pub fn at(mut self, hop: Hop) -> Self {
        self.hop = hop;
        self
    }

    /// With a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.form.push((name.into(), Secret::new(value)));
        self
    }

    /// With a parameter that is a secret.
    #[must_use]
    pub fn with_secret(mut self, name: &str, value: &Secret) -> Self {
        self.form.push((name.into(), value.clone()));
        self
    }

    /// With the scopes; nothing if there are none.
    #[must_use]
    pub fn with_scope(self, scope: &ScopeSet) -> Self {
        if scope.is_empty() {
            self
        } else {
            self.with("scope", &scope.to_string())
        }
    }

    /// With a header. Values that are credentials are marked sensitive by who makes them.
    #[must_use]
    pub fn with_header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With the client's authentication.
    #[must_use]
    pub fn authenticated(mut self, client: &ClientAuthentication) -> Self {
        if let Some(header) = client.header() {
            self.headers.insert(AUTHORIZATION, header);
        }
        for (name, value) in client.parameters() {
            self.form.push((name.into(), value));
        }
        self
    }

    /// Where it goes.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Which step it is of.
    #[must_use]
    pub const fn hop(&self) -> Hop {
        self.hop
    }

    /// The request to send.
    #[must_use]
    pub fn build(&self) -> HttpRequest {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.form {
            body.append_pair(name, value.expose());
        }
        let mut headers = self.headers.clone();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        HttpRequest {
            method: Method::POST,
            url: self.url.clone(),
            named_by: self.named_by,
            headers,
            body: Some(Secret::new(body.finish())),
            hop: self.hop,
        }
    }
}

/// A successful answer of a token endpoint (RFC 6749 §5.1).
#[derive(Clone, Debug)]
pub struct TokenResponse {
    /// `access_token`.
    pub access_token: Secret,
    /// Whether `token_type` is `DPoP` and not `Bearer`.
    pub dpop: bool,
    /// `token_type` was `N_A`: the token is not an access token (RFC 8693 §2.2.1).
    pub not_applicable: bool,
    /// `expires_in`, if it was told.
    pub expires_in: Option<Duration>,
    /// `refresh_token`.
    pub refresh_token: Option<Secret>,
    /// `scope`; `None` means: as asked (RFC 6749 §5.1).
    pub scope: Option<ScopeSet>,
    /// `issued_token_type` (RFC 8693 §2.2.1).
    pub issued_token_type: Option<String>,
    /// `id_token` (OpenID Connect), unread.
    pub id_token: Option<Secret>,
}

/// Reads the answer to a request of step `hop` to `url`: a token, or the error that the server tells (RFC 6749 §5.2).
pub fn process(hop: Hop, url: &Url, response: &HttpResponse) -> Result<TokenResponse, Error> {
    if response.status != StatusCode::OK {
        return Err(failure(hop, url, response));
    }
    let Ok(object) = parse_object(&response.body) else {
        return Err(broken(
            hop,
            url,
            "the answer is not a JSON object with unique keys",
        ));
    };
    let answer = Answer {
        object: &object,
        hop,
        url,
    };
    let access_token = answer
        .token("access_token")?
        .ok_or_else(|| broken(hop, url, "access_token is missing"))?;
    let kind = answer.text("token_type")?.unwrap_or_default();
    let dpop = kind.eq_ignore_ascii_case("DPoP");
    let not_applicable = kind.eq_ignore_ascii_case("N_A");
    if !dpop && !not_applicable && !kind.eq_ignore_ascii_case("Bearer") {
        return Err(Refusal::new(
            hop,
            Some(url),
            ("A22", "RFC 6749 §7.1"),
            format!(
                "token_type is \"{}\", and a client must not use what it does not know",
                shown(kind)
            ),
            "its operator must issue tokens of type Bearer or DPoP",
        )
        .into());
    }
    Ok(TokenResponse {
        access_token,
        dpop,
        not_applicable,
        expires_in: expires_in(&object),
        refresh_token: answer.token("refresh_token")?,
        scope: answer.scope()?,
        issued_token_type: answer.text("issued_token_type")?.map(str::to_owned),
        id_token: answer.token("id_token")?,
    })
}

struct Answer<'a> {
    object: &'a Map<String, Value>,
    hop: Hop,
    url: &'a Url,
}

impl<'a> Answer<'a> {
    fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.object.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(broken(self.hop, self.url, &format!("{name} is not a string"))),
        }
    }

    /// A token goes into headers and forms later: printable ASCII (RFC 6749 appendix A.12).
    fn token(&self, name: &str) -> Result<Option<Secret>, Error> {
        match self.text(name)? {
            None | Some("") => Ok(None),
            Some(text) if text.len() <= MAX_TOKEN && text.bytes().all(|b| matches!(b, 0x20..=0x7e)) => {
                Ok(Some(Secret::new(text)))
            }
            Some(_) => Err(broken(
                self.hop,
                self.url,
                &format!("{name} is longer than 32 KiB or holds other characters than printable ASCII"),
            )),
        }
    }

    fn scope(&self) -> Result<Option<ScopeSet>, Error> {
        let Some(text) = self.text("scope")? else {
            return Ok(None);
        };
        if text.len() > MAX_SCOPE {
            return Err(broken(self.hop, self.url, "scope is longer than 4096 bytes"));
        }
        text.split_ascii_whitespace()
            .map(str::parse::<Scope>)
            .collect::<Result<ScopeSet, _>>()
            .map(Some)
            .map_err(|_| broken(self.hop, self.url, "scope is not a list of scopes"))
    }
}

/// Seconds, as a number or (as some servers write it) as digits in a string. Anything else is the same as not told.
fn expires_in(object: &Map<String, Value>) -> Option<Duration> {
    let seconds = match object.get("expires_in")? {
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().and_then(whole_seconds))?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    // Ten years are for ever, and no sum overflows.
    Some(Duration::from_secs(seconds.min(315_360_000)))
}

fn whole_seconds(seconds: f64) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    Some(duration.as_secs())
}

/// What an answer that is not a success says (RFC 6749 §5.2, RFC 7591 §3.2.2). A server or gateway in trouble says nothing about
/// grants and clients, whatever code stands in its answer: that must cost nobody the login.
pub(crate) fn failure(hop: Hop, url: &Url, response: &HttpResponse) -> Error {
    if response.status.is_redirection() {
        return broken(
            hop,
            url,
            &format!(
                "the answer is a redirect ({}), which is never followed",
                response.status
            ),
        );
    }
    let object = parse_object(&response.body).unwrap_or_default();
    let member = |name: &str| object.get(name).and_then(Value::as_str);
    let code = member("error").filter(|code| is_error_code(code));
    let in_trouble = response.status.is_server_error()
        || matches!(
            response.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    if in_trouble && !code.is_some_and(|code| WAITS.contains(&code)) {
        let code = code.map(|code| format!(" ({})", shown(code))).unwrap_or_default();
        return Error::Unreachable {
            hop,
            url: Box::new(url.clone()),
            source: TransportError::Failed(format!("it answered {}{code}; try again later", response.status)),
        };
    }
    match code {
        Some(code) if !response.status.is_success() => Error::Answered {
            hop,
            code: code.into(),
            description: member("error_description").map(shown),
        },
        _ => broken(
            hop,
            url,
            &format!("the answer is {}, without an OAuth error", response.status),
        ),
    }
}

pub(crate) fn broken(hop: Hop, url: &Url, problem: &str) -> Error {
    Refusal::new(
        hop,
        Some(url),
        ("A2", "RFC 6749 §5"),
        problem,
        "its operator must answer as RFC 6749 section 5 says: 200 with a JSON object, or 400 with an error code",
    )
    .into()
}

#[cfg(test)]
mod tests;
