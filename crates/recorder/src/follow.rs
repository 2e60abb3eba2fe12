//! The request that is being answered, and the trace that it turns out to belong to.

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorward_types::digest::Digest;
use doorward_types::id::TraceId;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::hop::{Actor, Hop, Joined, Note, bounded, trace_of_parent};
use crate::join::{Arrival, Wish};
use crate::recorder::Recorder;

tokio::task_local! {
    static CURRENT: Arc<Following>;
}

/// A request that is about to be answered.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Who asks.
    pub actor: Actor,
    /// HTTP method.
    pub method: String,
    /// The route, without its query.
    pub path: String,
    /// What kind of route it is.
    pub kind: Kind,
    /// What it says about where it belongs.
    pub arrival: Arrival,
}

/// How requests of a route belong to logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They can be the first of a login.
    Begins,
    /// They are a step of one, or something by itself.
    Follows,
    /// A document that anybody may fetch: a step if a login was begun from there, else nothing.
    Document,
    /// There is no such route: something by itself, if at all.
    Elsewhere,
}

/// What an authorization request says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Its client.
    pub client: &'a str,
    /// Its resource, if it is known yet.
    pub resource: Option<&'a str>,
    /// Digest of what makes this request unlike every other: of all its parameters.
    pub request: Digest,
}

/// The trace of the request that is being answered here: the exact one, or the one that it is joined to by address.
/// `None` outside of a request.
#[must_use]
pub fn current() -> Option<TraceId> {
    with(Following::trace)
}

/// A sealed request, a code or a token of the request that is being answered here says whose trace it is. The first
/// one that says so counts.
pub fn adopt(trace: Option<TraceId>) {
    if let Some(trace) = trace {
        with(|request| request.adopt(trace));
    }
}

/// The request that is being answered here is an authorization request that may be granted: from here its trace
/// is exact. The id is to be sealed into the form.
#[must_use]
pub fn login(login: &Login<'_>) -> Option<TraceId> {
    with(|request| request.login(login))
}

pub(crate) fn with<T>(act: impl FnOnce(&Following) -> T) -> Option<T> {
    CURRENT.try_with(|request| act(request)).ok()
}

/// A request while it is answered. Dropped without an answer, it was given up by its peer: that is a hop too.
pub(crate) struct Following {
    recorder: Recorder,
    span: Span,
    state: Mutex<State>,
}

struct State {
    arrival: Arrival,
    kind: Kind,
    found: Option<(TraceId, Joined)>,
    hop: Hop,
}

impl Following {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trace; decided now if it was not before.
    fn trace(&self) -> TraceId {
        let mut state = self.state();
        if let Some((trace, _)) = state.found {
            return trace;
        }
        let wish = match state.kind {
            Kind::Begins => Some(Wish::Begin),
            Kind::Follows | Kind::Document => Some(Wish::Follow),
            Kind::Elsewhere => None,
        };
        let joined = wish.and_then(|wish| self.recorder.join(&state.arrival, wish));
        let trace = joined.unwrap_or(state.hop.trace);
        state.found = Some((trace, Joined::ByAddress));
        self.tell(trace);
        trace
    }

    fn adopt(&self, trace: TraceId) {
        let mut state = self.state();
        if !matches!(state.found, Some((_, Joined::Exact))) {
            state.found = Some((trace, Joined::Exact));
            self.tell(trace);
        }
    }

    fn login(&self, login: &Login<'_>) -> TraceId {
        let arrival = {
            let mut state = self.state();
            if let Some((trace, Joined::Exact)) = state.found {
                return trace;
            }
            state.arrival.client = Some(login.client.into());
            state.arrival.resource = login.resource.map(Into::into);
            state.arrival.clone()
        };
        let trace = self.recorder.claim(&arrival, login.request);
        self.adopt(trace);
        trace
    }

    /// The log's lines of this request name the trace as well.
    fn tell(&self, trace: TraceId) {
        self.span.record("trace", tracing::field::display(trace));
    }

    pub(crate) fn note(&self, note: Note) {
        let id = |name: &str| note.fields.get(name).and_then(|text| text.parse::<Uuid>().ok());
        // Tokens of a client that acts for itself have no family.
        let issued = id("family").or_else(|| id("token"));
        if let Some(known) = issued.and_then(|issued| self.recorder.of_family(issued)) {
            self.adopt(known);
        }
        {
            let mut state = self.state();
            let State { arrival, .. } = &mut *state;
            for (known, name) in [
                (&mut arrival.client, "client"),
                (&mut arrival.resource, "resource"),
            ] {
                if known.is_none() {
                    *known = note.fields.get(name).cloned();
                }
            }
            state.hop.note(note);
        }
        let trace = self.trace();
        if let Some(issued) = issued {
            self.recorder.remember_family(issued, trace);
        }
    }

    fn answered(&self, status: u16) -> Option<TraceId> {
        let worth_telling = {
            let mut state = self.state();
            state.hop.status = Some(status);
            state.kind != Kind::Document && (status >= 400 || !state.hop.notes.is_empty())
        };
        if worth_telling {
            return Some(self.trace());
        }
        let mut state = self.state();
        if state.found.is_none() && state.kind != Kind::Elsewhere {
            let joined = self.recorder.join(&state.arrival, Wish::Follow);
            state.found = joined.map(|trace| (trace, Joined::ByAddress));
        }
        state.found.map(|(trace, _)| trace)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some((trace, joined)) = state.found else {
            return;
        };
        let hop = Hop {
            trace,
            joined,
            method: mem::take(&mut state.hop.method),
            path: mem::take(&mut state.hop.path),
            notes: mem::take(&mut state.hop.notes),
            client: state.hop.client.take(),
            resource: state.hop.resource.take(),
            ..state.hop
        };
        self.recorder.record(hop, state.arrival.peer);
    }
}

impl Recorder {
    /// Answers a request, and writes down what came of it. `status` reads the answer's status. Hands back the answer,
    /// and the trace that it belongs to, if it belongs to one.
    pub async fn follow<T>(
        &self,
        request: Followed,
        answering: impl Future<Output = T>,
        status: impl FnOnce(&T) -> u16,
    ) -> (T, Option<TraceId>) {
        let span = tracing::info_span!("request", trace = tracing::field::Empty);
        let parent = request.arrival.traceparent.as_deref().and_then(trace_of_parent);
        let following = Arc::new(Following {
            recorder: self.clone(),
            span: span.clone(),
            state: Mutex::new(State {
                kind: request.kind,
                found: None,
                hop: Hop {
                    // Unless it turns out to belong to another.
                    trace: self.generate(),
                    at: self.now(),
                    took: 0,
                    actor: request.actor,
                    method: bounded(&request.method),
                    path: bounded(&request.path),
                    status: None,
                    joined: Joined::ByAddress,
                    notes: Vec::new(),
                    client: request.arrival.client.as_deref().map(bounded),
                    resource: request.arrival.resource.as_deref().map(bounded),
                    decision: None,
                    parent,
                },
                arrival: request.arrival,
            }),
        });
        let answer = CURRENT
            .scope(Arc::clone(&following), answering.instrument(span))
            .await;
        let trace = following.answered(status(&answer));
        (answer, trace)
    }
}
