//! Signs whatever a test wants, with the server's own key: only then does a refusal prove that the
//! claim or the header was the reason.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward_authorization_server::keys::KeyRing;
use doorward_storage::Store as _;
use doorward_storage::data_folder::DataFolder;
use serde_json::{Value, json};

use crate::server::Doorward;

/// A signing key.
#[derive(Debug)]
pub struct Forge {
    pair: EcdsaKeyPair,
    kid: String,
}

impl Forge {
    /// With the key that the server signs with.
    ///
    /// # Panics
    /// When the data folder cannot be opened.
    pub async fn of(doorward: &Doorward) -> Self {
        let folder = DataFolder::open(&doorward.data).expect("the data folder opens");
        let stored = folder.store().keys().await.expect("the keys load");
        let ring = KeyRing::open(&stored, folder.master_key()).expect("the keys open");
        let pkcs8 = ring.signing().to_pkcs8().expect("a private key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).expect("a P-256 key");
        Self {
            pair,
            kid: ring.signing().key_id().to_string(),
        }
    }

    /// With a key that nobody knows.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn attacker() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self {
            pair,
            kid: crate::random_text(),
        }
    }

    /// The header of a good token.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.kid })
    }

    /// The private half in PEM, for a program that shall sign with it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn private_pem(&self) -> String {
        use base64::Engine as _;
        let der = self.pair.to_pkcs8v1().expect("a key that was generated");
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// The public half.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": Self::encode(&point[1..33]), "y": Self::encode(&point[33..]) })
    }

    /// A compact JWS over these claims.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A compact JWS over exactly these texts.
    ///
    /// # Panics
    /// When signing fails.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!(
            "{}.{}",
            Self::encode(header.as_bytes()),
            Self::encode(claims.as_bytes())
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), input.as_bytes())
            .expect("a signature");
        format!("{input}.{}", Self::encode(signature.as_ref()))
    }

    /// A compact JWS whose signature is an HMAC, by the hash that its `alg` names.
    #[must_use]
    pub fn hmac(header: &Value, claims: &Value, secret: &[u8]) -> String {
        let algorithm = match header["alg"].as_str() {
            Some("HS384") => hmac::HMAC_SHA384,
            Some("HS512") => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        let input = format!(
            "{}.{}",
            Self::encode(header.to_string().as_bytes()),
            Self::encode(claims.to_string().as_bytes())
        );
        let tag = hmac::sign(&hmac::Key::new(algorithm, secret), input.as_bytes());
        format!("{input}.{}", Self::encode(tag.as_ref()))
    }

    /// base64url without padding.
    #[must_use]
    pub fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What [`Forge::encode`] wrote.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn decode(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).expect("base64url")
    }
}
