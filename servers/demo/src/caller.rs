//! Who calls, as far as the server was told.

use std::sync::Arc;

use doorward_resource_server::Principal;
use http::request::Parts;

use crate::notes::Owner;
use crate::tools::WhoAmI;

/// What a tool may know about its caller.
pub(crate) struct Caller(Option<Arc<Principal>>);

impl Caller {
    /// The caller that the gateway vouched for. Headers are not looked at: anybody can send one.
    pub(crate) fn of(parts: &Parts) -> Self {
        Self(parts.extensions.get::<Arc<Principal>>().cloned())
    }

    /// Whose notes these are. All unknown callers are one owner.
    pub(crate) fn owner(&self) -> Owner {
        match &self.0 {
            Some(principal) => Owner::User(principal.subject().to_string()),
            None => Owner::Unknown,
        }
    }

    /// The answer of `whoami`.
    pub(crate) fn describe(&self) -> WhoAmI {
        let Some(principal) = &self.0 else {
            return WhoAmI::default();
        };
        WhoAmI {
            known: true,
            username: (!principal.is_client()).then(|| principal.username().to_owned()),
            client_id: Some(principal.client_id().to_string()),
            scopes: principal.scopes().iter().map(ToString::to_string).collect(),
        }
    }
}
