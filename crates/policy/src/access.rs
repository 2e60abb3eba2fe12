//! `allow = ["user:alice", "group:eng"]`: who may use a server at all.

use std::collections::BTreeSet;

/// Which people may use a server. The default admits every local account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
    everyone: bool,
}

/// Why an `allow` entry was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessRuleError {
    /// It has no prefix that we know.
    #[error("`{0}` is not an access rule: write `user:NAME` or `group:NAME`")]
    UnknownKind(String),
    /// Nothing stands after the prefix, or it has spaces around it.
    #[error("`{0}` names nobody: write the name right after the colon, without spaces")]
    EmptyName(String),
    /// `domain:` and `org:` speak of people who sign in with a provider.
    #[error(
        "`{0}` needs a sign-in provider, and none can be configured yet: use `user:NAME` or `group:NAME`"
    )]
    NeedsProvider(String),
}

impl Default for AccessRule {
    fn default() -> Self {
        Self::everyone()
    }
}

impl AccessRule {
    /// Every local account.
    #[must_use]
    pub fn everyone() -> Self {
        Self {
            everyone: true,
            ..Self::nobody()
        }
    }

    /// Reads the entries of `allow`. No entry at all admits every local account.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, AccessRuleError> {
        if entries.is_empty() {
            return Ok(Self::everyone());
        }
        let mut rule = Self::nobody();
        for entry in entries {
            let entry = entry.as_ref();
            let (kind, name) = entry
                .split_once(':')
                .ok_or_else(|| AccessRuleError::UnknownKind(entry.into()))?;
            let set = match kind {
                "user" => &mut rule.users,
                "group" => &mut rule.groups,
                "domain" | "org" => return Err(AccessRuleError::NeedsProvider(entry.into())),
                _ => return Err(AccessRuleError::UnknownKind(entry.into())),
            };
            if name.is_empty() || name.trim() != name {
                return Err(AccessRuleError::EmptyName(entry.into()));
            }
            set.insert(name.to_owned());
        }
        Ok(rule)
    }

    /// Whether a person may use the server. Names compare byte for byte.
    #[must_use]
    pub fn admits<S: AsRef<str>>(&self, username: &str, groups: &[S]) -> bool {
        self.everyone
            || self.users.contains(username)
            || groups.iter().any(|group| self.groups.contains(group.as_ref()))
    }

    fn nobody() -> Self {
        Self {
            users: BTreeSet::new(),
            groups: BTreeSet::new(),
            everyone: false,
        }
    }
}
