//! What the configuration says about one protected server.

use doorward_types::id::ServerName;
use doorward_types::scope::ScopeSet;
use doorward_types::url::ResourceUri;

use crate::{AccessRule, ScopeTable};

/// What lists of tools, prompts and resources show (`lists`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListMode {
    /// What this user and this client could be granted all scopes for: a call can then step up.
    #[default]
    Grantable,
    /// What the token at hand opens.
    Granted,
}

/// One protected MCP server, as the authorization server, the pages and the gateway see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedServer {
    /// Its configured name.
    pub name: ServerName,
    /// The path of its MCP endpoint on our origin, with the leading slash, compared byte for byte.
    pub path: String,
    /// Its resource identifier: `public_url` + `path`, byte for byte what `aud` and metadata carry.
    pub resource: ResourceUri,
    /// Its scopes and what they open.
    pub scopes: ScopeTable,
    /// Who may use it.
    pub allow: AccessRule,
    /// What its lists show.
    pub lists: ListMode,
}

impl ProtectedServer {
    /// The scopes that challenges and resource metadata name, and that are granted when a client asks for
    /// none: those without `step_up`.
    #[must_use]
    pub fn default_scopes(&self) -> ScopeSet {
        self.scopes.defaults()
    }
}
