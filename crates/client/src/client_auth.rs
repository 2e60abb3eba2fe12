//! How a client shows who it is at the token endpoint (RFC 6749 §2.3, RFC 7523 §2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_oauth::client_auth::ASSERTION_TYPE;
pub use doorward_oauth::client_auth::Method;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::client_assertion::ClientKey;
use crate::error::{Error, Hop, Refusal};
use crate::provider::ClientInformation;
use crate::server_metadata::ServerMetadata;
use crate::text::shown;

/// A client's proof of who it is, for one request.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// Not at all: `client_id` in the body.
    None {
        /// The client.
        client_id: String,
    },
    /// `client_secret_basic`.
    Basic {
        /// The client.
        client_id: String,
        /// Its secret.
        secret: Secret,
    },
    /// `client_secret_post`.
    Post {
        /// The client.
        client_id: String,
        /// Its secret.
        secret: Secret,
    },
    /// `private_key_jwt`: an assertion that was made for this request.
    Assertion {
        /// The client.
        client_id: String,
        /// The signed assertion.
        assertion: Secret,
    },
}

impl ClientAuthentication {
    /// With a secret or with nothing, by `method`. `None` if the method needs something else.
    #[must_use]
    pub fn of(client: &ClientInformation, method: Method) -> Option<Self> {
        let client_id = client.client_id.clone();
        let secret = client.client_secret.clone();
        match method {
            Method::None => Some(Self::None { client_id }),
            Method::ClientSecretBasic => Some(Self::Basic {
                client_id,
                secret: secret?,
            }),
            Method::ClientSecretPost => Some(Self::Post {
                client_id,
                secret: secret?,
            }),
            Method::PrivateKeyJwt => None,
        }
    }

    /// The `Authorization` header, if that is how it is done. RFC 6749 §2.3.1: id and secret are form-encoded before they
    /// are joined, so that neither can hold a colon.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let Self::Basic { client_id, secret } = self else {
            return None;
        };
        let pair = Zeroizing::new(format!(
            "{}:{}",
            form_encoded(client_id),
            form_encoded(secret.expose())
        ));
        let header = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut header = HeaderValue::from_str(&header).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// The parameters that go into the body.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, Secret)> {
        match self {
            // With Basic the header says it already (RFC 6749 §4.1.3 asks for it in the body of others only); servers made with the
            // Python SDK look for the client in the body nevertheless.
            Self::None { client_id } | Self::Basic { client_id, .. } => {
                vec![("client_id", Secret::new(client_id))]
            }
            Self::Post { client_id, secret } => {
                vec![
                    ("client_id", Secret::new(client_id)),
                    ("client_secret", secret.clone()),
                ]
            }
            Self::Assertion { client_id, assertion } => vec![
                ("client_id", Secret::new(client_id)),
                ("client_assertion_type", Secret::new(ASSERTION_TYPE)),
                ("client_assertion", assertion.clone()),
            ],
        }
    }
}

/// Authenticates `client` at `issuer` for one request, with its secret or with an assertion that `key` signs and whose
/// audience is the issuer and nobody else.
pub fn authenticate(
    issuer: &str,
    client: &ClientInformation,
    method: Method,
    key: Option<&ClientKey>,
    now: UnixTime,
    random: &dyn Random,
) -> Result<ClientAuthentication, Error> {
    if let (Method::PrivateKeyJwt, Some(key)) = (method, key) {
        return Ok(ClientAuthentication::Assertion {
            client_id: client.client_id.clone(),
            assertion: key.assertion(&client.client_id, issuer, now, random)?,
        });
    }
    ClientAuthentication::of(client, method).ok_or_else(|| {
        Error::NeedsUser(format!(
            "the client {} authenticates with {}, and there is nothing to do that with: give its secret or key",
            shown(&client.client_id),
            method.name()
        ))
    })
}

fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Chooses how `client` authenticates at `server`'s token endpoint. The method of its registration comes first, then what the
/// server lists, strongest first; a list that is not there says `client_secret_basic` (RFC 8414 §2). A client without any
/// credential is a public one whatever the list says: large providers have public clients and do not list `none`, and what
/// cannot be shown cannot leak. `has_key`: the client can sign assertions.
pub fn choose(server: &ServerMetadata, client: &ClientInformation, has_key: bool) -> Result<Method, Error> {
    let can = |method: &Method| match method {
        Method::None => true,
        Method::ClientSecretBasic | Method::ClientSecretPost => client.client_secret.is_some(),
        Method::PrivateKeyJwt => has_key,
    };
    if let Some(registered) = &client.token_endpoint_auth_method {
        return Method::from_name(registered).filter(can).ok_or_else(|| {
            unusable(
                server,
                &format!(
                    "the client is registered to authenticate with {}",
                    shown(registered)
                ),
            )
        });
    }
    if client.client_secret.is_none() && !has_key {
        return Ok(Method::None);
    }
    let Some(listed) = &server.token_endpoint_auth_methods_supported else {
        let first = [Method::PrivateKeyJwt, Method::ClientSecretBasic, Method::None]
            .into_iter()
            .find(can);
        return Ok(first.unwrap_or(Method::None));
    };
    let order = [
        Method::PrivateKeyJwt,
        Method::ClientSecretBasic,
        Method::ClientSecretPost,
        Method::None,
    ];
    let is_listed = |method: &Method| listed.iter().any(|name| name == method.name());
    order.into_iter().filter(can).find(is_listed).ok_or_else(|| {
        let listed = shown(&listed.join(", "));
        unusable(
            server,
            &format!("token_endpoint_auth_methods_supported lists only {listed}"),
        )
    })
}

fn unusable(server: &ServerMetadata, problem: &str) -> Error {
    Refusal::new(
        Hop::Token,
        Some(&server.token_endpoint),
        ("G10", "RFC 6749 §2.3; RFC 8414 §2"),
        format!("{problem}, and there is nothing to do that with"),
        "give the client's secret or key along with its id, or ask the operator to allow public clients (none)",
    )
    .into()
}

#[cfg(test)]
mod tests;
