//! What was decided about each request, for whoever keeps the record or counts.
//!
//! Every request to a protected server ends in exactly one [`Decision`]: permitted, refused, failed, or given up by
//! its client before any of these. A stream that was opened by a permitted one has a second, when it ends. Preflights
//! (OPTIONS) and metadata documents are about no call and have none.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorward_limits::PeerAddress;
use doorward_mcp::{Revision, Summary};
use doorward_policy::{Needs, ProtectedServer};
use doorward_resource_server::Principal;
use doorward_types::id::TraceId;
use doorward_types::random::{self, Random};
use doorward_types::scope::{Scope, ScopeSet};
use doorward_types::time::{Clock, UnixTime};
use doorward_types::url::Issuer;
use http::{Method, request};
use uuid::Uuid;

use crate::limit::Recurrence;
use crate::trace;
use crate::upstream::Upstream;

/// Is told of every decision, on the path of the call: it must be quick, and never wait.
pub trait Observer: Send + Sync + 'static {
    /// Takes note of one.
    fn observe(&self, decision: &Decision<'_>);
}

/// Nobody looks.
impl Observer for () {
    fn observe(&self, _: &Decision<'_>) {}
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was passed on, and the upstream's answer goes back.
    Permitted,
    /// It was not passed on, because of what it is or whose it is.
    Refused,
    /// We or the upstream could not answer it. Whether it took effect may be unknown.
    Failed,
    /// The client left before there was an answer.
    Left,
    /// The stream that it opened is over.
    Ended,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Permitted,
        Self::Refused,
        Self::Failed,
        Self::Left,
        Self::Ended,
    ];

    /// A stable word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Left => "left",
            Self::Ended => "ended",
        }
    }
}

/// How a server is reached behind us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// A command of ours.
    Stdio,
    /// In this process.
    InProcess,
}

impl Transport {
    pub(crate) const fn of(upstream: &Upstream) -> Self {
        match upstream {
            Upstream::Http(_) => Self::Http,
            Upstream::InProcess(_) => Self::InProcess,
            Upstream::Stdio(_) => Self::Stdio,
        }
    }

    /// A stable word for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Stdio => "stdio",
            Self::InProcess => "in_process",
        }
    }
}

/// Scopes that a decision is about.
#[derive(Clone, Copy)]
pub enum Needed<'a> {
    /// What a permitted call acts on needs them.
    Object(Needs<'a>),
    /// They were missing.
    Scopes(&'a ScopeSet),
}

impl Needed<'_> {
    /// Tells each of them, in order.
    pub fn each(&self, mut tell: impl FnMut(&Scope)) {
        match self {
            Self::Object(needs) => needs.iter().for_each(tell),
            Self::Scopes(scopes) => scopes.iter().for_each(&mut tell),
        }
    }
}

/// The evidence of one decision. No token, code or argument of a call is in it; `Debug` tells ids only.
pub struct Decision<'a> {
    /// Its id: what the answer to a refused call carries as `decision_id`. The end of a stream has that of the
    /// decision that opened it.
    pub id: Uuid,
    /// When the request came.
    pub at: UnixTime,
    /// From the request to this decision; for a stream that ended, as long as it lasted.
    pub took: Duration,
    /// Of that, the time from sending it to the upstream until the head of its answer.
    pub upstream_took: Option<Duration>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in one stable word; none for what was permitted.
    pub reason: Option<&'static str>,
    /// Status of the answer; none if the client had left, or at the end of a stream.
    pub status: Option<u16>,
    /// Status of the upstream's answer, if it came to that.
    pub upstream_status: Option<u16>,
    /// Whether the answer is a stream that stays open.
    pub opens_stream: bool,
    /// The server, with its resource identifier.
    pub server: &'a ProtectedServer,
    /// How it is reached.
    pub transport: Transport,
    /// Who issues the tokens that it takes.
    pub issuer: &'a Issuer,
    /// Whom the verified token speaks for; none if there is none, or a bad one. It is anonymous on servers that ask
    /// nobody.
    pub principal: Option<&'a Principal>,
    /// HTTP method.
    pub http_method: &'a Method,
    /// The method of the message, once it was read and admitted; none for GET, DELETE and answers of clients.
    pub method: Option<&'a str>,
    /// What it acts on: the tool, prompt, resource URI or task, as its client wrote it; of a URI without user, query and
    /// fragment.
    pub name: Option<&'a str>,
    /// The revision it is sent in, once it was read.
    pub revision: Option<Revision>,
    /// The scopes that the call needed, or would have.
    pub needed: Option<Needed<'a>>,
    /// Whether the same was refused to the same caller for the same reason within the last minute: then it counts once.
    pub repeated: bool,
    /// Whether there were so many like it in the last minute that it is enough to count this one: somebody does not
    /// stop.
    pub too_often: bool,
    /// Ids of the policies that decided: those that permit it, or those that forbid it.
    pub policies: &'a [String],
    /// The login that a refusal belongs to.
    pub trace: Option<TraceId>,
    /// The `trace-id` of the client's W3C `traceparent`: its own name for it, which proves nothing.
    pub traceparent: Option<TraceId>,
    /// Where it came from.
    pub peer: Option<IpAddr>,
}

impl fmt::Debug for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("id", &self.id)
            .field("outcome", &self.outcome)
            .field("reason", &self.reason)
            .field("server", &self.server.name)
            .finish_non_exhaustive()
    }
}

/// Ids for decisions that nobody is told: unique, in order, and without asking the system for chance each time
/// (RFC 9562 §6.2). What a caller is told comes from chance alone, so that nobody can count the calls of others.
pub(crate) struct DecisionIds {
    process: [u8; 2],
    next: AtomicU64,
}

impl DecisionIds {
    pub(crate) fn new(random: &dyn Random) -> Self {
        Self {
            process: random::bytes(random),
            next: AtomicU64::new(u64::from_be_bytes(random::bytes(random))),
        }
    }

    fn next(&self, at: UnixTime) -> Uuid {
        let [a, b] = self.process;
        let [c, d, e, f, g, h, i, j] = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let millis = u64::try_from(at.millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
    }
}

/// Who observes, and what is the same for every request of a server.
#[derive(Clone, Copy)]
pub(crate) struct Observing<'a> {
    pub(crate) observer: &'a Arc<dyn Observer>,
    pub(crate) ids: &'a DecisionIds,
    pub(crate) issuer: &'a Issuer,
    pub(crate) protected: &'a Arc<ProtectedServer>,
    pub(crate) transport: Transport,
}

/// A request from its first moment on. Dropped undecided, its client has left: that is an end as well.
pub(crate) struct Watch<'a> {
    observing: Observing<'a>,
    head: &'a request::Parts,
    at: UnixTime,
    begun: Instant,
    sent: Option<Instant>,
    upstream: Option<(Duration, u16)>,
    decided: bool,
}

/// What a decision is made of besides what the request and its circumstances tell.
pub(crate) struct Verdict<'a> {
    pub(crate) id: Option<Uuid>,
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<&'static str>,
    pub(crate) status: Option<u16>,
    pub(crate) opens_stream: bool,
    pub(crate) recurrence: Recurrence,
    pub(crate) needed: Option<Needed<'a>>,
    pub(crate) policies: &'a [String],
    pub(crate) trace: Option<TraceId>,
}

impl Verdict<'_> {
    pub(crate) const fn new(outcome: Outcome) -> Self {
        Self {
            id: None,
            outcome,
            reason: None,
            status: None,
            opens_stream: false,
            recurrence: Recurrence::FIRST,
            needed: None,
            policies: &[],
            trace: None,
        }
    }
}

impl<'a> Watch<'a> {
    pub(crate) fn begin(observing: Observing<'a>, head: &'a request::Parts, clock: &dyn Clock) -> Self {
        Self {
            observing,
            head,
            at: clock.now(),
            begun: Instant::now(),
            sent: None,
            upstream: None,
            decided: false,
        }
    }

    /// It goes to the upstream now.
    pub(crate) fn sending(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// The head of the upstream's answer came.
    pub(crate) fn answered(&mut self, status: u16) {
        self.upstream = self.sent.map(|sent| (sent.elapsed(), status));
    }

    /// Tells the observer, once: what comes after the first is not told. Hands back the id.
    pub(crate) fn decide(
        &mut self,
        verdict: &Verdict<'_>,
        principal: Option<&Principal>,
        call: Option<&Summary>,
    ) -> Option<Uuid> {
        if std::mem::replace(&mut self.decided, true) {
            return None;
        }
        let Observing {
            observer,
            ids,
            issuer,
            protected,
            transport,
        } = self.observing;
        let id = verdict.id.unwrap_or_else(|| ids.next(self.at));
        let name = call.and_then(Summary::name).map(trace::without_arguments);
        let upstream = self
            .upstream
            .or_else(|| self.sent.map(|sent| (sent.elapsed(), 0)));
        observer.observe(&Decision {
            id,
            at: self.at,
            took: self.begun.elapsed(),
            upstream_took: upstream.map(|(took, _)| took),
            outcome: verdict.outcome,
            reason: verdict.reason,
            status: verdict.status,
            upstream_status: self.upstream.map(|(_, status)| status),
            opens_stream: verdict.opens_stream,
            server: protected,
            transport,
            issuer,
            principal,
            http_method: &self.head.method,
            method: call.and_then(Summary::method),
            name: name.as_deref(),
            revision: call.map(Summary::revision),
            repeated: verdict.recurrence.repeated,
            too_often: verdict.recurrence.too_often,
            needed: verdict.needed,
            policies: verdict.policies,
            trace: verdict.trace,
            traceparent: trace::parent(&self.head.headers),
            peer: peer(self.head),
        });
        Some(id)
    }

    /// The request was passed on and its answer is a stream, if `id` is that of this decision: whoever carries the
    /// stream keeps the result, and its end is told when it is dropped.
    pub(crate) fn stream(&self, id: Uuid, principal: &Arc<Principal>, call: Option<&Summary>) -> StreamWatch {
        let observing = self.observing;
        StreamWatch(Box::new(OpenStream {
            observer: Arc::clone(observing.observer),
            issuer: observing.issuer.clone(),
            protected: Arc::clone(observing.protected),
            transport: observing.transport,
            principal: Arc::clone(principal),
            method: call.and_then(Summary::method).map(Into::into),
            name: call
                .and_then(Summary::name)
                .map(|name| trace::without_arguments(name).into()),
            revision: call.map(Summary::revision),
            http_method: self.head.method.clone(),
            traceparent: trace::parent(&self.head.headers),
            peer: peer(self.head),
            id,
            at: self.at,
            begun: self.begun,
            reason: None,
        }))
    }

    pub(crate) const fn is_decided(&self) -> bool {
        self.decided
    }

    /// Nothing was asked that has to be decided: a preflight.
    pub(crate) const fn dismiss(&mut self) {
        self.decided = true;
    }

    pub(crate) const fn server(&self) -> &'a Arc<ProtectedServer> {
        self.observing.protected
    }

    pub(crate) const fn head(&self) -> &'a request::Parts {
        self.head
    }
}

fn peer(head: &request::Parts) -> Option<IpAddr> {
    head.extensions.get::<PeerAddress>().map(|peer| peer.0)
}

/// An open stream.
pub(crate) struct StreamWatch(Box<OpenStream>);

struct OpenStream {
    observer: Arc<dyn Observer>,
    issuer: Issuer,
    protected: Arc<ProtectedServer>,
    transport: Transport,
    principal: Arc<Principal>,
    // Not the summary: it holds the whole message.
    method: Option<Box<str>>,
    name: Option<Box<str>>,
    revision: Option<Revision>,
    http_method: Method,
    traceparent: Option<TraceId>,
    peer: Option<IpAddr>,
    id: Uuid,
    at: UnixTime,
    begun: Instant,
    reason: Option<&'static str>,
}

impl StreamWatch {
    /// Why it ends. The first reason counts; without one its client has left.
    pub(crate) fn ends(&mut self, reason: &'static str) {
        self.0.reason.get_or_insert(reason);
    }
}

impl Drop for StreamWatch {
    fn drop(&mut self) {
        let open = &*self.0;
        open.observer.observe(&Decision {
            id: open.id,
            at: open.at,
            took: open.begun.elapsed(),
            upstream_took: None,
            outcome: Outcome::Ended,
            reason: Some(open.reason.unwrap_or("client_left")),
            status: None,
            upstream_status: None,
            opens_stream: false,
            server: &open.protected,
            transport: open.transport,
            issuer: &open.issuer,
            principal: Some(&open.principal),
            http_method: &open.http_method,
            method: open.method.as_deref(),
            name: open.name.as_deref(),
            revision: open.revision,
            repeated: false,
            too_often: false,
            needed: None,
            policies: &[],
            trace: None,
            traceparent: open.traceparent,
            peer: open.peer,
        });
    }
}
