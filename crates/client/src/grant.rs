//! The ways to a token: which one a program takes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use doorward_types::secret::Secret;

use crate::enterprise::EnterpriseManaged;
use crate::error::Error;
use crate::provider::{ClientInformation, ClientOrigin, ProviderError};
use crate::workload::Workload;

/// `grant_type` of a JWT that stands for a user or a workload (RFC 7523 §2.1).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Yields a JWT that others issued to this program: an ID token, a workload's token. It is asked anew before every use,
/// because such files are replaced while the program runs.
#[async_trait]
pub trait AssertionSource: Send + Sync {
    /// The assertion as it is now, without white space around it.
    async fn assertion(&self) -> Result<Secret, ProviderError>;

    /// Where it comes from, for messages: the name of a file, of a variable, of a program. Never the assertion.
    fn name(&self) -> String;

    /// Sees to it that there is an assertion to be had, before anything is locked: this may take as long as a person does
    /// ([`sign_on`](crate::sign_on)). `anew`: another one than there is. `may_ask`: whether a person may be asked for it.
    async fn ready(&self, _anew: bool, _may_ask: bool) -> Result<(), Error> {
        Ok(())
    }

    /// For the end of the program: waits for what is on its way until it is kept, for ten seconds at most.
    async fn settled(&self) {}
}

/// An assertion that does not change.
pub struct FixedAssertion(pub Secret);

#[async_trait]
impl AssertionSource for FixedAssertion {
    async fn assertion(&self) -> Result<Secret, ProviderError> {
        Ok(self.0.clone())
    }

    fn name(&self) -> String {
        "the given assertion".into()
    }
}

/// How a program comes by tokens.
#[derive(Clone, Default)]
pub enum Grant {
    /// A person logs in with a browser (OAuth 2.1 §4.1), in whose name refresh tokens go on.
    #[default]
    AuthorizationCode,
    /// The program acts for itself, with a secret or a key that was registered for it (OAuth 2.1 §4.2, MCP OAuth client
    /// credentials extension).
    ClientCredentials,
    /// The company's identity provider says who is at the keyboard and which servers they may use (MCP
    /// enterprise-managed authorization).
    EnterpriseManaged(Arc<EnterpriseManaged>),
    /// The platform says which workload this is (MCP workload identity federation, RFC 7523 §2.1).
    Workload(Arc<Workload>),
    /// A person logs in on another device (RFC 8628).
    Device,
}

impl Grant {
    /// `grant_type` of its token request.
    #[must_use]
    pub const fn grant_type(&self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::EnterpriseManaged(_) | Self::Workload(_) => JWT_BEARER,
            Self::Device => doorward_oauth::device::GRANT_TYPE,
        }
    }

    /// Whether the authorization endpoint is used: the only grant that redirects a user, so that enterprise-managed
    /// authorization never does (E22).
    #[must_use]
    pub const fn uses_browser(&self) -> bool {
        matches!(self, Self::AuthorizationCode)
    }

    /// Whether somebody has to be there to answer.
    #[must_use]
    pub const fn needs_person(&self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::Device)
    }

    /// Whether a client that the server does not know may register itself for it. Who acts for itself cannot: nobody
    /// would have allowed it anything (client credentials extension, "Dynamic Client Registration is not used").
    #[must_use]
    pub const fn may_register(&self) -> bool {
        matches!(
            self,
            Self::AuthorizationCode | Self::Device | Self::EnterpriseManaged(_)
        )
    }

    /// The client of a workload that the authorization server knows by its assertion alone (RFC 7523 §3.1): none.
    #[must_use]
    pub(crate) fn nameless_client(&self, issuer: &str) -> Option<ClientInformation> {
        matches!(self, Self::Workload(_)).then(|| ClientInformation {
            issuer: issuer.to_owned(),
            client_id: String::new(),
            client_secret: None,
            token_endpoint_auth_method: Some("none".to_owned()),
            redirect_uri: None,
            origin: ClientOrigin::PreRegistered,
            secret_expires_at: None,
        })
    }

    /// The MCP extension that a client names among its capabilities when it uses this grant (C4, E22).
    #[must_use]
    pub const fn extension(&self) -> Option<&'static str> {
        match self {
            Self::ClientCredentials => Some("io.modelcontextprotocol/oauth-client-credentials"),
            Self::EnterpriseManaged(_) => Some("io.modelcontextprotocol/enterprise-managed-authorization"),
            Self::AuthorizationCode | Self::Workload(_) | Self::Device => None,
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthorizationCode => "AuthorizationCode",
            Self::ClientCredentials => "ClientCredentials",
            Self::EnterpriseManaged(_) => "EnterpriseManaged",
            Self::Workload(_) => "Workload",
            Self::Device => "Device",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e22_c4_only_one_grant_sends_a_user_to_the_authorization_endpoint() {
        let workload = Arc::new(Workload {
            assertion: Arc::new(FixedAssertion(Secret::new("hush"))),
            audience: None,
        });
        let grants = [
            Grant::AuthorizationCode,
            Grant::ClientCredentials,
            Grant::EnterpriseManaged(Arc::new(crate::enterprise::tests::okta())),
            Grant::Workload(workload),
            Grant::Device,
        ];
        assert_eq!(grants.iter().filter(|grant| grant.uses_browser()).count(), 1);
        let extensions: Vec<_> = grants.iter().filter_map(Grant::extension).collect();
        assert_eq!(
            extensions,
            [
                "io.modelcontextprotocol/oauth-client-credentials",
                "io.modelcontextprotocol/enterprise-managed-authorization"
            ]
        );
        assert!(!format!("{grants:?}").contains("hush"));
    }
}
