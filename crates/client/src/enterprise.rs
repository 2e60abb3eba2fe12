//! Enterprise-managed authorization: the company's identity provider decides, nobody is redirected anywhere.
//!
//! Two legs. The identity assertion of the user's single sign-on is exchanged at the identity provider for an ID-JAG, a
//! grant for one authorization server and one resource (RFC 8693); the authorization server exchanges that for an access
//! token (RFC 7523). Assertions and grants are secrets (E12, E17): they are in no URL, no message and no `Debug`.

use std::sync::Arc;

use doorward_types::random::Random;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use url::Url;

use crate::client_assertion::ClientKey;
use crate::client_auth::ClientAuthentication;
use crate::client_credentials::target;
use crate::error::{Error, Hop, Refusal};
use crate::grant::{AssertionSource, JWT_BEARER};
use crate::http::HttpResponse;
use crate::peek::OwnJwt;
use crate::token::{TokenRequest, process};

/// `grant_type` of the first leg (RFC 8693 §2.1).
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The kind of token that it asks for.
pub const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
/// What an authorization server lists in `authorization_grant_profiles_supported` when it takes ID-JAGs (E4).
pub const GRANT_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";
/// `typ` of an ID-JAG.
const ID_JAG_TYP: &str = "oauth-id-jag+jwt";

/// What the identity assertion is (RFC 8693 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectTokenType {
    /// An OpenID Connect ID token.
    #[default]
    IdToken,
    /// A SAML 2.0 assertion, base64url encoded.
    Saml2,
}

impl SubjectTokenType {
    /// The URN.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Saml2 => "urn:ietf:params:oauth:token-type:saml2",
        }
    }
}

/// How this program authenticates at the identity provider.
#[derive(Clone)]
pub enum IdpCredential {
    /// By its id alone.
    None,
    /// With a secret in the `Authorization` header.
    SecretBasic(Secret),
    /// With a secret in the body.
    SecretPost(Secret),
    /// With a key (RFC 7523 §2.2).
    Key(Arc<ClientKey>),
}

/// The company's identity provider, as its administrator configured it (E22): never as an MCP server names it.
#[derive(Clone)]
pub struct EnterpriseManaged {
    /// Its `issuer`: where its metadata is looked for, and the audience of a client assertion.
    pub issuer: String,
    /// Its token endpoint; `None`: as its metadata says.
    pub token_endpoint: Option<Url>,
    /// Who this program is there.
    pub client_id: String,
    /// How it authenticates there.
    pub credential: IdpCredential,
    /// The identity assertion of the user's single sign-on.
    pub subject_token: Arc<dyn AssertionSource>,
    /// What kind of assertion that is.
    pub subject_token_type: SubjectTokenType,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The `issuer` of the MCP server's authorization server, byte for byte: the `audience` of the ID-JAG (E1).
    pub issuer: &'a str,
    /// The RFC 9728 identifier of the MCP server, byte for byte.
    pub resource: &'a str,
    /// The scopes; none if empty.
    pub scope: &'a ScopeSet,
}

/// An identity assertion JWT authorization grant, judged. It opens one resource once; it is never kept.
#[derive(Clone, Debug)]
pub struct IdJag(Secret);

/// Judges the identity provider's answer to [`EnterpriseManaged::exchange_request`]. It is an ID-JAG for exactly this
/// authorization server and resource, or it is not sent on: a grant for somebody else must not come into the hands of
/// this server.
pub fn exchange_response(
    endpoint: &Url,
    response: &HttpResponse,
    wanted: Wanted<'_>,
) -> Result<IdJag, Error> {
    let refuse = |rule: &'static str, clause: &'static str, problem: String| -> Error {
        let remedy =
            "the administrator of the identity provider must correct its configuration for this MCP server";
        Refusal::new(
            Hop::TokenExchange,
            Some(endpoint),
            (rule, clause),
            problem,
            remedy,
        )
        .into()
    };
    let answer = process(Hop::TokenExchange, endpoint, response)?;
    if answer.issued_token_type.as_deref() != Some(ID_JAG) {
        let problem = "issued_token_type is not that of an ID-JAG";
        return Err(refuse(
            "E1",
            "MCP enterprise-managed authorization §4.2",
            problem.into(),
        ));
    }
    // A JWE is for the authorization server's eyes only (E13).
    if let Some(jwt) = OwnJwt::read(&answer.access_token) {
        if jwt.typ() != Some(ID_JAG_TYP) {
            let problem = format!("typ of the grant is not {ID_JAG_TYP}");
            return Err(refuse(
                "E23",
                "MCP enterprise-managed authorization §4.3",
                problem,
            ));
        }
        if jwt.holds("aud", wanted.issuer) != Some(true) {
            let problem = format!("the grant is not for {}", wanted.issuer);
            return Err(refuse("E1", "MCP enterprise-managed authorization §4.3", problem));
        }
        if jwt.holds("resource", wanted.resource) == Some(false) {
            let problem = format!("the grant is not for the resource {}", wanted.resource);
            return Err(refuse("E2", "MCP enterprise-managed authorization §4.3", problem));
        }
    }
    Ok(IdJag(answer.access_token))
}

impl EnterpriseManaged {
    /// The first leg: exchanges `subject_token` at the identity provider (ext-auth §4).
    pub fn exchange_request(
        &self,
        token_endpoint: &Url,
        subject_token: &Secret,
        wanted: Wanted<'_>,
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<TokenRequest, Error> {
        let request = TokenRequest::new(token_endpoint, TOKEN_EXCHANGE)
            .named_by_user()
            .at(Hop::TokenExchange)
            .with("requested_token_type", ID_JAG)
            .with("audience", wanted.issuer)
            .with("resource", wanted.resource)
            .with_scope(wanted.scope)
            .with_secret("subject_token", subject_token)
            .with("subject_token_type", self.subject_token_type.name());
        Ok(request.authenticated(&self.authentication(now, random)?))
    }

    fn authentication(&self, now: UnixTime, random: &dyn Random) -> Result<ClientAuthentication, Error> {
        let client_id = self.client_id.clone();
        Ok(match &self.credential {
            IdpCredential::None => ClientAuthentication::None { client_id },
            IdpCredential::SecretBasic(secret) => ClientAuthentication::Basic {
                client_id,
                secret: secret.clone(),
            },
            IdpCredential::SecretPost(secret) => ClientAuthentication::Post {
                client_id,
                secret: secret.clone(),
            },
            IdpCredential::Key(key) => ClientAuthentication::Assertion {
                assertion: key
                    .assertion(&client_id, &self.issuer, now, random)
                    .map_err(|why| Error::NeedsUser(format!("the key for the identity provider: {why}")))?,
                client_id,
            },
        })
    }
}

/// The second leg: the grant at the MCP server's authorization server, as the client that is registered there (ext-auth §5).
#[must_use]
pub fn grant_request(
    id_jag: &IdJag,
    token_endpoint: &Url,
    client: &ClientAuthentication,
    wanted: Wanted<'_>,
) -> TokenRequest {
    let request = TokenRequest::new(token_endpoint, JWT_BEARER)
        .with_secret("assertion", &id_jag.0)
        .authenticated(client);
    target(request, Some(wanted.resource), wanted.scope)
}

#[cfg(test)]
pub(crate) mod tests;
