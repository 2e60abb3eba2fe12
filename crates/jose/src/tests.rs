use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::{JwkSet, SigningKey, base64url};

mod differential;
mod keys;
mod negatives;
mod private;

/// One private key of each kind, and what signs with it.
struct Keys {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    ed: Ed25519KeyPair::generate().unwrap(),
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
});

fn es256(message: &[u8]) -> Vec<u8> {
    KEYS.ec
        .sign(&SystemRandom::new(), message)
        .unwrap()
        .as_ref()
        .to_vec()
}

fn eddsa(message: &[u8]) -> Vec<u8> {
    KEYS.ed.sign(message).as_ref().to_vec()
}

fn rs256(message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
    KEYS.rsa
        .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .unwrap();
    signature
}

fn ps256(message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
    KEYS.rsa
        .sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)
        .unwrap();
    signature
}

fn ec_jwk() -> Value {
    let point = KEYS.ec.public_key().as_ref();
    let (x, y) = (base64url::encode(&point[1..33]), base64url::encode(&point[33..]));
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "ec", "use": "sig", "alg": "ES256" })
}

fn ed_jwk() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url::encode(KEYS.ed.public_key().as_ref()), "kid": "ed" })
}

fn rsa_jwk() -> Value {
    let public: PublicKeyComponents<Vec<u8>> = KEYS.rsa.public_key().into();
    json!({ "kty": "RSA", "n": base64url::encode(&public.n), "e": base64url::encode(&public.e), "kid": "rsa" })
}

fn jwks() -> JwkSet {
    JwkSet::parse(
        json!({ "keys": [ec_jwk(), ed_jwk(), rsa_jwk()] })
            .to_string()
            .as_bytes(),
    )
    .unwrap()
}

/// A token with any header and payload, well signed.
fn forge(header: &str, payload: &str, sign: fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        base64url::encode(header.as_bytes()),
        base64url::encode(payload.as_bytes())
    );
    let signature = base64url::encode(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn good() -> [String; 4] {
    let payload = r#"{"iss":"https://as.test","n":1}"#;
    [
        forge(r#"{"alg":"ES256","kid":"ec","typ":"at+jwt"}"#, payload, es256),
        forge(r#"{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}"#, payload, eddsa),
        forge(r#"{"alg":"Ed25519","kid":"ed","typ":"at+jwt"}"#, payload, eddsa),
        forge(r#"{"alg":"RS256","kid":"rsa","typ":"at+jwt"}"#, payload, rs256),
    ]
}

fn signing_key() -> SigningKey {
    SigningKey::from_pkcs8(KEYS.ec.to_pkcs8v1().unwrap().as_ref()).unwrap()
}
