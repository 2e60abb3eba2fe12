//! What is said to a token endpoint, ours or the peer's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use crate::load::Conversation;

/// The parameters of a token request.
pub(super) type Form = Vec<(String, String)>;

/// A form from literals.
pub(super) fn form(pairs: &[(&str, &str)]) -> Form {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Redeems one code after the other, from a queue that all connections share.
#[derive(Clone)]
pub(super) struct Redeem {
    host: String,
    queue: Arc<Mutex<VecDeque<Form>>>,
    pub(super) refresh_tokens: Vec<String>,
}

impl Redeem {
    pub(super) fn new(host: &str, codes: Vec<Form>) -> Self {
        Self {
            host: host.to_owned(),
            queue: Arc::new(Mutex::new(codes.into())),
            refresh_tokens: Vec::new(),
        }
    }
}

impl Conversation for Redeem {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        let form = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()?;
        Some(request(&self.host, &form, None))
    }

    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()> {
        self.refresh_tokens
            .push(member(status, body, "refresh_token")?.context("a refresh token")?);
        Ok(())
    }
}

/// Refreshes for some time: follows a chain where tokens are rotated, else uses the same one again.
pub(super) struct Refresh {
    pub(super) host: String,
    pub(super) client: String,
    pub(super) resource: String,
    pub(super) token: String,
    pub(super) until: Instant,
}

impl Conversation for Refresh {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        let form = || {
            form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", &self.token),
                ("client_id", &self.client),
                ("resource", &self.resource),
            ])
        };
        (Instant::now() < self.until).then(|| request(&self.host, &form(), None))
    }

    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()> {
        member(status, body, "access_token")?.context("an access token")?;
        if let Some(next) = member(status, body, "refresh_token")? {
            self.token = next;
        }
        Ok(())
    }
}

/// Asks for tokens of its own for some time, with `client_secret_basic`.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) host: String,
    pub(super) resource: String,
    pub(super) authorization: HeaderValue,
    pub(super) until: Instant,
}

impl Conversation for Credentials {
    fn next(&mut self) -> Option<Request<Full<Bytes>>> {
        let form = form(&[("grant_type", "client_credentials"), ("resource", &self.resource)]);
        (Instant::now() < self.until).then(|| request(&self.host, &form, Some(&self.authorization)))
    }

    fn answered(&mut self, status: StatusCode, body: &Bytes) -> Result<()> {
        let token = member(status, body, "access_token")?.context("an access token")?;
        ensure!(token.split('.').count() == 3, "a JWT: {token}");
        Ok(())
    }
}

fn request(host: &str, form: &Form, authorization: Option<&HeaderValue>) -> Request<Full<Bytes>> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/token");
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(host).expect("an address is a header value");
    headers.insert(HOST, host);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form);
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    request
}

fn member(status: StatusCode, body: &Bytes, name: &str) -> Result<Option<String>> {
    ensure!(
        status == StatusCode::OK,
        "{status}: {}",
        String::from_utf8_lossy(body)
    );
    let answer: Value = serde_json::from_slice(body)?;
    Ok(answer[name].as_str().map(str::to_owned))
}
