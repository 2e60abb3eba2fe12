use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Action, Call, Envelope, EnvelopeError, Kind, NotAdmittedReason, Revision};

mod differential;
mod lines;
mod metadata;

fn read(body: &str) -> Result<Envelope, EnvelopeError> {
    Envelope::read(Bytes::copy_from_slice(body.as_bytes()))
}

fn refused(body: &str) -> EnvelopeError {
    read(body).expect_err(body)
}

fn call(body: &str, headers: &[(&str, &str)]) -> Result<Call, NotAdmittedReason> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    Call::admit(read(body).unwrap(), &map, &crate::Extensions::none()).map_err(|refusal| refusal.reason)
}

const READ: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t_read","arguments":{"a":1}}}"#;

#[test]
fn reads_the_facts_and_keeps_the_bytes() {
    let body = Bytes::from_static(READ.as_bytes());
    let envelope = Envelope::read(body.clone()).unwrap();
    assert_eq!(envelope.kind(), Kind::Request);
    assert_eq!(
        (envelope.id(), envelope.method()),
        (Some("7"), Some("tools/call"))
    );
    assert_eq!(envelope.name(), Some("t_read"));
    let call = Call::admit(envelope, &HeaderMap::new(), &crate::Extensions::none()).unwrap();
    assert_eq!(
        (call.method(), call.name(), call.id()),
        (Some("tools/call"), Some("t_read"), Some("7"))
    );
    assert_eq!(
        (call.action(), call.revision()),
        (Action::Request, Revision::V2025_03_26)
    );
    let forwarded = call.into_body();
    assert_eq!(
        forwarded.as_ptr(),
        body.as_ptr(),
        "the same allocation, not a copy"
    );
    assert_eq!(forwarded, body);
}

#[test]
fn tells_requests_notifications_and_responses_apart() {
    for (body, kind) in [
        (r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#, Kind::Request),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            Kind::Notification,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Kind::Response),
        (
            r#"{"jsonrpc":"2.0","id":-1,"error":{"code":1,"message":"x"}}"#,
            Kind::Response,
        ),
    ] {
        assert_eq!(read(body).unwrap().kind(), kind, "{body}");
    }
    for (body, why) in [
        (r#"{"jsonrpc":"2.0","id":1}"#, EnvelopeError::NoKind),
        (r#"{"jsonrpc":"2.0","result":{}}"#, EnvelopeError::NoKind),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            EnvelopeError::NoKind,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            EnvelopeError::NoKind,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"params":{},"result":{}}"#,
            EnvelopeError::NoKind,
        ),
        (r#"{"id":1,"method":"ping"}"#, EnvelopeError::NotVersion2),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            EnvelopeError::NotVersion2,
        ),
        (
            r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
            EnvelopeError::NotVersion2,
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            EnvelopeError::BadId,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#,
            EnvelopeError::BadId,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1e2,"method":"ping"}"#,
            EnvelopeError::BadId,
        ),
        (
            r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
            EnvelopeError::BadId,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#,
            EnvelopeError::BadMethod,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            EnvelopeError::BadParams,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
            EnvelopeError::BadParams,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":1}}"#,
            EnvelopeError::BadParams,
        ),
        ("1", EnvelopeError::NotAnObject),
        ("", EnvelopeError::Empty),
        ("  \n", EnvelopeError::Empty),
    ] {
        assert_eq!(refused(body), why, "{body}");
    }
}

#[test]
fn mb_08_batches_are_refused() {
    let element = READ.to_owned();
    let many = format!("[{}]", vec![READ; 10_000].join(","));
    for body in [
        "[]".to_owned(),
        format!("[{element}]"),
        format!(" [{element},{element}]"),
        many,
    ] {
        assert_eq!(refused(&body), EnvelopeError::Batch);
    }
    assert_eq!(EnvelopeError::Batch.code(), -32600);
}

#[test]
fn mb_09_duplicate_keys_are_refused_wherever_they_are() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read"},"params":{"name":"t_admin"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read","name":"t_admin"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_admin","name":"t_read"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":1,"a":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":[{"x":{"a":1,"a":1}}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"a":1,"a":1}}}"#,
    ] {
        assert!(
            matches!(refused(body), EnvelopeError::DuplicateKey { .. }),
            "{body}"
        );
    }
    // Far beyond where keys are compared one by one.
    let keys: Vec<_> = (0..1000).map(|n| format!("\"k{n}\":0")).collect();
    let unique = keys.join(",");
    let message = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{{{arguments}}}}}}}"#
        )
    };
    assert!(read(&message(&unique)).is_ok());
    for again in [
        "\"k0\":1",
        "\"k15\":1",
        "\"k16\":1",
        "\"k999\":1",
        "\"\\u006b500\":1",
    ] {
        let body = message(&format!("{unique},{again}"));
        assert!(
            matches!(refused(&body), EnvelopeError::DuplicateKey { .. }),
            "{again}"
        );
    }
}

#[test]
fn mb_10_case_variants_are_refused_in_the_envelope_and_in_params_only() {
    for key in [
        "Method",
        "METHOD",
        "Params",
        "Id",
        "JsonRpc",
        "Result",
        "error ",
        "extra",
        "method\\u0000",
        "paramſ",
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","{key}":"t_admin"}}"#);
        assert!(
            matches!(refused(&body), EnvelopeError::UnknownMember { .. }),
            "{key}"
        );
    }
    for key in [
        "Name",
        "NAME",
        "nAme",
        "Arguments",
        "URI",
        "_META",
        "TaskId",
        "taskid",
        "argumentſ",
        "ｎame",
        "na\\u212ae",
        "name\\u0000",
        "\\u004eame",
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t_read","{key}":"t_admin"}}}}"#
        );
        assert!(
            matches!(refused(&body), EnvelopeError::AmbiguousKey { .. }),
            "{key}"
        );
        let alone = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"{key}":1}}}}"#);
        assert!(
            matches!(refused(&alone), EnvelopeError::AmbiguousKey { .. }),
            "{key}"
        );
    }
    let two_unknown = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"vendor":1,"Vendor":2}}"#;
    assert!(matches!(refused(two_unknown), EnvelopeError::AmbiguousKey { .. }));
    // Inside arguments and _meta they are the tool's own business.
    let inside = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"name":1,"Name":2,"é":3},"_meta":{"x":1,"X":2}}}"#;
    assert!(read(inside).is_ok());
}

#[test]
fn mb_11_escapes_are_resolved_before_anything_is_compared() {
    let hidden =
        r#"{"jsonrpc":"2.0","id":1,"meth\u006fd":"tools/c\u0061ll","params":{"na\u006de":"\u0074_admin"}}"#;
    let envelope = read(hidden).unwrap();
    assert_eq!(
        (envelope.method(), envelope.name()),
        (Some("tools/call"), Some("t_admin"))
    );
    let modern = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "t_read"),
    ];
    let hidden = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"na\u006de":"\u0074_admin","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    assert_eq!(
        call(hidden, &modern).unwrap_err(),
        NotAdmittedReason::HeaderMismatch("mcp-name")
    );
    let twice =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read","na\u006de":"t_admin"}}"#;
    assert!(matches!(refused(twice), EnvelopeError::DuplicateKey { .. }));
}

#[test]
fn clients_declare_tasks_among_their_capabilities() {
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tasks/get"),
        ("mcp-name", "t"),
    ];
    for (capabilities, declared) in [
        (r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#, true),
        (
            r#"{"extensions":{"a/b":{},"io.modelcontextprotocol/t\u0061sks":{}},"roots":{}}"#,
            true,
        ),
        (
            r#"{"extensions":{"a/b":{"io.modelcontextprotocol/tasks":{}}}}"#,
            false,
        ),
        (r#"{"io.modelcontextprotocol/tasks":{}}"#, false),
        (r#"{"extensions":["io.modelcontextprotocol/tasks"]}"#, false),
        (r#"["extensions"]"#, false),
        ("null", false),
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{{"taskId":"t","_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
        );
        assert_eq!(
            call(&body, &headers).unwrap().declares_tasks(),
            declared,
            "{capabilities}"
        );
    }
}

#[test]
fn mb_12_tool_names_outside_the_alphabet_are_refused() {
    for name in [
        "",
        "t read",
        "t_read ",
        "ｔ_read",
        "t_re\u{200d}ad",
        "t_r\u{435}ad",
        "a/b",
        "a\\u0000",
        "a\\nb",
    ] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#);
        assert_eq!(
            call(&body, &[]).unwrap_err(),
            NotAdmittedReason::BadName,
            "{name}"
        );
    }
    let long = "a".repeat(129);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{long}"}}}}"#);
    assert_eq!(call(&body, &[]).unwrap_err(), NotAdmittedReason::BadName);
    for params in [
        r#"{}"#,
        r#"{"name":1}"#,
        r#"{"name":["t_read"]}"#,
        r#"{"uri":"t_read"}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        assert_eq!(
            call(&body, &[]).unwrap_err(),
            NotAdmittedReason::BadName,
            "{params}"
        );
    }
    // A name in another case is another tool: it is passed on as it is, never folded.
    let upper = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"T_ADMIN"}}"#;
    assert_eq!(call(upper, &[]).unwrap().name(), Some("T_ADMIN"));
}

#[test]
fn ds_07_deep_long_and_wide_texts_are_refused() {
    let deep = |levels: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{}{}}}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert!(read(&deep(125)).is_ok());
    assert!(matches!(refused(&deep(126)), EnvelopeError::TooDeep { .. }));
    assert!(matches!(refused(&deep(100_000)), EnvelopeError::TooDeep { .. }));
    assert!(matches!(
        refused(&"[".repeat(100_000)),
        EnvelopeError::TooDeep { .. }
    ));
    assert!(matches!(
        refused(&"{\"a\":".repeat(100_000)),
        EnvelopeError::UnknownMember { .. }
    ));
    let with = |value: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{{"n":{value}}}}}}}"#
        )
    };
    assert!(matches!(
        refused(&with(&"9".repeat(1_000_000))),
        EnvelopeError::NumberTooLong { .. }
    ));
    assert!(matches!(
        refused(&with("1e999")),
        EnvelopeError::NumberTooLong { .. }
    ));
    assert!(read(&with("1e308")).is_ok());
    let keys: Vec<_> = (0..10_000).map(|n| format!("\"k{n}\":0")).collect();
    assert_eq!(
        refused(&with(&format!("{{{}}}", keys.join(",")))),
        EnvelopeError::TooManyMembers
    );
}

#[test]
fn what_is_not_strictly_json_is_refused() {
    for (body, why) in [
        (&b"\xef\xbb\xbf{}"[..], EnvelopeError::ByteOrderMark),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}",
            EnvelopeError::NotUtf8,
        ),
        (
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xed\xa0\x80\"}",
            EnvelopeError::NotUtf8,
        ),
    ] {
        assert_eq!(Envelope::read(Bytes::copy_from_slice(body)).unwrap_err(), why);
    }
    for body in [
        "{",
        "}",
        "{}}",
        "{\"jsonrpc\":\"2.0\",}",
        "{jsonrpc:\"2.0\"}",
        "{'jsonrpc':'2.0'}",
        "{\"jsonrpc\" \"2.0\"}",
        "{\"jsonrpc\":\"2.0\" \"id\":1}",
        "{\"id\":01}",
        "{\"id\":+1}",
        "{\"id\":.5}",
        "{\"id\":1.}",
        "{\"id\":NaN}",
        "{\"id\":Infinity}",
        "{\"id\":0x1}",
        "{\"jsonrpc\":\"2\t0\"}",
        "{\"jsonrpc\":\"\\x\"}",
        "{\"method\":\"\\ud800\"}",
        "{\"method\":\"\\udc00\"}",
        "{\"method\":\"\\ud800\\u0041\"}",
        "{\"method\":\"\\u12g4\"}",
        "{\"params\":{\"a\":tru}}",
        "{\"params\":{\"a\":nul}}",
        "{\"params\":{\"a\":[1,]}}",
        "{\"params\":{\"a\":[,]}}",
        "{\"params\":{\"a\":/* */1}}",
        "\u{a0}{}",
        "\u{b}{}",
        "{}\0",
        "\0{}",
        "{\"params\":{\"a\":\"\0\"}}",
        "{\"a",
    ] {
        let error = refused(body);
        let known = matches!(
            error,
            EnvelopeError::Syntax { .. }
                | EnvelopeError::TrailingBytes { .. }
                | EnvelopeError::UnknownMember { .. }
                | EnvelopeError::BadId
                | EnvelopeError::NotVersion2
        );
        assert!(known, "{body:?}: {error}");
    }
    let trailing = format!("{READ} {READ}");
    assert!(matches!(refused(&trailing), EnvelopeError::TrailingBytes { .. }));
    assert_eq!(refused(&trailing).code(), -32700);
}

#[test]
fn lk_02_debug_output_never_shows_a_body() {
    let secret =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"k":"hunter2"}}}"#;
    let envelope = read(secret).unwrap();
    assert!(!format!("{envelope:?}").contains("hunter2"));
    let call = Call::admit(envelope, &HeaderMap::new(), &crate::Extensions::none()).unwrap();
    assert!(!format!("{call:?}").contains("hunter2"));
}
