use super::*;
use crate::cli::{ConfigArgs, ServeArgs};
use crate::config::Environment;

const SERVER: &str = "[[servers]]\nname = \"files\"\npath = \"/files/mcp\"\ndemo = true\n";

fn load(scopes: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doorward.toml");
    std::fs::write(&path, format!("{SERVER}{scopes}")).unwrap();
    let args = ServeArgs {
        config: ConfigArgs {
            config: Some(path),
            ..ConfigArgs::default()
        },
        ..ServeArgs::default()
    };
    Config::load_for_serve(&args, &Environment::from([])).map_err(|error| error.to_string())
}

/// A scope with a description and these further lines.
fn scope(name: &str, lines: &str) -> String {
    format!("[servers.scopes.\"{name}\"]\ndescription = \"Do {name}\"\n{lines}\n")
}

#[track_caller]
fn refused(scopes: &str, line: usize, words: &str) {
    let error = load(scopes).unwrap_err();
    let place = format!("doorward.toml:{line}:");
    assert!(
        error.contains(words) && error.contains(&place),
        "{words} at {place}: {error}"
    );
}

#[test]
fn r15_a_table_is_read_in_the_order_of_the_file() {
    let text = [
        scope(
            "files:write",
            "tools = [\"write_*\"]\nimplies = [\"files:read\"]\nstep_up = true",
        ),
        scope(
            "files:read",
            "tools = [\"read_*\", \"list\"]\nprompts = [\"a b\"]\nresources = [\"file:///*\"]",
        ),
        scope(
            "files.index",
            "methods = [\"com.example/reindex\"]\nallow = [\"group:ops\"]",
        ),
    ]
    .concat();
    let config = load(&text).unwrap();
    let names: Vec<&str> = config.servers[0]
        .scopes
        .iter()
        .map(|scope| scope.name.as_str())
        .collect();
    assert_eq!(names, ["files:write", "files:read", "files.index"]);
    let entries: Option<Vec<ScopeEntry>> = config.servers[0]
        .scopes
        .iter()
        .map(ConfiguredScope::entry)
        .collect();
    let table = ScopeTable::new(entries.unwrap()).unwrap();
    assert_eq!(table.defaults().to_string(), "files.index files:read");
    assert_eq!(table.methods().collect::<Vec<_>>(), ["com.example/reindex"]);
    assert_eq!(config.servers[0].lists, ListsFile::Grantable);
    assert_eq!(notes(&config.servers[0].scopes), Vec::<String>::new());
    let shown = config.shown();
    let line = shown
        .iter()
        .find(|line| line.key == "servers[0].scopes.files:read.tools")
        .unwrap();
    assert_eq!(
        (line.value.to_string().as_str(), line.origin.as_str()),
        (r#"["read_*","list"]"#, "file, line 12")
    );
}

#[test]
fn without_a_table_the_name_is_the_scope() {
    let config = load("lists = \"granted\"\n").unwrap();
    assert!(config.servers[0].scopes.is_empty());
    assert_eq!(config.servers[0].lists, ListsFile::Granted);
}

#[test]
fn what_cannot_be_meant_is_told_where_it_stands() {
    let read = scope("read", "tools = [\"read\"]");
    for (lines, line, words) in [
        ("implies = [\"raed\"]", 10, "did you mean `read`?"),
        ("implies = [\"mail\"]", 10, "its scopes are read, write"),
        ("implies = [\"write\"]", 10, "scope `write` implies itself"),
        ("tools = [\"ok\", \"no space\"]", 10, "can match no tool"),
        ("tools = [\"\"]", 10, "an empty pattern matches nothing"),
        ("prompts = [\"a\\u0007\"]", 10, "control characters"),
        ("methods = [\"tools/call\"]", 10, "is a method of MCP itself"),
        ("methods = [\"com.example/*\"]", 10, "can be no method"),
        ("allow = []", 10, "`allow` names nobody"),
        ("allow = [\"user:a\", \"everybody\"]", 10, "is not an access rule"),
        ("tool = [\"read\"]", 10, "did you mean `tools`?"),
        ("step_up = \"yes\"", 10, "expected a boolean"),
    ] {
        refused(&format!("{read}{}", scope("write", lines)), line, words);
    }
    for reserved in ["openid", "offline_access"] {
        refused(&scope(reserved, ""), 5, "OAuth gives it a meaning of its own");
    }
    for name in ["with space", "", "quo\\\"te", "\\u00e9", &"x".repeat(129)] {
        refused(&scope(name, ""), 5, "cannot be a scope");
    }
    for description in ["", "  ", "two\\nlines", &"x".repeat(201)] {
        let text = format!("[servers.scopes.read]\ndescription = \"{description}\"\n");
        refused(&text, 6, "cannot be shown to people");
    }
    refused(
        "[servers.scopes.read]\ntools = [\"a\"]\n",
        5,
        "missing field `description`",
    );
    refused("[servers.scopes]\n", 5, "nothing would be open to anybody");
    refused(
        &scope("read", "step_up = true"),
        5,
        "nothing to ask for at the first login",
    );
    refused("lists = \"all\"\n", 5, "known here: grantable, granted");
}

#[test]
fn a_circle_is_told_once() {
    let text = [
        scope("a", "implies = [\"b\"]"),
        scope("b", "implies = [\"c\"]"),
        scope("c", "implies = [\"a\"]"),
        scope("d", "implies = [\"a\"]"),
    ]
    .concat();
    let error = load(&text).unwrap_err();
    assert!(
        error.contains("in a circle: a implies b implies c implies a"),
        "{error}"
    );
    assert_eq!(error.matches("circle").count(), 1, "{error}");
}

#[test]
fn so_many_scopes_and_no_more() {
    let many = |count: usize| {
        (0..count)
            .map(|n| scope(&format!("s{n}"), ""))
            .collect::<String>()
    };
    assert!(load(&many(128)).is_ok());
    refused(&many(129), 5, "128 scopes at most");
}

fn noted(scopes: &[String]) -> Vec<String> {
    notes(&load(&scopes.concat()).unwrap().servers[0].scopes)
}

#[test]
fn what_people_rarely_mean_is_noted() {
    let odd = [
        scope("a", "tools = [\"read_*\", \"list\"]"),
        scope("b", "tools = [\"*_file\"]\nresources = [\"x\"]"),
        scope("c", ""),
        scope("d", "tools = [\"list\"]\nresources = [\"y\"]"),
        scope("e", "implies = [\"a\"]"),
    ];
    assert_eq!(
        noted(&odd),
        [
            "tools: `a` and `b` both name what is both `read_*` and `*_file`, so a call needs both scopes",
            "tools: `a` and `d` both name `list`, so a call needs both scopes",
            "scope `c` opens nothing: it names nothing and implies nothing",
        ]
    );
    let odd = [
        scope("read", "tools = [\"get\", \"list\"]\nimplies = [\"more\"]"),
        scope("more", "implies = [\"write\"]"),
        scope("write", "tools = [\"get\", \"put\"]\nstep_up = true"),
        scope(
            "admin",
            "tools = [\"put\"]\nimplies = [\"write\"]\nstep_up = true",
        ),
    ];
    assert_eq!(
        noted(&odd),
        [
            "scope `write` has `step_up`, but `read` implies it and is asked for at the first login",
            "tools: `read` and `write` both name `get`, so `write` alone does not open it",
            "scope `write` has `step_up`, but `more` implies it and is asked for at the first login",
            "tools: `write` and `admin` both name `put`, so `write` alone does not open it",
        ]
    );
}
