use bytes::Bytes;
use doorward_mcp::{Call, Envelope, Extensions, Revision};
use doorward_types::id::{ClientId, ServerName, Tenant, UserId};
use doorward_types::random::CountingRandom;
use doorward_types::scope::Scope;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;
use http::{HeaderMap, HeaderValue};

use crate::{
    AccessRule, AccessRuleError, Context, ListMode, NoFurtherPolicy, Permit, Policy, ProtectedServer,
    Question, Refusal, ScopeEntry, ScopeTable, Subject,
};

mod scopes;

pub(crate) fn scope(name: &str) -> Scope {
    name.parse().unwrap()
}

/// A scope that opens these tools, described by its name.
pub(crate) fn entry(name: &str, tools: &[&str]) -> ScopeEntry {
    ScopeEntry {
        tools: tools.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        ..ScopeEntry::new(scope(name), name)
    }
}

pub(crate) const CONTEXT: Context<'static> = Context::new(UnixTime::EPOCH, Revision::V2026_07_28);

fn judge(server: &ProtectedServer, subject: &Subject, call: Call) -> Result<Permit, Refusal> {
    crate::judge(server, subject, &CONTEXT, call, &NoFurtherPolicy)
}

pub(crate) fn server(allow: &[&str]) -> ProtectedServer {
    ProtectedServer {
        name: ServerName::new("files"),
        path: "/files/mcp".into(),
        resource: ResourceUri::parse("https://mcp.example.com/files/mcp").unwrap(),
        scopes: ScopeTable::whole("files".parse().unwrap(), "Files"),
        allow: match allow {
            [] => AccessRule::everyone(),
            allow => AccessRule::parse(allow).unwrap(),
        },
        lists: ListMode::default(),
    }
}

pub(crate) fn subject(username: &str, groups: &[&str], scopes: &str) -> Subject {
    Subject {
        user: UserId::generate(UnixTime::EPOCH, &CountingRandom::default()),
        username: username.into(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        client: ClientId::new("client"),
        for_itself: false,
        scopes: scopes.parse().unwrap(),
        client_scopes: None,
        authenticated: None,
        tenant: Tenant::default_tenant(),
    }
}

fn legacy(method: &str) -> Call {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"t"}}}}"#);
    Call::admit(
        Envelope::read(Bytes::from(body)).unwrap(),
        &HeaderMap::new(),
        &Extensions::none(),
    )
    .unwrap()
}

fn modern(method: &'static str) -> Call {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
    );
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    headers.insert("mcp-method", HeaderValue::from_static(method));
    Call::admit(
        Envelope::read(Bytes::from(body)).unwrap(),
        &headers,
        &Extensions::none(),
    )
    .unwrap()
}

#[test]
fn a_permit_owns_the_call_that_was_judged() {
    let call = legacy("tools/call");
    let pointer = call.body().as_ptr();
    let permit = judge(&server(&[]), &subject("alice", &[], "files"), call).unwrap();
    assert_eq!(permit.call().method(), Some("tools/call"));
    assert_eq!(permit.into_call().into_body().as_ptr(), pointer);
}

#[test]
fn r37_the_access_rule_holds_for_every_call() {
    for (allow, username, groups, admitted) in [
        (&[][..], "anyone", &[][..], true),
        (&["user:alice"], "alice", &[], true),
        (&["user:alice"], "Alice", &[], false),
        (&["user:alice"], "bob", &["alice"], false),
        (&["group:eng"], "alice", &["ops", "eng"], true),
        (&["group:eng"], "eng", &["ops"], false),
        (&["group:eng", "user:bob"], "bob", &[], true),
    ] {
        for method in ["initialize", "ping", "tools/call"] {
            let result = judge(
                &server(allow),
                &subject(username, groups, "files"),
                legacy(method),
            );
            match result {
                Ok(_) => assert!(admitted, "{allow:?} {username} {method}"),
                Err(refusal) => {
                    assert!(!admitted, "{allow:?} {username} {method}");
                    assert_eq!(refusal, Refusal::NotAllowed);
                }
            }
        }
    }
}

#[test]
fn a31_a32_a_missing_scope_is_named_in_full() {
    let alice = subject("alice", &[], "other");
    let Err(refusal) = judge(&server(&[]), &alice, modern("tools/list")) else {
        panic!("permitted")
    };
    assert_eq!(
        refusal,
        Refusal::InsufficientScope {
            needed: "files".parse().unwrap()
        }
    );
    let Err(refusal) = judge(&server(&[]), &alice, legacy("tools/call")) else {
        panic!("permitted")
    };
    let union = "files other".parse().unwrap();
    assert_eq!(
        refusal,
        Refusal::InsufficientScope { needed: union },
        "legacy clients replace their scopes"
    );
}

#[test]
fn discover_initialize_and_ping_need_no_scope() {
    let alice = subject("alice", &[], "");
    for call in [modern("server/discover"), legacy("initialize"), legacy("ping")] {
        assert!(judge(&server(&["user:alice"]), &alice, call).is_ok());
    }
    let streams = [
        Call::open_stream(&HeaderMap::new()),
        Call::end_session(&HeaderMap::new()),
    ];
    for call in streams {
        assert!(judge(&server(&[]), &alice, call.unwrap()).is_err());
    }
}

#[test]
fn access_rules_say_what_is_wrong_with_them() {
    for (entry, why) in [
        ("alice", AccessRuleError::UnknownKind("alice".into())),
        ("role:admin", AccessRuleError::UnknownKind("role:admin".into())),
        ("user:", AccessRuleError::EmptyName("user:".into())),
        ("user: alice", AccessRuleError::EmptyName("user: alice".into())),
        (
            "domain:corp.com",
            AccessRuleError::NeedsProvider("domain:corp.com".into()),
        ),
        ("user:*", AccessRuleError::Star("user:*".into())),
        (
            "org:github/acme",
            AccessRuleError::NeedsProvider("org:github/acme".into()),
        ),
    ] {
        assert_eq!(AccessRule::parse(&[entry]), Err(why), "{entry}");
    }
    let nobody: [&str; 0] = [];
    assert_eq!(
        AccessRule::parse(&nobody),
        Err(AccessRuleError::Empty),
        "a list that came out empty opens nothing"
    );
}

fn denied() -> Refusal {
    Refusal::DeniedByPolicy {
        policies: vec!["no-admin".into()],
    }
}

/// Refuses what acts on `t_admin`, and everything of mallory's.
#[derive(Debug)]
struct NoAdmin;

impl Policy for NoAdmin {
    fn objection(&self, question: &Question<'_>) -> Option<Refusal> {
        assert_eq!(question.server.name.as_str(), "files");
        let admin = question.object.is_some_and(|object| object.name() == "t_admin");
        let refused = admin || question.subject.username == "mallory";
        refused.then(denied)
    }
}

fn tool(name: &str) -> Call {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#);
    Call::admit(
        Envelope::read(Bytes::from(body)).unwrap(),
        &HeaderMap::new(),
        &Extensions::none(),
    )
    .unwrap()
}

#[test]
fn a_policy_can_only_take_away() {
    let alice = subject("alice", &[], "files");
    for (name, permitted) in [("t_read", true), ("t_admin", false), ("t_admin2", true)] {
        let judged = crate::judge(&server(&[]), &alice, &CONTEXT, tool(name), &NoAdmin);
        match judged {
            Ok(permit) => assert!(permitted && permit.call().name() == Some(name)),
            Err(refusal) => assert!(!permitted && refusal == denied(), "{name}"),
        }
    }
    // What needs no scope is asked about too, and what others refuse stays refused in their words.
    let mallory = subject("mallory", &[], "files");
    for call in [legacy("initialize"), legacy("ping"), modern("server/discover")] {
        let judged = crate::judge(&server(&[]), &mallory, &CONTEXT, call, &NoAdmin);
        assert!(matches!(judged, Err(refusal) if refusal == denied()));
    }
    let judged = crate::judge(
        &server(&["user:bob"]),
        &alice,
        &CONTEXT,
        tool("t_admin"),
        &NoAdmin,
    );
    assert!(matches!(judged, Err(Refusal::NotAllowed)));
    let judged = crate::judge(
        &server(&[]),
        &subject("alice", &[], ""),
        &CONTEXT,
        tool("t_read"),
        &NoAdmin,
    );
    assert!(matches!(judged, Err(Refusal::InsufficientScope { .. })));
}

#[test]
fn c1_clients_and_people_are_told_apart_whatever_they_are_called() {
    let itself = |id: &str| Subject {
        client: ClientId::new(id),
        for_itself: true,
        ..subject(&format!("client:{id}"), &["eng"], "files")
    };
    let admits =
        |allow: &[&str], subject: &Subject| judge(&server(allow), subject, legacy("tools/call")).is_ok();
    assert!(admits(&[], &itself("reports")));
    assert!(admits(&["user:alice", "client:reports"], &itself("reports")));
    for allow in [
        &["client:Reports"][..],
        &["user:reports"],
        &["user:client:reports"],
        &["group:eng"],
    ] {
        assert!(!admits(allow, &itself("reports")), "{allow:?}");
    }
    // And nobody becomes a client by using one.
    let person = Subject {
        client: ClientId::new("reports"),
        ..subject("alice", &["eng"], "files")
    };
    assert!(!admits(&["client:reports"], &person));
    assert!(!admits(&["client:alice", "client:eng"], &person));
}
