//! `read_*`: which names a scope opens.

use std::fmt;
use std::str::FromStr;

/// A name with `*` for any run of bytes, also none and also `/`. Nothing else is special: names compare byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Box<str>);

/// A text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty: nothing has an empty name.
    #[error("an empty pattern matches nothing: write a name, or `*` for every name")]
    Empty,
    /// It holds control characters, which no name may have.
    #[error("{0:?} holds control characters, and no name may")]
    Control(String),
    /// It is longer than any pattern needs to be.
    #[error("a pattern may have 2048 bytes at most")]
    TooLong,
}

/// Longest pattern, in bytes.
const LENGTH_LIMIT: usize = 2048;

impl Pattern {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names one thing only.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether it matches a name. It takes time in the order of both lengths multiplied, at worst, and no memory.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let (name, start, end) = (name.as_bytes(), start.as_bytes(), end.as_bytes());
        let between = name.strip_prefix(start).and_then(|name| name.strip_suffix(end));
        let Some(mut between) = between else { return false };
        // The earliest place for each piece leaves the most room for those that follow: no choice is ever taken back.
        for piece in middle
            .split('*')
            .map(str::as_bytes)
            .filter(|piece| !piece.is_empty())
        {
            let found = between.windows(piece.len()).position(|window| window == piece);
            let Some(rest) = found.and_then(|at| between.get(at + piece.len()..)) else {
                return false;
            };
            between = rest;
        }
        true
    }
}

impl Pattern {
    /// Whether there is a name that both match. It takes time and memory in the order of both lengths multiplied.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        if self.is_exact() {
            return other.matches(&self.0);
        }
        if other.is_exact() {
            return self.matches(&other.0);
        }
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        // reach[r]: whether what was read of `left` and the first r of `right` can match the same text.
        let mut reach: Vec<bool> = std::iter::once(true)
            .chain(right.iter().scan(true, |all, byte| {
                *all &= *byte == b'*';
                Some(*all)
            }))
            .collect();
        for ours in left {
            let mut next = Vec::with_capacity(reach.len());
            next.push(*ours == b'*' && reach.first() == Some(&true));
            for (at, theirs) in right.iter().enumerate() {
                let is = |line: &[bool], index: usize| line.get(index).copied().unwrap_or(false);
                next.push(if *ours == b'*' || *theirs == b'*' {
                    is(&reach, at + 1) || is(&next, at) || is(&reach, at)
                } else {
                    ours == theirs && is(&reach, at)
                });
            }
            reach = next;
        }
        reach.last() == Some(&true)
    }
}

impl Pattern {
    /// The pattern for names that are written like this.
    pub(crate) fn of_form(form: String) -> Self {
        Self(form.into())
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > LENGTH_LIMIT {
            return Err(PatternError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control(text.into()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    /// The definition, in exponential time.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
            [first, rest @ ..] => name.first() == Some(first) && naive(rest, &name[1..]),
        }
    }

    #[test]
    fn only_the_star_is_special() {
        for (text, name, matches) in [
            ("read_*", "read_", true),
            ("read_*", "read_file", true),
            ("read_*", "Read_file", false),
            ("*", "anything/at all", true),
            ("file:///public/*", "file:///public/a/b", true),
            ("file:///public/*", "file:///public", false),
            ("a?c", "abc", false),
            ("a?c", "a?c", true),
            ("[ab]", "a", false),
            ("a.c", "abc", false),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("*a*a*", "a", false),
            ("*a*a*", "xaxax", true),
            ("**", "x", true),
            ("t_read", "t_read\u{200d}", false),
        ] {
            assert_eq!(pattern(text).matches(name), matches, "{text} {name}");
        }
    }

    #[test]
    fn what_names_nothing_is_told() {
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert!(matches!("a\nb".parse::<Pattern>(), Err(PatternError::Control(_))));
        assert_eq!("x".repeat(2049).parse::<Pattern>(), Err(PatternError::TooLong));
        assert_eq!(pattern("a*b").to_string(), "a*b");
        assert!(pattern("a").is_exact() && !pattern("a*").is_exact());
    }

    #[test]
    fn a_hostile_name_costs_no_more_than_both_lengths_multiplied() {
        let pattern = pattern(&"a*".repeat(1024));
        assert!(!pattern.matches(&format!("{}b", "ab".repeat(1000))));
        assert!(pattern.matches(&"a".repeat(100_000)));
    }

    proptest::proptest! {
        #[test]
        fn it_matches_what_the_definition_matches(text in "[ab*é]{1,8}", name in "[abé]{0,10}") {
            let pattern = pattern(&text);
            proptest::prop_assert_eq!(pattern.matches(&name), naive(text.as_bytes(), name.as_bytes()));
        }

        /// Two patterns meet exactly if some short text matches both, for patterns short enough to try all texts.
        #[test]
        fn patterns_meet_where_a_text_matches_both(left in "[ab*]{1,4}", right in "[ab*]{1,4}") {
            let mut texts = vec![String::new()];
            for _ in 0..7 {
                let longer: Vec<String> = texts.iter().flat_map(|text| ["a", "b"].map(|end| format!("{text}{end}"))).collect();
                texts.extend(longer);
                texts.sort();
                texts.dedup();
            }
            let (one, other) = (pattern(&left), pattern(&right));
            let meet = texts.iter().any(|text| one.matches(text) && other.matches(text));
            proptest::prop_assert_eq!(one.meets(&other), meet);
        }
    }
}
