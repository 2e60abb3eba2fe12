//! The other implementation: what we accept, `jsonwebtoken` accepts too and reads alike.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proptest::prelude::*;

use super::*;
use crate::UnverifiedJws;

fn ours(token: &str) -> Option<Value> {
    let verified = UnverifiedJws::parse(token).ok()?.verify_with(&jwks()).ok()?;
    Some(Value::Object(verified.claims().as_object().clone()))
}

fn theirs(token: &str) -> Option<Value> {
    let member = |jwk: &Value, name: &str| jwk[name].as_str().unwrap().to_owned();
    let header = jsonwebtoken::decode_header(token).ok()?;
    let key = match (header.alg, header.kid.as_deref()?) {
        (Algorithm::ES256, "ec") => {
            DecodingKey::from_ec_components(&member(&ec_jwk(), "x"), &member(&ec_jwk(), "y"))
        }
        (Algorithm::EdDSA, "ed") => DecodingKey::from_ed_components(&member(&ed_jwk(), "x")),
        (Algorithm::RS256, "rsa") => {
            DecodingKey::from_rsa_components(&member(&rsa_jwk(), "n"), &member(&rsa_jwk(), "e"))
        }
        _ => return None,
    }
    .unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    Some(
        jsonwebtoken::decode::<Value>(token, &key, &validation)
            .ok()?
            .claims,
    )
}

#[test]
fn both_accept_good_tokens() {
    for token in good() {
        // `alg: Ed25519` (RFC 9864) is ours alone: they do not know the name.
        let named_ed25519 = base64url::decode(token.split('.').next().unwrap())
            .is_some_and(|header| String::from_utf8(header).unwrap().contains("Ed25519"));
        assert!(ours(&token).is_some());
        assert_eq!(theirs(&token), ours(&token).filter(|_| !named_ed25519));
    }
}

#[test]
fn we_accept_what_they_sign() {
    let pkcs8 = signing_key().to_pkcs8().unwrap();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("ec".into());
    let claims = json!({ "iss": "i", "nested": { "a": [1, 2.5, "x", null, true] } });
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(&pkcs8)).unwrap();
    assert_eq!(ours(&token), Some(claims));
}

#[test]
fn they_accept_what_we_sign() {
    let key = signing_key();
    let claims = json!({ "iss": "i", "n": 7 });
    let token = key.sign("at+jwt", &claims).unwrap();
    let jwk = ec_jwk();
    let decoding =
        DecodingKey::from_ec_components(jwk["x"].as_str().unwrap(), jwk["y"].as_str().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<Value>(&token, &decoding, &validation).unwrap();
    assert_eq!(decoded.claims, claims);
    assert_eq!(decoded.header.kid.as_deref(), Some(key.key_id().as_str()));
    assert_eq!(decoded.header.typ.as_deref(), Some("at+jwt"));
}

#[test]
fn we_are_the_stricter_one() {
    // Well signed, and accepted by them: the reasons why the front is our own.
    for header in [
        r#"{"alg":"ES256","kid":"ec","jku":"https://evil.test/"}"#,
        r#"{"alg":"ES256","kid":"ec","b64":false}"#,
        r#"{"alg":"ES256","kid":"ec","crit":["x"],"x":1}"#,
    ] {
        let token = forge(header, r#"{"iss":"i"}"#, es256);
        assert!(ours(&token).is_none() && theirs(&token).is_some(), "{header}");
    }
    let twice = forge(
        r#"{"alg":"ES256","kid":"ec"}"#,
        r#"{"username":"i","username":"j"}"#,
        es256,
    );
    assert!(ours(&twice).is_none() && theirs(&twice).is_some());
}

fn mutated() -> impl Strategy<Value = String> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), "[A-Za-z0-9_.=+/ -]?"), 0..3);
    ((0_usize..4), edits).prop_map(|(which, edits)| {
        let mut token = good()[which].clone();
        for (position, to) in edits {
            let position = position.index(token.len());
            token.replace_range(position..=position, &to);
        }
        token
    })
}

fn well_signed() -> impl Strategy<Value = String> {
    let typ = prop_oneof![
        Just(""),
        Just(r#","typ":"JWT""#),
        Just(r#","cty":"x""#),
        Just(r#","x":{"y":[1]}"#)
    ];
    let value = prop_oneof![
        Just("1".to_owned()),
        Just("-1".to_owned()),
        Just("1.5e3".to_owned()),
        Just("null".to_owned()),
        Just("[true,{}]".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|text| json!(text).to_string()),
    ];
    (typ, prop::collection::vec(("[a-c]", value), 0..4)).prop_map(|(typ, claims)| {
        let claims: Vec<String> = claims
            .iter()
            .map(|(name, value)| format!(r#""{name}":{value}"#))
            .collect();
        forge(
            &format!(r#"{{"alg":"ES256","kid":"ec"{typ}}}"#),
            &format!("{{{}}}", claims.join(",")),
            es256,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_we_accept_they_accept(token in prop_oneof![mutated(), well_signed()]) {
        if let Some(claims) = ours(&token).filter(|_| !token.starts_with(&good()[2][..20])) {
            prop_assert_eq!(Some(claims), theirs(&token));
        }
    }
}
