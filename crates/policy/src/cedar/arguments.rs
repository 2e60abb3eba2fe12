//! The arguments of a call as tags: one for each member, members of members by path.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::reads::Reads;

/// Members of members of … that are followed.
pub(super) const DEEPEST: usize = 16;
/// Members that a call may have, members of members included.
pub(super) const MOST: usize = 4096;
/// Longest path of a member, in bytes. Each member below one repeats its path.
const LONGEST_PATH: usize = 1024;

/// What policies see of the arguments of a call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tags {
    pub(super) texts: Vec<(String, String)>,
    pub(super) numbers: Vec<(String, i64)>,
}

/// The arguments cannot be shown to the policies that want to see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unrepresentable {
    #[error("the arguments are no JSON object")]
    NoObject,
    #[error("the arguments are nested too deeply")]
    TooDeep,
    #[error("there are too many arguments")]
    TooMany,
    #[error("the names on the way to an argument are too long together")]
    TooLong,
    #[error("a number is no whole number of 64 bits")]
    Number,
    #[error("a name differs only in case from one that policies look at, or from its neighbour")]
    Ambiguous,
}

/// The arguments (JSON text of an object; `None` for none) as far as policies read them.
pub(super) fn tags(arguments: Option<&str>, reads: &Reads) -> Result<Tags, Unrepresentable> {
    let mut walk = Walk {
        reads,
        members: 0,
        tags: Tags::default(),
    };
    if let Some(text) = arguments {
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| Unrepresentable::NoObject)?;
        if !raw.get().starts_with('{') {
            return Err(Unrepresentable::NoObject);
        }
        walk.inside(raw, None, 0, false)?;
    }
    Ok(walk.tags)
}

/// A member's name; borrowed unless it has escapes.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Walk<'r> {
    reads: &'r Reads,
    members: usize,
    tags: Tags,
}

impl Walk<'_> {
    /// The members of what stands at `path`; of everything if there is none. `shown`: policies see it as a whole.
    fn inside(
        &mut self,
        raw: &RawValue,
        path: Option<&str>,
        depth: usize,
        shown: bool,
    ) -> Result<(), Unrepresentable> {
        if depth >= DEEPEST {
            return Err(Unrepresentable::TooDeep);
        }
        if raw.get().starts_with('{') {
            let members: BTreeMap<Name<'_>, &RawValue> = read(raw)?;
            check_names(members.keys().map(|Name(name)| &**name), shown || self.all())?;
            for (Name(name), value) in members {
                self.member(join(path, &name), value, depth, shown)?;
            }
        } else {
            let members: Vec<&RawValue> = read(raw)?;
            for (index, value) in members.into_iter().enumerate() {
                self.member(join(path, &index.to_string()), value, depth, shown)?;
            }
        }
        Ok(())
    }

    fn all(&self) -> bool {
        self.reads.arguments.is_all() || self.reads.numbers.is_all()
    }

    /// What could be taken for an argument that policies look at, or for what holds it, is that one.
    fn check_path(&self, path: &str) -> Result<(), Unrepresentable> {
        let (arguments, numbers) = (&self.reads.arguments, &self.reads.numbers);
        let mistaken = arguments.named().chain(numbers.named()).any(|key| {
            let looks_like = |part: &str| part != path && folded(part).eq(folded(path));
            let holders = key.match_indices('.').filter_map(|(dot, _)| key.get(..dot));
            looks_like(key) || holders.into_iter().any(looks_like)
        });
        let is_read = arguments.contains(path) || numbers.contains(path);
        if mistaken && !is_read {
            return Err(Unrepresentable::Ambiguous);
        }
        Ok(())
    }

    fn member(
        &mut self,
        path: String,
        value: &RawValue,
        depth: usize,
        shown: bool,
    ) -> Result<(), Unrepresentable> {
        self.members += 1;
        if self.members > MOST {
            return Err(Unrepresentable::TooMany);
        }
        if path.len() > LONGEST_PATH {
            return Err(Unrepresentable::TooLong);
        }
        self.check_path(&path)?;
        let is_read = self.reads.arguments.contains(&path);
        let text = value.get();
        match text.as_bytes().first() {
            Some(b'{' | b'[') => self.inside(value, Some(&path), depth + 1, shown || is_read)?,
            Some(b'-' | b'0'..=b'9') if self.reads.numbers.contains(&path) => {
                let number = whole(text).ok_or(Unrepresentable::Number)?;
                self.tags.numbers.push((path.clone(), number));
            }
            _ => {}
        }
        if is_read {
            let text = match text.as_bytes().first() {
                Some(b'"') => read(value)?,
                // Without the blanks and escapes that could hide what is in there.
                Some(b'{' | b'[') => read::<serde_json::Value>(value)?.to_string(),
                _ => text.to_owned(),
            };
            self.tags.texts.push((path, text));
        }
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Unrepresentable> {
    serde_json::from_str(raw.get()).map_err(|_| Unrepresentable::NoObject)
}

/// Many programs read members without regard to case, the last one wins (Go's `encoding/json`): two that only such a
/// program takes for one would be judged by one value and done with the other. And one that JavaScript copies into what an
/// object inherits has members that are seen as those of the object itself.
fn check_names<'n>(names: impl Iterator<Item = &'n str>, shown: bool) -> Result<(), Unrepresentable> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name == "__proto__" || (shown && !seen.insert(folded(name).collect::<String>())) {
            return Err(Unrepresentable::Ambiguous);
        }
    }
    Ok(())
}

/// A text without its case: letters that only a program which ignores case takes for the same. Both ways, so that `ſ` is
/// an `s` and the sign for kelvin a `k`.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
}

/// A dot in a name is written `\.`, a backslash `\\`: so no two members have the same path, not even those of a member
/// without a name.
fn join(path: Option<&str>, name: &str) -> String {
    let mut joined = String::with_capacity(path.map_or(0, str::len) + name.len() + 1);
    if let Some(path) = path {
        joined.push_str(path);
        joined.push('.');
    }
    for character in name.chars() {
        if matches!(character, '.' | '\\') {
            joined.push('\\');
        }
        joined.push(character);
    }
    joined
}

/// The number if it is whole and fits; `1e3` and `1000.0` are 1000 to whoever receives them.
fn whole(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    /// Up to here every whole number has a floating point number of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number: f64 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and of less than 54 bits"
    )]
    let whole = (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64);
    whole
}

#[cfg(test)]
mod tests {
    use super::super::reads::Keys;
    use super::*;

    fn everything() -> Reads {
        Reads {
            arguments: Keys::All,
            numbers: Keys::All,
            ..Reads::default()
        }
    }

    fn texts(arguments: &str) -> Vec<(String, String)> {
        let reads = Reads {
            numbers: Keys::default(),
            ..everything()
        };
        tags(Some(arguments), &reads).unwrap().texts
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn every_member_has_a_path_of_its_own() {
        for (arguments, expected) in [
            ("{}", &[][..]),
            (r#"{"path":"/home/\u0061"}"#, &[("path", "/home/a")]),
            (
                r#"{"n":1.50,"t":true,"z":null}"#,
                &[("n", "1.50"), ("t", "true"), ("z", "null")],
            ),
            (
                r#"{"a":{"b":"x"},"a.b":"y","a\\":"z"}"#,
                &[("a", r#"{"b":"x"}"#), ("a.b", "x"), (r"a\.b", "y"), (r"a\\", "z")],
            ),
            (
                r#"{"paths":[ "/a", "\u002fetc" ]}"#,
                &[
                    ("paths", r#"["/a","/etc"]"#),
                    ("paths.0", "/a"),
                    ("paths.1", "/etc"),
                ],
            ),
            (r#"{"empty":{ }}"#, &[("empty", "{}")]),
            // A member without a name does not pass its own off as those of the call.
            (
                r#"{"":{"a":"x","":{"a":"y"}},"a":"z"}"#,
                &[
                    ("", r#"{"a":"x","":{"a":"y"}}"#),
                    (".a", "x"),
                    (".", r#"{"a":"y"}"#),
                    ("..a", "y"),
                    ("a", "z"),
                ],
            ),
        ] {
            let mut got = texts(arguments);
            got.sort();
            assert_eq!(got, owned(expected), "{arguments}");
        }
        assert_eq!(tags(None, &everything()), Ok(Tags::default()));
    }

    #[test]
    fn ds_long_names_are_not_repeated_for_each_of_their_members() {
        let below = |length: usize| {
            let zeros = vec!["0"; 3000].join(",");
            format!(r#"{{"{}":[{zeros}]}}"#, "a".repeat(length))
        };
        let named = Reads {
            arguments: Keys::Named(["path".to_owned()].into()),
            ..Reads::default()
        };
        for reads in [&named, &everything()] {
            assert!(tags(Some(&below(1000)), reads).is_ok());
            let refused = tags(Some(&below(1_000_000)), reads);
            assert_eq!(refused, Err(Unrepresentable::TooLong));
        }
        // Where it is nested, what it lies in counts as well.
        let (long, short) = ("a".repeat(600), "b".repeat(600));
        let nested = format!(r#"{{"{long}":{{"{short}":1}}}}"#);
        assert_eq!(tags(Some(&nested), &named), Err(Unrepresentable::TooLong));
    }

    #[test]
    fn numbers_are_whole_or_refused() {
        for (number, expected) in [
            ("7", Ok(7)),
            ("-7", Ok(-7)),
            ("1e3", Ok(1000)),
            ("1000.0", Ok(1000)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("9223372036854775808", Err(Unrepresentable::Number)),
            ("9007199254740993.0", Err(Unrepresentable::Number)),
            ("1.5", Err(Unrepresentable::Number)),
            ("1e400", Err(Unrepresentable::Number)),
        ] {
            let got = tags(Some(&format!(r#"{{"amount":{number}}}"#)), &everything());
            let got = got.map(|tags| tags.numbers[0].1);
            assert_eq!(got, expected, "{number}");
        }
        // Nobody looks at it: it may be what it likes.
        let others = Reads {
            arguments: Keys::All,
            ..Reads::default()
        };
        assert!(tags(Some(r#"{"amount":1.5}"#), &others).is_ok());
    }

    #[test]
    fn mb_10_a_name_that_others_read_without_its_case_is_refused() {
        let some = Reads {
            arguments: Keys::Named(["path".to_owned(), "options.kind".to_owned()].into()),
            numbers: Keys::Named(["amount".to_owned()].into()),
            ..Reads::default()
        };
        for (arguments, told) in [
            (r#"{"amount":1,"Amount":5000}"#, false),
            (r#"{"AMOUNT":5000}"#, false),
            (r#"{"\u0050ath":"/etc"}"#, false),
            (r#"{"options":{"\u212aind":"x"}}"#, false),
            (r#"{"Options":{"kind":"x"}}"#, false),
            (
                r#"{"amount":1,"path":"/a","options":{"kind":"x","other":1,"Other":2}}"#,
                true,
            ),
            (r#"{"paths":"/a","Kind":"x"}"#, true),
        ] {
            let got = tags(Some(arguments), &some);
            assert_eq!(got.is_ok(), told, "{arguments}: {got:?}");
        }
        for (arguments, told) in [
            (r#"{"a":{"b":1,"B":2}}"#, false),
            (r#"{"s":1,"\u017f":2}"#, false),
            (r#"{"a":{"B":1},"b":2}"#, true),
        ] {
            let got = tags(Some(arguments), &everything());
            assert_eq!(got.is_ok(), told, "{arguments}: {got:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_two_members_share_a_path(tree in tree()) {
            let got = tags(Some(&format!("{{\"\":{tree}}}")), &Reads { arguments: Keys::All, ..Reads::default() });
            if let Ok(Tags { mut texts, .. }) = got {
                let all = texts.len();
                texts.sort();
                texts.dedup_by(|one, other| one.0 == other.0);
                proptest::prop_assert_eq!(texts.len(), all);
            }
        }
    }

    /// JSON with names that are made of what paths are made of.
    fn tree() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
        use proptest::prelude::*;
        let leaf = any::<bool>().prop_map(serde_json::Value::from);
        leaf.prop_recursive(4, 24, 4, |inner| {
            proptest::collection::btree_map(r"[a0.\\]{0,2}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()))
        })
    }

    #[test]
    fn a_tree_without_end_is_refused_not_cut() {
        let nested = |depth: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(tags(Some(&nested(DEEPEST - 1)), &everything()).is_ok());
        assert_eq!(
            tags(Some(&nested(DEEPEST)), &everything()),
            Err(Unrepresentable::TooDeep)
        );
        let wide = |members: usize| format!(r#"{{"a":[{}]}}"#, vec!["0"; members].join(","));
        assert!(tags(Some(&wide(MOST - 1)), &everything()).is_ok());
        assert_eq!(
            tags(Some(&wide(MOST)), &everything()),
            Err(Unrepresentable::TooMany)
        );
        for text in ["[]", "1", "\"a\"", "{", ""] {
            assert_eq!(
                tags(Some(text), &everything()),
                Err(Unrepresentable::NoObject),
                "{text}"
            );
        }
    }
}
