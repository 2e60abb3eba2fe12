//! `allow = ["user:alice", "group:eng", "client:reports"]`: who may use a server at all.

use std::collections::BTreeSet;

use doorward_types::id::ClientId;

use crate::decide::Subject;

/// Which people, and which clients that act for themselves, may use a server. There is no default: whoever means everybody
/// says so ([`AccessRule::everyone`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
    clients: BTreeSet<String>,
    everyone: bool,
}

/// Why an `allow` entry was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessRuleError {
    /// There is none: a list that was to name somebody, and came out empty.
    #[error("the access rule names nobody: write at least one `user:NAME`, `group:NAME` or `client:ID`")]
    Empty,
    /// It has no prefix that we know.
    #[error("`{0}` is not an access rule: write `user:NAME`, `group:NAME` or `client:ID`")]
    UnknownKind(String),
    /// Nothing stands after the prefix, or it has spaces around it.
    #[error("`{0}` names nobody: write the name right after the colon, without spaces")]
    EmptyName(String),
    /// There are no patterns of people.
    #[error("`{0}`: `*` means nothing here, so this names nobody. For everybody leave `allow` out")]
    Star(String),
    /// `domain:` and `org:` speak of people who sign in with a provider.
    #[error(
        "`{0}` needs a sign-in provider, and none can be configured yet: use `user:NAME`, `group:NAME` or `client:ID`"
    )]
    NeedsProvider(String),
}

impl AccessRule {
    /// Every local account, and every client that the authorization server gives a token of its own.
    #[must_use]
    pub fn everyone() -> Self {
        Self {
            everyone: true,
            ..Self::nobody()
        }
    }

    /// Reads the entries of `allow`, of which there is at least one.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, AccessRuleError> {
        if entries.is_empty() {
            return Err(AccessRuleError::Empty);
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
                "client" => &mut rule.clients,
                "domain" | "org" => return Err(AccessRuleError::NeedsProvider(entry.into())),
                _ => return Err(AccessRuleError::UnknownKind(entry.into())),
            };
            if name.is_empty() || name.trim() != name {
                return Err(AccessRuleError::EmptyName(entry.into()));
            }
            if name.contains('*') {
                return Err(AccessRuleError::Star(entry.into()));
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

    /// Whether a client that acts for itself may use the server.
    #[must_use]
    pub fn admits_client(&self, client: &ClientId) -> bool {
        self.everyone || self.names_client(client)
    }

    /// Whether an entry names this client.
    #[must_use]
    pub fn names_client(&self, client: &ClientId) -> bool {
        self.clients.contains(client.as_str())
    }

    /// Whether the caller may use the server: a client that acts for itself is looked for among the clients only,
    /// and a person among users and groups only, whatever either is called.
    #[must_use]
    pub fn admits_subject(&self, subject: &Subject) -> bool {
        if subject.for_itself {
            self.admits_client(&subject.client)
        } else {
            self.admits(&subject.username, &subject.groups)
        }
    }

    fn nobody() -> Self {
        Self {
            users: BTreeSet::new(),
            groups: BTreeSet::new(),
            clients: BTreeSet::new(),
            everyone: false,
        }
    }
}
