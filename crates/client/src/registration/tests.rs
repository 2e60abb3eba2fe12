use serde_json::json;

use super::*;
use crate::machine::drive;
use crate::testing::{Script, application, client, metadata, metadata_with, url};

const ISSUER: &str = "https://as.example";
const REGISTER: &str = "POST https://as.example/register";
const REDIRECT: &str = "http://127.0.0.1:4711/callback";
const DOCUMENT: &str = "https://app.example/client.json";
const NOW: UnixTime = UnixTime::from_seconds(1000);

fn server(changes: &Value) -> ServerMetadata {
    let at = url("https://as.example/.well-known/oauth-authorization-server");
    let body = metadata_with(ISSUER, changes).to_string();
    ServerMetadata::parse(ISSUER, &at, body.as_bytes(), &UrlPolicy::strict())
        .unwrap()
        .unwrap()
}

fn given(issuer: Option<&str>) -> PreRegistered {
    PreRegistered {
        client_id: "typed".into(),
        client_secret: Some(Secret::new("hush")),
        token_endpoint_auth_method: None,
        issuer: issuer.map(str::to_owned),
    }
}

fn kept(client: ClientInformation) -> Kept {
    Kept {
        client: Some(client),
        pinned_to: None,
    }
}

fn chosen(server: &ServerMetadata, application: &Application, kept: Kept) -> Result<String, Error> {
    match choose(server, application, kept, REDIRECT, NOW)? {
        Registration::Client(client) => Ok(client.client_id),
        Registration::Register(_) => Ok("register".into()),
    }
}

#[test]
fn g1_g9_g10_a3_a6_the_order_of_the_specification() {
    let both = server(&json!({ "client_id_metadata_document_supported": true }));
    let only_dcr = server(&json!({}));
    let neither = server(&json!({ "registration_endpoint": null }));
    let with_document = Application {
        client_metadata_url: Some(DOCUMENT.into()),
        ..application()
    };
    let with_all = Application {
        pre_registered: Some(given(None)),
        ..with_document.clone()
    };

    assert_eq!(chosen(&both, &with_all, Kept::default()).unwrap(), "typed");
    assert_eq!(chosen(&both, &with_document, Kept::default()).unwrap(), DOCUMENT);
    assert_eq!(
        chosen(&both, &with_document, kept(client(ISSUER))).unwrap(),
        DOCUMENT
    );
    assert_eq!(
        chosen(&only_dcr, &with_document, kept(client(ISSUER))).unwrap(),
        "client-1"
    );
    assert_eq!(
        chosen(&only_dcr, &with_document, Kept::default()).unwrap(),
        "register"
    );
    let pre = ClientInformation {
        origin: ClientOrigin::PreRegistered,
        ..client(ISSUER)
    };
    assert_eq!(chosen(&both, &with_document, kept(pre)).unwrap(), "client-1");
    for (server, application) in [
        (&neither, application()),
        (&neither, with_document),
        (
            &both,
            Application {
                may_register: false,
                ..application()
            },
        ),
    ] {
        let Err(Error::NeedsUser(words)) = chosen(server, &application, Kept::default()) else {
            panic!()
        };
        assert!(words.contains(ISSUER) && words.contains("client id"), "{words}");
    }
}

#[test]
fn d2_g13_g14_cl_08_credentials_of_one_server_are_not_for_another() {
    let server = server(&json!({}));
    let typed = |issuer| Application {
        pre_registered: Some(given(issuer)),
        ..application()
    };
    assert_eq!(
        chosen(&server, &typed(Some(ISSUER)), Kept::default()).unwrap(),
        "typed"
    );
    let pinned = |issuer: &str| Kept {
        client: None,
        pinned_to: Some(issuer.into()),
    };
    assert_eq!(chosen(&server, &typed(None), pinned(ISSUER)).unwrap(), "typed");
    for (application, kept) in [
        (typed(Some("https://old.example")), Kept::default()),
        (typed(None), pinned("https://old.example")),
        (typed(None), pinned("https://as.example/")),
    ] {
        let Err(Error::Refused(refusal)) = chosen(&server, &application, kept) else {
            panic!()
        };
        assert_eq!(refusal.rule, "G14");
        assert!(!refusal.to_string().contains("hush"));
    }
    // A registration that is handed over for the wrong issuer is not used either.
    assert_eq!(
        chosen(&server, &application(), kept(client("https://old.example"))).unwrap(),
        "register"
    );
}

#[test]
fn s8_a_registration_that_does_not_fit_any_more_is_not_used() {
    let server = server(&json!({}));
    for other in [
        ClientInformation {
            redirect_uri: Some("http://127.0.0.1:9/callback".into()),
            ..client(ISSUER)
        },
        ClientInformation {
            secret_expires_at: Some(NOW),
            ..client(ISSUER)
        },
    ] {
        assert_eq!(chosen(&server, &application(), kept(other)).unwrap(), "register");
    }
    let same = ClientInformation {
        redirect_uri: Some(REDIRECT.into()),
        ..client(ISSUER)
    };
    assert_eq!(chosen(&server, &application(), kept(same)).unwrap(), "client-1");
}

#[test]
fn g3_a_client_id_url_is_https_with_a_path() {
    let server = server(&json!({ "client_id_metadata_document_supported": true }));
    for bad in [
        "http://app.example/c.json",
        "https://app.example",
        "https://app.example/../c.json",
        "https://u@app.example/c",
    ] {
        let application = Application {
            client_metadata_url: Some(bad.into()),
            ..application()
        };
        assert!(
            matches!(
                chosen(&server, &application, Kept::default()),
                Err(Error::NeedsUser(_))
            ),
            "{bad}"
        );
    }
}

async fn register(script: &Script, changes: &Value, redirect_uri: &str) -> Result<ClientInformation, Error> {
    let server = server(changes);
    let Registration::Register(mut machine) =
        choose(&server, &application(), Kept::default(), redirect_uri, NOW).unwrap()
    else {
        panic!()
    };
    drive(machine.as_mut(), script).await
}

#[tokio::test]
async fn g11_a28_s8_what_a_registration_says() {
    for (redirect_uri, kind) in [
        (REDIRECT, "native"),
        ("http://localhost:1/cb", "native"),
        ("com.example.app:/cb", "native"),
        ("https://app.example/cb", "web"),
    ] {
        let script = Script::default().on(
            REGISTER,
            (
                201,
                json!({ "client_id": "new", "redirect_uris": [redirect_uri] }),
            ),
        );
        let client = register(&script, &json!({}), redirect_uri).await.unwrap();
        assert_eq!(
            (client.client_id.as_str(), client.redirect_uri.as_deref()),
            ("new", Some(redirect_uri))
        );
        assert_eq!(client.issuer, ISSUER);
        let body = script.sent()[0].json();
        assert_eq!(body["application_type"], kind);
        assert_eq!(body["redirect_uris"], json!([redirect_uri]));
        assert_eq!(
            body["grant_types"],
            json!(["authorization_code", "refresh_token"])
        );
        assert_eq!(body["token_endpoint_auth_method"], "none");
        assert_eq!(body.get("scope"), None);
    }
}

#[tokio::test]
async fn r22_a_server_with_the_device_grant_is_asked_for_it_too() {
    let script = Script::default().on(
        "POST https://as.example/register",
        (201, json!({ "client_id": "new" })),
    );
    let listed = json!({ "grant_types_supported": ["authorization_code", crate::device::GRANT_TYPE] });
    register(&script, &listed, "http://127.0.0.1:4711/callback")
        .await
        .unwrap();
    assert_eq!(
        script.sent()[0].json()["grant_types"],
        json!(["authorization_code", "refresh_token", crate::device::GRANT_TYPE])
    );
}

#[tokio::test]
async fn the_method_is_one_that_the_server_lists() {
    for (listed, asked) in [
        (json!(["none", "client_secret_basic"]), "none"),
        (
            json!(["client_secret_post", "client_secret_basic"]),
            "client_secret_basic",
        ),
        (json!(["client_secret_post"]), "client_secret_post"),
        (json!(null), "none"),
    ] {
        let script = Script::default().on(
            REGISTER,
            (201, json!({ "client_id": "new", "client_secret": "s" })),
        );
        let client = register(
            &script,
            &json!({ "token_endpoint_auth_methods_supported": listed }),
            REDIRECT,
        )
        .await
        .unwrap();
        assert_eq!(script.sent()[0].json()["token_endpoint_auth_method"], asked);
        assert_eq!(client.client_secret, Some(Secret::new("s")));
    }
    let script = Script::default();
    let only_keys = json!({ "token_endpoint_auth_methods_supported": ["tls_client_auth"] });
    assert!(register(&script, &only_keys, REDIRECT).await.is_err());
    assert!(script.take_lines().is_empty());
}

#[tokio::test]
async fn g12_a_refusal_is_met_with_another_method_and_then_told() {
    let refused = (
        400,
        json!({ "error": "invalid_client_metadata", "error_description": "no public clients" }),
    );
    let good = (
        201,
        json!({ "client_id": "new", "client_secret": "s", "token_endpoint_auth_method": "client_secret_basic" }),
    );
    let silent = json!({ "token_endpoint_auth_methods_supported": null });
    let script = Script::default().on(REGISTER, refused.clone()).on(REGISTER, good);
    let client = register(&script, &silent, REDIRECT).await.unwrap();
    assert_eq!(
        client.token_endpoint_auth_method.as_deref(),
        Some("client_secret_basic")
    );
    let asked: Vec<String> = script
        .sent()
        .iter()
        .map(|sent| sent.json()["token_endpoint_auth_method"].to_string())
        .collect();
    assert_eq!(asked, ["\"none\"", "\"client_secret_basic\""]);

    let script = Script::default().on(REGISTER, refused);
    assert!(matches!(
        register(&script, &silent, REDIRECT).await,
        Err(Error::Answered { .. })
    ));
    let script = Script::default().on(
        REGISTER,
        (
            400,
            json!({ "error": "invalid_redirect_uri", "error_description": "web \u{1b}only" }),
        ),
    );
    let Err(Error::Refused(refusal)) = register(&script, &json!({}), REDIRECT).await else {
        panic!()
    };
    assert_eq!(refusal.rule, "G12");
    assert!(
        refusal.problem.contains(REDIRECT) && refusal.problem.contains("web \\u{1b}only"),
        "{}",
        refusal.problem
    );
}

#[tokio::test]
async fn answers_that_are_not_right_are_refused() {
    for (status, body) in [
        (201, json!({})),
        (201, json!({ "client_id": "" })),
        (201, json!({ "client_id": 7 })),
        (201, json!({ "client_id": "a\nb" })),
        (201, json!({ "client_id": "a", "client_secret": "b\n" })),
        (
            201,
            json!({ "client_id": "a", "redirect_uris": ["https://evil.example/cb"] }),
        ),
        (
            201,
            json!({ "client_id": "a", "client_secret_expires_at": "soon" }),
        ),
        (201, json!([])),
        (302, json!({ "client_id": "a" })),
        (500, json!({ "client_id": "a" })),
    ] {
        let script = Script::default().on(REGISTER, (status, body.clone()));
        assert!(
            register(&script, &json!({}), REDIRECT).await.is_err(),
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn what_a_registration_tells_of_its_secret_is_kept() {
    let script = Script::default().on(
        REGISTER,
        (
            200,
            json!({ "client_id": "a", "client_secret": "s", "client_secret_expires_at": 5000 }),
        ),
    );
    let client = register(&script, &json!({}), REDIRECT).await.unwrap();
    assert_eq!(client.secret_expires_at, Some(UnixTime::from_seconds(5000)));
    assert_eq!(
        client.token_endpoint_auth_method, None,
        "not told: the token endpoint's list decides"
    );
    let script = Script::default().on(
        REGISTER,
        (
            201,
            json!({ "client_id": "a", "client_secret": "s", "client_secret_expires_at": 0 }),
        ),
    );
    assert_eq!(
        register(&script, &json!({}), REDIRECT)
            .await
            .unwrap()
            .secret_expires_at,
        None
    );
    assert_eq!(metadata(ISSUER)["issuer"], ISSUER);
}
