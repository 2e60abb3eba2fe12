//! Keys that somebody else made (C2, P1). The files beside this one were made for these tests and protect nothing.

use aws_lc_rs::encoding::AsDer as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward_types::id::KeyId;
use serde_json::{Value, json};

use super::{KEYS, ec_jwk, ed_jwk, rsa_jwk};
use crate::{Algorithm, Jwk, PrivateKey, PrivateKeyError, SigningKey, UnverifiedJws, base64url};

const RSA_JWK: &str = include_str!("keys_for_tests/rsa.jwk.json");

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

fn verifies(key: &PrivateKey, public: &Value, algorithm: Algorithm) {
    assert_eq!(key.algorithm(), algorithm);
    let mut public = public.clone();
    public.as_object_mut().unwrap().remove("kid");
    if algorithm == Algorithm::Ps256 {
        public["alg"] = json!("PS256");
    }
    let public = Jwk::parse(public.to_string().as_bytes()).unwrap();
    let token = key.sign("jwt", &json!({ "iss": "client", "n": 1 })).unwrap();
    let verified = UnverifiedJws::parse(&token).unwrap().verify(&public);
    assert!(verified.is_ok(), "{:?}", verified.err());
    assert!(!format!("{key:?}").contains(&base64url::encode(&[0])));
}

#[test]
fn c2_keys_are_read_as_openssl_and_libraries_write_them() {
    let ec = KEYS.ec.to_pkcs8v1().unwrap();
    verifies(
        &PrivateKey::parse(&pem("PRIVATE KEY", ec.as_ref())).unwrap(),
        &ec_jwk(),
        Algorithm::Es256,
    );
    let sec1 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_>>::as_der(
        &KEYS.ec.private_key(),
    )
    .unwrap();
    let with_parameters = format!(
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
        pem("EC PRIVATE KEY", sec1.as_ref())
    );
    verifies(
        &PrivateKey::parse(&with_parameters).unwrap(),
        &ec_jwk(),
        Algorithm::Es256,
    );
    for ed in [
        KEYS.ed.to_pkcs8().unwrap().as_ref(),
        KEYS.ed.to_pkcs8v1().unwrap().as_ref(),
    ] {
        verifies(
            &PrivateKey::parse(&pem("PRIVATE KEY", ed)).unwrap(),
            &ed_jwk(),
            Algorithm::EdDsa,
        );
    }
    let rsa = KEYS.rsa.as_der().unwrap();
    verifies(
        &PrivateKey::parse(&pem("PRIVATE KEY", rsa.as_ref())).unwrap(),
        &rsa_jwk(),
        Algorithm::Rs256,
    );
}

#[test]
fn c2_private_jwks_are_read_with_their_key_id_and_algorithm() {
    let mut ec = ec_jwk();
    let d = aws_lc_rs::encoding::AsBigEndian::<aws_lc_rs::encoding::EcPrivateKeyBin<'_>>::as_be_bytes(
        &KEYS.ec.private_key(),
    )
    .unwrap();
    ec["d"] = json!(base64url::encode(d.as_ref()));
    let key = PrivateKey::parse(&ec.to_string()).unwrap();
    assert_eq!(key.key_id().map(KeyId::as_str), Some("ec"));
    let token = key.sign("jwt", &json!({})).unwrap();
    assert!(
        UnverifiedJws::parse(&token)
            .unwrap()
            .verify(&Jwk::parse(ec_jwk().to_string().as_bytes()).unwrap())
            .is_ok()
    );

    let rsa: Value = serde_json::from_str(RSA_JWK).unwrap();
    let public = json!({ "kty": "RSA", "n": rsa["n"], "e": rsa["e"] });
    verifies(&PrivateKey::parse(RSA_JWK).unwrap(), &public, Algorithm::Rs256);
    let mut pss = rsa;
    pss["alg"] = json!("PS256");
    verifies(
        &PrivateKey::parse(&pss.to_string()).unwrap(),
        &public,
        Algorithm::Ps256,
    );
    pss["alg"] = json!("ES256");
    assert_eq!(
        PrivateKey::parse(&pss.to_string()).err(),
        Some(PrivateKeyError::Unsupported)
    );
}

#[test]
fn c2_what_is_no_usable_private_key_is_told_apart() {
    let mut foreign = ec_jwk();
    foreign["d"] = json!(base64url::encode(&[7; 32]));
    let mut broken: Value = serde_json::from_str(RSA_JWK).unwrap();
    broken["dp"] = broken["dq"].clone();
    let ec = pem("PRIVATE KEY", KEYS.ec.to_pkcs8v1().unwrap().as_ref());
    for (text, error) in [
        (String::new(), PrivateKeyError::NotAKey),
        ("secret".into(), PrivateKeyError::NotAKey),
        ("{}".into(), PrivateKeyError::Unsupported),
        ("{\"kty\":\"EC\",\"kty\":\"EC\"}".into(), PrivateKeyError::NotAKey),
        (ec_jwk().to_string(), PrivateKeyError::Public),
        (foreign.to_string(), PrivateKeyError::Material),
        (broken.to_string(), PrivateKeyError::Material),
        (pem("PUBLIC KEY", b"x"), PrivateKeyError::Public),
        (pem("CERTIFICATE", b"x"), PrivateKeyError::Public),
        (pem("PRIVATE KEY", b"x"), PrivateKeyError::Unsupported),
        (format!("{ec}{ec}"), PrivateKeyError::NotAKey),
        (ec.replace("-----END", "----END"), PrivateKeyError::NotAKey),
        (" ".repeat(crate::MAX_PRIVATE_KEY + 1), PrivateKeyError::TooLong),
        (
            include_str!("keys_for_tests/p384.pem").into(),
            PrivateKeyError::Unsupported,
        ),
        (
            include_str!("keys_for_tests/rsa1024.pem").into(),
            PrivateKeyError::Unsupported,
        ),
        (
            include_str!("keys_for_tests/encrypted-sec1.pem").into(),
            PrivateKeyError::Encrypted,
        ),
        (
            include_str!("keys_for_tests/encrypted-pkcs8.pem").into(),
            PrivateKeyError::Encrypted,
        ),
    ] {
        assert_eq!(PrivateKey::parse(&text).err(), Some(error), "{text}");
    }
}

#[test]
fn p1_dpop_a_proof_carries_the_public_key_and_only_that() {
    let key = SigningKey::generate().unwrap();
    let proof = key
        .sign_with_public_key("dpop+jwt", &json!({ "htm": "POST" }))
        .unwrap();
    let header: Value =
        serde_json::from_slice(&base64url::decode(proof.split('.').next().unwrap()).unwrap()).unwrap();
    let jwk = header["jwk"].as_object().unwrap();
    let mut members: Vec<&String> = jwk.keys().collect();
    members.sort();
    assert_eq!(members, ["crv", "kty", "x", "y"]);
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("ES256"), &json!("dpop+jwt"))
    );
    let public = Jwk::parse(header["jwk"].to_string().as_bytes()).unwrap();
    assert_eq!(public.thumbprint(), key.public_jwk().thumbprint());
    let (message, signature) = proof.rsplit_once('.').unwrap();
    assert!(public.verifies(message.as_bytes(), &base64url::decode(signature).unwrap()));
}
