//! Which scopes name something: a look-up for names, then the patterns one by one.

use std::collections::HashMap;

use super::{Bits, bit};
use crate::Pattern;
use crate::uri::{FORMS, bare_forms, forms, is_readable};

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

/// The same for URIs, which have several forms ([`forms`]): each is compared with the patterns in the same form.
#[derive(Default)]
pub(super) struct Uris {
    written: Names,
    others: [Names; FORMS],
}

impl Uris {
    /// The patterns of each scope, by its place.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (usize, &'a Pattern)> + Clone) -> Self {
        let mut others: [Vec<(usize, Pattern)>; FORMS] = Default::default();
        for (place, pattern) in patterns.clone() {
            for (patterns, form) in others.iter_mut().zip(forms(pattern.as_str())) {
                patterns.push((place, Pattern::of_form(form.into_owned())));
            }
        }
        let names = |patterns: Vec<(usize, Pattern)>| {
            Names::new(patterns.iter().map(|(place, pattern)| (*place, pattern)))
        };
        Self {
            written: Names::new(patterns),
            others: others.map(names),
        }
    }

    /// Every scope that names `uri` in one of its forms; none if no scope names it in one of them, or they are not known.
    /// What names one of its bare forms is needed too; none has to.
    pub(super) fn needs(&self, uri: &str) -> Bits {
        let mut bits = self.written.needs(uri);
        if bits == 0 || !is_readable(uri) {
            return 0;
        }
        for (names, form) in self.others.iter().zip(forms(uri)) {
            let needs = names.needs(&form);
            if needs == 0 {
                return 0;
            }
            bits |= needs;
        }
        let [.., deep] = &self.others;
        let bare = bare_forms(uri);
        bare.iter().fold(bits, |bits, form| bits | deep.needs(form))
    }
}
