//! A client's body: what the strict reader accepts, everybody reads alike, and one line of it is the same call.

use bytes::Bytes;
use doorward_mcp::{Call, Envelope, Extensions, Kind, Rewrite};
use http::HeaderMap;
use serde_json::{Value, json};

use super::readings::readings;

/// `input` is a body.
pub fn check(input: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(input);
    let Ok(envelope) = Envelope::read(Bytes::copy_from_slice(input)) else {
        return;
    };
    let theirs = theirs.unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let params = &theirs["params"];
    assert_eq!(envelope.method().map(str::to_owned), text(&theirs["method"]));
    assert_eq!(envelope.name().map(str::to_owned), text(&params["name"]));
    assert_eq!(envelope.uri().map(str::to_owned), text(&params["uri"]));
    assert_eq!(envelope.task().map(str::to_owned), text(&params["taskId"]));
    let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    assert_eq!(envelope.meta_version().map(str::to_owned), text(version));
    assert_eq!(raw(envelope.id()), theirs["id"]);
    let has = |key: &str| theirs.get(key).is_some();
    let kind = match (has("method"), has("id")) {
        (true, true) => Kind::Request,
        (true, false) => Kind::Notification,
        _ => Kind::Response,
    };
    assert_eq!(envelope.kind(), kind);

    let Ok(call) = Call::admit(envelope, &HeaderMap::new(), &Extensions::none()) else {
        return;
    };
    for reading in readings(input) {
        assert!(
            call.method()
                .unwrap_or_default()
                .eq_ignore_ascii_case(&reading.method)
        );
        if reading.method == "tools/call" {
            assert_eq!(call.name(), Some(&*reading.object));
        }
    }
    one_line(call, theirs);
}

/// Only the identifiers change, and nobody breaks the line.
fn one_line(call: Call, theirs: Value) {
    let mut expected = theirs;
    assert_eq!(
        raw(call.progress_token()),
        scalar(&expected["params"]["_meta"]["progressToken"])
    );
    let (had_token, had_request) = (
        call.progress_token().is_some(),
        call.cancelled_request().is_some(),
    );
    if call.id().is_some() {
        expected["id"] = json!("a");
    }
    if had_token {
        expected["params"]["_meta"]["progressToken"] = json!(2);
    }
    if had_request {
        expected["params"]["requestId"] = json!(3);
    }
    let line = call.into_line(&Rewrite {
        id: Some("\"a\""),
        progress_token: Some("2"),
        cancelled_request: Some("3"),
        subscription: None,
    });
    let line = std::str::from_utf8(&line).unwrap();
    assert!(!line.contains(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']));
    assert_eq!(serde_json::from_str::<Value>(line).unwrap(), expected);
}

fn raw(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

fn scalar(value: &Value) -> Value {
    match value {
        Value::String(_) | Value::Number(_) => value.clone(),
        _ => Value::Null,
    }
}
