use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn filtered(message: &str, asked: Option<Kind>, keep: &dyn Fn(Kind, &str) -> Keep) -> Option<String> {
    let out = filter(message.as_bytes(), asked, &mut |kind, name| keep(kind, name)).unwrap();
    out.map(|out| String::from_utf8(out).unwrap())
}

fn no_admin(_: Kind, name: &str) -> Keep {
    if name.contains("admin") {
        Keep::Drop
    } else {
        Keep::Keep
    }
}

fn mark(_: Kind, name: &str) -> Keep {
    Keep::Mark(vec![format!("use:{name}")])
}

#[test]
fn mb_13_items_go_and_the_rest_keeps_its_bytes() {
    let message = r#"{"jsonrpc":"2.0", "id": 7 ,"result":{ "tools":[ {"name" : "t_read","inputSchema":{ "a":1.50 }} ,{"name":"t_\u0061dmin"}, {"name":"x"}],"nextCursor":"c\u00e9"}}"#;
    assert_eq!(
        filtered(message, Some(Kind::Tools), &no_admin).unwrap(),
        r#"{"jsonrpc":"2.0", "id": 7 ,"result":{ "tools":[{"name" : "t_read","inputSchema":{ "a":1.50 }},{"name":"x"}],"nextCursor":"c\u00e9"}}"#
    );
    assert_eq!(filtered(message, None, &|_, _| Keep::Keep), None);
    let all = filtered(message, None, &|_, _| Keep::Drop).unwrap();
    assert!(all.contains(r#""tools":[],"nextCursor""#), "{all}");
}

#[test]
fn mb_13_every_kind_is_named_by_its_own_member() {
    for (member, key, kind) in [
        ("tools", "name", Kind::Tools),
        ("prompts", "name", Kind::Prompts),
        ("resources", "uri", Kind::Resources),
        ("resourceTemplates", "uriTemplate", Kind::ResourceTemplates),
        ("tasks", "taskId", Kind::Tasks),
    ] {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "result": { member: [
            { key: "file:///admin", "title": "ok" }, { key: "ok" }, { "title": "ok" }, "ok", { key: 1 } ] } });
        let out = filtered(&message.to_string(), Some(kind), &|seen, name| {
            assert_eq!(seen, kind);
            no_admin(seen, name)
        });
        let out: Value = serde_json::from_str(&out.unwrap()).unwrap();
        assert_eq!(
            out["result"][member],
            json!([{ key: "ok" }]),
            "only what has a name stays"
        );
        assert_eq!(Kind::of_method("tools/list"), Some(Kind::Tools));
    }
}

#[test]
fn marks_say_what_using_an_item_takes_whatever_the_server_says() {
    for (item, expected) in [
        (
            r#"{"name":"a"}"#,
            r#"{"_meta":{"io.doorward/authorization":{"required":true,"scopes":["use:a"]}},"name":"a"}"#,
        ),
        (
            r#"{"name":"a","_meta":{ "x":1 }}"#,
            r#"{"name":"a","_meta":{"io.doorward/authorization":{"required":true,"scopes":["use:a"]}, "x":1 }}"#,
        ),
        (
            r#"{"name":"a","_meta":{}}"#,
            r#"{"name":"a","_meta":{"io.doorward/authorization":{"required":true,"scopes":["use:a"]}}}"#,
        ),
        (
            r#"{"_meta":{"io.doorward/\u0061uthorization":{"required":false}},"name":"a"}"#,
            r#"{"_meta":{"io.doorward/\u0061uthorization":{"required":true,"scopes":["use:a"]}},"name":"a"}"#,
        ),
    ] {
        let message = format!(r#"{{"id":1,"jsonrpc":"2.0","result":{{"tools":[{item}]}}}}"#);
        let out = filtered(&message, None, &mark).unwrap();
        assert!(out.contains(expected), "{out}");
        serde_json::from_str::<Value>(&out).unwrap();
    }
    let broken = br#"{"id":1,"jsonrpc":"2.0","result":{"tools":[{"name":"a","_meta":3}]}}"#;
    assert_eq!(filter(broken, None, &mut mark), Err(ListError::Meta));
    let odd = filtered(r#"{"result":{"tools":[{"name":"a"}]}}"#, None, &|_, _| {
        Keep::Mark(vec!["\"\\\u{1}é".into()])
    });
    let odd: Value = serde_json::from_str(&odd.unwrap()).unwrap();
    assert_eq!(
        odd["result"]["tools"][0]["_meta"][MARK]["scopes"][0],
        "\"\\\u{1}é"
    );
}

#[test]
fn mb_16_a_filtered_list_is_private_and_short_lived() {
    for (caching, expected) in [
        (
            json!({ "ttlMs": 3_600_000, "cacheScope": "public" }),
            json!([60_000, "private"]),
        ),
        (
            json!({ "ttlMs": 1000, "cacheScope": "private" }),
            json!([1000, "private"]),
        ),
        (json!({ "ttlMs": 60_001 }), json!([60_000, "private"])),
        (
            json!({ "ttlMs": 1e300, "cacheScope": 3 }),
            json!([60_000, "private"]),
        ),
        (json!({ "ttlMs": "forever" }), json!([0, "private"])),
        (json!({ "resultType": "complete" }), json!([null, "private"])),
        // Older revisions know no caching, and are not taught it.
        (json!({}), json!([null, null])),
    ] {
        let mut result = caching.clone();
        result["tools"] = json!([{ "name": "a" }]);
        let message = json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string();
        let out = filtered(&message, None, &|_, _| Keep::Keep).unwrap_or(message);
        let out: Value = serde_json::from_str(&out).unwrap();
        let result = &out["result"];
        assert_eq!(
            json!([result["ttlMs"], result["cacheScope"]]),
            expected,
            "{caching}"
        );
    }
}

#[test]
fn what_is_no_list_passes_only_where_none_was_asked_for() {
    for message in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"tools"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"admin"}]}}"#,
    ] {
        assert_eq!(filtered(message, Some(Kind::Tools), &no_admin), None);
    }
    for result in [
        "{}",
        r#"{"tools":{}}"#,
        r#"{"prompts":[]}"#,
        "3",
        r#"{"resultType":"input_required"}"#,
    ] {
        let message = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        assert_eq!(filtered(&message, None, &no_admin), None, "{result}");
        let asked = filter(message.as_bytes(), Some(Kind::Tools), &mut no_admin);
        assert_eq!(asked, Err(ListError::NoList), "{result}");
    }
}

#[test]
fn what_two_readers_could_read_differently_does_not_pass() {
    for message in [
        "",
        "[]",
        r#"[{"result":{"tools":[{"name":"admin"}]}}]"#,
        r#"{"result":{"tools":[],"tools":[{"name":"admin"}]}}"#,
        r#"{"result":{"tools":[],"Tools":[{"name":"admin"}]}}"#,
        r#"{"result":{"tools":[]},"Result":{"tools":[{"name":"admin"}]}}"#,
        r#"{"result":{"tools":[]},"result":{"tools":[{"name":"admin"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","name":"admin"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","Name":"admin"}]}}"#,
        r#"{"result":{"tools":[{"name":"a","n\u0061me":"admin"}]}}"#,
        r#"{"result":{"tools":[{"name":"a"}]}} {"result":{}}"#,
        r#"{"result":{"tools":[{"name":"\ud800"}]}}"#,
        r#"{"result":{"tools":[{"name":"a"},]}}"#,
        r#"{"result":{"tools":[{"name":"a"}]}"#,
        "\u{feff}{}",
    ] {
        let read = filter(message.as_bytes(), None, &mut no_admin);
        assert!(
            matches!(read, Err(ListError::Unreadable(_))),
            "{message} {read:?}"
        );
    }
    assert!(filter(b"{\"result\":\"\xff\"}", None, &mut no_admin).is_err());
    let deep = format!(
        r#"{{"result":{{"tools":[{}{}]}}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    assert!(filter(deep.as_bytes(), None, &mut no_admin).is_err());
}

fn item() -> impl Strategy<Value = Value> {
    let meta = prop_oneof![
        Just(None),
        Just(Some(json!({}))),
        Just(Some(json!({ "x": [1, "y"] })))
    ];
    ("[a-z\"\\\\é]{0,6}", meta, any::<bool>()).prop_map(|(name, meta, named)| {
        let mut item = json!({ "title": name });
        if named {
            item["name"] = json!(name);
        }
        if let Some(meta) = meta {
            item["_meta"] = meta;
        }
        item
    })
}

proptest! {
    /// Against the same done on a tree.
    #[test]
    fn mb_13_it_does_what_a_tree_would(items in proptest::collection::vec(item(), 0..6), pretty: bool) {
        let verdict = |name: &str| match name.len() % 3 {
            0 => Keep::Drop,
            1 => Keep::Keep,
            _ => Keep::Mark(vec![name.to_owned()]),
        };
        let message = json!({ "jsonrpc": "2.0", "id": 1, "result": { "prompts": items, "nextCursor": "x" } });
        let text = if pretty { serde_json::to_string_pretty(&message).unwrap() } else { message.to_string() };
        let out = filtered(&text, Some(Kind::Prompts), &|_, name| verdict(name)).unwrap_or(text);
        let mut expected = message;
        expected["result"]["prompts"] = items.into_iter().filter_map(|mut item| {
            let name = item["name"].as_str()?.to_owned();
            match verdict(&name) {
                Keep::Drop => return None,
                Keep::Keep => {}
                Keep::Mark(scopes) => item["_meta"][MARK] = json!({ "required": true, "scopes": scopes }),
            }
            Some(item)
        }).collect();
        prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
        // What was filtered once stays as it is.
        prop_assert_eq!(filtered(&out, None, &|_, _| Keep::Keep), None);
    }

    #[test]
    fn mb_13_arbitrary_bytes_break_nothing(bytes: Vec<u8>) {
        let _ = filter(&bytes, None, &mut no_admin);
    }
}

#[test]
fn ds_a_list_of_very_many_items_is_an_error() {
    let list = |count: usize| {
        format!(
            r#"{{"result":{{"tools":[{}]}}}}"#,
            vec![r#"{"name":"a"}"#; count].join(",")
        )
    };
    let mut asked = 0;
    let mut keep = |_: Kind, _: &str| {
        asked += 1;
        Keep::Keep
    };
    assert_eq!(filter(list(MOST_ITEMS).as_bytes(), None, &mut keep), Ok(None));
    let too_many = filter(list(MOST_ITEMS + 1).as_bytes(), None, &mut keep);
    assert_eq!(too_many, Err(ListError::TooLong));
    assert_eq!(asked, 2 * MOST_ITEMS);
    let long = Keep::Mark(vec!["x".repeat(1 << 20)]);
    let marked = filter(list(40).as_bytes(), None, &mut |_, _| long.clone());
    assert_eq!(marked, Err(ListError::TooLong));
}

#[test]
fn marks_alone_leave_items_and_caching_as_they_are() {
    let line = br#"{"id":1,"result":{"ttlMs":900000,"cacheScope":"public","tools":[{"name":"a"},{"title":"nameless"},{"name":"b", "_meta":{"x":1}}]}}"#;
    let marked = super::mark(line, Kind::Tools, &mut |name| {
        (name == "b").then(|| vec!["s".into()])
    })
    .unwrap();
    let expected = r#"{"id":1,"result":{"ttlMs":900000,"cacheScope":"public","tools":[{"name":"a"},{"title":"nameless"},{"name":"b", "_meta":{"io.doorward/authorization":{"required":true,"scopes":["s"]},"x":1}}]}}"#;
    assert_eq!(String::from_utf8(marked.unwrap()).unwrap(), expected);
    assert_eq!(super::mark(line, Kind::Tools, &mut |_| None), Ok(None));
    assert_eq!(
        super::mark(line, Kind::Prompts, &mut |_| None),
        Err(ListError::NoList)
    );
}
