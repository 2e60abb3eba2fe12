//! Authorization server metadata (RFC 8414) and the OpenID Connect Discovery document with the same facts.
//!
//! A document lists what exists: an endpoint that is not there yet is not named.

use doorward_types::scope::ScopeSet;
use doorward_types::url::Issuer;
use serde::Serialize;

use crate::client_auth::Method;
use crate::pkce;

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
    pub grant_types_supported: Vec<&'static str>,
    /// How clients authenticate there.
    pub token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// What their assertions may be signed with; MCP's client-credentials extension requires it.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// Where clients give up tokens (RFC 7009).
    pub revocation_endpoint: String,
    /// How clients authenticate there: as at the token endpoint.
    pub revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    /// What their assertions may be signed with.
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// Where resource servers ask about tokens (RFC 7662).
    pub introspection_endpoint: String,
    /// How they authenticate there: without it nobody is told anything.
    pub introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    /// What their assertions may be signed with.
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    /// Where clients push authorization requests (RFC 9126).
    pub pushed_authorization_request_endpoint: String,
    /// Where devices without a browser ask for a code (RFC 8628); absent when that grant is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<String>,
    /// Whether client ids may be URLs of metadata documents; absent when they may not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub client_id_metadata_document_supported: bool,
    /// S256 only; clients refuse a server that does not list it.
    pub code_challenge_methods_supported: [&'static str; 1],
    /// RFC 9207: every authorization response carries `iss`.
    pub authorization_response_iss_parameter_supported: bool,
    /// No request objects (OpenID Connect Discovery §3).
    pub request_parameter_supported: bool,
    /// No request objects by reference; the default there would be `true` (OpenID Connect Discovery §3). A pushed
    /// request's `request_uri` is none: RFC 9126 §5 has its own member.
    pub request_uri_parameter_supported: bool,
    /// Kinds of `sub`: the same for every client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_types_supported: Option<[&'static str; 1]>,
    /// Required of an OpenID document and never empty. We issue no ID tokens; this is the algorithm of the
    /// keys at `jwks_uri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_signing_alg_values_supported: Option<[&'static str; 1]>,
}

/// What of it can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Registration of clients (RFC 7591).
    pub registration: bool,
    /// Clients that act for themselves (RFC 6749 §4.4).
    pub client_credentials: bool,
    /// The device grant (RFC 8628).
    pub device: bool,
    /// Clients that are known by the URL of their metadata document.
    pub client_metadata_documents: bool,
}

impl AuthorizationServerMetadata {
    /// The RFC 8414 document of `issuer`, whose assertions may be signed with `algorithms`.
    #[must_use]
    pub fn new(issuer: &Issuer, scopes: ScopeSet, offer: Offer, algorithms: &[&'static str]) -> Self {
        let methods: Vec<&'static str> = Method::ALL.iter().map(|method| method.name()).collect();
        let authenticating = methods
            .iter()
            .copied()
            .filter(|method| *method != Method::None.name());
        let mut grants = vec!["authorization_code", "refresh_token"];
        if offer.client_credentials {
            grants.push("client_credentials");
        }
        if offer.device {
            grants.push("urn:ietf:params:oauth:grant-type:device_code");
        }
        Self {
            issuer: issuer.clone(),
            authorization_endpoint: endpoint(issuer, "/authorize"),
            token_endpoint: endpoint(issuer, "/token"),
            jwks_uri: endpoint(issuer, "/.well-known/jwks.json"),
            registration_endpoint: offer.registration.then(|| endpoint(issuer, "/register")),
            scopes_supported: scopes,
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: grants,
            token_endpoint_auth_methods_supported: methods.clone(),
            token_endpoint_auth_signing_alg_values_supported: algorithms.to_vec(),
            revocation_endpoint: endpoint(issuer, "/revoke"),
            revocation_endpoint_auth_methods_supported: methods.clone(),
            revocation_endpoint_auth_signing_alg_values_supported: algorithms.to_vec(),
            introspection_endpoint: endpoint(issuer, "/introspect"),
            introspection_endpoint_auth_methods_supported: authenticating.collect(),
            introspection_endpoint_auth_signing_alg_values_supported: algorithms.to_vec(),
            pushed_authorization_request_endpoint: endpoint(issuer, "/par"),
            device_authorization_endpoint: offer.device.then(|| endpoint(issuer, "/device_authorization")),
            client_id_metadata_document_supported: offer.client_metadata_documents,
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

/// Scopes as a JSON array of strings, which is how metadata documents list them.
fn as_list<S: serde::Serializer>(scopes: &ScopeSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(scopes.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> AuthorizationServerMetadata {
        let issuer = Issuer::parse("https://mcp.example.com/t/a").unwrap();
        AuthorizationServerMetadata::new(&issuer, "notes files".parse().unwrap(), ALL_ON, &["ES256"])
    }

    const ALL_ON: Offer = Offer {
        registration: true,
        client_credentials: true,
        device: true,
        client_metadata_documents: true,
    };

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
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:device_code"
          ],
          "token_endpoint_auth_methods_supported": [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt"
          ],
          "token_endpoint_auth_signing_alg_values_supported": [
            "ES256"
          ],
          "revocation_endpoint": "https://mcp.example.com/t/a/revoke",
          "revocation_endpoint_auth_methods_supported": [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt"
          ],
          "revocation_endpoint_auth_signing_alg_values_supported": [
            "ES256"
          ],
          "introspection_endpoint": "https://mcp.example.com/t/a/introspect",
          "introspection_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt"
          ],
          "introspection_endpoint_auth_signing_alg_values_supported": [
            "ES256"
          ],
          "pushed_authorization_request_endpoint": "https://mcp.example.com/t/a/par",
          "device_authorization_endpoint": "https://mcp.example.com/t/a/device_authorization",
          "client_id_metadata_document_supported": true,
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
    fn az_11_what_is_off_is_not_named() {
        let issuer = Issuer::parse("https://a.example/").unwrap();
        let off = Offer {
            registration: false,
            client_credentials: false,
            device: false,
            client_metadata_documents: false,
        };
        let document = AuthorizationServerMetadata::new(&issuer, ScopeSet::empty(), off, &["ES256"]);
        assert_eq!(document.token_endpoint, "https://a.example/token");
        assert_eq!(document.issuer.as_str(), "https://a.example/");
        assert_eq!(
            document.grant_types_supported,
            ["authorization_code", "refresh_token"]
        );
        let json = serde_json::to_value(&document).unwrap();
        for absent in [
            "registration_endpoint",
            "device_authorization_endpoint",
            "client_id_metadata_document_supported",
        ] {
            assert!(json.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn c3_authentication_for_machine_clients_is_listed_with_its_algorithms() {
        let document = document();
        let methods = &document.token_endpoint_auth_methods_supported;
        assert_eq!(methods[0], "none", "some clients take the first one");
        assert!(methods.contains(&"private_key_jwt") && methods.contains(&"client_secret_basic"));
        assert!(
            !document
                .token_endpoint_auth_signing_alg_values_supported
                .is_empty()
        );
        assert!(
            !document
                .introspection_endpoint_auth_methods_supported
                .contains(&"none")
        );
    }
}
