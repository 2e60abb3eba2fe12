//! What the configuration says about one protected server.

use doorward_types::id::ServerName;
use doorward_types::scope::{Scope, ScopeSet};
use doorward_types::url::ResourceUri;

use crate::AccessRule;

/// A scope of a server, and what the consent page says it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeDescription {
    /// The scope.
    pub scope: Scope,
    /// One line for people.
    pub description: String,
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
    /// Its scopes. So far one: the server's own name, which opens everything.
    pub scopes: Vec<ScopeDescription>,
    /// Who may use it.
    pub allow: AccessRule,
}

impl ProtectedServer {
    /// The scopes that challenges and resource metadata name, and that are granted when a client asks for
    /// none. So far that is all of them.
    #[must_use]
    pub fn default_scopes(&self) -> ScopeSet {
        self.scopes.iter().map(|entry| entry.scope.clone()).collect()
    }
}
