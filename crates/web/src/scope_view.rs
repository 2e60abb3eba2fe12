//! Scopes in words: what a person can tick, what each of them opens, and what is new.

use doorward_authorization_server::asked::{AskedScope, AskedScopes};
use doorward_policy::{Pattern, ScopeEntry};

use crate::text::{LONG, SHORT, shown};

/// So many names of one kind stand on the page at once; the rest is folded.
const UNFOLDED: usize = 6;
/// The longest description that is repeated within a sentence.
const QUOTED: usize = 60;

/// The scopes of a consent or device page.
pub(crate) struct ShownScopes {
    /// What was not allowed so far.
    pub(crate) new: Vec<ShownScope>,
    /// What was allowed before, if anything was.
    pub(crate) before: Vec<ShownScope>,
    /// What the app asks for and this account may not give.
    pub(crate) withheld: Vec<ShownName>,
    /// What it may do already and does not ask for now.
    pub(crate) kept: Vec<String>,
    /// The app was allowed something before.
    pub(crate) again: bool,
    /// Some names stand for many.
    pub(crate) abbreviated: bool,
}

/// One checkbox.
pub(crate) struct ShownScope {
    /// The field's value, byte for byte.
    pub(crate) value: String,
    /// The scope.
    pub(crate) shown: String,
    /// What it lets an app do.
    pub(crate) description: String,
    /// It is more than an app gets at first.
    pub(crate) step_up: bool,
    /// What it opens, by kind.
    pub(crate) opens: Vec<ShownNames>,
    /// What comes with it.
    pub(crate) includes: Vec<String>,
    /// What it comes with, on the same page.
    pub(crate) comes_with: Vec<String>,
}

/// Names of one kind.
pub(crate) struct ShownNames {
    /// `Tools`.
    pub(crate) kind: &'static str,
    /// Every one: then there are no names.
    pub(crate) all: bool,
    /// The first of them.
    pub(crate) first: Vec<String>,
    /// The others.
    pub(crate) more: Vec<String>,
}

/// A scope that is not to be ticked.
pub(crate) struct ShownName {
    /// What it lets an app do.
    pub(crate) description: String,
    /// The scope.
    pub(crate) shown: String,
}

impl ShownScopes {
    pub(crate) fn new(asked: &AskedScopes) -> Self {
        let (new, before): (Vec<_>, Vec<_>) = asked.offered.iter().partition(|scope| scope.new);
        let stars = |scope: &&AskedScope| {
            let entry = &scope.entry;
            let names = [&entry.tools, &entry.prompts, &entry.resources];
            names
                .into_iter()
                .flatten()
                .any(|name| !name.is_exact() && !is_everything(name))
        };
        Self {
            abbreviated: asked.offered.iter().any(|scope| stars(&scope)),
            new: new.into_iter().map(ShownScope::new).collect(),
            before: before.into_iter().map(ShownScope::new).collect(),
            withheld: asked.withheld.iter().map(ShownName::new).collect(),
            kept: asked.kept.iter().map(description).collect(),
            again: asked.again,
        }
    }

    /// The app asks for more than it was allowed.
    pub(crate) fn grows(&self) -> bool {
        self.again && !self.new.is_empty()
    }
}

impl ShownScope {
    fn new(asked: &AskedScope) -> Self {
        let entry = &asked.entry;
        let methods = entry.methods.iter().map(|name| shown(name, SHORT)).collect();
        let opens = [
            names("Tools", &entry.tools),
            names("Prompts", &entry.prompts),
            names("Resources", &entry.resources),
            folded("Other requests", false, methods),
        ];
        Self {
            value: entry.scope.to_string(),
            shown: shown(entry.scope.as_str(), SHORT),
            description: description(entry),
            step_up: entry.step_up,
            opens: opens.into_iter().flatten().collect(),
            includes: asked.includes.iter().map(description).collect(),
            comes_with: asked.comes_with.iter().map(quoted).collect(),
        }
    }
}

impl ShownName {
    fn new(entry: &ScopeEntry) -> Self {
        Self {
            description: description(entry),
            shown: shown(entry.scope.as_str(), SHORT),
        }
    }
}

/// What a scope lets an app do.
pub(crate) fn description(entry: &ScopeEntry) -> String {
    shown(&entry.description, LONG)
}

/// The same as a word in a sentence about another one: long ones by their name.
fn quoted(entry: &ScopeEntry) -> String {
    if entry.description.chars().count() <= QUOTED {
        return description(entry);
    }
    shown(entry.scope.as_str(), SHORT)
}

/// A pattern that every name matches.
fn is_everything(pattern: &Pattern) -> bool {
    pattern.as_str().bytes().all(|b| b == b'*')
}

fn names(kind: &'static str, patterns: &[Pattern]) -> Option<ShownNames> {
    if patterns.iter().any(is_everything) {
        return folded(kind, true, Vec::new());
    }
    let names = patterns.iter().map(|pattern| {
        let pieces: Vec<&str> = pattern.as_str().split('*').collect();
        // As people abbreviate: `read_…`.
        let text = pieces.join("*").replace("**", "*").replace('*', "…");
        shown(&text, LONG)
    });
    folded(kind, false, names.collect())
}

fn folded(kind: &'static str, all: bool, mut names: Vec<String>) -> Option<ShownNames> {
    if names.is_empty() && !all {
        return None;
    }
    // One more line is no longer than the line that says so.
    let first = if names.len() == UNFOLDED + 1 {
        names.len()
    } else {
        UNFOLDED
    };
    let more = names.split_off(first.min(names.len()));
    Some(ShownNames {
        kind,
        all,
        first: names,
        more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(patterns: &[&str]) -> Option<ShownNames> {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
        names("Tools", &patterns)
    }

    #[test]
    fn patterns_are_shown_as_people_abbreviate() {
        let names = opened(&["read_*", "echo", "*_file", "a**b"]).unwrap();
        assert_eq!(names.first, ["read_…", "echo", "…_file", "a…b"]);
        assert!(names.more.is_empty() && !names.all);
        assert!(opened(&[]).is_none());
        let all = opened(&["echo", "*"]).unwrap();
        assert!(all.all && all.first.is_empty());
    }

    #[test]
    fn cn_07_a_name_cannot_pose_as_our_words() {
        let names = opened(&["a\u{202e}b"]).unwrap();
        assert_eq!(names.first, ["a\u{fffd}b"]);
    }

    #[test]
    fn long_lists_are_folded() {
        let many: Vec<String> = (0..20).map(|n| format!("tool_{n}")).collect();
        let some = |count: usize| {
            let names: Vec<&str> = many.iter().take(count).map(String::as_str).collect();
            let names = opened(&names).unwrap();
            (names.first.len(), names.more.len())
        };
        assert_eq!(
            [some(6), some(7), some(8), some(20)],
            [(6, 0), (7, 0), (6, 2), (6, 14)]
        );
    }
}
