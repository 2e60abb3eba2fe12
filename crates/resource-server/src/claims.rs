//! The claims of an access token (RFC 9068 §2.2 and ours), read strictly.

use std::str::FromStr;

use doorward_jose::{Claims, VerifiedJws};
use doorward_types::id::{ClientId, FamilyId, Tenant, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde_json::{Map, Value};

use crate::access_token::TokenFacts;
use crate::principal::PrincipalFacts;
use crate::verify::{LEEWAY, TokenRefusal};

/// The type of an access token (RFC 9068 §2.1). No other signed token of any kind has it.
const ACCESS_TOKEN: &str = "at+jwt";

/// What marks an OpenID Connect ID token. Some issuers give every JWT the same `typ`.
const ID_TOKEN_CLAIMS: [&str; 3] = ["nonce", "at_hash", "c_hash"];

/// Everything that does not depend on the time: type, issuer, audience, and the form of every claim.
///
/// `nbf` is returned beside the facts because a principal has no use for it.
pub(crate) fn read(
    token: &VerifiedJws,
    issuer: &Issuer,
    tenant: &Tenant,
    resource: &ResourceUri,
) -> Result<(PrincipalFacts, Option<UnixTime>), TokenRefusal> {
    let claims = of_access_token(token, issuer)?;
    if claims.required_string("aud")? != resource.as_str() {
        return Err(TokenRefusal::WrongAudience);
    }
    refuse_other_kinds(claims)?;
    if claims
        .string("tenant")?
        .is_some_and(|named| named != tenant.as_str())
    {
        return Err(TokenRefusal::WrongTenant);
    }
    let client_id = ClientId::new(filled(claims, "client_id")?);
    let bearer = bearer(claims, &client_id)?;
    let facts = PrincipalFacts {
        subject: bearer.subject,
        username: bearer.username,
        groups: bearer.groups,
        family: bearer.family,
        client_id,
        scopes: claims
            .required_string("scope")?
            .parse()
            .map_err(|_| TokenRefusal::BadClaim("scope"))?,
        client_scopes: client_scopes(claims)?,
        authenticated: bearer.authenticated,
        resource: resource.clone(),
        revocation_sequence: u64::try_from(claims.required_integer("rev")?)
            .map_err(|_| TokenRefusal::BadClaim("rev"))?,
        token_id: id(claims, "jti")?,
        issued: UnixTime::from_seconds(claims.required_integer("iat")?),
        expires: UnixTime::from_seconds(claims.required_integer("exp")?),
        tenant: tenant.clone(),
    };
    Ok((facts, claims.integer("nbf")?.map(UnixTime::from_seconds)))
}

/// The claims of an access token of `issuer` (RFC 9068 §4).
fn of_access_token<'a>(token: &'a VerifiedJws, issuer: &Issuer) -> Result<&'a Claims, TokenRefusal> {
    if !token.is_type(ACCESS_TOKEN) {
        return Err(TokenRefusal::WrongType);
    }
    let claims = token.claims();
    if claims.required_string("iss")? != issuer.as_str() {
        return Err(TokenRefusal::WrongIssuer);
    }
    Ok(claims)
}

/// ID tokens, and tokens that a bearer must not use.
fn refuse_other_kinds(claims: &Claims) -> Result<(), TokenRefusal> {
    if ID_TOKEN_CLAIMS.iter().any(|name| claims.contains(name)) {
        return Err(TokenRefusal::IdToken);
    }
    if claims.contains("cnf") {
        return Err(TokenRefusal::SenderConstrained);
    }
    Ok(())
}

/// The same for access tokens of any issuer (RFC 9068 §2.2, §4), whose subjects and clients have ids of any form.
pub(crate) fn read_generic(
    token: &VerifiedJws,
    issuer: &Issuer,
    resource: &ResourceUri,
) -> Result<TokenFacts, TokenRefusal> {
    let claims = of_access_token(token, issuer)?;
    if !is_only_audience(claims.as_object(), resource) {
        return Err(match claims.contains("aud") {
            true => TokenRefusal::WrongAudience,
            false => TokenRefusal::MissingClaim("aud"),
        });
    }
    refuse_other_kinds(claims)?;
    let time = |name| Ok::<_, TokenRefusal>(UnixTime::from_seconds(claims.required_integer(name)?));
    let optional = |name| Ok::<_, TokenRefusal>(claims.integer(name)?.map(UnixTime::from_seconds));
    Ok(TokenFacts {
        issuer: issuer.clone(),
        subject: filled(claims, "sub")?.to_owned(),
        client_id: ClientId::new(filled(claims, "client_id")?),
        scopes: scopes(claims.string("scope")?)?,
        groups: texts(claims.strings("groups")?),
        resource: resource.clone(),
        token_id: Some(filled(claims, "jti")?.to_owned()),
        issued: Some(time("iat")?),
        not_before: optional("nbf")?,
        expires: time("exp")?,
        authenticated: optional("auth_time")?,
        tenant: claims.string("tenant")?.map(Tenant::new),
        claims: claims.as_object().clone(),
    })
}

/// `aud` is this resource and nothing else: a string, or a list of this one string (RFC 7519 §4.1.3).
pub(crate) fn is_only_audience(claims: &Map<String, Value>, resource: &ResourceUri) -> bool {
    let is = |value: &Value| value.as_str() == Some(resource.as_str());
    match claims.get("aud") {
        Some(Value::Array(several)) => matches!(several.as_slice(), [only] if is(only)),
        Some(only) => is(only),
        None => false,
    }
}

/// `scope` may be left out where nothing was granted (RFC 9068 §2.2.3).
pub(crate) fn scopes(text: Option<&str>) -> Result<ScopeSet, TokenRefusal> {
    text.unwrap_or_default()
        .parse()
        .map_err(|_| TokenRefusal::BadClaim("scope"))
}

pub(crate) fn texts(list: Option<Vec<&str>>) -> Vec<String> {
    list.unwrap_or_default().into_iter().map(Into::into).collect()
}

/// Whom a token speaks for.
struct Bearer {
    subject: UserId,
    username: String,
    groups: Vec<String>,
    family: Option<FamilyId>,
    authenticated: Option<UnixTime>,
}

/// A token whose `sub` is its client speaks for the client itself and has none of a person's claims; every other one
/// has all of them. Accounts' ids are UUIDs, client ids never look like one (RFC 9068 §5).
fn bearer(claims: &Claims, client: &ClientId) -> Result<Bearer, TokenRefusal> {
    if claims.required_string("sub")? != client.as_str() {
        return Ok(Bearer {
            subject: id(claims, "sub")?,
            username: filled(claims, "username")?.into(),
            groups: claims
                .strings("groups")?
                .ok_or(TokenRefusal::MissingClaim("groups"))?
                .into_iter()
                .map(Into::into)
                .collect(),
            family: Some(id(claims, "family")?),
            authenticated: claims.integer("auth_time")?.map(UnixTime::from_seconds),
        });
    }
    if client.as_str().parse::<UserId>().is_ok() {
        return Err(TokenRefusal::BadClaim("sub"));
    }
    if let Some(name) = ["username", "groups", "family", "auth_time"]
        .into_iter()
        .find(|name| claims.contains(name))
    {
        return Err(TokenRefusal::BadClaim(name));
    }
    Ok(Bearer {
        subject: UserId::of_client(client),
        username: format!("client:{client}"),
        groups: Vec::new(),
        family: None,
        authenticated: None,
    })
}

/// The limit of a client that has one; an empty one would be none that anybody set.
fn client_scopes(claims: &Claims) -> Result<Option<ScopeSet>, TokenRefusal> {
    let Some(text) = claims.string("client_scope")? else {
        return Ok(None);
    };
    match text.parse::<ScopeSet>() {
        Ok(scopes) if !scopes.is_empty() => Ok(Some(scopes)),
        _ => Err(TokenRefusal::BadClaim("client_scope")),
    }
}

/// Whether `now` lies in the token's lifetime, give or take [`LEEWAY`].
pub(crate) fn check_lifetime(
    issued: Option<UnixTime>,
    expires: UnixTime,
    not_before: Option<UnixTime>,
    now: UnixTime,
) -> Result<(), TokenRefusal> {
    let soonest = now.plus(LEEWAY);
    if issued.is_some_and(|issued| issued > soonest)
        || not_before.is_some_and(|not_before| not_before > soonest)
    {
        return Err(TokenRefusal::NotYetValid);
    }
    if is_expired(expires, now) {
        return Err(TokenRefusal::Expired);
    }
    Ok(())
}

pub(crate) fn is_expired(expires: UnixTime, now: UnixTime) -> bool {
    now >= expires.plus(LEEWAY)
}

/// An id in its one canonical spelling: the parser also takes braces, upper case and no hyphens.
fn id<T: FromStr + ToString>(claims: &Claims, name: &'static str) -> Result<T, TokenRefusal> {
    let text = claims.required_string(name)?;
    match text.parse::<T>() {
        Ok(id) if id.to_string() == text => Ok(id),
        _ => Err(TokenRefusal::BadClaim(name)),
    }
}

pub(crate) fn filled<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a str, TokenRefusal> {
    match claims.required_string(name)? {
        "" => Err(TokenRefusal::BadClaim(name)),
        text => Ok(text),
    }
}
