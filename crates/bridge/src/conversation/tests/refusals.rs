//! What a refusal is about: the request, the session, or the era.

use super::*;

#[test]
fn an_error_about_a_call_is_not_taken_for_the_end_of_the_session() {
    let about = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no argument session_id"}}"#;
    let mut bench = Bench::new(|_| {});
    bench.open();
    bench.write(&call(1));
    let post = bench.post();
    bench.refuse(post.number, 400, about);
    assert_eq!(bench.told, [serde_json::from_str::<Value>(about).unwrap()]);
    assert!(bench.posts.is_empty(), "nothing goes a second time");
    // Those of the official SDKs, and what says that the session is not known.
    for around in [
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Session not found"}}"#,
    ] {
        let mut bench = Bench::new(|_| {});
        bench.open();
        bench.write(&call(1));
        let post = bench.post();
        bench.refuse(post.number, 400, around);
        assert_eq!(bench.post().body, initialize(0).to_string(), "{around}");
        assert!(bench.told.is_empty());
    }
}

#[test]
fn what_a_server_says_of_a_call_twice_is_told_in_its_words() {
    let about = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"no such note"}}"#;
    let mut bench = Bench::new(|_| {});
    bench.open();
    bench.write(&call(1));
    let post = bench.post();
    // "it MUST start a new session", whatever else stands there.
    bench.refuse(post.number, 404, about);
    let reopening = bench.post();
    bench.answer(&reopening, Some("two"), &json!({"protocolVersion": "2025-11-25"}));
    let confirming = bench.post();
    bench.hear(Event::Ended(confirming.number, Outcome::Complete));
    let stream = bench.listens.remove(0);
    bench.hear(Event::Listening(stream.number));
    let again = bench.post();
    bench.refuse(again.number, 404, about);
    assert_eq!(bench.told, [serde_json::from_str::<Value>(about).unwrap()]);
}

#[test]
fn a_server_that_was_taken_for_an_old_one_is_asked_anew() {
    let invalid = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool"}}"#;
    let mut bench = Bench::new(|_| {});
    bench.write(&modern(1, "prompts/get"));
    let first = bench.post();
    bench.refuse(first.number, 400, invalid);
    let initialize = bench.post();
    assert!(!initialize.is_modern);
    let unknown =
        r#"{"jsonrpc":"2.0","id":"doorward/1","error":{"code":-32601,"message":"Method not found"}}"#;
    bench.refuse(initialize.number, 404, unknown);
    assert!(bench.listens.is_empty(), "nor does it speak HTTP+SSE");
    assert_eq!(bench.told.len(), 1);
    assert_eq!(bench.told[0]["id"], 1);
    assert!(bench.told[0]["error"].is_object());
    // The next request finds the server that it is.
    bench.write(&modern(2, "prompts/get"));
    let post = bench.post();
    assert_eq!(post.headers["mcp-method"], "prompts/get");
    assert!(!post.is_modern, "nobody knows yet");
    bench.answer(&post, None, &json!({}));
    assert_eq!(bench.told[1]["id"], 2);
    bench.write(&modern(3, "prompts/get"));
    assert!(bench.post().is_modern);
}

#[test]
fn who_uses_another_name_of_a_server_is_told_that_it_is_another_name() {
    let mut bench = Bench::new(|_| {});
    bench.write(&initialize(1));
    let post = bench.post();
    bench.refuse(post.number, 421, "This is http://localhost:8080/mcp");
    let told = bench.told[0]["error"]["message"].as_str().unwrap();
    assert!(
        told.contains("421")
            && told.contains("letter for letter")
            && told.contains("http://localhost:8080/mcp"),
        "{told}"
    );
    assert!(bench.conversation.shut_out().is_some());
}
