//! Whom a verified token speaks for.

use std::fmt;

use doorward_policy::Subject;
use doorward_types::id::{ClientId, FamilyId, Tenant, TokenId, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;

/// The facts of a token. Plain data: holding them proves nothing; a [`Principal`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalFacts {
    /// `sub`; for a client that acts for itself [`UserId::of_client`].
    pub subject: UserId,
    /// `username`; for a client that acts for itself `client:` and its id.
    pub username: String,
    /// `groups`.
    pub groups: Vec<String>,
    /// `client_id`.
    pub client_id: ClientId,
    /// `scope`.
    pub scopes: ScopeSet,
    /// `client_scope`: all that this client can be granted, if an operator set a limit.
    pub client_scopes: Option<ScopeSet>,
    /// `auth_time`: when the person signed in (RFC 9068 §2.2.1).
    pub authenticated: Option<UnixTime>,
    /// `aud`: the one resource it is good for.
    pub resource: ResourceUri,
    /// `family`: the token chain it belongs to; none for a client that acts for itself (RFC 6749 §4.4).
    pub family: Option<FamilyId>,
    /// `rev`: the highest revocation sequence number known when it was issued.
    pub revocation_sequence: u64,
    /// `jti`.
    pub token_id: TokenId,
    /// `iat`.
    pub issued: UnixTime,
    /// `exp`, without leeway.
    pub expires: UnixTime,
    /// The tenant.
    pub tenant: Tenant,
}

/// Whom a verified token speaks for, and what for. Only verification makes one: wherever a `Principal` is
/// at hand, signature, issuer, audience, lifetime and revocation of its token were checked. The exception says
/// so: [`Principal::anonymous`].
///
/// Facts alone make none, and nobody gives one other facts:
///
/// ```compile_fail,E0624
/// # use doorward_resource_server::{Principal, PrincipalFacts};
/// # fn forge(facts: PrincipalFacts) -> Principal {
/// Principal::verified(facts)
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use doorward_resource_server::{Principal, PrincipalFacts};
/// # fn forge(facts: PrincipalFacts) -> Principal {
/// facts.into()
/// # }
/// ```
///
/// ```compile_fail,E0451
/// # use doorward_policy::Subject;
/// # use doorward_resource_server::Principal;
/// # fn raise(subject: Subject, other: Principal) -> Principal {
/// Principal { subject, ..other }
/// # }
/// ```
///
/// ```compile_fail,E0616
/// # fn last(mut principal: doorward_resource_server::Principal) {
/// principal.expires = doorward_types::time::UnixTime::from_millis(i64::MAX);
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    /// Built once, so that policy reads it at every call without a copy.
    subject: Subject,
    resource: ResourceUri,
    family: Option<FamilyId>,
    revocation_sequence: u64,
    token_id: TokenId,
    issued: UnixTime,
    expires: UnixTime,
}

impl Principal {
    pub(crate) fn verified(facts: PrincipalFacts) -> Self {
        Self {
            subject: Subject {
                user: facts.subject,
                username: facts.username,
                groups: facts.groups,
                client: facts.client_id,
                for_itself: facts.family.is_none(),
                scopes: facts.scopes,
                client_scopes: facts.client_scopes,
                authenticated: facts.authenticated,
                tenant: facts.tenant,
            },
            resource: facts.resource,
            family: facts.family,
            revocation_sequence: facts.revocation_sequence,
            token_id: facts.token_id,
            issued: facts.issued,
            expires: facts.expires,
        }
    }

    /// Whoever calls a server that was configured to ask nobody who they are. The one principal without a
    /// token: it proves nothing, names nobody, and is good for `resource` alone. It has `scopes`, never
    /// expires and cannot be revoked.
    #[must_use]
    pub fn anonymous(resource: ResourceUri, scopes: ScopeSet, tenant: Tenant) -> Self {
        Self::verified(PrincipalFacts {
            subject: UserId::nil(),
            // No account can be called so.
            username: "(anonymous)".into(),
            groups: Vec::new(),
            client_id: ClientId::new("(anonymous)"),
            scopes,
            client_scopes: None,
            authenticated: None,
            resource,
            family: Some(FamilyId::nil()),
            revocation_sequence: u64::MAX,
            token_id: TokenId::nil(),
            issued: UnixTime::EPOCH,
            expires: UnixTime::from_millis(i64::MAX),
            tenant,
        })
    }

    /// Whether this is [`Principal::anonymous`]: accounts have ids of their own.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.subject.user == UserId::nil()
    }

    /// A principal without a token, for tests of what consumes principals.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn for_test(facts: PrincipalFacts) -> Self {
        Self::verified(facts)
    }

    /// What policy reads.
    #[must_use]
    pub const fn policy_subject(&self) -> &Subject {
        &self.subject
    }

    /// The user (`sub`), or [`UserId::of_client`] if the client acts for itself.
    #[must_use]
    pub const fn subject(&self) -> UserId {
        self.subject.user
    }

    /// The user's name when the token was issued. For people to read; accounts are told apart by
    /// [`Principal::subject`].
    #[must_use]
    pub fn username(&self) -> &str {
        &self.subject.username
    }

    /// The user's groups when the token was issued.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.subject.groups
    }

    /// The client the token was issued to (`client_id`, RFC 9068 §2.2).
    #[must_use]
    pub const fn client_id(&self) -> &ClientId {
        &self.subject.client
    }

    /// The scopes of the token.
    #[must_use]
    pub const fn scopes(&self) -> &ScopeSet {
        &self.subject.scopes
    }

    /// All that this client can be granted, if an operator set a limit: asking for more is in vain.
    #[must_use]
    pub const fn client_scopes(&self) -> Option<&ScopeSet> {
        self.subject.client_scopes.as_ref()
    }

    /// When the person signed in (`auth_time`, RFC 9068 §2.2.1), however often the token was refreshed since.
    #[must_use]
    pub const fn authenticated(&self) -> Option<UnixTime> {
        self.subject.authenticated
    }

    /// The one resource the token is good for (`aud`).
    #[must_use]
    pub const fn resource(&self) -> &ResourceUri {
        &self.resource
    }

    /// Whether the client acts for itself and not for a person (RFC 6749 §4.4).
    #[must_use]
    pub const fn is_client(&self) -> bool {
        self.subject.for_itself
    }

    /// The token chain; a client's own token belongs to none.
    #[must_use]
    pub const fn family(&self) -> Option<FamilyId> {
        self.family
    }

    /// The highest revocation sequence number known when the token was issued (`rev`).
    #[must_use]
    pub const fn revocation_sequence(&self) -> u64 {
        self.revocation_sequence
    }

    /// The token's own id (`jti`).
    #[must_use]
    pub const fn token_id(&self) -> TokenId {
        self.token_id
    }

    /// When the token was issued.
    #[must_use]
    pub const fn issued(&self) -> UnixTime {
        self.issued
    }

    /// When the token expires, without leeway.
    #[must_use]
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }

    /// The tenant.
    #[must_use]
    pub const fn tenant(&self) -> &Tenant {
        &self.subject.tenant
    }
}

/// Names no person: ids only, so that a principal in a log line tells nobody's name or groups.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("subject", &self.subject.user)
            .field("client_id", &self.subject.client)
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
    }
}

impl From<&Principal> for Subject {
    fn from(principal: &Principal) -> Self {
        principal.subject.clone()
    }
}
