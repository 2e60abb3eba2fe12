use serde_json::{Value, json};

use super::*;
use crate::testing::url;

const SERVER: &str = "https://mcp.example.com/a/mcp";

fn parse(body: &Value) -> Result<Option<ResourceMetadata>, Error> {
    let at = url("https://mcp.example.com/.well-known/oauth-protected-resource/a/mcp");
    ResourceMetadata::parse(
        &url(SERVER),
        &at,
        body.to_string().as_bytes(),
        &UrlPolicy::strict(),
    )
}

fn rule(result: Result<Option<ResourceMetadata>, Error>) -> &'static str {
    match result {
        Err(Error::Refused(refusal)) => refusal.rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn d4_r20_the_path_is_inserted_and_then_the_root() {
    for (server, expected) in [
        (
            "https://a.example/mcp",
            vec![
                "https://a.example/.well-known/oauth-protected-resource/mcp",
                "https://a.example/.well-known/oauth-protected-resource",
            ],
        ),
        (
            "https://a.example",
            vec!["https://a.example/.well-known/oauth-protected-resource"],
        ),
        (
            "https://a.example/x?y=1",
            vec![
                "https://a.example/.well-known/oauth-protected-resource/x?y=1",
                "https://a.example/.well-known/oauth-protected-resource",
            ],
        ),
    ] {
        let found: Vec<String> = locations(&url(server)).into_iter().map(String::from).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn d1_a_document_is_read_byte_for_byte() {
    let metadata = parse(&json!({
        "resource": "HTTPS://MCP.example.com:443/a",
        "authorization_servers": ["https://as.example/"],
        "scopes_supported": ["a", "not a scope", "b"],
        "resource_name": "Notes\u{1b}[2J",
        "dpop_bound_access_tokens_required": true,
        "unknown": {"x": 1}
    }))
    .unwrap()
    .unwrap();
    assert_eq!(metadata.resource, "HTTPS://MCP.example.com:443/a");
    assert_eq!(metadata.authorization_servers, ["https://as.example/"]);
    assert_eq!(metadata.scopes_supported.unwrap().to_string(), "a b");
    assert_eq!(metadata.resource_name.unwrap(), "Notes\\u{1b}[2J");
    assert!(metadata.dpop_bound_access_tokens_required);
}

#[test]
fn cl_02_a_resource_that_is_another_server_is_refused() {
    for resource in [
        json!("https://evil.example/a/mcp"),
        json!("https://mcp.example.com/b/mcp"),
        json!("https://mcp.example.com/a/mcp2"),
        json!("https://mcp.example.com/a/mcp/x"),
        json!("https://mcp.example.com/a/m"),
        json!("https://mcp.example.com:8443/a/mcp"),
        json!("http://mcp.example.com/a/mcp"),
        json!("https://mcp.example.com/a/../a/mcp"),
        json!("https://mcp.example.com/%61/mcp"),
        json!("https://mcp.example.com/a/mcp#f"),
        json!("https://user@mcp.example.com/a/mcp"),
        json!("https://mcp.example.com.evil.example/a/mcp"),
        json!("https://mcp.example.com/a/mcp?x=1"),
        json!(""),
        json!(null),
    ] {
        let body = json!({ "resource": resource, "authorization_servers": ["https://as.example"] });
        assert_eq!(rule(parse(&body)), "A20", "{resource}");
    }
}

#[test]
fn a20_who_left_out_the_path_is_told_the_url_of_the_same_origin_and_of_no_other() {
    let remedy = |resource: &str| {
        let body = json!({ "resource": resource, "authorization_servers": ["https://as.example"] });
        match parse(&body) {
            Err(Error::Refused(refusal)) => refusal.remedy,
            other => panic!("{other:?}"),
        }
    };
    let same = remedy("https://mcp.example.com/b/mcp");
    assert!(
        same.starts_with("if you meant that one, use its URL: https://mcp.example.com/b/mcp. "),
        "{same}"
    );
    for elsewhere in ["https://evil.example/a/mcp", "https://mcp.example.com:444/a/mcp"] {
        let remedy = remedy(elsewhere);
        assert!(remedy.starts_with("the MCP server's operator must"), "{remedy}");
    }
}

#[test]
fn a20_the_server_itself_and_the_folders_it_lies_in() {
    for (resource, server) in [
        ("https://a.example", "https://a.example/"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example", "https://a.example/mcp"),
        ("https://a.example/mcp", "https://a.example/mcp"),
        ("https://a.example/mcp/", "https://a.example/mcp"),
        ("https://a.example/mcp", "https://a.example/mcp/"),
        ("https://A.Example:443/mcp", "https://a.example/mcp"),
        ("https://a.example/mcp", "https://a.example/mcp?tenant=1"),
        ("https://a.example/mcp?tenant=1", "https://a.example/mcp?tenant=1"),
        ("http://[::1]:80/mcp", "http://[::1]/mcp"),
    ] {
        assert!(covers(resource, &url(server)), "{resource} {server}");
    }
    for (resource, server) in [
        ("https://a.example/mc", "https://a.example/mcp"),
        ("https://a.example/mcp?tenant=2", "https://a.example/mcp?tenant=1"),
        ("https://a.example?tenant=1", "https://a.example/mcp?tenant=1"),
        ("https://a.example//mcp", "https://a.example/mcp"),
        ("mcp", "https://a.example/mcp"),
    ] {
        assert!(!covers(resource, &url(server)), "{resource} {server}");
    }
}

#[test]
fn d1_documents_that_are_not_right_are_refused_with_the_rule() {
    let with = |name: &str, value: Value| {
        let mut body = json!({ "resource": SERVER, "authorization_servers": ["https://as.example"] });
        body[name] = value;
        body
    };
    for (body, expected) in [
        (with("authorization_servers", json!([])), "D1"),
        (with("authorization_servers", json!(null)), "D1"),
        (with("authorization_servers", json!("https://as.example")), "D1"),
        (with("authorization_servers", json!([1])), "D1"),
        (
            with("authorization_servers", json!(vec!["https://as.example"; 257])),
            "D1",
        ),
        (with("bearer_methods_supported", json!(["query"])), "A22"),
        (with("resource", json!(7)), "D1"),
        (with("dpop_bound_access_tokens_required", json!("yes")), "D1"),
    ] {
        assert_eq!(rule(parse(&body)), expected, "{body}");
    }
}

#[test]
fn what_is_no_object_with_unique_keys_is_no_document() {
    let at = url(SERVER);
    for body in [
        "",
        "<html>",
        "[]",
        "{\"resource\":\"a\",\"resource\":\"b\"}",
        "{} x",
    ] {
        let read = ResourceMetadata::parse(&at, &at, body.as_bytes(), &UrlPolicy::strict());
        assert!(matches!(read, Ok(None)), "{body}");
    }
}

proptest::proptest! {
    #[test]
    fn cl_02_whatever_covers_has_the_same_origin(resource in "https?://[a-z.:0-9@]{1,14}(/[a-z.%]{0,4}){0,3}[?#a-z/]{0,3}") {
        let server = url("https://a.example/x/y");
        if UrlPolicy::strict().judge(&resource).is_ok() && covers(&resource, &server) {
            proptest::prop_assert_eq!(url(&resource).origin(), server.origin());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
        let at = url(SERVER);
        let read = ResourceMetadata::parse(&at, &at, &bytes, &UrlPolicy::strict());
        proptest::prop_assert!(!matches!(read, Ok(Some(_))));
    }
}
