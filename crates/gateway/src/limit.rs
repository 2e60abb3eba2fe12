//! How often somebody may call (R34).
//!
//! Where each limit stands, and what it is for:
//!
//! 1. `refused`, per address, before a token is verified that nobody has seen before: a flood of invented tokens stops
//!    costing signatures. Tokens that are known go on, good or bad, so that neighbours behind the same address are not
//!    hurt. Only what nobody of ours signed counts, and each such token once a minute.
//! 2. `address`, once it is known who calls, before the body is read.
//! 3. `discovery` or `calls`, and `tool`, for what was permitted, whatever it is: requests, notifications, answers,
//!    GET and DELETE. What cannot be read or judged counts as a call, so that no spelling goes uncounted.
//! 4. `refused`, per client and user, for what was not permitted. The same refusal again within a minute is not counted
//!    again: a client that tries three times is not three times as bad, and one that feels its way through names is.
//! 5. `streams`, before a stream is asked for on which a client only listens.
//!
//! Callers are told apart by user *and* client, because one public client serves everybody. Without a token they are
//! told apart by address. Over loopback comes a proxy that speaks for everybody (unless it is one of `trusted_proxies`,
//! then its word counts), so that address has no limit.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_limits::{Key, Ledger, Limit, Network, NetworkLimit, PeerAddress, Rate, Retry};
use doorward_mcp::Summary;
use doorward_policy::Pattern;
use doorward_resource_server::{Principal, TokenRefusal};
use doorward_types::id::{ServerName, UserId};
use doorward_types::time::Clock;
use http::request;

use crate::refuse::{Circumstances, Failure};

/// What one server lets people do how often. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Calls of one client for one user.
    pub calls: Option<Rate>,
    /// The same for what every connection begins with: discovery, `initialize`, `ping` and lists. An error there makes
    /// clients take the server for one of an older revision.
    pub discovery: Option<Rate>,
    /// Requests from one address, whoever sends them.
    pub address: Option<Rate>,
    /// Calls of one tool by one user.
    pub tool: Option<Rate>,
    /// Instead of `tool` for tools whose names match. The pattern with the most characters counts.
    pub tools: Vec<(Pattern, Option<Rate>)>,
    /// Different refusals: of invented tokens from one address, of calls of one client for one user.
    pub refused: Option<Rate>,
    /// Streams of one user on which a client listens, at once.
    pub streams: Option<u32>,
}

impl Default for RateLimits {
    /// What no agent meets that does something, and a loop that does not end soon does.
    fn default() -> Self {
        Self {
            calls: Some(Rate::per_minute(3_000)),
            discovery: Some(Rate::per_minute(1_200)),
            address: Some(Rate::per_minute(60_000)),
            tool: Some(Rate::per_minute(1_200)),
            tools: Vec::new(),
            refused: Some(Rate::per_minute(300)),
            streams: Some(256),
        }
    }
}

/// Callers that are remembered: 2 MiB.
const CALLERS: usize = 1 << 17;
/// Users' tools, addresses and refusals that are remembered: 1 MiB each.
const OTHERS: usize = 1 << 16;
/// The same refusal counts again after a minute.
const REPEATED: &str = "1/m";
/// When to try again to open a stream: nobody knows when another one ends.
const STREAM_RETRY: Duration = Duration::from_secs(30);

/// Who owes how much under the limits of all servers, and who has how many streams. One for the life of the process: a
/// new configuration forgives nothing that it does not change.
pub struct Meters {
    clock: Arc<dyn Clock>,
    callers: Ledger,
    tools: Ledger,
    addresses: Ledger,
    refusals: Ledger,
    streams: Arc<Mutex<HashMap<Key, u32>>>,
}

impl Meters {
    /// Nobody owes anything.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            callers: Ledger::new(CALLERS),
            tools: Ledger::new(OTHERS),
            addresses: Ledger::new(OTHERS),
            refusals: Ledger::new(OTHERS),
            streams: Arc::default(),
        }
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

/// Which limit is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Calls,
    Discovery,
    Address,
    Tool,
    Refused,
    Streams,
}

impl Kind {
    /// A stable word for answers and logs: the key of the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Discovery => "discovery",
            Self::Address => "address",
            Self::Tool => "tool",
            Self::Refused => "refused",
            Self::Streams => "streams",
        }
    }
}

/// A limit is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) kind: Kind,
    pub(crate) retry: Retry,
    most: Most,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Most {
    Rate(Rate),
    AtOnce(u32),
}

impl fmt::Display for Limited {
    /// For the people in front of the client, and for the agent that is to slow down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Calls => "too many calls by this client for this user",
            Kind::Discovery => "too many requests for lists and discovery by this client for this user",
            Kind::Address => "too many requests from this address",
            Kind::Tool => "too many calls of this tool by this user",
            Kind::Refused => "too many different requests were refused",
            Kind::Streams => "too many open streams of this user",
        })?;
        match self.most {
            Most::Rate(rate) => write!(f, ": the limit is {}", rate.in_words())?,
            Most::AtOnce(most) => write!(f, ": the limit is {most} at once, so close one first")?,
        }
        write!(f, ". Try again in {} s", self.retry.seconds())
    }
}

/// The limits of one server under one configuration.
pub(crate) struct Gauge {
    meters: Arc<Meters>,
    server: Key,
    calls: Option<Limit>,
    discovery: Option<Limit>,
    address: Option<NetworkLimit>,
    tool: Option<Limit>,
    tools: Vec<(Pattern, Option<Limit>)>,
    refused: Option<Limit>,
    invented: Option<NetworkLimit>,
    repeated: Option<Limit>,
    streams: Option<u32>,
}

impl Gauge {
    pub(crate) fn new(meters: &Arc<Meters>, server: &ServerName, limits: &RateLimits) -> Self {
        let name = server.as_str();
        let Meters {
            callers,
            tools,
            addresses,
            refusals,
            ..
        } = &**meters;
        let of_callers = |kind, rate: Option<Rate>| rate.map(|rate| Limit::new(callers, (kind, name), rate));
        let of_tools = |rate: Option<Rate>| rate.map(|rate| Limit::new(tools, ("tool", name), rate));
        // Without the server: otherwise each server would be one more allowance.
        let of_addresses =
            |kind, rate: Option<Rate>| rate.map(|rate| NetworkLimit::new(addresses, kind, rate));
        let mut patterns: Vec<_> = limits.tools.clone();
        let literal = |pattern: &Pattern| pattern.as_str().bytes().filter(|byte| *byte != b'*').count();
        // The most characters first; of equals the one that lets less through.
        patterns.sort_by_key(|(pattern, rate)| {
            let cost = rate.map_or(Duration::ZERO, Rate::cost);
            std::cmp::Reverse((pattern.is_exact(), literal(pattern), cost))
        });
        Self {
            meters: Arc::clone(meters),
            server: callers.key(("streams", name)),
            calls: of_callers("calls", limits.calls),
            discovery: of_callers("discovery", limits.discovery),
            address: of_addresses("address", limits.address),
            tool: of_tools(limits.tool),
            tools: patterns
                .into_iter()
                .map(|(pattern, rate)| (pattern, of_tools(rate)))
                .collect(),
            refused: of_callers("refused", limits.refused),
            invented: of_addresses("invented", limits.refused),
            repeated: REPEATED.parse().ok().map(|rate| Limit::new(refusals, name, rate)),
            streams: limits.streams,
        }
    }

    /// Whether a token that nobody has seen before may be looked at.
    pub(crate) fn admit_unseen(&self, head: &request::Parts) -> Result<(), Failure> {
        let (Some(limit), Some(network)) = (&self.invented, counted(head)) else {
            return Ok(());
        };
        let meters = &self.meters;
        limit
            .peek(&meters.addresses, network, meters.clock.monotonic())
            .map_err(|retry| limited(Kind::Refused, limit.rate(), retry))
    }

    /// Counts a request of somebody who is known by now.
    pub(crate) fn admit_request(&self, head: &request::Parts) -> Result<(), Failure> {
        let (Some(limit), Some(network)) = (&self.address, counted(head)) else {
            return Ok(());
        };
        let meters = &self.meters;
        limit
            .take(&meters.addresses, network, meters.clock.monotonic())
            .map_err(|retry| limited(Kind::Address, limit.rate(), retry))
    }

    /// Counts what was permitted.
    pub(crate) fn admit(&self, caller: &Caller<'_>, call: &Summary) -> Result<(), Failure> {
        let now = self.meters.clock.monotonic();
        if is_discovery(call) {
            return self.take(Kind::Discovery, self.discovery.as_ref(), caller, now);
        }
        self.take(Kind::Calls, self.calls.as_ref(), caller, now)?;
        let tool = (call.method() == Some("tools/call"))
            .then(|| call.name())
            .flatten();
        let Some((tool, limit)) = tool.and_then(|tool| Some((tool, self.limit_of(tool)?))) else {
            return Ok(());
        };
        let user = caller.user();
        limit
            .take(&self.meters.tools, (user, tool), now)
            .map_err(|retry| {
                // It was not let through: it costs nothing.
                if let Some(calls) = &self.calls {
                    calls.give_back(&self.meters.callers, caller);
                }
                limited(Kind::Tool, limit.rate(), retry)
            })
    }

    /// Counts a failure before it is answered. It may become another one: too many were refused.
    pub(crate) fn count(&self, failure: Failure, about: &mut Circumstances<'_>) -> Failure {
        let (Some(principal), true) = (&about.principal, failure.status().is_client_error()) else {
            return failure;
        };
        let caller = Caller::of(principal, about.watch.head());
        let now = self.meters.clock.monotonic();
        let call = about.summary.as_ref();
        let object = call.map(|call| (call.method(), call.name()));
        let told = (caller, object, failure.reason(), failure.limit());
        let is_repeated = |limit: &Limit| limit.take(&self.meters.refusals, told, now).is_err();
        let repeated = self.repeated.as_ref().is_some_and(is_repeated);
        let counted = match &failure {
            Failure::RateLimited(_) => Ok(()),
            Failure::Policy(_) if repeated => Ok(()),
            Failure::Policy(_) => self.take(Kind::Refused, self.refused.as_ref(), &caller, now),
            _ if about.counted => Ok(()),
            _ => self.take(Kind::Calls, self.calls.as_ref(), &caller, now),
        };
        about.repeated = repeated;
        counted.err().unwrap_or(failure)
    }

    /// Counts a token that was refused. Expired and revoked ones are no sign of a flood: somebody had to be given them.
    pub(crate) fn count_token(&self, head: &request::Parts, token: &str, refusal: TokenRefusal) {
        let (Some(limit), Some(network)) = (&self.invented, counted(head)) else {
            return;
        };
        let invented = matches!(
            refusal,
            TokenRefusal::Malformed(_) | TokenRefusal::UnknownKey | TokenRefusal::BadSignature
        );
        let now = self.meters.clock.monotonic();
        let is_new = |repeated: &Limit| {
            repeated
                .take(&self.meters.refusals, ("token", network, token), now)
                .is_ok()
        };
        if invented && self.repeated.as_ref().is_none_or(is_new) {
            // That there is none left is seen by the next one.
            let _: Result<(), Retry> = limit.take(&self.meters.addresses, network, now);
        }
    }

    /// Room for one more stream on which a client listens.
    pub(crate) fn open_stream(&self, caller: &Caller<'_>) -> Result<Option<Place>, Failure> {
        let Some(most) = self.streams else {
            return Ok(None);
        };
        let meters = &self.meters;
        let who = meters.callers.key((self.server, caller.user()));
        let mut open = meters.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(who).or_default();
        if *count >= most {
            // An entry is there as long as it counts somebody: `most` is at least one.
            return Err(Failure::RateLimited(Limited {
                kind: Kind::Streams,
                retry: Retry(STREAM_RETRY),
                most: Most::AtOnce(most),
            }));
        }
        *count += 1;
        drop(open);
        Ok(Some(Place {
            streams: Arc::clone(&meters.streams),
            who,
        }))
    }

    fn take(
        &self,
        kind: Kind,
        limit: Option<&Limit>,
        caller: &Caller<'_>,
        now: Duration,
    ) -> Result<(), Failure> {
        limit.map_or(Ok(()), |limit| {
            limit
                .take(&self.meters.callers, caller, now)
                .map_err(|retry| limited(kind, limit.rate(), retry))
        })
    }

    fn limit_of(&self, tool: &str) -> Option<&Limit> {
        let special = self.tools.iter().find(|(pattern, _)| pattern.matches(tool));
        special.map_or(self.tool.as_ref(), |(_, limit)| limit.as_ref())
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

fn limited(kind: Kind, rate: Rate, retry: Retry) -> Failure {
    Failure::RateLimited(Limited {
        kind,
        retry,
        most: Most::Rate(rate),
    })
}

/// Where a request comes from, if that is counted.
fn counted(head: &request::Parts) -> Option<Network> {
    let network = head.extensions.get::<PeerAddress>()?.network();
    (!network.is_loopback()).then_some(network)
}

/// What every connection begins with, and what clients ask for again when a server says that it changed.
fn is_discovery(call: &Summary) -> bool {
    matches!(
        call.method(),
        Some(
            "server/discover"
                | "initialize"
                | "notifications/initialized"
                | "ping"
                | "tools/list"
                | "prompts/list"
                | "resources/list"
                | "resources/templates/list"
                | "skills/list"
        )
    )
}

/// Who calls, as limits tell them apart.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Caller<'a> {
    user: UserId,
    client: &'a str,
    /// Only of callers without a token. Over loopback they are all one.
    network: Option<Network>,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(principal: &'a Principal, head: &request::Parts) -> Self {
        let network = || head.extensions.get::<PeerAddress>().map(|peer| peer.network());
        Self {
            user: principal.subject(),
            client: principal.client_id().as_str(),
            network: principal.is_anonymous().then(network).flatten(),
        }
    }

    fn user(&self) -> impl Hash + use<> {
        (self.user, self.network)
    }
}

/// An open stream's place; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Arc<Mutex<HashMap<Key, u32>>>,
    who: Key,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.who) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.who);
            }
        }
    }
}
