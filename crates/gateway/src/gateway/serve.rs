//! One call: token, message, policy, upstream, answer, each only if the one before let it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use doorward_mcp::Summary;
use doorward_mcp::list::Kind;
use doorward_resource_server::Principal;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, request, response};

use super::admit::Admitted;
use super::entry::Entry;
use super::{Gateway, address};
use crate::body::{Body, UpstreamBody};
use crate::filter::{Plan, Recipient, Sieve};
use crate::guard::{Guard, spread};
use crate::learner::Learner;
use crate::limit::{Caller, Place};
use crate::listener::Listener;
use crate::receive;
use crate::refuse::{Circumstances, Failure};
use crate::relay::{self, Relay};
use crate::standing::Visit;
use crate::stream::{Purpose, Stream};
use crate::upstream::Upstream;

/// What is kept of a permitted call while its upstream works on it.
struct Exchange {
    principal: Arc<Principal>,
    call: Summary,
    tool: Option<Box<str>>,
    address: Option<IpAddr>,
    plan: Plan,
    purpose: Purpose,
    /// Among the streams of its user.
    place: Option<Place>,
    listener: Option<Listener>,
    /// The upstream's session.
    session: Option<HeaderValue>,
    /// Of the revocations, before the token was verified.
    generation: u64,
}

impl Gateway {
    pub(super) async fn serve<B>(
        &self,
        entry: &Entry,
        head: &request::Parts,
        body: &mut B,
        about: &mut Circumstances<'_>,
    ) -> Result<Response<Body>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin,
    {
        let generation = self.revocations.generation();
        let principal = self.principal(entry, head).await?;
        about.principal = Some(Arc::clone(&principal));
        entry.gauge.admit_request(head)?;

        let extensions = entry.protected.scopes.extensions();
        let call = receive::call(&head.method, &head.headers, body, self.limits, extensions).await?;
        about.legacy = call.revision().is_legacy();
        about.summary = Some(call.summary());
        let admitted = self.judge(entry, &principal, head, call)?;
        let call = admitted.permit.call();
        let checked = entry.parameters.check(principal.subject(), call, &head.headers);
        checked.map_err(Failure::NotAdmitted)?;
        let caller = Caller::of(&principal, head);
        entry.gauge.admit(&caller, call)?;
        about.counted = true;
        let needs = admitted.permit.needs(&about.watch.server().scopes);
        about.grounds = Some((admitted.permit.grounds().clone(), needs));
        let mut exchange = self.exchange(entry, head, &principal, &admitted, generation)?;
        if exchange.purpose.is_listening() {
            exchange.place = entry.gauge.open_stream(&caller)?;
        }

        let mut headers = relay::request(&head.headers, call, exchange.session.clone());
        relay::forward(&head.headers, &entry.forward_headers, &mut headers);
        about.watch.sending();
        let answer = entry
            .upstream
            .send(
                entry.http.as_ref(),
                entry.head_timeout,
                admitted.permit,
                headers,
                &principal,
            )
            .await?;
        self.answer(entry, head, about, exchange, answer).await
    }

    fn exchange(
        &self,
        entry: &Entry,
        head: &request::Parts,
        principal: &Arc<Principal>,
        admitted: &Admitted,
        generation: u64,
    ) -> Result<Exchange, Failure> {
        let call = admitted.permit.call();
        let session = if call.revision().is_legacy() {
            self.sessions
                .of(&entry.protected.name, principal, &head.headers)?
        } else {
            None
        };
        let resumed = head.headers.contains_key(relay::LAST_EVENT_ID);
        let learner = || {
            let shared = !matches!(entry.upstream, Upstream::Stdio(_));
            let learner = Learner::of(&entry.standing, principal, call, &self.clock, shared)?;
            Some(learner.within(call, session.as_ref(), resumed)?.listener())
        };
        let listener = entry
            .parameters
            .listener(principal.subject(), call)
            .or_else(learner);
        Ok(Exchange {
            principal: Arc::clone(principal),
            tool: admitted.tool.clone(),
            address: address(head),
            plan: Plan::of(call, entry.rules.restrict(), resumed),
            purpose: Purpose::of(call),
            place: None,
            listener,
            session,
            generation,
            call: call.summary(),
        })
    }

    /// What becomes of the upstream's answer.
    async fn answer(
        &self,
        entry: &Entry,
        head: &request::Parts,
        about: &mut Circumstances<'_>,
        mut exchange: Exchange,
        answer: Response<UpstreamBody>,
    ) -> Result<Response<Body>, Failure> {
        let (answer, body) = answer.into_parts();
        about.watch.answered(answer.status.as_u16());
        let relay = relay::judge(&answer, exchange.call.action(), body.is_empty())?;
        tracing::debug!(
            server = %entry.protected.name,
            user = %exchange.principal.subject(),
            method = exchange.call.method(),
            status = answer.status.as_u16(),
            outcome = "permitted",
            "call relayed"
        );
        let session = self.session_for_client(entry, head, &exchange, &answer)?;
        let (plan, listener) = (exchange.plan, exchange.listener.take());
        let body = match plan.whole {
            Some(asked) if relay == Relay::Whole => {
                let sieve = self.sieve(entry, &exchange, asked);
                sieve.whole(body, entry.head_timeout).await?
            }
            _ => body,
        };
        let watch = about.permitted(answer.status, relay == Relay::Stream);
        let body = match relay {
            Relay::Whole => Body::relayed(body, entry.head_timeout),
            Relay::WithoutBody => {
                body.discard().await;
                Body::empty()
            }
            Relay::Stream => {
                let asked = plan.whole.flatten();
                let sieve = plan.stream.then(|| self.sieve(entry, &exchange, asked).stream());
                let place = exchange.place.take();
                let (guard, purpose) = self.guard(entry, exchange);
                let guard = guard.watched_by(watch);
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

    /// What the client is to know of the session id in the upstream's answer.
    fn session_for_client(
        &self,
        entry: &Entry,
        head: &request::Parts,
        exchange: &Exchange,
        answer: &response::Parts,
    ) -> Result<Option<HeaderValue>, Failure> {
        if !exchange.call.revision().is_legacy() {
            return Ok(None);
        }
        let session = exchange.session.as_ref();
        self.sessions.reseal(
            &entry.protected.name,
            &exchange.principal,
            &head.headers,
            answer,
            session,
        )
    }

    fn sieve(&self, entry: &Entry, exchange: &Exchange, asked: Option<Kind>) -> Sieve {
        let recipient = Recipient {
            principal: Arc::clone(&exchange.principal),
            address: exchange.address,
            revision: exchange.call.revision(),
        };
        let (standing, clock) = (Arc::clone(&entry.standing), Arc::clone(&self.clock));
        Sieve::new(recipient, entry.rules.clone(), standing, clock, asked)
    }

    /// Who watches over the stream that answers a call, and what that stream is for.
    fn guard(&self, entry: &Entry, exchange: Exchange) -> (Guard, Purpose) {
        let visit = Visit {
            principal: exchange.principal,
            call: exchange.call.compact(),
            tool: exchange.tool,
            address: exchange.address,
            rules: entry.rules.clone(),
            sieved: exchange.plan.stream,
        };
        let lifetime = spread(self.stream_lifetime, &*self.random);
        let (revocations, clock) = (Arc::clone(&self.revocations), Arc::clone(&self.clock));
        let standing = Arc::clone(&entry.standing);
        let guard = Guard::new(revocations, clock, standing, visit, exchange.generation, lifetime);
        (guard, exchange.purpose)
    }
}
