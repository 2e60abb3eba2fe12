//! Legacy sessions: clients hold the upstream's session id sealed, bound to who opened it.
//!
//! A session id is a handle, never a credential (MCP security best practices, "Session Hijacking"): without
//! a token of the same user and client it opens nothing, and an upstream never sees one it did not give.

use std::sync::Arc;

use doorward_resource_server::Principal;
use doorward_seal::Sealer;
use doorward_types::id::ServerName;
use doorward_types::random::Random;
use http::{HeaderMap, HeaderValue, response};

use crate::refuse::Failure;
use crate::relay;

/// Longest session id of an upstream.
const LIMIT: usize = 1024;

pub(crate) struct Sessions {
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) random: Arc<dyn Random>,
}

impl Sessions {
    /// What the client gets for the upstream's id; `None` if the id is not one (visible ASCII, 2025-11-25).
    fn seal(
        &self,
        server: &ServerName,
        principal: &Principal,
        upstream: &HeaderValue,
    ) -> Option<HeaderValue> {
        let id = upstream.as_bytes();
        if id.is_empty() || id.len() > LIMIT || !id.iter().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return None;
        }
        let owner = owner(server, principal);
        let sealed = self
            .sealer
            .seal_text(b"", owner.as_bytes(), id, &*self.random)
            .ok()?;
        HeaderValue::try_from(sealed).ok()
    }

    /// The upstream's session id that the client's stands for; `None` if the client names none.
    pub(crate) fn of(
        &self,
        server: &ServerName,
        principal: &Principal,
        client: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Failure> {
        if !client.contains_key(relay::SESSION_ID) {
            return Ok(None);
        }
        let sealed = relay::single(client, &relay::SESSION_ID).ok_or(Failure::Session)?;
        let opened = self.open(server, principal, sealed);
        opened.map(Some).ok_or(Failure::Session)
    }

    /// What the client is to know of the session id in the upstream's answer: what it already has, if the
    /// upstream repeats `session`.
    pub(crate) fn reseal(
        &self,
        server: &ServerName,
        principal: &Principal,
        client: &HeaderMap,
        answer: &response::Parts,
        session: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let Some(given) = answer.headers.get(relay::SESSION_ID) else {
            return Ok(None);
        };
        if session == Some(given) {
            return Ok(client.get(relay::SESSION_ID).cloned());
        }
        let sealed = relay::single(&answer.headers, &relay::SESSION_ID)
            .and_then(|given| self.seal(server, principal, given));
        sealed.map(Some).ok_or(Failure::UpstreamNotMcp(answer.status))
    }

    /// The upstream's id in what the client sent; `None` if it was not given to this user and client for
    /// this server, or is no session id of ours at all: nobody learns which.
    fn open(&self, server: &ServerName, principal: &Principal, sealed: &HeaderValue) -> Option<HeaderValue> {
        let owner = owner(server, principal);
        let id = self
            .sealer
            .open_text(b"", owner.as_bytes(), sealed.to_str().ok()?)
            .ok()?;
        HeaderValue::from_bytes(&id).ok()
    }
}

/// None of the parts can hold a line feed.
fn owner(server: &ServerName, principal: &Principal) -> String {
    format!(
        "{}\n{server}\n{}\n{}",
        principal.tenant(),
        principal.subject(),
        principal.client_id()
    )
}
