//! Keys: parsing, filtering, thumbprints, signing.

use serde_json::json;

use super::*;
use crate::{Algorithm, Jwk, JwkError, JwkSetError, MAX_KEYS, MAX_SET, SigningError, UnverifiedJws};

fn parse(jwk: &Value) -> Result<Jwk, JwkError> {
    Jwk::parse(jwk.to_string().as_bytes())
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

#[test]
fn rfc_7638_and_rfc_8037_thumbprints() {
    let rsa = json!({ "kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw" });
    assert_eq!(
        parse(&rsa).unwrap().thumbprint().to_string(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    assert_eq!(
        parse(&ed).unwrap().thumbprint().to_string(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

#[test]
fn rfc_7515_a2_and_a3_examples_verify() {
    const MESSAGE: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let es256 = format!(
        "eyJhbGciOiJFUzI1NiJ9.{MESSAGE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    let ec = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let rs256 = format!(
        "eyJhbGciOiJSUzI1NiJ9.{MESSAGE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let rsa = json!({ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" });
    for (token, jwk) in [(es256, ec), (rs256, rsa)] {
        let verified = UnverifiedJws::parse(&token)
            .unwrap()
            .verify(&parse(&jwk).unwrap())
            .unwrap();
        assert_eq!(verified.claims().required_string("iss"), Ok("joe"));
        assert_eq!(verified.claims().required_integer("exp"), Ok(1_300_819_380));
        assert_eq!((verified.typ(), verified.key_id()), (None, None));
    }
}

#[test]
fn what_is_published_is_parsed_again() {
    for jwk in [ec_jwk(), ed_jwk(), rsa_jwk()] {
        let parsed = parse(&jwk).unwrap();
        assert_eq!(Jwk::parse(&serde_json::to_vec(&parsed).unwrap()).unwrap(), parsed);
    }
    let text = serde_json::to_string(&jwks()).unwrap();
    assert_eq!(JwkSet::parse(text.as_bytes()).unwrap(), jwks());
    for private in ["\"d\"", "\"p\"", "\"q\"", "\"k\""] {
        assert!(!text.contains(private));
    }
}

#[test]
fn private_and_symmetric_keys_are_refused() {
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert_eq!(
            parse(&with(ec_jwk(), member, json!("AAAA"))),
            Err(JwkError::NotPublic),
            "{member}"
        );
        assert_eq!(
            parse(&with(rsa_jwk(), member, Value::Null)),
            Err(JwkError::NotPublic),
            "{member}"
        );
    }
    assert_eq!(
        parse(&json!({ "kty": "oct", "kid": "x", "alg": "HS256" })),
        Err(JwkError::NotPublic)
    );
}

#[test]
fn keys_for_another_use_or_algorithm_are_refused() {
    for (jwk, error) in [
        (with(ec_jwk(), "use", json!("enc")), JwkError::OtherUse),
        (with(ec_jwk(), "use", json!("SIG")), JwkError::OtherUse),
        (with(ec_jwk(), "use", json!(1)), JwkError::NotAJwk),
        (with(ec_jwk(), "key_ops", json!(["sign"])), JwkError::OtherUse),
        (with(ec_jwk(), "key_ops", json!([])), JwkError::OtherUse),
        (with(ec_jwk(), "key_ops", json!("verify")), JwkError::NotAJwk),
        (with(ec_jwk(), "alg", json!("RS256")), JwkError::Unsupported),
        (with(ec_jwk(), "alg", json!("ES384")), JwkError::Unsupported),
        (with(ec_jwk(), "alg", json!("ECDH-ES")), JwkError::Unsupported),
        (with(rsa_jwk(), "alg", json!("RSA-OAEP")), JwkError::Unsupported),
        (with(rsa_jwk(), "alg", json!("PS384")), JwkError::Unsupported),
        (with(rsa_jwk(), "alg", json!("HS256")), JwkError::Unsupported),
        (with(ec_jwk(), "crv", json!("P-384")), JwkError::Unsupported),
        (with(ec_jwk(), "crv", json!("secp256k1")), JwkError::Unsupported),
        (with(ed_jwk(), "crv", json!("Ed448")), JwkError::Unsupported),
        (with(ed_jwk(), "crv", json!("X25519")), JwkError::Unsupported),
        (with(ec_jwk(), "kty", json!("ec")), JwkError::Unsupported),
        (with(ec_jwk(), "kty", json!("RSA")), JwkError::Unsupported),
        (without(ec_jwk(), "kty"), JwkError::NotAJwk),
        (without(ec_jwk(), "y"), JwkError::NotAJwk),
        (with(ec_jwk(), "kid", json!(7)), JwkError::NotAJwk),
        (with(ec_jwk(), "kid", json!("")), JwkError::KeyId),
        (with(ec_jwk(), "kid", json!("a\nb")), JwkError::KeyId),
        (with(ec_jwk(), "kid", json!("a".repeat(257))), JwkError::KeyId),
    ] {
        assert_eq!(parse(&jwk), Err(error), "{jwk}");
    }
    let twice = ec_jwk().to_string().replacen('{', r#"{"kty":"EC","#, 1);
    assert_eq!(Jwk::parse(twice.as_bytes()), Err(JwkError::NotAJwk));
    for good in ["Ed25519", "EdDSA"] {
        assert_eq!(
            parse(&with(ed_jwk(), "alg", json!(good))).unwrap().algorithm(),
            Algorithm::EdDsa
        );
    }
}

#[test]
fn broken_key_material_is_refused() {
    let zero = base64url::encode(&[0; 32]);
    let n = |length: usize, first: u8| {
        let mut bytes = vec![0xff; length];
        bytes[0] = first;
        json!(base64url::encode(&bytes))
    };
    for jwk in [
        with(ec_jwk(), "x", json!(zero)),
        with(ec_jwk(), "x", ec_jwk()["y"].clone()),
        with(ec_jwk(), "x", json!(base64url::encode(&[1; 31]))),
        with(ec_jwk(), "x", json!(base64url::encode(&[1; 33]))),
        with(ec_jwk(), "x", json!("")),
        with(
            ec_jwk(),
            "x",
            json!(format!("{}=", ec_jwk()["x"].as_str().unwrap())),
        ),
        with(ed_jwk(), "x", json!(base64url::encode(&[1; 31]))),
        with(rsa_jwk(), "n", n(255, 0xff)),
        with(rsa_jwk(), "n", n(256, 0x7f)),
        with(rsa_jwk(), "n", n(257, 0)),
        with(rsa_jwk(), "n", n(1025, 1)),
        with(rsa_jwk(), "n", json!("")),
        with(rsa_jwk(), "n", json!("A".repeat(100_000))),
        with(rsa_jwk(), "e", json!("AQ")),   // 1
        with(rsa_jwk(), "e", json!("AQAA")), // even
        with(rsa_jwk(), "e", json!("AAEAAQ")),
        with(rsa_jwk(), "e", json!("")),
        with(rsa_jwk(), "e", json!("_______w")),
    ] {
        assert_eq!(parse(&jwk), Err(JwkError::Material), "{jwk}");
    }
}

#[test]
fn a_set_keeps_what_is_usable() {
    let set = json!({ "keys": [
        { "kty": "oct", "kid": "ec", "k": "AAAA" }, { "kty": "EC", "crv": "P-521" }, {},
        with(ec_jwk(), "use", json!("enc")), with(ed_jwk(), "d", json!("AAAA")), ec_jwk(), ec_jwk(), rsa_jwk(),
    ], "extra": true });
    let set = JwkSet::parse(set.to_string().as_bytes()).unwrap();
    assert_eq!(set.keys().len(), 2);
    assert!(JwkSet::parse(br#"{"keys":[]}"#).unwrap().keys().is_empty());
}

#[test]
fn broken_sets_are_refused() {
    let other = json!({ "keys": [ec_jwk(), with(signing_jwk(), "kid", json!("ec"))] }).to_string();
    assert_eq!(JwkSet::parse(other.as_bytes()), Err(JwkSetError::AmbiguousKeyId));
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[]}x"#,
    ] {
        assert_eq!(JwkSet::parse(bad.as_bytes()), Err(JwkSetError::NotASet), "{bad}");
    }
    let many = json!({ "keys": vec![json!({}); MAX_KEYS + 1] }).to_string();
    assert_eq!(JwkSet::parse(many.as_bytes()), Err(JwkSetError::TooLarge));
    let long = format!("{{\"keys\":[]{}}}", " ".repeat(MAX_SET));
    assert_eq!(JwkSet::parse(long.as_bytes()), Err(JwkSetError::TooLarge));
}

fn signing_jwk() -> Value {
    serde_json::to_value(SigningKey::generate().unwrap().public_jwk()).unwrap()
}

#[test]
fn a_key_is_found_by_id_and_algorithm_together() {
    let id = doorward_types::id::KeyId::new("ec");
    assert!(jwks().find(&id, Algorithm::Es256).is_some());
    assert!(jwks().find(&id, Algorithm::Rs256).is_none());
    // The same id for two algorithms is two keys.
    let set = json!({ "keys": [ec_jwk(), with(ed_jwk(), "kid", json!("ec"))] }).to_string();
    let set = JwkSet::parse(set.as_bytes()).unwrap();
    assert_eq!(
        set.find(&id, Algorithm::EdDsa).unwrap().algorithm(),
        Algorithm::EdDsa
    );
}

#[test]
fn a_signing_key_round_trips_and_never_prints() {
    let key = SigningKey::generate().unwrap();
    let pkcs8 = key.to_pkcs8().unwrap();
    let again = SigningKey::from_pkcs8(&pkcs8).unwrap();
    assert_eq!(again.public_jwk(), key.public_jwk());
    assert_eq!(key.key_id().as_str(), key.public_jwk().thumbprint().to_string());
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey {{ kid: {:?}, .. }}", key.key_id())
    );
    assert_ne!(SigningKey::generate().unwrap().public_jwk(), key.public_jwk());
    for length in 0..pkcs8.len() {
        assert!(SigningKey::from_pkcs8(&pkcs8[..length]).is_err());
    }
    assert!(matches!(
        SigningKey::from_pkcs8(KEYS.ed.to_pkcs8().unwrap().as_ref()),
        Err(SigningError::NotAKey)
    ));
}

#[test]
fn what_is_signed_is_verified() {
    let key = SigningKey::generate().unwrap();
    let set = JwkSet::new([key.public_jwk().clone()]).unwrap();
    let token = key
        .sign("at+jwt", &json!({ "iss": "i", "text": "é\"\\\u{0}" }))
        .unwrap();
    let unverified = UnverifiedJws::parse(&token).unwrap();
    assert_eq!(
        (unverified.issuer(), unverified.key_id()),
        (Some("i"), Some(key.key_id()))
    );
    let verified = unverified.verify_with(&set).unwrap();
    assert_eq!(verified.claims().required_string("text"), Ok("é\"\\\u{0}"));
    assert_eq!(verified.typ(), Some("at+jwt"));
    assert_eq!(key.sign("at+jwt", &["a"]), Err(SigningError::NotClaims));
    assert_eq!(key.sign("at+jwt", &"a"), Err(SigningError::NotClaims));
}

#[test]
fn an_rsa_key_verifies_the_one_algorithm_that_it_names() {
    let pss = Jwk::parse(with(rsa_jwk(), "alg", json!("PS256")).to_string().as_bytes()).unwrap();
    let plain = Jwk::parse(rsa_jwk().to_string().as_bytes()).unwrap();
    assert_eq!(
        (pss.algorithm(), plain.algorithm()),
        (Algorithm::Ps256, Algorithm::Rs256)
    );
    let tokens = [
        (forge(r#"{"alg":"PS256"}"#, "{}", ps256), &pss),
        (forge(r#"{"alg":"RS256"}"#, "{}", rs256), &plain),
    ];
    for (token, right) in &tokens {
        for key in [&pss, &plain] {
            let verified = UnverifiedJws::parse(token).unwrap().verify(key);
            assert_eq!(verified.is_ok(), key == *right);
        }
    }
    // The same key, and the header of the other algorithm.
    let crossed = forge(r#"{"alg":"PS256"}"#, "{}", rs256);
    assert!(UnverifiedJws::parse(&crossed).unwrap().verify(&pss).is_err());
    let published = serde_json::to_value(&pss).unwrap();
    assert_eq!(published["alg"], "PS256");
    assert_eq!(Jwk::parse(published.to_string().as_bytes()).unwrap(), pss);
    assert_eq!(pss.thumbprint(), plain.thumbprint());
}
