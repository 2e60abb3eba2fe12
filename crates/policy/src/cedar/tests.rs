use std::net::IpAddr;

use bytes::Bytes;
use cedar_policy::{Entities, Request};
use doorward_mcp::{Call, Envelope, Extensions, Revision};
use doorward_types::id::{ClientId, ServerName, Tenant, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use http::HeaderMap;

use super::load::PARSED_SCHEMA;
use super::*;
use crate::{AccessRule, Context, ListMode, ProtectedServer, ScopeTable, Subject, judge, may_list, may_use};

/// Thursday, 1970-01-01, 13:20:00 UTC, and later.
const AFTERNOON: UnixTime = UnixTime::from_seconds(48_000);

fn policy(text: &str) -> CedarPolicy {
    let file = PolicyFile {
        name: "p.cedar".into(),
        text: text.into(),
    };
    CedarPolicy::load(&[file]).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| PolicyFile {
            name: (*name).into(),
            text: (*text).into(),
        })
        .collect();
    match CedarPolicy::load(&files) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    }
}

fn server() -> ProtectedServer {
    ProtectedServer {
        name: ServerName::new("files"),
        path: "/files/mcp".into(),
        resource: ResourceUri::parse("https://mcp.example.com/files/mcp").unwrap(),
        scopes: ScopeTable::whole("files".parse().unwrap(), "Files"),
        allow: AccessRule::everyone(),
        lists: ListMode::Grantable,
    }
}

fn subject(username: &str, groups: &[&str]) -> Subject {
    Subject {
        user: UserId::generate(UnixTime::EPOCH, &CountingRandom::default()),
        username: username.into(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        client: ClientId::new("desktop"),
        for_itself: false,
        scopes: "files".parse().unwrap(),
        client_scopes: None,
        tenant: Tenant::default_tenant(),
        authenticated: None,
    }
}

fn at(now: UnixTime) -> Context<'static> {
    Context::new(now, Revision::V2025_11_25)
}

fn call(method: &str, params: &str) -> Call {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", "2025-11-25".parse().unwrap());
    Call::admit(
        Envelope::read(Bytes::from(body)).unwrap(),
        &headers,
        &Extensions::none(),
    )
    .unwrap()
}

fn tool(name: &str, arguments: &str) -> Call {
    call(
        "tools/call",
        &format!(r#"{{"name":"{name}","arguments":{arguments}}}"#),
    )
}

/// The policies that deny it; `None` if it is permitted.
fn denied(policy: &CedarPolicy, subject: &Subject, context: &Context<'_>, call: Call) -> Option<Vec<String>> {
    match judge(&server(), subject, context, call, policy) {
        Ok(_) => None,
        Err(Refusal::DeniedByPolicy { policies }) => Some(policies),
        Err(other) => panic!("{other:?}"),
    }
}

/// The policies that permit it, and those that cannot be evaluated.
fn permitted(policy: &CedarPolicy, subject: &Subject, call: Call) -> Result<Vec<String>, Vec<String>> {
    match judge(&server(), subject, &at(AFTERNOON), call, policy) {
        Ok(permit) => Ok(permit.grounds().policies().to_vec()),
        Err(Refusal::PolicyFailed { policies }) => Err(policies),
        Err(other) => panic!("{other:?}"),
    }
}

const PERMIT_ALL: &str = "permit(principal, action, resource);\n";

#[test]
fn what_no_policy_permits_is_denied_and_a_forbid_beats_every_permit() {
    let alice = subject("alice", &["eng"]);
    let now = at(AFTERNOON);
    let nothing = policy("");
    assert_eq!(nothing.warnings().len(), 1);
    assert_eq!(denied(&nothing, &alice, &now, tool("t", "{}")), Some(vec![]));
    let rules = policy(&format!(
        "{PERMIT_ALL}
@id(\"no-admin\")
forbid(principal, action, resource == Doorward::Tool::\"files/t_admin\");
forbid(principal, action == Doorward::Action::\"tools/call\", resource)
when {{ resource.name == \"t_admin\" }};"
    ));
    assert_eq!(denied(&rules, &alice, &now, tool("t_read", "{}")), None);
    let both = Some(vec!["no-admin".to_owned(), "p.cedar:5".to_owned()]);
    assert_eq!(denied(&rules, &alice, &now, tool("t_admin", "{}")), both);
    // Names are compared byte for byte, and the server belongs to them.
    assert_eq!(denied(&rules, &alice, &now, tool("T_admin", "{}")), None);
    let elsewhere = ProtectedServer {
        name: ServerName::new("other"),
        ..server()
    };
    let judged = judge(&elsewhere, &alice, &now, tool("t_admin", "{}"), &rules);
    let second = vec!["p.cedar:5".to_owned()];
    assert!(matches!(judged, Err(Refusal::DeniedByPolicy { policies }) if policies == second));
    // What touches nothing is not theirs to judge.
    for method in ["initialize", "ping", "tools/list"] {
        assert_eq!(
            denied(&nothing, &alice, &now, call(method, "{}")),
            None,
            "{method}"
        );
    }
}

#[test]
fn people_groups_clients_and_objects() {
    let rules = policy(
        r#"
permit(principal in Doorward::Group::"eng", action, resource in Doorward::Server::"files");
permit(principal is Doorward::User, action == Doorward::Action::"prompts/get", resource)
when { principal.name == "bob" && context.client == "desktop" && context.tenant == "default" };
permit(principal == Doorward::Client::"nightly", action, resource is Doorward::Resource)
when { resource.uri like "file:///reports/*" && context.scopes.contains("files") };
"#,
    );
    let nightly = Subject {
        for_itself: true,
        client: ClientId::new("nightly"),
        ..subject("client:nightly", &["eng"])
    };
    let prompt = || call("prompts/get", r#"{"name":"p"}"#);
    let read = |uri: &str| call("resources/read", &format!(r#"{{"uri":"{uri}"}}"#));
    for (who, what, permitted) in [
        (subject("alice", &["ops", "eng"]), tool("t", "{}"), true),
        (subject("alice", &["Eng"]), tool("t", "{}"), false),
        (subject("eng", &[]), tool("t", "{}"), false),
        (subject("bob", &[]), prompt(), true),
        (subject("bob", &[]), tool("p", "{}"), false),
        (subject("nightly", &[]), read("file:///reports/1"), false),
        (nightly.clone(), read("file:///reports/1"), true),
        (nightly.clone(), read("file:///etc/passwd"), false),
        // Its groups are nobody's: a client is in none.
        (nightly.clone(), tool("t", "{}"), false),
        (
            nightly,
            call("resources/subscribe", r#"{"uri":"file:///reports/2"}"#),
            true,
        ),
    ] {
        let got = denied(&rules, &who, &at(AFTERNOON), what).is_none();
        assert_eq!(got, permitted, "{who:?}");
    }
}

#[test]
fn time_address_and_sign_in_are_looked_at_anew_for_every_call() {
    let rules = policy(
        r#"
@id("hours")
permit(principal, action, resource) when {
  context.time.weekday <= 5 && context.time.hour >= 9 && context.time.hour < 17
};
@id("office")
permit(principal, action, resource)
when { context has address && context.address.isInRange(ip("10.0.0.0/8")) };
@id("fresh")
permit(principal, action, resource)
when { context has authenticated && context.authenticated < 600 };
"#,
    );
    let alice = subject("alice", &[]);
    let judged = |subject: &Subject, context: &Context<'_>| denied(&rules, subject, context, tool("t", "{}"));
    let hour = |hours: i64| UnixTime::from_seconds(hours * 3600);
    // Thursday 9:00, 16:59:59, 17:00; Saturday; the last Friday before 1970.
    for (now, permitted) in [
        (hour(9), true),
        (UnixTime::from_seconds(17 * 3600 - 1), true),
        (hour(17), false),
        (hour(48 + 12), false),
        (hour(-6 * 24 + 12), true),
    ] {
        assert_eq!(judged(&alice, &at(now)).is_none(), permitted, "{now:?}");
    }
    let night = hour(20);
    let from = |address: &str| Context {
        address: Some(address.parse::<IpAddr>().unwrap()),
        ..at(night)
    };
    for (address, permitted) in [
        ("10.2.3.4", true),
        ("::ffff:10.2.3.4", true),
        ("11.2.3.4", false),
        ("fe80::1", false),
    ] {
        assert_eq!(judged(&alice, &from(address)).is_none(), permitted, "{address}");
    }
    // One from the future is none, but for clocks that differ a little.
    for (ago, permitted) in [(599, true), (600, false), (-5, true), (-3600, false)] {
        let signed_in = Subject {
            authenticated: Some(UnixTime::from_seconds(night.seconds() - ago)),
            ..alice.clone()
        };
        assert_eq!(judged(&signed_in, &at(night)).is_none(), permitted, "{ago}");
    }
}

const PATHS: &str = r#"
@id("home")
permit(principal, action == Doorward::Action::"tools/call", resource == Doorward::Tool::"files/write") when {
  context.arguments.hasTag("path") && context.arguments.getTag("path") like "/home/*" &&
  !(context.arguments.getTag("path") like "*..*")
};
@id("cheap")
permit(principal, action, resource == Doorward::Tool::"files/pay")
when { context.numbers.hasTag("amount") && context.numbers.getTag("amount") <= 100 };
@id("own")
permit(principal is Doorward::User, action, resource == Doorward::Tool::"files/mail")
when { context.arguments.hasTag("options.from") && context.arguments.getTag("options.from") == principal.name };
"#;

#[test]
fn arguments_decide_and_what_cannot_be_represented_is_denied() {
    let rules = policy(PATHS);
    let alice = subject("alice", &[]);
    let deep = format!(
        r#"{{"path":"/home/a","x":{}1{}}}"#,
        "[".repeat(20),
        "]".repeat(20)
    );
    for (name, arguments, answer) in [
        ("write", r#"{"path":"/home/a"}"#, None),
        ("write", r#"{"path":"/home\/\u0061"}"#, None),
        ("write", r#"{"path":"/etc/passwd"}"#, Some(&[][..])),
        ("write", r#"{"path":"/home/../etc"}"#, Some(&[])),
        ("write", r#"{"path":["/home/a"]}"#, Some(&[])),
        ("write", r#"{"Path":"/home/a"}"#, Some(&["home"])),
        ("write", "{}", Some(&[])),
        ("write", &deep, Some(&["home"])),
        ("pay", r#"{"amount":100}"#, None),
        ("pay", r#"{"amount":1e2}"#, None),
        ("pay", r#"{"amount":101}"#, Some(&[])),
        ("pay", r#"{"amount":"100"}"#, Some(&[])),
        ("pay", r#"{"amount":99.5}"#, Some(&["cheap"])),
        ("mail", r#"{"options":{"from":"alice"}}"#, None),
        ("mail", r#"{"options.from":"alice"}"#, Some(&[])),
        ("mail", r#"{"options":{"from":"bob"}}"#, Some(&[])),
    ] {
        let got = denied(&rules, &alice, &at(AFTERNOON), tool(name, arguments));
        let answer = answer.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert_eq!(got, answer, "{name} {arguments}");
    }
}

#[cfg(feature = "url")]
#[test]
fn mb_12_a_forbidden_resource_is_forbidden_with_a_fragment_a_query_or_a_slash() {
    let alice = subject("alice", &[]);
    let now = at(AFTERNOON);
    let read = |uri: &str| call("resources/read", &format!(r#"{{"uri":"{uri}"}}"#));
    let rules = policy(&format!(
        "{PERMIT_ALL}
@id(\"key\")
forbid(principal, action, resource == Doorward::Resource::\"files/file:///private/key\");
@id(\"env\")
forbid(principal, action, resource is Doorward::Resource) when {{ resource.uri like \"*.env\" }};"
    ));
    for (uri, by) in [
        ("file:///private/key", Some("key")),
        ("file:///private/key#x", Some("key")),
        ("file:///private/key#{x}", Some("key")),
        ("file:///private/key?x", Some("key")),
        ("file:///private/key/", Some("key")),
        ("file://x/private/key", Some("key")),
        ("file:///%2570rivate/key", Some("key")),
        ("file:///x/.env?x#y", Some("env")),
        ("file:///private/key2#x", None),
        ("file:///private/key/x", None),
    ] {
        let by = by.map(|id| vec![id.to_owned()]);
        assert_eq!(denied(&rules, &alice, &now, read(uri)), by, "{uri}");
        let object = Object::Resource(uri);
        assert_eq!(
            may_use(&server(), &alice, &now, object, &rules).is_ok(),
            by.is_none(),
            "{uri}"
        );
        assert_eq!(
            may_list(&server(), &alice, &now, object, &rules),
            by.is_none(),
            "{uri}"
        );
    }
    let narrow = policy(
        "permit(principal, action, resource is Doorward::Resource) when { resource.uri like \"web://h/a?*\" };",
    );
    for (uri, open) in [
        ("web://h/a?b", true),
        ("web://h/a?b#c", true),
        ("web://h/a", false),
    ] {
        let answer = (!open).then(Vec::new);
        assert_eq!(
            denied(&narrow, &alice, &now, read(uri)),
            answer,
            "nobody has to permit what is bare: {uri}"
        );
    }
}

#[test]
fn lists_show_what_some_arguments_may_do_and_nothing_else() {
    let alice = subject("alice", &["eng"]);
    let now = at(AFTERNOON);
    let shown = |text: &str, name: &str| may_list(&server(), &alice, &now, Object::Tool(name), &policy(text));
    for name in ["write", "pay", "mail"] {
        assert!(shown(PATHS, name), "{name}");
        assert!(may_use(&server(), &alice, &now, Object::Tool(name), &policy(PATHS)).is_ok());
    }
    assert!(!shown(PATHS, "read"));
    let nightly = Subject {
        for_itself: true,
        ..alice.clone()
    };
    assert!(!may_list(
        &server(),
        &nightly,
        &now,
        Object::Tool("mail"),
        &policy(PATHS)
    ));
    for (condition, is_shown) in [
        (
            r#"when { context.arguments.hasTag("a") && context.client == "desktop" }"#,
            true,
        ),
        (
            r#"when { context.arguments.hasTag("a") && context.client == "phone" }"#,
            false,
        ),
        (
            r#"unless { context.arguments.hasTag("a") || context.client == "desktop" }"#,
            false,
        ),
        (
            r#"unless { context.arguments.hasTag("a") && context.client == "desktop" }"#,
            true,
        ),
        (
            r#"when { context.time.hour == 13 && context.arguments.hasTag("a") }"#,
            true,
        ),
        (
            r#"when { context.time.hour == 14 && context.arguments.hasTag("a") }"#,
            false,
        ),
        (r#"when { context.revision == "2026-07-28" }"#, true),
    ] {
        let permit = format!("permit(principal, action, resource) {condition};");
        assert_eq!(shown(&permit, "t"), is_shown, "permit {condition}");
    }
    for (condition, is_shown) in [
        (r#"when { context.arguments.hasTag("a") }"#, true),
        (
            r#"when { context.arguments.hasTag("a") || context.client == "desktop" }"#,
            false,
        ),
        (r#"unless { context.arguments.hasTag("a") }"#, true),
        (r#"unless { context.client == "phone" }"#, false),
    ] {
        let forbid = format!("{PERMIT_ALL}forbid(principal, action, resource) {condition};");
        assert_eq!(shown(&forbid, "t"), is_shown, "forbid {condition}");
    }
    // A task of the tool brings no arguments of its own; a completion of a prompt neither.
    let prompts = policy(
        r#"permit(principal, action, resource is Doorward::Prompt) when { context.arguments.hasTag("x") };"#,
    );
    let complete = r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"x","value":"v"}}"#;
    assert_eq!(
        denied(&prompts, &alice, &now, call("completion/complete", complete)),
        None
    );
    let get = call("prompts/get", r#"{"name":"p","arguments":{"y":"1"}}"#);
    assert_eq!(denied(&prompts, &alice, &now, get), Some(vec![]));
}

#[test]
fn remembered_answers_are_answers_to_the_same_question() {
    let rules = policy(
        r#"permit(principal in Doorward::Group::"eng", action, resource) when { context.scopes.contains("files") };"#,
    );
    let now = at(AFTERNOON);
    let alice = subject("alice", &["eng"]);
    let variants = [
        (alice.clone(), true),
        (subject("alice", &[]), false),
        (
            Subject {
                groups: vec!["e".into(), "ng".into()],
                ..alice.clone()
            },
            false,
        ),
        (
            Subject {
                for_itself: true,
                ..alice.clone()
            },
            false,
        ),
    ];
    for _ in 0..3 {
        for (who, permitted) in &variants {
            let got = denied(&rules, who, &now, tool("t", "{}")).is_none();
            assert_eq!(got, *permitted, "{who:?}");
        }
    }
    assert!(rules.decisions.len() >= variants.len());
    // Where something changes from call to call nothing is remembered.
    let rules = policy(PATHS);
    for _ in 0..3 {
        denied(&rules, &alice, &now, tool("write", r#"{"path":"/home/a"}"#));
        assert!(denied(&rules, &alice, &now, tool("write", r#"{"path":"/etc"}"#)).is_some());
    }
    assert_eq!(rules.decisions.len(), 0);
    // Nor what is long: names are chosen by those who ask.
    let long = format!(r#"{{"uri":"x://{}"}}"#, "a".repeat(2000));
    denied(&rules, &alice, &now, call("resources/read", &long));
    assert_eq!(rules.decisions.len(), 0);
    // But beside it, what no such policy concerns.
    denied(&rules, &alice, &now, tool("read", "{}"));
    assert_eq!(rules.decisions.len(), 1);
}

#[test]
fn r30_a_policy_that_cannot_be_evaluated_lets_nothing_through_and_is_named() {
    let rules = policy(&format!(
        "{PERMIT_ALL}@id(\"sum\") forbid(principal, action, resource == Doorward::Tool::\"files/forbids\")
when {{ context.numbers.hasTag(\"n\") && context.numbers.getTag(\"n\") + 1 < 0 }};
@id(\"product\") permit(principal, action, resource == Doorward::Tool::\"files/permits\")
when {{ context.numbers.hasTag(\"n\") && context.numbers.getTag(\"n\") * 2 > 0 }};"
    ));
    let alice = subject("alice", &[]);
    let with =
        |name: &str, number: i64| permitted(&rules, &alice, tool(name, &format!(r#"{{"n":{number}}}"#)));
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(with("forbids", 1), Ok(ids(&["p.cedar:1"])));
    assert_eq!(with("forbids", i64::MAX), Err(ids(&["sum"])));
    assert_eq!(with("permits", 1), Ok(ids(&["p.cedar:1", "product"])));
    // Another policy permits it: but what failed might have been meant as a limit.
    assert_eq!(with("permits", i64::MAX), Err(ids(&["product"])));
    assert_eq!(with("neither", i64::MAX), Ok(ids(&["p.cedar:1"])));
    let refusal = Refusal::PolicyFailed {
        policies: ids(&["sum"]),
    };
    assert_eq!((refusal.reason(), refusal.challenge()), ("policy_failed", None));
    assert!(!refusal.to_string().contains("sum"), "{refusal}");
}

#[test]
fn r30_a_permit_tells_the_policies_that_permit_it_remembered_or_not() {
    let rules = policy(&format!(
        "{PERMIT_ALL}@id(\"readers\") permit(principal, action, resource is Doorward::Tool);
@id(\"ops\") permit(principal in Doorward::Group::\"ops\", action, resource);"
    ));
    let alice = subject("alice", &["eng"]);
    for _ in 0..2 {
        let policies = permitted(&rules, &alice, tool("t", "{}")).unwrap();
        assert_eq!(policies, ["p.cedar:1", "readers"]);
        let policies = permitted(&rules, &alice, call("prompts/get", r#"{"name":"p"}"#)).unwrap();
        assert_eq!(policies, ["p.cedar:1"]);
    }
    assert_eq!(rules.decisions.len(), 2);
    // What is not theirs to judge needs none.
    assert_eq!(permitted(&rules, &alice, call("tools/list", "{}")), Ok(vec![]));
}

#[test]
fn mistakes_are_told_with_their_place_and_what_to_do() {
    told(
        &problems(&[(
            "a.cedar",
            "permit(principal, action, resource)\nwhen { principal.nam == \"x\" };",
        )]),
        &["a.cedar:2:8: ", "`nam`"],
    );
    told(
        &problems(&[("a.cedar", "permit(principal, action)")]),
        &["a.cedar:1:"],
    );
    told(
        &problems(&[(
            "a.cedar",
            "\n@id(\"x\")\npermit(principal, action == Doorward::Action::\"tools/cal\", resource);",
        )]),
        &["a.cedar:3:29: ", "did you mean", "tools/call"],
    );
    told(
        &problems(&[(
            "a.cedar",
            "permit(principal, action, resource) when { context.arguments.getTag(\"p\") == \"x\" };",
        )]),
        &["a.cedar:1:", "tag"],
    );
    told(
        &problems(&[(
            "a.cedar",
            "permit(principal, action, resource) when { context.time.hour == \"9\" };",
        )]),
        &["a.cedar:1:"],
    );
    told(
        &problems(&[(
            "a.cedar",
            "permit(principal, action, resource == Doorward::Tool::\"write\");",
        )]),
        &["a.cedar:1:55: ", "names no server", "SERVER/write"],
    );
    told(
        &problems(&[(
            "a.cedar",
            "permit(principal == Doorward::User::\"alice\", action, resource);",
        )]),
        &["a.cedar:1:37: ", "principal.name == \"alice\""],
    );
    told(
        &problems(&[(
            "a.cedar",
            "forbid(principal == Doorward::User::\"0198C0DE-0000-7000-8000-00000000ABCD\", action, resource);",
        )]),
        &["a.cedar:1:", "0198c0de-0000-7000-8000-00000000abcd"],
    );
    told(
        &problems(&[("a.cedar", "permit(principal == ?principal, action, resource);")]),
        &["a.cedar:1:", "template"],
    );
    told(
        &problems(&[
            ("a.cedar", "@id(\"x\") permit(principal, action, resource);"),
            ("b.cedar", "\n\n  @id(\"x\") permit(principal, action, resource);"),
        ]),
        &["b.cedar:3:3: ", "another policy with the id `x`"],
    );
    told(
        &problems(&[("a.cedar", "@id(\"\") permit(principal, action, resource);")]),
        &["a.cedar:1:1: ", "cannot be the id"],
    );
    // Every problem of every file, in order.
    let two = problems(&[
        (
            "a.cedar",
            "permit(principal, action, resource) when { principal.nam == \"x\" };",
        ),
        ("b.cedar", "permit("),
    ]);
    assert!(
        two.len() >= 2 && two[0].starts_with("a.cedar:") && two.iter().any(|one| one.starts_with("b.cedar:")),
        "{two:?}"
    );
}

/// One of the problems says all of it.
fn told(problems: &[String], parts: &[&str]) {
    let all = |problem: &&String| parts.iter().all(|part| problem.contains(part));
    assert!(
        problems.iter().any(|problem| all(&problem)),
        "{parts:?}\n{problems:#?}"
    );
}

#[test]
fn what_policies_are_shown_is_what_the_schema_promises() {
    let schema = PARSED_SCHEMA.as_ref().unwrap();
    let everything = Reads {
        arguments: reads::Keys::All,
        numbers: reads::Keys::All,
        ..Reads::default()
    };
    let signed_in = Subject {
        authenticated: Some(UnixTime::EPOCH),
        ..subject("alice", &["eng", "ops"])
    };
    let itself = Subject {
        for_itself: true,
        ..subject("client:x", &[])
    };
    for object in [
        Object::Tool("t"),
        Object::Prompt("p"),
        Object::Resource("file:///a\"b"),
        Object::Method("x/y"),
    ] {
        for (subject, address) in [(&signed_in, Some("fe80::1")), (&itself, None)] {
            let facts = Facts {
                subject,
                server: "files",
                object,
                now: AFTERNOON,
                address: address.map(|address| address.parse().unwrap()),
                revision: "2026-07-28",
                arguments: Some(r#"{"a":{"b":[1,"x",null]}}"#),
            };
            let (request, entities) = facts.request(&everything).unwrap();
            let entities = Entities::from_entities(entities, Some(schema)).unwrap();
            assert!(entities.len() >= 4);
            Request::new(
                request.principal().unwrap().clone(),
                request.action().unwrap().clone(),
                request.resource().unwrap().clone(),
                request.context().unwrap().clone(),
                Some(schema),
            )
            .unwrap();
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "(permit|forbid|@id|principal|context|\\(|\\)|when|\\{|\\}|\"|;|,|==|\\PC){0,20}") {
        let file = PolicyFile { name: "p".into(), text };
        if let Err(error) = CedarPolicy::load(&[file]) {
            proptest::prop_assert!(!error.problems.is_empty());
            proptest::prop_assert!(error.problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
        }
    }
}
