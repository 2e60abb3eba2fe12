//! What must not be accepted, one table per attack.

use proptest::prelude::*;

use super::*;
use crate::{
    ClaimError, HeaderError, JwsError, MAX_HEADER, MAX_TOKEN, UnverifiedJws, VerifiedJws, VerifyError,
    parse_object,
};

const PAYLOAD: &str = r#"{"iss":"https://as.test"}"#;

#[derive(Debug, PartialEq)]
enum Refusal {
    Parse(JwsError),
    Verify(VerifyError),
}

fn accept(token: &str) -> Result<VerifiedJws, Refusal> {
    UnverifiedJws::parse(token)
        .map_err(Refusal::Parse)?
        .verify_with(&jwks())
        .map_err(Refusal::Verify)
}

fn refusal(token: &str) -> Refusal {
    accept(token).expect_err(token)
}

fn header_refusal(header: &str) -> Refusal {
    refusal(&forge(header, PAYLOAD, es256))
}

fn parts(token: &str) -> [String; 3] {
    token
        .split('.')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

#[test]
fn good_tokens_are_accepted() {
    for token in good() {
        let verified = accept(&token).unwrap();
        assert!(verified.is_type("at+jwt"));
        assert_eq!(verified.claims().required_string("iss"), Ok("https://as.test"));
    }
}

#[test]
fn rs_02_unsigned_tokens() {
    for alg in [
        "none", "None", "NONE", "nOnE", "", "es256", "ES256 ", "ES384", "ES512", "PS384", "RS512", "ES256K",
        "Ed448",
    ] {
        let header = format!(r#"{{"alg":"{alg}","kid":"ec"}}"#);
        assert_eq!(
            header_refusal(&header),
            Refusal::Parse(HeaderError::Algorithm.into()),
            "{alg}"
        );
        let [head, body, _] = parts(&forge(&header, PAYLOAD, es256));
        assert_eq!(
            refusal(&format!("{head}.{body}.")),
            Refusal::Parse(JwsError::NotThreeParts)
        );
        assert_eq!(
            refusal(&format!("{head}.{body}")),
            Refusal::Parse(JwsError::NotThreeParts)
        );
    }
    for header in [
        r#"{"kid":"ec"}"#,
        r#"{"alg":null,"kid":"ec"}"#,
        r#"{"alg":["ES256"],"kid":"ec"}"#,
        r#"{"alg":1}"#,
    ] {
        assert_eq!(
            header_refusal(header),
            Refusal::Parse(HeaderError::Algorithm.into()),
            "{header}"
        );
    }
    for token in good() {
        let [head, body, signature] = parts(&token);
        assert_eq!(
            refusal(&format!("{head}.{body}.")),
            Refusal::Parse(JwsError::NotThreeParts)
        );
        assert_eq!(
            refusal(&format!("{head}.{body}.AA")),
            Refusal::Verify(VerifyError::BadSignature)
        );
        assert_eq!(
            refusal(&format!("{head}..{signature}")),
            Refusal::Parse(JwsError::NotThreeParts)
        );
        assert_eq!(
            refusal(&format!(".{body}.{signature}")),
            Refusal::Parse(JwsError::NotThreeParts)
        );
    }
}

#[test]
fn rs_03_the_public_key_is_no_hmac_secret() {
    for alg in ["HS256", "HS384", "HS512"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"rsa"}}"#);
        assert_eq!(
            header_refusal(&header),
            Refusal::Parse(HeaderError::Algorithm.into())
        );
    }
}

#[test]
fn the_algorithm_is_bound_to_the_key() {
    for (alg, kid) in [
        ("RS256", "ec"),
        ("EdDSA", "ec"),
        ("ES256", "rsa"),
        ("ES256", "ed"),
        ("Ed25519", "rsa"),
    ] {
        let token = forge(&format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#), PAYLOAD, es256);
        assert_eq!(
            refusal(&token),
            Refusal::Verify(VerifyError::UnknownKey),
            "{alg} {kid}"
        );
        let key = jwks()
            .keys()
            .iter()
            .find(|key| key.key_id().unwrap().as_str() == kid)
            .unwrap()
            .clone();
        let mismatch = UnverifiedJws::parse(&token).unwrap().verify(&key).unwrap_err();
        assert_eq!(mismatch, VerifyError::AlgorithmMismatch);
    }
}

#[test]
fn an_asn_1_signature_is_not_a_jws_signature() {
    // r ‖ s with s and r swapped, zeroed, or in DER (CVE-2022-21449 and its relatives).
    let [head, body, signature] = parts(&good()[0]);
    let raw = base64url::decode(&signature).unwrap();
    let swapped = [&raw[32..], &raw[..32]].concat();
    let mut der = vec![0x30, 70, 2, 33, 0];
    der.extend(&raw[..32]);
    der.extend([2, 33, 0]);
    der.extend(&raw[32..]);
    for bad in [
        vec![0; 64],
        swapped,
        der,
        raw[..63].to_vec(),
        [&raw[..], &[0]].concat(),
        vec![0; 1],
    ] {
        let token = format!("{head}.{body}.{}", base64url::encode(&bad));
        assert_eq!(refusal(&token), Refusal::Verify(VerifyError::BadSignature));
    }
}

#[test]
fn rs_10_critical_extensions_and_other_encodings() {
    for crit in [r#"["x"]"#, "[]", r#""exp""#, "null", "{}", "false", r#"["b64"]"#] {
        let header = format!(r#"{{"alg":"ES256","kid":"ec","crit":{crit}}}"#);
        assert_eq!(
            header_refusal(&header),
            Refusal::Parse(HeaderError::Critical.into()),
            "{crit}"
        );
    }
    for other in [
        r#""b64":false"#,
        r#""b64":true"#,
        r#""zip":"DEF""#,
        r#""enc":"A128GCM""#,
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"ec",{other}}}"#);
        assert_eq!(
            header_refusal(&header),
            Refusal::Parse(HeaderError::Encoding.into()),
            "{other}"
        );
    }
}

#[test]
fn rs_11_keys_inside_the_token() {
    for member in ["jku", "x5u", "jwk", "x5c"] {
        for value in [
            ec_jwk(),
            json!("https://evil.test/jwks.json"),
            json!(null),
            json!([]),
        ] {
            let header = json!({ "alg": "ES256", "kid": "ec", member: value }).to_string();
            assert_eq!(
                header_refusal(&header),
                Refusal::Parse(HeaderError::EmbeddedKey.into()),
                "{header}"
            );
        }
    }
}

#[test]
fn rs_12_key_ids() {
    for kid in [
        json!("' OR 1=1--\r\nlevel=info forged"),
        json!("a\u{0}"),
        json!(""),
        json!("é"),
        json!(7),
        json!(null),
        json!(["ec"]),
        json!("k".repeat(257)),
        json!("\u{1b}[2J"),
        json!("\u{7f}"),
    ] {
        let header = json!({ "alg": "ES256", "kid": kid }).to_string();
        assert_eq!(
            header_refusal(&header),
            Refusal::Parse(HeaderError::KeyId.into()),
            "{header}"
        );
    }
    for kid in [
        "../../../../dev/null",
        "' OR 1=1--",
        "EC",
        "ec ",
        "rsa ec",
        &"k".repeat(256),
    ] {
        let header = json!({ "alg": "ES256", "kid": kid }).to_string();
        assert_eq!(
            header_refusal(&header),
            Refusal::Verify(VerifyError::UnknownKey),
            "{header}"
        );
    }
    assert_eq!(
        header_refusal(r#"{"alg":"ES256"}"#),
        Refusal::Verify(VerifyError::NoKeyId)
    );
    let header = json!({ "alg": "ES256", "kid": "k".repeat(65536) }).to_string();
    assert_eq!(header_refusal(&header), Refusal::Parse(JwsError::TooLong));
}

#[test]
fn duplicate_keys_anywhere() {
    for header in [
        r#"{"alg":"ES256","alg":"ES256","kid":"ec"}"#,
        r#"{"alg":"none","kid":"ec","alg":"ES256"}"#,
        r#"{"kid":"evil","alg":"ES256","kid":"ec"}"#,
        r#"{"alg":"ES256","kid":"ec","k\u0069d":"ec"}"#,
        r#"{"alg":"ES256","kid":"ec","x":{"a":1,"a":2}}"#,
    ] {
        assert_eq!(
            header_refusal(header),
            Refusal::Parse(HeaderError::NotAnObject.into()),
            "{header}"
        );
    }
    for payload in [
        r#"{"exp":1,"exp":9999999999}"#,
        r#"{"aud":"a","\u0061ud":"b"}"#,
        r#"{"x":[{"a":1,"a":1}]}"#,
        r#"{"":1,"":1}"#,
    ] {
        let token = forge(r#"{"alg":"ES256","kid":"ec"}"#, payload, es256);
        assert_eq!(refusal(&token), Refusal::Parse(JwsError::NotClaims), "{payload}");
    }
}

#[test]
fn what_is_not_an_object() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(2000), "}".repeat(2000));
    for text in [
        "",
        "null",
        "[]",
        "1",
        r#""a""#,
        "{",
        "{}x",
        "{} {}",
        "\u{feff}{}",
        "{'a':1}",
        r#"{"a":1,}"#,
        r#"{"a":NaN}"#,
        r#"{"a":1e400}"#,
        r#"{"a":"\ud800"}"#,
        "{\"a\":\"\n\"}",
        &deep,
    ] {
        assert!(parse_object(text.as_bytes()).is_err(), "{text}");
        let token = forge(r#"{"alg":"ES256","kid":"ec"}"#, text, es256);
        if !text.is_empty() {
            assert_eq!(refusal(&token), Refusal::Parse(JwsError::NotClaims), "{text}");
        }
    }
    assert!(parse_object(b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn rs_18_one_token_has_one_spelling() {
    for token in good() {
        // The last character of a part that ends in a partial group can carry bits that decode to nothing.
        for bad in [
            format!("{token}="),
            format!("{token}A"),
            format!("{token}."),
            format!(".{token}"),
            format!("{token} "),
            format!(" {token}"),
            format!("{token}\n"),
            token.replacen('.', "=.", 1),
            token.replacen('.', "..", 1),
            token.replace('-', "+").replace('_', "/") + "+",
            format!("{token}.{token}"),
        ] {
            assert!(accept(&bad).is_err(), "{bad}");
        }
    }
    let token = &good()[0]; // 64 bytes of signature: 86 characters, 4 unused bits in the last
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = *token.as_bytes().last().unwrap();
    let value = alphabet.iter().position(|c| *c == last).unwrap();
    for other in alphabet.iter().skip(value + 1).take(15 - value % 16) {
        let bad = format!("{}{}", &token[..token.len() - 1], char::from(*other));
        assert_eq!(refusal(&bad), Refusal::Parse(JwsError::NotBase64Url), "{bad}");
    }
}

#[test]
fn sizes_are_checked_before_work() {
    let header = r#"{"alg":"ES256","kid":"ec"}"#;
    let token = forge(header, &format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_TOKEN)), es256);
    assert_eq!(refusal(&token), Refusal::Parse(JwsError::TooLong));
    let long = json!({ "alg": "ES256", "kid": "ec", "x": "x".repeat(MAX_HEADER) }).to_string();
    assert_eq!(header_refusal(&long), Refusal::Parse(JwsError::TooLong));
    let [head, body, _] = parts(&good()[0]);
    let token = format!("{head}.{body}.{}", "A".repeat(1368));
    assert_eq!(refusal(&token), Refusal::Parse(JwsError::TooLong));
    assert_eq!(
        refusal(&".".repeat(MAX_TOKEN)),
        Refusal::Parse(JwsError::NotThreeParts)
    );
    let five = format!("{head}.{body}.{body}.{body}.{body}");
    assert_eq!(refusal(&five), Refusal::Parse(JwsError::NotThreeParts));
}

#[test]
fn types_of_tokens() {
    for (typ, is) in [
        ("at+jwt", true),
        ("AT+JWT", true),
        ("application/at+jwt", true),
        ("Application/AT+jwt", true),
        ("JWT", false),
        ("at+jwt ", false),
        ("application/application/at+jwt", false),
        ("at+jwt;x", false),
        ("application/", false),
        ("text/at+jwt", false),
        ("id_token+jwt", false),
        ("applications/at+jwt", false),
    ] {
        let header = json!({ "alg": "ES256", "kid": "ec", "typ": typ }).to_string();
        let verified = accept(&forge(&header, PAYLOAD, es256)).unwrap();
        assert_eq!(verified.is_type("at+jwt"), is, "{typ}");
    }
    for typ in [
        json!(1),
        json!(null),
        json!(["at+jwt"]),
        json!("at+jwt\n"),
        json!(""),
    ] {
        let header = json!({ "alg": "ES256", "kid": "ec", "typ": typ }).to_string();
        assert_eq!(
            header_refusal(&header),
            Refusal::Parse(HeaderError::Type.into()),
            "{header}"
        );
    }
    let untyped = accept(&forge(r#"{"alg":"ES256","kid":"ec"}"#, PAYLOAD, es256)).unwrap();
    assert!(!untyped.is_type("at+jwt") && !untyped.is_type(""));
}

#[test]
fn rs_09_a_claim_of_the_wrong_type_is_not_absent() {
    let claims = |payload: &str| {
        accept(&forge(r#"{"alg":"ES256","kid":"ec"}"#, payload, es256))
            .unwrap()
            .claims()
            .clone()
    };
    for value in [
        "\"1\"",
        "true",
        "[1]",
        "{}",
        "null",
        "-1",
        "1.5",
        "1.0",
        "1e3",
        "18446744073709551616",
        "9223372036854775808",
    ] {
        let claims = claims(&format!(r#"{{"exp":{value}}}"#));
        assert_eq!(
            claims.integer("exp"),
            Err(ClaimError::WrongType("exp")),
            "{value}"
        );
        assert!(claims.contains("exp"));
    }
    let claims = claims(r#"{"n":0,"max":9223372036854775807,"s":"","a":["x"],"mixed":["x",1],"null":null}"#);
    assert_eq!(claims.required_integer("n"), Ok(0));
    assert_eq!(claims.required_integer("max"), Ok(i64::MAX));
    assert_eq!(claims.integer("none"), Ok(None));
    assert_eq!(claims.required_integer("none"), Err(ClaimError::Missing("none")));
    assert_eq!(claims.required_string("s"), Ok(""));
    assert_eq!(claims.required_string("none"), Err(ClaimError::Missing("none")));
    assert_eq!(claims.string("null"), Err(ClaimError::WrongType("null")));
    assert_eq!(claims.string("a"), Err(ClaimError::WrongType("a")));
    assert_eq!(claims.strings("a"), Ok(Some(vec!["x"])));
    assert_eq!(claims.strings("none"), Ok(None));
    assert_eq!(claims.strings("mixed"), Err(ClaimError::WrongType("mixed")));
    assert_eq!(claims.strings("s"), Err(ClaimError::WrongType("s")));
    assert!(
        !format!("{claims:?}").contains("922"),
        "claims print their names only"
    );
}

#[test]
fn an_unverified_token_shows_only_what_chooses_the_key() {
    let token = forge(
        r#"{"alg":"ES256","kid":"ec"}"#,
        r#"{"iss":["x"],"sub":"alice"}"#,
        es256,
    );
    let unverified = UnverifiedJws::parse(&token).unwrap();
    assert_eq!(unverified.issuer(), None);
    assert_eq!(unverified.key_id().unwrap().as_str(), "ec");
    assert_eq!(format!("{unverified:?}"), "UnverifiedJws([redacted])");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise_is_refused(text: String) {
        prop_assert!(accept(&text).is_err());
    }

    #[test]
    fn shaped_noise_is_refused(text in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(accept(&text).is_err());
    }

    #[test]
    fn every_changed_character_is_noticed(which in 0_usize..4, position: prop::sample::Index, to in "[A-Za-z0-9_.=-]") {
        let token = good()[which].clone();
        let position = position.index(token.len());
        prop_assume!(token[position..=position] != to);
        let changed = format!("{}{to}{}", &token[..position], &token[position + 1..]);
        prop_assert!(accept(&changed).is_err(), "{changed}");
    }

    #[test]
    fn any_object_that_is_signed_is_read_back(keys in prop::collection::btree_map(any::<String>(), any::<String>(), 0..8)) {
        let value = serde_json::to_string(&keys).unwrap();
        let verified = accept(&forge(r#"{"alg":"ES256","kid":"ec"}"#, &value, es256)).unwrap();
        for (key, text) in keys {
            prop_assert_eq!(verified.claims().as_object().get(&key).unwrap(), &json!(text));
        }
    }
}
