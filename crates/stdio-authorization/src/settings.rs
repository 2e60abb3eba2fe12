//! What a server is configured to ask for.

use doorward_policy::Pattern;
use doorward_types::scope::{Scope, ScopeSet};

/// One authorization server whose tokens are accepted, with as much of its metadata (RFC 8414) as is known by now: configured, or
/// discovered from its issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AuthorizationServer {
    /// The issuer identifier; providers without metadata have none of their own, then it is the origin of their endpoints.
    pub issuer: String,
    /// Where the user is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
    /// Where codes and refresh tokens are redeemed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// RFC 7591.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_endpoint: Option<String>,
    /// RFC 7009.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// RFC 8628.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<String>,
    /// What may be asked for.
    pub scopes_supported: Vec<String>,
    /// `code`.
    pub response_types_supported: Vec<String>,
    /// `authorization_code`, and `refresh_token` where there are refresh tokens.
    pub grant_types_supported: Vec<String>,
    /// `S256`.
    pub code_challenge_methods_supported: Vec<String>,
    /// How clients authenticate: `none` for public ones.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// A client that users of this server share, if there is a public one (docs/stdio-authorization.md, "Client ids").
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl AuthorizationServer {
    /// What is known before anything was fetched: the issuer, and what every server of OAuth 2.1 has.
    #[must_use]
    pub fn of_issuer(issuer: impl Into<String>) -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Self {
            issuer: issuer.into(),
            response_types_supported: list(&["code"]),
            grant_types_supported: list(&["authorization_code", "refresh_token"]),
            code_challenge_methods_supported: list(&["S256"]),
            token_endpoint_auth_methods_supported: list(&["none"]),
            ..Self::default()
        }
    }
}

/// The scopes of tools whose names match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolScopes {
    /// A tool's name; `*` stands for any run of characters.
    pub pattern: Pattern,
    /// What its calls need. Empty: a token, with whatever scopes.
    pub scopes: ScopeSet,
}

/// What needs a token besides tool calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protects {
    /// `prompts/get`, and completions of prompts.
    pub prompts: bool,
    /// `resources/read`, `resources/subscribe`, and completions of templates.
    pub resources: bool,
}

/// What the server behind gets of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Nothing: it is only kept from calls without one.
    Nothing,
    /// In the request's `_meta`, under [`TOKEN`](crate::TOKEN): for servers that are written for this extension.
    Meta,
    /// As an environment variable of this name: the server is started anew with each token.
    Environment(String),
}

/// Everything about one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The resource that tokens are asked for (RFC 8707).
    pub resource: String,
    /// Whose tokens are accepted; the first is the one that this process itself logs in at.
    pub authorization_servers: Vec<AuthorizationServer>,
    /// What calls need for which no pattern says otherwise.
    pub scopes: ScopeSet,
    /// Tools that need something else. The first pattern that matches counts.
    pub tools: Vec<ToolScopes>,
    /// Tools that need no token, by patterns.
    pub public_tools: Vec<Pattern>,
    /// What else is protected.
    pub protects: Protects,
    /// What the server gets.
    pub hand: Hand,
}

impl Settings {
    /// What calling `tool` takes; `None` if it needs no token.
    #[must_use]
    pub fn needs(&self, tool: &str) -> Option<&ScopeSet> {
        if self.public_tools.iter().any(|pattern| pattern.matches(tool)) {
            return None;
        }
        let special = self.tools.iter().find(|tools| tools.pattern.matches(tool));
        Some(special.map_or(&self.scopes, |tools| &tools.scopes))
    }

    /// Every scope that some call needs, in a stable order.
    #[must_use]
    pub fn scopes_supported(&self) -> ScopeSet {
        let all = self.tools.iter().map(|tools| &tools.scopes);
        all.fold(self.scopes.clone(), |union, scopes| union.union(scopes))
    }
}

/// The scopes of a set, for JSON.
pub(crate) fn names(scopes: &ScopeSet) -> Vec<String> {
    scopes
        .iter()
        .map(|scope: &Scope| scope.as_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> ScopeSet {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let settings = Settings {
            resource: "https://as.example/stdio/x".to_owned(),
            authorization_servers: vec![],
            scopes: set("read"),
            tools: vec![
                ToolScopes {
                    pattern: "delete_*".parse().unwrap(),
                    scopes: set("write"),
                },
                ToolScopes {
                    pattern: "*_note".parse().unwrap(),
                    scopes: set("notes"),
                },
            ],
            public_tools: vec!["ping".parse().unwrap()],
            protects: Protects {
                prompts: true,
                resources: true,
            },
            hand: Hand::Nothing,
        };
        assert_eq!(settings.needs("delete_note"), Some(&set("write")));
        assert_eq!(settings.needs("read_note"), Some(&set("notes")));
        assert_eq!(settings.needs("other"), Some(&set("read")));
        assert_eq!(settings.needs("ping"), None);
        assert_eq!(settings.scopes_supported(), set("notes read write"));
    }
}
