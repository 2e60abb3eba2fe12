//! Calls written on one line, and lines of a server: only the identifiers change.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::differential::{values, written};
use crate::message::{MessageError, SUBSCRIPTION_ID, identity};
use crate::{Call, Envelope, Kind, Rewrite, ServerMessage};

fn call(body: &str) -> Call {
    let envelope = Envelope::read(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    Call::admit(envelope, &HeaderMap::new(), &crate::Extensions::none()).unwrap()
}

fn server(line: &str) -> Result<ServerMessage, MessageError> {
    ServerMessage::read(Bytes::copy_from_slice(line.as_bytes()))
}

/// Where some reader of lines would break one.
fn breaks(line: &str) -> bool {
    line.contains([
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
    ])
}

const OURS: Rewrite<'_> = Rewrite {
    id: Some("901"),
    progress_token: Some("\"doorward-1\""),
    cancelled_request: Some("902"),
    subscription: Some("903"),
};

#[test]
fn a_call_s_identifiers_are_replaced_and_nothing_else() {
    let body = "{\r\n \"jsonrpc\":\"2.0\",\n\"params\":{\"_meta\":{\"progressToken\" : 1e0,\"id\":1},\
        \"name\":\"t_read\",\"requestId\":9,\"arguments\":{\"id\":7,\"s\":\"a\u{2028}b\u{2029}c\u{85}d\\n\u{a0}\u{20ac}\"}},\
        \"id\" :\"\\u0061\", \"method\":\"tools/call\"}\n";
    let call = call(body);
    assert_eq!(
        (call.id(), call.progress_token()),
        (Some("\"\\u0061\""), Some("1e0"))
    );
    assert_eq!(
        call.cancelled_request(),
        None,
        "only notifications/cancelled has one"
    );
    assert_eq!(
        call.into_line(&OURS),
        "{   \"jsonrpc\":\"2.0\", \"params\":{\"_meta\":{\"progressToken\" : \"doorward-1\",\"id\":1},\
        \"name\":\"t_read\",\"requestId\":9,\"arguments\":{\"id\":7,\"s\":\"a\\u2028b\\u2029c\\u0085d\\n\u{a0}\u{20ac}\"}},\
        \"id\" :901, \"method\":\"tools/call\"} "
    );
}

#[test]
fn a_line_that_needs_no_change_is_the_same_allocation() {
    let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    let read = || {
        Call::admit(
            Envelope::read(body.clone()).unwrap(),
            &HeaderMap::new(),
            &crate::Extensions::none(),
        )
        .unwrap()
    };
    assert_eq!(read().into_line(&Rewrite::default()).as_ptr(), body.as_ptr());
    let tokens = Rewrite { id: None, ..OURS };
    assert_eq!(read().into_line(&tokens), body, "there is no token to replace");
    let accents = call(r#"{"jsonrpc":"2.0","id":"é€","method":"ping"}"#);
    let before = accents.body().clone();
    assert_eq!(accents.into_line(&Rewrite::default()), before);
}

#[test]
fn what_is_cancelled_is_found_however_it_is_written() {
    let cancel = call(
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\u0061","reason":"r"}}"#,
    );
    assert_eq!(cancel.cancelled_request(), Some("\"\\u0061\""));
    assert_eq!(
        cancel.into_line(&OURS),
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":902,"reason":"r"}}"#
    );
    let odd = call(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[1]}}"#);
    assert_eq!(odd.cancelled_request(), None);
    let odd = call(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":{}}}}"#);
    assert_eq!(odd.progress_token(), None);
    for (one, other, same) in [
        ("\"a\"", "\"\\u0061\"", true),
        ("\"a\"", "\"A\"", false),
        ("7", "7.0", true),
        ("7", "\"7\"", false),
        ("7", "70", false),
        ("7.5", "7", false),
        ("\"7.0\"", "\"7\"", false),
        (r#""\"""#, r#""\u0022""#, true),
    ] {
        assert_eq!(identity(one) == identity(other), same, "{one} {other}");
    }
}

#[test]
fn tells_what_a_server_wrote() {
    let response = server(r#"{"jsonrpc":"2.0","id":901,"result":{"x":1},"extra":true}"#).unwrap();
    assert_eq!(
        (response.kind(), response.id(), response.is_error()),
        (Kind::Response, Some("901"), false)
    );
    let line = "{\"error\":{\"message\":\"no\",\"code\":-32022,\"data\":{\"code\":1}},\"id\":\"a\",\"jsonrpc\":\"2.0\"}\r\n";
    let error = server(line).unwrap();
    assert_eq!(
        (error.kind(), error.id(), error.is_error()),
        (Kind::Response, Some("\"a\""), true)
    );
    assert_eq!(error.error_code(), Some(-32022));
    let lost = server(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#).unwrap();
    assert_eq!(
        (lost.kind(), lost.id(), lost.error_code()),
        (Kind::Response, None, Some(-32700))
    );
    let old = server(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#).unwrap();
    assert_eq!((old.kind(), old.is_error()), (Kind::Response, false));
    let old = server(r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":-1,"message":"no"}}"#).unwrap();
    assert_eq!(
        (old.kind(), old.is_error(), old.error_code()),
        (Kind::Response, true, Some(-1))
    );
    let request = server(r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#).unwrap();
    assert_eq!(
        (request.kind(), request.id(), request.method()),
        (Kind::Request, Some("0"), Some("roots/list"))
    );
    let progress = server(
        r#"{"jsonrpc":"2.0","method":"notifications/pr\u006fgress","params":{"progressToken":"doorward-1","progress":1}}"#,
    )
    .unwrap();
    assert_eq!(
        (progress.kind(), progress.method()),
        (Kind::Notification, Some("notifications/progress"))
    );
    assert_eq!(progress.progress_token(), Some("\"doorward-1\""));
    let cancelled =
        server(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":902}}"#).unwrap();
    assert_eq!(cancelled.cancelled_request(), Some("902"));
    for place in [
        "\"method\":\"notifications/tools/list_changed\",\"params\"",
        "\"id\":5,\"result\"",
    ] {
        let line = format!(r#"{{"jsonrpc":"2.0",{place}:{{"_meta":{{"{SUBSCRIPTION_ID}":903}}}}}}"#);
        let message = server(&line).unwrap();
        assert_eq!(message.subscription_id(), Some("903"));
        let theirs = Rewrite {
            subscription: Some("\"mine\""),
            ..Rewrite::default()
        };
        assert_eq!(message.rewritten(&theirs), line.replace("903", "\"mine\""));
    }
}

/// JavaScript writes half a surrogate pair where a text was cut in the middle of an emoji, Python integers of
/// any length. A line that is dropped would leave its call without an answer.
#[test]
fn ft_13_an_answer_with_odd_but_legal_json_is_an_answer() {
    let digits = "9".repeat(500);
    for value in [
        r#""cut \ud83d""#,
        r#""\ude00 \ud83d\u0041 \ud83d\ud83d\ude00""#,
        &digits,
        "1e999",
        r#"[{"a":1,"a":2}]"#,
    ] {
        let line =
            format!(r#"{{"result":{{"_meta":{{"x":{value}}},"content":{value}}},"id":3,"jsonrpc":"2.0"}}"#);
        let message = server(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!((message.kind(), message.id()), (Kind::Response, Some("3")));
        let theirs = Rewrite {
            id: Some("\"own\""),
            ..Rewrite::default()
        };
        assert_eq!(
            message.rewritten(&theirs),
            line.replace("\"id\":3", "\"id\":\"own\"")
        );
    }
    for value in [
        r#""\ud83""#,
        r#""\ud83d\x""#,
        r#""\ud83d\u12""#,
        r#"{"a" 1}"#,
        r#"{"a":1,}"#,
        "{,}",
        r#"{a:1}"#,
    ] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":3,"result":[{value}]}}"#);
        assert!(matches!(server(&line), Err(MessageError::NotJson(_))), "{line}");
    }
}

#[test]
fn a_line_that_is_no_message_is_told_without_its_content() {
    for (line, why) in [
        ("", MessageError::Empty),
        (" \r\n", MessageError::Empty),
        ("[]", MessageError::NotAnObject),
        ("\"hunter2\"", MessageError::NotAnObject),
        (r#"{"id":1,"result":{}}"#, MessageError::NotVersion2),
        (
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            MessageError::NotVersion2,
        ),
        (r#"{"jsonrpc":"2.0","id":1}"#, MessageError::NoKind),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
            MessageError::NoKind,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"hunter2","result":1}"#,
            MessageError::NoKind,
        ),
        (r#"{"jsonrpc":"2.0","id":[1],"result":{}}"#, MessageError::BadId),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"hunter2"}"#,
            MessageError::BadId,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":2}"#, MessageError::BadMethod),
    ] {
        assert_eq!(server(line).unwrap_err(), why, "{line}");
    }
    for line in [
        "hunter2 starts",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}} hunter2",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":NaN}}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"hunter2\":1,\"hunter2\":2}}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"result\":{}}",
        "{\"jsonrpc\":\"2.0\",\"id\":[1],\"result\":{\"hunter2\"}",
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
    ] {
        let error = server(line).unwrap_err();
        assert!(matches!(error, MessageError::NotJson(_)), "{line}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    assert_eq!(
        ServerMessage::read(Bytes::from_static(b"{\"a\":\"\xff\"}")).unwrap_err(),
        MessageError::NotUtf8
    );
    let many: Vec<_> = (0..10_000).map(|n| format!("\"k{n}\":0")).collect();
    let wide = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{}}}}}"#, many.join(","));
    assert!(server(&wide).is_ok(), "a result may be as wide as its line");
    let secret = server(r#"{"jsonrpc":"2.0","id":1,"result":"hunter2"}"#).unwrap();
    assert!(!format!("{secret:?}").contains("hunter2"));
}

fn ids() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        "[a-z\\\\\"é\u{2028}]{0,8}".prop_map(Value::from)
    ]
}

/// Characters at which readers break lines, among others.
fn texts() -> impl Strategy<Value = Value> {
    "[ab\\\\\"\n\r\u{85}\u{2027}\u{2028}\u{2029}\u{202a}é\u{2000}]{0,12}".prop_map(Value::from)
}

proptest! {
    #[test]
    fn a_call_on_one_line_is_the_same_call(
        id in ids(), token in ids(), arguments in values(), text in texts(), key in texts(),
        seed in prop::collection::vec(any::<u8>(), 1..32), rewrite in any::<[bool; 2]>(),
    ) {
        let key = key.as_str().unwrap();
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
            "name": "t_read", "arguments": {"v": arguments, "t": text, key: [1]},
            "_meta": {"progressToken": token, "other": text}}});
        let text = written(&message, &seed);
        // Not `message`: serde_json does not always read a float that it wrote as the same.
        let mut expected: Value = serde_json::from_str(&text).unwrap();
        let call = call(&text);
        prop_assert_eq!(&serde_json::from_str::<Value>(call.id().unwrap()).unwrap(), &id);
        prop_assert_eq!(&serde_json::from_str::<Value>(call.progress_token().unwrap()).unwrap(), &token);
        let (ours, our_token) = (rewrite[0].then_some("\"x\""), rewrite[1].then_some("12"));
        if rewrite[0] { expected["id"] = json!("x"); }
        if rewrite[1] { expected["params"]["_meta"]["progressToken"] = json!(12); }
        let line = call.into_line(&Rewrite { id: ours, progress_token: our_token, ..Rewrite::default() });
        let line = std::str::from_utf8(&line).unwrap();
        prop_assert!(!breaks(line), "{:?}", line);
        prop_assert_eq!(serde_json::from_str::<Value>(line).unwrap(), expected);
    }

    #[test]
    fn a_server_s_line_gets_the_client_s_identifiers_back(
        id in ids(), mine in ids(), result in values(), seed in prop::collection::vec(any::<u8>(), 1..32),
    ) {
        let message = json!({"jsonrpc": "2.0", "id": id, "result": {"r": result,
            "_meta": {SUBSCRIPTION_ID: id, "id": id}}, "x-extension": {"id": id}});
        let text = written(&message, &seed);
        let read = server(&text).unwrap();
        prop_assert_eq!(read.rewritten(&Rewrite::default()), text.as_bytes());
        prop_assert_eq!(identity(read.id().unwrap()), identity(read.subscription_id().unwrap()));
        let own = (read.id().unwrap().to_owned(), read.subscription_id().unwrap().to_owned());
        let raw = mine.to_string();
        let changed = read.rewritten(&Rewrite { id: Some(&raw), subscription: Some(&raw), ..OURS });
        let mut expected: Value = serde_json::from_str(&text).unwrap();
        expected["id"] = mine.clone();
        expected["result"]["_meta"][SUBSCRIPTION_ID] = mine;
        prop_assert_eq!(&serde_json::from_slice::<Value>(&changed).unwrap(), &expected);
        // And back again, byte for byte.
        let back = ServerMessage::read(changed).unwrap();
        let back = back.rewritten(&Rewrite { id: Some(&own.0), subscription: Some(&own.1), ..OURS });
        prop_assert_eq!(back, text.as_bytes());
    }

    #[test]
    fn identifiers_are_the_same_when_serde_json_says_so(one in ids(), other in ids(), seed in any::<[u8; 4]>()) {
        let (a, b) = (written(&one, &seed), written(&other, &[1]));
        prop_assert_eq!(identity(a.trim()) == identity(b.trim()), one == other);
        let same = written(&one, &[4, 0, 9]);
        prop_assert_eq!(identity(a.trim()), identity(same.trim()));
    }
}
