use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{ListedTool, ParameterMismatch, ParameterProblem as Problem, may_annotate, tools};
use crate::headers::encode_value;
use crate::{Call, Envelope, NotAdmittedReason};

fn listed(schema: &Json) -> ListedTool {
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [
        {"name": "t_read", "description": "x-mcp-header", "inputSchema": schema}]}});
    let answer = answer.to_string();
    assert!(may_annotate(answer.as_bytes()));
    tools(answer.as_bytes()).unwrap().remove(0)
}

fn schema() -> Json {
    json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "dry": {"x-mcp-header": "Dry-Run", "type": "boolean"},
        "query": {"type": "string"},
        "where": {"type": "object", "properties": {
            "zone": {"type": "string", "x-mcp-header": "Zone"},
            "deep": {"type": "object", "properties": {"er": {"type": "string", "x-mcp-header": "Deeper"}}}}},
        "x-mcp-header": {"type": "string", "default": {"x-mcp-header": "data"}}}})
}

fn call(arguments: &Json) -> Call {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "t_read", "arguments": arguments}});
    let envelope = Envelope::read(Bytes::from(body.to_string())).unwrap();
    Call::admit(envelope, &HeaderMap::new(), &crate::Extensions::none()).unwrap()
}

fn check(schema: &Json, arguments: &Json, given: &[(&str, &str)]) -> Result<(), (String, Problem)> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let tool = listed(schema);
    match tool.headers.unwrap().check(&call(arguments), &headers) {
        Ok(()) => Ok(()),
        Err(NotAdmittedReason::Parameter(ParameterMismatch { header, problem })) => {
            Err((header.into(), problem))
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn mb_07_what_is_mirrored_must_say_the_same() {
    let schema = schema();
    let all = json!({"region": "us-west1", "count": 42, "dry": true, "query": "q",
        "where": {"zone": "z", "deep": {"er": "d"}}});
    let good = [
        ("Mcp-Param-Region", "us-west1"),
        ("Mcp-Param-Count", "42"),
        ("mcp-param-dry-run", "true"),
        ("Mcp-Param-Zone", "z"),
        ("Mcp-Param-Deeper", "d"),
        ("Mcp-Param-Query", "nobody asked for it"),
    ];
    assert_eq!(check(&schema, &all, &good), Ok(()));
    for (at, value) in [
        (0, "=?base64?dXMtd2VzdDE=?="),
        (0, " us-west1\t"),
        (1, "42.0"),
        (1, "4.2e1"),
    ] {
        let mut same = good;
        same[at].1 = value;
        assert_eq!(check(&schema, &all, &same), Ok(()), "{value}");
    }
    for (at, value, problem) in [
        (0, "us-west2", Problem::Different),
        (0, "US-WEST1", Problem::Different),
        (0, "", Problem::Different),
        (0, "us-west1, us-west1", Problem::Different),
        (0, "=?BASE64?dXMtd2VzdDE=?=", Problem::Different),
        (0, "=?base64?dXMtd2VzdDI=?=", Problem::Different),
        (0, "=?base64?dXMtd2VzdDE?=", Problem::Characters),
        (0, "=?base64?dXMt!!d2VzdDE=?=", Problem::Characters),
        (0, "=?base64?/w==?=", Problem::Characters),
        (0, "us-w\u{e9}st1", Problem::Characters),
        (1, "43", Problem::Different),
        (1, "042", Problem::Different),
        (1, "forty-two", Problem::Different),
        (2, "True", Problem::Different),
        (2, "1", Problem::Different),
        (2, "false", Problem::Different),
        (4, "z", Problem::Different),
    ] {
        let mut wrong = good;
        wrong[at].1 = value;
        let header = good[at].0.to_ascii_lowercase();
        assert_eq!(check(&schema, &all, &wrong), Err((header, problem)), "{value}");
    }
    for at in 0..5 {
        let header = good[at].0.to_ascii_lowercase();
        let without: Vec<_> = good
            .iter()
            .copied()
            .filter(|(name, _)| *name != good[at].0)
            .collect();
        assert_eq!(
            check(&schema, &all, &without),
            Err((header.clone(), Problem::Missing))
        );
        let twice: Vec<_> = good.iter().copied().chain([good[at]]).collect();
        assert_eq!(check(&schema, &all, &twice), Err((header, Problem::Twice)));
    }
}

#[test]
fn mb_07_a_header_without_a_value_in_the_body_is_refused() {
    let schema = schema();
    let region = [("mcp-param-region", "us-west1")];
    for arguments in [
        json!({}),
        json!({"region": null}),
        json!({"Region": "us-west1"}),
        json!({"where": {"region": "us-west1"}}),
        json!([]),
        json!(null),
    ] {
        assert_eq!(check(&schema, &arguments, &[]), Ok(()), "{arguments}");
        let refused = Err(("mcp-param-region".to_owned(), Problem::Unexpected));
        assert_eq!(check(&schema, &arguments, &region), refused, "{arguments}");
    }
    let odd = json!({"region": {"not": "primitive"}});
    assert_eq!(
        check(&schema, &odd, &[]),
        Ok(()),
        "the upstream's schema refuses it"
    );
    let refused = Err(("mcp-param-region".to_owned(), Problem::Different));
    assert_eq!(check(&schema, &odd, &region), refused);
    // Too large for a double: conforming clients leave the header out, and whoever writes it must be exact.
    let large = json!({"count": 9_007_199_254_740_993_i64});
    assert_eq!(check(&schema, &large, &[]), Ok(()));
    let exact = [("mcp-param-count", "9007199254740993")];
    assert_eq!(check(&schema, &large, &exact), Ok(()));
    let refused = Err(("mcp-param-count".to_owned(), Problem::Different));
    let rounded = [("mcp-param-count", "9007199254740992")];
    assert_eq!(check(&schema, &large, &rounded), refused);
    let hidden = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read","\u0061rguments":{"reg\u0069on":"\u0061"}}}"#;
    let call = Call::admit(
        Envelope::read(Bytes::from(hidden)).unwrap(),
        &HeaderMap::new(),
        &crate::Extensions::none(),
    )
    .unwrap();
    let headers = listed(&schema).headers.unwrap();
    let mut given = HeaderMap::new();
    assert!(headers.check(&call, &given).is_err(), "escapes hide nothing");
    given.insert("mcp-param-region", HeaderValue::from_static("a"));
    assert_eq!(headers.check(&call, &given), Ok(()));
}

#[test]
fn mb_07_annotations_that_the_specification_forbids_are_not_learnt() {
    let string = |name: &str| json!({"type": "string", "x-mcp-header": name});
    let object = |properties: Json| json!({"type": "object", "properties": properties});
    for invalid in [
        object(json!({"a": string("")})),
        object(json!({"a": string("My Region")})),
        object(json!({"a": string("Region:")})),
        object(json!({"a": string("R\u{e9}gion")})),
        object(json!({"a": string("Region\r\nX")})),
        object(json!({"a": string(&"a".repeat(200))})),
        object(json!({"a": {"type": "string", "x-mcp-header": 1}})),
        object(json!({"a": string("Region"), "b": string("Region")})),
        object(json!({"a": string("Region"), "b": string("REGION")})),
        object(json!({"a": {"type": "number", "x-mcp-header": "N"}})),
        object(json!({"a": {"type": "object", "x-mcp-header": "N"}})),
        object(json!({"a": {"type": "array", "x-mcp-header": "N"}})),
        object(json!({"a": {"type": "null", "x-mcp-header": "N"}})),
        object(json!({"a": {"x-mcp-header": "N"}})),
        object(json!({"ok": string("Ok"), "a": {"type": "array", "items": string("N")}})),
        object(json!({"ok": string("Ok"), "a": {"items": {"properties": {"b": string("N")}}}})),
        object(json!({"ok": string("Ok"), "a": {"anyOf": [string("N")]}})),
        object(json!({"ok": string("Ok"), "a": {"not": string("N")}})),
        json!({"properties": {"ok": string("Ok")}, "if": object(json!({"b": string("N")}))}),
        json!({"properties": {"ok": string("Ok")}, "$defs": {"b": string("N")}}),
        json!({"properties": {"ok": string("Ok")}, "x-mcp-header": "Root", "type": "string"}),
    ] {
        assert_eq!(listed(&invalid).headers, None, "{invalid}");
    }
    assert_eq!(listed(&json!(null)).headers, None);
    assert_eq!(
        listed(&json!({"properties": {"x-mcp-header": {"type": "string"}}})).headers,
        None
    );
}

#[test]
fn tools_are_read_from_answers_of_any_shape() {
    for nothing in [
        "{}",
        "null",
        "[]",
        r#"{"result":{"tools":{}}}"#,
        r#"{"result":{"tools":[1,null,{"title":"no name"}]}}"#,
        r#"{"result":[]}"#,
        r#"{"error":{"tools":[{"name":"t"}]}}"#,
    ] {
        assert_eq!(tools(nothing.as_bytes()), Ok(Vec::new()), "{nothing}");
    }
    assert!(tools(b"{").is_err());
    assert!(tools(b"{} {}").is_err());
    let hidden = r#"{"result":{"tools":[{"name":"t","inputSchema":{"properties":{"a":{"type":"string","x-mcp\u002dheader":"A"}}}}]}}"#;
    assert!(may_annotate(hidden.as_bytes()));
    assert!(tools(hidden.as_bytes()).unwrap()[0].headers.is_some());
    assert!(!may_annotate(br#"{"result":{"tools":[{"name":"caf\u1234"}]}}"#));
}

proptest! {
    /// What a conforming client writes is accepted, and the same value for another argument is not.
    #[test]
    fn mb_07_conforming_clients_pass(value in any::<String>(), other in any::<String>()) {
        let schema = json!({"properties": {"a": {"type": "object", "properties": {
            "b": {"type": "string", "x-mcp-header": "B"}}}}});
        let header = encode_value(&value).into_owned();
        let given = [("mcp-param-b", &*header)];
        prop_assert_eq!(check(&schema, &json!({"a": {"b": value}}), &given), Ok(()));
        let told = check(&schema, &json!({"a": {"b": other}}), &given);
        prop_assert_eq!(told.is_ok(), other == value);
    }

    #[test]
    fn mb_07_integers_pass_in_any_notation(value in -(1_i64 << 53) + 1..1 << 53) {
        let schema = json!({"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}});
        let arguments = json!({"n": value});
        for header in [format!("{value}"), format!("{value}.0"), format!("{value}0e-1")] {
            prop_assert_eq!(check(&schema, &arguments, &[("mcp-param-n", &*header)]), Ok(()));
        }
        let next = format!("{}", value + 1);
        prop_assert!(check(&schema, &arguments, &[("mcp-param-n", &*next)]).is_err());
    }
}

#[test]
fn what_is_written_passes_the_check_and_invalid_tools_are_told() {
    let list = br#"{"jsonrpc":"2.0","id":1,"result":{"tools":[
        {"name":"good","inputSchema":{"type":"object","properties":{
            "text":{"type":"string","x-mcp-header":"Text"},
            "count":{"type":"integer","x-mcp-header":"Count"},
            "yes":{"type":"boolean","x-mcp-header":"Yes"},
            "deep":{"type":"object","properties":{"in":{"type":"string","x-mcp-header":"In"}}}}}},
        {"name":"bad","inputSchema":{"properties":{"n":{"type":"number","x-mcp-header":"N"}}}},
        {"name":"plain","inputSchema":{"type":"object"}}]}}"#;
    let tools = tools(list).unwrap();
    let told: Vec<_> = tools.iter().map(|tool| (&*tool.name, tool.invalid)).collect();
    assert_eq!(told, [("good", false), ("bad", true), ("plain", false)]);
    let headers = tools[0].headers.as_ref().unwrap();
    let write = |arguments: &str| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"good","arguments":{arguments}}}}}"#
        );
        let written = headers.write(&body.into());
        let text = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        written.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(
        write(r#"{"text":" p\u00e9 ","count":42.0,"yes":false,"deep":{"in":""}}"#),
        [
            "mcp-param-text: =?base64?IHDDqSA=?=",
            "mcp-param-count: 42",
            "mcp-param-yes: false",
            "mcp-param-in: "
        ]
    );
    assert!(write(r#"{"text":null,"count":0.5,"deep":7}"#).is_empty());
    assert_eq!(write(r#"{"text":["a"],"yes":true}"#), ["mcp-param-yes: true"]);
}
