//! What a verified token says.

use std::fmt;
use std::sync::Arc;

use doorward_policy::Subject;
use doorward_types::id::{ClientId, Tenant, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::{Issuer, ResourceUri};
use serde_json::{Map, Value};

use crate::claims::check_lifetime;
use crate::verify::TokenRefusal;

/// What an issuer says about one of its tokens. Plain data: holding it proves nothing; an [`AccessToken`] does.
#[derive(Clone, PartialEq)]
pub struct TokenFacts {
    /// `iss`: who says so.
    pub issuer: Issuer,
    /// `sub`: whom the token speaks for. Means something only together with the issuer.
    pub subject: String,
    /// `client_id`: the client it was issued to; the subject itself where a client acts for itself (RFC 9068 §5).
    pub client_id: ClientId,
    /// `scope`.
    pub scopes: ScopeSet,
    /// `groups`; empty if the issuer says none.
    pub groups: Vec<String>,
    /// `aud`: the one resource it is good for.
    pub resource: ResourceUri,
    /// `jti`.
    pub token_id: Option<String>,
    /// `iat`.
    pub issued: Option<UnixTime>,
    /// `nbf`.
    pub not_before: Option<UnixTime>,
    /// `exp`, without leeway.
    pub expires: UnixTime,
    /// `auth_time`: when the person signed in.
    pub authenticated: Option<UnixTime>,
    /// `tenant`.
    pub tenant: Option<Tenant>,
    /// Everything that was said, as JSON.
    pub claims: Map<String, Value>,
}

/// Names nobody and shows no claim: they are personal data.
impl fmt::Debug for TokenFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFacts")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
    }
}

/// A verified access token. Only verification makes one: wherever an `AccessToken` is at hand, its issuer, audience and
/// lifetime were checked, and who issued it was asked or has signed it. A clone shares it.
///
/// ```compile_fail,E0451
/// # use doorward_resource_server::AccessToken;
/// let forged = AccessToken { inner: unreachable!() };
/// ```
///
/// ```compile_fail,E0624
/// # use doorward_resource_server::{AccessToken, TokenFacts};
/// # fn f(facts: TokenFacts, resource: &doorward_types::url::ResourceUri) {
/// let forged = AccessToken::verified(facts, resource, doorward_types::time::UnixTime::EPOCH);
/// # }
/// ```
#[derive(Clone)]
pub struct AccessToken {
    inner: Arc<Inner>,
}

struct Inner {
    facts: TokenFacts,
    /// Built once, so that policy reads it at every call without a copy.
    subject: Subject,
}

impl AccessToken {
    pub(crate) fn verified(
        facts: TokenFacts,
        resource: &ResourceUri,
        now: UnixTime,
    ) -> Result<Self, TokenRefusal> {
        if facts.resource != *resource {
            return Err(TokenRefusal::WrongAudience);
        }
        check_lifetime(facts.issued, facts.expires, facts.not_before, now)?;
        let subject = Subject {
            user: UserId::of_foreign(&facts.issuer, &facts.subject),
            username: facts.subject.clone(),
            groups: facts.groups.clone(),
            client: facts.client_id.clone(),
            for_itself: facts.subject == facts.client_id.as_str(),
            scopes: facts.scopes.clone(),
            client_scopes: None,
            tenant: facts.tenant.clone().unwrap_or_else(Tenant::default_tenant),
            authenticated: facts.authenticated,
        };
        let inner = Arc::new(Inner { facts, subject });
        Ok(Self { inner })
    }

    /// The token of the request whose head this is, or of `extensions` that were taken over from it. `None` if the
    /// request did not pass a layer of [`ResourceServer`](crate::ResourceServer).
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Option<&Self> {
        extensions.get::<Self>()
    }

    /// Who issued it (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.inner.facts.issuer
    }

    /// Whom it speaks for (`sub`). Two issuers may give the same subject to two people: keep it with the issuer.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.inner.facts.subject
    }

    /// The client it was issued to (`client_id`).
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.inner.facts.client_id.as_str()
    }

    /// Whether the client acts for itself and not for a person (RFC 9068 §5).
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.inner.subject.for_itself
    }

    /// What was granted (`scope`).
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.inner.facts.scopes
    }

    /// The groups of the person, if the issuer tells them (`groups`).
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.inner.facts.groups
    }

    /// The one resource it is good for (`aud`).
    #[must_use]
    pub fn resource(&self) -> &ResourceUri {
        &self.inner.facts.resource
    }

    /// Its own id (`jti`).
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.inner.facts.token_id.as_deref()
    }

    /// When it was issued (`iat`).
    #[must_use]
    pub fn issued(&self) -> Option<UnixTime> {
        self.inner.facts.issued
    }

    /// When it expires (`exp`), without leeway.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.inner.facts.expires
    }

    /// When the person signed in (`auth_time`).
    #[must_use]
    pub fn authenticated(&self) -> Option<UnixTime> {
        self.inner.facts.authenticated
    }

    /// The tenant (`tenant`).
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.inner.facts.tenant.as_ref()
    }

    /// A claim by its name, whatever its type.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.inner.facts.claims.get(name)
    }

    /// Every claim.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.inner.facts.claims
    }

    /// What policy reads.
    #[must_use]
    pub fn policy_subject(&self) -> &Subject {
        &self.inner.subject
    }
}

/// Equal where everything that was said is equal.
impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner.facts == other.inner.facts
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessToken").field(&self.inner.facts).finish()
    }
}
