//! Cedar policies in front of servers of every kind: what they deny, what lists then show, what a reload does to calls and
//! streams, and the commands that check, test and suggest (R30, MB-20).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward_testkit::command::{Finished, run};
use doorward_testkit::oauth::OAuthClient;
use doorward_testkit::upstream::{Answer, Part, Upstream, event};
use doorward_testkit::{Doorward, PASSWORD, eventually, marker, mcp};
use serde_json::{Value, json};

mod suggest;

use self::suggest::annotated;

/// Far beyond the five seconds that the rule names: this machine may be busy.
const SOON: Duration = Duration::from_secs(60);
const GOOD: &str = "configuration reloaded";
const BAD: &str = "the configuration was not reloaded";

/// Everything for everybody, and `t_admin` for nobody.
const NOBODY: &str = r#"
@id("everything")
permit(principal, action, resource);
@id("nobody")
forbid(principal, action, resource) when { resource has name && resource.name == "t_admin" };
"#;

/// A running Doorward with policies in a file of their own.
struct Guarded {
    doorward: Doorward,
    folder: tempfile::TempDir,
    token: String,
}

impl Guarded {
    /// Alice is in `eng`.
    async fn start(policy: &str, servers: &str) -> Self {
        let folder = doorward_testkit::folder("doorward-e2e-");
        let file = folder.path().join("policy.cedar");
        std::fs::write(&file, policy).unwrap();
        let doorward = Doorward::builder()
            .config(&format!("[policy]\nfile = {file:?}\n{servers}"))
            .user_in("alice", PASSWORD, &["eng"])
            .start()
            .await;
        let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
        let token = client
            .login("alice", PASSWORD, &doorward.url("/a/mcp"))
            .await
            .access;
        Self {
            doorward,
            folder,
            token,
        }
    }

    fn policy_file(&self) -> PathBuf {
        self.folder.path().join("policy.cedar")
    }

    async fn call(&self, tool: &str, arguments: &Value) -> doorward_testkit::http::Reply {
        let call = mcp::call(&self.doorward, "/a/mcp", tool, arguments);
        call.bearer(&self.token).send().await
    }

    /// Writes other policies, asks for a reload and waits until the log says `outcome`.
    async fn reload(&self, policy: &str, outcome: &str) {
        let times = || self.doorward.stderr().matches(outcome).count();
        let before = times();
        std::fs::write(self.policy_file(), policy).unwrap();
        self.doorward.hang_up();
        eventually("the log tells what came of it", SOON, || async {
            (times() > before).then_some(())
        })
        .await;
    }
}

fn server(name: &str, rest: &str) -> String {
    format!("[[servers]]\nname = \"{name}\"\npath = \"/{name}/mcp\"\n{rest}\n")
}

fn behind(upstream: &Upstream) -> String {
    server("a", &format!("upstream = \"{}\"", upstream.url()))
}

/// `doorward policy …` with a configuration file.
fn policy(work: &Path, config: &Path, args: &[&str]) -> Finished {
    let mut all = vec!["policy"];
    all.extend(args);
    all.extend(["--config", config.to_str().unwrap()]);
    run(work, all, "")
}

#[tokio::test]
async fn r30_a_tool_that_policy_gives_to_nobody_is_refused_without_a_challenge_and_explained() {
    let up = Upstream::start();
    let guarded = Guarded::start(NOBODY, &behind(&up)).await;
    assert_eq!(guarded.call("t_read", &json!({})).await.status, 200);
    let mark = marker();
    let refused = guarded.call("t_admin", &json!({ "marker": mark })).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(refused.header("WWW-Authenticate"), None, "no scope would help");
    let told = refused.json();
    let data = &told["error"]["data"];
    assert_eq!(data["reason"], "denied_by_policy", "{told}");
    assert!(
        !told.to_string().contains("nobody"),
        "rules are not the caller's business: {told}"
    );
    up.assert_never_saw(&mark);
    // Whoever runs it can find out which rule it was.
    let id = data["decision_id"].as_str().unwrap();
    let explained = eventually("explain names the policy", SOON, || async {
        let finished = guarded.doorward.command(&["explain", id]);
        (finished.code == 0 && finished.stdout.contains("nobody")).then_some(finished.stdout)
    })
    .await;
    assert!(explained.contains("denied_by_policy"), "{explained}");
    // Older clients are refused the same.
    let session = mcp::legacy(&guarded.doorward, "/a/mcp", None, &mcp::initialize());
    let session = session.bearer(&guarded.token).send().await;
    let session = session.header("Mcp-Session-Id").map(ToOwned::to_owned);
    let params = json!({ "name": "t_admin", "arguments": { "marker": mark } });
    let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    let legacy = mcp::legacy(&guarded.doorward, "/a/mcp", session.as_deref(), &message);
    assert_eq!(legacy.bearer(&guarded.token).send().await.status, 403);
    up.assert_never_saw(&mark);
}

#[tokio::test]
async fn r30_arguments_and_groups_decide_and_lists_show_what_some_arguments_may_do() {
    let up = Upstream::start();
    let rules = r#"
permit(principal in Doorward::Group::"eng", action, resource == Doorward::Tool::"a/t_read")
when { context.arguments.hasTag("path") && context.arguments.getTag("path") like "/home/*" };
permit(principal in Doorward::Group::"ops", action, resource == Doorward::Tool::"a/t_write");
"#;
    let guarded = Guarded::start(rules, &behind(&up)).await;
    for (arguments, status) in [
        (json!({ "path": "/home/alice" }), 200),
        (json!({ "path": "/etc/passwd" }), 403),
        (json!({ "path": ["/home/alice"] }), 403),
        (json!({}), 403),
    ] {
        assert_eq!(
            guarded.call("t_read", &arguments).await.status,
            status,
            "{arguments}"
        );
    }
    assert_eq!(guarded.call("t_write", &json!({})).await.status, 403);
    let list = mcp::modern(&guarded.doorward, "/a/mcp", "tools/list", json!({}));
    let list = mcp::answer(&list.bearer(&guarded.token).send().await);
    let names: Vec<_> = list["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(names, ["t_read"], "{list}");
}

#[tokio::test]
async fn mb_20_r30_after_a_reload_that_denies_a_tool_is_acknowledged_no_call_passes() {
    let rounds = if std::env::var_os("DOORWARD_FULL").is_some() {
        20
    } else {
        3
    };
    let up = Upstream::start();
    let guarded = Arc::new(Guarded::start(NOBODY, &behind(&up)).await);
    let denying = format!(
        "{NOBODY}\n@id(\"no-reading\") forbid(principal, action, resource == Doorward::Tool::\"a/t_read\");"
    );
    for round in 0..rounds {
        let (acknowledged, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (permitted, after) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let wrong = Arc::new(Mutex::new(Vec::new()));
        let load: Vec<_> = (0..8)
            .map(|_| {
                let guarded = Arc::clone(&guarded);
                let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
                let (permitted, after, wrong) =
                    (Arc::clone(&permitted), Arc::clone(&after), Arc::clone(&wrong));
                tokio::spawn(async move {
                    // 8 × 25 a second.
                    let mut pace = tokio::time::interval(Duration::from_millis(40));
                    while !stop.load(Ordering::SeqCst) {
                        pace.tick().await;
                        let too_late = acknowledged.load(Ordering::SeqCst);
                        let status = guarded.call("t_read", &json!({})).await.status;
                        match (too_late, status) {
                            (true, 403) => drop(after.fetch_add(1, Ordering::SeqCst)),
                            (false, 200) => drop(permitted.fetch_add(1, Ordering::SeqCst)),
                            (false, 403) => {}
                            (_, other) => wrong.lock().unwrap().push((too_late, other)),
                        }
                    }
                })
            })
            .collect();
        let reached = |counter: Arc<AtomicUsize>| async move {
            eventually("the load runs", SOON, || async {
                (counter.load(Ordering::SeqCst) >= 40).then_some(())
            })
            .await;
        };
        reached(Arc::clone(&permitted)).await;
        guarded.reload(&denying, GOOD).await;
        acknowledged.store(true, Ordering::SeqCst);
        reached(Arc::clone(&after)).await;
        stop.store(true, Ordering::SeqCst);
        for task in load {
            task.await.unwrap();
        }
        assert!(
            wrong.lock().unwrap().is_empty(),
            "round {round}: {:?}",
            wrong.lock().unwrap()
        );
        guarded.reload(NOBODY, GOOD).await;
    }
}

#[tokio::test]
async fn r30_a_file_with_a_mistake_stops_a_start_and_changes_nothing_at_a_reload() {
    let up = Upstream::start();
    let guarded = Guarded::start(NOBODY, &behind(&up)).await;
    let broken = "permit(principal, action, resource)\nwhen { context.hour > 9 };\n";
    guarded.reload(broken, BAD).await;
    assert!(
        guarded.doorward.stderr().contains("policy.cedar:2:8"),
        "{}",
        guarded.doorward.stderr()
    );
    assert_eq!(guarded.call("t_read", &json!({})).await.status, 200);
    assert_eq!(guarded.call("t_admin", &json!({})).await.status, 403);
    // `config check` and a start say the same, with the place.
    let config = guarded.doorward.config_file();
    let config = config.to_str().unwrap();
    for args in [
        vec!["config", "check", "--config", config],
        vec!["serve", "--config", config, "--listen", "127.0.0.1:0"],
    ] {
        let told = run(&guarded.doorward.work, args.clone(), "");
        assert_eq!(told.code, 2, "{args:?} {told:?}");
        assert!(
            told.stderr.contains("policy.cedar:2:8") && told.stderr.contains("did you mean"),
            "{told:?}"
        );
    }
    let told = run(
        &guarded.doorward.work,
        ["config", "check", "--format", "json", "--config", config],
        "",
    );
    assert_eq!(told.json()["problems"][0]["line"], 2, "{told:?}");
}

#[tokio::test]
async fn r30_a_stream_ends_when_a_reload_forbids_what_it_answers() {
    let up = Upstream::start();
    let guarded = Guarded::start(NOBODY, &behind(&up)).await;
    let mark = marker();
    up.script_for(&mark, |_| {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": 1 } });
        Answer::events(vec![event(None, &note), Part::Hang])
    });
    let call = mcp::call(&guarded.doorward, "/a/mcp", "t_read", &json!({ "marker": mark }));
    let mut stream = call.bearer(&guarded.token).stream().await;
    assert_eq!(stream.status, 200);
    assert!(stream.event().await.is_some(), "the first event");
    let denying = format!("{NOBODY}\nforbid(principal, action, resource == Doorward::Tool::\"a/t_read\");");
    guarded.reload(&denying, GOOD).await;
    let rest = tokio::time::timeout(SOON, async { while stream.event().await.is_some() {} });
    assert!(rest.await.is_ok(), "the stream is still open");
}

/// The examples of a page: policies, and the cases that follow them.
fn examples(page: &str) -> Vec<(String, String)> {
    let block = |text: &str, kind: &str| {
        let (_, rest) = text.split_once(&format!("```{kind}\n"))?;
        Some(rest.split_once("\n```")?.0.to_owned())
    };
    let sections = page.split("\n### ").skip(1);
    sections
        .filter_map(|section| Some((block(section, "cedar")?, block(section, "toml")?)))
        .collect()
}

#[tokio::test]
async fn r30_every_example_of_the_documentation_does_what_it_says() {
    let page = include_str!("../../../docs/policy.md");
    let examples = examples(page);
    assert!(examples.len() >= 4, "{}", examples.len());
    let work = doorward_testkit::folder("doorward-e2e-");
    let config = work.path().join("doorward.toml");
    let servers = ["files", "crm"].map(|name| server(name, "upstream = \"http://127.0.0.1:9/mcp\""));
    std::fs::write(
        &config,
        format!("[policy]\nfile = \"policy.cedar\"\n{}", servers.concat()),
    )
    .unwrap();
    for (rules, cases) in examples {
        std::fs::write(work.path().join("policy.cedar"), &rules).unwrap();
        std::fs::write(work.path().join("cases.toml"), &cases).unwrap();
        let finished = policy(work.path(), &config, &["test", "cases.toml"]).ok();
        let count = cases.matches("[[cases]]").count();
        assert!(
            finished.stdout.contains(&format!("{count} cases, as expected")),
            "{finished:?}"
        );
        // And every example can be wrong: with everything permitted, something is not as expected any more.
        std::fs::write(
            work.path().join("policy.cedar"),
            "permit(principal, action, resource);",
        )
        .unwrap();
        let wrong = policy(work.path(), &config, &["test", "cases.toml"]);
        assert_eq!(wrong.code, 1, "{wrong:?}");
        assert!(
            wrong.stdout.contains("FAIL ") && wrong.stdout.contains("  + permit"),
            "{wrong:?}"
        );
        let told = policy(work.path(), &config, &["test", "cases.toml", "--format", "json"]);
        assert!(
            told.code == 1 && told.json()["failed"].as_u64() > Some(0),
            "{told:?}"
        );
    }
    let wrong = "[[cases]]\nwho = \"a\"\nserver = \"files\"\nexpect = \"maybe\"\n";
    std::fs::write(work.path().join("cases.toml"), wrong).unwrap();
    let told = policy(work.path(), &config, &["test", "cases.toml"]);
    assert!(
        told.code == 2 && told.stderr.contains("cases.toml:1:"),
        "{told:?}"
    );
}

/// What a server says about its tools is a hint to the operator. It opens nothing.
#[tokio::test]
async fn r15_mb_13_annotations_widen_nobodys_rights() {
    let up = annotated(true);
    let claims = ["get_it", "silent", "drop_it"];
    let table = "[servers.scopes.\"a:drop\"]\ndescription = \"Drop\"\ntools = [\"drop_it\"]\n\
                 [servers.scopes.\"a:get\"]\ndescription = \"Get\"\ntools = [\"get_it\"]\nstep_up = true\n";
    let entry = server(
        "a",
        &format!("upstream = \"{}\"\nlists = \"granted\"\n{table}", up.url()),
    );
    let guarded = Guarded::start("permit(principal, action, resource);", &entry).await;
    let mut answers = Vec::new();
    for name in claims {
        let reply = guarded.call(name, &json!({})).await;
        answers.push((
            reply.status,
            reply.json()["error"]["data"]["reason"]
                .as_str()
                .map(str::to_owned),
        ));
    }
    // The one that claims to read only needs its scope, the one that says that it destroys is open, as the table says.
    assert_eq!(answers[0], (403, Some("insufficient_scope".into())));
    assert_eq!(answers[1], (403, Some("no_scope_opens_it".into())));
    assert_ne!(answers[2].0, 403);
    let list = mcp::modern(&guarded.doorward, "/a/mcp", "tools/list", json!({}));
    let list = mcp::answer(&list.bearer(&guarded.token).send().await);
    let shown = list["result"]["tools"].as_array().unwrap();
    assert!(shown.iter().all(|tool| tool["name"] == "drop_it"), "{list}");
}

#[tokio::test]
async fn r30_a_policy_that_fails_lets_nothing_through_and_is_told() {
    let up = Upstream::start();
    let rules = format!(
        "{NOBODY}\n@id(\"sum\")\nforbid(principal, action, resource)\n\
         when {{ context.numbers.hasTag(\"n\") && context.numbers.getTag(\"n\") + 1 < 0 }};\n"
    );
    let guarded = Guarded::start(&rules, &behind(&up)).await;
    assert_eq!(guarded.call("t_read", &json!({ "n": 1 })).await.status, 200);
    let mark = marker();
    let failed = guarded
        .call("t_read", &json!({ "n": i64::MAX, "marker": mark }))
        .await;
    assert_eq!(failed.status, 403);
    let data = &failed.json()["error"]["data"];
    assert_eq!(data["reason"], "policy_failed");
    up.assert_never_saw(&mark);
    let id = data["decision_id"].as_str().unwrap().to_owned();
    eventually("explain names the policy that failed", SOON, || async {
        let told = guarded.doorward.command(&["explain", &id]).stdout;
        (told.contains("policy_failed") && told.contains("sum") && told.contains("could not be evaluated"))
            .then_some(())
    })
    .await;
    let log = guarded.doorward.stderr();
    assert!(log.lines().any(|line| line.contains("policy_failed")), "{log}");
    // A name that differs in its case only is not taken for an argument that policies do not look at.
    assert_eq!(
        guarded.call("t_read", &json!({ "n": 1, "N": 5 })).await.status,
        403
    );
}

/// What the proxy did not write itself is not where somebody is.
#[tokio::test]
async fn r30_hd_03_a_caller_cannot_choose_the_address_that_policies_see() {
    let up = Upstream::start();
    let rules = "@id(\"office\")\npermit(principal, action, resource)\n\
                 when { context has address && context.address.isInRange(ip(\"10.0.0.0/8\")) };\n";
    let folder = doorward_testkit::folder("doorward-e2e-");
    let file = folder.path().join("policy.cedar");
    std::fs::write(&file, rules).unwrap();
    let text = format!(
        "trusted_proxies = [\"127.0.0.1\", \"::1\"]\n[policy]\nfile = {file:?}\n{}",
        behind(&up)
    );
    let doorward = Doorward::builder()
        .config(&text)
        .user("alice", PASSWORD)
        .start()
        .await;
    let client = OAuthClient::register(&doorward, "N1", "http://127.0.0.1/cb").await;
    let token = client
        .login("alice", PASSWORD, &doorward.url("/a/mcp"))
        .await
        .access;
    for (headers, status) in [
        (&[("x-forwarded-for", "10.1.2.3")][..], 200),
        (
            &[("x-forwarded-for", "10.1.2.3"), ("forwarded", "for=10.1.2.3")],
            200,
        ),
        (&[("x-forwarded-for", "203.0.113.9")], 403),
        (&[("x-forwarded-for", "10.1.2.3, 203.0.113.9")], 403),
        (
            &[("x-forwarded-for", "10.1.2.3"), ("forwarded", "for=8.8.8.8")],
            403,
        ),
        (&[("forwarded", "for=10.1.2.3")], 403),
        (&[], 403),
    ] {
        let call = mcp::call(&doorward, "/a/mcp", "t_read", &json!({})).bearer(&token);
        let call = headers
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        assert_eq!(call.send().await.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn r30_every_kind_of_call_can_be_a_case() {
    let work = doorward_testkit::folder("doorward-e2e-");
    let config = work.path().join("doorward.toml");
    let write = |name: &str, text: &str| std::fs::write(work.path().join(name), text).unwrap();
    write("doorward.toml", EVERY_KIND_CONFIG);
    write("p.cedar", EVERY_KIND_POLICIES);
    write("cases.toml", EVERY_KIND_CASES);
    let finished = policy(work.path(), &config, &["test", "cases.toml"]).ok();
    for (wrong, words) in [
        (
            "expect = \"shown\"\nmethod = \"tools/list\"",
            "name one with `name`",
        ),
        (
            "expect = \"hidden\"\nname = \"x\"\npolicies = []",
            "a list shows has none",
        ),
        (
            "expect = \"permit\"\nname = \"x\"\nclient_scopes = \"\\\"\"",
            "`client_scopes`",
        ),
    ] {
        write("wrong.toml", &format!("[[cases]]\nwho = \"a\"\n{wrong}\n"));
        let told = policy(work.path(), &config, &["test", "wrong.toml"]);
        assert!(told.code == 2 && told.stderr.contains(words), "{words}: {told:?}");
    }
    assert!(finished.stdout.contains("18 cases, as expected"), "{finished:?}");
}

const EVERY_KIND_CONFIG: &str = r#"
[policy]
file = "p.cedar"
[[servers]]
name = "s"
path = "/s/mcp"
upstream = "http://127.0.0.1:9/mcp"
[servers.scopes."s:read"]
description = "Read"
tools = ["get_*"]
prompts = ["*"]
resources = ["file:///*"]
[servers.scopes."s:write"]
description = "Write"
tools = ["put_*"]
methods = ["com.example/reindex"]
step_up = true
implies = ["s:read"]
"#;

const EVERY_KIND_POLICIES: &str = r#"
@id("all") permit(principal, action, resource in Doorward::Server::"s");
@id("no-secret") forbid(principal, action == Doorward::Action::"resources/read", resource) when { resource.uri like "*secret*" };
@id("no-reindex") forbid(principal, action == Doorward::Action::"extension", resource == Doorward::Method::"s/com.example/reindex") unless { principal.name == "root" };
"#;

const EVERY_KIND_CASES: &str = r#"
cases = [
 { who = "a", method = "resources/read", name = "file:///ä-secret", expect = "denied_by_policy", policies = ["no-secret"] },
 { who = "a", method = "resources/read", name = "file:///x", expect = "permit" },
 { who = "a", method = "resources/subscribe", revision = "2025-11-25", name = "file:///x", expect = "permit" },
 { who = "a", method = "prompts/get", name = "p q", arguments = { d = 2026-01-01 }, expect = "permit" },
 { who = "a", name = "put_x", expect = "insufficient_scope" },
 { who = "a", name = "other", expect = "no_scope_opens_it" },
 { who = "a", scopes = "s:write", name = "get_x", expect = "permit" },
 { who = "a", method = "com.example/reindex", scopes = "s:write", expect = "denied_by_policy" },
 { who = "root", method = "com.example/reindex", scopes = "s:write", expect = "permit" },
 { who = "a", method = "tools/list", expect = "permit" },
 { who = "a", name = "get_x", revision = "2024-11-05", expect = "permit", policies = ["all"] },
 { who = "a", name = "put_x", client_scopes = "s:read", expect = "scope_not_for_client" },
 { who = "a", name = "get_x", client_scopes = "s:read", expect = "permit" },
 { who = "a", name = "get_x", expect = "shown" },
 { who = "a", name = "put_x", expect = "shown" },
 { who = "a", name = "put_x", client_scopes = "s:read", expect = "hidden" },
 { who = "a", name = "other", expect = "hidden" },
 { who = "a", method = "resources/read", name = "file:///a-secret", expect = "hidden" },
]
"#;
