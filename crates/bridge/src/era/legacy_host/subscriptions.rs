//! News of the server: one `subscriptions/listen` stream in place of `resources/subscribe` and of what a session told by itself.
//!
//! A stream's filter is fixed, so every change opens a new one; the old one ends when the new one is acknowledged, so that no
//! news falls between.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use tracing::{info, warn};

use super::super::message::{self, Id, own_number, told};
use super::super::refusal::Refusal;
use super::{LegacyHost, Phase, answer, refuse};
use crate::adapter::Step;
use doorward_mcp::members::Members;

/// Most resources that are listened to.
const RESOURCES: usize = 1024;
/// Longest URI.
const URI_LENGTH: usize = 8 << 10;
/// How long a server may take to acknowledge.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait before a stream is opened again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Subscriptions {
    /// What the host subscribed to.
    uris: BTreeSet<String>,
    /// Whether changes of lists are wanted: after `notifications/initialized`.
    lists: bool,
    /// The stream that news come from.
    current: Option<Stream>,
    /// The one that will take its place.
    next: Option<Stream>,
    /// Subscriptions that no stream was asked for yet.
    unasked: Vec<(Id, String)>,
    /// Whether what is wanted changed since `next` was opened.
    changed: bool,
    /// Streams that ended one after the other.
    failures: u32,
}

struct Stream {
    number: u64,
    /// What the server agreed to.
    honoured: BTreeSet<String>,
    /// The host's subscriptions that wait for the acknowledgement.
    waiting: Vec<(Id, String)>,
    /// How long until it is sent, and then how long it may take.
    opens_in: Duration,
    age: Duration,
}

impl Subscriptions {
    pub(super) fn is_stream(&self, number: u64) -> bool {
        self.streams().any(|stream| stream.number == number)
    }

    /// Whether a message's subscription is the one that news are taken from.
    pub(super) fn is_current(&self, id: &Id) -> bool {
        own_number(id).is_some_and(|number| {
            self.current
                .as_ref()
                .is_some_and(|stream| stream.number == number)
        })
    }

    /// A subscription came to nothing. One that was asked for after it stands.
    fn forget(&mut self, uri: &str) {
        if !self.unasked.iter().any(|(_, unasked)| unasked == uri) {
            self.uris.remove(uri);
        }
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.current.iter().chain(&self.next)
    }

    /// How long to wait before a stream is opened again.
    fn wait(&self) -> Duration {
        let doubled = Duration::from_secs(1).saturating_mul(1 << self.failures.min(6));
        doubled.min(LONGEST_WAIT)
    }
}

impl LegacyHost {
    /// The host is ready: it hears of changes as in a session.
    pub(super) fn listen(&mut self) -> Vec<Step> {
        if !matches!(self.phase, Phase::Open(_)) || mem::replace(&mut self.subscriptions.lists, true) {
            return Vec::new();
        }
        self.refresh()
    }

    pub(super) fn subscribe(&mut self, id: &Id, params: &Members) -> Result<Vec<Step>, Refusal> {
        if !matches!(&self.phase, Phase::Open(open) if open.1.offered.subscribe) {
            return Err(Refusal::NotDeclared("resources.subscribe"));
        }
        let uri = params.text("uri").filter(|uri| uri.len() <= URI_LENGTH);
        let uri = uri.ok_or(Refusal::BadParams("`uri` is missing, or too long"))?;
        let subscriptions = &mut self.subscriptions;
        let current = subscriptions.current.as_ref();
        if subscriptions.uris.contains(&uri) && current.is_some_and(|stream| stream.honoured.contains(&uri)) {
            return Ok(vec![answer(id, &Members::default())]);
        }
        if subscriptions.uris.len() >= RESOURCES || subscriptions.unasked.len() >= RESOURCES {
            return Err(Refusal::TooMany("subscriptions"));
        }
        subscriptions.uris.insert(uri.clone());
        subscriptions.unasked.push((id.clone(), uri));
        Ok(self.refresh())
    }

    pub(super) fn unsubscribe(&mut self, id: &Id, params: &Members) -> Result<Vec<Step>, Refusal> {
        let uri = params.text("uri").ok_or(Refusal::BadParams("`uri` is missing"))?;
        let mut steps = vec![answer(id, &Members::default())];
        if self.subscriptions.uris.remove(&uri) {
            steps.extend(self.refresh());
        }
        Ok(steps)
    }

    /// What is to be listened to. Empty: nothing.
    fn filter(&self) -> Members {
        let mut filter = Members::default();
        let Phase::Open(open) = &self.phase else {
            return filter;
        };
        let offered = open.1.offered;
        for (name, wanted) in [
            ("toolsListChanged", offered.tools_changed),
            ("promptsListChanged", offered.prompts_changed),
            ("resourcesListChanged", offered.resources_changed),
        ] {
            if wanted && self.subscriptions.lists {
                filter = filter.with(name, &true);
            }
        }
        if !self.subscriptions.uris.is_empty() {
            filter = filter.with("resourceSubscriptions", &self.subscriptions.uris);
        }
        filter
    }

    /// Opens a stream for what is wanted now, unless one is just being opened.
    fn refresh(&mut self) -> Vec<Step> {
        let opening = self.subscriptions.next.as_ref();
        if opening.is_some_and(|stream| stream.opens_in.is_zero()) {
            self.subscriptions.changed = true;
            return Vec::new();
        }
        // One that would be opened later is forgotten: its acknowledgement ends it.
        let waiting = self.subscriptions.next.take().map(|stream| stream.waiting);
        self.subscriptions.unasked.extend(waiting.into_iter().flatten());
        self.open(Duration::ZERO)
    }

    fn open(&mut self, wait: Duration) -> Vec<Step> {
        let filter = self.filter();
        let subscriptions = &mut self.subscriptions;
        subscriptions.changed = false;
        let unasked = mem::take(&mut subscriptions.unasked);
        // One that was taken back before the server heard of it has had its way.
        let (waiting, over): (Vec<_>, Vec<_>) = unasked
            .into_iter()
            .partition(|(_, uri)| subscriptions.uris.contains(uri));
        let mut steps: Vec<Step> = over
            .iter()
            .map(|(id, _)| answer(id, &Members::default()))
            .collect();
        if filter.is_empty() {
            steps.extend(self.leave());
            return steps;
        }
        let number = self.number();
        let mut params = Members::default().with("notifications", &filter);
        if let Phase::Open(open) = &self.phase {
            open.0.meta(&mut params, None);
        }
        self.subscriptions.next = Some(Stream {
            number,
            honoured: BTreeSet::new(),
            waiting,
            opens_in: wait,
            age: Duration::ZERO,
        });
        let request = message::request(number, "subscriptions/listen", &params);
        steps.push(if wait.is_zero() {
            Step::ToServer(request)
        } else {
            Step::ToServerIn(wait, request)
        });
        steps
    }

    /// Ends the stream that is not wanted any more.
    fn leave(&mut self) -> Vec<Step> {
        let left = self.subscriptions.current.take();
        left.map(|stream| end(stream.number)).into_iter().collect()
    }

    /// The server says what it agreed to.
    pub(super) fn acknowledged(&mut self, id: &Id, params: &Members) -> Vec<Step> {
        let Some(number) = own_number(id) else {
            return Vec::new();
        };
        let opened = self.subscriptions.next.take_if(|stream| stream.number == number);
        let Some(mut stream) = opened else {
            let is_current = self.subscriptions.is_stream(number);
            return (!is_current).then(|| end(number)).into_iter().collect();
        };
        let agreed = params.object("notifications");
        let honoured = agreed.and_then(|agreed| agreed.value("resourceSubscriptions"));
        stream.honoured = honoured.unwrap_or_default();
        let mut steps = Vec::new();
        for (id, uri) in mem::take(&mut stream.waiting) {
            steps.push(if stream.honoured.contains(&uri) {
                answer(&id, &Members::default())
            } else {
                self.subscriptions.uris.remove(&uri);
                refuse(
                    &id,
                    &Refusal::BadParams("the server does not tell of changes of this resource"),
                )
            });
        }
        steps.extend(self.leave());
        self.subscriptions.current = Some(stream);
        self.subscriptions.failures = 0;
        if self.subscriptions.changed {
            steps.extend(self.refresh());
        }
        steps
    }

    /// A stream is over: opened again after a while, unless the server will not have it.
    pub(super) fn stream_ended(&mut self, number: u64, error: Option<&Members>) -> Vec<Step> {
        let is_final = error.is_some_and(is_final);
        let subscriptions = &mut self.subscriptions;
        subscriptions.failures = subscriptions.failures.saturating_add(1);
        let mut steps = Vec::new();
        if let Some(stream) = subscriptions.next.take_if(|stream| stream.number == number) {
            let words = error.map_or_else(|| "the stream ended".to_owned(), told);
            for (id, uri) in stream.waiting {
                subscriptions.forget(&uri);
                let refusal = Refusal::Opening {
                    method: "subscriptions/listen",
                    told: words.clone(),
                };
                steps.push(refuse(&id, &refusal));
            }
        } else if subscriptions
            .current
            .take_if(|stream| stream.number == number)
            .is_none()
        {
            return Vec::new();
        }
        if mem::take(&mut self.subscriptions.changed) {
            steps.extend(self.open(Duration::ZERO));
        } else if self.subscriptions.streams().next().is_some() {
            // What is listened to goes on.
        } else if is_final {
            warn!(
                "the server tells of no changes: {}",
                error.map(told).unwrap_or_default()
            );
        } else {
            let wait = self.subscriptions.wait();
            info!(?wait, "the stream of changes ended, and is opened again");
            steps.extend(self.open(wait));
        }
        steps
    }

    /// Gives up streams that are never acknowledged.
    pub(super) fn watch_streams(&mut self, time: Duration) -> Vec<Step> {
        let Some(stream) = &mut self.subscriptions.next else {
            return Vec::new();
        };
        let rest = time.saturating_sub(stream.opens_in);
        stream.opens_in = stream.opens_in.saturating_sub(time);
        stream.age += rest;
        if stream.age < PATIENCE {
            return Vec::new();
        }
        let number = stream.number;
        let error = message::error_object(-32603, "the server did not acknowledge the subscription", None);
        let mut steps = vec![end(number)];
        steps.extend(self.stream_ended(number, Some(&error)));
        steps
    }
}

fn end(number: u64) -> Step {
    Step::ToServer(message::cancelled(number, "not wanted any more"))
}

/// Whether asking again would get the same answer: a method that is not there, or what the transport says of a request that HTTP
/// refused.
fn is_final(error: &Members) -> bool {
    match error.value::<i64>("code") {
        Some(408 | 429) => false,
        Some(code) => matches!(code, -32602..=-32600 | -32022..=-32020 | 400..=499),
        None => false,
    }
}
