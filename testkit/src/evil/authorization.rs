//! The authorization server: everybody who asks properly is let in at once.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::Url;

use super::book::{Book, Client, Grant};
use super::{AUTHORIZE, REGISTER, REVOKE, TOKEN, World, form, lock, query};
use crate::random_text;
use crate::upstream::{Answer, Recorded};

impl World {
    pub(super) fn server_metadata(&self) -> Value {
        let base = self.base();
        let at = |path: &str| format!("{base}{path}");
        json!({
            "issuer": base,
            "authorization_endpoint": at(AUTHORIZE),
            "token_endpoint": at(TOKEN),
            "registration_endpoint": at(REGISTER),
            "revocation_endpoint": at(REVOKE),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "scopes_supported": ["t:read", "t:write"],
        })
    }

    pub(super) fn register(&self, request: &Recorded) -> Answer {
        let mut metadata = request.json();
        let redirects: Option<Vec<String>> = serde_json::from_value(metadata["redirect_uris"].clone()).ok();
        let Some(redirects) = redirects.filter(|redirects| !redirects.is_empty()) else {
            return refuse("invalid_redirect_uri", "redirect_uris");
        };
        let id = format!("client_{}", random_text());
        let mut book = lock(&self.book);
        metadata["client_id"] = json!(id);
        let method = metadata["token_endpoint_auth_method"]
            .as_str()
            .unwrap_or("client_secret_basic");
        let secret = (method != "none").then(|| format!("secret_{}", random_text()));
        if let Some(secret) = &secret {
            book.secrets.add("client secret", secret);
            metadata["client_secret"] = json!(secret);
            metadata["client_secret_expires_at"] = json!(0);
        }
        book.clients.insert(
            id,
            Client {
                secret,
                redirects: Some(redirects),
            },
        );
        Answer::new(201, "application/json", metadata.to_string()).header("Cache-Control", "no-store")
    }

    pub(super) fn authorize(&self, request: &Recorded) -> Answer {
        let asked = query(&request.target());
        match self.allow(&asked) {
            Ok(location) => Answer::empty(302).header("Location", &location),
            Err(why) => {
                lock(&self.book).complaints.push(why.clone());
                Answer::new(400, "text/plain", why)
            }
        }
    }

    fn allow(&self, asked: &std::collections::BTreeMap<String, String>) -> Result<String, String> {
        let get = |name: &str| asked.get(name).cloned().ok_or_else(|| format!("no {name}"));
        let (client, redirect_uri) = (get("client_id")?, get("redirect_uri")?);
        let mut book = lock(&self.book);
        let known = book.clients.get(&client).ok_or("an unknown client")?;
        match &known.redirects {
            Some(redirects) if !redirects.contains(&redirect_uri) => {
                return Err(format!("{redirect_uri} is not among {redirects:?}"));
            }
            _ => {}
        }
        if get("response_type")? != "code" || get("code_challenge_method")? != "S256" {
            return Err("not a code with S256".into());
        }
        let resource = get("resource")?;
        let challenge = get("code_challenge")?;
        let scope = words(asked.get("scope").map_or("t:read", String::as_str));
        let code = book.code(Grant {
            client,
            redirect_uri: redirect_uri.clone(),
            challenge,
            resource,
            scope,
        });
        let mut back = Url::parse(&redirect_uri).map_err(|error| error.to_string())?;
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("iss", self.base());
        if let Some(state) = asked.get("state") {
            back.query_pairs_mut().append_pair("state", state);
        }
        Ok(back.into())
    }

    pub(super) fn token(&self, request: &Recorded) -> Answer {
        let asked = form(&request.body);
        let mut book = lock(&self.book);
        let outcome = match asked.get("grant_type").map(String::as_str) {
            Some("authorization_code") => redeem(&mut book, request, &asked),
            Some("refresh_token") => refresh(&mut book, request, &asked),
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => assertion(&book, request, &asked),
            _ => Err(("unsupported_grant_type", "grant_type".to_owned())),
        };
        match outcome {
            Ok(grant) => {
                let issued = book.issue(&grant);
                let scope: Vec<_> = grant.scope.iter().map(String::as_str).collect();
                Answer::json(&json!({ "access_token": issued.access, "token_type": "Bearer",
                    "expires_in": book.expires_in, "refresh_token": issued.refresh, "scope": scope.join(" ") }))
                .header("Cache-Control", "no-store")
            }
            Err((code, why)) => {
                book.complaints.push(format!("{code}: {why}"));
                refuse(code, &why)
            }
        }
    }

    pub(super) fn revoke(&self, request: &Recorded) -> Answer {
        let asked = form(&request.body);
        if let Some(token) = asked.get("token") {
            lock(&self.book).revoke(token);
        }
        Answer::empty(200)
    }
}

type Asked = std::collections::BTreeMap<String, String>;
type Outcome = Result<Grant, (&'static str, String)>;

fn redeem(book: &mut Book, request: &Recorded, asked: &Asked) -> Outcome {
    let client = authenticate(book, request, asked)?;
    let grant = asked
        .get("code")
        .and_then(|code| book.redeem(code))
        .ok_or(("invalid_grant", "an unknown or used code".to_owned()))?;
    let verifier = asked.get("code_verifier").cloned().unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    for (name, have, want) in [
        ("client_id", &client, &grant.client),
        ("code_verifier", &challenge, &grant.challenge),
        (
            "redirect_uri",
            asked.get("redirect_uri").unwrap_or(&client),
            &grant.redirect_uri,
        ),
        (
            "resource",
            asked.get("resource").unwrap_or(&client),
            &grant.resource,
        ),
    ] {
        if have != want {
            return Err(("invalid_grant", format!("{name}: {have} is not {want}")));
        }
    }
    Ok(grant)
}

fn refresh(book: &mut Book, request: &Recorded, asked: &Asked) -> Outcome {
    let client = authenticate(book, request, asked)?;
    let grant = asked
        .get("refresh_token")
        .and_then(|token| book.rotate(token))
        .ok_or(("invalid_grant", "an unknown or used refresh token".to_owned()))?;
    if grant.client != client || asked.get("resource").is_some_and(|have| *have != grant.resource) {
        return Err((
            "invalid_grant",
            "another client's or another resource's".to_owned(),
        ));
    }
    Ok(grant)
}

/// RFC 7523 with an ID-JAG of the identity provider that is trusted.
fn assertion(book: &Book, request: &Recorded, asked: &Asked) -> Outcome {
    let client = authenticate(book, request, asked)?;
    let text = asked.get("assertion").cloned().unwrap_or_default();
    let known = book.id_jags.as_ref().is_some_and(|id_jags| id_jags.take(&text));
    let resource = asked.get("resource").cloned().filter(|_| known);
    Ok(Grant {
        client,
        redirect_uri: String::new(),
        challenge: String::new(),
        resource: resource.ok_or((
            "invalid_grant",
            "no assertion of the identity provider".to_owned(),
        ))?,
        scope: words(asked.get("scope").map_or("t:read", String::as_str)),
    })
}

fn authenticate(book: &Book, request: &Recorded, asked: &Asked) -> Result<String, (&'static str, String)> {
    let basic = request.values("authorization").first().and_then(|value| {
        let bytes = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((id.to_owned(), secret.to_owned()))
    });
    let (id, secret) = match basic {
        Some((id, secret)) => (Some(id), Some(secret)),
        None => (
            asked.get("client_id").cloned(),
            asked.get("client_secret").cloned(),
        ),
    };
    let id = id.ok_or(("invalid_client", "no client_id".to_owned()))?;
    let known = book
        .clients
        .get(&id)
        .ok_or_else(|| ("invalid_client", format!("unknown client {id}")))?;
    if known.secret != secret {
        return Err(("invalid_client", "the wrong secret".to_owned()));
    }
    Ok(id)
}

fn refuse(code: &str, why: &str) -> Answer {
    let status = if code == "invalid_client" { 401 } else { 400 };
    let body = json!({ "error": code, "error_description": why });
    Answer::new(status, "application/json", body.to_string()).header("Cache-Control", "no-store")
}

fn words(scope: &str) -> BTreeSet<String> {
    scope.split_ascii_whitespace().map(str::to_owned).collect()
}
