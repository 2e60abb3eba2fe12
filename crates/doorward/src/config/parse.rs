//! From text to [`ConfigFile`]: unknown keys, wrong types and keys of later releases are errors that
//! point at the place.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};

use super::file::ConfigFile;
use super::source::{Place, Problem};

/// A file that was read, and where its values stand.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// The values.
    pub(crate) file: ConfigFile,
    /// Byte ranges of values by key path, such as `servers[0].path`.
    spans: BTreeMap<String, Range<usize>>,
}

impl Parsed {
    /// Where the value with this key path stands; the nearest table around it if it was left out.
    pub(crate) fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Place::File(span.clone());
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return Place::Nowhere,
            }
        }
    }

    /// The key paths of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.spans.keys().map(String::as_str)
    }

    /// Where the value with exactly this key path stands.
    pub(crate) fn span(&self, path: &str) -> Option<&Range<usize>> {
        self.spans.get(path)
    }
}

/// Keys that a later release knows, and what to do until then. A value that asks for nothing passes.
const LATER: [(&str, &str, &str); 7] = [
    (
        "database",
        "",
        "leave it out: everything is kept in the `data` folder",
    ),
    (
        "acme",
        "false",
        "give certificate files in `[tls]`, or end TLS in front of Doorward",
    ),
    (
        "issuer_url",
        "",
        "leave it out: the issuer is `public_url` with `issuer_path`",
    ),
    ("login", "", "use local accounts: `doorward user add NAME`"),
    (
        "authorization_server",
        "mode=embedded",
        "leave it out: Doorward issues the tokens itself",
    ),
    ("dpop", "", "leave it out"),
    ("servers[].connections", "", "leave it out"),
];

/// Reads a configuration file.
pub(crate) fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
    let mut table = DeTable::parse(text).map_err(|error| vec![from_toml(&error, text)])?;
    let mut problems = Vec::new();
    take_later_keys(table.get_mut(), "", &mut problems);
    if let Some(DeValue::Array(servers)) = table.get_mut().get_mut("servers").map(toml::Spanned::get_mut) {
        for server in servers.iter_mut() {
            if let DeValue::Table(server) = server.get_mut() {
                take_later_keys(server, "servers[].", &mut problems);
            }
        }
    }
    let mut spans = BTreeMap::new();
    note_spans(table.get_ref(), "", &mut spans);
    match ConfigFile::deserialize(toml::de::Deserializer::from(table)) {
        Ok(file) if problems.is_empty() => Ok(Parsed { file, spans }),
        Ok(_) => Err(problems),
        Err(error) => {
            problems.push(from_toml(&error, text));
            Err(problems)
        }
    }
}

fn take_later_keys(table: &mut DeTable<'_>, prefix: &str, problems: &mut Vec<Problem>) {
    for (path, harmless, help) in LATER {
        let Some(key) = path.strip_prefix(prefix).filter(|key| !key.contains('.')) else {
            continue;
        };
        let Some((written, value)) = table.remove_entry(key) else {
            continue;
        };
        if !asks_for_nothing(value.get_ref(), harmless) {
            let message = format!("`{key}` is not in this release");
            problems.push(Problem::new(Place::File(written.span()), message).help(help));
        }
    }
}

fn asks_for_nothing(value: &DeValue<'_>, harmless: &str) -> bool {
    match (harmless, value) {
        ("false", DeValue::Boolean(on)) => !on,
        ("[]", DeValue::Array(entries)) => entries.is_empty(),
        ("mode=embedded", DeValue::Table(table)) => {
            table.len() == 1
                && table.get("mode").is_some_and(
                    |mode| matches!(mode.get_ref(), DeValue::String(text) if text.as_ref() == "embedded"),
                )
        }
        _ => false,
    }
}

fn note_spans(table: &DeTable<'_>, prefix: &str, spans: &mut BTreeMap<String, Range<usize>>) {
    for (key, value) in table {
        note_span(format!("{prefix}{}", key.get_ref()), value, spans);
    }
}

fn note_span(path: String, value: &toml::Spanned<DeValue<'_>>, spans: &mut BTreeMap<String, Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => note_spans(table, &format!("{path}."), spans),
        DeValue::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                note_span(format!("{path}[{index}]"), entry, spans);
            }
        }
        _ => {}
    }
    spans.insert(path, value.span());
}

/// A parser's or deserialiser's error, with the nearest known key as help.
fn from_toml(error: &toml::de::Error, text: &str) -> Problem {
    let place = error.span().map_or(Place::Nowhere, |span| {
        Place::File(span.start..span.end.min(text.len()))
    });
    let message = error.message().trim();
    let Some((unknown, expected)) = unknown_name(message) else {
        return Problem::new(place, without_text(message));
    };
    let what = if message.starts_with("unknown field") {
        "key"
    } else {
        "value"
    };
    let problem = Problem::new(place, format!("unknown {what} `{unknown}`"));
    match nearest(unknown, &expected) {
        Some(known) => problem.help(format!("did you mean `{known}`?")),
        None if expected.is_empty() => problem,
        None => problem.help(format!("known here: {}", expected.join(", "))),
    }
}

/// Serde's "invalid type: string "x", expected y" without the string, which may be a secret in a wrong place.
fn without_text(message: &str) -> String {
    match (
        message.split_once(": string \""),
        message.rsplit_once("\", expected "),
    ) {
        (Some((wrong, _)), Some((_, expected))) => format!("{wrong}: string, expected {expected}"),
        _ => message.into(),
    }
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_name(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("unknown variant `"))?;
    let (unknown, rest) = rest.split_once('`')?;
    Some((unknown, rest.split('`').skip(1).step_by(2).collect()))
}

/// The candidate that a typing mistake most likely meant.
pub(super) fn nearest<'a>(typed: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let wrong = |candidate: &&str| distance(typed, candidate);
    let best = candidates.iter().copied().min_by_key(wrong)?;
    (wrong(&best) <= 1 + typed.len() / 4).then_some(best)
}

/// Edits (insert, delete, replace, swap neighbours) between two short texts.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    let mut previous = None;
    for (row, typed) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, known) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let replace = at(&above, column) + usize::from(typed != *known);
            let mut best = replace
                .min(at(&above, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = column > 0 && previous == Some(*known) && right.get(column - 1) == Some(&typed);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
        previous = Some(typed);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_typing_mistakes() {
        for (left, right, edits) in [
            ("", "abc", 3),
            ("listne", "listen", 1),
            ("upstrem", "upstream", 1),
            ("a", "a", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
        assert_eq!(
            nearest("pubic_url", &["listen", "public_url"]),
            Some("public_url")
        );
        assert_eq!(nearest("colour", &["listen", "public_url"]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,40}|(\\[\\[servers\\]\\]\n)?[a-z_]{1,8} ?= ?[\"\\[{0-9a-z\\]}]{0,12}") {
            if let Err(problems) = parse(&text) {
                let error = crate::config::ConfigError {
                    source: Some(crate::config::source::Source { name: "f".into(), text }),
                    problems,
                };
                proptest::prop_assert!(error.to_string().starts_with("error: "));
            }
        }
    }
}
