//! MB-07: what the tool lists that pass ask for, held against the calls that come.

use super::*;

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

fn listed(schema: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"t_read","inputSchema":{{"type":"object","properties":{schema}}}}}]}}}}"#
    )
}

fn annotated() -> String {
    listed(r#"{"region":{"type":"string","x-mcp-header":"Region"}}"#)
}

fn modern<'a>(method: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    headers.extend(more);
    headers
}

impl Fixture {
    async fn list(&self, user: &str, answer: Response<ScriptBody>) -> String {
        self.upstream.answer(answer);
        let response = self.post(user, LIST, &modern("tools/list", &[])).await;
        assert_eq!(response.status(), 200);
        text(response).await
    }

    async fn list_json(&self, user: &str, text: &str) {
        let passed = self
            .list(
                user,
                answer(200, &[("content-type", "application/json")], text.to_owned()),
            )
            .await;
        assert_eq!(passed, text, "it passes as it is");
    }

    /// The status of a call with `arguments` and the headers `more`, and whether it reached the upstream.
    async fn call(&self, user: &str, arguments: &str, more: &[(&str, &str)]) -> (u16, bool) {
        let before = self.upstream.seen().len();
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"t_read","arguments":{arguments},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
        );
        let mut headers = modern("tools/call", more);
        headers.push(("mcp-name", "t_read"));
        let response = self.post(user, &body, &headers).await;
        let status = response.status().as_u16();
        if status == 400 {
            let answer: Value = serde_json::from_str(&text(response).await).unwrap();
            assert_eq!(
                (&answer["error"]["code"], &answer["id"]),
                (&(-32020).into(), &7.into())
            );
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains("mcp-param-region"), "{message}");
        }
        (status, self.upstream.seen().len() > before)
    }
}

const PASSED: (u16, bool) = (200, true);
const REFUSED: (u16, bool) = (400, false);
const WEST: &str = r#"{"region":"west"}"#;

#[tokio::test]
async fn mb_07_calls_are_held_against_the_list_that_passed() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture.call("alice", WEST, &[]).await,
        PASSED,
        "nothing is known yet"
    );
    fixture.list_json("alice", &annotated()).await;
    assert_eq!(
        fixture.call("alice", WEST, &[("mcp-param-region", "west")]).await,
        PASSED
    );
    assert_eq!(fixture.call("alice", "{}", &[]).await, PASSED);
    for (arguments, headers) in [
        (WEST, &[][..]),
        (WEST, &[("mcp-param-region", "east")]),
        (
            WEST,
            &[("mcp-param-region", "west"), ("mcp-param-region", "west")],
        ),
        (WEST, &[("mcp-param-region", "=?base64?!?=")]),
        ("{}", &[("mcp-param-region", "west")]),
        (r#"{"region":null}"#, &[("mcp-param-region", "west")]),
    ] {
        assert_eq!(
            fixture.call("alice", arguments, headers).await,
            REFUSED,
            "{arguments} {headers:?}"
        );
    }
    // A legacy call has no such headers, and another user's list is another list.
    let legacy = fixture.post("alice", &CALL.replace("{}", WEST), &[]).await;
    assert_eq!(legacy.status(), 200);
    assert_eq!(fixture.call("bob", WEST, &[]).await, PASSED);
    fixture.list_json("bob", &listed("{}")).await;
    assert_eq!(
        fixture.call("alice", WEST, &[]).await,
        REFUSED,
        "and loosens nothing"
    );
}

#[tokio::test]
async fn mb_07_a_later_list_replaces_what_it_names() {
    let fixture = Fixture::new().await;
    fixture.list_json("alice", &annotated()).await;
    fixture
        .list_json(
            "alice",
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"other"}]}}"#,
        )
        .await;
    assert_eq!(fixture.call("alice", WEST, &[]).await, REFUSED, "another page");
    for odd in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"t_read"},{]}}"#,
        "",
    ] {
        fixture.list_json("alice", odd).await;
        assert_eq!(fixture.call("alice", WEST, &[]).await, REFUSED, "{odd}");
    }
    fixture
        .list_json(
            "alice",
            &listed(r#"{"region":{"type":"string","x-mcp-header":"Area"}}"#),
        )
        .await;
    assert_eq!(
        fixture.call("alice", WEST, &[("mcp-param-area", "west")]).await,
        PASSED
    );
    fixture.list_json("alice", &listed("{}")).await;
    assert_eq!(fixture.call("alice", WEST, &[]).await, PASSED);
}

#[tokio::test]
async fn mb_07_a_list_that_comes_as_a_stream_or_in_pieces_is_learnt_too() {
    let fixture = Fixture::new().await;
    let stream = format!(
        "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{}}}}\n\ndata: {}\n\n",
        annotated()
    );
    let answer = super::answer(
        200,
        &[("content-type", "text/event-stream; charset=utf-8")],
        stream.clone(),
    );
    assert_eq!(fixture.list("alice", answer).await, stream);
    assert_eq!(fixture.call("alice", WEST, &[]).await, REFUSED);
    let text: &'static str = annotated().leak();
    let (first, second) = text.split_at(text.len() / 2);
    let (sender, mut answer) = events();
    answer
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    let feed = async {
        sender.send(Ok(first)).await.unwrap();
        sender.send(Ok(second)).await.unwrap();
        drop(sender);
    };
    assert_eq!(tokio::join!(fixture.list("bob", answer), feed).0, text);
    assert_eq!(fixture.call("bob", WEST, &[]).await, REFUSED);
}

#[tokio::test]
async fn ds_05_mb_07_what_is_learnt_is_bounded_and_nothing_is_held_up() {
    let fixture = Fixture::new().await;
    let wide = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"pad\":\"{}\",",
        "x".repeat(2 << 20)
    );
    let wide = annotated().replacen("{\"jsonrpc\":\"2.0\",\"id\":1,", &wide, 1);
    fixture.list_json("alice", &wide).await;
    assert_eq!(
        fixture.call("alice", WEST, &[]).await,
        PASSED,
        "too long to be learnt from"
    );
    let many: Vec<String> = (0..1000)
        .map(|n| format!(r#"{{"name":"t{n}","inputSchema":{{"properties":{{"a":{{"type":"string","x-mcp-header":"A"}}}}}}}}"#))
        .collect();
    let many = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{}]}}}}"#,
        many.join(",")
    );
    fixture.list_json("alice", &many).await;
    fixture.list_json("alice", &annotated()).await;
    assert_eq!(
        fixture.call("alice", WEST, &[]).await,
        PASSED,
        "one tool too many"
    );
}
