//! How often somebody may call (R34).
//!
//! Where each limit stands, and what it is for:
//!
//! 1. `refused`, per address, before a token is verified that nobody has seen before: a flood of invented tokens stops
//!    costing signatures. Tokens that are known go on, good or bad, so that neighbours behind the same address are not
//!    hurt. Only what cost a signature and is forged counts, and each such token once a minute.
//! 2. `address`, once it is known who calls, before the body is read.
//! 3. `discovery` or `calls`, and `tool`, for what was permitted, whatever it is: requests, notifications, answers,
//!    GET and DELETE. What cannot be read or judged counts as a call, so that no spelling goes uncounted.
//! 4. `refused`, per client and user, for what was not permitted. The same refusal again within a minute is not counted
//!    there again, but as one of the `calls`: a client that tries three times is not three times as bad, one that feels
//!    its way through names is, and one that never stops is stopped.
//! 5. `streams`, before a stream is asked for on which a client only listens.
//!
//! Callers are told apart by user *and* client, because one public client serves everybody. Without a token they are
//! told apart by address. Over loopback comes a proxy that speaks for everybody (unless it is one of `trusted_proxies`,
//! then its word counts), so that address has no limit.

mod caller;
mod rates;
mod recurrence;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use doorward_limits::{Key, Ledger, Network, NetworkLimit, PeerAddress, Rate, Retry};
use doorward_mcp::Summary;
use doorward_policy::Pattern;
use doorward_resource_server::TokenRefusal;
use doorward_types::id::ServerName;
use doorward_types::time::Clock;
use http::request;

use self::caller::{CallerLimit, Streams};
use self::rates::{Kind, Most, limited};
use self::recurrence::{Recurrences, Why};
use crate::refuse::{Circumstances, Failure};

pub(crate) use self::caller::{Caller, Place};
pub(crate) use self::rates::Limited;
pub use self::rates::RateLimits;
pub(crate) use self::recurrence::Recurrence;

/// Callers that are remembered: 2 MiB.
const CALLERS: usize = 1 << 17;
/// Users' tools, addresses and refusals that are remembered: 1 MiB each.
const OTHERS: usize = 1 << 16;
/// So many times as many forged tokens as other refusals: verifying one costs as little as answering it, and whoever
/// is behind the same address has to get a new token in every ten minutes.
const FORGED: u32 = 10;
/// For so long at least nobody begins in an older revision who was just told that they look for the newer one too often.
const HOLD: Duration = Duration::from_secs(5);
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
    streams: Streams,
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
            streams: Streams::default(),
        }
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

/// The limits of one server under one configuration.
pub(crate) struct Gauge {
    meters: Arc<Meters>,
    server: Key,
    calls: Option<CallerLimit>,
    discovery: Option<CallerLimit>,
    address: Option<NetworkLimit>,
    tool: Option<CallerLimit>,
    tools: Vec<(Pattern, Option<CallerLimit>)>,
    refused: Option<CallerLimit>,
    invented: Option<NetworkLimit>,
    recurrences: Recurrences,
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
        let of_callers =
            |kind, rate: Option<Rate>| rate.map(|rate| CallerLimit::of_clients(callers, (kind, name), rate));
        let of_tools =
            |rate: Option<Rate>| rate.map(|rate| CallerLimit::of_users(tools, ("tool", name), rate));
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
            server: callers.key(("server", name)),
            calls: of_callers("calls", limits.calls),
            discovery: of_callers("discovery", limits.discovery),
            address: of_addresses("address", limits.address),
            tool: of_tools(limits.tool),
            tools: patterns
                .into_iter()
                .map(|(pattern, rate)| (pattern, of_tools(rate)))
                .collect(),
            refused: of_callers("refused", limits.refused),
            invented: of_addresses("invented", limits.refused.map(|rate| rate.times(FORGED))),
            recurrences: Recurrences::new(refusals, name),
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

    fn give_back_request(&self, head: &request::Parts) {
        if let (Some(limit), Some(network)) = (&self.address, counted(head)) {
            limit.give_back_for(&self.meters.addresses, network, ());
        }
    }

    /// Counts what was permitted.
    pub(crate) fn admit(&self, caller: &Caller<'_>, call: &Summary) -> Result<(), Failure> {
        let now = self.meters.clock.monotonic();
        if is_discovery(call) {
            return self.admit_discovery(caller, call.method(), now);
        }
        self.take(Kind::Calls, self.calls.as_ref(), caller, now)?;
        let tool = (call.method() == Some("tools/call"))
            .then(|| call.name())
            .flatten();
        let Some((tool, limit)) = tool.and_then(|tool| Some((tool, self.limit_of(tool)?))) else {
            return Ok(());
        };
        limit
            .take(&self.meters.tools, caller, tool, now)
            .map_err(|retry| {
                // It was not let through: it costs nothing.
                if let Some(calls) = &self.calls {
                    calls.give_back(&self.meters.callers, caller, ());
                }
                limited(Kind::Tool, limit.rate(), retry)
            })
    }

    /// Clients take an error of `server/discover` for an older server and go on with `initialize`. One that is over the
    /// limit is to slow down and not to change its revision: so it does not get through with that either, until the
    /// time is over that it was told.
    fn admit_discovery(
        &self,
        caller: &Caller<'_>,
        method: Option<&str>,
        now: Duration,
    ) -> Result<(), Failure> {
        let Some(limit) = &self.discovery else {
            return Ok(());
        };
        let callers = &self.meters.callers;
        let fallback = || callers.key(("fallback", self.server, caller));
        if method == Some("initialize") {
            let held = callers.held(fallback(), now);
            held.map_err(|retry| limited(Kind::Discovery, limit.rate(), retry))?;
        }
        limit.take(callers, caller, (), now).map_err(|retry| {
            if method == Some("server/discover") {
                let told = Duration::from_secs(retry.seconds());
                callers.hold(fallback(), told.max(HOLD), now);
            }
            limited(Kind::Discovery, limit.rate(), retry)
        })
    }

    /// Counts a failure before it is answered. It may become another one: too many were refused.
    pub(crate) fn count(&self, failure: Failure, about: &mut Circumstances<'_>) -> Failure {
        let now = self.meters.clock.monotonic();
        let is_client_error = failure.status().is_client_error();
        let Some(principal) = &about.principal else {
            about.recurrence = self.recurrence(&failure, about, now);
            return failure;
        };
        if !is_client_error {
            return failure;
        }
        let caller = Caller::of(principal, about.watch.head());
        let recurrence = self.recurrence(&failure, about, now);
        let counted = match &failure {
            Failure::RateLimited(_) => Ok(()),
            Failure::Policy(_) if !recurrence.repeated => {
                self.take(Kind::Refused, self.refused.as_ref(), &caller, now)
            }
            _ if about.counted => Ok(()),
            _ => self.take(Kind::Calls, self.calls.as_ref(), &caller, now),
        };
        let (failure, recurrence) = match counted {
            Ok(()) => (failure, recurrence),
            Err(limited) => {
                if matches!(failure, Failure::Policy(_)) && !recurrence.repeated {
                    // It was not told: whoever asks again is not to pass for one who was.
                    self.forget(&failure, about, recurrence);
                }
                let recurrence = self.recurrence(&limited, about, now);
                (limited, recurrence)
            }
        };
        if let Failure::RateLimited(Limited { kind, .. }) = &failure
            && *kind != Kind::Address
        {
            // It was not let through: others behind the same address are not to pay for it.
            self.give_back_request(about.watch.head());
        }
        about.recurrence = recurrence;
        failure
    }

    /// What is known of the like of a request whose client left before it was counted.
    pub(crate) fn left(&self, about: &Circumstances<'_>) -> Recurrence {
        let meters = &self.meters;
        self.recurrences.of(
            &meters.refusals,
            ("left", false, None),
            about,
            meters.clock.monotonic(),
        )
    }

    fn recurrence(&self, failure: &Failure, about: &Circumstances<'_>, now: Duration) -> Recurrence {
        self.recurrences
            .of(&self.meters.refusals, why(failure), about, now)
    }

    fn forget(&self, failure: &Failure, about: &Circumstances<'_>, noted: Recurrence) {
        self.recurrences
            .forget(&self.meters.refusals, why(failure), about, noted);
    }

    /// Counts a token that was refused, if it was forged. Others cost no signature, and expired and revoked ones are no
    /// sign of a flood: somebody had to be given them.
    pub(crate) fn count_token(&self, head: &request::Parts, token: &str, refusal: TokenRefusal) {
        let (Some(limit), Some(network)) = (&self.invented, counted(head)) else {
            return;
        };
        let now = self.meters.clock.monotonic();
        let is_new = || self.recurrences.is_new_token(&self.meters.refusals, token, now);
        if refusal == TokenRefusal::BadSignature && is_new() {
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
        let place = meters.streams.open(caller, most, &meters.callers, self.server);
        place.map(Some).ok_or(Failure::RateLimited(Limited {
            kind: Kind::Streams,
            retry: Retry(STREAM_RETRY),
            most: Most::AtOnce(most),
        }))
    }

    fn take(
        &self,
        kind: Kind,
        limit: Option<&CallerLimit>,
        caller: &Caller<'_>,
        now: Duration,
    ) -> Result<(), Failure> {
        limit.map_or(Ok(()), |limit| {
            limit
                .take(&self.meters.callers, caller, (), now)
                .map_err(|retry| limited(kind, limit.rate(), retry))
        })
    }

    fn limit_of(&self, tool: &str) -> Option<&CallerLimit> {
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

/// What tells one failure's kind from another's.
fn why(failure: &Failure) -> Why {
    let limit = match failure {
        Failure::RateLimited(limited) => Some(limited.kind),
        _ => None,
    };
    (failure.reason(), matches!(failure, Failure::Policy(_)), limit)
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
