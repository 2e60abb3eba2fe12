//! Lines in, lines out.

use super::*;
use crate::settings::{AuthorizationServer, Protects, ToolScopes};

fn settings(hand: Hand) -> Arc<Settings> {
    Arc::new(Settings {
        resource: "https://as.example/stdio/notes".to_owned(),
        authorization_servers: vec![
            AuthorizationServer {
                authorization_endpoint: Some("https://as.example/authorize".to_owned()),
                token_endpoint: Some("https://as.example/token".to_owned()),
                ..AuthorizationServer::of_issuer("https://as.example")
            },
            AuthorizationServer::of_issuer("https://other.example"),
        ],
        scopes: "notes:read".parse().unwrap(),
        tools: vec![ToolScopes {
            pattern: "delete_*".parse().unwrap(),
            scopes: "notes:write".parse().unwrap(),
        }],
        public_tools: vec!["about".parse().unwrap()],
        protects: Protects {
            prompts: true,
            resources: true,
        },
        hand,
    })
}

fn wrapper() -> Wrapper {
    Wrapper::new(settings(Hand::Nothing))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn json_of(line: &Bytes) -> Value {
    serde_json::from_slice(line).unwrap()
}

#[track_caller]
fn to_server(action: Action) -> Bytes {
    match action {
        Action::ToServer(line) => line,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn held(action: Action) -> Held {
    match action {
        Action::Judge(held) => held,
        other => panic!("{other:?}"),
    }
}

/// A line of the server as it reaches the host, refusals completed without a link.
#[track_caller]
fn through(wrapper: &mut Wrapper, line: &str) -> Bytes {
    match wrapper.server_line(bytes(line)) {
        FromServer::Line(line) => line,
        FromServer::Refused(refused) => wrapper.refused(&refused, None),
    }
}

#[track_caller]
fn to_host(action: Action) -> Value {
    match action {
        Action::ToHost(line) => json_of(&line),
        other => panic!("{other:?}"),
    }
}

fn refuse(reason: Reason) -> Verdict {
    Verdict::Refuse {
        reason,
        login_url: Some("http://127.0.0.1:4711/login".to_owned()),
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":"a\u0031","method":"tools/call","params":{"name":"read_note","arguments":{"n" : 1.0e2}}}"#;

fn modern_call(capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"delete_note","arguments":{{}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
    )
}

#[test]
fn r03_the_answer_to_initialize_names_the_authorization() {
    let mut wrapper = wrapper();
    let asked = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"h","version":"1"}}}"#;
    assert_eq!(to_server(wrapper.host_line(bytes(asked))), asked);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged" :true},"experimental":{"x":{}}},"serverInfo":{"name":"s","version":"1"}}}"#;
    let line = through(&mut wrapper, answer);
    let message = json_of(&line);
    let entry = &message["result"]["capabilities"]["experimental"][crate::EXTENSION];
    assert_eq!(entry["type"], "oauth2");
    assert_eq!(entry["required"], true);
    assert_eq!(entry["resource"], "https://as.example/stdio/notes");
    assert_eq!(
        entry["scopes_supported"],
        serde_json::json!(["notes:read", "notes:write"])
    );
    assert_eq!(
        entry["authorization_servers"][0]["token_endpoint"],
        "https://as.example/token"
    );
    assert_eq!(
        entry["authorization_servers"][0]["code_challenge_methods_supported"],
        serde_json::json!(["S256"])
    );
    assert_eq!(
        entry["authorization_servers"][1]["issuer"],
        "https://other.example"
    );
    // Everything else is as the server wrote it.
    assert_eq!(
        message["result"]["capabilities"]["experimental"]["x"],
        serde_json::json!({})
    );
    assert!(
        std::str::from_utf8(&line)
            .unwrap()
            .contains(r#"{"listChanged" :true}"#)
    );
    // Only the answer that was asked for is changed.
    assert_eq!(through(&mut wrapper, answer), answer);
}

#[test]
fn r03_so_does_the_answer_to_discover() {
    let mut wrapper = wrapper();
    let asked = r#"{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    to_server(wrapper.host_line(bytes(asked)));
    let answer =
        r#"{"jsonrpc":"2.0","id":"d","result":{"resultType":"complete","capabilities":{"tools":{}}}}"#;
    let message = json_of(&through(&mut wrapper, answer));
    assert_eq!(
        message["result"]["capabilities"]["extensions"][crate::EXTENSION]["type"],
        "oauth2"
    );
    // An error stays one.
    to_server(wrapper.host_line(bytes(asked)));
    let error = r#"{"jsonrpc":"2.0","id":"d","error":{"code":-32601,"message":"no"}}"#;
    assert_eq!(through(&mut wrapper, error), error);
}

#[test]
fn r05_each_tool_says_what_it_takes() {
    let mut wrapper = wrapper();
    to_server(wrapper.host_line(bytes(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#)));
    let answer = r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"read_note","inputSchema":{"type" :"object"}},{"name":"delete_note","_meta":{"k":1},"inputSchema":{"type":"object"}},{"name":"about","inputSchema":{"type":"object"}}],"nextCursor":"n"}}"#;
    let message = json_of(&through(&mut wrapper, answer));
    let tools = &message["result"]["tools"];
    let mark = |tool: &Value| tool["_meta"][crate::EXTENSION].clone();
    assert_eq!(
        mark(&tools[0]),
        serde_json::json!({"required": true, "scopes": ["notes:read"]})
    );
    assert_eq!(
        mark(&tools[1]),
        serde_json::json!({"required": true, "scopes": ["notes:write"]})
    );
    assert_eq!(tools[1]["_meta"]["k"], 1);
    assert_eq!(tools[2].get("_meta"), None);
    assert_eq!(message["result"]["nextCursor"], "n");
}

#[test]
fn r04_a_call_without_a_token_is_an_error_of_its_era() {
    let mut wrapper = wrapper();
    let call = held(wrapper.host_line(bytes(CALL)));
    assert_eq!(
        (call.scopes.to_string().as_str(), call.token.is_none()),
        ("notes:read", true)
    );
    let message = to_host(wrapper.judged(call, refuse(Reason::NoToken)));
    assert_eq!(message["id"], "a1");
    assert_eq!(message["error"]["code"], -32001);
    assert_eq!(
        message["error"]["message"],
        "Authorization required to call read_note"
    );
    let authorization = &message["error"]["data"]["authorization"];
    for (key, expected) in [
        ("type", serde_json::json!("oauth2")),
        ("resource", serde_json::json!("https://as.example/stdio/notes")),
        ("scopes", serde_json::json!(["notes:read"])),
        (
            "authorization_url",
            serde_json::json!("https://as.example/authorize"),
        ),
        ("token_url", serde_json::json!("https://as.example/token")),
        ("grant_type", serde_json::json!("authorization_code")),
        ("code_challenge_method", serde_json::json!("S256")),
        ("login_url", serde_json::json!("http://127.0.0.1:4711/login")),
    ] {
        assert_eq!(authorization[key], expected, "{key}");
    }
    assert_eq!(authorization.get("error"), None);
    assert_eq!(
        authorization["authorization_servers"].as_array().unwrap().len(),
        2
    );

    let call = held(wrapper.host_line(bytes(&modern_call("{}"))));
    let message = to_host(wrapper.judged(call, refuse(Reason::InsufficientScope)));
    assert_eq!(
        (&message["id"], &message["error"]["code"]),
        (&7.into(), &401.into())
    );
    let authorization = &message["error"]["data"]["authorization"];
    assert_eq!(authorization["error"], "insufficient_scope");
    assert_eq!(authorization["scopes"], serde_json::json!(["notes:write"]));
}

#[test]
fn r06_the_token_of_a_request_is_taken_out() {
    let mut wrapper = wrapper();
    for (with, without) in [
        (
            r#"{"_meta":{"io.doorward/token":"t0k"},"name":"read_note"}"#,
            r#"{"name":"read_note"}"#,
        ),
        (
            r#"{"name":"read_note","_meta":{"a":1.0,"io.doorward\/token":"t0k"}}"#,
            r#"{"name":"read_note","_meta":{"a":1.0}}"#,
        ),
    ] {
        let message =
            |params: &str| format!(r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{params}}}"#);
        let call = held(wrapper.host_line(bytes(&message(with))));
        assert_eq!(call.token.as_ref().unwrap().expose(), "t0k");
        assert!(!format!("{call:?}").contains("t0k"));
        let token = Secret::new("t0k");
        assert_eq!(
            to_server(wrapper.judged(call, Verdict::Pass(token))),
            message(without)
        );
    }
    // From requests that need none, and from notifications, as well.
    for method in [
        r#""id":4,"method":"ping""#,
        r#""method":"notifications/progress""#,
    ] {
        let line =
            format!(r#"{{"jsonrpc":"2.0",{method},"params":{{"_meta":{{"io.doorward/token":"t0k"}}}}}}"#);
        let passed = to_server(wrapper.host_line(bytes(&line)));
        assert!(!passed.windows(3).any(|window| window == b"t0k"));
    }
    // Something else than a text goes, too, and is a token that is not good: no other one is taken in its place.
    for value in [r#"{"a":1}"#, "17", "null", "[]"] {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{{"name":"x","_meta":{{"io.doorward/token":{value}}}}}}}"#
        );
        let call = held(wrapper.host_line(bytes(&line)));
        assert_eq!(call.token.as_ref().map(Secret::expose), Some(""), "{value}");
    }
}

#[test]
fn r06_a_server_that_wants_the_verified_token_gets_that_one_alone() {
    let mut wrapper = Wrapper::new(settings(Hand::Meta));
    let line = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"x","_meta":{"io.doorward/token":"theirs"}}}"#;
    let call = held(wrapper.host_line(bytes(line)));
    let passed = to_server(wrapper.judged(call, Verdict::Pass(Secret::new("verified"))));
    assert_eq!(json_of(&passed)["params"]["_meta"][TOKEN], "verified");
    assert!(!passed.windows(6).any(|window| window == b"theirs"));
}

#[test]
fn r11_what_is_not_about_authorization_passes_byte_for_byte() {
    let mut wrapper = wrapper();
    for line in [
        r#"{"jsonrpc": "2.0", "id": 1, "method": "ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{"cursor":"\u00e9"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"jsonrpc":"2.0","id":9,"result":{"roots":[]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"about","arguments":{}}}"#,
    ] {
        assert_eq!(to_server(wrapper.host_line(bytes(line))), line);
    }
    for line in [
        "not json at all",
        r#"{"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": 1.0}}"#,
        r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{}}"#,
    ] {
        assert_eq!(through(&mut wrapper, line), line);
    }
    let call = held(wrapper.host_line(bytes(CALL)));
    assert_eq!(
        to_server(wrapper.judged(call, Verdict::Pass(Secret::new("t")))),
        CALL
    );
    let answer = r#"{"jsonrpc":"2.0","id":"a1","result":{"content":[{"type":"text","text":"\"error\":\"invalid_token\""}]}}"#;
    assert_eq!(through(&mut wrapper, answer), answer);
}

#[test]
fn what_two_readers_could_read_differently_is_not_passed_on() {
    let mut wrapper = wrapper();
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"about","name":"delete_note"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"about","Name":"delete_note"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"delete_note"}}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_note"}}]"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\u{0}",
    ] {
        let message = to_host(wrapper.host_line(bytes(line)));
        assert_eq!(message["error"]["code"], -32600, "{line}");
    }
}

#[test]
fn prompts_and_resources_are_protected_as_the_settings_say() {
    let line = |method: &str| {
        bytes(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"uri":"a:b","name":"p"}}}}"#
        ))
    };
    let mut open = settings(Hand::Nothing);
    Arc::get_mut(&mut open).unwrap().protects = Protects {
        prompts: false,
        resources: false,
    };
    let (mut all, mut tools) = (wrapper(), Wrapper::new(open));
    for method in [
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "completion/complete",
    ] {
        assert!(held(all.host_line(line(method))).token.is_none(), "{method}");
        assert_eq!(to_server(tools.host_line(line(method))), line(method));
    }
}

#[test]
fn clients_that_open_urls_get_one_and_the_call_comes_back_clean() {
    let mut wrapper = wrapper();
    let call = held(wrapper.host_line(bytes(&modern_call(r#"{"elicitation":{"url":{}}}"#))));
    let message = to_host(wrapper.judged(call, refuse(Reason::NoToken)));
    assert_eq!(message["result"]["resultType"], "input_required");
    let request = &message["result"]["inputRequests"][crate::EXTENSION];
    assert_eq!(request["method"], "elicitation/create");
    assert_eq!(request["params"]["mode"], "url");
    assert_eq!(request["params"]["url"], "http://127.0.0.1:4711/login");
    let state = &message["result"]["requestState"];
    let again = format!(
        r#"{{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{{"name":"delete_note","inputResponses":{{"{}":{{"action":"accept"}}}},"requestState":{state},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#,
        crate::EXTENSION
    );
    let call = held(wrapper.host_line(bytes(&again)));
    let passed = json_of(&to_server(wrapper.judged(call, Verdict::Pass(Secret::new("t")))));
    assert_eq!(passed["params"].get("requestState"), None);
    assert_eq!(passed["params"].get("inputResponses"), None);
    // The server's own state is left alone.
    let theirs = again.replace(&state.to_string(), "\"other\"");
    let call = held(wrapper.host_line(bytes(&theirs)));
    let passed = to_server(wrapper.judged(call, Verdict::Pass(Secret::new("t"))));
    assert_eq!(passed, theirs);
    // Who knows the extension gets its error.
    let knows = r#"{"elicitation":{"url":{}},"extensions":{"io.doorward/authorization":{}}}"#;
    let call = held(wrapper.host_line(bytes(&modern_call(knows))));
    assert_eq!(
        to_host(wrapper.judged(call, refuse(Reason::NoToken)))["error"]["code"],
        401
    );
}

#[test]
fn legacy_clients_that_open_urls_are_asked_to() {
    let mut wrapper = wrapper();
    let asked = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"form":{},"url":{}}},"clientInfo":{"name":"h","version":"1"}}}"#;
    to_server(wrapper.host_line(bytes(asked)));
    let call = held(wrapper.host_line(bytes(CALL)));
    let message = to_host(wrapper.judged(call, refuse(Reason::NoToken)));
    assert_eq!(message["error"]["code"], -32042);
    assert_eq!(
        message["error"]["data"]["elicitations"][0]["url"],
        "http://127.0.0.1:4711/login"
    );
    assert_eq!(message["error"]["data"]["authorization"]["type"], "oauth2");
    // Without a login of our own there is nothing to open.
    let call = held(wrapper.host_line(bytes(CALL)));
    let verdict = Verdict::Refuse {
        reason: Reason::NoToken,
        login_url: None,
    };
    assert_eq!(to_host(wrapper.judged(call, verdict))["error"]["code"], -32001);
}

#[test]
fn the_server_itself_may_say_that_the_token_is_not_enough() {
    let mut wrapper = Wrapper::new(settings(Hand::Meta));
    let call = held(wrapper.host_line(bytes(CALL)));
    to_server(wrapper.judged(call, Verdict::Pass(Secret::new("t"))));
    let answer = r#"{"jsonrpc":"2.0","id":"a1","error":{"code":-32603,"message":"GitHub says no","data":{"authorization":{"error":"insufficient_scope","scopes":["notes:all"]}}}}"#;
    let message = json_of(&through(&mut wrapper, answer));
    assert_eq!(message["error"]["code"], -32001);
    let authorization = &message["error"]["data"]["authorization"];
    assert_eq!(authorization["error"], "insufficient_scope");
    assert_eq!(authorization["scopes"], serde_json::json!(["notes:all"]));
    assert_eq!(authorization["token_url"], "https://as.example/token");
}

#[test]
fn what_is_not_known_to_be_harmless_needs_a_token() {
    let line = |method: &str, params: &str| {
        bytes(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#
        ))
    };
    let mut wrapper = wrapper();
    for (method, params) in [
        ("tasks/get", r#"{"taskId":"t"}"#),
        ("tasks/result", r#"{"taskId":"t"}"#),
        ("tasks/cancel", r#"{"taskId":"t"}"#),
        ("tasks/update", r#"{"taskId":"t"}"#),
        ("tasks/list", "{}"),
        ("skills/get", r#"{"name":"s"}"#),
        ("resources/directory/read", r#"{"uri":"a:b"}"#),
        (
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["a:b"]}}"#,
        ),
        ("subscriptions/listen", r#"{"notifications":{"taskIds":["t"]}}"#),
        ("subscriptions/listen", "{}"),
        ("x/delete_all", "{}"),
    ] {
        held(wrapper.host_line(line(method, params)));
    }
    for (method, params) in [
        ("initialize", "{}"),
        ("ping", "{}"),
        ("server/discover", "{}"),
        ("tools/list", "{}"),
        ("prompts/list", "{}"),
        ("resources/list", "{}"),
        ("resources/templates/list", "{}"),
        ("logging/setLevel", r#"{"level":"info"}"#),
        (
            "subscriptions/listen",
            r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":[]}}"#,
        ),
    ] {
        assert_eq!(
            to_server(wrapper.host_line(line(method, params))),
            line(method, params),
            "{method}"
        );
    }
}

#[test]
fn a_server_that_never_saw_the_token_says_nothing_about_it() {
    let answer = |spaces: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":"a1","error":{{"code":1,"message":"m","data":{{"authorization":{{"error":{spaces}"insufficient_scope","scopes":["everything","notes:write"]}}}}}}}}"#
        )
    };
    let called = |hand: Hand| {
        let mut wrapper = Wrapper::new(settings(hand));
        let call = held(wrapper.host_line(bytes(CALL)));
        to_server(wrapper.judged(call, Verdict::Pass(Secret::new("t"))));
        wrapper
    };
    let mut nothing = called(Hand::Nothing);
    assert_eq!(through(&mut nothing, &answer("")), answer(""));
    for (hand, expected) in [
        (
            Hand::Environment("T".to_owned()),
            serde_json::json!(["notes:write"]),
        ),
        (Hand::Meta, serde_json::json!(["everything", "notes:write"])),
    ] {
        let message = json_of(&through(&mut called(hand), &answer(" ")));
        assert_eq!(message["error"]["data"]["authorization"]["scopes"], expected);
    }
}

#[test]
fn who_declines_is_told_plainly() {
    let mut wrapper = wrapper();
    let again = |action: &str| {
        let known = r#"{"elicitation":{"url":{}}}"#;
        let key = crate::EXTENSION;
        bytes(&format!(
            r#"{{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{{"name":"delete_note","inputResponses":{{"{key}":{{"action":"{action}"}}}},"requestState":"{key}","_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{known}}}}}}}"#
        ))
    };
    for action in ["decline", "cancel"] {
        let call = held(wrapper.host_line(again(action)));
        let message = to_host(wrapper.judged(call, refuse(Reason::NoToken)));
        assert_eq!(message["error"]["code"], 401, "{action}: {message}");
    }
    let call = held(wrapper.host_line(again("accept")));
    let message = to_host(wrapper.judged(call, refuse(Reason::NoToken)));
    assert_eq!(message["result"]["resultType"], "input_required");
    // Only these may be answered by a request for input.
    let other = modern_call(r#"{"elicitation":{"url":{}}}"#).replace("tools/call", "completion/complete");
    let call = held(wrapper.host_line(bytes(&other)));
    assert_eq!(
        to_host(wrapper.judged(call, refuse(Reason::NoToken)))["error"]["code"],
        401
    );
}

#[test]
fn an_answer_of_the_host_that_cannot_be_read_is_answered_to_the_server() {
    let mut wrapper = wrapper();
    let line = r#"{"jsonrpc":"2.0","id":3,"result":{"a":1,"a":2}}"#;
    let answer = json_of(&to_server(wrapper.host_line(bytes(line))));
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&3.into(), &(-32603).into())
    );
}

#[test]
fn an_answer_is_never_answered() {
    let mut wrapper = wrapper();
    for line in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"result":{}}"#,
    ] {
        assert!(
            matches!(wrapper.host_line(bytes(line)), Action::Nothing),
            "{line}"
        );
    }
}

#[test]
fn who_was_asked_to_open_a_url_hears_when_somebody_has_logged_in() {
    let mut wrapper = wrapper();
    let asked = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"url":{}}}}}"#;
    to_server(wrapper.host_line(bytes(asked)));
    assert!(!wrapper.has_elicited() && wrapper.elicitation_is_over().is_none());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let call = held(wrapper.host_line(bytes(CALL)));
            let message = to_host(wrapper.judged(call, refuse(Reason::NoToken)));
            ids.push(message["error"]["data"]["elicitations"][0]["elicitationId"].clone());
        }
        // However many calls ask for it, it is one login.
        assert_eq!(ids[0], ids[1]);
        assert!(wrapper.has_elicited());
        let over = json_of(&wrapper.elicitation_is_over().unwrap());
        assert_eq!(over["method"], "notifications/elicitation/complete");
        assert_eq!(over["params"]["elicitationId"], ids[0]);
        assert!(wrapper.elicitation_is_over().is_none());
        seen.push(ids.remove(0));
    }
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn r11_a_cancelled_call_is_forgotten_with_its_token() {
    let mut wrapper = wrapper();
    let call = held(wrapper.host_line(bytes(CALL)));
    to_server(wrapper.judged(call, Verdict::Pass(Secret::new("t"))));
    assert_eq!(wrapper.asked.len(), 1);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a1","reason":"enough"}}"#;
    assert_eq!(to_server(wrapper.host_line(bytes(cancel))), cancel);
    assert!(wrapper.asked.is_empty());
}

#[test]
fn r11_answers_to_a_server_that_is_no_more_reach_nobody() {
    let mut wrapper = Wrapper::new(settings(Hand::Environment("T".to_owned())));
    wrapper.follow_requests();
    let question = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"n" : 1.0}}}}"#)
    };
    let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept"}}}}"#);
    // As long as none was replaced that had asked, everything is as it was written.
    assert_eq!(through(&mut wrapper, &question("0")), question("0"));
    assert_eq!(to_server(wrapper.host_line(bytes(&answer("0")))), answer("0"));
    wrapper.starts_anew();
    assert_eq!(through(&mut wrapper, &question("0")), question("0"));
    wrapper.starts_anew();
    // "Yes" to the question of the one before is not "yes" to that of the new one.
    assert!(matches!(wrapper.host_line(bytes(&answer("0"))), Action::Nothing));
    for id in ["0", r#""a\"b""#] {
        let asked = json_of(&through(&mut wrapper, &question(id)));
        let named = asked["id"].to_string();
        assert_ne!(named, id);
        assert!(matches!(wrapper.host_line(bytes(&answer(id))), Action::Nothing));
        let back = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":ID}}"#;
        let back = json_of(&through(&mut wrapper, &back.replace("ID", id)));
        assert_eq!(back["params"]["requestId"], asked["id"]);
        assert_eq!(to_server(wrapper.host_line(bytes(&answer(&named)))), answer(id));
    }
}
