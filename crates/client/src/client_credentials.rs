//! A program that acts for itself (OAuth 2.1 §4.2; MCP OAuth client credentials extension).

use doorward_types::scope::ScopeSet;
use url::Url;

use crate::client_auth::ClientAuthentication;
use crate::error::{Error, Hop, Refusal};
use crate::token::TokenRequest;

/// The token request of a client that authenticates as `client`, for `resource` byte for byte (A19) and `scope` if there is
/// one. A client that shows nothing for itself gets no token (C2), so it does not ask.
pub fn request(
    token_endpoint: &Url,
    client: &ClientAuthentication,
    resource: Option<&str>,
    scope: &ScopeSet,
) -> Result<TokenRequest, Error> {
    if matches!(client, ClientAuthentication::None { .. }) {
        return Err(Refusal::new(
            Hop::Token,
            Some(token_endpoint),
            ("C2", "MCP OAuth client credentials extension; OAuth 2.1 §4.2"),
            "a program that acts for itself must authenticate, and this client has neither a secret nor a key \
             that the server accepts",
            "give the client's secret or private key; the server must list client_secret_basic or private_key_jwt",
        )
        .into());
    }
    let request = TokenRequest::new(token_endpoint, "client_credentials").authenticated(client);
    Ok(target(request, resource, scope))
}

/// What a token is asked for.
pub(crate) fn target(request: TokenRequest, resource: Option<&str>, scope: &ScopeSet) -> TokenRequest {
    match resource {
        Some(resource) => request.with("resource", resource).with_scope(scope),
        None => request.with_scope(scope),
    }
}

#[cfg(test)]
mod tests {
    use doorward_types::secret::Secret;

    use super::*;

    #[test]
    fn c1_c2_a19_the_request_names_grant_resource_and_scope_and_proves_who_asks() {
        let endpoint = Url::parse("https://as.example/token").unwrap();
        let secret = ClientAuthentication::Post {
            client_id: "job".into(),
            secret: Secret::new("hush"),
        };
        let scope = "b a".parse().unwrap();
        let request = request(&endpoint, &secret, Some("https://mcp.example/MCP"), &scope).unwrap();
        assert!(!format!("{request:?}").contains("hush"));
        assert_eq!(
            request.build().body.unwrap().expose(),
            "grant_type=client_credentials&client_id=job&client_secret=hush\
             &resource=https%3A%2F%2Fmcp.example%2FMCP&scope=a+b"
        );
        let bare = super::request(&endpoint, &secret, None, &ScopeSet::empty()).unwrap();
        assert!(
            bare.build()
                .body
                .unwrap()
                .expose()
                .ends_with("client_secret=hush")
        );
        let public = ClientAuthentication::None {
            client_id: "job".into(),
        };
        let refused = super::request(&endpoint, &public, None, &scope).unwrap_err();
        assert!(refused.to_string().contains("C2"), "{refused}");
    }
}
