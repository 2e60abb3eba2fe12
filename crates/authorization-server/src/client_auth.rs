//! Whether a client is who it says it is (RFC 6749 §2.3, RFC 7523 §3, OpenID Connect Core §9).
//!
//! A client is asked for exactly what it registered. Secrets are compared as digests in constant time, and for a
//! client that does not exist the same work is done and the same answer given. An assertion is used once: its `jti`
//! becomes a row in the very transaction that does what the request asks for, so neither a restart nor a race makes it
//! usable again.

use std::time::Duration;

use doorward_jose::{ClaimError, Claims, JwkSet, UnverifiedJws, VerifiedJws};
use doorward_oauth::client_auth::{Credential, Method, PresentError, Presented};
use doorward_oauth::error::{ErrorBody, ErrorCode};
use doorward_records::client::Client;
use doorward_records::replay::Replay;
use doorward_records::{Precondition, Unit, Write};
use doorward_types::digest::Digest;
use doorward_types::id::KeyId;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::Issuer;

use crate::settings::Settings;

/// The algorithms that assertions may be signed with, as metadata lists them. Which one it is follows from the key.
pub const SIGNING_ALGORITHMS: &[&str] = &["ES256", "EdDSA", "Ed25519", "RS256", "PS256"];

/// The `typ` of a client assertion (RFC 7523bis §4). It may be left out; `JWT`, which says nothing, is what the
/// official MCP libraries send. Any other one marks a token that was made for something else.
const ASSERTION_TYPES: [&str; 2] = ["client-authentication+jwt", "JWT"];

/// How far a client's clock and ours may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// How long an assertion may work at most: the row that makes it single-use is kept as long.
const LONGEST: Duration = Duration::from_mins(10);
/// The longest `jti`, in bytes.
const MAX_ID: usize = 256;

/// Why a client is not who it says it is. `Display` is for logs; what the client is told is
/// [`ClientAuthRefusal::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientAuthRefusal {
    /// What it presented cannot be read.
    #[error("{0}")]
    Presented(PresentError),
    /// Nobody has this id.
    #[error("this client does not exist")]
    Unknown,
    /// Another method than the registered one: a public client that sends a secret, or the other way round (TK-09).
    #[error("the client does not authenticate as it registered")]
    Method,
    /// Another secret.
    #[error("wrong client secret")]
    Secret,
    /// Its secret has expired.
    #[error("the client's secret has expired")]
    Expired,
    /// The operator switched the client off.
    #[error("the client is switched off")]
    Disabled,
    /// Its keys are not known, or could not be fetched.
    #[error("the client's keys are not known")]
    NoKeys,
    /// Not signed by a key of the client with an algorithm that it registered.
    #[error("the client assertion is not signed with a key of the client")]
    Signature,
    /// It is not clear which key signed: `kid` is missing and several keys would do.
    #[error("the client assertion names no key (kid), and the client has several")]
    WhichKey,
    /// `typ` is that of another kind of token.
    #[error("typ of the client assertion must be client-authentication+jwt or left out")]
    Type,
    /// A claim is missing or of the wrong type.
    #[error("client assertion: {0}")]
    Claim(#[from] ClaimError),
    /// `iss` and `sub` are not both the client id (RFC 7523 §3).
    #[error("iss and sub of the client assertion must both be the client_id")]
    Subject,
    /// `aud` is not our issuer alone: whoever can have an assertion made for several can replay it (RFC 7523bis §4).
    #[error("aud of the client assertion must be this server's issuer as one string")]
    Audience,
    /// `exp` is over, or more than ten minutes ahead.
    #[error("exp of the client assertion must lie in the next 10 minutes")]
    Lifetime,
    /// `iat` or `nbf` lies in the future.
    #[error("the client assertion is not valid yet: iat or nbf lies in the future")]
    NotYetValid,
    /// `jti` is empty or longer than 256 bytes.
    #[error("jti of the client assertion must have 1 to 256 bytes")]
    Id,
    /// It was used before.
    #[error("the client assertion was used before")]
    Replayed,
}

impl ClientAuthRefusal {
    /// The OAuth error code.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Presented(error) => error.code(),
            _ => ErrorCode::InvalidClient,
        }
    }

    /// What the client is told. Who does not know the client's secret or key learns nothing about the client, not
    /// even whether it exists; who does is told what to change.
    #[must_use]
    pub fn body(self) -> ErrorBody {
        let description = match self {
            Self::Unknown
            | Self::Method
            | Self::Secret
            | Self::Expired
            | Self::Disabled
            | Self::NoKeys
            | Self::Signature
            | Self::WhichKey => {
                "client authentication failed: check client_id, the credentials, and that they are sent by the registered token_endpoint_auth_method".into()
            }
            told => told.to_string(),
        };
        ErrorBody::new(self.code(), description)
    }
}

/// A client that was asked for what it registered, and gave it. A public one registered to be asked for nothing.
#[derive(Clone, Debug)]
pub struct Authenticated {
    client: Client,
    method: Method,
    replay: Option<Replay>,
}

impl Authenticated {
    /// The client.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// How it authenticated.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Whether it showed that it is this client: a public one only says so.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.method != Method::None
    }

    /// What must not have been used before: if a row has this key, refuse with [`ClientAuthRefusal::Replayed`].
    #[must_use]
    pub fn replay(&self) -> Option<&Replay> {
        self.replay.as_ref()
    }

    /// `unit` as it is to be committed for this client: with the assertion used up, also if the request is refused.
    #[must_use]
    pub fn using_up(&self, unit: Unit) -> Unit {
        match self.replay {
            None => unit,
            Some(replay) => unit
                .given(Precondition::ReplayAbsent(replay.key))
                .then(Write::InsertReplay(replay)),
        }
    }
}

/// The key id that the presented assertion names, if judging it needs the client's keys at all: load them with it.
#[must_use]
pub fn wanted_key(presented: &Presented, client: Option<&Client>) -> Option<Option<KeyId>> {
    let Credential::Assertion(assertion) = presented.credential() else {
        return None;
    };
    let registered = client.map(|client| client.metadata.token_endpoint_auth_method.as_str());
    (registered == Some(Method::PrivateKeyJwt.name())).then(|| {
        UnverifiedJws::parse(assertion.expose())
            .ok()
            .and_then(|token| token.key_id().cloned())
    })
}

/// Judges what a client presented. `client` is what [`Presented::client_id`] names, `keys` its keys if
/// [`wanted_key`] asks for them. Then look for [`Authenticated::replay`].
pub fn authenticate(
    settings: &Settings,
    presented: &Presented,
    client: Option<Client>,
    keys: Option<&JwkSet>,
    now: UnixTime,
) -> Result<Authenticated, ClientAuthRefusal> {
    let client = client.filter(|client| client.id == *presented.client_id());
    let method = presented.credential().method();
    let replay = match presented.credential() {
        Credential::None => None,
        Credential::Basic(secret) | Credential::Post(secret) => {
            // Before anything is known of the client: as much work for one that does not exist.
            let kept = client.as_ref().and_then(|client| client.secret);
            let right = is_secret(secret, kept);
            registered(client.as_ref(), method)?;
            if !right {
                return Err(ClientAuthRefusal::Secret);
            }
            None
        }
        Credential::Assertion(assertion) => {
            let client = registered(client.as_ref(), method)?;
            let token = verified(client, assertion, keys.ok_or(ClientAuthRefusal::NoKeys)?)?;
            Some(judge(settings, client, &token, now)?)
        }
    };
    let client = client.ok_or(ClientAuthRefusal::Unknown)?;
    registered(Some(&client), method)?;
    if method.has_secret() && client.expires.is_some_and(|expires| now >= expires) {
        return Err(ClientAuthRefusal::Expired);
    }
    Ok(Authenticated {
        client,
        method,
        replay,
    })
}

fn is_secret(presented: &Secret, kept: Option<Digest>) -> bool {
    // Nothing has this digest: it is what an unknown client is compared with.
    let nobody = Digest::from_bytes([0; 32]);
    let equal = presented.digest() == kept.unwrap_or(nobody);
    equal & kept.is_some() & !presented.expose().is_empty()
}

/// The client, if `method` is exactly the one it registered.
fn registered(client: Option<&Client>, method: Method) -> Result<&Client, ClientAuthRefusal> {
    let client = client.ok_or(ClientAuthRefusal::Unknown)?;
    if client.metadata.token_endpoint_auth_method == method.name() {
        Ok(client)
    } else {
        Err(ClientAuthRefusal::Method)
    }
}

/// The assertion, signed with a key of the client. The algorithm is the key's (RFC 8725 §3.1) and, if the client
/// registered one, that one.
fn verified(client: &Client, assertion: &Secret, keys: &JwkSet) -> Result<VerifiedJws, ClientAuthRefusal> {
    let token = UnverifiedJws::parse(assertion.expose()).map_err(|_| ClientAuthRefusal::Signature)?;
    let algorithm = token.algorithm();
    let pinned = client.metadata.token_endpoint_auth_signing_alg.as_deref();
    if pinned.is_some_and(|name| doorward_jose::Algorithm::from_name(name) != Some(algorithm)) {
        return Err(ClientAuthRefusal::Signature);
    }
    let verified = if token.key_id().is_some() {
        token.verify_with(keys)
    } else {
        // Several libraries name no key. With one that fits there is no doubt which is meant.
        let mut fitting = keys.keys().iter().filter(|key| key.algorithm() == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => token.verify(only),
            (Some(_), Some(_)) => return Err(ClientAuthRefusal::WhichKey),
            (None, _) => return Err(ClientAuthRefusal::Signature),
        }
    };
    verified.map_err(|_| ClientAuthRefusal::Signature)
}

/// RFC 7523 §3, and what makes an assertion single-use.
fn judge(
    settings: &Settings,
    client: &Client,
    token: &VerifiedJws,
    now: UnixTime,
) -> Result<Replay, ClientAuthRefusal> {
    if token.typ().is_some() && !ASSERTION_TYPES.iter().any(|kind| token.is_type(kind)) {
        return Err(ClientAuthRefusal::Type);
    }
    let claims = token.claims();
    let id = client.id.as_str();
    if claims.required_string("iss")? != id || claims.required_string("sub")? != id {
        return Err(ClientAuthRefusal::Subject);
    }
    let audience = claims.string("aud").map_err(|_| ClientAuthRefusal::Audience)?;
    if !audience.is_some_and(|audience| is_issuer(audience, &settings.issuer)) {
        return Err(ClientAuthRefusal::Audience);
    }
    let expires = check_lifetime(claims, now)?;
    let name = claims.required_string("jti")?;
    if name.is_empty() || name.len() > MAX_ID {
        return Err(ClientAuthRefusal::Id);
    }
    let key = Digest::of_parts(&[
        b"client assertion\0",
        Digest::of(id.as_bytes()).as_bytes(),
        name.as_bytes(),
    ]);
    Ok(Replay {
        key,
        expires: expires.plus(LEEWAY),
    })
}

/// Whether `audience` is the issuer. For one without a path, `https://as.example/` is the same URL (RFC 3986 §6.2.3) and
/// what libraries send that keep the issuer as a parsed URL; no other spelling is taken.
fn is_issuer(audience: &str, issuer: &Issuer) -> bool {
    audience == issuer.as_str() || (!issuer.has_path() && audience.strip_suffix('/') == Some(issuer.as_str()))
}

fn check_lifetime(claims: &Claims, now: UnixTime) -> Result<UnixTime, ClientAuthRefusal> {
    let expires = claims.required_integer("exp")?;
    let latest = now.plus(LONGEST).plus(LEEWAY).seconds();
    // Compared as seconds: a time in ten years must not become one that overflows.
    if expires > latest || now.seconds() >= expires.saturating_add(seconds(LEEWAY)) {
        return Err(ClientAuthRefusal::Lifetime);
    }
    let soonest = now.plus(LEEWAY).seconds();
    for name in ["iat", "nbf"] {
        if claims.integer(name)?.is_some_and(|time| time > soonest) {
            return Err(ClientAuthRefusal::NotYetValid);
        }
    }
    Ok(UnixTime::from_seconds(expires))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
