//! Lists show what their reader may use, and streams tell of nothing else.

use doorward_policy::{Question, Refusal, ScopeEntry};

use super::streams::{next, revoke_all};
use super::*;

/// `a` opens `t_read`, `p_read` and `file:///a/*`; `extra` (of `alice-again`) opens the others but `t_admin`, which no
/// scope names.
pub(super) fn table() -> ScopeTable {
    let entry = |scope: &str, tools: &[&str], prompts: &[&str], resources: &[&str]| {
        let patterns = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        ScopeEntry {
            tools: patterns(tools),
            prompts: patterns(prompts),
            resources: patterns(resources),
            ..ScopeEntry::new(scope.parse().unwrap(), scope)
        }
    };
    ScopeTable::new(vec![
        entry("a", &["t_read"], &["p_read"], &["file:///a/*"]),
        entry("extra", &["t_write"], &["p_write"], &["file:///b/*"]),
    ])
    .unwrap()
}

pub(super) fn restricted(lists: ListMode) -> ProtectedServer {
    let scopes = table();
    ProtectedServer {
        scopes,
        lists,
        ..server("a")
    }
}

async fn fixture(protected: ProtectedServer, policy: Arc<dyn Policy>) -> Fixture {
    let upstream = Arc::new(Script::default());
    let address = upstream.listen().await;
    let http = Upstream::http(&format!("http://{address}/up")).unwrap();
    let servers = vec![unlimited(Arc::new(protected), http)];
    Fixture::under(policy, upstream, &settings(), servers)
}

pub(super) async fn with_table(lists: ListMode) -> Fixture {
    fixture(restricted(lists), Arc::new(NoFurtherPolicy)).await
}

pub(super) fn legacy(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}"#)
}

const TOOLS: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"t_read", "x":1.0},{"name":"t_write"},{"name":"t_admin"}],"nextCursor":"c\u0032"}}"#;

fn names(answer: &Value, list: &str, name: &str) -> Vec<String> {
    let items = answer["result"][list].as_array().unwrap();
    items
        .iter()
        .map(|item| item[name].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn mb_13_lists_hold_what_could_be_granted_or_what_is() {
    for (lists, token, shown) in [
        (ListMode::Grantable, "alice", &["t_read", "t_write"][..]),
        (ListMode::Granted, "alice", &["t_read"]),
        (ListMode::Granted, "alice-again", &["t_read", "t_write"]),
        (ListMode::Granted, "alice-no-scope", &[]),
    ] {
        let fixture = with_table(lists).await;
        fixture.upstream.answer(json(200, TOOLS));
        let response = fixture.post(token, &legacy("tools/list", ""), &[]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-store");
        let text = text(response).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(names(&answer, "tools", "name"), shown, "{lists:?} {token}");
        assert!(text.contains(r#""nextCursor":"c\u0032""#), "untouched: {text}");
        for item in answer["result"]["tools"].as_array().unwrap() {
            let mark = &item["_meta"]["io.doorward/authorization"];
            let scope = if item["name"] == "t_read" { "a" } else { "extra" };
            assert_eq!(mark, &serde_json::json!({ "required": true, "scopes": [scope] }));
        }
    }
}

#[tokio::test]
async fn mb_13_every_kind_of_list_is_filtered() {
    for (method, list, name, items, shown) in [
        (
            "prompts/list",
            "prompts",
            "name",
            r#"{"name":"p_read"},{"name":"p_write"},{"name":"p"}"#,
            "p_read",
        ),
        (
            "resources/list",
            "resources",
            "uri",
            r#"{"uri":"file:///b/1"},{"uri":"file:///a/1"},{"uri":"FILE:///a/1"}"#,
            "file:///a/1",
        ),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
            r#"{"uriTemplate":"file:///b/{x}"},{"uriTemplate":"file:///a/{x}"}"#,
            "file:///a/{x}",
        ),
    ] {
        let fixture = with_table(ListMode::Granted).await;
        let whole = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"{list}":[{items}]}}}}"#);
        fixture
            .upstream
            .answer(answer(200, &[("content-type", "application/json")], whole));
        let answer = error(fixture.post("alice", &legacy(method, ""), &[]).await).await;
        assert_eq!(names(&answer, list, name), [shown], "{method}");
    }
}

#[tokio::test]
async fn mb_16_a_filtered_list_is_private_and_soon_old() {
    let fixture = with_table(ListMode::Granted).await;
    let whole = r#"{"jsonrpc":"2.0","id":"m","result":{"resultType":"complete","tools":[{"name":"t_read"}],"ttlMs":3600000,"cacheScope":"public"}}"#;
    for token in ["alice", "bob", "alice-no-scope"] {
        let cached = [
            ("content-type", "application/json"),
            ("cache-control", "public, max-age=3600"),
        ];
        fixture.upstream.answer(answer(200, &cached, whole));
        let headers = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/list"),
        ];
        let response = fixture.post(token, &modern("tools/list", ""), &headers).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        let answer = error(response).await;
        assert_eq!(answer["result"]["cacheScope"], "private");
        assert_eq!(answer["result"]["ttlMs"], 60_000);
        let shown = usize::from(token != "alice-no-scope");
        assert_eq!(names(&answer, "tools", "name").len(), shown, "{token}");
    }
    assert_eq!(fixture.upstream.seen().len(), 3, "the upstream is asked for each");
}

#[tokio::test]
async fn mb_13_a_list_that_cannot_be_read_does_not_pass() {
    for whole in [
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"t_read"},{"name":"t_admin""#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[],"tools":[{"name":"t_admin"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":{"t_admin":{}}}}"#,
        r#"[{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"t_admin"}]}}]"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"TOOLS":[{"name":"t_admin"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":[{"name":"t_admin"}]}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        "t_admin",
        "",
    ] {
        let fixture = with_table(ListMode::Grantable).await;
        fixture.upstream.answer(json(200, whole));
        let response = fixture.post("alice", &legacy("tools/list", ""), &[]).await;
        assert_eq!(response.status(), 502, "{whole}");
        let answer = error(response).await;
        assert_eq!(answer["error"]["data"]["reason"], "upstream_unreadable");
    }
    let fixture = with_table(ListMode::Grantable).await;
    let refused = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"tools: no such cursor"}}"#;
    fixture.upstream.answer(json(200, refused));
    let response = fixture
        .post("alice", &legacy("tools/list", r#""cursor":"forged""#), &[])
        .await;
    assert_eq!(text(response).await, refused, "errors pass as they are");
}

#[tokio::test]
async fn mb_13_a_list_in_another_encoding_does_not_pass() {
    let big_endian = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect::<Vec<u8>>()
    };
    let fixture = with_table(ListMode::Grantable).await;
    for kind in ["application/json; charset=utf-16", "application/json"] {
        let response = answer(200, &[("content-type", kind)], big_endian(TOOLS));
        fixture.upstream.answer(response);
        let response = fixture.post("alice", &legacy("tools/list", ""), &[]).await;
        assert_eq!(response.status(), 502, "{kind}");
    }
}

#[tokio::test]
async fn mb_13_a_stream_that_answers_with_no_list_is_cut() {
    for result in [
        r#"{"tools":{"t_admin":{}}}"#,
        r#"[{"name":"t_admin"}]"#,
        r#"{"Tools":[{"name":"t_admin"}]}"#,
    ] {
        let fixture = with_table(ListMode::Grantable).await;
        let (sender, response) = events();
        fixture.upstream.answer(response);
        let mut body = fixture
            .post("alice", &legacy("tools/list", ""), &[])
            .await
            .into_body();
        let said = format!("data: {{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{result}}}\n\n");
        sender.send(Ok(said.leak())).await.unwrap();
        let heard = next(&mut body).await;
        assert!(
            matches!(heard, Some(Err(crate::BodyError::Unreadable))),
            "{result}"
        );
    }
}

#[tokio::test]
async fn mb_13_the_first_event_of_a_stream_that_can_be_resumed_holds_no_message() {
    let fixture = with_table(ListMode::Grantable).await;
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let mut body = fixture
        .post("alice", &legacy("tools/list", ""), &[])
        .await
        .into_body();
    let first = "id: 0/1\nretry: 3000\ndata:\n\n";
    sender.send(Ok(first)).await.unwrap();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), first);
    let list = r#"data: {"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"t_admin"}]}}"#;
    sender.send(Ok(format!("{list}\n\n").leak())).await.unwrap();
    let heard = next(&mut body).await.unwrap().unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.contains(r#""tools":[]"#), "{heard}");
}

#[tokio::test]
async fn mb_12_a_uri_is_judged_in_every_form_that_readers_make_of_it() {
    let fixture = with_table(ListMode::Granted).await;
    for (uri, status) in [
        ("file:///a/../b/1", 400),
        ("file:///a/%2e%2E/b/1", 400),
        ("file:///a/..%2Fb/1", 400),
        (r"file:///a\\..\\b/1", 400),
        ("file:///%62/1", 403),
        ("file:////b/1", 403),
    ] {
        for method in ["resources/read", "resources/subscribe"] {
            let params = format!(r#""uri":"{uri}""#);
            let response = fixture.post("alice", &legacy(method, &params), &[]).await;
            assert_eq!(response.status(), status, "{method} {uri}");
        }
    }
    assert!(fixture.upstream.seen().is_empty());
    for uri in ["file:///a/1", "file:///a/x//1", "file:///a/%41%20"] {
        let params = format!(r#""uri":"{uri}""#);
        let response = fixture
            .post("alice", &legacy("resources/read", &params), &[])
            .await;
        assert_eq!(response.status(), 200, "{uri}");
    }
    let whole = r#"{"jsonrpc":"2.0","id":7,"result":{"resources":[{"uri":"file:///a/../b/1"},{"uri":"file:///a/1"}]}}"#;
    fixture.upstream.answer(json(200, whole));
    let answer = error(fixture.post("alice", &legacy("resources/list", ""), &[]).await).await;
    assert_eq!(names(&answer, "resources", "uri"), ["file:///a/1"]);
}

#[tokio::test]
async fn ds_a_list_that_is_too_long_does_not_pass() {
    let fixture = with_table(ListMode::Grantable).await;
    let filling = format!(r#"{{"name":"t_read","description":"{}"}},"#, "x".repeat(1 << 20)).repeat(17);
    let whole = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{filling}{{"name":"t"}}]}}}}"#);
    fixture
        .upstream
        .answer(answer(200, &[("content-type", "application/json")], whole));
    let response = fixture.post("alice", &legacy("tools/list", ""), &[]).await;
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn without_a_table_and_a_policy_every_byte_passes() {
    let odd =
        "{\"jsonrpc\": \"2.0\", \"id\":7, \"result\" :{\"tools\":[{\"name\":\"t_admin\"}],\"tools\":[]}} ";
    let fixture = Fixture::new().await;
    fixture.upstream.answer(json(200, odd));
    let response = fixture.post("alice", &legacy("tools/list", ""), &[]).await;
    assert!(!response.headers().contains_key("cache-control"));
    assert_eq!(text(response).await, odd);
}

/// Lets nobody near `t_write`.
#[derive(Debug)]
struct NoWriting;

impl Policy for NoWriting {
    fn objection(&self, question: &Question<'_>) -> Option<Refusal> {
        let name = question.object.map(doorward_policy::Object::name);
        (name == Some("t_write")).then_some(Refusal::DeniedByPolicy { policies: vec![] })
    }
}

#[tokio::test]
async fn mb_13_a_policy_hides_what_it_forbids_without_a_table() {
    let fixture = fixture(server("a"), Arc::new(NoWriting)).await;
    fixture.upstream.answer(json(200, TOOLS));
    let answer = error(fixture.post("alice", &legacy("tools/list", ""), &[]).await).await;
    assert_eq!(names(&answer, "tools", "name"), ["t_read", "t_admin"]);
    assert!(
        answer["result"]["tools"][0].get("_meta").is_none(),
        "no table, no mark"
    );
}

#[tokio::test]
async fn mb_13_what_is_not_listed_cannot_be_used_either() {
    let fixture = with_table(ListMode::Granted).await;
    for (method, params) in [
        ("tools/call", r#""name":"t_write""#),
        ("tools/call", r#""name":"t_admin""#),
        ("prompts/get", r#""name":"p_write""#),
        ("resources/read", r#""uri":"file:///b/1""#),
        ("resources/subscribe", r#""uri":"file:///b/1""#),
        ("resources/unsubscribe", r#""uri":"file:///c""#),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"p_write"},"argument":{"name":"x","value":""}"#,
        ),
        (
            "completion/complete",
            r#""ref":{"type":"ref/resource","uri":"file:///b/{x}"},"argument":{"name":"x","value":""}"#,
        ),
    ] {
        let response = fixture.post("alice", &legacy(method, params), &[]).await;
        assert_eq!(response.status(), 403, "{method} {params}");
    }
    assert!(fixture.upstream.seen().is_empty());
}

async fn stream_of(fixture: &Fixture, said: &[&'static str], method: &str) -> String {
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let mut body = fixture.post("alice", &legacy(method, ""), &[]).await.into_body();
    let mut heard = String::new();
    for part in said {
        sender.send(Ok(part)).await.unwrap();
    }
    drop(sender);
    while let Some(frame) = next(&mut body).await {
        heard.push_str(std::str::from_utf8(&frame.unwrap()).unwrap());
    }
    heard
}

#[tokio::test]
async fn mb_13_lists_in_streams_are_filtered_wherever_they_are_cut() {
    let fixture = with_table(ListMode::Granted).await;
    let heard = stream_of(
        &fixture,
        &[
            ": ping\n\nid: 1\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n",
            "id: 2\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"to",
            "ols\":[{\"name\":\"t_admin\"},{\"name\":\"t_read\"}],\"nextCursor\":\"x\"}}\n",
            "retry: 5\n\n",
            "id: 3\ndata: {\"half",
        ],
        "tools/list",
    )
    .await;
    assert!(
        heard.starts_with(": ping\n\nid: 1\nevent: message\ndata: {"),
        "{heard}"
    );
    assert!(!heard.contains("t_admin") && heard.contains("t_read") && !heard.contains("half"));
    assert!(
        heard.contains("id: 2\n") && heard.contains("retry: 5\n") && heard.contains(r#""nextCursor":"x""#)
    );
}

#[tokio::test]
async fn mb_13_an_event_that_cannot_be_read_cuts_the_stream() {
    let fixture = with_table(ListMode::Granted).await;
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let mut body = fixture.post("alice", CALL, &[]).await.into_body();
    sender
        .send(Ok(
            "data: {\"result\":{\"tools\":[],\"tools\":[{\"name\":\"t_admin\"}]}}\n\n",
        ))
        .await
        .unwrap();
    assert!(matches!(
        next(&mut body).await,
        Some(Err(crate::BodyError::Unreadable))
    ));
}

#[tokio::test]
async fn mb_13_replayed_lists_and_foreign_news_do_not_pass_on_a_get_stream() {
    let fixture = with_table(ListMode::Granted).await;
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let headers = [("accept", "text/event-stream"), ("last-event-id", "1")];
    let mut body = fixture
        .send(request("GET", "/a/mcp", "alice", "", &headers))
        .await
        .into_body();
    let updated = |uri: &str| {
        format!(
            "id: u\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications\\/resources\\/updated\",\"params\":{{\"uri\":\"{uri}\"}}}}\n\n"
        )
    };
    let mut said = updated("file:///b/1");
    said.push_str(&updated("file:///a/1"));
    said.push_str("data: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"resources\":[{\"uri\":\"file:///b/1\"},{\"uri\":\"file:///a/2\"}]}}\n\n");
    sender.send(Ok(said.leak())).await.unwrap();
    drop(sender);
    let mut heard = String::new();
    while let Some(frame) = next(&mut body).await {
        heard.push_str(std::str::from_utf8(&frame.unwrap()).unwrap());
    }
    assert!(!heard.contains("file:///b"), "{heard}");
    assert!(heard.contains("file:///a/1") && heard.contains("file:///a/2"));
    assert_eq!(
        heard.matches("id: u\n").count(),
        2,
        "the place in the stream is told"
    );
}

const LISTENING: [(&str, &str); 2] = [
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "subscriptions/listen"),
];

#[tokio::test(start_paused = true)]
async fn mb_19_a_subscription_is_cut_to_what_may_be_read_and_ends_with_the_grant() {
    let fixture = with_table(ListMode::Granted).await;
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let filter =
        r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a/1","file:///b/1"]}"#;
    let message = modern("subscriptions/listen", filter);
    let mut body = fixture.post("alice", &message, &LISTENING).await.into_body();
    let seen = fixture.upstream.seen();
    let expected = message.replace(r#"["file:///a/1","file:///b/1"]"#, r#"["file:///a/1"]"#);
    assert_eq!(seen[0].body, expected, "nothing else changes");
    sender
        .send(Ok("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"file:///b/1\"}}\n\ndata: {}\n\n"))
        .await
        .unwrap();
    let heard = next(&mut body).await.unwrap().unwrap();
    assert!(!std::str::from_utf8(&heard).unwrap().contains("file:///b"));
    revoke_all(&fixture);
    let begun = tokio::time::Instant::now();
    let last = next(&mut body).await.unwrap().unwrap();
    assert!(
        std::str::from_utf8(&last)
            .unwrap()
            .contains(r#""resultType":"complete""#)
    );
    assert!(next(&mut body).await.is_none() && begun.elapsed() <= Duration::from_secs(5));
    tokio::time::timeout(Duration::from_secs(5), sender.closed())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn mb_19_a_subscription_ends_within_5_s_of_a_table_that_denies_it() {
    let upstream = Arc::new(Script::default());
    let address = upstream.listen().await;
    let http = Upstream::http(&format!("http://{address}/up")).unwrap();
    let server = unlimited(Arc::new(restricted(ListMode::Granted)), http);
    let standing = Arc::clone(&server.standing);
    let fixture = Fixture::of(upstream, &settings(), vec![server]);
    let (sender, response) = events();
    fixture.upstream.answer(response);
    let filter = r#""notifications":{"resourceSubscriptions":["file:///a/1"]}"#;
    let message = modern("subscriptions/listen", filter);
    let mut body = fixture.post("alice", &message, &LISTENING).await.into_body();
    let mut entry = ScopeEntry::new("a".parse().unwrap(), "");
    entry.resources = vec!["file:///c/*".parse().unwrap()];
    let scopes = ScopeTable::new(vec![entry]).unwrap();
    let next_rules = ProtectedServer {
        scopes,
        ..restricted(ListMode::Granted)
    };
    standing.admit(
        crate::Rules::new(Arc::new(next_rules), Arc::new(NoFurtherPolicy)),
        false,
    );
    let begun = tokio::time::Instant::now();
    let last = next(&mut body).await.unwrap().unwrap();
    assert!(
        std::str::from_utf8(&last)
            .unwrap()
            .contains(r#""resultType":"complete""#)
    );
    assert!(begun.elapsed() <= Duration::from_secs(5));
    tokio::time::timeout(Duration::from_secs(5), sender.closed())
        .await
        .unwrap();
}
