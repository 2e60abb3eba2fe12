//! The mirrored headers of 2026-07-28: what is admitted says in its headers what it says in its body.

use bytes::Bytes;
use doorward_mcp::headers::{decode_value, encode_value};
use doorward_mcp::param_headers::{may_annotate, tools};
use doorward_mcp::{Call, Envelope, Extensions};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

/// `input` is header values, a tool's schema and a tool's arguments, each but the last ended by a NUL:
/// protocol version, method, name, `Mcp-Param-A`, schema, arguments.
pub fn check(input: &[u8]) {
    let mut parts = input.splitn(6, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (version, method, name) = (next(), next(), next());
    let (parameter, schema, arguments) = (next(), next(), next());
    encoding(name);
    let mut headers = HeaderMap::new();
    for (key, value) in [
        ("mcp-protocol-version", version),
        ("mcp-method", method),
        ("mcp-name", name),
        ("mcp-param-a", parameter),
    ] {
        // A dash stands for no header at all.
        if value != b"-" {
            let Ok(value) = HeaderValue::from_bytes(value) else {
                return;
            };
            headers.append(key, value);
        }
    }
    let arguments: Value = serde_json::from_slice(arguments).unwrap_or(Value::Null);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "t",
        "arguments": arguments, "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } } });
    let Ok(envelope) = Envelope::read(Bytes::from(body.to_string())) else {
        return;
    };
    if let Ok(call) = Call::admit(envelope, &headers, &Extensions::none()) {
        assert_eq!(plain(version), "2026-07-28");
        assert_eq!(plain(method), "tools/call");
        assert_eq!(decode_value(plain(name)).as_deref(), Some("t"));
        parameters(&call, &headers, schema, &arguments);
    }
}

fn plain(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap().trim_matches([' ', '\t'])
}

/// Whatever has to be written into a header can be, and comes back.
fn encoding(name: &[u8]) {
    let Ok(text) = std::str::from_utf8(name) else {
        return;
    };
    let written = encode_value(text);
    let header = HeaderValue::from_str(&written).unwrap();
    let read = header.to_str().unwrap().trim_matches([' ', '\t']);
    assert_eq!(decode_value(read).as_deref(), Some(text));
}

/// A call that passes has the values that its headers say; a header that repeats the value passes.
fn parameters(call: &Call, headers: &HeaderMap, schema: &[u8], arguments: &Value) {
    let answer = [
        &br#"{"result":{"tools":[{"name":"t","inputSchema":"#[..],
        schema,
        b"}]}}",
    ]
    .concat();
    let Ok(tools) = tools(&answer) else { return };
    assert!(serde_json::from_slice::<Value>(&answer).is_ok());
    let Some(tool) = tools.first().and_then(|tool| tool.headers.as_ref()) else {
        return;
    };
    assert!(may_annotate(&answer));
    let passes = tool.check(call, headers).is_ok();
    // The oracle knows one schema; of the others it is only asked that nothing breaks.
    let schema: Value = serde_json::from_slice(schema).unwrap();
    if schema != json!({ "properties": { "a": { "type": "string", "x-mcp-header": "A" } } }) {
        return;
    }
    let said = headers.get("mcp-param-a").map(|value| value.as_bytes());
    let expected = match (&arguments["a"], said) {
        (Value::Null | Value::Array(_) | Value::Object(_), None) => true,
        (Value::Number(number), None) => number
            .as_f64()
            .is_none_or(|number| number.abs() > 9_007_199_254_740_991.0),
        (_, None) | (Value::Null | Value::Array(_) | Value::Object(_), Some(_)) => false,
        (value, Some(said)) => {
            let visible = said.iter().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e));
            let said = visible.then(|| decode_value(plain(said))).flatten();
            match (value, said) {
                (_, None) => false,
                (Value::String(text), Some(said)) => *text == said,
                (Value::Bool(word), Some(said)) => word.to_string() == said,
                // Coarser than what is checked: different decimals may be the same double.
                (Value::Number(number), Some(said)) => {
                    passes && said.parse::<f64>().ok() == number.as_f64()
                        || !passes && number.to_string() != said
                }
                _ => false,
            }
        }
    };
    let number = arguments["a"].is_number() && said.is_some();
    assert!(if number {
        expected || !passes
    } else {
        passes == expected
    });
}
