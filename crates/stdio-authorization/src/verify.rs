//! Is this token good? (RULES of the extension: no token is used before somebody who can know has said so.)

use std::sync::Arc;

use async_trait::async_trait;
use doorward_resource_server::{TokenRefusal, TokenVerifier, UnverifiedToken};
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;

/// What was found out about a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it was granted; `None` if nobody says, then the service behind is the judge of each call.
    pub scopes: Option<ScopeSet>,
    /// Whom it speaks for, if somebody says.
    pub subject: Option<String>,
    /// When it ends, if somebody says.
    pub expires: Option<UnixTime>,
}

/// Why a token is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// It is not good: expired, revoked, forged, for another resource.
    #[error("{0}")]
    Refused(String),
    /// Nobody could be asked.
    #[error("{0}")]
    Unavailable(String),
}

/// Verifies tokens for one resource.
#[async_trait]
pub trait Verify: Send + Sync {
    /// Judges a token. Verdicts may be remembered for a short while.
    async fn verify(&self, token: &Secret) -> Result<Verified, NotVerified>;

    /// Somebody has found the token not to be good: nothing that is remembered of it counts any more.
    fn forget(&self, token: &Secret);
}

/// Tokens of one or more authorization servers, verified as a resource server does: JWTs by signature, issuer, audience and
/// lifetime (RFC 9068), others by introspection (RFC 7662).
pub struct ByIssuers {
    resource: ResourceUri,
    verifiers: Vec<Arc<dyn TokenVerifier>>,
}

impl ByIssuers {
    /// One verifier for each authorization server. A token is good if one of them says so.
    #[must_use]
    pub fn new(resource: ResourceUri, verifiers: Vec<Arc<dyn TokenVerifier>>) -> Self {
        Self { resource, verifiers }
    }
}

#[async_trait]
impl Verify for ByIssuers {
    async fn verify(&self, token: &Secret) -> Result<Verified, NotVerified> {
        let mut refusal = TokenRefusal::UnknownKey;
        for verifier in &self.verifiers {
            let verdict = verifier
                .verify(&self.resource, UnverifiedToken::new(token.expose()))
                .await;
            match verdict {
                Ok(good) => {
                    return Ok(Verified {
                        scopes: Some(good.scopes().clone()),
                        subject: Some(good.subject().to_owned()),
                        expires: Some(good.expires()),
                    });
                }
                // What says most of a token that nobody takes: that somebody could not be asked, or what the one said
                // whose it is.
                Err(TokenRefusal::Blind) => refusal = TokenRefusal::Blind,
                Err(TokenRefusal::WrongIssuer | TokenRefusal::UnknownKey) => {}
                Err(other) if refusal != TokenRefusal::Blind => refusal = other,
                Err(_) => {}
            }
        }
        Err(match refusal {
            TokenRefusal::Blind => NotVerified::Unavailable(refusal.to_string()),
            other => NotVerified::Refused(other.to_string()),
        })
    }

    fn forget(&self, _: &Secret) {
        // A JWT stays what its signature says; introspection remembers for seconds only.
    }
}
