//! RFC 9728.

use super::*;
use crate::GatewayError;

const AT: &str = "/.well-known/oauth-protected-resource";

#[tokio::test]
async fn r28_d1_the_document_of_one_server() {
    let fixture = Fixture::with(Arc::default(), &settings(), &[("a", "http://127.0.0.1:1/")]);
    for path in [AT.to_owned(), format!("{AT}/a/mcp")] {
        let response = fixture
            .send(request(
                "GET",
                &path,
                "",
                "",
                &[("origin", "https://anywhere.test")],
            ))
            .await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert!(
            response
                .headers()
                .get("access-control-allow-credentials")
                .is_none()
        );
        assert_eq!(response.headers()["content-type"], "application/json");
        let mut document: Value = serde_json::from_str(&text(response).await).unwrap();
        document.sort_all_objects();
        insta::allow_duplicates! {
            insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
            {
              "authorization_servers": [
                "https://gw.test"
              ],
              "bearer_methods_supported": [
                "header"
              ],
              "mcp_protocol_versions_supported": [
                "2026-07-28",
                "2025-11-25",
                "2025-06-18",
                "2025-03-26"
              ],
              "mcp_transports_supported": [
                "streamable-http"
              ],
              "resource": "https://gw.test/a/mcp",
              "resource_name": "a",
              "resource_type": "mcp-server",
              "scopes_supported": [
                "a"
              ]
            }
            "#);
        }
    }
    let preflight = fixture
        .send(request("OPTIONS", AT, "", "", &[("origin", "https://x.test")]))
        .await;
    assert_eq!(preflight.status(), 204);
    assert_eq!(
        fixture.send(request("POST", AT, "", "{}", &[])).await.status(),
        405
    );
}

#[tokio::test]
async fn several_servers_have_no_document_at_the_bare_path() {
    let fixture = Fixture::new().await;
    assert!(fixture.gateway.route(AT).is_none());
    let response = fixture
        .send(request("GET", &format!("{AT}/b/mcp"), "", "", &[]))
        .await;
    let document: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(document["resource"], "https://gw.test/b/mcp");
}

fn build(servers: &[(&str, &str)], settings: &Settings) -> Result<Gateway, GatewayError> {
    let servers = servers.iter().map(|(name, path)| {
        let mut protected = server(name);
        protected.path = (*path).into();
        unlimited(
            Arc::new(protected),
            Upstream::http("http://127.0.0.1:1/").unwrap(),
        )
    });
    let random = Arc::new(CountingRandom::default());
    let master = MasterKey::generate(&*random);
    let clock = Arc::new(FixedClock::new(UnixTime::EPOCH));
    let parts = Parts {
        verifier: Arc::new(Tokens::default()),
        revocations: Arc::new(RevocationSet::new()),
        policy: Arc::new(NoFurtherPolicy),
        sealer: Arc::new(Sealer::new(&master, Purpose::McpSession)),
        clock: Arc::clone(&clock) as _,
        recorder: Recorder::without_file(clock, Arc::clone(&random) as _),
        meters: Arc::new(crate::Meters::new(Arc::new(FixedClock::new(UnixTime::EPOCH)))),
        observer: Arc::new(()),
        random,
    };
    Gateway::new(settings, servers.collect(), parts)
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_at_the_start() {
    for path in [
        "mcp", "", "/a//b", "/a/", "/a/../b", "/a?b", "/a%2Fb", "/a b", "/a;b", "/a#b",
    ] {
        assert!(
            matches!(build(&[("a", path)], &settings()), Err(GatewayError::Path(_))),
            "{path}"
        );
    }
    let same = build(&[("a", "/mcp"), ("b", "/mcp")], &settings());
    assert!(matches!(same, Err(GatewayError::PathTaken(path)) if path == "/mcp"));
    assert!(build(&[("a", "/")], &settings()).is_ok());
    let mut settings = settings();
    settings.allowed_origins = vec!["http://localhost:6274/".into()];
    assert!(matches!(
        build(&[("a", "/mcp")], &settings),
        Err(GatewayError::AllowedOrigin(_))
    ));
    for url in [
        "127.0.0.1:1",
        "ftp://x/",
        "http://u:p@x/",
        "/mcp",
        "http://x/#f",
        "",
    ] {
        assert!(
            matches!(Upstream::http(url), Err(GatewayError::Upstream(_))),
            "{url}"
        );
    }
}
