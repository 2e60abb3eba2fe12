//! Which scopes name something: a look-up for names, then the patterns one by one.

use std::collections::HashMap;

use super::{Bits, bit};
use crate::Pattern;

#[derive(Default)]
pub(super) struct Names {
    exact: HashMap<Box<str>, Bits>,
    patterns: Vec<(Pattern, Bits)>,
}

impl Names {
    /// The patterns of each scope, by its place.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (usize, &'a Pattern)>) -> Self {
        let mut names = Self::default();
        let mut known: HashMap<&Pattern, usize> = HashMap::new();
        for (place, pattern) in patterns {
            if pattern.is_exact() {
                *names.exact.entry(pattern.as_str().into()).or_default() |= bit(place);
                continue;
            }
            let at = *known.entry(pattern).or_insert_with(|| {
                names.patterns.push((pattern.clone(), 0));
                names.patterns.len() - 1
            });
            if let Some((_, bits)) = names.patterns.get_mut(at) {
                *bits |= bit(place);
            }
        }
        names
    }

    /// Every scope that names `name`.
    pub(super) fn needs(&self, name: &str) -> Bits {
        let exact = self.exact.get(name).copied().unwrap_or_default();
        let matching = self.patterns.iter().filter(|(pattern, _)| pattern.matches(name));
        matching.fold(exact, |bits, (_, also)| bits | also)
    }
}
