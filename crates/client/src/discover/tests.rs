use serde_json::json;

use super::*;
use crate::http::TransportError;
use crate::machine::drive;
use crate::testing::{Script, headers, metadata, metadata_with, response, url};

const SERVER: &str = "https://mcp.example.com/mcp";
const PATH: &str = "GET https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
const ROOT: &str = "GET https://mcp.example.com/.well-known/oauth-protected-resource";
const AS: &str = "https://as.example";
const AS_DOCUMENT: &str = "GET https://as.example/.well-known/oauth-authorization-server";
const AS_OPENID: &str = "GET https://as.example/.well-known/openid-configuration";

fn prm(resource: &str, servers: &[&str]) -> serde_json::Value {
    json!({ "resource": resource, "authorization_servers": servers })
}

fn challenge(parameters: &str) -> Challenge {
    let line = format!("Bearer {parameters}");
    Challenge::read(&headers(&[("www-authenticate", &line)]), &UrlPolicy::strict())
}

async fn find(script: &Script, challenge: Option<&Challenge>) -> Result<FoundResource, Error> {
    drive(
        &mut FindResource::new(&url(SERVER), challenge, &UrlPolicy::strict()),
        script,
    )
    .await
}

async fn all(script: &Script, choice: ServerChoice) -> Result<Discovered, Error> {
    let found = find(script, None).await?;
    drive(
        &mut FindServer::new(&url(SERVER), found, choice, &UrlPolicy::strict()),
        script,
    )
    .await
}

fn browser() -> ServerChoice {
    ServerChoice {
        code_flow: true,
        ..ServerChoice::default()
    }
}

fn rule<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::Refused(refusal)) => refusal.rule,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn d4_d3_the_header_first_then_the_path_then_the_root() {
    let named = challenge("resource_metadata=\"https://mcp.example.com/custom.json\"");
    let script = Script::default().on("GET https://mcp.example.com/custom.json", prm(SERVER, &[AS]));
    assert!(matches!(
        find(&script, Some(&named)).await,
        Ok(FoundResource::Metadata(_))
    ));
    assert_eq!(script.take_lines(), ["GET https://mcp.example.com/custom.json"]);

    let script = Script::default().on(ROOT, prm("https://mcp.example.com", &[AS]));
    let Ok(FoundResource::Metadata(found)) = find(&script, Some(&challenge("scope=a"))).await else {
        panic!()
    };
    assert_eq!(
        found.resource, "https://mcp.example.com",
        "byte for byte, without a slash"
    );
    assert_eq!(script.take_lines(), [PATH, ROOT]);

    // A document that is gone from where the header says is looked for elsewhere.
    let script = Script::default().on(PATH, prm(SERVER, &[AS]));
    assert!(matches!(
        find(&script, Some(&named)).await,
        Ok(FoundResource::Metadata(_))
    ));
    assert_eq!(
        script.take_lines(),
        ["GET https://mcp.example.com/custom.json", PATH]
    );
}

#[tokio::test]
async fn d4_a_page_for_every_path_is_no_document_but_a_broken_document_is_one() {
    let script = Script::default()
        .on(PATH, (200, "<html>"))
        .on(ROOT, prm(SERVER, &[AS]));
    assert!(matches!(
        find(&script, None).await,
        Ok(FoundResource::Metadata(_))
    ));
    let script = Script::default().on(PATH, (302, "")).on(ROOT, prm(SERVER, &[AS]));
    assert!(matches!(
        find(&script, None).await,
        Ok(FoundResource::Metadata(_))
    ));
    let script = Script::default()
        .on(PATH, prm("https://evil.example", &[AS]))
        .on(ROOT, prm(SERVER, &[AS]));
    assert_eq!(rule(find(&script, None).await), "A20");
    // What the header promises must be there.
    let named = challenge("resource_metadata=\"https://mcp.example.com/custom.json\"");
    for (status, body) in [(200, "<html>"), (302, ""), (403, "{}")] {
        let script = Script::default()
            .on("GET https://mcp.example.com/custom.json", (status, body))
            .on(PATH, prm(SERVER, &[AS]));
        assert_eq!(rule(find(&script, Some(&named)).await), "D3", "{status}");
    }
}

#[tokio::test]
async fn d3_nothing_is_concluded_from_a_server_that_does_not_work() {
    for status in [500, 503, 429] {
        let script = Script::default()
            .on(PATH, (status, ""))
            .on(ROOT, prm("https://mcp.example.com", &[AS]));
        assert!(
            matches!(find(&script, None).await, Err(Error::Unreachable { .. })),
            "{status}"
        );
        assert_eq!(script.take_lines(), [PATH]);
    }
    let script = Script::default().on(PATH, TransportError::Failed("no route".into()));
    assert!(matches!(
        find(&script, None).await,
        Err(Error::Unreachable { .. })
    ));
}

#[tokio::test]
async fn cl_14_b20_a_metadata_url_that_is_not_used_stops_before_anything_is_sent() {
    for bad in [
        "javascript:alert(1)",
        "http://mcp.example.com/x",
        "file:///etc/passwd",
    ] {
        let script = Script::default().on(PATH, prm(SERVER, &[AS]));
        let named = challenge(&format!("resource_metadata=\"{bad}\""));
        assert_eq!(rule(find(&script, Some(&named)).await), "B20");
        assert!(script.take_lines().is_empty());
    }
}

#[tokio::test]
async fn b10_b12_who_named_a_url_goes_with_the_request() {
    let named = challenge("resource_metadata=\"https://elsewhere.example/x\"");
    let script = Script::default()
        .on(PATH, prm(SERVER, &[AS]))
        .on(AS_DOCUMENT, metadata(AS));
    let found = find(&script, Some(&named)).await.unwrap();
    drive(
        &mut FindServer::new(&url(SERVER), found, browser(), &UrlPolicy::strict()),
        &script,
    )
    .await
    .unwrap();
    let named_by: Vec<NamedBy> = script.sent().iter().map(|sent| sent.request.named_by).collect();
    assert_eq!(named_by, [NamedBy::Server, NamedBy::User, NamedBy::Server]);
}

#[tokio::test]
async fn cl_02_no_authorization_server_is_asked_for_another_resource() {
    let script = Script::default()
        .on(PATH, prm("https://evil.example/mcp", &[AS]))
        .on(AS_DOCUMENT, metadata(AS));
    assert_eq!(rule(all(&script, browser()).await), "A20");
    assert_eq!(script.take_lines(), [PATH]);
}

#[tokio::test]
async fn d6_a5_oauth_metadata_then_openid() {
    let script = Script::default()
        .on(PATH, prm(SERVER, &[AS]))
        .on(AS_OPENID, metadata(AS));
    let found = all(&script, browser()).await.unwrap();
    assert_eq!(
        (
            found.resource.as_str(),
            found.authorization_server.issuer.as_str()
        ),
        (SERVER, AS)
    );
    assert_eq!(script.take_lines(), [PATH, AS_DOCUMENT, AS_OPENID]);
}

#[tokio::test]
async fn d7_cl_03_another_issuer_ends_it_and_the_next_place_is_not_asked() {
    let script = Script::default()
        .on(PATH, prm(SERVER, &[AS]))
        .on(AS_DOCUMENT, metadata("https://honest.example"))
        .on(AS_OPENID, metadata(AS));
    assert_eq!(rule(all(&script, browser()).await), "D7");
    assert_eq!(script.take_lines(), [PATH, AS_DOCUMENT]);
}

#[tokio::test]
async fn d6_no_document_anywhere_says_where_it_was_looked_for() {
    let script = Script::default().on(PATH, prm(SERVER, &[AS]));
    let Err(Error::Refused(refusal)) = all(&script, browser()).await else {
        panic!()
    };
    assert_eq!(refusal.rule, "D6");
    assert!(
        refusal.problem.contains("openid-configuration (404"),
        "{}",
        refusal.problem
    );
    let Err(Error::Refused(refusal)) = all(&Script::default(), browser()).await else {
        panic!()
    };
    assert_eq!(refusal.rule, "D3");
    assert!(
        refusal.problem.contains("oauth-protected-resource/mcp (404"),
        "{}",
        refusal.problem
    );
}

#[tokio::test]
async fn of_several_servers_the_known_one_and_else_the_first_that_holds() {
    let other = "https://other.example";
    let other_document = "GET https://other.example/.well-known/oauth-authorization-server";
    let listed = ["javascript:x", AS, other];
    let no_pkce = metadata_with(AS, &json!({ "code_challenge_methods_supported": null }));
    let script = Script::default()
        .on(PATH, prm(SERVER, &listed))
        .on(AS_DOCUMENT, no_pkce)
        .on(other_document, metadata(other));
    assert_eq!(
        all(&script, browser()).await.unwrap().authorization_server.issuer,
        other
    );

    let script = Script::default()
        .on(PATH, prm(SERVER, &listed))
        .on(AS_DOCUMENT, metadata(AS))
        .on(other_document, metadata(other));
    let choice = ServerChoice {
        known: vec![other.into()],
        ..browser()
    };
    assert_eq!(
        all(&script, choice.clone())
            .await
            .unwrap()
            .authorization_server
            .issuer,
        other
    );
    assert_eq!(script.take_lines(), [PATH, other_document]);

    // One that we have credentials for is not left because it does not answer at the moment.
    let script = Script::default()
        .on(PATH, prm(SERVER, &listed))
        .on(AS_DOCUMENT, metadata(AS))
        .on(other_document, (503, ""));
    assert!(matches!(
        all(&script, choice).await,
        Err(Error::Unreachable { .. })
    ));

    // All bad: the first reason is told.
    let script = Script::default().on(PATH, prm(SERVER, &["javascript:x"]));
    assert_eq!(rule(all(&script, browser()).await), "B20");
}

#[tokio::test]
async fn a_grant_without_a_browser_needs_no_code_flow() {
    let changes = json!({
        "authorization_endpoint": null, "code_challenge_methods_supported": null, "response_types_supported": null,
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    });
    let script = Script::default()
        .on(PATH, prm(SERVER, &[AS]))
        .on(AS_DOCUMENT, metadata_with(AS, &changes));
    assert!(all(&script, ServerChoice::default()).await.is_ok());
    assert_eq!(rule(all(&script, browser()).await), "S6");
}

#[tokio::test]
async fn r12_2025_03_26_a_server_without_resource_metadata_is_its_own_authorization_server() {
    let origin = "https://mcp.example.com";
    let own = "GET https://mcp.example.com/.well-known/oauth-authorization-server";
    let legacy = || ServerChoice {
        legacy: true,
        ..browser()
    };
    for issuer in [origin, "https://mcp.example.com/"] {
        let mut document = metadata(origin);
        document["issuer"] = json!(issuer);
        let script = Script::default().on(own, document);
        let found = all(&script, legacy()).await.unwrap();
        assert_eq!(
            (found.resource.as_str(), found.resource_metadata.is_some()),
            (SERVER, false)
        );
        assert_eq!(found.authorization_server.issuer, issuer);
    }
    // Another issuer is refused here, too, and no default path is tried instead.
    let script = Script::default().on(own, metadata("https://evil.example"));
    assert_eq!(rule(all(&script, legacy()).await), "D7");
    let script = Script::default().on(
        own,
        metadata_with(origin, &json!({ "code_challenge_methods_supported": ["plain"] })),
    );
    assert_eq!(rule(all(&script, legacy()).await), "S6");
    // No metadata at all: the default paths.
    let found = all(&Script::default(), legacy()).await.unwrap();
    assert_eq!(
        found.authorization_server.token_endpoint.as_str(),
        "https://mcp.example.com/token"
    );
    assert_eq!(found.authorization_server.issuer, origin);
    assert_eq!(rule(all(&Script::default(), browser()).await), "D3");
}

#[test]
fn a20_a21_the_canonical_uri_of_a_server() {
    for (server, expected) in [
        ("https://MCP.example.com/", "https://mcp.example.com"),
        ("https://mcp.example.com/mcp#x", "https://mcp.example.com/mcp"),
        (
            "https://mcp.example.com:443/mcp/?a=1",
            "https://mcp.example.com/mcp/?a=1",
        ),
    ] {
        assert_eq!(canonical_resource(&url(server)), expected);
    }
}

#[test]
fn the_machines_work_without_async() {
    let mut machine = FindResource::new(&url(SERVER), None, &UrlPolicy::strict());
    let Ok(Step::Send(request)) = machine.resume(None) else {
        panic!()
    };
    assert_eq!(format!("{} {}", request.method, request.url), PATH);
    assert!(request.body.is_none() && request.headers.get("authorization").is_none());
    let body = prm(SERVER, &[AS]).to_string();
    assert!(matches!(
        machine.resume(Some(Ok(response(200, body)))),
        Ok(Step::Done(FoundResource::Metadata(_)))
    ));
}
