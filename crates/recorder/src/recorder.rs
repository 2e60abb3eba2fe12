//! The handle that everything records through.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_types::digest::Digest;
use doorward_types::id::TraceId;
use doorward_types::random::Random;
use doorward_types::time::{Clock, UnixTime};
use uuid::Uuid;

use crate::hop::{Actor, Hop, Joined, Note, bounded, trace_of_parent};
use crate::join::{Arrival, Joins, Wish};
use crate::writer::Queue;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Hops in the file; the oldest go first.
    pub hops: u32,
    /// How old they get.
    pub age: Duration,
    /// Size of the file in bytes, roughly.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hops: 200_000,
            age: Duration::from_secs(7 * 24 * 3600),
            bytes: 256 * 1024 * 1024,
        }
    }
}

/// The thread that writes could not be started.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be written down")]
pub struct StartError(#[source] std::io::Error);

/// Writes down the steps of logins. Cheap to clone; nothing it does waits.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    joins: Arc<Mutex<Joins>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    queue: Option<Queue>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// A refusal of the gateway.
#[derive(Clone, Debug)]
pub struct Refusal<'a> {
    /// Where it belongs.
    pub arrival: Arrival,
    /// HTTP method.
    pub method: &'a str,
    /// Path of the protected server.
    pub path: &'a str,
    /// HTTP status.
    pub status: u16,
    /// The id in its body.
    pub decision: Uuid,
    /// The rule behind it.
    pub rule: Option<&'a str>,
    /// Token family of the caller, or the token's id if it has none.
    pub family: Option<Uuid>,
    /// Whether a step is kept of it. Without one it has its trace all the same.
    pub is_kept: bool,
    /// What else is known: `reason`, `server`, `user`, `client`, `scopes`.
    pub fields: Vec<(&'static str, String)>,
}

impl Recorder {
    /// One that writes to [`FILE`](crate::FILE) in `folder`. What is wrong with that file is logged once, and harms
    /// nothing else.
    pub fn start(
        folder: &Path,
        limits: Limits,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, StartError> {
        let joins: Arc<Mutex<Joins>> = Arc::default();
        let path = folder.join(crate::FILE);
        let queue = Queue::start(path, limits, Arc::clone(&clock), Arc::clone(&joins)).map_err(StartError)?;
        Ok(Self(Arc::new(Inner {
            joins,
            clock,
            random,
            queue: Some(queue),
        })))
    }

    /// One that gives ids and keeps nothing.
    #[must_use]
    pub fn without_file(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self(Arc::new(Inner {
            joins: Arc::default(),
            clock,
            random,
            queue: None,
        }))
    }

    /// Waits, not for long, until everything is written that was recorded before. Blocks.
    pub fn flush(&self) {
        if let Some(queue) = &self.0.queue {
            queue.flush();
        }
    }

    /// The gateway refused a call. Hands back the trace it belongs to: the one of its token, else one that is joined or
    /// begun by address.
    pub fn refused(&self, refusal: &Refusal<'_>) -> TraceId {
        let now = self.now();
        let known = refusal.family.and_then(|family| self.of_family(family));
        let (trace, joined) = match (known, refusal.family) {
            (Some(trace), _) => (trace, Joined::Exact),
            (None, Some(family)) => {
                // Issued before this file was begun: its steps are at least found together.
                let trace = self.generate();
                self.remember_family(family, trace);
                (trace, Joined::Exact)
            }
            (None, None) => {
                let wish = if refusal.status == 401 {
                    Wish::Begin
                } else {
                    Wish::Follow
                };
                let joined = self.join(&refusal.arrival, wish);
                (joined.unwrap_or_else(|| self.generate()), Joined::ByAddress)
            }
        };
        if !refusal.is_kept {
            return trace;
        }
        let mut note = Note {
            message: "call refused".into(),
            rule: refusal.rule.map(bounded),
            ..Note::default()
        };
        for (name, value) in &refusal.fields {
            note.fields.insert((*name).into(), bounded(value));
        }
        let hop = Hop {
            trace,
            at: now,
            took: 0,
            actor: Actor::Client,
            method: bounded(refusal.method),
            path: bounded(refusal.path),
            status: Some(refusal.status),
            joined,
            notes: vec![note],
            client: None,
            resource: refusal.arrival.resource.as_deref().map(bounded),
            decision: Some(refusal.decision),
            parent: refusal.arrival.traceparent.as_deref().and_then(trace_of_parent),
        };
        self.record(hop, refusal.arrival.peer);
        trace
    }

    /// A document of the gateway's was fetched: a step, if a login was begun from there.
    pub fn fetched(&self, arrival: &Arrival, path: &str) {
        let Some(trace) = self.join(arrival, Wish::Follow) else {
            return;
        };
        let hop = Hop {
            trace,
            at: self.now(),
            took: 0,
            actor: Actor::Client,
            method: "GET".into(),
            path: bounded(path),
            status: Some(200),
            joined: Joined::ByAddress,
            notes: Vec::new(),
            client: None,
            resource: arrival.resource.as_deref().map(bounded),
            decision: None,
            parent: arrival.traceparent.as_deref().and_then(trace_of_parent),
        };
        self.record(hop, arrival.peer);
    }

    /// A token was accepted that this process had not seen before. `issued` is its family, or its own id if it has none;
    /// a token of a login that is not known any more leaves no hop.
    pub fn first_use(&self, issued: Uuid, path: &str, fields: Vec<(&'static str, String)>) {
        let Some(trace) = self.of_family(issued) else {
            return;
        };
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.into(), bounded(&value)));
        let hop = Hop {
            trace,
            at: self.now(),
            took: 0,
            actor: Actor::Client,
            method: "POST".into(),
            path: bounded(path),
            status: None,
            joined: Joined::Exact,
            notes: vec![Note {
                message: "call: first one with this token".into(),
                rule: None,
                fields: fields.collect(),
            }],
            client: None,
            resource: None,
            decision: None,
            parent: None,
        };
        self.record(hop, None);
    }

    pub(crate) fn record(&self, mut hop: Hop, peer: Option<IpAddr>) {
        let Some(queue) = &self.0.queue else {
            return;
        };
        let now = self.now();
        hop.ended(now);
        // Somebody with an account, or with a token, is no flood of strangers.
        let is_known = hop.field("user").is_some();
        if is_known || self.joins().admit(peer, now) {
            queue.push(hop);
        }
    }

    pub(crate) fn join(&self, arrival: &Arrival, wish: Wish) -> Option<TraceId> {
        let now = self.now();
        self.joins().join(arrival, wish, now, &*self.0.random)
    }

    pub(crate) fn claim(&self, arrival: &Arrival, request: Digest) -> TraceId {
        let now = self.now();
        self.joins().claim(arrival, request, now, &*self.0.random)
    }

    pub(crate) fn of_family(&self, family: Uuid) -> Option<TraceId> {
        self.joins().of_family(family)
    }

    pub(crate) fn remember_family(&self, family: Uuid, trace: TraceId) {
        self.joins().remember_family(family, trace);
    }

    pub(crate) fn generate(&self) -> TraceId {
        TraceId::generate(&*self.0.random)
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.0.clock.now()
    }

    fn joins(&self) -> MutexGuard<'_, Joins> {
        self.0.joins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
