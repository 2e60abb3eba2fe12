//! CL-02, CL-03, CL-04: metadata that is about something else, from somebody else, or without PKCE.

use doorward_testkit::client_home::ClientHome;
use doorward_testkit::evil::{Evil, REGISTER, RESOURCE_METADATA, SERVER_METADATA};
use doorward_testkit::upstream::Answer;
use serde_json::{Value, json};

use super::{logs_in_now, refuse, stop};

/// The resource metadata say this about the resource, and name an authorization server of their own.
fn resource_is(evil: &Evil, authority: &Evil, resource: Option<&Value>) {
    let (issuer, resource) = (authority.issuer(), resource.cloned());
    evil.edit(RESOURCE_METADATA, move |metadata| {
        metadata["authorization_servers"] = json!([issuer]);
        match &resource {
            Some(resource) => metadata["resource"] = resource.clone(),
            None => {
                metadata.as_object_mut().map(|members| members.remove("resource"));
            }
        }
    });
}

#[tokio::test]
async fn cl_02_a_resource_that_is_not_the_server_is_refused_before_any_authorization_server_is_asked() {
    let (evil, authority, home) = (Evil::start(), Evil::start(), ClientHome::new());
    let port = evil.server().address().port();
    let other = authority.url();
    let wrong: Vec<Option<Value>> = [
        other.as_str(),
        "https://mcp.example.com/mcp",
        &evil.at("/mcp2"),
        &evil.at("/mc"),
        &evil.at("/other"),
        &evil.at("/mcp/deeper"),
        &evil.at("/MCP"),
        &evil.at("/mcp?tenant=1"),
        &evil.at("/mcp#fragment"),
        &evil.at("/mcp/../mcp2"),
        &format!("http://localhost:{port}/mcp"),
        &format!("https://127.0.0.1:{port}/mcp"),
        &format!("http://user@127.0.0.1:{port}/mcp"),
        &format!("http://127.0.0.1:{port}@evil.example/mcp"),
        &format!("http://127.0.0.1:{port}.evil.example/mcp"),
        &format!("http://127.0.0.1:{}/mcp", port ^ 1),
        "http://127.0.0.1/mcp",
        "/mcp",
        "",
        "urn:mcp",
        "*",
    ]
    .iter()
    .map(|text| Some(json!(text)))
    .chain([
        None,
        Some(Value::Null),
        Some(json!(7)),
        Some(json!([evil.url()])),
        Some(json!({ "url": evil.url() })),
    ])
    .collect();
    for resource in wrong {
        let case = format!("resource {resource:?}");
        resource_is(&evil, &authority, resource.as_ref());
        let finished = refuse(&evil, &home, &[], &case).await;
        assert!(
            finished.stderr.contains("resource"),
            "{case}: {}",
            finished.stderr
        );
    }
    authority.assert_untouched();
    logs_in_now(&evil, &home).await;
}

#[tokio::test]
async fn cl_02_d4_the_same_where_the_challenge_names_no_metadata() {
    let (evil, authority, home) = (Evil::start(), Evil::start(), ClientHome::new());
    evil.set_header("/mcp", "WWW-Authenticate", "Bearer");
    resource_is(&evil, &authority, Some(&json!(authority.url())));
    refuse(&evil, &home, &[], "found at the well-known place").await;
    authority.assert_untouched();
    logs_in_now(&evil, &home).await;
}

/// A key twice: one parser sees the right resource, another the wrong one.
#[tokio::test]
async fn cl_02_cl_03_a_document_that_says_two_things_is_refused() {
    let (evil, authority, home) = (Evil::start(), Evil::start(), ClientHome::new());
    let (ours, theirs, issuer) = (evil.url(), authority.url(), evil.issuer());
    for (first, second) in [(&ours, &theirs), (&theirs, &ours)] {
        let body = format!(
            r#"{{"resource":"{first}","resource":"{second}","authorization_servers":["{}"]}}"#,
            authority.issuer()
        );
        evil.instead(RESOURCE_METADATA, move |_| {
            Answer::new(200, "application/json", body.clone())
        });
        refuse(&evil, &home, &[], "two resources").await;
    }
    authority.assert_untouched();
    evil.behave();
    for (first, second) in [(issuer.clone(), authority.issuer()), (authority.issuer(), issuer)] {
        evil.change(SERVER_METADATA, move |_, answer| {
            let [doorward_testkit::upstream::Part::Bytes(bytes)] = answer.parts.as_slice() else {
                return answer;
            };
            let text = String::from_utf8_lossy(bytes);
            let rest = text.trim_start_matches('{').replace("\"issuer\"", "\"was\"");
            let body = format!(r#"{{"issuer":"{first}","issuer":"{second}",{rest}"#);
            Answer::new(200, "application/json", body)
        });
        refuse(&evil, &home, &[], "two issuers").await;
    }
    assert_eq!(evil.seen(REGISTER).len(), 0);
    logs_in_now(&evil, &home).await;
}

#[tokio::test]
async fn cl_03_d7_metadata_of_another_issuer_are_refused() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let port = evil.server().address().port();
    let issuer = evil.issuer();
    let wrong: Vec<Option<Value>> = [
        format!("{issuer}/"),
        issuer.replace("http:", "HTTP:"),
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("https://127.0.0.1:{port}"),
        format!("{issuer}?"),
        format!("{issuer}#"),
        format!("{issuer}/."),
        format!("{issuer}/%2e"),
        format!(" {issuer}"),
        format!("{issuer} "),
        format!("http://127.0.0.1:0{port}"),
        format!("http://127.1:{port}"),
        "https://as.example.com".into(),
        String::new(),
    ]
    .into_iter()
    .map(|text| Some(json!(text)))
    .chain([None, Some(Value::Null), Some(json!(1)), Some(json!([issuer]))])
    .collect();
    for given in wrong {
        let case = format!("issuer {given:?}");
        evil.edit(SERVER_METADATA, move |metadata| match &given {
            Some(given) => metadata["issuer"] = given.clone(),
            None => {
                metadata.as_object_mut().map(|members| members.remove("issuer"));
            }
        });
        let finished = refuse(&evil, &home, &[], &case).await;
        assert!(finished.stderr.contains("issuer"), "{case}: {}", finished.stderr);
    }
    assert_eq!(evil.seen(REGISTER).len(), 0, "nothing is registered");
    logs_in_now(&evil, &home).await;
}

/// The other way round: the resource metadata write it otherwise than the authorization server does.
#[tokio::test]
async fn cl_03_d7_an_issuer_is_compared_as_the_resource_metadata_write_it() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    let port = evil.server().address().port();
    for written in [
        format!("{}/", evil.issuer()),
        format!("HTTP://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
    ] {
        let case = format!("authorization server {written}");
        evil.edit(RESOURCE_METADATA, move |metadata| {
            metadata["authorization_servers"] = json!([written]);
        });
        refuse(&evil, &home, &[], &case).await;
    }
    assert_eq!(evil.seen(REGISTER).len(), 0, "nothing is registered");
    logs_in_now(&evil, &home).await;
}

#[tokio::test]
async fn cl_04_s6_metadata_without_s256_are_refused() {
    let (evil, home) = (Evil::start(), ClientHome::new());
    for methods in [
        None,
        Some(json!(["plain"])),
        Some(json!([])),
        Some(Value::Null),
        Some(json!("S256")),
        Some(json!(["s256"])),
        Some(json!(["S256 "])),
        Some(json!([["S256"]])),
        Some(json!({ "S256": true })),
    ] {
        let case = format!("methods {methods:?}");
        evil.edit(SERVER_METADATA, move |metadata| match &methods {
            Some(methods) => metadata["code_challenge_methods_supported"] = methods.clone(),
            None => {
                metadata
                    .as_object_mut()
                    .map(|members| members.remove("code_challenge_methods_supported"));
            }
        });
        let finished = refuse(&evil, &home, &[], &case).await;
        assert!(
            finished.stderr.contains("code_challenge_methods_supported"),
            "{case}: {}",
            finished.stderr
        );
    }
    assert_eq!(evil.seen(REGISTER).len(), 0, "nothing is registered");
    evil.edit(SERVER_METADATA, |metadata| {
        metadata["code_challenge_methods_supported"] = json!(["plain", "S256"]);
    });
    let finished = home.login(&evil.url(), &[]).await;
    assert_eq!(
        finished.code, 0,
        "S256 among others is enough:\n{}",
        finished.stderr
    );
    assert_eq!(evil.authorizations()[0]["code_challenge_method"], "S256");
}

/// Bodies that never end, never come, or are no JSON.
#[tokio::test]
async fn cl_02_cl_03_documents_are_bounded() {
    use doorward_testkit::upstream::Part;
    use std::time::Duration;
    let (evil, home) = (Evil::start(), ClientHome::new());
    let json_head = || Answer::new(200, "application/json", "");
    let endless = move || {
        let mut answer = json_head();
        answer.chunked = true;
        answer.parts = vec![Part::Repeat(b"          ".repeat(1000), Duration::ZERO)];
        answer
    };
    let big = json!({ "resource": "x".repeat(1 << 20) });
    for path in [RESOURCE_METADATA, SERVER_METADATA] {
        for (case, answer) in [
            ("endless", endless()),
            ("1 MiB", Answer::json(&big)),
            (
                "html",
                Answer::new(200, "text/html", "<!doctype html><title>login</title>"),
            ),
            ("nothing", Answer::new(200, "application/json", "")),
            ("an array", Answer::json(&json!([]))),
            ("deep", Answer::new(200, "application/json", "[".repeat(60_000))),
            (
                "invalid UTF-8",
                Answer::new(200, "application/json", b"{\"resource\":\"\xff\xfe\"}".to_vec()),
            ),
        ] {
            evil.instead(path, move |_| answer.clone());
            stop(&evil, &home, &[], &format!("{path}: {case}")).await;
            evil.behave();
        }
    }
    logs_in_now(&evil, &home).await;
}
