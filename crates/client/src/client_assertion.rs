//! Client authentication with a signed assertion, `private_key_jwt` (RFC 7523 §2.2, C2): no secret travels.

use std::time::Duration;

use doorward_jose::{Algorithm, PrivateKey, PrivateKeyError, SigningError};
use doorward_types::id::KeyId;
use doorward_types::random::Random;
use doorward_types::secret::Secret;
use doorward_types::time::UnixTime;
use serde_json::json;

/// An assertion is made for one request, so it need not outlive a slow one.
const LIFETIME: Duration = Duration::from_mins(1);

/// The private key whose public half was registered for this client. Never printed.
#[derive(Debug)]
pub struct ClientKey(PrivateKey);

impl ClientKey {
    /// Reads a key in PEM or as JWK: ES256, EdDSA, RS256, PS256.
    pub fn parse(text: &str) -> Result<Self, PrivateKeyError> {
        PrivateKey::parse(text).map(Self)
    }

    /// The same key under the `kid` that it was registered with. A JWK brings its own.
    #[must_use]
    pub fn with_key_id(self, key_id: KeyId) -> Self {
        Self(self.0.with_key_id(key_id))
    }

    /// What it signs with, to be compared with `token_endpoint_auth_signing_alg_values_supported`.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    /// A fresh assertion of `client_id` for the authorization server `issuer`, which is its only audience, as one
    /// string: one that another server reads out of its log opens nothing here, and the other way round.
    pub fn assertion(
        &self,
        client_id: &str,
        issuer: &str,
        now: UnixTime,
        random: &dyn Random,
    ) -> Result<Secret, SigningError> {
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": issuer,
            "iat": now.seconds(),
            "exp": now.plus(LIFETIME).seconds(),
            "jti": Secret::generate(random).expose(),
        });
        self.0.sign("JWT", &claims).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use doorward_jose::{SigningKey, UnverifiedJws};
    use doorward_types::random::CountingRandom;

    use super::*;

    fn pem(key: &SigningKey) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(key.to_pkcs8().unwrap());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    #[test]
    fn c2_an_assertion_names_client_and_issuer_and_is_used_once() {
        let pair = SigningKey::generate().unwrap();
        let key = ClientKey::parse(&pem(&pair)).unwrap();
        assert_eq!(key.algorithm(), Algorithm::Es256);
        let (now, random) = (UnixTime::from_seconds(1000), CountingRandom::default());
        let sign = || {
            key.assertion(
                "https://app.example/c.json",
                "https://as.example/t/",
                now,
                &random,
            )
            .unwrap()
        };
        let token = sign();
        let verified = UnverifiedJws::parse(token.expose())
            .unwrap()
            .verify(pair.public_jwk())
            .unwrap();
        let claims = crate::peek::OwnJwt::read(&token).unwrap();
        drop(verified);
        assert_eq!(claims.holds("iss", "https://app.example/c.json"), Some(true));
        assert_eq!(claims.holds("sub", "https://app.example/c.json"), Some(true));
        assert_eq!(claims.holds("aud", "https://as.example/t/"), Some(true));
        assert_eq!(claims.expires_at(), Some(UnixTime::from_seconds(1060)));
        assert!(claims.missing(&["jti", "iat"]).is_empty());
        assert_ne!(token, sign(), "another jti");
        assert!(!format!("{key:?}").contains("BEGIN"));
    }
}
