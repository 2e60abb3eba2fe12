//! The way of one request.

mod admit;
mod entry;
mod serve;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_limits::KnownAddress;
use doorward_policy::Policy;
use doorward_recorder::Recorder;
use doorward_resource_server::{Principal, Revocations, TokenVerifier};
use doorward_seal::Sealer;
use doorward_types::random::Random;
use doorward_types::time::Clock;
use doorward_types::url::Issuer;
use http::{Request, Response, request};

use crate::body::Body;
use crate::connect::HttpClients;
use crate::decision::{DecisionIds, Observer, Observing, Transport, Watch};
use crate::limit::Meters;
use crate::metadata;
use crate::origin::Origins;
use crate::receive::{self, Limits};
use crate::refuse::{Circumstances, Failure, refuse};
use crate::session::Sessions;
use crate::settings::{GatewayError, Server, Settings};
use crate::trace::{self, Told};
use entry::Entry;

/// What the gateway works with.
pub struct Parts {
    /// Judges tokens.
    pub verifier: Arc<dyn TokenVerifier<Arc<Principal>>>,
    /// Ends open streams. The same that the verifier asks.
    pub revocations: Arc<dyn Revocations>,
    /// Has the last word on what access rules and scopes let through.
    pub policy: Arc<dyn Policy>,
    /// Seals session ids (`Purpose::McpSession`).
    pub sealer: Arc<Sealer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Is told of refusals, and of documents that are fetched: where a login begins.
    pub recorder: Recorder,
    /// Who called how often. The same for the gateways of successive configurations.
    pub meters: Arc<Meters>,
    /// Is told of every decision.
    pub observer: Arc<dyn Observer>,
}

/// The data plane of all protected servers.
pub struct Gateway {
    servers: Vec<Entry>,
    routes: HashMap<String, Route>,
    origins: Origins,
    sessions: Sessions,
    limits: Limits,
    stream_lifetime: Duration,
    verifier: Arc<dyn TokenVerifier<Arc<Principal>>>,
    revocations: Arc<dyn Revocations>,
    policy: Arc<dyn Policy>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    recorder: Recorder,
    observer: Arc<dyn Observer>,
    decisions: DecisionIds,
    issuer: Issuer,
}

/// Where a path leads. Given by [`Gateway::route`], for that gateway only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(Target);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Endpoint(usize),
    Metadata(usize),
}

impl Gateway {
    /// A gateway for `servers`.
    pub fn new(settings: &Settings, servers: Vec<Server>, parts: Parts) -> Result<Self, GatewayError> {
        let (mut routes, mut clients) = (HashMap::new(), HttpClients::default());
        let mut entries = Vec::with_capacity(servers.len());
        let only = servers.len() == 1;
        for (index, server) in servers.into_iter().enumerate() {
            let entry = Entry::new(settings, server, &parts, &mut clients)?;
            entry.add_routes(&mut routes, index, only)?;
            entries.push(entry);
        }
        Ok(Self {
            servers: entries,
            routes,
            origins: Origins::new(&settings.public_url, &settings.allowed_origins)?,
            sessions: Sessions {
                sealer: parts.sealer,
                random: Arc::clone(&parts.random),
            },
            limits: Limits {
                bytes: settings.body_limit,
                time: settings.body_timeout,
            },
            stream_lifetime: settings.stream_lifetime,
            verifier: parts.verifier,
            revocations: parts.revocations,
            policy: parts.policy,
            clock: parts.clock,
            decisions: DecisionIds::new(&*parts.random),
            random: parts.random,
            recorder: parts.recorder,
            observer: parts.observer,
            issuer: settings.issuer.clone(),
        })
    }

    /// Whose a path is. It compares the raw path byte for byte: nothing is decoded, folded or normalised,
    /// so no two spellings of a path can be judged differently here and behind us (HD-08).
    #[must_use]
    pub fn route(&self, path: &str) -> Option<Route> {
        self.routes.get(path).copied()
    }

    /// Answers one request whose path led to `route`. Dropping the future, or the answer's body, drops the
    /// upstream's request with it.
    pub async fn handle<B>(&self, route: Route, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let (Target::Endpoint(index) | Target::Metadata(index)) = route.0;
        let Some(entry) = self.servers.get(index) else {
            // A route of another gateway.
            let mut response = Response::new(Body::empty());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            return response;
        };
        match route.0 {
            Target::Metadata(_) => {
                if request.method() == http::Method::GET {
                    let (extensions, headers) = (request.extensions(), request.headers());
                    let arrival = trace::arrival(extensions, headers, &entry.protected);
                    self.recorder.fetched(&arrival, request.uri().path());
                }
                metadata::answer(&entry.document, request.method())
            }
            Target::Endpoint(_) => self.endpoint(entry, request).await,
        }
    }

    async fn endpoint<B>(&self, entry: &Entry, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let (head, mut body) = request.into_parts();
        let watch = Watch::begin(self.observing(entry), &head, &*self.clock);
        let mut about = Circumstances::new(&entry.challenges, &entry.gauge, watch);
        let Some(origin) = self.origins.judge(&head.headers) else {
            let failure = entry.gauge.count(Failure::Origin, &mut about);
            return self.refuse(&failure, &mut about, entry, &head);
        };
        if let Some(answer) = origin.preflight(&head.method, &head.headers, &entry.forward_headers) {
            about.watch.dismiss();
            return answer;
        }
        let mut response = match self.serve(entry, &head, &mut body, &mut about).await {
            Ok(response) => response,
            Err(failure) => {
                let failure = entry.gauge.count(failure, &mut about);
                let response = self.refuse(&failure, &mut about, entry, &head);
                if !matches!(failure, Failure::BodyTimedOut | Failure::BodyCut) {
                    receive::discard(body, self.limits);
                }
                response
            }
        };
        origin.decorate(&mut response);
        response
    }

    fn observing<'a>(&'a self, entry: &'a Entry) -> Observing<'a> {
        Observing {
            observer: &self.observer,
            ids: &self.decisions,
            issuer: &self.issuer,
            protected: &entry.protected,
            transport: Transport::of(&entry.upstream),
        }
    }

    fn refuse(
        &self,
        failure: &Failure,
        about: &mut Circumstances<'_>,
        entry: &Entry,
        head: &request::Parts,
    ) -> Response<Body> {
        let told = Told {
            recorder: &self.recorder,
            protected: &entry.protected,
            head,
        };
        refuse(failure, about, &told, self.clock.now(), &*self.random)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// Where a request comes from, if nobody but trusted proxies had a say in it: policies decide by it.
fn address(head: &request::Parts) -> Option<IpAddr> {
    head.extensions.get::<KnownAddress>().and_then(|known| known.0)
}
