use base64::Engine as _;
use serde_json::json;

use super::*;
use crate::named_url::UrlPolicy;
use crate::testing::{client, metadata_with, url};

const ISSUER: &str = "https://as.example";

fn server(methods: &serde_json::Value) -> ServerMetadata {
    let body = metadata_with(
        ISSUER,
        &json!({ "token_endpoint_auth_methods_supported": methods }),
    )
    .to_string();
    let at = url("https://as.example/.well-known/oauth-authorization-server");
    ServerMetadata::parse(ISSUER, &at, body.as_bytes(), &UrlPolicy::strict())
        .unwrap()
        .unwrap()
}

fn with_secret(method: Option<&str>) -> ClientInformation {
    ClientInformation {
        client_secret: Some(Secret::new("s3:cr et/%")),
        token_endpoint_auth_method: method.map(str::to_owned),
        ..client(ISSUER)
    }
}

#[test]
fn the_method_follows_the_registration_then_the_list() {
    let public = client(ISSUER);
    let secret = with_secret(None);
    let document = ClientInformation {
        origin: crate::provider::ClientOrigin::MetadataDocument,
        ..client(ISSUER)
    };
    for (listed, client, has_key, expected) in [
        (json!(["none"]), &public, false, Method::None),
        (
            json!(["client_secret_basic", "none"]),
            &public,
            false,
            Method::None,
        ),
        (
            json!(["client_secret_basic", "client_secret_post"]),
            &secret,
            false,
            Method::ClientSecretBasic,
        ),
        (
            json!(["client_secret_post"]),
            &secret,
            false,
            Method::ClientSecretPost,
        ),
        (json!(["none"]), &secret, false, Method::None),
        (json!(null), &secret, false, Method::ClientSecretBasic),
        (json!(null), &public, false, Method::None),
        (json!(["client_secret_basic"]), &public, false, Method::None),
        (json!(["client_secret_basic"]), &document, false, Method::None),
        (json!(["private_key_jwt"]), &document, true, Method::PrivateKeyJwt),
        (
            json!(["private_key_jwt", "client_secret_basic"]),
            &secret,
            true,
            Method::PrivateKeyJwt,
        ),
        (
            json!(["client_secret_basic"]),
            &with_secret(Some("client_secret_post")),
            false,
            Method::ClientSecretPost,
        ),
    ] {
        assert_eq!(
            choose(&server(&listed), client, has_key).unwrap(),
            expected,
            "{listed}"
        );
    }
    for (listed, client) in [
        (json!(["tls_client_auth"]), &secret),
        (json!(["none"]), &with_secret(Some("tls_client_auth"))),
        (json!(["none"]), &with_secret(Some("private_key_jwt"))),
        (json!([]), &secret),
    ] {
        assert!(choose(&server(&listed), client, false).is_err(), "{listed}");
    }
}

#[test]
fn basic_encodes_both_halves_before_they_are_joined() {
    let id = ClientInformation {
        client_id: "https://c.example/a:b".into(),
        ..with_secret(None)
    };
    let authentication = ClientAuthentication::of(&id, Method::ClientSecretBasic).unwrap();
    let header = authentication.header().unwrap();
    assert!(header.is_sensitive());
    let body = authentication.parameters();
    assert_eq!(
        body,
        [("client_id", Secret::new("https://c.example/a:b"))],
        "some servers look only there"
    );
    let pair = STANDARD
        .decode(header.to_str().unwrap().strip_prefix("Basic ").unwrap())
        .unwrap();
    assert_eq!(
        String::from_utf8(pair).unwrap(),
        "https%3A%2F%2Fc.example%2Fa%3Ab:s3%3Acr+et%2F%25"
    );
    // Our own server's reader gets the same client and secret out of it.
    let form = doorward_oauth::form::Form::default();
    let read = doorward_oauth::client_auth::read(&[header.to_str().unwrap()], &form).unwrap();
    assert_eq!(read.client_id().as_str(), "https://c.example/a:b");
    assert_eq!(
        read.credential(),
        &doorward_oauth::client_auth::Credential::Basic(Secret::new("s3:cr et/%"))
    );
}

#[test]
fn the_others_go_into_the_body_and_nothing_is_printed() {
    let names = |authentication: &ClientAuthentication| -> Vec<&str> {
        assert!(authentication.header().is_none());
        assert!(!format!("{authentication:?}").contains("s3:cr"));
        authentication
            .parameters()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    let of = |method| ClientAuthentication::of(&with_secret(None), method).unwrap();
    assert_eq!(names(&of(Method::None)), ["client_id"]);
    assert_eq!(
        names(&of(Method::ClientSecretPost)),
        ["client_id", "client_secret"]
    );
    assert!(ClientAuthentication::of(&client(ISSUER), Method::ClientSecretBasic).is_none());
    let assertion = ClientAuthentication::Assertion {
        client_id: "c".into(),
        assertion: Secret::new("s3:cr"),
    };
    assert_eq!(
        names(&assertion),
        ["client_id", "client_assertion_type", "client_assertion"]
    );
}
