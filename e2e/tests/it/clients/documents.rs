//! Real clients that are not registered: each is known by the URL of its metadata document, which is fetched over
//! real TLS in a network of the test's own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use doorward_testkit::dns::{self, Record};
use doorward_testkit::documents::{Documents, Served};
use doorward_testkit::{Doorward, PASSWORD, namespace};
use serde_json::json;

use super::client::{Client, Kind};

const DOCUMENT: &str = "https://app.apps.test/client.json";
/// Looks public, and leads nowhere else in there.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(45, 45, 45, 45);

/// Those that can be told such a URL. The Inspector's command line cannot.
const KINDS: [Kind; 6] = [
    Kind::TypeScriptV1,
    Kind::TypeScriptV2,
    Kind::PythonV1,
    Kind::PythonV2,
    Kind::FastMcp,
    Kind::McpRemote,
];

#[test]
fn a3_g5_real_clients_log_in_with_their_metadata_documents() {
    let test = "clients::documents::a3_g5_real_clients_log_in_with_their_metadata_documents";
    namespace::run(test, &["45.45.45.45"], async || {
        dns::start(namespace::DNS, Arc::new(|_, _| vec![Record::A(PUBLIC)]));
        let documents = Documents::start((PUBLIC, 443).into(), &["*.apps.test"]).await;
        let document = json!({
            "client_id": DOCUMENT,
            "client_name": "Real client",
            "redirect_uris": [
                "http://127.0.0.1/callback", "http://localhost/callback",
                "http://127.0.0.1/oauth/callback", "http://localhost/oauth/callback",
            ],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        });
        documents.answer(move |_| Served::json(&document));
        let authority = documents.authority();
        let server = Doorward::builder()
            .config(&format!(
                "[outbound]\ncertificates = \"{}\"\n",
                authority.display()
            ))
            .demo()
            .public_url("http://localhost:{port}")
            .user("alice", PASSWORD)
            .start()
            .await;
        for kind in KINDS {
            let mut client = Client::new(kind);
            client.document = Some(DOCUMENT);
            let calls = json!([["whoami", {}]]);
            let url = server.url("/mcp");
            for may_log_in in [true, false] {
                let seen = client.start(&url, may_log_in, &calls).await;
                let whoami = &seen["answers"][0]["structuredContent"];
                assert_eq!(whoami["client_id"], DOCUMENT, "{}: {seen}", kind.name());
                assert_eq!(whoami["username"], "alice", "{}", kind.name());
            }
        }
        assert!(!documents.seen().is_empty());
        let clients = server
            .command(&["client", "list", "--format", "json"])
            .ok()
            .json();
        assert_eq!(
            clients.as_array().map(Vec::len),
            Some(1),
            "nobody registered: {clients}"
        );
    });
}
