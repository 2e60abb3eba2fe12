//! The MCP server: a token for it is needed, and `t_write` needs a scope of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{MCP, RESOURCE_METADATA, World, lock};
use crate::upstream::{Answer, Recorded, friendly};

impl World {
    pub(super) fn resource_metadata(&self) -> Value {
        let base = self.base();
        json!({
            "resource": format!("{base}{MCP}"),
            "authorization_servers": [base],
            "scopes_supported": ["t:read"],
            "bearer_methods_supported": ["header"],
        })
    }

    /// The challenge, with these parameters beside the metadata.
    fn challenge(&self, rest: &str) -> String {
        format!(
            "Bearer {rest}, resource_metadata=\"{}{RESOURCE_METADATA}\"",
            self.base()
        )
    }

    pub(super) fn mcp(&self, request: &Recorded) -> Answer {
        let credentials = request.values("authorization");
        let Some(scope) = credentials
            .first()
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| self.scope_of(token))
        else {
            let error = if credentials.is_empty() {
                ""
            } else {
                "error=\"invalid_token\", "
            };
            let challenge = self.challenge(&format!("{error}scope=\"t:read\""));
            return Answer::empty(401).header("WWW-Authenticate", &challenge);
        };
        let body = request.json();
        if body["params"]["name"] == "t_write" && !scope.contains("t:write") {
            let challenge = self.challenge("error=\"insufficient_scope\", scope=\"t:write\"");
            return Answer::empty(403).header("WWW-Authenticate", &challenge);
        }
        friendly(request)
    }

    /// The scopes of a live token for this resource, from this authorization server or a trusted one.
    fn scope_of(&self, token: &str) -> Option<BTreeSet<String>> {
        let resource = format!("{}{MCP}", self.base());
        let granted = |world: &World| {
            let book = lock(&world.book);
            let grant = book.granted(token)?;
            (grant.resource == resource).then(|| grant.scope.clone())
        };
        granted(self).or_else(|| {
            let trusted: Vec<Arc<World>> = lock(&self.trusted).clone();
            trusted.iter().find_map(|world| granted(world))
        })
    }
}
