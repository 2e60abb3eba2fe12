//! What a table of scopes refuses, and what it says about it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Object, ScopeEntry, may_list, may_use, review};

fn set(text: &str) -> doorward_types::scope::ScopeSet {
    text.parse().unwrap()
}

/// `t:write` holds `t:read`; `t:admin` is for bob alone.
fn with_table() -> ProtectedServer {
    let entries = vec![
        ScopeEntry {
            prompts: vec!["p_read".parse().unwrap()],
            resources: vec!["file:///public/*".parse().unwrap()],
            ..entry("t:read", &["t_read", "t_both"])
        },
        ScopeEntry {
            implies: vec![scope("t:read")],
            step_up: true,
            ..entry("t:write", &["t_write", "t_both"])
        },
        ScopeEntry {
            allow: Some(AccessRule::parse(&["user:bob"]).unwrap()),
            methods: vec!["x/admin".into()],
            ..entry("t:admin", &["t_admin"])
        },
    ];
    ProtectedServer {
        scopes: ScopeTable::new(entries).unwrap(),
        ..server(&[])
    }
}

fn alice(scopes: &str) -> Subject {
    subject("alice", &[], scopes)
}

fn legacy_call(method: &str, params: &Value) -> Call {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2025-11-25"));
    let table = with_table().scopes;
    Call::admit(
        Envelope::read(Bytes::from(body)).unwrap(),
        &headers,
        table.extensions(),
    )
    .unwrap()
}

fn used(server: &ProtectedServer, subject: &Subject, tool: &str) -> Result<(), Refusal> {
    may_use(server, subject, &CONTEXT, Object::Tool(tool), &NoFurtherPolicy)
}

fn insufficient(needed: &str) -> Result<(), Refusal> {
    Err(Refusal::InsufficientScope { needed: set(needed) })
}

#[test]
fn r15_a31_a32_a37_scopes_decide_and_refusals_name_all_that_is_needed() {
    let server = with_table();
    for (scopes, tool, verdict) in [
        ("t:read", "t_read", Ok(())),
        ("t:read", "t_write", insufficient("t:write")),
        ("t:read", "t_both", insufficient("t:read t:write")),
        ("t:write", "t_both", Ok(())),
        ("t:write", "t_read", Ok(())),
        ("", "t_both", insufficient("t:read t:write")),
        ("T:READ", "t_read", insufficient("t:read")),
        ("t:readwrite", "t_read", insufficient("t:read")),
        ("t:read t:write", "T_READ", Err(Refusal::Unnamed)),
        ("t:read t:write", "t_other", Err(Refusal::Unnamed)),
        (
            "t:read",
            "t_admin",
            Err(Refusal::NotForUser {
                scopes: set("t:admin"),
            }),
        ),
        (
            "t:admin",
            "t_admin",
            Err(Refusal::NotForUser {
                scopes: set("t:admin"),
            }),
        ),
    ] {
        assert_eq!(used(&server, &alice(scopes), tool), verdict, "{scopes} {tool}");
    }
    let bob = subject("bob", &[], "t:read");
    assert_eq!(used(&server, &bob, "t_admin"), insufficient("t:admin"));
    assert_eq!(used(&server, &subject("bob", &[], "t:admin"), "t_admin"), Ok(()));
}

#[test]
fn a32_legacy_clients_are_told_their_own_scopes_too() {
    let judged = judge(
        &with_table(),
        &alice("t:read other"),
        legacy_call("tools/call", &json!({ "name": "t_write" })),
    );
    let needed = set("other t:read t:write");
    assert!(matches!(judged, Err(Refusal::InsufficientScope { needed: told }) if told == needed));
}

#[test]
fn what_the_client_cannot_ask_for_is_not_asked_for() {
    let server = with_table();
    let limited = |scopes: &str, limit: &str| Subject {
        client_scopes: Some(set(limit)),
        ..alice(scopes)
    };
    let refused = Err(Refusal::NotForClient {
        scopes: set("t:write"),
    });
    assert_eq!(used(&server, &limited("t:read", "t:read"), "t_write"), refused);
    // It can ask for the broader one only: that one is named.
    assert_eq!(
        used(&server, &limited("", "t:write"), "t_read"),
        insufficient("t:write")
    );
    assert_eq!(
        used(&server, &limited("", "t:write t:read"), "t_read"),
        insufficient("t:read")
    );
    // Whom the operator does not admit is told so first.
    assert!(matches!(
        used(&server, &limited("", "t:read"), "t_admin"),
        Err(Refusal::NotForUser { .. })
    ));
}

#[test]
fn mb_13_prompts_resources_and_completions_are_judged_alike() {
    let (server, reader) = (with_table(), alice("t:read"));
    for (method, params, permitted) in [
        ("prompts/get", json!({ "name": "p_read" }), true),
        ("prompts/get", json!({ "name": "p_admin" }), false),
        ("resources/read", json!({ "uri": "file:///public/a" }), true),
        ("resources/read", json!({ "uri": "file:///private" }), false),
        ("resources/subscribe", json!({ "uri": "file:///private" }), false),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p_read" } }),
            true,
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p_admin" } }),
            false,
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/resource", "uri": "file:///{x}" } }),
            false,
        ),
        ("tools/list", json!({ "cursor": "forged" }), true),
        ("logging/setLevel", json!({ "level": "debug" }), true),
        ("x/admin", json!({ "name": "t_read" }), false),
    ] {
        let judged = judge(&server, &reader, legacy_call(method, &params));
        assert_eq!(judged.is_ok(), permitted, "{method} {params}");
        let nobody = judge(&server, &alice(""), legacy_call(method, &params));
        assert_eq!(
            nobody.is_ok(),
            permitted && matches!(method, "tools/list" | "logging/setLevel")
        );
    }
    for call in [
        Call::open_stream(&HeaderMap::new()),
        Call::end_session(&HeaderMap::new()),
    ] {
        assert!(judge(&server, &alice(""), call.unwrap()).is_ok());
    }
}

#[test]
fn mb_14_a_task_is_as_free_as_its_tool() {
    let call = || legacy_call("tasks/get", &json!({ "taskId": "x" }));
    let at = |server: &ProtectedServer, tool| {
        let context = Context { tool, ..CONTEXT };
        review(
            server,
            &alice("t:read files"),
            &context,
            &call(),
            &NoFurtherPolicy,
        )
    };
    assert_eq!(at(&with_table(), Some("t_read")), Ok(()));
    assert!(matches!(
        at(&with_table(), Some("t_write")),
        Err(Refusal::InsufficientScope { .. })
    ));
    assert_eq!(at(&with_table(), None), Err(Refusal::Unnamed), "a task of nobody");
    assert_eq!(at(&server(&[]), None), Ok(()), "no table");
    let denied_by_policy = crate::review(
        &server(&[]),
        &alice("files"),
        &Context {
            tool: Some("t_admin"),
            ..CONTEXT
        },
        &call(),
        &NoAdmin,
    );
    assert_eq!(denied_by_policy, Err(denied()));
}

#[test]
fn mb_19_a_subscription_leaves_without_what_its_caller_may_not_read() {
    let params = json!({ "notifications": { "resourceSubscriptions": ["file:///public/a", "file:///private"] },
        "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params });
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    headers.insert("mcp-method", HeaderValue::from_static("subscriptions/listen"));
    let listen = || {
        let envelope = Envelope::read(Bytes::from(body.to_string())).unwrap();
        Call::admit(envelope, &headers, &Extensions::none()).unwrap()
    };
    for (scopes, cut, left) in [("t:read", 1, json!(["file:///public/a"])), ("", 2, json!([]))] {
        let permit = judge(&with_table(), &alice(scopes), listen()).unwrap();
        assert_eq!(permit.cut(), cut);
        let sent: Value = serde_json::from_slice(permit.call().body()).unwrap();
        assert_eq!(sent["params"]["notifications"]["resourceSubscriptions"], left);
    }
    let whole = judge(&server(&[]), &alice("files"), listen()).unwrap();
    assert_eq!((whole.cut(), whole.call().body()), (0, listen().body()));
}

#[test]
fn r37_r40_refusals_say_who_could_help() {
    for (refusal, reason, help) in [
        (Refusal::NotAllowed, "not_allowed", "operator"),
        (
            Refusal::InsufficientScope { needed: set("a") },
            "insufficient_scope",
            "connect it to this server again",
        ),
        (Refusal::Unnamed, "no_scope_opens_it", "operator"),
        (
            Refusal::NotForUser { scopes: set("a b") },
            "scope_not_for_user",
            "a b",
        ),
        (
            Refusal::NotForClient { scopes: set("a") },
            "scope_not_for_client",
            "use another",
        ),
        (denied(), "denied_by_policy", "operator"),
    ] {
        assert_eq!(refusal.reason(), reason);
        assert!(refusal.to_string().contains(help), "{refusal}");
        let challenged = matches!(refusal, Refusal::InsufficientScope { .. });
        assert_eq!(refusal.challenge().is_some(), challenged, "{reason}");
        assert!(
            !refusal.to_string().contains("no-admin"),
            "policies are the operator's to read"
        );
    }
}

#[test]
fn mb_13_lists_show_what_could_be_granted_or_what_is() {
    let mut server = with_table();
    let shown = |server: &ProtectedServer, subject: &Subject, policy: &dyn Policy| {
        let tools = ["t_read", "t_write", "t_both", "t_admin", "t_other"];
        let listed = tools
            .into_iter()
            .filter(|tool| may_list(server, subject, &CONTEXT, Object::Tool(tool), policy));
        listed.collect::<Vec<_>>().join(" ")
    };
    let limited = Subject {
        client_scopes: Some(set("t:read")),
        ..alice("t:read")
    };
    let bob = subject("bob", &[], "t:read");
    assert_eq!(
        shown(&server, &alice("t:read"), &NoFurtherPolicy),
        "t_read t_write t_both"
    );
    assert_eq!(
        shown(&server, &alice(""), &NoFurtherPolicy),
        "t_read t_write t_both"
    );
    assert_eq!(shown(&server, &limited, &NoFurtherPolicy), "t_read");
    assert_eq!(
        shown(&server, &bob, &NoFurtherPolicy),
        "t_read t_write t_both t_admin"
    );
    assert_eq!(shown(&server, &bob, &NoAdmin), "t_read t_write t_both");
    server.lists = ListMode::Granted;
    assert_eq!(shown(&server, &alice("t:read"), &NoFurtherPolicy), "t_read");
    assert_eq!(
        shown(&server, &alice("t:write"), &NoFurtherPolicy),
        "t_read t_write t_both"
    );
    assert_eq!(shown(&server, &alice(""), &NoFurtherPolicy), "");
    server.allow = AccessRule::parse(&["user:carol"]).unwrap();
    assert_eq!(shown(&server, &bob, &NoFurtherPolicy), "");
}

fn some_scopes() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(vec!["t:read", "t:write", "t:admin", "other"], 0..=4)
}

proptest! {
    #[test]
    fn r15_more_scopes_never_take_away_and_what_is_asked_for_suffices(
        held in some_scopes(), more in some_scopes(), limit in proptest::option::of(some_scopes()),
        tool in proptest::sample::select(vec!["t_read", "t_write", "t_both", "t_admin", "t_other"]),
        bob: bool, legacy: bool,
    ) {
        let server = with_table();
        let who = Subject {
            client_scopes: limit.map(|limit| set(&limit.join(" "))),
            ..subject(if bob { "bob" } else { "alice" }, &[], &held.join(" "))
        };
        let revision = if legacy { Revision::V2025_11_25 } else { Revision::V2026_07_28 };
        let context = Context::new(UnixTime::EPOCH, revision);
        let ask = |who: &Subject| may_use(&server, who, &context, Object::Tool(tool), &NoFurtherPolicy);
        let with = |scopes: &doorward_types::scope::ScopeSet| Subject { scopes: scopes.clone(), ..who.clone() };
        match ask(&who) {
            Ok(()) => {
                let wider = with(&who.scopes.union(&set(&more.join(" "))));
                prop_assert_eq!(ask(&wider), Ok(()));
                // What may be used is shown, whoever asks.
                prop_assert!(bob || tool != "t_admin");
            }
            Err(Refusal::InsufficientScope { needed }) => {
                prop_assert_eq!(ask(&with(&needed)), Ok(()));
                let own = if legacy { who.scopes.clone() } else { set("") };
                prop_assert!(own.is_subset(&needed));
                let asked = needed.iter().filter(|scope| !own.contains(scope));
                let can = |scope: &doorward_types::scope::Scope| {
                    who.client_scopes.as_ref().is_none_or(|limit| limit.contains(scope))
                };
                let held = |scope: &doorward_types::scope::Scope| {
                    server.scopes.closure(&who.scopes).contains(scope)
                };
                for scope in asked {
                    prop_assert!(can(scope) || held(scope), "nobody is sent for what cannot be had: {}", scope);
                }
                prop_assert!(may_list(&server, &who, &context, Object::Tool(tool), &NoFurtherPolicy));
            }
            Err(_) => {
                prop_assert!(!may_list(&server, &who, &context, Object::Tool(tool), &NoFurtherPolicy));
                // No grant that this user and client could get would help.
                let all = who.client_scopes.clone().unwrap_or_else(|| server.scopes.known());
                prop_assert!(ask(&with(&all)).is_err());
            }
        }
    }
}

/// Lets nobody near `file:///private/x`, by its very name.
#[cfg(feature = "url")]
#[derive(Debug)]
struct NotPrivate;

#[cfg(feature = "url")]
impl Policy for NotPrivate {
    fn objection(&self, question: &Question<'_>) -> Option<Refusal> {
        let name = question.object.map(crate::Object::name);
        (name == Some("file:///private/x")).then_some(Refusal::DeniedByPolicy { policies: vec![] })
    }
}

#[cfg(feature = "url")]
#[test]
fn mb_12_a_resource_is_open_if_all_forms_of_its_uri_are() {
    let entry = |scope: &str, patterns: &[&str]| ScopeEntry {
        resources: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        ..ScopeEntry::new(scope.parse().unwrap(), scope)
    };
    let narrow = [
        "file:///public/*",
        "https://host",
        "file:///é/{x}",
        "file:///a%20b/*",
    ];
    let scopes = ScopeTable::new(vec![
        entry("narrow", &narrow),
        entry("broad", &["data:///*"]),
        entry("secret", &["data:///Reports (2024)/*"]),
    ])
    .unwrap();
    let server = ProtectedServer {
        scopes,
        ..with_table()
    };
    let needs = |uri: &str| {
        server
            .scopes
            .needs(crate::Object::Resource(uri))
            .scopes()
            .to_string()
    };
    for (uri, needed) in [
        ("file:///public/x", "narrow"),
        ("file:///public/a%2Fb%20c/é", "narrow"),
        ("https://host", "narrow"),
        ("file:///é/{x}", "narrow"),
        ("file:///a%20b/1", "narrow"),
        ("data:///x", "broad"),
        ("data:///Reports%20(2024)/x", "broad secret"),
        ("data:///Reports%20%282024%29/x", "broad secret"),
        ("data:////Reports (2024)//x", "broad secret"),
        ("file:///public/../private/x", ""),
        ("file:///public/%2e%2E/private/x", ""),
        (r"file:///public\..\private/x", ""),
        ("FILE:///public/x", ""),
        ("https://HOST", ""),
        ("file:///a b/1", ""),
    ] {
        assert_eq!(needs(uri), needed, "{uri}");
    }
    let whole = ProtectedServer {
        scopes: ScopeTable::whole("one".parse().unwrap(), ""),
        ..with_table()
    };
    let context = Context::new(UnixTime::EPOCH, Revision::V2025_11_25);
    for (uri, open) in [
        ("file:///private/y", true),
        ("file:///private/x", false),
        ("file:///private/./x", false),
        ("FILE:///private/x", false),
        ("file:///%70rivate/x", false),
        ("file:////private//x", false),
    ] {
        let object = crate::Object::Resource(uri);
        assert_eq!(
            may_use(&whole, &alice("one"), &context, object, &NotPrivate).is_ok(),
            open,
            "{uri}"
        );
        assert_eq!(
            may_list(&whole, &alice("one"), &context, object, &NotPrivate),
            open,
            "{uri}"
        );
    }
}
