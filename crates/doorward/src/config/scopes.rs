//! `[servers.scopes."NAME"]`: what each scope of a server opens, and `lists`.

use std::collections::BTreeMap;

use doorward_policy::{AccessRule, ListMode, Pattern, SCOPE_LIMIT, ScopeEntry, ScopeTable};
use doorward_types::scope::Scope;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::file::ServerFile;
use super::parse::{self, Parsed};
use super::show::Shown;
use super::source::{Place, Problem};
use super::{Config, Server};

/// The longest name; challenges and addresses carry several.
const LONGEST_NAME: usize = 128;
/// The longest description: it stands on one line of a page, or two.
const LONGEST_DESCRIPTION: usize = 200;

/// A scope: what it opens, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeFile {
    /// What it lets an app do, in words for the people who are asked, such as `Read your files`.
    pub(crate) description: String,
    /// The tools that need it: names, where `*` stands for any characters. Default: none.
    #[serde(default)]
    pub(crate) tools: Vec<String>,
    /// The prompts that need it. Default: none.
    #[serde(default)]
    pub(crate) prompts: Vec<String>,
    /// The resources that need it, by their URI. Default: none.
    #[serde(default)]
    pub(crate) resources: Vec<String>,
    /// Methods of extensions that need it, such as `com.example/reindex`. Methods of extensions that no scope names
    /// are refused. Default: none.
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    /// Scopes that whoever has this one need not have. Default: none.
    #[serde(default)]
    pub(crate) implies: Vec<String>,
    /// Not asked for at the first login, but when a call needs it. Default: `false`.
    #[serde(default)]
    pub(crate) step_up: bool,
    /// Who of those that may use the server may have it, as `allow` of the server. Default: all of them.
    #[serde(default)]
    pub(crate) allow: Option<Vec<String>>,
}

/// What `tools/list` and the other lists show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListsFile {
    /// What this person and this app could be granted.
    #[default]
    Grantable,
    /// What the app's token opens now.
    Granted,
}

impl ListsFile {
    /// As it is written in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Grantable => "grantable",
            Self::Granted => "granted",
        }
    }

    /// For the rules.
    pub(crate) const fn mode(self) -> ListMode {
        match self {
            Self::Grantable => ListMode::Grantable,
            Self::Granted => ListMode::Granted,
        }
    }
}

/// A scope of a server, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredScope {
    /// Its name.
    pub(crate) name: Scope,
    /// As it is written.
    pub(crate) file: ScopeFile,
}

impl ConfiguredScope {
    /// For the rules. What was checked can be read.
    pub(crate) fn entry(&self) -> Option<ScopeEntry> {
        let patterns = |texts: &[String]| -> Option<Vec<Pattern>> {
            texts.iter().map(|text| text.parse().ok()).collect()
        };
        let file = &self.file;
        Some(ScopeEntry {
            scope: self.name.clone(),
            description: file.description.clone(),
            tools: patterns(&file.tools)?,
            prompts: patterns(&file.prompts)?,
            resources: patterns(&file.resources)?,
            methods: file.methods.clone(),
            implies: file
                .implies
                .iter()
                .map(|name| name.parse().ok())
                .collect::<Option<_>>()?,
            step_up: file.step_up,
            allow: match &file.allow {
                Some(rules) => Some(AccessRule::parse(rules).ok()?),
                None => None,
            },
        })
    }
}

/// The scopes of the `index`-th server, in the order of the file; none if it has no table.
pub(super) fn from_file(
    entry: &ServerFile,
    index: usize,
    parsed: &Parsed,
    problems: &mut Vec<Problem>,
) -> Vec<ConfiguredScope> {
    let at = |key: &str| parsed.place(&format!("servers[{index}].scopes{key}"));
    let Some(table) = &entry.scopes else {
        return Vec::new();
    };
    if table.is_empty() {
        problems.push(Problem::new(at(""), "`scopes` is empty, so nothing would be open to anybody").help(
            "add a scope, or leave the table out: the server then has one scope, its own name, that opens everything",
        ));
    }
    if table.len() > SCOPE_LIMIT {
        let message = format!(
            "a server has {SCOPE_LIMIT} scopes at most, and this one has {}",
            table.len()
        );
        problems.push(Problem::new(at(""), message).help("let one scope name several tools, with `*`"));
    }
    let mut scopes = Vec::new();
    for (name, file) in in_order(table, index, parsed) {
        let at = |key: &str| at(&format!(".{name}{key}"));
        check_texts(name, file, &at, problems);
        check_patterns(name, file, &at, problems);
        check_allow(file, &at, problems);
        check_implies(name, file, table, &at, problems);
        if let Ok(name) = name.parse() {
            let file = file.clone();
            scopes.push(ConfiguredScope { name, file });
        }
    }
    if !table.is_empty() && table.values().all(|file| file.step_up) {
        let message =
            "every scope has `step_up = true`, so there would be nothing to ask for at the first login";
        problems.push(
            Problem::new(at(""), message)
                .help("leave `step_up` out of the scopes that most people need first"),
        );
    }
    scopes
}

/// The file's order is the order of the consent page.
fn in_order<'a>(
    table: &'a BTreeMap<String, ScopeFile>,
    index: usize,
    parsed: &Parsed,
) -> Vec<(&'a String, &'a ScopeFile)> {
    let mut scopes: Vec<_> = table.iter().collect();
    let start = |name: &str| {
        parsed
            .span(&format!("servers[{index}].scopes.{name}"))
            .map(|span| span.start)
    };
    scopes.sort_by_key(|(name, _)| start(name));
    scopes
}

/// OAuth gives these a meaning of their own (OpenID Connect Core §3.1.2.1, §11).
fn is_reserved(name: &str) -> bool {
    matches!(name, "openid" | "offline_access")
}

fn check_texts(name: &str, file: &ScopeFile, at: &dyn Fn(&str) -> Place, problems: &mut Vec<Problem>) {
    let shown = name.escape_debug();
    if name.parse::<Scope>().is_err() || name.len() > LONGEST_NAME {
        let message = format!("`{shown}` cannot be a scope");
        problems.push(Problem::new(at(""), message).help(format!(
            "use up to {LONGEST_NAME} printable ASCII characters without space, quote and backslash, such as `files:read`"
        )));
    }
    if is_reserved(name) {
        let message = format!("`{shown}` cannot be a scope: OAuth gives it a meaning of its own");
        problems.push(Problem::new(at(""), message));
    }
    let described = !file.description.trim().is_empty() && !file.description.contains(char::is_control);
    if !described || file.description.chars().count() > LONGEST_DESCRIPTION {
        let message = format!("the `description` of scope `{shown}` cannot be shown to people");
        problems.push(Problem::new(at(".description"), message).help(format!(
            "say on one line of up to {LONGEST_DESCRIPTION} characters what it lets an app do, such as `Read your files`"
        )));
    }
}

/// Every name by itself, so that what is wrong is told where it stands.
fn check_patterns(name: &str, file: &ScopeFile, at: &dyn Fn(&str) -> Place, problems: &mut Vec<Problem>) {
    // A name that is wrong is told elsewhere.
    let usable = name.parse().ok().filter(|_| !is_reserved(name));
    let alone = || usable.clone().map(|scope| ScopeEntry::new(scope, ""));
    let table = |entry: ScopeEntry| ScopeTable::new(vec![entry]).map_err(|error| error.to_string());
    for (key, patterns) in [
        ("tools", &file.tools),
        ("prompts", &file.prompts),
        ("resources", &file.resources),
    ] {
        for (number, text) in patterns.iter().enumerate() {
            let parsed = text.parse::<Pattern>().map_err(|error| error.to_string());
            let checked = parsed.and_then(|pattern| match alone() {
                Some(entry) if key == "tools" => table(ScopeEntry {
                    tools: vec![pattern],
                    ..entry
                })
                .map(drop),
                _ => Ok(()),
            });
            if let Err(message) = checked {
                problems.push(Problem::new(at(&format!(".{key}[{number}]")), message));
            }
        }
    }
    for (number, method) in file.methods.iter().enumerate() {
        let methods = vec![method.clone()];
        if let Some(Err(message)) = alone().map(|entry| table(ScopeEntry { methods, ..entry })) {
            problems.push(Problem::new(at(&format!(".methods[{number}]")), message));
        }
    }
}

fn check_allow(file: &ScopeFile, at: &dyn Fn(&str) -> Place, problems: &mut Vec<Problem>) {
    if file.allow.as_ref().is_some_and(Vec::is_empty) {
        problems.push(
            Problem::new(at(".allow"), "`allow` names nobody").help(
                "name people as `user:NAME` or `group:NAME`; leave it out for all who may use the server",
            ),
        );
    }
    for (number, rule) in file.allow.iter().flatten().enumerate() {
        if let Err(error) = AccessRule::parse(&[rule]) {
            problems.push(Problem::new(at(&format!(".allow[{number}]")), error.to_string()));
        }
    }
}

fn check_implies(
    name: &str,
    file: &ScopeFile,
    table: &BTreeMap<String, ScopeFile>,
    at: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    for (number, implied) in file.implies.iter().enumerate() {
        let place = at(&format!(".implies[{number}]"));
        if implied == name {
            let message = format!("scope `{}` implies itself", name.escape_debug());
            problems.push(Problem::new(place, message).help("leave it out"));
        } else if !table.contains_key(implied) {
            let known: Vec<&str> = table.keys().map(String::as_str).collect();
            let message = format!("`{}` is no scope of this server", implied.escape_debug());
            let problem = Problem::new(place, message);
            problems.push(match parse::nearest(implied, &known) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!("its scopes are {}", known.join(", "))),
            });
        } else if let Some(way) = way_back(implied, name, table)
            // A circle is told once, where its first scope stands.
            && way.iter().all(|other| name <= *other)
        {
            let circle: Vec<&str> = std::iter::once(name).chain(way).collect();
            let message = format!(
                "the scopes imply each other in a circle: {}",
                circle.join(" implies ")
            );
            problems.push(
                Problem::new(place, message)
                    .help("let the broader scope imply the narrower one, not the other way round"),
            );
        }
    }
}

/// The scopes from `from` to `to`, both included, if one implies the other.
fn way_back<'a>(from: &'a str, to: &'a str, table: &'a BTreeMap<String, ScopeFile>) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = vec![from];
    while let Some(way) = ways.pop() {
        let here = *way.last()?;
        if here == to {
            return Some(way);
        }
        for next in table.get(here).into_iter().flat_map(|file| &file.implies) {
            if !seen.contains(&next.as_str()) {
                seen.push(next);
                ways.push(way.iter().copied().chain([next.as_str()]).collect());
            }
        }
    }
    None
}

/// What is odd about the scopes of a server, although it can be used: what people rarely mean.
pub(crate) fn notes(scopes: &[ConfiguredScope]) -> Vec<String> {
    let mut notes = Vec::new();
    for (number, one) in scopes.iter().enumerate() {
        let file = &one.file;
        let brings = implied(one, scopes);
        if let Some(extra) = brings.iter().find(|other| other.file.step_up && !file.step_up) {
            notes.push(format!(
                "scope `{}` has `step_up`, but `{}` implies it and is asked for at the first login",
                extra.name, one.name
            ));
        }
        let opens = [&file.tools, &file.prompts, &file.resources, &file.methods];
        if opens.iter().all(|names| names.is_empty()) && file.implies.is_empty() {
            notes.push(format!(
                "scope `{}` opens nothing: it names nothing and implies nothing",
                one.name
            ));
        }
        for other in scopes.iter().skip(number + 1) {
            let so = if brings.contains(&other) {
                format!("so `{}` alone does not open it", other.name)
            } else if implied(other, scopes).contains(&one) {
                format!("so `{}` alone does not open it", one.name)
            } else {
                "so a call needs both scopes".to_owned()
            };
            both_name(one, other, &so, &mut notes);
        }
    }
    notes
}

/// The scopes that come with one, directly or not.
fn implied<'s>(one: &'s ConfiguredScope, scopes: &'s [ConfiguredScope]) -> Vec<&'s ConfiguredScope> {
    let (mut found, mut open) = (Vec::new(), vec![one]);
    while let Some(here) = open.pop() {
        let next = scopes
            .iter()
            .filter(|other| here.file.implies.iter().any(|name| name == other.name.as_str()));
        for other in next {
            if !found.contains(&other) {
                found.push(other);
                open.push(other);
            }
        }
    }
    found
}

/// What two scopes name needs both of them; `so` says what that means for these two.
fn both_name(one: &ConfiguredScope, other: &ConfiguredScope, so: &str, notes: &mut Vec<String>) {
    for (kind, left, right) in [
        ("tools", &one.file.tools, &other.file.tools),
        ("prompts", &one.file.prompts, &other.file.prompts),
        ("resources", &one.file.resources, &other.file.resources),
        ("methods", &one.file.methods, &other.file.methods),
    ] {
        let pairs = left
            .iter()
            .flat_map(|left| right.iter().map(move |right| (left, right)));
        let shared = pairs.filter(|(left, right)| meet(left, right));
        let shared: Vec<String> = shared
            .map(|(left, right)| match left == right {
                true => format!("`{left}`"),
                false => format!("what is both `{left}` and `{right}`"),
            })
            .collect();
        if let Some(first) = shared.first() {
            let more = shared.len().saturating_sub(1);
            let more = if more == 0 {
                String::new()
            } else {
                format!(" (and {more} more)")
            };
            notes.push(format!(
                "{kind}: `{}` and `{}` both name {first}{more}, {so}",
                one.name, other.name
            ));
        }
    }
}

/// Whether some name matches both patterns.
fn meet(left: &str, right: &str) -> bool {
    match (left.parse::<Pattern>(), right.parse()) {
        (Ok(left), Ok(right)) => left.meets(&right),
        _ => false,
    }
}

impl Config {
    pub(super) fn show_scopes(&self, server: &Server, key: &dyn Fn(&str) -> String, lines: &mut Vec<Shown>) {
        for ConfiguredScope { name, file } in &server.scopes {
            let mut line = |field: &str, value: Value| {
                lines.push(self.in_file(&key(&format!("scopes.{name}.{field}")), value));
            };
            line("description", json!(file.description));
            line("tools", json!(file.tools));
            line("prompts", json!(file.prompts));
            line("resources", json!(file.resources));
            line("methods", json!(file.methods));
            line("implies", json!(file.implies));
            line("step_up", json!(file.step_up));
            line("allow", json!(file.allow.as_deref().unwrap_or_default()));
        }
        lines.push(self.in_file(&key("lists"), json!(server.lists.name())));
    }
}

#[cfg(test)]
mod tests;
