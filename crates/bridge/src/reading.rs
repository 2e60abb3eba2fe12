//! The few things that are read of a message beyond its envelope. What cannot be read is as if it were not there.

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::message::identity;
use doorward_mcp::on_one_line;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Errors that only servers of 2026-07-28 and later give (Streamable HTTP, "Backward Compatibility"): a header that does not
/// fit, a capability that is missing, a version that is not spoken.
const MODERN: [i64; 3] = [-32020, -32021, -32022];
/// JSON-RPC's "method not found".
pub(crate) const UNKNOWN_METHOD: i64 = -32601;
/// MCP's `HeaderMismatch`.
pub(crate) const HEADER_MISMATCH: i64 = -32020;

/// Whether the code shows that the server is of 2026-07-28 or later.
pub(crate) fn is_modern(code: i64) -> bool {
    MODERN.contains(&code)
}

#[derive(Default, Deserialize)]
struct RawParams<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, rename = "taskId")]
    task: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}

/// What of a request's `params` matters to a transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) name: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) task: Option<String>,
    /// `_meta["io.modelcontextprotocol/protocolVersion"]`.
    pub(crate) version: Option<String>,
}

impl Params {
    pub(crate) fn of(message: &Message) -> Self {
        #[derive(Deserialize)]
        struct Meta<'a> {
            #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
            version: Option<&'a RawValue>,
        }
        let raw = raw_params(message);
        let meta = raw
            .meta
            .and_then(|meta| serde_json::from_str::<Meta<'_>>(meta.get()).ok());
        Self {
            name: string(raw.name),
            uri: string(raw.uri),
            task: string(raw.task),
            version: string(meta.and_then(|meta| meta.version)),
        }
    }
}

fn raw_params(message: &Message) -> RawParams<'_> {
    member(message.line(), "params")
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .unwrap_or_default()
}

/// What a request of our own has to say about us in a modern request's place: its `_meta` without what is its alone.
pub(crate) fn lent_meta(message: &Message) -> Value {
    const LENT: [&str; 3] = ["protocolVersion", "clientInfo", "clientCapabilities"];
    let meta = raw_params(message)
        .meta
        .and_then(|meta| serde_json::from_str::<Map<String, Value>>(meta.get()).ok())
        .unwrap_or_default();
    let lent = meta.into_iter().filter(|(key, _)| {
        key.strip_prefix("io.modelcontextprotocol/")
            .is_some_and(|key| LENT.contains(&key))
    });
    Value::Object(lent.collect())
}

/// A `tools/list` of our own.
pub(crate) fn tools_list(id: &str, meta: &Value, cursor: Option<&str>) -> Bytes {
    let mut params = json!({ "_meta": meta });
    if let (Some(cursor), Some(params)) = (cursor, params.as_object_mut()) {
        params.insert("cursor".into(), cursor.into());
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list", "params": params })
        .to_string()
        .into()
}

/// `result.protocolVersion` of the answer to an `initialize`.
pub(crate) fn negotiated(answer: &Message) -> Option<String> {
    result_string(answer, "protocolVersion")
}

/// `result.nextCursor` of a list.
pub(crate) fn next_cursor(answer: &Message) -> Option<String> {
    result_string(answer, "nextCursor")
}

fn result_string(answer: &Message, name: &str) -> Option<String> {
    string(member(member(answer.line(), "result")?.get().as_bytes(), name))
}

fn string(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// One member of an object, if it is there once.
fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a RawValue> {
    use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
    struct Find<'n>(&'n str);
    impl<'a> Visitor<'a> for Find<'_> {
        type Value = Option<&'a RawValue>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            let mut twice = false;
            while let Some(key) = map.next_key::<std::borrow::Cow<'a, str>>()? {
                if key == self.0 {
                    twice |= found.is_some();
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found.filter(|_| !twice))
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(object);
    reader.deserialize_map(Find(name)).ok()?
}

/// An answer of a server whose status says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub(crate) code: i64,
    pub(crate) message: String,
    /// The whole as an answer to the request, on one line.
    pub(crate) answer: Bytes,
}

/// The JSON-RPC error in the body of a refusal. Its `id` may be missing ("MAY comprise a JSON-RPC error response that has no
/// `id`"): it answers the request all the same.
pub(crate) fn error_body(body: &Bytes, id: &str) -> Option<ErrorBody> {
    let error = member(body, "error")?;
    #[derive(Deserialize)]
    struct Error {
        code: i64,
        #[serde(default)]
        message: String,
    }
    let Error { code, message } = serde_json::from_str(error.get()).ok()?;
    let whole = Message::read(body.clone()).ok()?;
    let same = whole.id().is_some_and(|own| identity(own) == identity(id));
    let answer = if same {
        on_one_line(body)
    } else {
        let error = error.get();
        on_one_line(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into())
    };
    Some(ErrorBody {
        code,
        message,
        answer,
    })
}

/// A list of tools without those that are not to be seen, all else byte for byte: `None` if all stay. `Err` if it cannot be
/// read, and so not be told what is in it.
pub(crate) fn retain_tools(
    answer: &Message,
    mut keep: impl FnMut(&str) -> bool,
) -> Result<Option<Bytes>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow)]
        name: std::borrow::Cow<'a, str>,
    }
    let line = answer.line();
    let tools = member(line, "result").and_then(|result| member(result.get().as_bytes(), "tools"));
    let Some(list) = tools else {
        return if answer.is_error() {
            Ok(None)
        } else {
            Err(serde::de::Error::custom("no list of tools"))
        };
    };
    let items: Vec<&RawValue> = serde_json::from_str(list.get())?;
    let mut kept = Vec::with_capacity(items.len());
    for item in &items {
        let tool: Tool<'_> = serde_json::from_str(item.get())?;
        if keep(&tool.name) {
            kept.push(item.get());
        }
    }
    if kept.len() == items.len() {
        return Ok(None);
    }
    // A raw value is a slice of the text that it was read from.
    let start = list.get().as_ptr() as usize - line.as_ptr() as usize;
    let after = line.get(start + list.get().len()..).unwrap_or_default();
    let mut out = Vec::with_capacity(line.len());
    out.extend_from_slice(line.get(..start).unwrap_or_default());
    out.push(b'[');
    out.extend_from_slice(kept.join(",").as_bytes());
    out.push(b']');
    out.extend_from_slice(after);
    Ok(Some(out.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::read(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn params_are_read_whatever_else_they_hold() {
        let call = message(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\u0062","uri":7,"arguments":{"cut":"\ud83d"},
            "_meta":{"progressToken":1,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"h"}}}}"#,
        );
        let params = Params::of(&call);
        assert_eq!(params.name.as_deref(), Some("ab"));
        assert_eq!(params.version.as_deref(), Some("2026-07-28"));
        assert_eq!((params.uri, params.task), (None, None));
        let meta = lent_meta(&call);
        assert_eq!(
            meta,
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": {"name": "h"}})
        );
        let list = message(std::str::from_utf8(&tools_list("doorward:1", &meta, Some("c\"2"))).unwrap());
        assert_eq!(Params::of(&list).version.as_deref(), Some("2026-07-28"));
        assert_eq!(
            Params::of(&message(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#)),
            Params::default()
        );
    }

    #[test]
    fn a_refusal_answers_the_request_whatever_id_it_names() {
        let adopted = |body: &str| error_body(&Bytes::copy_from_slice(body.as_bytes()), "\"q\"");
        let with_id =
            r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32022,"message":"no","data":{"supported":["x"]}}}"#;
        assert_eq!(adopted(with_id).unwrap().answer, with_id);
        for body in [
            "{\"jsonrpc\":\"2.0\",\"id\":null,\n\"error\":{\"code\":-32022,\"message\":\"no\"}}",
            r#"{"jsonrpc":"2.0","error":{"code":-32022,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32022,"message":"no"}}"#,
        ] {
            let error = adopted(body).unwrap();
            assert_eq!((error.code, &*error.message), (-32022, "no"));
            assert_eq!(
                error.answer,
                r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32022,"message":"no"}}"#
            );
        }
        for body in [
            "",
            "Not found",
            "{}",
            r#"{"error":"invalid_token"}"#,
            r#"{"error":{"code":1,"message":"x"}}"#,
        ] {
            assert_eq!(adopted(body), None, "{body}");
        }
    }

    #[test]
    fn tools_that_stay_keep_their_bytes() {
        let list = message(
            r#"{"jsonrpc":"2.0","id":1,"result":{ "tools": [ {"name":"a","inputSchema":{"$defs":{"tools":1.0}}} , {"name":"b"},{"name":"a2"}], "nextCursor":"n" }}"#,
        );
        let kept = retain_tools(&list, |name| name != "b").unwrap().unwrap();
        assert_eq!(
            kept,
            r#"{"jsonrpc":"2.0","id":1,"result":{ "tools": [{"name":"a","inputSchema":{"$defs":{"tools":1.0}}},{"name":"a2"}], "nextCursor":"n" }}"#
        );
        assert_eq!(retain_tools(&list, |_| true).unwrap(), None);
        assert_eq!(next_cursor(&list).as_deref(), Some("n"));
        for unreadable in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}"#,
        ] {
            assert!(
                retain_tools(&message(unreadable), |_| true).is_err(),
                "{unreadable}"
            );
        }
        let error = message(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#);
        assert_eq!(retain_tools(&error, |_| false).unwrap(), None);
    }
}
