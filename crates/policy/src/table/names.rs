//! Which scopes name something: a look-up for names, then the patterns one by one.

use std::collections::HashMap;

use super::{Bits, bit};
use crate::Pattern;
use crate::uri::other_forms;

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

    /// The same for URIs. A pattern also stands for the other forms of itself, so that it opens what it names for whoever
    /// reads it in one of them.
    pub(super) fn of_uris<'a>(patterns: impl Iterator<Item = (usize, &'a Pattern)>) -> Self {
        let all: Vec<(usize, Pattern)> = patterns
            .flat_map(|(place, pattern)| {
                let forms = std::iter::once(pattern.clone()).chain(pattern.other_forms());
                forms.map(move |form| (place, form))
            })
            .collect();
        Self::new(all.iter().map(|(place, pattern)| (*place, pattern)))
    }

    /// Every scope that names a URI in one of the forms that a reader may make of it (MB-12); none if no scope names it in
    /// one of them.
    pub(super) fn needs_of_uri(&self, uri: &str) -> Bits {
        let written = self.needs(uri);
        if written == 0 {
            return 0;
        }
        let forms = other_forms(uri).map(|form| self.needs(&form));
        let all = forms.fold(Some(written), |all, needs| {
            Some(all? | Some(needs).filter(|needs| *needs != 0)?)
        });
        all.unwrap_or_default()
    }

    /// Every scope that names `name`.
    pub(super) fn needs(&self, name: &str) -> Bits {
        let exact = self.exact.get(name).copied().unwrap_or_default();
        let matching = self.patterns.iter().filter(|(pattern, _)| pattern.matches(name));
        matching.fold(exact, |bits, (_, also)| bits | also)
    }
}
