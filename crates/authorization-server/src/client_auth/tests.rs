use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorward_jose::SigningKey;
use doorward_oauth::client_auth as message;
use doorward_oauth::form::Form;
use doorward_records::client::{ClientMetadata, ClientOrigin};
use doorward_records::model::Tables;
use doorward_types::id::ClientId;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{self, NOW};

const SECRET: &str = "dws_right";

/// A client of the operator's that authenticates by `method`.
fn client(id: &str, method: Method) -> Client {
    let metadata = ClientMetadata {
        token_endpoint_auth_method: method.name().into(),
        ..ClientMetadata::public(vec!["https://c.test/cb".into()])
    };
    Client {
        secret: method.has_secret().then(|| Secret::new(SECRET).digest()),
        ..Client::new(ClientId::new(id), ClientOrigin::Operator, metadata, NOW)
    }
}

fn present(headers: &[&str], body: &str) -> Presented {
    message::read(headers, &Form::parse(body.as_bytes()).unwrap()).unwrap()
}

fn basic(id: &str, secret: &str) -> Presented {
    let value = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    present(&[&value], "")
}

fn judged(presented: &Presented, client: Option<Client>) -> Result<Authenticated, ClientAuthRefusal> {
    authenticate(&fixture::settings(), presented, client, None, NOW)
}

#[test]
fn tk_09_exactly_the_registered_method_is_taken() {
    let none = present(&[], "client_id=c");
    let post = present(&[], &format!("client_id=c&client_secret={SECRET}"));
    let basic = basic("c", SECRET);
    for (registered, good) in [
        (Method::None, &none),
        (Method::ClientSecretBasic, &basic),
        (Method::ClientSecretPost, &post),
    ] {
        for presented in [&none, &post, &basic] {
            let judged = judged(presented, Some(client("c", registered)));
            if presented == good {
                let caller = judged.unwrap();
                assert_eq!(
                    (caller.method(), caller.is_confidential()),
                    (registered, registered != Method::None)
                );
                assert!(caller.replay().is_none() && caller.using_up(Unit::default()).is_empty());
            } else {
                assert_eq!(judged.unwrap_err(), ClientAuthRefusal::Method, "{registered:?}");
            }
        }
    }
}

#[test]
fn tk_08_every_wrong_secret_reads_the_same() {
    let registered = || Some(client("c", Method::ClientSecretBasic));
    let mut without_secret = client("c", Method::ClientSecretBasic);
    without_secret.secret = None;
    let expired = Client {
        expires: Some(NOW),
        ..client("c", Method::ClientSecretBasic)
    };
    let post = present(&[], "client_id=c&client_secret=x");
    let refusals = [
        judged(&basic("c", "dws_wrong"), registered()),
        judged(&basic("c", ""), registered()),
        judged(&present(&[], "client_id=c"), registered()),
        judged(&post, registered()),
        judged(&basic("c", SECRET), None),
        judged(&basic("c", SECRET), Some(client("d", Method::ClientSecretBasic))),
        judged(&basic("c", ""), Some(without_secret.clone())),
        judged(&basic("c", SECRET), Some(without_secret)),
        judged(&basic("c", SECRET), Some(expired)),
    ]
    .map(Result::unwrap_err);
    for refusal in refusals {
        assert_eq!(
            (refusal.code(), refusal.code().status()),
            (ErrorCode::InvalidClient, 401)
        );
        assert_eq!(refusal.body(), refusals[0].body(), "{refusal:?}");
    }
    assert!(judged(&basic("c", SECRET), registered()).is_ok());
}

/// A client with keys, and everything that goes into an assertion of it.
struct Signer {
    client: Client,
    ec: EcdsaKeyPair,
    keys: JwkSet,
    header: Value,
    claims: Value,
}

impl Signer {
    fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let ec =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.to_pkcs8().unwrap()).unwrap();
        Self {
            client: client("c4", Method::PrivateKeyJwt),
            ec,
            keys: JwkSet::new([key.public_jwk().clone()]).unwrap(),
            header: json!({ "alg": "ES256", "kid": key.key_id() }),
            claims: json!({
                "iss": "c4", "sub": "c4", "aud": "https://mcp.example.com",
                "exp": NOW.seconds() + 300, "iat": NOW.seconds(), "jti": "1",
            }),
        }
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.claims[name] = value;
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    fn header(mut self, name: &str, value: Value) -> Self {
        self.header[name] = value;
        self
    }

    fn assertion(&self) -> String {
        self.assertion_by(|message| {
            self.ec
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec()
        })
    }

    fn assertion_by(&self, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&self.header), part(&self.claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn presented(&self, assertion: &str) -> Result<Presented, PresentError> {
        let kind = message::ASSERTION_TYPE.replace(':', "%3A");
        let body = format!("client_id=c4&client_assertion={assertion}&client_assertion_type={kind}");
        message::read(&[], &Form::parse(body.as_bytes()).unwrap())
    }

    fn judge(&self, assertion: &str) -> Result<Authenticated, ClientAuthRefusal> {
        let presented = self.presented(assertion).map_err(ClientAuthRefusal::Presented)?;
        let client = Some(self.client.clone());
        authenticate(&fixture::settings(), &presented, client, Some(&self.keys), NOW)
    }

    fn refusal(&self) -> ClientAuthRefusal {
        let refusal = self.judge(&self.assertion()).unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::InvalidClient, "{refusal:?}");
        refusal
    }
}

#[test]
fn tk_10_a_good_assertion_is_taken_once() {
    let signer = Signer::new();
    let caller = signer.judge(&signer.assertion()).unwrap();
    assert_eq!(caller.method(), Method::PrivateKeyJwt);
    let mut tables = Tables::new();
    let unit = caller.using_up(Unit::default());
    assert!(tables.apply(&unit).is_ok());
    assert!(tables.apply(&unit).is_err(), "the row is there");
    assert!(tables.replay(caller.replay().unwrap().key).is_some());
    // Another client's `jti` is another name; the same client's other `jti`, too.
    let other = Signer::new().with("jti", json!("2"));
    let other = other.judge(&other.assertion()).unwrap();
    assert_ne!(other.replay().unwrap().key, caller.replay().unwrap().key);
    // The row stays longer than the assertion works, clock skew included.
    assert!(caller.replay().unwrap().expires >= NOW.plus(Duration::from_secs(360)));
}

#[test]
fn tk_10_every_defect_of_an_assertion_is_refused() {
    use ClientAuthRefusal as R;
    let far = NOW.seconds() + 10 * 365 * 86_400;
    let issuer = "https://mcp.example.com";
    let missing = |name| R::Claim(ClaimError::Missing(name));
    for (signer, refusal) in [
        (Signer::new().with("aud", json!([issuer])), R::Audience),
        (
            Signer::new().with("aud", json!([issuer, "https://other.test"])),
            R::Audience,
        ),
        (
            Signer::new().with("aud", json!(format!("{issuer}/token"))),
            R::Audience,
        ),
        (
            Signer::new().with("aud", json!([format!("{issuer}/")])),
            R::Audience,
        ),
        (
            Signer::new().with("aud", json!(format!("{issuer}//"))),
            R::Audience,
        ),
        (
            Signer::new().with("aud", json!("https://MCP.example.com/")),
            R::Audience,
        ),
        (
            Signer::new().with("aud", json!("https://mcp.example.com:443/")),
            R::Audience,
        ),
        (Signer::new().with("aud", json!("/")), R::Audience),
        (
            Signer::new().with("aud", json!("https://other.test")),
            R::Audience,
        ),
        (Signer::new().without("aud"), R::Audience),
        (Signer::new().with("sub", json!("c1")), R::Subject),
        (Signer::new().without("sub"), missing("sub")),
        (Signer::new().with("exp", json!(NOW.seconds() - 61)), R::Lifetime),
        (Signer::new().with("exp", json!(far)), R::Lifetime),
        (Signer::new().with("exp", json!(i64::MAX)), R::Lifetime),
        (Signer::new().with("exp", json!(NOW.seconds() + 661)), R::Lifetime),
        (
            Signer::new().with("exp", json!("soon")),
            R::Claim(ClaimError::WrongType("exp")),
        ),
        (Signer::new().without("exp"), missing("exp")),
        (
            Signer::new().with("iat", json!(NOW.seconds() + 120)),
            R::NotYetValid,
        ),
        (
            Signer::new().with("nbf", json!(NOW.seconds() + 120)),
            R::NotYetValid,
        ),
        (Signer::new().without("jti"), missing("jti")),
        (Signer::new().with("jti", json!("")), R::Id),
        (Signer::new().with("jti", json!("x".repeat(257))), R::Id),
        (Signer::new().header("typ", json!("at+jwt")), R::Type),
        (Signer::new().header("typ", json!("oauth-id-jag+jwt")), R::Type),
        (Signer::new().header("kid", json!("other")), R::Signature),
        (Signer::new().header("alg", json!("RS256")), R::Signature),
        (
            Signer::new().header("alg", json!("none")),
            R::Presented(PresentError::Assertion),
        ),
        (
            Signer::new().header("alg", json!("HS256")),
            R::Presented(PresentError::Assertion),
        ),
        (
            Signer::new().header("jwk", json!({})),
            R::Presented(PresentError::Assertion),
        ),
        (
            Signer::new().with("iss", json!("c1")),
            R::Presented(PresentError::OtherClient),
        ),
    ] {
        assert_eq!(signer.refusal(), refusal, "{} {}", signer.header, signer.claims);
    }
}

#[test]
fn tk_10_hs256_with_the_public_key_as_secret_is_refused() {
    let signer = Signer::new().header("alg", json!("HS256"));
    let public = serde_json::to_string(&signer.keys).unwrap();
    for key in [public.as_bytes(), signer.ec.public_key().as_ref()] {
        let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
        let forged = signer.assertion_by(|message| aws_lc_rs::hmac::sign(&mac, message).as_ref().to_vec());
        assert!(signer.judge(&forged).is_err());
    }
}

#[test]
fn tk_10_an_assertion_without_iss_or_of_another_key_is_refused() {
    let signer = Signer::new().without("iss");
    assert!(signer.presented(&signer.assertion()).is_err());
    let (signer, thief) = (Signer::new(), Signer::new());
    let stolen = signer.assertion_by(|message| {
        thief
            .ec
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec()
    });
    assert_eq!(signer.judge(&stolen).unwrap_err(), ClientAuthRefusal::Signature);
    let presented = signer.presented(&signer.assertion()).unwrap();
    let (settings, client) = (fixture::settings(), signer.client.clone());
    let refused = authenticate(&settings, &presented, Some(client), None, NOW).unwrap_err();
    assert_eq!(refused, ClientAuthRefusal::NoKeys);
    let refused = authenticate(&settings, &presented, None, Some(&signer.keys), NOW).unwrap_err();
    assert_eq!(refused, ClientAuthRefusal::Unknown);
}

#[test]
fn c2_what_the_official_libraries_send_is_taken() {
    // `typ: JWT`, no `kid`; and what RFC 7523bis recommends.
    for kind in [
        "JWT",
        "client-authentication+jwt",
        "application/client-authentication+jwt",
    ] {
        let mut signer = Signer::new().header("typ", json!(kind));
        signer.header.as_object_mut().unwrap().remove("kid");
        assert!(signer.judge(&signer.assertion()).is_ok(), "{kind}");
    }
    let signer = Signer::new()
        .without("iat")
        .with("exp", json!(NOW.seconds() - 30));
    assert!(
        signer.judge(&signer.assertion()).is_ok(),
        "within the leeway of clocks"
    );
}

#[test]
fn tk_10_c2_an_issuer_without_a_path_is_also_itself_with_a_slash() {
    for (issuer, audience, good) in [
        ("https://mcp.example.com", "https://mcp.example.com", true),
        ("https://mcp.example.com", "https://mcp.example.com/", true),
        ("https://mcp.example.com", "https://mcp.example.com//", false),
        (
            "https://mcp.example.com:8443",
            "https://mcp.example.com:8443/",
            true,
        ),
        ("https://mcp.example.com:8443", "https://mcp.example.com/", false),
        ("https://mcp.example.com/", "https://mcp.example.com/", true),
        ("https://mcp.example.com/", "https://mcp.example.com", false),
        ("https://mcp.example.com/", "https://mcp.example.com//", false),
        ("https://mcp.example.com/a", "https://mcp.example.com/a", true),
        ("https://mcp.example.com/a", "https://mcp.example.com/a/", false),
        ("https://mcp.example.com/a/", "https://mcp.example.com/a", false),
    ] {
        let signer = Signer::new().with("aud", json!(audience));
        let presented = signer.presented(&signer.assertion()).unwrap();
        let mut settings = fixture::settings();
        settings.issuer = Issuer::parse(issuer).unwrap();
        let client = Some(signer.client.clone());
        let judged = authenticate(&settings, &presented, client, Some(&signer.keys), NOW).map(|_| ());
        let expected = if good {
            Ok(())
        } else {
            Err(ClientAuthRefusal::Audience)
        };
        assert_eq!(judged, expected, "{issuer} {audience}");
    }
}

#[test]
fn tk_10_without_a_key_id_there_must_be_one_key_that_fits() {
    let mut signer = Signer::new();
    signer.header.as_object_mut().unwrap().remove("kid");
    let other = SigningKey::generate().unwrap().public_jwk().clone();
    let keys = signer.keys.keys().iter().cloned().chain([other]);
    signer.keys = JwkSet::new(keys).unwrap();
    assert_eq!(signer.refusal(), ClientAuthRefusal::WhichKey);
    signer.keys = JwkSet::empty();
    assert_eq!(signer.refusal(), ClientAuthRefusal::Signature);
}

#[test]
fn tk_10_the_registered_algorithm_is_the_only_one() {
    let mut signer = Signer::new();
    signer.client.metadata.token_endpoint_auth_signing_alg = Some("ES256".into());
    assert!(signer.judge(&signer.assertion()).is_ok());
    for other in ["EdDSA", "RS256", "ES384", ""] {
        signer.client.metadata.token_endpoint_auth_signing_alg = Some(other.into());
        assert_eq!(signer.refusal(), ClientAuthRefusal::Signature, "{other}");
    }
    // Ed25519 under both of its names.
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] }).to_string();
    signer.keys = JwkSet::parse(set.as_bytes()).unwrap();
    signer.header = json!({ "alg": "Ed25519" });
    signer.client.metadata.token_endpoint_auth_signing_alg = Some("EdDSA".into());
    let assertion = signer.assertion_by(|message| pair.sign(message).as_ref().to_vec());
    assert!(signer.judge(&assertion).is_ok());
}

#[test]
fn keys_are_only_asked_for_where_they_are_needed() {
    let signer = Signer::new();
    let presented = signer.presented(&signer.assertion()).unwrap();
    let kid = signer.keys.keys()[0].key_id().cloned();
    assert_eq!(wanted_key(&presented, Some(&signer.client)), Some(kid));
    assert_eq!(wanted_key(&presented, None), None);
    assert_eq!(wanted_key(&presented, Some(&client("c4", Method::None))), None);
    assert_eq!(
        wanted_key(&present(&[], "client_id=c4"), Some(&signer.client)),
        None
    );
}
