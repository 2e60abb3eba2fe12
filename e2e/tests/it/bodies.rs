//! MB and DS: what policy judged is what arrives, and bodies that are too much.

use doorward_testkit::{marker, mcp};
use serde_json::json;

use crate::support::Catalogue;

crate::shared_catalogue!();

/// Sends this body with the headers of a `t_read` call; it must be refused and never arrive.
async fn refuse(catalogue: &Catalogue, what: &str, body: &str) -> doorward_testkit::Reply {
    let (case, token) = (marker(), catalogue.t().await);
    let body = body
        .replace("CASE", &case)
        .replace("META", &mcp::meta().to_string());
    let reply = catalogue.call("unused").body(body).bearer(&token).send().await;
    assert!(
        (400..500).contains(&reply.status),
        "{what}: {} {}",
        reply.status,
        reply.text()
    );
    catalogue.up_a.assert_never_saw(&case);
    reply
}

#[tokio::test]
async fn mb_01_header_and_body_name_the_same_tool() {
    let catalogue = catalogue().await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_admin","arguments":{"m":"CASE"},"_meta":META}}"#;
    let reply = refuse(catalogue, "body says t_admin", body).await;
    assert_eq!(
        (reply.status, &mcp::answer(&reply)["error"]["code"]),
        (400, &json!(-32020))
    );
    let case = marker();
    let reply = catalogue
        .call(&case)
        .set("Mcp-Name", "t_admin")
        .bearer(&catalogue.t().await)
        .send()
        .await;
    assert_eq!(
        (reply.status, &mcp::answer(&reply)["error"]["code"]),
        (400, &json!(-32020))
    );
    catalogue.up_a.assert_never_saw(&case);
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_09_doubled_keys_are_refused_in_either_order() {
    let catalogue = catalogue().await;
    for (one, other) in [("t_read", "t_admin"), ("t_admin", "t_read")] {
        let names = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{one}","name":"{other}","arguments":{{"m":"CASE"}},"_meta":META}}}}"#
        );
        refuse(catalogue, "name twice", &names).await;
        let params = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{one}","_meta":META}},"params":{{"name":"{other}","arguments":{{"m":"CASE"}},"_meta":META}}}}"#
        );
        refuse(catalogue, "params twice", &params).await;
    }
    for (one, other) in [("tools/list", "tools/call"), ("tools/call", "tools/list")] {
        let methods = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{one}","method":"{other}","params":{{"name":"t_admin","arguments":{{"m":"CASE"}},"_meta":META}}}}"#
        );
        refuse(catalogue, "method twice", &methods).await;
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn ambiguous_envelopes_are_refused() {
    let catalogue = catalogue().await;
    for (what, body) in [
        (
            "case variant of name",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read","Name":"t_admin","arguments":{"m":"CASE"},"_meta":META}}"#,
        ),
        (
            "case variant of params",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","Params":{"name":"t_admin"},"params":{"name":"t_read","arguments":{"m":"CASE"},"_meta":META}}"#,
        ),
        (
            "a batch",
            r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read","arguments":{"m":"CASE"},"_meta":META}}]"#,
        ),
        (
            "trailing bytes",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read","arguments":{"m":"CASE"},"_meta":META}} {}"#,
        ),
    ] {
        refuse(catalogue, what, body).await;
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn the_bytes_that_were_judged_go_on() {
    let catalogue = catalogue().await;
    let case = marker();
    let request = catalogue.call(&case).bearer(&catalogue.t().await);
    let sent = request.body_bytes().clone();
    assert_eq!(request.send().await.status, 200);
    let seen = catalogue.up_a.the(&case);
    let read: Vec<_> = seen.five_ways().into_iter().collect();
    assert_eq!(read, [("tools/call".to_owned(), "t_read".to_owned())]);
    assert_eq!(seen.body, sent.as_ref());
}

#[tokio::test]
async fn ds_07_deep_and_wide_bodies_are_refused() {
    let catalogue = catalogue().await;
    let token = catalogue.t().await;
    let case = marker();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide: Vec<String> = (0..10_000).map(|key| format!("\"k{key}\":1")).collect();
    let wide = wide.join(",");
    let bodies = [
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t_read","arguments":{{"m":"{case}",{wide}}}}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t_read","arguments":{{"m":"{case}","x":{deep}}}}}}}"#
        ),
        "[".repeat(100_000),
        format!(
            r#"{{"jsonrpc":"2.0","id":1{},"method":"tools/call","params":{{"name":"t_read","arguments":{{"m":"{case}"}}}}}}"#,
            "0".repeat(1_000_000)
        ),
    ];
    for body in bodies {
        let reply = catalogue
            .call("unused")
            .body(body.clone())
            .bearer(&token)
            .send()
            .await;
        assert!(
            (400..500).contains(&reply.status),
            "{}: {}",
            &body[..60],
            reply.status
        );
        catalogue.up_a.assert_never_saw(&case);
    }
    catalogue.still_good().await;
}

/// Sends `body` with these headers besides those that any request has; it must be refused with this status
/// and code and never arrive.
pub(crate) async fn refuse_with(
    catalogue: &Catalogue,
    headers: &[(&str, &str)],
    body: &str,
    told: (u16, i32),
) -> doorward_testkit::Reply {
    let (case, token) = (marker(), catalogue.t().await);
    let body = body
        .replace("CASE", &case)
        .replace("META", &mcp::meta().to_string());
    let mut request = catalogue
        .call("unused")
        .without("MCP-Protocol-Version")
        .without("Mcp-Method")
        .without("Mcp-Name");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let reply = request.body(body.clone()).bearer(&token).send().await;
    let code = mcp::answer(&reply)["error"]["code"].clone();
    assert_eq!(
        (reply.status, code),
        (told.0, json!(told.1)),
        "{headers:?} {body}: {}",
        reply.text()
    );
    catalogue.up_a.assert_never_saw(&case);
    reply
}

pub(crate) const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t_read","arguments":{"m":"CASE"},"_meta":META}}"#;
pub(crate) const MODERN: [(&str, &str); 3] = [
    ("MCP-Protocol-Version", mcp::MODERN),
    ("Mcp-Method", "tools/call"),
    ("Mcp-Name", "t_read"),
];
pub(crate) const H400: (u16, i32) = (400, -32020);

#[tokio::test]
async fn mb_08_batches_are_refused_in_every_revision() {
    let catalogue = catalogue().await;
    let admin = CALL.replace("t_read", "t_admin");
    let legacy = |body: &str| body.replace(r#","_meta":META"#, "");
    let bodies = [
        format!("[{CALL},{admin}]"),
        format!("[{CALL}]"),
        format!(" \n[{CALL}]"),
        "[]".to_owned(),
        format!("[{}]", vec![CALL; 10_000].join(",")).replace(r#","_meta":META"#, ""),
        format!("[[{CALL}]]"),
    ];
    for body in &bodies {
        for headers in [
            &MODERN[..],
            &[("MCP-Protocol-Version", "2025-11-25")],
            &[("MCP-Protocol-Version", "2025-03-26")],
            &[],
        ] {
            let body = if headers.len() == 3 {
                body.clone()
            } else {
                legacy(body)
            };
            let told = refuse_with(catalogue, headers, &body, (400, -32600)).await;
            assert_eq!(mcp::answer(&told)["error"]["data"]["reason"], json!("body_batch"));
        }
    }
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_10_keys_that_differ_by_case_are_refused_where_the_protocol_reads() {
    let catalogue = catalogue().await;
    for (key, value) in [
        ("Method", r#""tools/call""#),
        ("METHOD", r#""tools/call""#),
        ("Params", r#"{"name":"t_admin"}"#),
        ("PARAMS", r#"{"name":"t_admin"}"#),
        ("p\\u0061Rams", r#"{"name":"t_admin"}"#),
        ("ｐarams", r#"{"name":"t_admin"}"#),
        ("Id", "2"),
    ] {
        let end = CALL.len() - 1;
        for body in [
            CALL.replacen('{', &format!(r#"{{"{key}":{value},"#), 1),
            format!(r#"{},"{key}":{value}}}"#, &CALL[..end]),
        ] {
            refuse(catalogue, key, &body).await;
        }
    }
    for key in ["Name", "NAME", "nAme", "n\\u0041me", "ｎame", "na\\u212ae"] {
        for (before, after) in [("\"KEY\":\"t_admin\",", ""), ("", ",\"KEY\":\"t_admin\"")] {
            let name = format!("{before}\"name\":\"t_read\"{after}").replace("KEY", key);
            refuse(catalogue, key, &CALL.replace(r#""name":"t_read""#, &name)).await;
        }
        let alone = CALL.replace(r#""name""#, &format!("\"{key}\""));
        refuse(catalogue, key, &alone).await;
    }
    for key in ["Arguments", "ARGUMENTS", "_Meta", "Uri", "TaskId"] {
        let body = CALL.replace(r#""name""#, &format!(r#""{key}":{{"name":"t_admin"}},"name""#));
        refuse(catalogue, key, &body).await;
    }
    // Inside arguments they are the tool's own.
    let case = marker();
    let body = CALL
        .replace(
            r#""m":"CASE""#,
            &format!(r#""m":"{case}","name":"t_admin","Name":"t_admin""#),
        )
        .replace("META", &mcp::meta().to_string());
    let request = catalogue.call("unused").body(body.clone());
    assert_eq!(request.bearer(&catalogue.t().await).send().await.status, 200);
    let seen = catalogue.up_a.the(&case);
    let read: Vec<_> = seen.five_ways().into_iter().collect();
    assert_eq!(read, [("tools/call".to_owned(), "t_read".to_owned())]);
    assert_eq!(seen.body, body.as_bytes());
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_11_escapes_hide_no_name() {
    let catalogue = catalogue().await;
    for hidden in [
        r#""na\u006de":"\u0074_admin""#,
        r#""name":"\u0074_admin""#,
        r#""na\u006de":"t_admin""#,
    ] {
        let body = CALL.replace(r#""name":"t_read""#, hidden);
        refuse_with(catalogue, &MODERN, &body, H400).await;
        let twice = CALL.replace(r#""name":"t_read""#, &format!(r#""name":"t_read",{hidden}"#));
        refuse(catalogue, "a second name", &twice).await;
    }
    let method = CALL.replace("tools/call", r"\u0074ools/list");
    refuse_with(catalogue, &MODERN, &method, H400).await;
    catalogue.still_good().await;
}

#[tokio::test]
async fn mb_12_names_that_only_look_like_a_tool_are_refused() {
    let catalogue = catalogue().await;
    for name in [
        "ｔ_ａｄｍｉｎ",
        "t＿admin",
        "t_admin ",
        " t_admin",
        "t_ad\u{200d}min",
        "t_\u{430}dmin",
        "t_admi\u{303}n",
        "t_admin\u{0}",
        "t_admin\u{feff}",
        "\u{1d42d}_admin",
    ] {
        let encoded = format!("=?base64?{}?=", base64(name));
        let body = CALL.replace("\"t_read\"", &json!(name).to_string());
        let headers = [MODERN[0], MODERN[1], ("Mcp-Name", &*encoded)];
        refuse_name(catalogue, &headers, &body).await;
        let legacy = body.replace(r#","_meta":META"#, "");
        refuse_name(catalogue, &[("MCP-Protocol-Version", "2025-11-25")], &legacy).await;
    }
    catalogue.still_good().await;
}

async fn refuse_name(catalogue: &Catalogue, headers: &[(&str, &str)], body: &str) {
    let (case, token) = (marker(), catalogue.t().await);
    let body = body
        .replace("CASE", &case)
        .replace("META", &mcp::meta().to_string());
    let mut request = catalogue.call("unused");
    for name in ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"] {
        request = request.without(name);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let reply = request.body(body.clone()).bearer(&token).send().await;
    let code = mcp::answer(&reply)["error"]["code"].clone();
    let known = [json!(-32020), json!(-32602)].contains(&code);
    assert!(
        reply.status == 400 && known,
        "{body}: {} {}",
        reply.status,
        reply.text()
    );
    catalogue.up_a.assert_never_saw(&case);
}

/// RFC 4648 §4.
fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |bytes: &[u8]| {
        let value = (0..3).fold(0, |value, at| {
            value << 8 | usize::from(*bytes.get(at).unwrap_or(&0))
        });
        let letter = |at: usize| match at <= bytes.len() {
            true => char::from(ALPHABET[value >> (18 - 6 * at) & 63]),
            false => '=',
        };
        (0..4).map(letter).collect::<String>()
    };
    text.as_bytes().chunks(3).map(group).collect()
}

#[tokio::test]
async fn mb_14_methods_that_the_revision_does_not_have_are_denied() {
    let catalogue = catalogue().await;
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"METHOD","params":{"taskId":"7","arguments":{"m":"CASE"},"_meta":META}}"#;
    for method in [
        "x/admin",
        "tools/Call",
        "tools/call/",
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "tasks/list",
        "tasks/result",
        "sampling/createMessage",
        "rpc.discover",
        "__proto__",
    ] {
        let headers = [MODERN[0], ("Mcp-Method", method)];
        let body = message.replace("METHOD", method);
        refuse_with(catalogue, &headers, &body, (404, -32601)).await;
    }
    let legacy = message.replace(r#","_meta":META"#, "");
    for method in [
        "x/admin",
        "tools/Call",
        "server/discover",
        "subscriptions/listen",
        "tasks/update",
        "roots/list",
    ] {
        for version in ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] {
            let body = legacy.replace("METHOD", method);
            let headers = [("MCP-Protocol-Version", version)];
            // Not 404, which would tell the client that its session is over.
            refuse_with(catalogue, &headers, &body, (400, -32601)).await;
        }
    }
    let tasks = legacy.replace("METHOD", "tasks/get");
    refuse_with(
        catalogue,
        &[("MCP-Protocol-Version", "2025-06-18")],
        &tasks,
        (400, -32601),
    )
    .await;
    catalogue.still_good().await;
}
