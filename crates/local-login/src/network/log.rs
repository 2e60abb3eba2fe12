//! `--verbose`: tells every exchange, and no secret.
//!
//! Values are shown for parameters that are known to be harmless, and for no others. What was sent as a secret, or came
//! back as one, is blotted out wherever it turns up again: servers repeat codes and tokens in their error texts.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorward_client::text::shown;
use doorward_types::secret::Secret;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, StatusCode};
use url::{Url, form_urlencoded};

/// Parameters whose values are shown.
const HARMLESS: [&str; 18] = [
    "resource",
    "scope",
    "client_id",
    "response_type",
    "response_mode",
    "redirect_uri",
    "iss",
    "error",
    "grant_type",
    "code_challenge_method",
    "token_type_hint",
    "client_assertion_type",
    "subject_token_type",
    "requested_token_type",
    "audience",
    "prompt",
    "application_type",
    "max_age",
];
/// Members of a JSON answer that are secrets.
const SECRET_MEMBERS: [&str; 6] = [
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "registration_access_token",
    "device_code",
];
/// OAuth error codes that are told (RFC 6749, 7591, 8628, 8693, 8707, 9449, 6750).
const ERROR_CODES: [&str; 24] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "invalid_scope",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "invalid_redirect_uri",
    "invalid_client_metadata",
    "invalid_software_statement",
    "unapproved_software_statement",
    "authorization_pending",
    "slow_down",
    "expired_token",
    "invalid_target",
    "use_dpop_nonce",
    "invalid_dpop_proof",
    "invalid_token",
    "insufficient_scope",
    "unsupported_token_type",
    "interaction_required",
];
/// Shorter than this nothing is blotted out: it would be found in every word.
const SHORTEST: usize = 8;
/// Secrets that are remembered.
const REMEMBERED: usize = 256;
/// What stands where a value was.
const BLOT: &str = "…";

/// One request, as it was sent.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// Which step it belongs to.
    pub label: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The whole URL.
    pub url: &'a Url,
    /// The headers, credentials included: none of them is shown.
    pub sent: &'a HeaderMap,
    /// The body, if it is text.
    pub body: Option<&'a str>,
}

/// One answer.
#[derive(Clone, Copy)]
pub struct Heard<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, or what is there of it.
    pub body: &'a [u8],
}

/// Where exchanges are told.
pub struct ExchangeLog {
    writer: Mutex<Box<dyn Write + Send>>,
    secrets: Mutex<Vec<Secret>>,
}

impl ExchangeLog {
    /// Tells `writer`, which is never stdout of a program that speaks a protocol there.
    #[must_use]
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self {
            writer: Mutex::new(writer),
            secrets: Mutex::default(),
        }
    }

    /// Tells one exchange: `heard`, or why there was no answer, after `took`.
    pub fn exchange(&self, exchange: &Exchange<'_>, heard: Result<&Heard<'_>, &str>, took: Duration) {
        self.learn(exchange, heard.ok());
        let mut text = format!(
            "> {} {}  ({})\n",
            exchange.method,
            masked(exchange.url),
            exchange.label
        );
        // Writing to a String does not fail.
        if let Some(body) = exchange.body.filter(|body| !body.is_empty()) {
            let _ = writeln!(text, ">   {}", body_told(exchange.sent, body));
        }
        let millis = took.as_millis();
        match heard {
            Err(error) => {
                let _ = writeln!(text, "< no answer after {millis} ms: {}", shown(error));
            }
            Ok(heard) => {
                let _ = writeln!(text, "< {} after {millis} ms", answer_told(heard));
                headers_told(&mut text, exchange.url, heard.headers);
            }
        }
        self.write(&text);
    }

    /// Tells something else, on one line.
    pub fn note(&self, words: &str) {
        self.write(&format!("- {}\n", shown(words)));
    }

    /// Blots this out from now on.
    pub fn hide(&self, secret: &Secret) {
        if secret.expose().len() < SHORTEST {
            return;
        }
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if secrets.contains(secret) {
            return;
        }
        if secrets.len() >= REMEMBERED {
            secrets.remove(0);
        }
        secrets.push(secret.clone());
    }

    fn learn(&self, exchange: &Exchange<'_>, heard: Option<&Heard<'_>>) {
        let hide = |text: &str| self.hide(&Secret::new(text));
        for (name, value) in exchange.sent {
            let known = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) || name == "dpop";
            if (known || value.is_sensitive())
                && let Ok(value) = value.to_str()
            {
                hide(value);
                hide(value.rsplit(' ').next().unwrap_or_default());
            }
        }
        let form = exchange
            .body
            .filter(|_| is_form(exchange.sent))
            .unwrap_or_default();
        let queries = [exchange.url.query().unwrap_or_default(), form];
        for pair in queries.iter().flat_map(|query| query.split('&')) {
            let raw = pair.split_once('=').map_or("", |(_, raw)| raw);
            for (name, value) in form_urlencoded::parse(pair.as_bytes()) {
                if !HARMLESS.contains(&&*name) {
                    hide(&value);
                    hide(raw);
                }
            }
        }
        if let Some(heard) = heard
            && let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(heard.body)
        {
            for name in SECRET_MEMBERS {
                if let Some(value) = members.get(name).and_then(serde_json::Value::as_str) {
                    hide(value);
                }
            }
        }
    }

    fn write(&self, text: &str) {
        let mut text = text.to_owned();
        {
            let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
            for secret in secrets.iter() {
                if text.contains(secret.expose()) {
                    text = text.replace(secret.expose(), BLOT);
                }
            }
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A terminal that is gone must not end a login.
        let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    }
}

/// A URL without what may be secret in it: a user name, values of parameters that are not known to be harmless, parts of the path
/// that look like keys, the fragment.
#[must_use]
pub fn masked(url: &Url) -> String {
    let Some(host) = url.host_str() else {
        return format!("{}:{BLOT}", url.scheme());
    };
    let mut out = format!("{}://{host}", url.scheme());
    // Writing to a String does not fail.
    if let Some(port) = url.port() {
        let _ = write!(out, ":{port}");
    }
    for segment in url.path().split('/').skip(1) {
        let _ = write!(out, "/{}", if looks_like_key(segment) { BLOT } else { segment });
    }
    if let Some(query) = url.query() {
        let _ = write!(out, "?{}", parameters_told(query));
    }
    out
}

/// Some servers take their key in the path.
fn looks_like_key(segment: &str) -> bool {
    let plain = segment
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.~=%".contains(&b));
    segment.len() >= 20 && plain && segment.bytes().any(|b| b.is_ascii_digit())
}

fn parameters_told(query: &str) -> String {
    let told = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| {
        let name = shown(&name);
        if !HARMLESS.contains(&name.as_str()) {
            return format!("{name}={BLOT}");
        }
        // These may have a query of their own.
        match Url::parse(&value) {
            Ok(url) if value.contains("://") => format!("{name}={}", masked(&url)),
            _ => format!("{name}={}", shown(&value)),
        }
    });
    told.collect::<Vec<_>>().join("&")
}

fn body_told(headers: &HeaderMap, body: &str) -> String {
    if is_form(headers) {
        return parameters_told(body);
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    format!("{} ({} bytes)", shown(kind.unwrap_or("a body")), body.len())
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| {
        kind.to_ascii_lowercase()
            .starts_with("application/x-www-form-urlencoded")
    })
}

/// The status, the type of the content, and the error code of OAuth, if it is one.
fn answer_told(heard: &Heard<'_>) -> String {
    let mut out = heard.status.as_u16().to_string();
    if let Some(kind) = heard.headers.get(CONTENT_TYPE) {
        let _ = write!(out, " {}", shown(&String::from_utf8_lossy(kind.as_bytes())));
    }
    let _ = write!(out, ", {} bytes", heard.body.len());
    if (heard.status.is_client_error() || heard.status.is_server_error())
        && let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(heard.body)
        && let Some(code) = members.get("error").and_then(serde_json::Value::as_str)
        && ERROR_CODES.contains(&code)
    {
        let _ = write!(out, ", error {code}");
    }
    out
}

fn headers_told(text: &mut String, asked: &Url, headers: &HeaderMap) {
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let _ = writeln!(
            text,
            "<   www-authenticate: {}",
            shown(&String::from_utf8_lossy(value.as_bytes()))
        );
    }
    if let Some(value) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) {
        let told = asked
            .join(value)
            .map_or_else(|_| BLOT.to_owned(), |url| masked(&url));
        let _ = writeln!(text, "<   location: {told} (not followed)");
    }
    if let Some(value) = headers.get(RETRY_AFTER) {
        let _ = writeln!(
            text,
            "<   retry-after: {}",
            shown(&String::from_utf8_lossy(value.as_bytes()))
        );
    }
}

#[cfg(test)]
mod tests;
