//! Real clients that are over a limit: whoever made the call is told, the conversation goes on, and nobody takes the server
//! for an older one.

use std::time::Duration;

use doorward_testkit::{Doorward, eventually};
use serde_json::{Value, json};

use super::World;
use super::client::{Client, Kind};

async fn world(limits: &str) -> World {
    let config =
        format!("[[servers]]\nname = \"notes\"\npath = \"/mcp\"\ndemo = true\n[servers.limits]\n{limits}\n");
    World::start(Doorward::builder().config(&config), None).await
}

fn echo() -> Value {
    json!(["echo", { "text": "through the door" }])
}

fn succeeded(answer: &Value) -> bool {
    answer["content"] == json!([{ "type": "text", "text": "through the door" }])
}

/// A tool is called too often in the middle of a conversation.
async fn slows_down(kind: Kind) {
    // Longer than it takes a client on a busy machine to make two calls.
    let world = world("tools = { echo = \"2/m burst 1\" }").await;
    let client = Client::new(kind);
    let calls = json!([echo(), echo(), ["whoami", {}]]);
    let seen = client.start_attended(&world.url(), &calls).await;
    let answers = seen["answers"].as_array().expect("a list").clone();
    assert!(succeeded(&answers[0]), "{answers:?}");
    let words = answers[1]["error"].as_str().expect("the caller is told");
    assert!(
        words.contains("too many calls of this tool by this user"),
        "{words}"
    );
    assert!(words.contains("Try again in"), "{words}");
    assert_eq!(
        answers[2]["structuredContent"]["username"], "alice",
        "{answers:?}"
    );
    let logins = super::exchanges(&world.wire.take());
    assert_eq!(
        logins.iter().filter(|step| *step == "login").count(),
        1,
        "{logins:?}"
    );
    // When its time has come it works, with what the client has.
    eventually(
        "the next one is let through",
        Duration::from_secs(120),
        || async {
            let seen = client.start(&world.url(), false, &json!([])).await;
            assert!(seen["tools"].is_array());
            let seen = client.start_attended(&world.url(), &json!([echo()])).await;
            succeeded(&seen["answers"][0]).then_some(())
        },
    )
    .await;
    let nothing: [&str; 0] = [];
    assert_eq!(
        super::exchanges(&world.wire.take()),
        nothing,
        "nobody logs in again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_typescript_v2_tells_its_caller_of_a_limit_and_goes_on() {
    slows_down(Kind::TypeScriptV2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_typescript_v2_tells_its_caller_of_a_limit_in_the_modern_revision() {
    slows_down(Kind::TypeScriptV2Auto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_python_v2_tells_its_caller_of_a_limit_and_goes_on() {
    slows_down(Kind::PythonV2).await;
}

/// It connects too often. An error of `server/discover` is an older server to it: but not one that lets it in.
async fn keeps_its_revision(kind: Kind) {
    // One start asks for the revision and for the tools.
    let world = world("discovery = \"2/h\"").await;
    let client = Client::new(kind);
    let seen = client.start(&world.url(), true, &json!([echo()])).await;
    assert!(succeeded(&seen["answers"][0]), "{seen}");
    let requests = world.wire.take();
    let asked = requests
        .iter()
        .filter(|request| request.path() == "/mcp" && request.method == "POST");
    let asked: Vec<Value> = asked.map(|request| request.json()["method"].clone()).collect();
    assert!(!asked.contains(&json!("initialize")), "{asked:?}");
    let told = client.fails(&world.url(), &json!([echo()])).await;
    assert!(
        told.contains("429") || told.contains("too many requests"),
        "{told}"
    );
    let requests = world.wire.take();
    let asked = requests
        .iter()
        .filter(|request| request.path() == "/mcp" && request.method == "POST");
    let asked: Vec<Value> = asked.map(|request| request.json()["method"].clone()).collect();
    assert!(asked.contains(&json!("server/discover")), "{asked:?}");
    assert!(
        !asked.contains(&json!("tools/call")),
        "nothing is done in another revision: {asked:?}"
    );
    let nothing: [&str; 0] = [];
    assert_eq!(super::exchanges(&requests), nothing, "nobody logs in again");
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_typescript_v2_over_the_limit_keeps_its_revision() {
    keeps_its_revision(Kind::TypeScriptV2Auto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_python_v2_over_the_limit_keeps_its_revision() {
    keeps_its_revision(Kind::PythonV2).await;
}
