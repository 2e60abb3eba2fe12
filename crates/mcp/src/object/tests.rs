use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::call::NotAdmittedReason;
use crate::headers::encode_value;
use crate::method::Extensions;

fn headers(body: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &Value| {
        if let Some(text) = value.as_str() {
            let value = HeaderValue::from_str(&encode_value(text)).unwrap();
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let params = &body["params"];
    set("mcp-protocol-version", &json!("2026-07-28"));
    set("mcp-method", &body["method"]);
    let named = ["name", "uri", "taskId"].into_iter().map(|key| &params[key]);
    for value in named {
        set("mcp-name", value);
    }
    headers
}

fn modern_with(method: &str, params: Value, extensions: &[&str]) -> Result<Call, NotAdmittedReason> {
    let mut params = params;
    params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let envelope = Envelope::read(Bytes::from(body.to_string())).unwrap();
    let extensions: Extensions = extensions.iter().copied().collect();
    Call::admit(envelope, &headers(&body), &extensions).map_err(|refused| refused.reason)
}

fn modern(method: &str, params: Value) -> Result<Call, NotAdmittedReason> {
    modern_with(method, params, &[])
}

fn legacy_body(body: String) -> Result<Call, NotAdmittedReason> {
    let envelope = Envelope::read(Bytes::from(body)).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2025-11-25"));
    Call::admit(envelope, &headers, &Extensions::none()).map_err(|refused| refused.reason)
}

fn legacy(method: &str, params: &Value) -> Result<Call, NotAdmittedReason> {
    legacy_body(json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string())
}

#[test]
fn mb_13_every_method_says_what_it_touches() {
    let uri = "file:///a";
    for (method, params, object) in [
        ("tools/call", json!({ "name": "t" }), Some(Object::Tool("t"))),
        ("prompts/get", json!({ "name": "p" }), Some(Object::Prompt("p"))),
        (
            "resources/read",
            json!({ "uri": uri }),
            Some(Object::Resource(uri)),
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p" }, "argument": {} }),
            Some(Object::Prompt("p")),
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/resource", "uri": "file:///{x}" } }),
            Some(Object::Resource("file:///{x}")),
        ),
        ("skills/list", json!({}), Some(Object::Method("skills/list"))),
        ("skills/get", json!({}), Some(Object::Method("skills/get"))),
        (
            "resources/directory/read",
            json!({ "uri": uri }),
            Some(Object::Method("resources/directory/read")),
        ),
        ("tools/list", json!({}), None),
        ("prompts/list", json!({}), None),
        ("resources/list", json!({}), None),
        ("resources/templates/list", json!({}), None),
        ("server/discover", json!({}), None),
        ("tasks/get", json!({ "taskId": "x" }), None),
        ("tasks/update", json!({ "taskId": "x" }), None),
        ("tasks/cancel", json!({ "taskId": "x" }), None),
        ("subscriptions/listen", json!({ "notifications": {} }), None),
    ] {
        let call = modern(method, params).unwrap();
        assert_eq!(call.object(), object, "{method}");
        assert_eq!(call.task().is_some(), method.starts_with("tasks/"), "{method}");
    }
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        let call = legacy(method, &json!({ "uri": uri })).unwrap();
        assert_eq!(call.object(), Some(Object::Resource(uri)));
    }
    for method in ["initialize", "ping", "logging/setLevel", "tasks/list"] {
        assert_eq!(legacy(method, &json!({})).unwrap().object(), None);
    }
    assert_eq!(
        legacy("tasks/result", &json!({ "taskId": "x" })).unwrap().task(),
        Some("x")
    );
    assert_eq!(Object::Tool("t").to_string(), "tool t");
}

#[test]
fn mb_13_a_completion_that_refers_to_nothing_clear_is_refused() {
    for reference in [
        json!(null),
        json!("ref/prompt"),
        json!({}),
        json!({ "type": "ref/prompt" }),
        json!({ "type": "ref/prompt", "uri": "file:///a" }),
        json!({ "type": "ref/resource", "name": "p" }),
        json!({ "type": "ref/prompt", "name": "p", "uri": "file:///a" }),
        json!({ "type": "ref/tool", "name": "p" }),
        json!({ "type": "Ref/Prompt", "name": "p" }),
        json!({ "name": "p" }),
        json!({ "type": "ref/prompt", "name": "" }),
        json!({ "type": "ref/prompt", "name": "a\nb" }),
        json!({ "type": "ref/prompt", "name": ["p"] }),
    ] {
        for refused in [
            modern("completion/complete", json!({ "ref": reference })),
            legacy("completion/complete", &json!({ "ref": reference })),
        ] {
            assert_eq!(refused.unwrap_err(), NotAdmittedReason::BadName, "{reference}");
        }
    }
    assert!(modern("completion/complete", json!({})).is_err());
    for reference in [
        r#"{"type":"ref/prompt","name":"p","Name":"admin"}"#,
        r#"{"type":"ref/prompt","name":"p","name":"admin"}"#,
        r#"{"type":"ref/prompt","name":"p","n\u0061me":"admin"}"#,
        r#"{"type":"ref/prompt","name":"p","TYPE":"ref/resource"}"#,
        r#"{"type":"ref/prompt","name":"p","ｎame":"admin"}"#,
        r#"{"type":"ref/prompt","name":"p","x":1,"X":2}"#,
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{reference}}}}}"#
        );
        assert!(Envelope::read(Bytes::from(body)).is_err(), "{reference}");
    }
}

/// Header and body agree on each of these names, so that only the name itself can be the reason.
#[test]
fn mb_12_look_alikes_of_a_tool_are_no_tools() {
    for name in [
        "ｔ_admin",
        "t_admin ",
        " t_admin",
        "t_\u{200d}admin",
        "t_аdmin",
        "t_admin\u{0}",
        "t\u{2044}admin",
        "",
        "t_admin\u{301}",
        "t/admin",
        "t*",
    ] {
        let refused = legacy("tools/call", &json!({ "name": name })).unwrap_err();
        assert_eq!(refused, NotAdmittedReason::BadName, "{name:?}");
        if HeaderValue::from_str(&encode_value(name)).is_ok() {
            assert!(modern("tools/call", json!({ "name": name })).is_err(), "{name:?}");
        }
    }
    let upper = modern("tools/call", json!({ "name": "T_ADMIN" })).unwrap();
    assert_eq!(
        upper.object(),
        Some(Object::Tool("T_ADMIN")),
        "byte for byte: another tool"
    );
}

#[test]
fn mb_14_unknown_methods_are_admitted_only_where_they_are_named() {
    let unknown = |refused: Result<Call, NotAdmittedReason>| {
        matches!(refused, Err(NotAdmittedReason::UnknownMethod(_)))
    };
    for method in [
        "x/admin",
        "tools/Call",
        "initialize",
        "ping",
        "tools/call2",
        "X/ADMIN",
    ] {
        assert!(unknown(modern(method, json!({ "name": "t" }))), "{method}");
        // Methods of other revisions do not come back by being named.
        let named = modern_with(method, json!({ "name": "t" }), &["x/admin", "initialize", "ping"]);
        assert_eq!(unknown(named), method != "x/admin", "{method}");
    }
    let call = modern_with("x/admin", json!({ "name": "t" }), &["x/admin"]).unwrap();
    assert_eq!(call.method(), Some("x/admin"));
    assert_eq!(
        call.object(),
        Some(Object::Method("x/admin")),
        "its name opens nothing"
    );
    assert_eq!(call.name(), None);
    let renamed: Extensions = ["tools/call"].into_iter().collect();
    assert_eq!(renamed, Extensions::none());
}

#[test]
fn mb_18_request_state_and_arguments_are_read_where_they_stand() {
    let call = modern(
        "tools/call",
        json!({ "name": "t", "requestState": "s\u{e9}", "arguments": { "requestState": "no" } }),
    );
    let call = call.unwrap();
    assert_eq!(call.request_state(), Some("s\u{e9}"));
    assert_eq!(call.arguments(), Some(r#"{"requestState":"no"}"#));
    let without = modern("tools/call", json!({ "name": "t" })).unwrap();
    assert_eq!((without.request_state(), without.arguments()), (None, None));
    for state in [json!(null), json!(1), json!({}), json!(["s"])] {
        let refused = modern("tools/call", json!({ "name": "t", "requestState": state })).unwrap_err();
        assert_eq!(refused, NotAdmittedReason::BadRequestState);
        assert_eq!(
            (refused.code(), refused.status()),
            (-32602, http::StatusCode::BAD_REQUEST)
        );
    }
}

#[test]
fn mb_19_a_subscription_goes_on_without_what_is_cut() {
    let body = r#"{"jsonrpc":"2.0", "params":{"notifications":{ "toolsListChanged":true,"resourceSubscriptions":[ "file:///a" ,"file:///\u0061dmin","file:///admin"], "taskIds":["t1","t2"] },"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":9}}, "id":"é","method":"subscriptions/listen"}"#;
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    headers.insert("mcp-method", HeaderValue::from_static("subscriptions/listen"));
    let read = || {
        let envelope = Envelope::read(Bytes::from(body)).unwrap();
        Call::admit(envelope, &headers, &Extensions::none()).unwrap()
    };
    let all: Vec<_> = [
        Subscribed::Resource("file:///a"),
        Subscribed::Resource("file:///admin"),
        Subscribed::Resource("file:///admin"),
        Subscribed::Task("t1"),
        Subscribed::Task("t2"),
    ]
    .into();
    assert_eq!(read().subscribed().collect::<Vec<_>>(), all);
    let same = read().retain_subscriptions(|_| true).unwrap();
    assert_eq!(same.body(), body, "nothing changes if everything stays");

    let cut = read()
        .retain_subscriptions(|subscribed| {
            !matches!(
                subscribed,
                Subscribed::Resource("file:///admin") | Subscribed::Task("t1")
            )
        })
        .unwrap();
    assert_eq!(
        cut.body(),
        &body
            .replace(
                r#"[ "file:///a" ,"file:///\u0061dmin","file:///admin"]"#,
                r#"["file:///a"]"#
            )
            .replace(r#"["t1","t2"]"#, r#"["t2"]"#)
    );
    // Everything else is still found where it now stands.
    assert_eq!((cut.id(), cut.progress_token()), (Some("\"é\""), Some("9")));
    assert_eq!(cut.method(), Some("subscriptions/listen"));
    assert_eq!(cut.subscribed().count(), 2);
    let nothing = read().retain_subscriptions(|_| false).unwrap();
    assert_eq!(nothing.subscribed().count(), 0);

    let many: Vec<String> = (0..2000).map(|number| format!("file:///{number}")).collect();
    for filter in [
        json!(null),
        json!([]),
        json!({ "resourceSubscriptions": "file:///a" }),
        json!({ "resourceSubscriptions": ["file:///a", 1] }),
        json!({ "resourceSubscriptions": [""] }),
        json!({ "taskIds": { "0": "t" } }),
        json!({ "resourceSubscriptions": many }),
    ] {
        let refused = modern("subscriptions/listen", json!({ "notifications": filter }));
        assert_eq!(refused.unwrap_err(), NotAdmittedReason::BadName);
    }
    let variant = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"ResourceSubscriptions":["file:///admin"]}}}"#;
    assert!(Envelope::read(Bytes::from(variant)).is_err());
}

proptest! {
    /// Against the same done on a tree.
    #[test]
    fn mb_19_only_what_is_cut_changes(uris in proptest::collection::vec("[a-c\"é]{1,3}", 0..6), id: u32) {
        let keep = |uri: &str| !uri.contains('a');
        let params = json!({ "notifications": { "resourceSubscriptions": uris, "x": 1 } });
        let call = modern("subscriptions/listen", params).unwrap();
        let mut expected: Value = serde_json::from_slice(call.body()).unwrap();
        let kept: Vec<&String> = uris.iter().filter(|uri| keep(uri)).collect();
        expected["params"]["notifications"]["resourceSubscriptions"] = json!(kept);
        let cut = call.retain_subscriptions(|subscribed| match subscribed {
            Subscribed::Resource(uri) => keep(uri),
            Subscribed::Task(_) => id == 0,
        }).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(cut.body()).unwrap(), expected);
    }
}

#[test]
fn mb_12_a_uri_that_readers_resolve_differently_is_none() {
    for (uri, accepted) in [
        ("file:///public/x", true),
        ("file:///public/x.y/..z/...", true),
        ("file:///public/%20/%2525/%c3%a9?q=a&b#c", true),
        ("https://host", true),
        ("x://{+path}", true),
        ("note:é", true),
        ("file:///public/../private", false),
        ("file:///public/%2e%2E/private", false),
        ("file:///public/.%2e", false),
        ("file:///public/..%2Fprivate", false),
        ("file:///public/x/%2e%2e%5cprivate", false),
        ("file:///public/%252e%252e/private", false),
        ("file:///public/%25252E./private", false),
        ("file:///public/..%255cprivate", false),
        ("file:///public/%%32%65%2e/private", false),
        ("file:///public/%252e%252ex/private", true),
        ("file:///public//../private", false),
        ("file:///./private", false),
        ("file:///public/..?x", false),
        ("urn:x:..", false),
        ("..", false),
        (r"file:///public\private", false),
        ("file:///public/a b", false),
        (" file:///public", false),
        ("file:///public/a\u{a0}b", false),
        ("file:///public/\u{2028}", false),
    ] {
        let calls = [
            ("resources/read", json!({ "uri": uri })),
            ("resources/subscribe", json!({ "uri": uri })),
            (
                "completion/complete",
                json!({ "ref": { "type": "ref/resource", "uri": uri } }),
            ),
        ];
        for (method, params) in calls {
            assert_eq!(legacy(method, &params).is_ok(), accepted, "{method} {uri}");
        }
    }
    for (length, accepted) in [(8 << 10, true), ((8 << 10) + 1, false)] {
        let name = "x".repeat(length);
        assert_eq!(legacy("prompts/get", &json!({ "name": name })).is_ok(), accepted);
        assert_eq!(
            legacy("resources/read", &json!({ "uri": name })).is_ok(),
            accepted
        );
    }
}

#[test]
fn what_is_kept_of_a_call_says_the_same_in_less_space() {
    let padding = "x".repeat(100_000);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "padding": padding });
    for (method, params) in [
        (
            "tools/call",
            json!({ "name": "t\u{5f}1", "arguments": { "é": "\u{1}" } }),
        ),
        ("prompts/get", json!({ "name": "\"p\"" })),
        ("tasks/get", json!({ "taskId": "t-1" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "é" } }),
        ),
        (
            "subscriptions/listen",
            json!({ "notifications": { "resourceSubscriptions": ["file:///a"], "taskIds": ["\"", "b"] } }),
        ),
        ("x/y", json!({})),
    ] {
        let mut params = params;
        params["_meta"] = meta.clone();
        let body = json!({ "jsonrpc": "2.0", "id": "é", "method": method, "params": params });
        let envelope = Envelope::read(Bytes::from(body.to_string())).unwrap();
        let extensions: Extensions = ["x/y"].into_iter().collect();
        let call = Call::admit(envelope, &headers(&body), &extensions).unwrap();
        let compact = call.compact();
        assert_eq!(compact.object(), call.object(), "{method}");
        assert_eq!((compact.task(), compact.name()), (call.task(), call.name()));
        assert_eq!((compact.id(), compact.arguments()), (call.id(), call.arguments()));
        assert_eq!(
            (compact.method(), compact.action(), compact.revision()),
            (call.method(), call.action(), call.revision())
        );
        assert!(compact.subscribed().eq(call.subscribed()));
        assert!(compact.body_bytes().len() < 100);
    }
}
