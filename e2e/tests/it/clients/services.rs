//! Services made with real SDKs: client credentials with a secret and with a key.

use doorward_testkit::{Doorward, PASSWORD};
use serde_json::json;

use super::client::{self, Kind};

const KINDS: [Kind; 4] = [
    Kind::TypeScriptV1,
    Kind::TypeScriptV2,
    Kind::PythonV1,
    Kind::PythonV2,
];

async fn server(config: &str) -> Doorward {
    let server = Doorward::builder().config(config).demo().user("alice", PASSWORD);
    server.public_url("http://localhost:{port}").start().await
}

async fn assert_works(server: &Doorward, issuer: &str, kinds: &[Kind], id: &str, credential: [&str; 2]) {
    let url = server.url("/mcp");
    let calls = json!([["whoami", {}], ["echo", { "text": "through the door" }]]);
    for &kind in kinds {
        let words = [&url, issuer, id, credential[0], credential[1]];
        let seen = client::service(kind, &words, &calls).await;
        let whoami = &seen["answers"][0]["structuredContent"];
        assert_eq!(whoami["client_id"], id, "{}: {seen}", kind.name());
        let echo = json!([{ "type": "text", "text": "through the door" }]);
        assert_eq!(seen["answers"][1]["content"], echo, "{}", kind.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_services_of_real_sdks_get_tokens_with_a_secret() {
    let server = server("").await;
    let added = server.command(&[
        "client",
        "add",
        "--id",
        "reporter",
        "--secret",
        "--client-credentials",
        "--format",
        "json",
    ]);
    let added = added.ok().json();
    let secret = added["client_secret"].as_str().expect("a secret");
    assert_works(
        &server,
        &server.public_url,
        &KINDS,
        "reporter",
        ["secret", secret],
    )
    .await;
}

/// With a key. The Python SDKs write an issuer without a path with a slash behind it, into `aud` too, and leave one with
/// a path alone.
#[tokio::test(flavor = "multi_thread")]
async fn c1_services_of_real_sdks_get_tokens_with_a_key() {
    for path in ["", "/company"] {
        let server = server(&format!("issuer_path = \"{path}\"\n")).await;
        let key = rcgen::KeyPair::generate().unwrap();
        let (pem, jwks) = (server.home().join("key.pem"), server.home().join("jwks.json"));
        std::fs::write(&pem, key.serialize_pem()).unwrap();
        std::fs::write(&jwks, public(&key).to_string()).unwrap();
        let (pem, jwks) = (pem.display().to_string(), jwks.display().to_string());
        let add = ["client", "add", "--id", "signer", "--jwks", &jwks];
        server
            .command(&[&add[..], &["--client-credentials"]].concat())
            .ok();
        let issuer = server.url(path);
        let issuer = if path.is_empty() {
            &server.public_url
        } else {
            &issuer
        };
        assert_works(&server, issuer, &KINDS, "signer", ["key", &pem]).await;
    }
}

/// The public half of a P-256 key, as a JWK set.
fn public(key: &rcgen::KeyPair) -> serde_json::Value {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    // An uncompressed point: 4, x, y.
    let point = key.public_key_raw();
    let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
    json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256", "use": "sig", "kid": "1" }] })
}
