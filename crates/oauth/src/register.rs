//! Dynamic client registration messages (RFC 7591 §2 and §3) and those of its management (RFC 7592).

use doorward_types::secret::Secret;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// A registration request. Members we do not honour (logos, policies, …) are dropped unread; the ones we
/// honour must have the right type and may not be repeated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RegistrationRequest {
    /// `redirect_uris`.
    pub redirect_uris: Option<Vec<String>>,
    /// `token_endpoint_auth_method`; the default of RFC 7591 is `client_secret_basic`.
    pub token_endpoint_auth_method: Option<String>,
    /// `token_endpoint_auth_signing_alg` (OpenID Connect Registration §2).
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// `grant_types`.
    pub grant_types: Option<Vec<String>>,
    /// `response_types`.
    pub response_types: Option<Vec<String>>,
    /// `client_name`.
    pub client_name: Option<String>,
    /// `client_uri`.
    pub client_uri: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `software_id`.
    pub software_id: Option<String>,
    /// `application_type` (OpenID Connect Registration §2).
    pub application_type: Option<String>,
    /// `dpop_bound_access_tokens` (RFC 9449 §5.2).
    pub dpop_bound_access_tokens: Option<bool>,
    /// `jwks`: judged only if the client authenticates with a key.
    pub jwks: Option<Value>,
    /// `jwks_uri`: judged only if the client authenticates with a key, so it may be anything.
    pub jwks_uri: Option<Value>,
}

/// An update of a registration (RFC 7592 §2.2): the metadata, and what shows that the right client is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UpdateRequest {
    /// `client_id`: required, and the one that is updated.
    pub client_id: Option<String>,
    /// `client_secret`: if sent, the one that the client has.
    #[serde(default, deserialize_with = "secret")]
    pub client_secret: Option<Secret>,
    /// Must not be sent.
    pub registration_access_token: Option<Value>,
    /// Must not be sent.
    pub registration_client_uri: Option<Value>,
    /// Must not be sent.
    pub client_secret_expires_at: Option<Value>,
    /// Must not be sent.
    pub client_id_issued_at: Option<Value>,
}

impl UpdateRequest {
    /// The first member that RFC 7592 §2.2 forbids in an update.
    #[must_use]
    pub fn forbidden(&self) -> Option<&'static str> {
        [
            ("registration_access_token", &self.registration_access_token),
            ("registration_client_uri", &self.registration_client_uri),
            ("client_secret_expires_at", &self.client_secret_expires_at),
            ("client_id_issued_at", &self.client_id_issued_at),
        ]
        .into_iter()
        .find_map(|(name, value)| value.is_some().then_some(name))
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// What is registered (RFC 7591 §3.2.1, RFC 7592 §3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistrationResponse {
    /// The new (or the same) client id.
    pub client_id: String,
    /// When it was issued, in seconds since the epoch.
    pub client_id_issued_at: i64,
    /// The secret, in the answer that made it and in no other.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub client_secret: Option<Secret>,
    /// When the secret ends, in seconds since the epoch; 0 for never. Present whenever there is a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_expires_at: Option<i64>,
    /// With what the registration is managed, for registrations that can be.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub registration_access_token: Option<Secret>,
    /// Where it is managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_client_uri: Option<String>,
    /// Exactly what the request listed, ports included: clients compare it with what they cached.
    pub redirect_uris: Vec<String>,
    /// What it may use.
    pub grant_types: Vec<String>,
    /// `code`, or nothing for a client that never sends people here.
    pub response_types: Vec<String>,
    /// How it authenticates; `none` for public clients.
    pub token_endpoint_auth_method: String,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// As requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// The keys it authenticates with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Where those keys are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
}

impl RegistrationResponse {
    /// The JSON body; it may hold the client's secret.
    #[must_use]
    pub fn to_json(&self) -> Secret {
        Secret::new(serde_json::json!(self).to_string())
    }
}

fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.as_ref().map_or("", Secret::expose))
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1), if that is what the header says: the initial
/// access token of a registration, or the one that manages it. The scheme is read in any case.
#[must_use]
pub fn bearer(header: &[u8]) -> Option<Secret> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_token = |b: u8| matches!(b, 0x21..=0x7e) && b != b',';
    let good = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(is_token);
    good.then(|| Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_the_one_word_after_the_scheme() {
        for good in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(good.as_bytes()), Some(Secret::new("abc")), "{good}");
        }
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic abc",
            "Bearer a b",
            "Bearer a,b",
            "Bearer\tabc",
            "Bearer \u{e4}",
        ] {
            assert_eq!(bearer(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn an_update_names_no_member_that_is_ours() {
        for name in [
            "registration_access_token",
            "registration_client_uri",
            "client_secret_expires_at",
            "client_id_issued_at",
        ] {
            let body = serde_json::json!({ "client_id": "c", name: 1 });
            let update: UpdateRequest = serde_json::from_value(body).unwrap();
            assert_eq!(update.forbidden(), Some(name));
        }
        let update: UpdateRequest =
            serde_json::from_str(r#"{"client_id":"c","client_secret":"hush"}"#).unwrap();
        assert_eq!(
            (update.forbidden(), update.client_secret.clone()),
            (None, Some(Secret::new("hush")))
        );
        assert!(!format!("{update:?}").contains("hush"));
        assert!(serde_json::from_str::<UpdateRequest>(r#"{"client_id":"a","client_id":"b"}"#).is_err());
    }
}
