use proptest::prelude::*;

use super::*;
use crate::tests::{entry, scope};

fn set(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn table(entries: Vec<ScopeEntry>) -> ScopeTable {
    ScopeTable::new(entries).unwrap()
}

fn implying(name: &str, implied: &[&str]) -> ScopeEntry {
    ScopeEntry {
        implies: implied.iter().map(|name| scope(name)).collect(),
        ..entry(name, &[])
    }
}

#[cfg(feature = "url")]
#[test]
fn mb_12_what_names_a_resource_names_it_with_a_fragment_a_query_or_a_slash() {
    let resources = |name: &str, patterns: &[&str]| ScopeEntry {
        resources: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        ..entry(name, &[])
    };
    let table = table(vec![
        resources("all", &["file:///*", "file://x/*", "notes:/a/*", "web://h/*"]),
        resources("key", &["file:///private/key", "*.env", "file:///a%20b"]),
        resources("notes", &["notes:/a/private/*"]),
        resources("query", &["web://h/a?b=*"]),
    ]);
    for (uri, needed) in [
        ("file:///private/key", "all key"),
        ("file:///private/key2", "all"),
        ("file:///private/key#x", "all key"),
        ("file:///private/key?x", "all key"),
        ("file:///private/key#{x}", "all key"),
        ("file:///private/key/", "all key"),
        ("file:///private//key/?x#y", "all key"),
        ("file://x/private/key", "all key"),
        ("file:///%2570rivate/key", "all key"),
        ("file:///%2570rivate/key#x", "all key"),
        ("file:///x/.env#x", "all key"),
        ("file:///a%20b?x", "all key"),
        ("file:///a%2520b?x", "all key"),
        ("notes:/a//private/x?://y", "all notes"),
        ("web://h/a", "all"),
        ("web://h/a?c=d", "all"),
        ("web://h/a?b=c#d", "all query"),
        // Nothing names `data:x`: nothing has to.
        ("data:x#y", ""),
    ] {
        assert_eq!(table.needs(Object::Resource(uri)).scopes(), set(needed), "{uri}");
    }
    let narrow = ScopeTable::new(vec![resources("narrow", &["web://h/a?*"])]).unwrap();
    let needs = narrow.needs(Object::Resource("web://h/a?b"));
    assert_eq!(needs.scopes(), set("narrow"), "nobody has to name what is bare");
}

#[test]
fn r15_every_scope_that_names_a_thing_is_needed() {
    let table = table(vec![
        entry("read", &["read_*", "list_*", "both"]),
        entry("write", &["write_*", "*_everything", "both"]),
        ScopeEntry {
            prompts: vec!["greet".parse().unwrap()],
            resources: vec!["file:///public/*".parse().unwrap()],
            methods: vec!["x/admin".into()],
            ..entry("more", &[])
        },
    ]);
    for (object, needed) in [
        (Object::Tool("read_file"), "read"),
        (Object::Tool("both"), "read write"),
        (Object::Tool("read_everything"), "read write"),
        (Object::Tool("greet"), ""),
        (Object::Tool("Read_file"), ""),
        (Object::Prompt("greet"), "more"),
        (Object::Prompt("read_file"), ""),
        (Object::Resource("file:///public/a/b"), "more"),
        (Object::Resource("file:///private"), ""),
        (Object::Resource("file:///public"), ""),
        (Object::Method("x/admin"), "more"),
        (Object::Method("X/admin"), ""),
        (Object::Method("x/other"), ""),
    ] {
        let needs = table.needs(object);
        assert_eq!(needs.scopes(), set(needed), "{object:?}");
        assert_eq!(needs.is_unnamed(), needed.is_empty(), "{object:?}");
        let listed: Vec<String> = needs.iter().map(ToString::to_string).collect();
        assert_eq!(listed.join(" "), needed);
    }
    assert_eq!(table.methods().collect::<Vec<_>>(), ["x/admin"]);
    assert_ne!(*table.extensions(), Extensions::none());
    assert!(!table.is_whole());
    assert_eq!(table.get(&scope("more")).unwrap().description, "more");
    assert_eq!(table.get(&scope("none")), None);
}

#[test]
fn without_a_table_one_scope_opens_everything() {
    let whole = ScopeTable::whole(scope("mcp"), "Everything");
    for object in [
        Object::Tool("t"),
        Object::Prompt(""),
        Object::Resource("x"),
        Object::Method("x/y"),
    ] {
        assert_eq!(whole.needs(object).scopes(), set("mcp"));
    }
    assert!(whole.is_whole() && whole.methods().next().is_none());
    assert_eq!((whole.known(), whole.defaults()), (set("mcp"), set("mcp")));
    assert_ne!(
        whole,
        table(whole.entries().to_vec()),
        "a table of one scope that opens nothing"
    );
    assert_eq!(whole, whole.clone());
}

#[test]
fn a37_a_broader_scope_holds_all_that_it_implies() {
    let table = table(vec![
        entry("read", &[]),
        ScopeEntry {
            step_up: true,
            ..implying("admin", &["write", "audit"])
        },
        implying("write", &["read"]),
        entry("audit", &[]),
    ]);
    for (held, closed) in [
        ("", ""),
        ("read", "read"),
        ("write", "read write"),
        ("admin", "admin audit read write"),
        ("audit unknown", "audit"),
    ] {
        assert_eq!(table.closure(&set(held)), set(closed), "{held}");
    }
    assert_eq!(table.defaults(), set("audit read write"));
    assert_eq!(table.known(), set("admin audit read write"));
    assert_eq!(
        table.entries()[1].scope,
        scope("admin"),
        "in the order they were given"
    );
}

#[test]
fn what_cannot_be_meant_is_told() {
    let scopes = |names: &[&str]| names.iter().map(|name| scope(name)).collect::<Vec<_>>();
    let own = |method: &str| ScopeTableError::OwnMethod {
        scope: scope("a"),
        method: method.into(),
    };
    let none = |method: &str| ScopeTableError::NoMethod {
        scope: scope("a"),
        method: method.into(),
    };
    let naming = |method: &str| {
        vec![ScopeEntry {
            methods: vec![method.into()],
            ..entry("a", &[])
        }]
    };
    for (entries, error) in [
        (vec![], ScopeTableError::Empty),
        (
            vec![entry("a", &[]), entry("a", &[])],
            ScopeTableError::Twice(scope("a")),
        ),
        (
            vec![entry("openid", &[])],
            ScopeTableError::Reserved(scope("openid")),
        ),
        (
            vec![implying("a", &["b"])],
            ScopeTableError::Unknown {
                scope: scope("a"),
                implied: scope("b"),
            },
        ),
        (
            vec![implying("a", &["a"])],
            ScopeTableError::Circle(scopes(&["a", "a"])),
        ),
        (
            vec![
                implying("x", &["a"]),
                implying("a", &["b"]),
                implying("b", &["c"]),
                implying("c", &["a"]),
            ],
            ScopeTableError::Circle(scopes(&["a", "b", "c", "a"])),
        ),
        (
            vec![entry("a", &["files/read"])],
            ScopeTableError::NoTool {
                scope: scope("a"),
                pattern: "files/read".parse().unwrap(),
            },
        ),
        (naming("tools/call"), own("tools/call")),
        (naming("initialize"), own("initialize")),
        (naming(""), none("")),
        (naming("x/*"), none("x/*")),
        (naming("x y"), none("x y")),
        (
            (0..129).map(|number| entry(&format!("s{number}"), &[])).collect(),
            ScopeTableError::TooMany(129),
        ),
    ] {
        assert_eq!(ScopeTable::new(entries), Err(error.clone()));
        assert!(!error.to_string().contains("{"), "{error}");
    }
    let circle = ScopeTableError::Circle(scopes(&["a", "b", "a"]));
    assert_eq!(
        circle.to_string(),
        "scopes imply each other in a circle: `a` → `b` → `a`"
    );
    assert!(
        ScopeTable::new(naming("skills/get")).is_ok(),
        "an official extension is one"
    );
}

#[test]
fn a_full_table_has_a_bit_for_every_scope() {
    let chain = |number: usize| {
        let mut entry = entry(&format!("s{number}"), &[&format!("t{number}")]);
        if number > 0 {
            entry.implies = vec![scope(&format!("s{}", number - 1))];
        }
        entry
    };
    let table = table((0..128).map(chain).collect());
    assert_eq!(table.known().iter().count(), 128);
    assert_eq!(table.closure(&set("s127")), table.known());
    assert_eq!(table.needs(Object::Tool("t127")).scopes(), set("s127"));
}

proptest! {
    /// Against the definition, one pattern after the other.
    #[test]
    fn r15_it_names_what_its_patterns_name(
        patterns in proptest::collection::vec(("[ab*]{1,4}", 0_usize..4), 0..12), name in "[ab]{0,5}",
    ) {
        let mut entries: Vec<ScopeEntry> = (0..4).map(|number| entry(&format!("s{number}"), &[])).collect();
        for (pattern, place) in &patterns {
            entries[*place].tools.push(pattern.parse().unwrap());
        }
        let expected: ScopeSet = entries.iter()
            .filter(|entry| entry.tools.iter().any(|pattern| pattern.matches(&name)))
            .map(|entry| entry.scope.clone())
            .collect();
        prop_assert_eq!(table(entries).needs(Object::Tool(&name)).scopes(), expected);
    }

    /// Every scope that a later one implies is held, and nothing else.
    #[test]
    fn a37_the_closure_is_the_smallest(edges in proptest::collection::vec((0_usize..8, 0_usize..8), 0..16), held in 0_usize..8) {
        let mut entries: Vec<ScopeEntry> = (0..8).map(|number| entry(&format!("s{number}"), &[])).collect();
        for (from, to) in edges.iter().filter(|(from, to)| from > to) {
            entries[*from].implies.push(scope(&format!("s{to}")));
        }
        let mut expected = vec![held];
        let mut at = 0;
        while let Some(&place) = expected.get(at) {
            for (_, to) in edges.iter().filter(|(from, to)| *from == place && from > to) {
                if !expected.contains(to) { expected.push(*to); }
            }
            at += 1;
        }
        let expected: ScopeSet = expected.into_iter().map(|place| scope(&format!("s{place}"))).collect();
        prop_assert_eq!(table(entries).closure(&set(&format!("s{held}"))), expected);
    }
}
