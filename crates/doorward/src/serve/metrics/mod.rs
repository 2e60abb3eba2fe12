//! What is counted, and how it is read: `/metrics` in the text format that Prometheus scrapes.
//!
//! Labels come from the configuration and from words of ours, never from a caller: no user, client, token, address or
//! path is one, and a tool only if the operator's scopes name it. So the number of series is bounded by the
//! configuration (LK-03).

mod admin;
mod events;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use doorward_gateway::{Decision, Outcome};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub(super) use admin::{Admin, Bound, bind, serve};
pub(crate) use events::layer;

/// Upper bounds of what we add to a call, in seconds.
const OVERHEAD: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0,
];
/// Upper bounds of what an upstream takes.
const UPSTREAM: [f64; 12] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0,
];
/// Kinds of calls: what the label `method` says.
const CLASSES: [&str; 10] = [
    "tools/call",
    "prompts/get",
    "resources",
    "list",
    "discovery",
    "tasks",
    "notification",
    "stream",
    "session",
    "other",
];
/// Reasons of refusals that are counted from the start on, so that a rate can be taken of the first one.
const DENIALS: [&str; 8] = [
    "not_allowed",
    "insufficient_scope",
    "no_scope_opens_it",
    "scope_not_for_user",
    "scope_not_for_client",
    "denied_by_policy",
    "policy_failed",
    "rate_limited",
];
/// Tools of one server that are counted by name.
const TOOLS: usize = 100;
/// Every other tool.
const OTHER: &str = "other";

/// A name of the configuration.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Name(Arc<str>);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfServer {
    server: Name,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfDecision {
    server: Name,
    method: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfDenial {
    server: Name,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTool {
    server: Name,
    tool: Name,
    outcome: &'static str,
}

/// Everything that is counted. One for the life of the process: a reload goes on counting.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    decisions: Family<OfDecision, Counter>,
    denials: Family<OfDenial, Counter>,
    tools: Family<OfTool, Counter>,
    overhead: Family<OfServer, Histogram>,
    upstream: Family<OfServer, Histogram>,
    streams: Family<OfServer, Gauge>,
    verified: Counter,
    connections: Gauge,
    lost: Gauge,
    unheard: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// What is looked at when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) connections: usize,
    /// Decisions that were not written down.
    pub(super) lost: u64,
    /// How long ago revocations were last heard of.
    pub(super) unheard: Option<Duration>,
}

impl Metrics {
    /// Nothing counted yet.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("doorward");
        let decisions = Family::default();
        let denials = Family::default();
        let tools = Family::default();
        let overhead = Family::new_with_constructor(histogram::<0> as fn() -> Histogram);
        let upstream = Family::new_with_constructor(histogram::<1> as fn() -> Histogram);
        let streams = Family::default();
        let (verified, connections, lost, unheard) = (
            Counter::default(),
            Gauge::default(),
            Gauge::default(),
            Gauge::default(),
        );
        registry.register(
            "decisions",
            "Decisions about requests to servers",
            Family::clone(&decisions),
        );
        registry.register(
            "denials",
            "Refusals; the same one to the same caller counts once a minute",
            Family::clone(&denials),
        );
        registry.register(
            "tool_calls",
            "Calls of tools; those that no scope names are `other`",
            Family::clone(&tools),
        );
        let help = "From a request to its decision, without waiting for the upstream";
        registry.register_with_unit("overhead", help, Unit::Seconds, Family::clone(&overhead));
        let help = "From passing a call on to the head of the upstream's answer";
        registry.register_with_unit("upstream", help, Unit::Seconds, Family::clone(&upstream));
        registry.register("open_streams", "Streams that are open", Family::clone(&streams));
        registry.register(
            "tokens_verified",
            "Access tokens that were verified and not seen before",
            verified.clone(),
        );
        registry.register("connections", "Connections that are open", connections.clone());
        registry.register(
            "decisions_lost",
            "Decisions that could not be written down",
            lost.clone(),
        );
        let help = "Since revocations were last heard of; after 60 nobody is let in";
        registry.register_with_unit("revocations_unheard", help, Unit::Seconds, unheard.clone());
        events::register(&mut registry);
        Self {
            registry,
            decisions,
            denials,
            tools,
            overhead,
            upstream,
            streams,
            verified,
            connections,
            lost,
            unheard,
        }
    }

    /// What counts for one server, looked up once. `tools` are the names that may become labels.
    pub(super) fn server<'a>(&self, name: &str, tools: impl Iterator<Item = &'a str>) -> ServerMetrics {
        let server = Name(name.into());
        let of_server = OfServer {
            server: server.clone(),
        };
        let permitted = CLASSES.map(|method| {
            let labels = OfDecision {
                server: server.clone(),
                method,
                outcome: Outcome::Permitted.as_str(),
                reason: "",
            };
            self.decisions.get_or_create(&labels).clone()
        });
        for reason in DENIALS {
            let server = server.clone();
            drop(self.denials.get_or_create(&OfDenial { server, reason }));
        }
        let counters = |tool: &str| {
            Outcome::ALL.map(|outcome| {
                let labels = OfTool {
                    server: server.clone(),
                    tool: Name(tool.into()),
                    outcome: outcome.as_str(),
                };
                self.tools.get_or_create(&labels).clone()
            })
        };
        ServerMetrics {
            permitted,
            decisions: self.decisions.clone(),
            denials: self.denials.clone(),
            tools: tools
                .take(TOOLS)
                .map(|tool| (tool.into(), counters(tool)))
                .collect(),
            other_tools: counters(OTHER),
            overhead: self.overhead.get_or_create(&of_server).clone(),
            upstream: self.upstream.get_or_create(&of_server).clone(),
            streams: self.streams.get_or_create(&of_server).clone(),
            server,
        }
    }

    /// A token was verified that this process had not seen before.
    pub(super) fn token_verified(&self) {
        self.verified.inc();
    }

    /// All of it, as text.
    pub(super) fn text(&self, now: Snapshot) -> Result<String, fmt::Error> {
        self.connections
            .set(i64::try_from(now.connections).unwrap_or(i64::MAX));
        self.lost.set(i64::try_from(now.lost).unwrap_or(i64::MAX));
        self.unheard
            .set(now.unheard.map_or(f64::INFINITY, |unheard| unheard.as_secs_f64()));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn histogram<const UPSTREAM_OR_NOT: u8>() -> Histogram {
    Histogram::new(if UPSTREAM_OR_NOT == 1 { UPSTREAM } else { OVERHEAD })
}

/// The counters of one server.
#[derive(Debug)]
pub(super) struct ServerMetrics {
    server: Name,
    permitted: [Counter; CLASSES.len()],
    decisions: Family<OfDecision, Counter>,
    denials: Family<OfDenial, Counter>,
    tools: HashMap<Box<str>, [Counter; Outcome::ALL.len()]>,
    other_tools: [Counter; Outcome::ALL.len()],
    overhead: Histogram,
    upstream: Histogram,
    streams: Gauge,
}

impl ServerMetrics {
    /// Counts a decision.
    pub(super) fn count(&self, decision: &Decision<'_>) {
        let class = class(decision);
        let counted = self
            .permitted
            .get(class)
            .filter(|_| decision.outcome == Outcome::Permitted);
        if let Some(counter) = counted {
            counter.inc();
        } else {
            let labels = OfDecision {
                server: self.server.clone(),
                method: CLASSES.get(class).copied().unwrap_or(OTHER),
                outcome: decision.outcome.as_str(),
                reason: decision.reason.unwrap_or(""),
            };
            self.decisions.get_or_create(&labels).inc();
        }
        if decision.outcome == Outcome::Refused && !decision.repeated {
            let labels = OfDenial {
                server: self.server.clone(),
                reason: decision.reason.unwrap_or(""),
            };
            self.denials.get_or_create(&labels).inc();
        }
        if decision.outcome == Outcome::Ended {
            self.streams.dec();
            return;
        }
        if decision.opens_stream {
            self.streams.inc();
        }
        if decision.method == Some("tools/call") {
            let tool = decision.name.and_then(|name| self.tools.get(name));
            let at = Outcome::ALL
                .iter()
                .position(|outcome| *outcome == decision.outcome);
            if let Some(counter) = at.and_then(|at| tool.unwrap_or(&self.other_tools).get(at)) {
                counter.inc();
            }
        }
        if decision.outcome == Outcome::Permitted {
            let upstream = decision.upstream_took.unwrap_or_default();
            self.upstream.observe(upstream.as_secs_f64());
            self.overhead
                .observe(decision.took.saturating_sub(upstream).as_secs_f64());
        }
    }
}

/// Index of the decision's kind in [`CLASSES`].
fn class(decision: &Decision<'_>) -> usize {
    let word = match decision.method {
        Some(method @ ("tools/call" | "prompts/get")) => method,
        Some("initialize" | "server/discover" | "ping") => "discovery",
        Some(method) if method.starts_with("notifications/") => "notification",
        Some(method) if method.starts_with("tasks/") => "tasks",
        Some(method) if method.ends_with("/list") => "list",
        Some(method) if method.starts_with("resources/") => "resources",
        Some("subscriptions/listen") => "stream",
        None if decision.http_method == http::Method::GET => "stream",
        None if decision.http_method == http::Method::DELETE => "session",
        _ => OTHER,
    };
    CLASSES
        .iter()
        .position(|class| *class == word)
        .unwrap_or(CLASSES.len() - 1)
}
