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
