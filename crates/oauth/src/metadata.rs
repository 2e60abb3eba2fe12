//! Authorization server metadata (RFC 8414) and the OpenID Connect Discovery document with the same facts.
//!
//! A document lists what exists: an endpoint that is not there yet is not named.

use doorward_types::scope::ScopeSet;
use doorward_types::url::Issuer;
use serde::Serialize;

use crate::pkce;
use crate::resource::as_list;

/// What clients learn about our authorization server (RFC 8414 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthorizationServerMetadata {
    /// The issuer, byte for byte as configured; clients compare it (RFC 8414 §3.3).
    pub issuer: Issuer,
    /// Where authorization requests go.
    pub authorization_endpoint: String,
    /// Where codes and refresh tokens go.
    pub token_endpoint: String,
    /// The public signing keys.
    pub jwks_uri: String,
    /// Where clients register (RFC 7591); absent when registration is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// The union of the default scopes of all servers.
    #[serde(serialize_with = "as_list")]
    pub scopes_supported: ScopeSet,
    /// `code` only (OAuth 2.1).
    pub response_types_supported: [&'static str; 1],
    /// `query` only.
    pub response_modes_supported: [&'static str; 1],
    /// What the token endpoint accepts.
    pub grant_types_supported: [&'static str; 2],
    /// Public clients only, so far.
    pub token_endpoint_auth_methods_supported: [&'static str; 1],
    /// S256 only; clients refuse a server that does not list it.
    pub code_challenge_methods_supported: [&'static str; 1],
    /// RFC 9207: every authorization response carries `iss`.
    pub authorization_response_iss_parameter_supported: bool,
    /// No request objects (OpenID Connect Discovery §3).
    pub request_parameter_supported: bool,
    /// No request objects by reference; the default there would be `true` (OpenID Connect Discovery §3).
    pub request_uri_parameter_supported: bool,
    /// Kinds of `sub`: the same for every client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_types_supported: Option<[&'static str; 1]>,
    /// Required of an OpenID document and never empty. We issue no ID tokens; this is the algorithm of the
    /// keys at `jwks_uri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_signing_alg_values_supported: Option<[&'static str; 1]>,
}

impl AuthorizationServerMetadata {
    /// The RFC 8414 document of `issuer`.
    #[must_use]
    pub fn new(issuer: &Issuer, scopes: ScopeSet, registration: bool) -> Self {
        Self {
            issuer: issuer.clone(),
            authorization_endpoint: endpoint(issuer, "/authorize"),
            token_endpoint: endpoint(issuer, "/token"),
            jwks_uri: endpoint(issuer, "/.well-known/jwks.json"),
            registration_endpoint: registration.then(|| endpoint(issuer, "/register")),
            scopes_supported: scopes,
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: ["authorization_code", "refresh_token"],
            token_endpoint_auth_methods_supported: ["none"],
            code_challenge_methods_supported: [pkce::METHOD],
            authorization_response_iss_parameter_supported: true,
            request_parameter_supported: false,
            request_uri_parameter_supported: false,
            subject_types_supported: None,
            id_token_signing_alg_values_supported: None,
        }
    }

    /// The same facts with the members that OpenID Connect Discovery §3 requires.
    #[must_use]
    pub fn openid(mut self) -> Self {
        self.subject_types_supported = Some(["public"]);
        self.id_token_signing_alg_values_supported = Some(["ES256"]);
        self
    }
}

/// The URL of an endpoint under an issuer, which may have a path: `path` starts with a slash.
#[must_use]
pub fn endpoint(issuer: &Issuer, path: &str) -> String {
    format!("{}{path}", issuer.as_str().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> AuthorizationServerMetadata {
        let issuer = Issuer::parse("https://mcp.example.com/t/a").unwrap();
        AuthorizationServerMetadata::new(&issuer, "notes files".parse().unwrap(), true)
    }

    #[test]
    fn a15_s7_az_11_the_rfc_8414_document() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&document()).unwrap(), @r#"
        {
          "issuer": "https://mcp.example.com/t/a",
          "authorization_endpoint": "https://mcp.example.com/t/a/authorize",
          "token_endpoint": "https://mcp.example.com/t/a/token",
          "jwks_uri": "https://mcp.example.com/t/a/.well-known/jwks.json",
          "registration_endpoint": "https://mcp.example.com/t/a/register",
          "scopes_supported": [
            "files",
            "notes"
          ],
          "response_types_supported": [
            "code"
          ],
          "response_modes_supported": [
            "query"
          ],
          "grant_types_supported": [
            "authorization_code",
            "refresh_token"
          ],
          "token_endpoint_auth_methods_supported": [
            "none"
          ],
          "code_challenge_methods_supported": [
            "S256"
          ],
          "authorization_response_iss_parameter_supported": true,
          "request_parameter_supported": false,
          "request_uri_parameter_supported": false
        }
        "#);
    }

    #[test]
    fn az_11_the_openid_document_holds_the_same_facts_and_two_more() {
        let plain = serde_json::to_value(document()).unwrap();
        let mut openid = serde_json::to_value(document().openid()).unwrap();
        let members = openid.as_object_mut().unwrap();
        assert_eq!(
            members.remove("subject_types_supported"),
            Some(serde_json::json!(["public"]))
        );
        assert_eq!(
            members.remove("id_token_signing_alg_values_supported"),
            Some(serde_json::json!(["ES256"]))
        );
        assert_eq!(openid, plain);
    }

    #[test]
    fn a_registration_endpoint_that_is_off_is_not_named() {
        let issuer = Issuer::parse("https://a.example/").unwrap();
        let document = AuthorizationServerMetadata::new(&issuer, ScopeSet::empty(), false);
        assert_eq!(document.registration_endpoint, None);
        assert_eq!(document.token_endpoint, "https://a.example/token");
        assert_eq!(document.issuer.as_str(), "https://a.example/");
    }
}
