//! Is this token good? (RULES of the extension: no token is used before somebody who can know has said so.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// What a person calls the one whom it speaks for, if somebody says. For showing alone: names change hands.
    pub name: Option<String>,
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
                        name: None,
                        expires: Some(good.expires()),
                    });
                }
                Err(other) if weight(other) > weight(refusal) => refusal = other,
                Err(_) => {}
            }
        }
        Err(match refusal {
            TokenRefusal::Blind => NotVerified::Unavailable(refusal.to_string()),
            // The token will do, and another one would not: one of two clocks is wrong.
            TokenRefusal::NotYetValid => {
                NotVerified::Unavailable(format!("{refusal}: is the clock of this machine right?"))
            }
            other => NotVerified::Refused(other.to_string()),
        })
    }

    fn forget(&self, _: &Secret) {
        // A JWT stays what its signature says; introspection remembers for seconds only.
    }
}

/// How much a refusal says of a token that nobody takes: least, that it is somebody else's; most, what is wrong with it according
/// to the one whose it is. In between, that one could not be asked who might take it.
const fn weight(refusal: TokenRefusal) -> u8 {
    match refusal {
        TokenRefusal::WrongIssuer | TokenRefusal::UnknownKey => 0,
        TokenRefusal::Malformed(_) | TokenRefusal::BadSignature | TokenRefusal::Inactive => 1,
        TokenRefusal::Blind => 2,
        _ => 3,
    }
}

/// Tells the person at the terminal why calls are refused that no login would help.
pub(crate) struct Aloud {
    verify: Arc<dyn Verify>,
    /// Who is asked, for the person.
    asked: String,
    say: Arc<dyn Fn(&str) + Send + Sync>,
    /// It was said, and has not ended since.
    said: AtomicBool,
}

impl Aloud {
    pub(crate) fn new(verify: Arc<dyn Verify>, asked: String, say: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self {
            verify,
            asked,
            say,
            said: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Verify for Aloud {
    async fn verify(&self, token: &Secret) -> Result<Verified, NotVerified> {
        let verdict = self.verify.verify(token).await;
        match &verdict {
            Ok(_) => self.said.store(false, Ordering::Relaxed),
            Err(NotVerified::Unavailable(why)) => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    (self.say)(&format!("tokens of {} cannot be verified: {why}", self.asked));
                }
            }
            Err(NotVerified::Refused(_)) => {}
        }
        verdict
    }

    fn forget(&self, token: &Secret) {
        self.verify.forget(token);
    }
}

#[cfg(test)]
mod tests;
