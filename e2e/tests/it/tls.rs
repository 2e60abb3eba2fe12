//! Own TLS files.

use doorward_testkit::http::Destination;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::{Doorward, PASSWORD, Site, mcp};
use serde_json::json;

/// A certificate for `gw.test` and the configuration that uses it.
pub(crate) struct Certificate {
    folder: tempfile::TempDir,
    pub(crate) der: doorward_testkit::http::Certificate<'static>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["gw.test".into()]).unwrap();
        let folder = doorward_testkit::folder("doorward-e2e-");
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self {
            folder,
            der: made.cert.der().clone(),
        }
    }

    pub(crate) fn config(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "[tls]\ncertificate = \"{folder}/cert.pem\"\nkey = \"{folder}/key.pem\"\n\n[[servers]]\nname = \"mcp\"\npath = \"/mcp\"\ndemo = true\n"
        )
    }
}

#[tokio::test]
async fn own_certificate_files_are_served() {
    let certificate = Certificate::new();
    let doorward = Doorward::builder()
        .config(&certificate.config())
        .public_url("https://gw.test:{port}")
        .tls(certificate.der.clone())
        .user("alice", PASSWORD)
        .start()
        .await;
    assert!(doorward.public_url.starts_with("https://gw.test:"));
    let client = OAuthClient::register_with(
        &doorward,
        json!({ "client_name": "x", "redirect_uris": ["http://127.0.0.1/cb"],
            "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none" }),
    )
    .await;
    let tokens = client.login("alice", PASSWORD, &doorward.url("/mcp")).await;
    let who = mcp::call(&doorward, "/mcp", "whoami", &json!({}))
        .bearer(&tokens.access)
        .send()
        .await;
    assert!(mcp::text_of(&who).contains("alice"), "{}", who.text());

    // Plain HTTP on a TLS port is not answered with anything of ours.
    let plain = Site::at(
        "http://gw.test",
        Destination {
            address: doorward.address,
            tls: None,
        },
    );
    assert!(plain.get("/healthz").try_send().await.is_err());
    // A client that does not trust the certificate goes away, and the server stays.
    let other = Certificate::new();
    let distrusting = Site::at(
        "https://gw.test",
        Destination {
            address: doorward.address,
            tls: Some(other.der.clone()),
        },
    );
    assert!(distrusting.get("/healthz").try_send().await.is_err());
    assert!(doorward.is_alive());
    assert_eq!(doorward.get("/readyz").send().await.status, 200);
}

#[test]
fn plain_http_is_for_loopback_only() {
    let work = doorward_testkit::folder("doorward-e2e-");
    for args in [
        &["serve", "--demo", "--public-url", "http://mcp.example.com"][..],
        &["serve", "--demo", "--listen", "0.0.0.0:0"],
        &[
            "serve",
            "--demo",
            "--listen",
            "0.0.0.0:0",
            "--public-url",
            "https://mcp.example.com",
        ],
    ] {
        let refused = doorward_testkit::command::run(work.path(), args, "");
        assert_eq!(refused.code, 2, "{args:?}: {}{}", refused.stdout, refused.stderr);
        assert!(
            refused.stderr.contains("https") || refused.stderr.contains("tls"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn certificate_files_that_do_not_work_are_named() {
    let good = Certificate::new();
    let other = Certificate::new();
    std::fs::copy(
        other.folder.path().join("key.pem"),
        good.folder.path().join("other.pem"),
    )
    .unwrap();
    let work = doorward_testkit::folder("doorward-e2e-");
    for (from, to) in [
        ("key.pem\"", "missing.pem\""),
        ("key.pem\"", "cert.pem\""),
        ("key.pem\"", "other.pem\""),
        ("/cert.pem\"", "/key.pem\""),
    ] {
        let file = work.path().join("doorward.toml");
        std::fs::write(
            &file,
            format!(
                "public_url = \"https://gw.test\"\n{}",
                good.config().replacen(from, to, 1)
            ),
        )
        .unwrap();
        let refused =
            doorward_testkit::command::run(work.path(), ["config", "check", "--config", "doorward.toml"], "");
        assert!(
            matches!(refused.code, 2 | 3),
            "{from} -> {to}: {}{}",
            refused.stdout,
            refused.stderr
        );
        assert!(
            refused.stderr.contains(".pem") || refused.stderr.contains("`[tls]`"),
            "{}",
            refused.stderr
        );
        assert!(!refused.stderr.contains("PRIVATE KEY"), "{}", refused.stderr);
    }
}
