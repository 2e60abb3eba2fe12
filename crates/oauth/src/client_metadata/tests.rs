use serde_json::json;

use super::*;

const URL: &str = "https://app.example/oauth/client.json";

fn url() -> ClientIdUrl {
    ClientIdUrl::parse(URL).unwrap()
}

fn minimal() -> Value {
    json!({ "client_id": URL, "client_name": "App", "redirect_uris": ["http://127.0.0.1:3000/callback"] })
}

fn parse(document: &Value) -> Result<ClientMetadataDocument, DocumentError> {
    ClientMetadataDocument::parse(&url(), document.to_string().as_bytes(), &[])
}

fn with(name: &str, value: Value) -> Result<ClientMetadataDocument, DocumentError> {
    let mut document = minimal();
    document[name] = value;
    parse(&document)
}

#[test]
fn rg_11_g5_a_client_id_url_is_https_with_a_path_and_a_host_name() {
    use ClientIdUrlError::*;
    for good in [
        URL,
        "https://app.example/",
        "https://app.example:8443/c",
        "https://app.example/c?v=1",
        "https://localhost:9/c",
        "https://app.example/a..b/.well-known/...",
        "https://xn--bcher-kva.example/c",
    ] {
        assert_eq!(
            ClientIdUrl::parse(good).map(|url| url.as_str().to_owned()),
            Ok(good.into())
        );
    }
    let long = format!("https://app.example/{}", "a".repeat(4096));
    for (bad, why) in [
        ("http://app.example/c", NotHttps),
        ("HTTPS://app.example/c", NotHttps),
        ("ftp://app.example/c", NotHttps),
        (" https://app.example/c", NotHttps),
        ("https://app.example", NoPath),
        ("https://app.example?x", NoPath),
        ("https://app.example\\c", NoPath),
        ("https://app.example/c#f", Fragment),
        ("https://app.example/c#", Fragment),
        ("https://user@app.example/c", Userinfo),
        ("https://:p@app.example/c", Userinfo),
        ("https://app.example/a/../c", DotSegments),
        ("https://app.example/./c", DotSegments),
        ("https://app.example/a/..", DotSegments),
        ("https://app.example/a/%2e%2E/c", DotSegments),
        ("https://app.example/a/.%2e/c", DotSegments),
        ("https://127.0.0.1/c", Host),
        ("https://2130706433/c", Host),
        ("https://0x7f.1/c", Host),
        ("https://[::1]/c", Host),
        ("https://[::ffff:127.0.0.1]/c", Host),
        ("https://169.254.169.254/latest/meta-data", Host),
        ("https://app.example./c", Host),
        ("https://App.example/c", NotNormal),
        ("https://app.example:443/c", NotNormal),
        ("https://app.example/c d", NotNormal),
        ("https://app.example/c\td", NotNormal),
        ("https://bücher.example/c", NotNormal),
        ("https:///c", NotNormal),
        (&long, TooLong),
    ] {
        assert_eq!(ClientIdUrl::parse(bad), Err(why), "{bad}");
    }
}

#[test]
fn g6_a_minimal_document_is_a_public_client_of_the_code_flow() {
    let document = parse(&minimal()).unwrap();
    assert_eq!(document.client_name, "App");
    assert_eq!(document.grant_types, ["authorization_code"]);
    assert_eq!(document.authentication, Authentication::None);
    assert_eq!(
        document.redirect_uris[0].registered(),
        "http://127.0.0.1/callback"
    );
}

#[test]
fn g6_documents_as_vendors_publish_them_are_read() {
    let document = with(
        "grant_types",
        json!([
            "authorization_code",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code",
            "x"
        ]),
    );
    assert_eq!(document.unwrap().grant_types.len(), 3);
    for (name, value) in [
        ("logo_uri", json!("javascript:alert(1)")),
        ("client_uri", json!("https://app.example")),
        ("application_type", json!("native")),
        ("response_types", json!(["code"])),
        ("token_endpoint_auth_method", json!("none")),
        ("scope", json!("a b")),
        ("contacts", json!([1, {}])),
        ("tos_uri", json!(null)),
        ("software_id", json!(null)),
    ] {
        assert!(with(name, value.clone()).is_ok(), "{name} = {value}");
    }
}

#[test]
fn rg_09_g6_the_document_names_exactly_its_own_address() {
    for other in [
        "https://app.example/oauth/client.json/",
        "https://APP.example/oauth/client.json",
        "https://app.example:443/oauth/client.json",
        "https://app.example/oauth/client.json?",
        "https://app.example/oauth/client.json?x",
        "http://app.example/oauth/client.json",
        "https://app.example/oauth/Client.json",
        "https://app.example/oauth/%63lient.json",
        "",
    ] {
        assert_eq!(
            with("client_id", json!(other)),
            Err(DocumentError::OtherClient),
            "{other}"
        );
    }
    assert_eq!(
        with("client_id", json!([URL])),
        Err(DocumentError::Member("client_id"))
    );
    assert_eq!(
        with("client_id", json!(null)),
        Err(DocumentError::Missing("client_id"))
    );
}

#[test]
fn rg_09_what_is_not_a_metadata_object_is_refused() {
    for body in [
        &b""[..],
        b"[]",
        b"null",
        b"<html>",
        b"{",
        b"{}x",
        b"\xff{}",
        b"\xef\xbb\xbf{}",
        br#"{"client_id":"https://app.example/oauth/client.json","client_id":"https://app.example/oauth/client.json","client_name":"a","redirect_uris":["http://127.0.0.1/"]}"#,
        br#"{"client_id":"https://app.example/oauth/client.json","client_name":"a","redirect_uris":["http://127.0.0.1/"],"redirect_uri\u0073":["https://evil.test/"]}"#,
        br#"{"client_id":"https://app.example/oauth/client.json","client_name":"a","redirect_uris":["http://127.0.0.1/"],"x":{"y":1,"y":2}}"#,
    ] {
        assert_eq!(
            ClientMetadataDocument::parse(&url(), body, &[]),
            Err(DocumentError::NotAnObject),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    for missing in ["client_id", "client_name", "redirect_uris"] {
        let mut document = minimal();
        document.as_object_mut().unwrap().remove(missing);
        assert_eq!(parse(&document), Err(DocumentError::Missing(missing)));
    }
    for (name, value, why) in [
        ("client_name", json!("  "), DocumentError::Missing("client_name")),
        ("client_name", json!(7), DocumentError::Member("client_name")),
        (
            "client_name",
            json!("x".repeat(1001)),
            DocumentError::Member("client_name"),
        ),
        (
            "redirect_uris",
            json!("https://a.example/"),
            DocumentError::Member("redirect_uris"),
        ),
        (
            "redirect_uris",
            json!([1]),
            DocumentError::Member("redirect_uris"),
        ),
        ("redirect_uris", json!([]), DocumentError::RedirectCount),
        (
            "redirect_uris",
            json!(vec!["http://127.0.0.1/"; 33]),
            DocumentError::RedirectCount,
        ),
        (
            "grant_types",
            json!(["client_credentials"]),
            DocumentError::Grants,
        ),
        ("response_types", json!(["token"]), DocumentError::Grants),
        ("scope", json!("a\u{7f}"), DocumentError::Member("scope")),
        (
            "client_uri",
            json!("javascript:alert(1)"),
            DocumentError::Member("client_uri"),
        ),
        (
            "application_type",
            json!("service"),
            DocumentError::Member("application_type"),
        ),
        ("dpop_bound_access_tokens", json!(true), DocumentError::Dpop),
        ("dpop_bound_access_tokens", json!("true"), DocumentError::Dpop),
    ] {
        assert_eq!(with(name, value.clone()), Err(why), "{name} = {value}");
    }
}

#[test]
fn s4_redirect_uris_follow_the_rules_of_registration() {
    for (uri, good) in [
        ("https://app.example/cb", true),
        ("http://localhost/cb", true),
        ("com.example.app:/cb", true),
        ("http://app.example/cb", false),
        ("javascript:alert(1)", false),
        ("https://app.example/cb#f", false),
        ("https://*.example/cb", false),
    ] {
        assert_eq!(with("redirect_uris", json!([uri])).is_ok(), good, "{uri}");
    }
}

#[test]
fn s11_secrets_and_private_keys_are_refused_wherever_they_stand() {
    for (name, value) in [
        ("client_secret", json!("s")),
        ("client_secret", json!(null)),
        ("client_secret_expires_at", json!(0)),
        ("registration_access_token", json!("t")),
    ] {
        assert_eq!(with(name, value), Err(DocumentError::Secret), "{name}");
    }
    for key in [
        json!({ "kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d" }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "x", "d": null }),
        json!({ "kty": "RSA", "n": "n", "e": "AQAB", "p": "p" }),
        json!({ "kty": "oct", "k": "k" }),
        json!({ "kty": "oct" }),
    ] {
        // Also where no method would use it.
        assert_eq!(
            with("jwks", json!({ "keys": [key] })),
            Err(DocumentError::PrivateKey),
            "{key}"
        );
    }
    for method in [
        "client_secret_basic",
        "client_secret_post",
        "client_secret_jwt",
        "tls_client_auth",
        "",
    ] {
        assert_eq!(
            with("token_endpoint_auth_method", json!(method)),
            Err(DocumentError::AuthMethod),
            "{method}"
        );
    }
}

#[test]
fn private_key_jwt_needs_exactly_one_place_for_its_keys() {
    let keyed = |members: Value| {
        let mut document = minimal();
        document["token_endpoint_auth_method"] = json!("private_key_jwt");
        for (name, value) in members.as_object().unwrap() {
            document[name] = value.clone();
        }
        parse(&document).map(|document| document.authentication)
    };
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "x", "y": "y" }] });
    assert_eq!(
        keyed(json!({ "jwks": set })),
        Ok(Authentication::Keys(set.to_string()))
    );
    let at = "https://keys.example/jwks.json";
    assert_eq!(
        keyed(json!({ "jwks_uri": at })),
        Ok(Authentication::KeysAt(at.into()))
    );
    assert_eq!(keyed(json!({})), Err(DocumentError::Keys));
    assert_eq!(
        keyed(json!({ "jwks": set, "jwks_uri": at })),
        Err(DocumentError::Keys)
    );
    for bad in [
        "http://keys.example/j",
        "javascript:alert(1)",
        "https://u@keys.example/j",
        "https://keys.example/j#f",
        "data:application/json,{}",
        "file:///etc/passwd",
    ] {
        assert_eq!(
            keyed(json!({ "jwks_uri": bad })),
            Err(DocumentError::Member("jwks_uri")),
            "{bad}"
        );
    }
    for bad in [
        json!("x"),
        json!({}),
        json!({ "keys": "x" }),
        json!({ "keys": [1] }),
    ] {
        assert_eq!(
            keyed(json!({ "jwks": bad })),
            Err(DocumentError::Member("jwks")),
            "{bad}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn g6_any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = ClientMetadataDocument::parse(&url(), &bytes, &[]);
    }

    #[test]
    fn rg_11_an_accepted_url_means_what_it_says(tail in "[a-zA-Z0-9./%@?#:\\\\\\[\\] -]{0,40}") {
        let text = format!("https://{tail}");
        if let Ok(url) = ClientIdUrl::parse(&text) {
            proptest::prop_assert_eq!(url.url().as_str(), text.as_str());
            proptest::prop_assert!(url.url().username().is_empty() && url.url().fragment().is_none());
            proptest::prop_assert!(!url.host().is_empty() && url.host() == url.host().to_ascii_lowercase());
        }
    }
}
