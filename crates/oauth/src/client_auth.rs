//! Client authentication as it comes with a request (RFC 6749 §2.3, RFC 7521 §4.2, RFC 7523 §2.2). Who the client
//! really is gets decided later, with its registration at hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_jose::UnverifiedJws;
use doorward_types::id::ClientId;
use doorward_types::secret::Secret;

use crate::error::ErrorCode;
use crate::form::{self, Form};

/// The only `client_assertion_type` (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a client authenticates: `token_endpoint_auth_method` (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all: a public client.
    None,
    /// A secret in an `Authorization: Basic` header (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// A secret in the body (RFC 6749 §2.3.1).
    ClientSecretPost,
    /// A signed assertion (RFC 7523 §2.2).
    PrivateKeyJwt,
}

impl Method {
    /// Every method. `none` comes first: some clients take the first one listed in the metadata.
    pub const ALL: [Self; 4] = [
        Self::None,
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::PrivateKeyJwt,
    ];

    /// The method with this name, compared byte for byte.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The name in registrations and metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// Whether the client holds a secret that we gave it.
    #[must_use]
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// What a client showed for itself. Nothing about it is known to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Only its id.
    None,
    /// A secret in the header.
    Basic(Secret),
    /// A secret in the body.
    Post(Secret),
    /// A compact JWS.
    Assertion(Secret),
}

impl Credential {
    /// The method that it is.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::None => Method::None,
            Self::Basic(_) => Method::ClientSecretBasic,
            Self::Post(_) => Method::ClientSecretPost,
            Self::Assertion(_) => Method::PrivateKeyJwt,
        }
    }
}

/// Who a client says it is, and what it showed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    client: ClientId,
    credential: Credential,
}

impl Presented {
    /// The client to load.
    #[must_use]
    pub const fn client_id(&self) -> &ClientId {
        &self.client
    }

    /// What it showed.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// Why it cannot be told which client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresentError {
    /// More than one method, or more than one header (RFC 6749 §2.3).
    #[error("a client must use exactly one way to authenticate")]
    Several,
    /// Neither credentials nor `client_id`.
    #[error("a parameter is missing: client_id")]
    NoClient,
    /// An assertion without its type, or the other way round (RFC 7521 §4.2).
    #[error("client_assertion and client_assertion_type go together")]
    HalfAnAssertion,
    /// `client_id` names another client than the credentials.
    #[error("client_id is not the client of the credentials")]
    OtherClient,
    /// The header's scheme is not Basic.
    #[error("only the scheme Basic authenticates a client")]
    Scheme,
    /// The header is not Basic as RFC 6749 §2.3.1 has it.
    #[error("the Basic credentials cannot be read")]
    Basic,
    /// Another `client_assertion_type`.
    #[error("only assertions of type jwt-bearer are taken")]
    AssertionType,
    /// The assertion is not a signed token that names its issuer.
    #[error("the client assertion cannot be read")]
    Assertion,
}

impl PresentError {
    /// The OAuth error code (RFC 6749 §5.2, RFC 7521 §4.2.1).
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Several | Self::NoClient | Self::HalfAnAssertion => ErrorCode::InvalidRequest,
            Self::OtherClient | Self::Scheme | Self::Basic | Self::AssertionType | Self::Assertion => {
                ErrorCode::InvalidClient
            }
        }
    }
}

/// Reads what a request says about its client: `authorization` is every `Authorization` header (one that is no text
/// as an empty one), `form` the body. An empty parameter counts as left out (RFC 6749 §3.2): some libraries send
/// `client_secret=` for none.
pub fn read(authorization: &[&str], form: &Form) -> Result<Presented, PresentError> {
    let named = form.get("client_id");
    let secret = form.get("client_secret");
    let assertion = match (form.get("client_assertion"), form.get("client_assertion_type")) {
        (None, None) => None,
        (Some(assertion), Some(kind)) => Some((assertion, kind)),
        _ => return Err(PresentError::HalfAnAssertion),
    };
    let (client, credential) = match (authorization, secret, assertion) {
        ([], None, None) => (None, Credential::None),
        ([header], None, None) => {
            let (client, secret) = basic(header)?;
            (Some(client), Credential::Basic(secret))
        }
        ([], Some(secret), None) => (None, Credential::Post(Secret::new(secret))),
        ([], None, Some((assertion, kind))) => {
            if kind != ASSERTION_TYPE {
                return Err(PresentError::AssertionType);
            }
            // RFC 7523 §3: the assertion itself names the client, `client_id` may be left out.
            let token = UnverifiedJws::parse(assertion).map_err(|_| PresentError::Assertion)?;
            let issuer = token
                .issuer()
                .filter(|issuer| !issuer.is_empty())
                .ok_or(PresentError::Assertion)?;
            (
                Some(issuer.to_owned()),
                Credential::Assertion(Secret::new(assertion)),
            )
        }
        _ => return Err(PresentError::Several),
    };
    let client = match (client, named) {
        (Some(client), Some(named)) if client != named => return Err(PresentError::OtherClient),
        (Some(client), _) => client,
        (None, Some(named)) => named.to_owned(),
        (None, None) => return Err(PresentError::NoClient),
    };
    Ok(Presented {
        client: ClientId::new(client),
        credential,
    })
}

/// `Basic`, spaces, base64 of id, colon, secret: both form-encoded first (RFC 6749 §2.3.1), which is also what keeps
/// a colon out of the id.
fn basic(header: &str) -> Result<(String, Secret), PresentError> {
    let (scheme, rest) = header.split_once(' ').ok_or(PresentError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(PresentError::Scheme);
    }
    let decoded = STANDARD
        .decode(rest.trim_start_matches(' '))
        .map(zeroize::Zeroizing::new)
        .map_err(|_| PresentError::Basic)?;
    let colon = decoded
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(PresentError::Basic)?;
    let (id, secret) = decoded.split_at_checked(colon).ok_or(PresentError::Basic)?;
    let id = form::decode(id).map_err(|_| PresentError::Basic)?;
    let secret = form::decode(secret.get(1..).unwrap_or_default()).map_err(|_| PresentError::Basic)?;
    if id.is_empty() {
        return Err(PresentError::Basic);
    }
    Ok((id, Secret::new(secret)))
}

#[cfg(test)]
mod tests;
