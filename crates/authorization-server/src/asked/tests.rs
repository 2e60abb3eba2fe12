use doorward_records::grant::Evidence;
use doorward_types::digest::Digest;

use super::*;
use crate::fixture::{self, NOW};

fn server() -> ProtectedServer {
    ProtectedServer {
        scopes: fixture::broad_and_narrow(),
        ..fixture::settings().servers.remove(0)
    }
}

fn grant(scopes: &str) -> Grant {
    let (user, server) = (fixture::user("alice", &[]), server());
    let client = fixture::client(&["http://localhost/cb"]);
    Grant {
        tenant: client.tenant,
        id: GrantId::nil(),
        user: user.id,
        client: client.id,
        redirect_host: "localhost".into(),
        resource: server.resource,
        scopes: scopes.parse().unwrap(),
        evidence: Evidence {
            client_name: None,
            client_metadata: Digest::of(b"m"),
            redirect_uri: "http://localhost/cb".into(),
            offered: ScopeSet::empty(),
            authenticated_at: NOW,
        },
        created: NOW,
        updated: NOW,
    }
}

fn asked(groups: &[&str], wanted: &str, granted: Option<&str>) -> AskedScopes {
    let grant = granted.map(grant);
    let user = fixture::user("alice", groups);
    AskedScopes::of(&server(), &user, &wanted.parse().unwrap(), grant.as_ref())
}

fn names(entries: &[ScopeEntry]) -> String {
    let names: Vec<&str> = entries.iter().map(|entry| entry.scope.as_str()).collect();
    names.join(" ")
}

#[test]
fn a_page_says_what_comes_with_what() {
    let page = asked(&["ops"], "read admin", None);
    let scopes: Vec<_> = page
        .offered
        .iter()
        .map(|scope| {
            let it = scope.entry.scope.as_str();
            (it, names(&scope.includes), names(&scope.comes_with))
        })
        .collect();
    assert_eq!(
        scopes,
        [
            ("read", String::new(), "admin".into()),
            ("admin", "read write".into(), String::new()),
        ]
    );
    assert!(!page.again && page.withheld.is_empty() && page.kept.is_empty());
    assert!(page.offered.iter().all(|scope| scope.new));
}

#[test]
fn r15_what_a_person_may_not_have_is_told_and_not_offered() {
    let page = asked(&["eng"], "write admin unknown", None);
    let offered: Vec<&str> = page
        .offered
        .iter()
        .map(|scope| scope.entry.scope.as_str())
        .collect();
    assert_eq!(
        (offered, names(&page.withheld).as_str()),
        (vec!["write"], "admin")
    );
    // Nor is it told to come with something else.
    let alone = asked(&[], "admin", None);
    assert!(alone.offered.is_empty());
}

#[test]
fn b27_a_page_says_what_is_new() {
    let page = asked(&["ops"], "read admin mail", Some("write"));
    let new: Vec<_> = page
        .offered
        .iter()
        .map(|scope| (scope.entry.scope.as_str(), scope.new))
        .collect();
    assert_eq!(
        new,
        [("read", false), ("admin", true), ("mail", true)],
        "write held read already"
    );
    assert_eq!((page.again, names(&page.kept).as_str()), (true, "write"));
}

#[test]
fn b27_only_what_grows_is_an_elevation() {
    let elevation = |before: Option<&str>, after: &str| {
        Elevation::between(before.map(grant).as_ref(), &grant(after))
            .map(|grown| (grown.before.to_string(), grown.after.to_string()))
    };
    assert_eq!(elevation(None, "read"), None);
    assert_eq!(elevation(Some("read write"), "read"), None);
    assert_eq!(
        elevation(Some("read"), "read write"),
        Some(("read".into(), "read write".into()))
    );
}
