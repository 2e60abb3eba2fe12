use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use doorward_oauth::form::Form;
use doorward_types::random::CountingRandom;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::grant::FixedAssertion;
use crate::http::{HttpRequest, NamedBy};

const AS: &str = "https://as.example/t/";
const MCP: &str = "https://mcp.example/mcp";

pub(crate) fn okta() -> EnterpriseManaged {
    EnterpriseManaged {
        issuer: "https://idp.example".into(),
        token_endpoint: Some(idp_endpoint()),
        client_id: "at-idp".into(),
        credential: IdpCredential::SecretBasic(Secret::new("idp-secret")),
        subject_token: Arc::new(FixedAssertion(Secret::new("id.tok.en"))),
        subject_token_type: SubjectTokenType::IdToken,
    }
}

fn idp_endpoint() -> Url {
    Url::parse("https://idp.example/token").unwrap()
}

fn scope() -> ScopeSet {
    "read write".parse().unwrap()
}

fn wanted(scope: &ScopeSet) -> Wanted<'_> {
    Wanted {
        issuer: AS,
        resource: MCP,
        scope,
    }
}

fn jag(typ: &str, claims: &Value) -> String {
    let header = json!({ "alg": "ES256", "typ": typ }).to_string();
    format!("{}.{}.c2ln", B64.encode(header), B64.encode(claims.to_string()))
}

fn answer(grant: &str, issued: &str) -> HttpResponse {
    let body =
        json!({ "access_token": grant, "issued_token_type": issued, "token_type": "N_A", "expires_in": 300 });
    HttpResponse {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: body.to_string().into(),
    }
}

fn form(request: &HttpRequest) -> Form {
    Form::parse(request.body.as_ref().unwrap().expose().as_bytes()).unwrap()
}

#[test]
fn e1_e7_the_exchange_names_audience_and_resource_byte_for_byte_and_nothing_in_the_url() {
    let scope = scope();
    let request = okta()
        .exchange_request(
            &idp_endpoint(),
            &Secret::new("id.tok.en"),
            wanted(&scope),
            UnixTime::EPOCH,
            &CountingRandom::default(),
        )
        .unwrap()
        .build();
    assert_eq!(request.url.as_str(), "https://idp.example/token");
    assert_eq!(
        (request.named_by, request.hop),
        (NamedBy::User, Hop::TokenExchange)
    );
    let form = form(&request);
    for (name, value) in [
        ("grant_type", TOKEN_EXCHANGE),
        ("requested_token_type", ID_JAG),
        ("audience", AS),
        ("resource", MCP),
        ("scope", "read write"),
        ("subject_token", "id.tok.en"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
    ] {
        assert_eq!(form.get(name), Some(value));
    }
    assert!(form.get("client_secret").is_none(), "it went into the header");
    assert!(request.headers["authorization"].is_sensitive());
    assert!(!format!("{request:?}").contains("id.tok.en"));
}

#[test]
fn e14_e15_the_program_authenticates_at_the_identity_provider_as_it_is_told() {
    let scope = scope();
    let with = |credential: IdpCredential| {
        let idp = EnterpriseManaged { credential, ..okta() };
        let request = idp
            .exchange_request(
                &idp_endpoint(),
                &Secret::new("x"),
                wanted(&scope),
                UnixTime::EPOCH,
                &CountingRandom::default(),
            )
            .unwrap();
        form(&request.build())
    };
    let post = with(IdpCredential::SecretPost(Secret::new("s")));
    assert_eq!(
        (post.get("client_id"), post.get("client_secret")),
        (Some("at-idp"), Some("s"))
    );
    let none = with(IdpCredential::None);
    assert_eq!(
        (none.get("client_id"), none.get("client_secret")),
        (Some("at-idp"), None)
    );
    let pair = doorward_jose::SigningKey::generate().unwrap();
    let pem = base64::engine::general_purpose::STANDARD.encode(pair.to_pkcs8().unwrap());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----");
    let signed = with(IdpCredential::Key(Arc::new(ClientKey::parse(&pem).unwrap())));
    let assertion = OwnJwt::read(&Secret::new(signed.get("client_assertion").unwrap())).unwrap();
    assert_eq!(assertion.holds("aud", "https://idp.example"), Some(true));
    assert_eq!(assertion.holds("sub", "at-idp"), Some(true));
}

#[test]
fn e1_e2_e20_a_grant_for_somebody_else_is_not_sent_on() {
    let scope = scope();
    let good = json!({ "iss": "https://idp.example", "sub": "u", "aud": AS, "resource": MCP, "client_id": "c",
                       "jti": "1", "iat": 1, "exp": 2 });
    let judge = |grant: &str, issued: &str| {
        exchange_response(&idp_endpoint(), &answer(grant, issued), wanted(&scope))
    };
    assert!(judge(&jag(ID_JAG_TYP, &good), ID_JAG).is_ok());
    assert!(
        judge("a.b.c.d.e", ID_JAG).is_ok(),
        "encrypted for the authorization server (E13)"
    );
    let mut several = good.clone();
    several["resource"] = json!(["https://other.example", MCP]);
    assert!(judge(&jag(ID_JAG_TYP, &several), ID_JAG).is_ok());
    let mut none = good.clone();
    none.as_object_mut().unwrap().remove("resource");
    assert!(
        judge(&jag(ID_JAG_TYP, &none), ID_JAG).is_ok(),
        "optional in the stable text"
    );
    let changed = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        jag(ID_JAG_TYP, &claims)
    };
    for (grant, issued) in [
        (
            jag(ID_JAG_TYP, &good),
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        (jag("JWT", &good), ID_JAG),
        (jag("at+jwt", &good), ID_JAG),
        (changed("aud", json!("https://as.example/t")), ID_JAG),
        (changed("aud", json!("https://evil.example/")), ID_JAG),
        (changed("aud", Value::Null), ID_JAG),
        (changed("resource", json!("https://mcp.example/other")), ID_JAG),
    ] {
        let error = judge(&grant, issued).unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        assert!(
            !error.to_string().contains(&grant) && !format!("{error:?}").contains(&grant),
            "E12"
        );
    }
}

#[test]
fn e22_e6_the_second_leg_is_a_token_request_as_the_registered_client() {
    let scope = scope();
    let grant = IdJag(Secret::new("h.p.s"));
    assert!(!format!("{grant:?}").contains("h.p.s"), "E12");
    let client = ClientAuthentication::Basic {
        client_id: "at-as".into(),
        secret: Secret::new("as-secret"),
    };
    let endpoint = Url::parse("https://as.example/t/token").unwrap();
    let request = grant_request(&grant, &endpoint, &client, wanted(&scope)).build();
    let form = form(&request);
    assert_eq!(form.get("grant_type"), Some(JWT_BEARER));
    assert_eq!(form.get("assertion"), Some("h.p.s"));
    assert_eq!(
        (form.get("resource"), form.get("scope")),
        (Some(MCP), Some("read write"))
    );
    assert!(request.headers.contains_key("authorization") && request.url.query().is_none());
}

#[test]
fn e12_what_an_identity_provider_refuses_is_told_without_the_assertion() {
    let scope = scope();
    let response = HttpResponse {
        status: StatusCode::BAD_REQUEST,
        headers: HeaderMap::new(),
        body: r#"{"error":"invalid_grant","error_description":"not allowed\u001b[2J for you"}"#.into(),
    };
    let error = exchange_response(&idp_endpoint(), &response, wanted(&scope))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the token exchange at the identity provider answered invalid_grant: not allowed\\u{1b}[2J for you"
    );
}
