//! Single sign-on at the company's identity provider: the first leg of enterprise-managed authorization (E16, E17).
//!
//! It is a login like any other (the same state, PKCE and `iss` checks, the same callback), at an OpenID Connect provider that
//! the user's configuration names, and with a `nonce`. What is kept of it is the ID token, in the place of an access token:
//! nothing else here is ever sent to the identity provider's own resources. [`FindIdentityProvider`] says where it is,
//! [`identified`] judges what it says about the person (OpenID Connect Core §3.1.3.7).

use std::time::Duration;

use doorward_jose::{ClaimError, Claims, JwkSet, JwsError, UnverifiedJws, VerifyError};
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::Issuer;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use crate::discover::Discovered;
use crate::document::Document;
use crate::enterprise::SubjectTokenType;
use crate::error::{Error, Hop, Refusal};
use crate::http::{HttpRequest, HttpResponse, NamedBy, TransportError};
use crate::machine::{Answer, Machine, Step, drive, reached};
use crate::named_url::UrlPolicy;
use crate::orchestrate::Environment;
use crate::peek::OwnJwt;
use crate::provider::Tokens;
use crate::server_metadata::ServerMetadata;
use crate::text::shown;

/// The scope of a sign-on (OpenID Connect Core §3.1.2.1).
pub const SCOPE: &str = "openid";
/// How far clocks may be apart.
const SKEW: Duration = Duration::from_mins(1);
const RULE: (&str, &str) = ("E16", "OpenID Connect Discovery 1.0 §4");

/// What makes a login a sign-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOn {
    /// Where the keys are that ID tokens are signed with.
    pub jwks_uri: Url,
}

/// What is kept of a sign-on that is under way.
#[derive(Clone, Debug)]
pub struct PendingSignOn {
    /// What the ID token must repeat: it was made for this request and no other (OpenID Connect Core §15.5.2).
    pub nonce: Secret,
    /// See [`SignOn::jwks_uri`].
    pub jwks_uri: Url,
}

/// What the identity assertion of `client_id` is kept under, where access tokens have their resource. It has a space, so no
/// URL of an MCP server can be the same.
#[must_use]
pub fn kept_as(client_id: &str) -> String {
    format!("{} {client_id}", SubjectTokenType::IdToken.name())
}

/// The client id in what [`kept_as`] made; `None` for the resource of an access token.
#[must_use]
pub fn client_of(resource: &str) -> Option<&str> {
    resource
        .strip_prefix(SubjectTokenType::IdToken.name())?
        .strip_prefix(' ')
}

/// Finds out where the identity provider is, as OpenID Connect Discovery says, and whether one can sign on there.
#[derive(Debug)]
pub struct FindIdentityProvider {
    issuer: String,
    server: Url,
    client_id: String,
    document: Url,
}

impl FindIdentityProvider {
    /// For the provider whose `issuer` is exactly this, where this program is `client_id`.
    ///
    /// # Errors
    /// The issuer is no `https` URL (or `http` on this machine), or has a query.
    pub fn new(issuer: &str, client_id: &str) -> Result<Self, Error> {
        let unusable = |why: String| {
            Error::NeedsUser(format!(
                "the issuer of the identity provider, {}, cannot be used: {why}",
                shown(issuer)
            ))
        };
        let server = UrlPolicy::strict()
            .judge(issuer)
            .map_err(|why| unusable(why.to_string()))?;
        Issuer::parse(issuer).map_err(|why| unusable(why.to_string()))?;
        // OpenID Connect Discovery §4.1: a terminating slash goes before the path is appended.
        let document = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        Ok(Self {
            issuer: issuer.to_owned(),
            server,
            client_id: client_id.to_owned(),
            document: Url::parse(&document).map_err(|why| unusable(why.to_string()))?,
        })
    }

    fn read(&self, response: &HttpResponse) -> Result<Discovered, Error> {
        let url = &self.document;
        let refuse = |problem: String| {
            let remedy = "check --idp-issuer: it must be written exactly as the identity provider writes it in this document; \
                          or sign on elsewhere and name the file with the ID token";
            Error::from(Refusal::new(
                Hop::ServerMetadata,
                Some(url),
                RULE,
                problem,
                remedy,
            ))
        };
        present(Hop::ServerMetadata, url, response, &refuse)?;
        let policy = UrlPolicy::strict();
        let no_object = || refuse("it is no JSON object with unique keys".to_owned());
        let authorization_server =
            ServerMetadata::parse(&self.issuer, url, &response.body, &policy)?.ok_or_else(no_object)?;
        authorization_server.sign_on_flow()?;
        let document =
            Document::parse(&response.body, Hop::ServerMetadata, url, RULE, &policy).ok_or_else(no_object)?;
        let jwks_uri = document.endpoint("jwks_uri")?.ok_or_else(|| {
            refuse("there is no jwks_uri: nothing says which keys its ID tokens are signed with".to_owned())
        })?;
        Ok(Discovered {
            server: self.server.clone(),
            resource: kept_as(&self.client_id),
            resource_metadata: None,
            authorization_server,
            sign_on: Some(SignOn { jwks_uri }),
        })
    }
}

impl Machine for FindIdentityProvider {
    type Output = Discovered;

    fn resume(&mut self, answer: Option<Answer>) -> Result<Step<Discovered>, Error> {
        match answer {
            None => Ok(Step::Send(Box::new(get(
                &self.document,
                NamedBy::User,
                Hop::ServerMetadata,
            )))),
            Some(answer) => {
                let response = reached(answer, Hop::ServerMetadata, &self.document)?;
                self.read(&response).map(Step::Done)
            }
        }
    }
}

/// Fetches the keys that ID tokens are signed with. They are not kept: a sign-on is rare, and a key that was withdrawn must not
/// be believed.
#[derive(Debug)]
struct FindKeys<'a>(&'a Url);

impl Machine for FindKeys<'_> {
    type Output = JwkSet;

    fn resume(&mut self, answer: Option<Answer>) -> Result<Step<JwkSet>, Error> {
        let Some(answer) = answer else {
            return Ok(Step::Send(Box::new(get(self.0, NamedBy::Server, Hop::SignOn))));
        };
        let response = reached(answer, Hop::SignOn, self.0)?;
        let refuse = |problem: String| {
            let remedy = "its operator must publish the keys that it signs with as a JWK set (RFC 7517 §5)";
            Error::from(Refusal::new(
                Hop::SignOn,
                Some(self.0),
                ("E16", "OpenID Connect Core 1.0 §10.1"),
                problem,
                remedy,
            ))
        };
        present(Hop::SignOn, self.0, &response, &refuse)?;
        let keys = JwkSet::parse(&response.body).map_err(|error| refuse(error.to_string()))?;
        Ok(Step::Done(keys))
    }
}

/// Why an ID token belongs to the request that it came for.
#[derive(Clone, Copy, Debug)]
pub enum Belongs<'a> {
    /// It repeats the `nonce` of the request.
    Nonce(&'a Secret),
    /// It is about the person of the ID token of before (OpenID Connect Core §12.2).
    SamePerson(&'a Secret),
}

/// What an ID token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `iss`, byte for byte.
    pub issuer: &'a str,
    /// Who must be among `aud`.
    pub client_id: &'a str,
    /// Why it is the one that was asked for.
    pub belongs: Belongs<'a>,
}

/// Puts the ID token in the place of the access token of `tokens`, after every check. The keys are fetched from `jwks_uri`.
///
/// # Errors
/// There is no ID token, the keys cannot be had, or a check fails: then nothing of the answer is kept.
pub async fn identified(
    env: &Environment<'_>,
    (id_token, expected): (Option<Secret>, Expected<'_>),
    jwks_uri: &Url,
    tokens: Tokens,
) -> Result<Tokens, Error> {
    let id_token = id_token.ok_or_else(|| refused(&expected, "there is no id_token in the answer"))?;
    let keys = drive(&mut FindKeys(jwks_uri), env.http).await?;
    let expires_at = judge(&id_token, &keys, &expected, env.clock.now())?;
    Ok(Tokens {
        access_token: id_token,
        dpop: false,
        expires_at: Some(expires_at),
        ..tokens
    })
}

/// Judges an ID token (OpenID Connect Core §3.1.3.7, §12.2); when it ends.
///
/// # Errors
/// A refusal that names the claim, and never a value of it: claims are personal data.
pub fn judge(
    id_token: &Secret,
    keys: &JwkSet,
    expected: &Expected<'_>,
    now: UnixTime,
) -> Result<UnixTime, Error> {
    check(id_token, keys, expected, now).map_err(|why| refused(expected, &why.to_string()))
}

/// Why an ID token is not believed.
#[derive(Debug, thiserror::Error)]
enum Unbelievable {
    #[error(transparent)]
    Form(#[from] JwsError),
    #[error(transparent)]
    Signature(#[from] VerifyError),
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("{0}")]
    Says(&'static str),
}

fn check(
    id_token: &Secret,
    keys: &JwkSet,
    expected: &Expected<'_>,
    now: UnixTime,
) -> Result<UnixTime, Unbelievable> {
    let jws = UnverifiedJws::parse(id_token.expose())?;
    let verified = if jws.key_id().is_some() {
        jws.verify_with(keys)?
    } else {
        // OpenID Connect Core §10.1: without a key id there is only one key that it could be.
        let algorithm = jws.algorithm();
        let mut fitting = keys.keys().iter().filter(|key| key.algorithm() == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => jws.verify(key)?,
            _ => return Err(VerifyError::NoKeyId.into()),
        }
    };
    // RFC 8725 §3.11: a signed access token or ID-JAG of the same issuer is no ID token.
    if verified.typ().is_some() && !verified.is_type("JWT") {
        return Err(Unbelievable::Says("its type is not that of an ID token"));
    }
    let claims = verified.claims();
    if claims.required_string("iss")? != expected.issuer {
        return Err(Unbelievable::Says(
            "iss is another issuer than the one that was asked",
        ));
    }
    audience(claims, expected.client_id)?;
    belongs(claims, expected.belongs)?;
    let end = UnixTime::from_seconds(claims.required_integer("exp")?);
    if end <= now {
        return Err(Unbelievable::Says("exp says that it is over"));
    }
    if UnixTime::from_seconds(claims.required_integer("iat")?) > now.plus(SKEW) {
        return Err(Unbelievable::Says(
            "iat lies in the future: is the clock of this machine right?",
        ));
    }
    Ok(end)
}

/// Further audiences are for the identity provider to know, which alone gets this token from us; whom it was made for must be us.
fn audience(claims: &Claims, client_id: &str) -> Result<(), Unbelievable> {
    let several = match claims.string("aud") {
        Ok(Some(only)) if only == client_id => false,
        Ok(Some(_)) => return Err(Unbelievable::Says("aud is another client than this one")),
        Ok(None) => return Err(ClaimError::Missing("aud").into()),
        Err(_) => {
            let listed = claims.strings("aud")?.unwrap_or_default();
            if !listed.contains(&client_id) {
                return Err(Unbelievable::Says("aud does not hold this client"));
            }
            listed.len() > 1
        }
    };
    match claims.string("azp")? {
        Some(party) if party != client_id => Err(Unbelievable::Says("azp is another client than this one")),
        None if several => Err(Unbelievable::Says(
            "there are several audiences, and no azp says that it was made for this client",
        )),
        _ => Ok(()),
    }
}

fn belongs(claims: &Claims, belongs: Belongs<'_>) -> Result<(), Unbelievable> {
    let subject = claims.required_string("sub")?;
    let nonce = claims.string("nonce")?;
    match belongs {
        // In constant time, as `state` is.
        Belongs::Nonce(expected) if nonce.map(Secret::new).as_ref() == Some(expected) => Ok(()),
        Belongs::Nonce(_) => Err(Unbelievable::Says(
            "nonce is not the one of this sign-on: it was made for another one",
        )),
        Belongs::SamePerson(before) => {
            let before = OwnJwt::read(before).ok_or(Unbelievable::Says(
                "the ID token of before cannot be read, so nobody knows whether it is the same person",
            ))?;
            if before.holds("sub", subject) != Some(true) {
                return Err(Unbelievable::Says("sub is another person than before"));
            }
            if nonce.is_some_and(|nonce| before.holds("nonce", nonce) != Some(true)) {
                return Err(Unbelievable::Says("nonce is another one than before"));
            }
            Ok(())
        }
    }
}

fn refused(expected: &Expected<'_>, why: &str) -> Error {
    Refusal::new(
        Hop::SignOn,
        Url::parse(expected.issuer).ok().as_ref(),
        ("E16", "OpenID Connect Core 1.0 §3.1.3.7"),
        format!("the ID token is not believed: {why}. It was thrown away"),
        "try again; if it happens again, the administrator of the identity provider must correct how this client is set up there",
    )
    .into()
}

/// Whether the answer is a document. Nothing is concluded from a server that does not work at the moment.
fn present(
    hop: Hop,
    url: &Url,
    response: &HttpResponse,
    refuse: &dyn Fn(String) -> Error,
) -> Result<(), Error> {
    let status = response.status;
    if status == StatusCode::OK {
        return Ok(());
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Error::Unreachable {
            hop,
            url: Box::new(url.clone()),
            source: TransportError::Failed(format!("it answered {status}; try again later")),
        });
    }
    Err(refuse(format!("there is no document, but {status}")))
}

fn get(url: &Url, named_by: NamedBy, hop: Hop) -> HttpRequest {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    HttpRequest {
        method: http::Method::GET,
        url: url.clone(),
        named_by,
        headers,
        body: None,
        hop,
    }
}

#[cfg(test)]
mod tests;
