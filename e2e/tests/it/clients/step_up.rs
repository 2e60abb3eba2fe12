//! Real clients that call a tool for which their first login is not enough.

use doorward_testkit::Doorward;
use serde_json::{Value, json};

use super::client::{Client, Kind};
use super::page::{Table, measured};
use super::{Sent, TOOLS, World, exchanges, revision};

/// Reading is what a login gives; `add_note` needs two scopes more.
const TABLE: &str = r#"
[[servers]]
name = "notes"
path = "/mcp"
demo = true
[servers.scopes."notes:read"]
description = "Read your notes"
tools = ["echo", "list_notes", "read_note", "whoami"]
[servers.scopes."notes:write"]
description = "Change your notes"
tools = ["add_note", "delete_note"]
step_up = true
[servers.scopes."notes:publish"]
description = "Show your notes to others"
tools = ["add_note"]
step_up = true
"#;

/// What a client did and saw from its first start on.
struct Life {
    kind: Kind,
    /// What it asked the authorization server for once it was refused.
    asked: Vec<String>,
    /// The scope of its last login.
    scope: Option<String>,
    pages: Vec<String>,
    answers: Vec<Value>,
}

impl Life {
    /// A call that the first login is enough for, one that needs more, and again.
    async fn of(kind: Kind) -> Self {
        let world = World::start(Doorward::builder().config(TABLE), None).await;
        let client = Client::new(kind);
        let calls = json!([
            ["whoami", {}],
            ["add_note", { "text": "hello" }],
            ["echo", { "text": "through the door" }],
            ["delete_note", { "id": 1 }],
            ["whoami", {}],
        ]);
        let seen = client.start_attended(&world.url(), &calls).await;
        assert_eq!(
            seen["tools"],
            json!(TOOLS),
            "what could be had is listed before it is asked for"
        );
        let requests = world.wire.take();
        let sent = Sent::of(kind, &requests, &world.url());
        assert_eq!(sent.scope, "`notes:read`", "the first login");
        let all = exchanges(&requests);
        let redeemed = all.iter().position(|step| step == "authorization_code");
        let begun = redeemed.expect("it logged in") + 1;
        let mut logins = requests.iter().filter(|request| request.path() == "/authorize");
        Self {
            kind,
            asked: all[begun..].to_vec(),
            scope: logins.next_back().and_then(|login| login.query("scope")),
            pages: client.pages(),
            answers: seen["answers"].as_array().expect("a list").clone(),
        }
    }

    fn scopes(&self, answer: usize) -> &Value {
        &self.answers[answer]["structuredContent"]["scopes"]
    }

    fn logins(&self) -> usize {
        self.asked.iter().filter(|step| *step == "login").count()
    }

    /// One round was enough, and what worked before still does.
    fn assert_succeeded(&self) {
        let answers = &self.answers;
        assert_eq!(self.scopes(0), &json!(["notes:read"]), "{answers:?}");
        assert_eq!(answers[1]["structuredContent"]["text"], "hello", "{answers:?}");
        let echo = json!([{ "type": "text", "text": "through the door" }]);
        assert_eq!(answers[2]["content"], echo, "{answers:?}");
        assert_eq!(answers[3].get("error"), None, "{answers:?}");
        let all = json!(["notes:publish", "notes:read", "notes:write"]);
        assert_eq!(self.scopes(4), &all, "{answers:?}");
        assert_eq!(self.logins(), 1, "{:?}", self.asked);
        assert_eq!(self.pages.len(), 2, "{:?}", self.pages);
        let (new, before) = self.pages[1]
            .split_once("You allowed it before to")
            .unwrap_or_else(|| panic!("{}", self.pages[1]));
        for words in [
            "New: it will also be able to",
            "Change your notes",
            "Show your notes to others",
        ] {
            assert!(new.contains(words), "{words}: {new}");
        }
        assert!(before.contains("Read your notes"), "{before}");
    }

    fn assert_documented(&self, then: &str) {
        let asked = self.asked.join(", ");
        let asked = asked
            .replace("authorization_code", "code")
            .replace("refresh_token", "refresh");
        let asked = if asked.is_empty() {
            "nothing".to_owned()
        } else {
            asked
        };
        let scope = super::code(self.scope.as_deref().filter(|_| self.logins() > 0));
        let logins = self.logins().to_string();
        let revision = revision(self.kind, true);
        measured(
            Table::StepUps,
            &[self.kind.name(), revision, &asked, &scope, &logins, then],
        );
    }
}

async fn steps_up(kind: Kind) {
    let life = Life::of(kind).await;
    life.assert_succeeded();
    life.assert_documented("the call is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_typescript_v1_asks_for_more() {
    steps_up(Kind::TypeScriptV1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_typescript_v2_asks_for_more() {
    steps_up(Kind::TypeScriptV2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_typescript_v2_asks_for_more_in_the_modern_revision() {
    steps_up(Kind::TypeScriptV2Auto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_python_v1_asks_for_more() {
    steps_up(Kind::PythonV1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_python_v2_asks_for_more_in_a_legacy_revision() {
    steps_up(Kind::PythonV2Legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_python_v2_asks_for_more_in_the_modern_revision() {
    steps_up(Kind::PythonV2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_rust_asks_for_more() {
    steps_up(Kind::Rmcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_rust_asks_for_more_in_the_modern_revision() {
    steps_up(Kind::RmcpDiscover).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_fastmcp_asks_for_more() {
    steps_up(Kind::FastMcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_a31_a32_a33_r15_mcp_remote_asks_for_more() {
    steps_up(Kind::McpRemote).await;
}

/// A client that does not get as far as asking the person: its user reads what to do, and goes on with what there is.
async fn is_told(kind: Kind) {
    let life = Life::of(kind).await;
    let answers = &life.answers;
    assert_eq!(life.logins(), 0, "{:?}", life.asked);
    let words = answers[1]["error"].as_str().expect("the call is refused");
    assert!(words.contains("connect the app to this server again"), "{words}");
    let echo = json!([{ "type": "text", "text": "through the door" }]);
    assert_eq!(answers[2]["content"], echo, "{answers:?}");
    assert_eq!(life.scopes(4), &json!(["notes:read"]), "{answers:?}");
    life.assert_documented(&format!("its user reads: {words}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a31_a33_the_user_of_the_inspector_is_told() {
    is_told(Kind::Inspector).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a31_a33_the_user_of_the_inspector_is_told_in_the_modern_revision() {
    is_told(Kind::InspectorAuto).await;
}
