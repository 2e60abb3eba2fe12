//! A table of scopes and a name: patterns match what their definition matches, names that are looked up are found as if
//! they were compared one by one, and what a refusal asks for suffices.

use std::net::IpAddr;

use doorward_mcp::Revision;
use doorward_policy::{
    AccessRule, Context, ListMode, NoFurtherPolicy, Object, Pattern, ProtectedServer, Refusal, ScopeEntry,
    ScopeTable, Subject, may_list, may_use,
};
use doorward_types::id::{ClientId, ServerName, Tenant, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;
use doorward_types::url::ResourceUri;

/// The definition of a pattern, one column per byte of it.
fn naive(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached = vec![true];
    reached.resize(name.len() + 1, false);
    for byte in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match byte {
                b'*' => reached[at] || at > 0 && next[at - 1],
                byte => at > 0 && reached[at - 1] && name[at - 1] == *byte,
            };
        }
        reached = next;
    }
    reached[name.len()]
}

/// `input` is a name, what the token holds, and lines of scopes: each a scope, flags (`s` for step-up, `b` for bob only),
/// what it implies, and patterns, separated by spaces.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if text.len() > 2000 {
        return;
    }
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default();
    let Ok(held) = lines.next().unwrap_or_default().parse::<ScopeSet>() else {
        return;
    };
    let entries: Option<Vec<ScopeEntry>> = lines.map(entry).collect();
    let Some(entries) = entries else { return };
    for pattern in entries.iter().flat_map(|entry| &entry.resources) {
        assert_eq!(
            pattern.matches(name),
            naive(pattern.as_str().as_bytes(), name.as_bytes())
        );
        assert_eq!(pattern.to_string().parse::<Pattern>().as_ref(), Ok(pattern));
    }
    let Ok(table) = ScopeTable::new(entries) else {
        return;
    };
    let object = Object::Resource(name);
    let named = |name: &str| -> ScopeSet {
        let names = |entry: &&ScopeEntry| entry.resources.iter().any(|pattern| pattern.matches(name));
        table
            .entries()
            .iter()
            .filter(names)
            .map(|entry| entry.scope.clone())
            .collect()
    };
    let needs = table.needs(object).scopes();
    // Whoever takes it apart finds something that needs no more.
    if !needs.is_empty() {
        let parsed = url::Url::parse(name).ok();
        for form in [Some(name), parsed.as_ref().map(url::Url::as_str)]
            .into_iter()
            .flatten()
        {
            let needs_of_form = named(form);
            assert!(needs_of_form.iter().all(|scope| needs.contains(scope)), "{form}");
        }
    }
    let closure = table.closure(&held);
    assert_eq!(table.closure(&closure), closure);
    judged(table, &held, object);
}

fn entry(line: &str) -> Option<ScopeEntry> {
    let mut words = line.split(' ');
    let mut entry = ScopeEntry::new(words.next()?.parse().ok()?, line);
    let flags = words.next()?;
    entry.step_up = flags.contains('s');
    if flags.contains('b') {
        entry.allow = AccessRule::parse(&["user:bob"]).ok();
    }
    let implied = words.next()?.split(',').filter(|implied| !implied.is_empty());
    entry.implies = implied
        .map(|implied| implied.parse().ok())
        .collect::<Option<_>>()?;
    entry.resources = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some(entry)
}

fn judged(table: ScopeTable, held: &ScopeSet, object: Object<'_>) {
    let known = table.known();
    let server = ProtectedServer {
        name: ServerName::new("a"),
        path: "/a/mcp".into(),
        resource: ResourceUri::parse("https://mcp.example.com/a/mcp").unwrap(),
        scopes: table,
        allow: AccessRule::everyone(),
        lists: ListMode::Grantable,
    };
    let context = Context {
        address: Some(IpAddr::from([127, 0, 0, 1])),
        ..Context::new(UnixTime::EPOCH, Revision::V2026_07_28)
    };
    for (username, limited) in [("alice", false), ("alice", true), ("bob", false)] {
        let with = |scopes: &ScopeSet| Subject {
            user: UserId::nil(),
            username: username.into(),
            groups: vec![],
            client: ClientId::new("c"),
            for_itself: false,
            scopes: scopes.clone(),
            client_scopes: limited.then(|| held.clone()),
            tenant: Tenant::default_tenant(),
            authenticated: None,
        };
        let ask = |scopes: &ScopeSet| may_use(&server, &with(scopes), &context, object, &NoFurtherPolicy);
        let listed = may_list(&server, &with(held), &context, object, &NoFurtherPolicy);
        match ask(held) {
            Ok(()) => {
                assert!(listed);
                assert_eq!(ask(&held.union(&known)), Ok(()), "more never takes away");
            }
            Err(Refusal::InsufficientScope { needed }) => {
                assert!(listed);
                assert_eq!(ask(&needed), Ok(()));
                assert!(!needed.is_subset(held));
            }
            Err(refusal) => {
                assert!(!listed);
                let all = if limited { held } else { &known };
                assert_eq!(
                    ask(all).unwrap_err().reason(),
                    refusal.reason(),
                    "nothing would help"
                );
            }
        }
    }
}
