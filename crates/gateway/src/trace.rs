//! What the recorder is told of a refusal.

use std::borrow::Cow;

use doorward_limits::PeerAddress;
use doorward_policy::ProtectedServer;
use doorward_recorder::{Arrival, Recorder, Refusal};
use doorward_types::id::TraceId;
use http::{Extensions, HeaderMap, HeaderName, request};
use uuid::Uuid;

use crate::refuse::{Circumstances, Failure};

/// The response header of refusals.
pub(crate) const TRACE: HeaderName = HeaderName::from_static(doorward_recorder::HEADER);
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where a request to a server comes from.
pub(crate) fn arrival(extensions: &Extensions, headers: &HeaderMap, server: &ProtectedServer) -> Arrival {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Arrival {
        peer: extensions.get::<PeerAddress>().map(|peer| peer.0),
        client: None,
        resource: Some(server.resource.as_str().into()),
        traceparent: text(&TRACEPARENT).map(Into::into),
    }
}

/// The `trace-id` of a valid `traceparent`.
pub(crate) fn parent(headers: &HeaderMap) -> Option<TraceId> {
    doorward_recorder::trace_of_parent(headers.get(&TRACEPARENT)?.to_str().ok()?)
}

/// A name for records. That of a resource is a URI, which may hold arguments and passwords: those are left out, and `…`
/// stands for them (LK-02).
pub(crate) fn without_arguments(name: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = name.split_once("://") else {
        return Cow::Borrowed(name);
    };
    let end = rest.find(['?', '#']);
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let user = rest.get(..authority).and_then(|authority| authority.rfind('@'));
    if end.is_none() && user.is_none() {
        return Cow::Borrowed(name);
    }
    let from = user.unwrap_or(0);
    let kept = rest.get(from..end.unwrap_or(rest.len())).unwrap_or_default();
    let (before, after) = (user.map_or("", |_| "…"), end.map_or("", |_| "…"));
    Cow::Owned(format!("{scheme}://{before}{kept}{after}"))
}

/// Who is told of a refusal, and what is known of the request.
pub(crate) struct Told<'a> {
    pub(crate) recorder: &'a Recorder,
    pub(crate) protected: &'a ProtectedServer,
    pub(crate) head: &'a request::Parts,
}

impl Told<'_> {
    /// Writes the refusal down; hands back the id to give to the operator.
    pub(crate) fn refused(&self, failure: &Failure, about: &Circumstances<'_>, decision: Uuid) -> TraceId {
        let principal = about.principal.as_deref().filter(|who| !who.is_anonymous());
        let mut fields = vec![
            ("reason", failure.reason().to_owned()),
            ("server", about.server.to_string()),
        ];
        if let Some(scopes) = failure.scopes() {
            fields.push(("scopes", scopes.to_string()));
        }
        if let Some(limit) = failure.limit() {
            fields.push(("limit", limit.to_owned()));
        }
        if let Some(method) = about.summary.as_ref().and_then(|summary| summary.method()) {
            fields.push(("method", method.to_owned()));
        }
        if let Some(name) = about.summary.as_ref().and_then(|summary| summary.name()) {
            fields.push(("name", without_arguments(name).into_owned()));
        }
        if !failure.policies().is_empty() {
            fields.push(("policies", failure.policies().join(" ")));
        }
        if let Some(seconds) = failure.retry_after() {
            fields.push(("retry_after", seconds.to_string()));
        }
        if let Some(who) = principal {
            fields.push(("held", who.scopes().to_string()));
            fields.push(("user", who.subject().to_string()));
            fields.push(("client", who.client_id().to_string()));
            match who.family() {
                Some(family) => fields.push(("family", family.to_string())),
                None => fields.push(("token", who.token_id().to_string())),
            }
        }
        let issued = |who: &doorward_resource_server::Principal| {
            who.family()
                .map_or(*who.token_id().as_uuid(), |family| *family.as_uuid())
        };
        self.recorder.refused(&Refusal {
            arrival: arrival(&self.head.extensions, &self.head.headers, self.protected),
            method: self.head.method.as_str(),
            path: &self.protected.path,
            status: failure.status().as_u16(),
            decision,
            rule: failure.requirement().map(|requirement| requirement.id),
            family: principal.map(issued),
            // Whoever has no token is no flood to the recorder, which has a limit of its own for them.
            is_kept: principal.is_none() || !about.recurrence.too_often,
            fields,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::without_arguments;

    #[test]
    fn lk_02_uris_are_recorded_without_what_may_be_secret() {
        for (uri, shown) in [
            ("read_file", "read_file"),
            ("file:///home/alice/notes.txt", "file:///home/alice/notes.txt"),
            ("db://host/query?sql=select", "db://host/query…"),
            ("https://alice:secret@host/a#token=x", "https://…@host/a…"),
            ("https://a@b:c@host", "https://…@host"),
            ("https://host/a@b", "https://host/a@b"),
            ("https://host?next=https://a:b@c", "https://host…"),
            ("://?", "://…"),
        ] {
            assert_eq!(without_arguments(uri), shown, "{uri}");
        }
    }
}
