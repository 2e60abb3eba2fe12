//! What an authorization server says, read strictly: introspection answers and its metadata.

use doorward_jose::parse_object;
use doorward_types::id::{ClientId, Tenant};
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde_json::{Map, Value};

use crate::access_token::TokenFacts;
use crate::claims::{is_only_audience, scopes};
use crate::verify::TokenRefusal;

/// The facts of an introspection answer (RFC 7662 §2.2) of `issuer` about a token for `resource`.
///
/// The RFC leaves nearly every member to choice; here one must say whose the token is, for what, and how long. An
/// answer that cannot be read says nothing about the token: [`TokenRefusal::Blind`].
pub fn introspected(
    body: &[u8],
    issuer: &Issuer,
    resource: &ResourceUri,
) -> Result<TokenFacts, TokenRefusal> {
    let answer = parse_object(body).map_err(|_| TokenRefusal::Blind)?;
    match answer.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(TokenRefusal::Inactive),
        _ => return Err(TokenRefusal::Blind),
    }
    if text(&answer, "iss")?.is_some_and(|named| named != issuer.as_str()) {
        return Err(TokenRefusal::WrongIssuer);
    }
    if !is_only_audience(&answer, resource) {
        return Err(TokenRefusal::WrongAudience);
    }
    // Refresh tokens are introspected, too, and say nothing here; other kinds say another word (RFC 6749 §7.1).
    if !required(&answer, "token_type")?.eq_ignore_ascii_case("bearer") {
        return Err(TokenRefusal::WrongType);
    }
    if answer.contains_key("cnf") {
        return Err(TokenRefusal::SenderConstrained);
    }
    let groups = match answer.get("groups") {
        None => Vec::new(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|group| group.as_str().map(Into::into))
            .collect::<Option<_>>()
            .ok_or(TokenRefusal::BadClaim("groups"))?,
        Some(_) => return Err(TokenRefusal::BadClaim("groups")),
    };
    Ok(TokenFacts {
        issuer: issuer.clone(),
        subject: required(&answer, "sub")?.to_owned(),
        client_id: ClientId::new(required(&answer, "client_id")?),
        scopes: scopes(text(&answer, "scope")?)?,
        groups,
        resource: resource.clone(),
        token_id: text(&answer, "jti")?.map(Into::into),
        issued: time(&answer, "iat")?,
        not_before: time(&answer, "nbf")?,
        expires: time(&answer, "exp")?.ok_or(TokenRefusal::MissingClaim("exp"))?,
        authenticated: time(&answer, "auth_time")?,
        tenant: text(&answer, "tenant")?.map(Tenant::new),
        claims: answer,
    })
}

/// Why a metadata document says nothing to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataProblem {
    /// Not a JSON object with unique keys.
    #[error("the metadata is no JSON object")]
    NotAnObject,
    /// Somebody else's (RFC 8414 §3.3).
    #[error("the metadata is another issuer's")]
    WrongIssuer,
    /// Without `jwks_uri`.
    #[error("the metadata names no `jwks_uri`")]
    NoKeys,
}

/// The `jwks_uri` that the metadata of `issuer` names (RFC 8414 §2). What may be fetched is the fetcher's to judge.
pub fn jwks_uri(body: &[u8], issuer: &Issuer) -> Result<String, MetadataProblem> {
    let metadata = parse_object(body).map_err(|_| MetadataProblem::NotAnObject)?;
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
        return Err(MetadataProblem::WrongIssuer);
    }
    match metadata.get("jwks_uri") {
        Some(Value::String(url)) => Ok(url.clone()),
        _ => Err(MetadataProblem::NoKeys),
    }
}

/// Where the metadata of `issuer` can be: RFC 8414 §3.1 first, then OpenID Connect Discovery in both places that are in
/// use.
#[must_use]
pub fn metadata_urls(issuer: &Issuer) -> Vec<String> {
    let text = issuer.as_str();
    let authority = text.find("://").map_or(0, |at| at + 3);
    let path = text
        .get(authority..)
        .and_then(|rest| rest.find('/'))
        .map_or(text.len(), |at| authority + at);
    let (origin, path) = text.split_at(path);
    let path = path.trim_end_matches('/');
    let mut urls = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        urls.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    urls
}

fn text<'a>(answer: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, TokenRefusal> {
    match answer.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenRefusal::BadClaim(name)),
    }
}

fn required<'a>(answer: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, TokenRefusal> {
    match text(answer, name)? {
        None => Err(TokenRefusal::MissingClaim(name)),
        Some("") => Err(TokenRefusal::BadClaim(name)),
        Some(text) => Ok(text),
    }
}

fn time(answer: &Map<String, Value>, name: &'static str) -> Result<Option<UnixTime>, TokenRefusal> {
    match answer.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(seconds) if seconds >= 0 => Ok(Some(UnixTime::from_seconds(seconds))),
            _ => Err(TokenRefusal::BadClaim(name)),
        },
    }
}
