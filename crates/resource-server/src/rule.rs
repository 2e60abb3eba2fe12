//! What a token must grant: all of some scopes, or any of several sets of them.

use doorward_types::scope::{NotAScope, ScopeSet};

/// A rule about scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule {
    alternatives: Vec<ScopeSet>,
}

impl ScopeRule {
    /// Every one of these scopes. Without any, every good token is enough.
    ///
    /// ```
    /// # use doorward_resource_server::ScopeRule;
    /// let rule = ScopeRule::all_of(["notes:read", "notes:write"])?;
    /// assert!(!rule.admits(&"notes:read".parse()?));
    /// # Ok::<(), doorward_types::scope::NotAScope>(())
    /// ```
    pub fn all_of<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Result<Self, NotAScope> {
        let mut all = ScopeSet::empty();
        for scope in scopes {
            all.insert(scope.as_ref().parse()?);
        }
        Ok(all.into())
    }

    /// At least one of these: each is a scope, or several with spaces between that belong together. The **first** is
    /// what a challenge asks for, so begin with the one that opens least. Without any, no token is enough.
    ///
    /// ```
    /// # use doorward_resource_server::ScopeRule;
    /// let rule = ScopeRule::any_of(["notes:read", "notes:admin"])?;
    /// assert!(rule.admits(&"notes:admin".parse()?));
    /// assert_eq!(rule.to_ask_for(), &"notes:read".parse()?);
    /// # Ok::<(), doorward_types::scope::NotAScope>(())
    /// ```
    pub fn any_of<S: AsRef<str>>(alternatives: impl IntoIterator<Item = S>) -> Result<Self, NotAScope> {
        let mut rule = Self {
            alternatives: Vec::new(),
        };
        for alternative in alternatives {
            let scopes: ScopeSet = alternative.as_ref().parse()?;
            // An alternative of nothing would admit everybody, and nobody means that.
            if scopes.is_empty() {
                return Err(NotAScope);
            }
            rule.alternatives.push(scopes);
        }
        Ok(rule)
    }

    /// Whether these scopes are enough.
    #[must_use]
    pub fn admits(&self, granted: &ScopeSet) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| alternative.is_subset(granted))
    }

    /// What a challenge asks for: enough, and no more than that (RFC 6750 §3.1).
    #[must_use]
    pub fn to_ask_for(&self) -> &ScopeSet {
        static NOTHING: std::sync::LazyLock<ScopeSet> = std::sync::LazyLock::new(ScopeSet::empty);
        self.alternatives.first().unwrap_or(&NOTHING)
    }
}

/// All of them.
impl From<ScopeSet> for ScopeRule {
    fn from(scopes: ScopeSet) -> Self {
        Self {
            alternatives: vec![scopes],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(text: &str) -> ScopeSet {
        text.parse().unwrap()
    }

    #[test]
    fn r26_all_of_needs_every_scope_and_any_of_one_alternative() {
        let all = ScopeRule::all_of(["a", "b"]).unwrap();
        for (scopes, enough) in [
            ("a b", true),
            ("a b c", true),
            ("a", false),
            ("", false),
            ("A b", false),
        ] {
            assert_eq!(all.admits(&granted(scopes)), enough, "{scopes}");
        }
        let any = ScopeRule::any_of(["a b", "admin"]).unwrap();
        for (scopes, enough) in [("a b", true), ("admin", true), ("a", false), ("", false)] {
            assert_eq!(any.admits(&granted(scopes)), enough, "{scopes}");
        }
        assert_eq!(
            any.to_ask_for(),
            &granted("a b"),
            "the first, and nothing of the others"
        );
    }

    #[test]
    fn r26_rules_without_scopes() {
        let none: [&str; 0] = [];
        assert!(ScopeRule::all_of(none).unwrap().admits(&granted("")));
        let nobody = ScopeRule::any_of(none).unwrap();
        assert!(!nobody.admits(&granted("a b admin")));
        assert!(nobody.to_ask_for().is_empty());
        assert!(ScopeRule::any_of([""]).is_err(), "would admit everybody");
        assert!(ScopeRule::all_of(["a b"]).is_err());
        assert!(ScopeRule::any_of(["a\"b"]).is_err());
    }
}
