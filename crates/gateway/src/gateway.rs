//! The way of one request.

use std::collections::{HashMap, hash_map};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_limits::PeerAddress;
use doorward_mcp::list::Kind;
use doorward_mcp::{Call, Object, Subscribed};
use doorward_policy::{Context, Permit, Policy, ProtectedServer, judge};
use doorward_recorder::Recorder;
use doorward_resource_server::challenge::Challenges;
use doorward_resource_server::metadata::{WELL_KNOWN, metadata_url};
use doorward_resource_server::{Principal, Revocations, TokenVerifier, bearer_token};
use doorward_seal::Sealer;
use doorward_types::random::Random;
use doorward_types::time::Clock;
use doorward_types::url::Issuer;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Request, Response, request, response};

use crate::body::Body;
use crate::connect::{HttpClient, client};
use crate::decision::{DecisionIds, Observer, Observing, Transport, Watch};
use crate::filter::{Plan, Recipient, Sieve};
use crate::guard::{Guard, spread};
use crate::handed::Holder;
use crate::learner::Learner;
use crate::limit::{Caller, Gauge, Meters};
use crate::listener::{Learns, Listener};
use crate::metadata;
use crate::origin::Origins;
use crate::parameters::Parameters;
use crate::receive::{self, Limits};
use crate::refuse::{Circumstances, Failure, refuse};
use crate::relay::{self, Relay};
use crate::rules::Rules;
use crate::session::Sessions;
use crate::settings::{GatewayError, Server, Settings};
use crate::standing::{Standing, Visit, nobody};
use crate::stream::{Purpose, Stream};
use crate::trace::{self, Told};
use crate::upstream::Upstream;

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

struct Entry {
    protected: Arc<ProtectedServer>,
    upstream: Upstream,
    http: HttpClient,
    head_timeout: Duration,
    forward_headers: Vec<HeaderName>,
    /// Who callers without a token are, if they are let in.
    anonymous: Option<Arc<Principal>>,
    rules: Rules,
    gauge: Gauge,
    standing: Arc<Standing>,
    challenges: Challenges,
    document: Bytes,
    parameters: Arc<Parameters>,
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
        let mut routes = HashMap::new();
        let mut entries = Vec::with_capacity(servers.len());
        let mut clients = HashMap::new();
        let only = servers.len() == 1;
        for (index, server) in servers.into_iter().enumerate() {
            let protected = server.protected;
            let path = &protected.path;
            if !is_servable(path) {
                return Err(GatewayError::Path(path.clone()));
            }
            let suffix = if path == "/" { "" } else { path };
            let document_path = format!("{WELL_KNOWN}{suffix}");
            let mut targets = vec![(path.clone(), Target::Endpoint(index))];
            if only && document_path != WELL_KNOWN {
                targets.push((WELL_KNOWN.to_owned(), Target::Metadata(index)));
            }
            targets.push((document_path, Target::Metadata(index)));
            for (path, target) in targets {
                if routes.insert(path.clone(), Route(target)).is_some() {
                    return Err(GatewayError::PathTaken(path));
                }
            }
            let metadata_url = metadata_url(&protected.resource);
            let connect_timeout = server.connect_timeout.unwrap_or(settings.connect_timeout);
            let http = match clients.entry(connect_timeout) {
                hash_map::Entry::Occupied(known) => HttpClient::clone(known.get()),
                hash_map::Entry::Vacant(new) => new.insert(client(settings, connect_timeout)?).clone(),
            };
            entries.push(Entry {
                challenges: Challenges::new(&metadata_url, &protected.default_scopes()),
                document: metadata::document(&protected, &settings.issuer)?,
                upstream: server.upstream,
                http,
                head_timeout: server.head_timeout.unwrap_or(settings.head_timeout),
                forward_headers: server.forward_headers,
                anonymous: server.anonymous.then(|| Arc::new(nobody(&protected))),
                rules: Rules::new(Arc::clone(&protected), Arc::clone(&parts.policy)),
                gauge: Gauge::new(&parts.meters, &protected.name, &server.limits),
                standing: server.standing,
                protected,
                parameters: Arc::default(),
            });
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
        let mut about = Circumstances::new(&entry.challenges, watch);
        let Some(origin) = self.origins.judge(&head.headers) else {
            return self.refuse(&Failure::Origin, &mut about, entry, &head);
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

    /// Token, message, policy, upstream, answer: in this order, and each only if the one before let it.
    async fn serve<B>(
        &self,
        entry: &Entry,
        head: &request::Parts,
        body: &mut B,
        about: &mut Circumstances<'_>,
    ) -> Result<Response<Body>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin,
    {
        let server = &*entry.protected;
        let generation = self.revocations.generation();
        let principal = self.principal(entry, head).await?;
        about.principal = Some(Arc::clone(&principal));
        entry.gauge.admit_request(head)?;

        let call = receive::call(
            &head.method,
            &head.headers,
            body,
            self.limits,
            server.scopes.extensions(),
        )
        .await?;
        let legacy = call.revision().is_legacy();
        about.legacy = legacy;
        about.summary = Some(call.summary());
        let permit = self.judge(entry, &principal, head, call)?;
        let user = principal.subject();
        let parameters = &entry.parameters;
        parameters
            .check(user, permit.call(), &head.headers)
            .map_err(Failure::NotAdmitted)?;
        let caller = Caller::of(&principal, head);
        entry.gauge.admit(&caller, permit.call())?;
        about.counted = true;
        let judged = permit.call().summary();
        let resumed = head.headers.contains_key(relay::LAST_EVENT_ID);
        let plan = Plan::of(&judged, entry.rules.restrict(), resumed);
        let listener = self.listener(entry, &principal, permit.call());

        let session = if legacy {
            self.session(server, &principal, head)?
        } else {
            None
        };
        let mut headers = relay::request(&head.headers, permit.call(), session.clone());
        relay::forward(&head.headers, &entry.forward_headers, &mut headers);
        let (action, purpose) = (permit.call().action(), Purpose::of(permit.call()));
        let place = if purpose.is_listening() {
            entry.gauge.open_stream(&caller)?
        } else {
            None
        };
        about.watch.sending();
        let answer = entry
            .upstream
            .send(&entry.http, entry.head_timeout, permit, headers, &principal)
            .await?;
        let (answer, body) = answer.into_parts();
        about.watch.answered(answer.status.as_u16());
        let relay = relay::judge(&answer, action, body.is_empty())?;
        tracing::debug!(
            server = %server.name,
            user = %principal.subject(),
            method = about.summary.as_ref().and_then(|summary| summary.method()),
            status = answer.status.as_u16(),
            outcome = "permitted",
            "call relayed"
        );
        let session = if legacy {
            self.reseal(server, &principal, head, &answer, session.as_ref())?
        } else {
            None
        };
        let visit = Visit {
            call: judged,
            address: address(head),
            rules: entry.rules.clone(),
            sieved: plan.stream,
            principal,
        };
        let body = match plan.whole.filter(|_| relay == Relay::Whole) {
            Some(asked) => {
                self.sieve(entry, &visit, asked)
                    .whole(body, entry.head_timeout)
                    .await?
            }
            None => body,
        };
        let stream = about.permitted(answer.status, matches!(relay, Relay::Stream));
        let body = match relay {
            Relay::Whole => Body::relayed(body, entry.head_timeout),
            Relay::WithoutBody => Body::empty(),
            Relay::Stream => {
                let sieve = plan.stream.then(|| self.sieve(entry, &visit, None).stream());
                let guard = self.guard(entry, visit, generation);
                let guard = guard.watched_by(stream);
                Body::stream(Stream::new(body, guard, purpose).sieved_by(sieve).holding(place))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = relay::response(&answer.headers, relay, session);
        if plan.whole.is_some() {
            // What one caller may see is no answer to another's request.
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Ok(match listener {
            Some(listener) => listener.follow(response),
            None => response,
        })
    }

    /// Who learns from the answer to a call.
    fn listener(&self, entry: &Entry, principal: &Arc<Principal>, call: &Call) -> Option<Listener> {
        let parameters = entry.parameters.listener(principal.subject(), call);
        parameters.or_else(|| {
            let learner = Learner::of(&entry.standing, principal, call, &self.clock)?;
            Some(Listener::new(Learns::HandedOut(Box::new(learner))))
        })
    }

    fn sieve(&self, entry: &Entry, visit: &Visit, asked: Option<Kind>) -> Sieve {
        let recipient = Recipient {
            principal: Arc::clone(&visit.principal),
            address: visit.address,
            revision: visit.call.revision(),
        };
        let (standing, clock) = (Arc::clone(&entry.standing), Arc::clone(&self.clock));
        Sieve::new(recipient, visit.rules.clone(), standing, clock, asked)
    }

    /// The permit to forward a call. What of it only we know, because we saw it handed out, is looked up on the way:
    /// whose a task is (MB-14), and whose a state (MB-18).
    fn judge(
        &self,
        entry: &Entry,
        principal: &Principal,
        head: &request::Parts,
        call: Call,
    ) -> Result<Permit, Failure> {
        let (server, subject) = (&*entry.protected, principal.policy_subject());
        let (handed, now) = (entry.standing.handed(), self.clock.now());
        let legacy = call.revision().is_legacy();
        let tool = match call.task() {
            None => None,
            Some(task) => {
                let tool = handed.tool_of(&Holder::of(principal), task, now);
                Some(tool.ok_or(match legacy || call.declares_tasks() {
                    true => Failure::UnknownTask { legacy },
                    false => Failure::TasksUndeclared,
                })?)
            }
        };
        let mut context = Context {
            address: address(head),
            ..Context::new(now, call.revision())
        };
        let call = if call.subscribed().any(|one| matches!(one, Subscribed::Task(_))) {
            let holder = Holder::of(principal);
            call.retain_subscriptions(|one| match one {
                Subscribed::Resource(_) => true,
                Subscribed::Task(task) => handed.tool_of(&holder, task, now).is_some_and(|tool| {
                    entry
                        .rules
                        .may_use(subject, &context, Object::Tool(&tool))
                        .is_ok()
                }),
            })
            .map_err(Failure::Envelope)?
        } else {
            call
        };
        context.tool = tool.as_deref();
        let permit = judge(server, subject, &context, call, &*self.policy).map_err(Failure::Policy)?;
        let call = permit.call();
        if let Some(state) = call.request_state() {
            let (method, name) = (call.method().unwrap_or_default(), call.name().unwrap_or_default());
            if !handed.has_state(&Holder::of(principal), method, name, state, now) {
                return Err(Failure::UnknownState);
            }
        }
        if permit.cut() > 0 {
            tracing::info!(
                server = %server.name,
                user = %principal.subject(),
                resources = permit.cut(),
                "resources that may not be read were cut out of a subscription"
            );
        }
        Ok(permit)
    }

    /// Who calls. Only a request without any credential can be anonymous: one with a bad token, or with a
    /// scheme that we do not know, is refused on every server.
    async fn principal(&self, entry: &Entry, head: &request::Parts) -> Result<Arc<Principal>, Failure> {
        let token = bearer_token(&head.headers, &head.uri).map_err(Failure::Credential)?;
        match (token, &entry.anonymous) {
            (None, Some(nobody)) if !head.headers.contains_key(AUTHORIZATION) => Ok(Arc::clone(nobody)),
            (None, _) => Err(Failure::NoToken),
            (Some(token), _) => {
                let resource = &entry.protected.resource;
                let verdict = match entry.gauge.admit_unseen(head) {
                    Ok(()) => self.verifier.verify(resource, token).await,
                    Err(limited) => self.verifier.recall(resource, token).ok_or(limited)?,
                };
                verdict.map_err(|refusal| {
                    entry.gauge.count_token(head, token.expose(), refusal);
                    Failure::Token(refusal)
                })
            }
        }
    }

    /// The upstream's session id that the client's stands for.
    fn session(
        &self,
        server: &ProtectedServer,
        principal: &Principal,
        head: &request::Parts,
    ) -> Result<Option<HeaderValue>, Failure> {
        if !head.headers.contains_key(relay::SESSION_ID) {
            return Ok(None);
        }
        let sealed = relay::single(&head.headers, &relay::SESSION_ID).ok_or(Failure::Session)?;
        self.sessions
            .open(&server.name, principal, sealed)
            .map(Some)
            .ok_or(Failure::Session)
    }

    /// What the client is to know of the session id in the upstream's answer: what it already has, if the
    /// upstream repeats it.
    fn reseal(
        &self,
        server: &ProtectedServer,
        principal: &Principal,
        head: &request::Parts,
        answer: &response::Parts,
        session: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Failure> {
        let Some(given) = answer.headers.get(relay::SESSION_ID) else {
            return Ok(None);
        };
        if session == Some(given) {
            return Ok(head.headers.get(relay::SESSION_ID).cloned());
        }
        let sealed = relay::single(&answer.headers, &relay::SESSION_ID)
            .and_then(|given| self.sessions.seal(&server.name, principal, given));
        sealed.map(Some).ok_or(Failure::UpstreamNotMcp(answer.status))
    }

    fn guard(&self, entry: &Entry, visit: Visit, generation: u64) -> Guard {
        let lifetime = spread(self.stream_lifetime, &*self.random);
        let (revocations, clock) = (Arc::clone(&self.revocations), Arc::clone(&self.clock));
        let standing = Arc::clone(&entry.standing);
        Guard::new(revocations, clock, standing, visit, generation, lifetime)
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

/// Where a request comes from, as far as that can be told.
fn address(head: &request::Parts) -> Option<IpAddr> {
    head.extensions.get::<PeerAddress>().map(|peer| peer.0)
}

/// A path that a client can ask for in one way only.
fn is_servable(path: &str) -> bool {
    let clean = path
        .bytes()
        .all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'?' | b'#' | b'\\' | b'%' | b';'));
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    clean
        && segments.is_some_and(|mut segments| {
            path == "/" || segments.all(|segment| !matches!(segment, "" | "." | ".."))
        })
}
