//! Headers against bodies, revisions and methods.

use super::call;
use crate::headers::{decode_value, encode_value};
use crate::{Action, Call, NotAdmittedReason as Why, Revision, method};

const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

fn modern(method: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{comma}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
    )
}

#[test]
fn mb_01_mb_02_headers_that_contradict_the_body_are_refused() {
    let body = modern("tools/call", r#""name":"t_admin""#);
    let method = ("mcp-method", "tools/call");
    assert!(call(&body, &[VERSION, method, ("mcp-name", "t_admin")]).is_ok());
    assert!(
        call(&body, &[VERSION, method, ("mcp-name", " t_admin\t")]).is_ok(),
        "RFC 9110 section 5.5"
    );
    for (headers, why) in [
        (
            [VERSION, method, ("mcp-name", "t_read")],
            Why::HeaderMismatch("mcp-name"),
        ),
        (
            [VERSION, method, ("mcp-name", "T_ADMIN")],
            Why::HeaderMismatch("mcp-name"),
        ),
        (
            [VERSION, ("mcp-method", "tools/list"), ("mcp-name", "t_admin")],
            Why::HeaderMismatch("mcp-method"),
        ),
        (
            [VERSION, ("mcp-method", "Tools/Call"), ("mcp-name", "t_admin")],
            Why::HeaderMismatch("mcp-method"),
        ),
    ] {
        let error = call(&body, &headers).unwrap_err();
        assert_eq!((error.code(), error.status().as_u16()), (-32020, 400));
        assert_eq!(error, why);
    }
    let list = modern("tools/list", "");
    let stray = [VERSION, ("mcp-method", "tools/list"), ("mcp-name", "t_read")];
    assert_eq!(call(&list, &stray).unwrap_err(), Why::HeaderMismatch("mcp-name"));
}

#[test]
fn mb_03_missing_blank_and_doubled_headers_are_refused() {
    let body = modern("tools/call", r#""name":"t_read""#);
    let all = [VERSION, ("mcp-method", "tools/call"), ("mcp-name", "t_read")];
    for position in 0..all.len() {
        let without: Vec<_> = all
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != position)
            .map(|(_, h)| *h)
            .collect();
        let mut blank = all;
        blank[position].1 = "";
        let same: Vec<_> = all.iter().copied().chain([all[position]]).collect();
        let other: Vec<_> = all.iter().copied().chain([(all[position].0, "other")]).collect();
        let mut joined = all;
        let list = format!("{}, {}", all[position].1, all[position].1);
        joined[position].1 = &list;
        for headers in [&without[..], &blank, &same, &other, &joined] {
            let error = call(&body, headers).unwrap_err();
            assert_eq!(
                (error.code(), error.status().as_u16()),
                (-32020, 400),
                "{headers:?}: {error}"
            );
        }
    }
}

#[test]
fn mb_04_versions_must_agree_and_be_known() {
    let body = modern("tools/list", "");
    let method = ("mcp-method", "tools/list");
    for version in ["2025-11-25", "2099-01-01", ""] {
        let error = call(&body, &[("mcp-protocol-version", version), method]).unwrap_err();
        assert_eq!(error, Why::HeaderMismatch("mcp-protocol-version"), "{version}");
    }
    let unknown = body.replace("2026-07-28", "v999");
    let error = call(&unknown, &[("mcp-protocol-version", "v999"), method]).unwrap_err();
    assert_eq!(
        error,
        Why::UnsupportedVersion {
            requested: "v999".into()
        }
    );
    assert_eq!((error.code(), error.status().as_u16()), (-32022, 400));
    let legacy = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let error = call(legacy, &[("mcp-protocol-version", "2024-10-07")]).unwrap_err();
    assert_eq!(error.code(), -32022);
    let error = call(legacy, &[VERSION, method]).unwrap_err();
    assert_eq!(
        (error.code(), error.status().as_u16()),
        (-32602, 400),
        "`_meta` is required"
    );
    let typed = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":7}}}"#;
    assert_eq!(call(typed, &[VERSION, method]).unwrap_err(), Why::MetaMissing);
}

#[test]
fn mb_05_for_legacy_revisions_the_body_alone_counts() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_admin"}}"#;
    let lie = ("mcp-name", "t_read");
    for headers in [
        &[lie][..],
        &[lie, ("mcp-protocol-version", "2025-11-25")],
        &[lie, ("mcp-protocol-version", "2025-06-18")],
        &[lie, ("mcp-protocol-version", "2025-03-26")],
        &[lie, ("mcp-protocol-version", "2024-11-05")],
    ] {
        let call = call(body, headers).unwrap();
        assert_eq!(call.name(), Some("t_admin"));
        assert!(call.revision().is_legacy());
    }
    let twice = [
        ("mcp-protocol-version", "2025-11-25"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    assert_eq!(
        call(body, &twice).unwrap_err(),
        Why::HeaderTwice("mcp-protocol-version")
    );
}

#[test]
fn mb_06_the_base64_form_is_decoded_before_it_is_compared() {
    let body = modern("tools/call", r#""name":"t_read""#);
    let with = |name: &str| {
        call(
            &body,
            &[VERSION, ("mcp-method", "tools/call"), ("mcp-name", name)],
        )
    };
    assert!(with("=?base64?dF9yZWFk?=").is_ok());
    for name in [
        "=?base64?dF9hZG1pbg==?=",
        "=?base64?dF9yZWFk",
        "=?base64?dF9yZWF?=",
        "=?base64?dF9y*WFk?=",
        "=?BASE64?dF9yZWFk?=",
        "=?Base64?dF9yZWFk?=",
        "=?base64?dF9yZWFkAA==?=",
        "=?base64?dF9yZWFkDQo=?=",
        "=?base64?/w==?=",
        "=?base64??=",
        "t_read\u{e9}",
    ] {
        assert_eq!(with(name).unwrap_err().code(), -32020, "{name}");
    }
    let uri = modern("resources/read", r#""uri":"file:///wörld""#);
    let header = encode_value("file:///wörld").into_owned();
    assert!(
        call(
            &uri,
            &[VERSION, ("mcp-method", "resources/read"), ("mcp-name", &header)]
        )
        .is_ok()
    );
    // A body value that looks like the sentinel must itself be encoded.
    let literal = modern("prompts/get", r#""name":"=?base64?literal?=""#);
    let method = ("mcp-method", "prompts/get");
    assert!(
        call(
            &literal,
            &[
                VERSION,
                method,
                ("mcp-name", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=")
            ]
        )
        .is_ok()
    );
    assert!(call(&literal, &[VERSION, method, ("mcp-name", "=?base64?literal?=")]).is_err());
}

#[test]
fn the_specification_s_encoding_examples() {
    for (plain, encoded) in [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ] {
        assert_eq!(encode_value(plain), encoded);
        assert_eq!(decode_value(encoded).as_deref(), Some(plain));
    }
}

#[test]
fn mb_14_methods_outside_the_revision_are_refused() {
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "x/admin",
        "tasks/list",
        "tools/Call",
        "tools/call ",
    ] {
        let error = call(&modern(method, ""), &[VERSION, ("mcp-method", method.trim_end())]).unwrap_err();
        if method.ends_with(' ') {
            assert_eq!(error.code(), -32020, "the header is trimmed, the body is not");
        } else {
            assert_eq!((error.code(), error.status().as_u16()), (-32601, 404), "{method}");
        }
    }
    for method in [
        "server/discover",
        "subscriptions/listen",
        "tasks/get",
        "x/admin",
        "Tools/call",
        "sampling/createMessage",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"taskId":"1"}}}}"#);
        let error = call(&body, &[]).unwrap_err();
        assert_eq!(
            (error.code(), error.status().as_u16()),
            (-32601, 400),
            "{method}: 404 would end the session"
        );
    }
    let task = r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"7"}}"#;
    assert_eq!(
        call(task, &[("mcp-protocol-version", "2025-11-25")])
            .unwrap()
            .name(),
        Some("7")
    );
    let task = modern("tasks/get", r#""taskId":"7""#);
    let method = ("mcp-method", "tasks/get");
    assert!(call(&task, &[VERSION, method, ("mcp-name", "7")]).is_ok());
    assert_eq!(
        call(&task, &[VERSION, method]).unwrap_err(),
        Why::HeaderMissing("mcp-name"),
        "SEP-2663"
    );
}

#[test]
fn requests_are_no_notifications_and_responses_are_legacy() {
    let silent = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t_admin"}}"#;
    assert_eq!(
        call(silent, &[]).unwrap_err(),
        Why::WrongKind(Revision::V2025_03_26)
    );
    let silent = silent.replace(
        "}}",
        r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
    );
    let headers = [VERSION, ("mcp-method", "tools/call"), ("mcp-name", "t_admin")];
    assert_eq!(
        call(&silent, &headers).unwrap_err(),
        Why::WrongKind(Revision::V2026_07_28)
    );
    let loud = r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#;
    assert_eq!(
        call(loud, &[]).unwrap_err(),
        Why::WrongKind(Revision::V2025_03_26)
    );
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(call(answer, &[]).unwrap().action(), Action::Response);
    assert_eq!(
        call(answer, &[VERSION]).unwrap_err(),
        Why::WrongKind(Revision::V2026_07_28)
    );
}

#[test]
fn hd_13_get_and_delete_belong_to_the_legacy_revisions() {
    let mut headers = http::HeaderMap::new();
    assert_eq!(Call::open_stream(&headers).unwrap().action(), Action::OpenStream);
    headers.insert(
        "mcp-protocol-version",
        http::HeaderValue::from_static("2025-06-18"),
    );
    assert_eq!(
        Call::end_session(&headers).unwrap().revision(),
        Revision::V2025_06_18
    );
    headers.insert(
        "mcp-protocol-version",
        http::HeaderValue::from_static("2026-07-28"),
    );
    for refused in [Call::open_stream(&headers), Call::end_session(&headers)] {
        assert_eq!(refused.unwrap_err().reason.status().as_u16(), 405);
    }
}

#[test]
fn revisions_know_their_methods() {
    assert!(method::find(Revision::V2025_11_25, "initialize").is_some());
    assert!(method::find(Revision::V2026_07_28, "initialize").is_none());
    assert!(method::find(Revision::V2025_06_18, "tasks/get").is_none());
    assert_eq!(Revision::parse("2025-06-18"), Some(Revision::V2025_06_18));
    assert_eq!(Revision::parse("2025-06-18 "), None);
}

/// What a server settles on in `initialize` comes back in every header: a 400 would cut off every server that
/// knows no newer revision.
#[test]
fn the_revision_before_streamable_http_is_accepted_and_not_offered() {
    let old = [("mcp-protocol-version", "2024-11-05")];
    for message in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"x:y"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}"#,
    ] {
        assert_eq!(
            call(message, &old).unwrap().revision(),
            Revision::V2024_11_05,
            "{message}"
        );
    }
    for later in ["tasks/list", "server/discover", "subscriptions/listen"] {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{later}"}}"#);
        let error = call(&message, &old).unwrap_err();
        assert_eq!(error, Why::UnknownMethod(Revision::V2024_11_05));
    }
    assert!(Revision::V2024_11_05.is_legacy());
    assert!(!Revision::ALL.contains(&Revision::V2024_11_05));
}
