//! Every reason for which a call is refused, as `doorward explain` tells it: what was asked, needed and held, which rule or
//! policy said no, and what to do. R40: what the caller is told is enough to go on with.

use std::time::Duration;

use doorward_testkit::http::Reply;
use doorward_testkit::leak::Secrets;
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::Upstream;
use doorward_testkit::{Doorward, PASSWORD, eventually, mcp};
use serde_json::{Value, json};

use crate::support::RA;

const SOON: Duration = Duration::from_secs(60);
const ARGUMENT: &str = "an argument that is nobody's business";

const POLICY: &str = r#"
@id("everything")
permit(principal, action, resource);
@id("no-drop")
forbid(principal, action, resource) when { resource has name && resource.name == "t_drop" };
"#;

const TABLE: &str = r#"
[servers.scopes."t:read"]
description = "Read"
tools = ["t_read", "t_drop", "t_once"]
[servers.scopes."t:write"]
description = "Write"
tools = ["t_write"]
step_up = true
[servers.scopes."t:admin"]
description = "Administer"
tools = ["t_admin"]
step_up = true
allow = ["group:ops"]

[[clients]]
id = "narrow"
name = "Narrow"
redirect_uris = ["http://127.0.0.1/cb"]
scopes = ["t:read"]
"#;

struct World {
    doorward: Doorward,
    folder: tempfile::TempDir,
    up: Upstream,
    client: OAuthClient,
    token: String,
}

/// What is expected of one refusal.
struct Case<'a> {
    reason: &'a str,
    status: u16,
    asked: &'a str,
    needed: Option<&'a str>,
    held: &'a str,
    rule: Option<&'a str>,
    policies: Option<&'a str>,
    limit: Option<&'a str>,
    /// What the operator is told to look at.
    advice: &'a str,
    /// What the caller's person is told.
    words: &'a str,
}

const CASE: Case<'_> = Case {
    reason: "",
    status: 403,
    asked: "",
    needed: None,
    held: "t:read",
    rule: None,
    policies: None,
    limit: None,
    advice: "",
    words: "",
};

impl World {
    async fn start() -> Self {
        let (up, folder) = (Upstream::start(), doorward_testkit::folder("doorward-e2e-"));
        std::fs::write(folder.path().join("policy.cedar"), POLICY).unwrap();
        let doorward = Doorward::builder()
            .config(&config(&up, folder.path(), "user:alice"))
            .user("alice", PASSWORD)
            .start()
            .await;
        let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
        let token = client.login("alice", PASSWORD, &doorward.url(RA)).await.access;
        Self {
            doorward,
            folder,
            up,
            client,
            token,
        }
    }

    async fn call(&self, token: &str, tool: &str) -> Reply {
        let call = mcp::call(&self.doorward, RA, tool, &json!({ "text": ARGUMENT }));
        call.bearer(token).send().await
    }

    /// Holds a refusal against what its caller is told, and against what its operator is.
    async fn check(&self, reply: &Reply, case: Case<'_>) {
        assert_eq!(reply.status, case.status, "{}", reply.text());
        let told = reply.json()["error"].clone();
        let data = &told["data"];
        assert_eq!(data["reason"], case.reason, "{told}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(case.words), "{:?}: {message}", case.words);
        let challenge = reply.header("WWW-Authenticate");
        assert_eq!(
            challenge.is_some(),
            case.reason == "insufficient_scope",
            "{challenge:?}"
        );
        let id = data["decision_id"].as_str().unwrap();

        let report = eventually("explain knows it", SOON, || async {
            let finished = self.doorward.command(&["explain", id, "--format", "json"]);
            serde_json::from_str::<Value>(&finished.stdout).ok()
        })
        .await;
        let failure = &report["failure"];
        let optional = |value: Option<&str>| value.map_or(Value::Null, Value::from);
        for (member, expected) in [
            ("reason", Value::from(case.reason)),
            ("asked", Value::from(case.asked)),
            ("needed", optional(case.needed)),
            ("held", Value::from(case.held)),
            ("policies", optional(case.policies)),
            ("limit", optional(case.limit)),
        ] {
            assert_eq!(failure[member], expected, "{member}: {failure}");
        }
        assert_eq!(failure["rule"]["id"], optional(case.rule), "{failure}");
        let advice = failure["advice"].as_str().unwrap();
        assert!(advice.contains(case.advice), "{:?}: {advice}", case.advice);
        assert_eq!(
            failure["retry_after"].is_string(),
            case.limit.is_some(),
            "{failure}"
        );

        let drawn = self.doorward.command(&["explain", id]).ok().stdout;
        for line in [
            Some(format!("Asked     {}", case.asked)),
            case.needed.map(|needed| format!("Needed    {needed}")),
            Some(format!("Held      {}", case.held)),
            case.policies.map(|policies| format!("Policies  {policies}")),
            case.limit.map(|limit| format!("Limit     {limit}")),
            case.limit.map(|_| "Again     after ".to_owned()),
            case.rule.map(|rule| format!("Rule      {rule}")),
            Some("To do     ".to_owned()),
        ]
        .into_iter()
        .flatten()
        {
            assert!(drawn.contains(&line), "{line:?} in\n{drawn}");
        }
        let mut secrets = Secrets::default();
        secrets.add("argument", ARGUMENT);
        secrets.add_jwt("token", &self.token);
        secrets.assert_absent("explain", drawn.as_bytes());
        secrets.assert_absent("explain, as JSON", report.to_string().as_bytes());
        // The record of decisions says the same.
        let line = eventually("its line", SOON, || async {
            let text = std::fs::read_to_string(self.doorward.data.join("decisions.jsonl")).ok()?;
            let mut lines = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.find(|line| line["decision_id"] == id)
        })
        .await;
        assert_eq!(
            (&line["reason"], &line["outcome"]),
            (&data["reason"], &json!("refused"))
        );
        assert_eq!(line["scopes"], case.held);
        if case.reason == "insufficient_scope" {
            assert_eq!(line["scopes_needed"], optional(case.needed));
        }
        if let Some(policies) = case.policies {
            assert_eq!(line["policies"], json!([policies]));
        }
    }
}

fn config(up: &Upstream, folder: &std::path::Path, allow: &str) -> String {
    format!(
        "[policy]\nfile = {:?}\n[[servers]]\nname = \"a\"\npath = \"{RA}\"\nupstream = \"{}\"\nallow = [\"{allow}\"]\n\
         [servers.limits]\ntools = {{ t_once = \"1/h\" }}\n{TABLE}",
        folder.join("policy.cedar"),
        up.url()
    )
}

/// What scopes have to do with.
async fn scopes_say_no(world: &World) {
    let token = &world.token;
    let step_up = Case {
        reason: "insufficient_scope",
        asked: "tools/call t_write",
        needed: Some("t:write"),
        rule: Some("A31"),
        advice: "log in again with the scopes of the challenge",
        words: "connect it to this server again",
        ..CASE
    };
    world.check(&world.call(token, "t_write").await, step_up).await;
    let unnamed = Case {
        reason: "no_scope_opens_it",
        asked: "tools/call t_none",
        rule: Some("R37"),
        advice: "name it in a scope of `[servers.scopes]`",
        words: "the operator has opened it under no scope",
        ..CASE
    };
    world.check(&world.call(token, "t_none").await, unnamed).await;
    let not_for_user = Case {
        reason: "scope_not_for_user",
        asked: "tools/call t_admin",
        needed: Some("t:admin"),
        rule: Some("A31"),
        advice: "has an `allow` rule, which does not name it",
        words: "this account may not have the scope t:admin",
        ..CASE
    };
    world
        .check(&world.call(token, "t_admin").await, not_for_user)
        .await;
    let narrow = OAuthClient {
        id: "narrow".into(),
        ..world.client.clone()
    };
    let resource = world.doorward.url(RA);
    let narrow = narrow.login("alice", PASSWORD, &resource).await.access;
    let not_for_client = Case {
        reason: "scope_not_for_client",
        asked: "tools/call t_write",
        needed: Some("t:write"),
        rule: Some("A31"),
        advice: "registered for fewer scopes",
        words: "was not registered for the scope t:write",
        ..CASE
    };
    world
        .check(&world.call(&narrow, "t_write").await, not_for_client)
        .await;
}

#[tokio::test]
async fn r40_r38_every_refusal_of_a_call_is_explained() {
    let world = World::start().await;
    let token = &world.token;
    assert_eq!(world.call(token, "t_read").await.status, 200);

    scopes_say_no(&world).await;
    let denied = Case {
        reason: "denied_by_policy",
        asked: "tools/call t_drop",
        rule: Some("R37"),
        policies: Some("no-drop"),
        advice: "The policy forbids this call",
        words: "the operator's policy forbids this call",
        ..CASE
    };
    world.check(&world.call(token, "t_drop").await, denied).await;
    assert_eq!(world.call(token, "t_once").await.status, 200);
    let limited = Case {
        reason: "rate_limited",
        status: 429,
        asked: "tools/call t_once",
        limit: Some("tool"),
        advice: "raise the limit that is named",
        words: "too many calls of this tool by this user: the limit is 1 an hour",
        ..CASE
    };
    world.check(&world.call(token, "t_once").await, limited).await;

    // The operator takes alice's access away; her token lives on.
    let closed = config(&world.up, world.folder.path(), "user:bob");
    std::fs::write(world.doorward.config_file(), closed).unwrap();
    world.doorward.hang_up();
    let refused = eventually("the rule is in force", SOON, || async {
        let reply = world.call(token, "t_read").await;
        (reply.status == 403).then_some(reply)
    })
    .await;
    let not_allowed = Case {
        reason: "not_allowed",
        asked: "tools/call t_read",
        rule: Some("R37"),
        advice: "`allow` rule does not name this account",
        words: "this account may not use this server",
        ..CASE
    };
    world.check(&refused, not_allowed).await;
}
