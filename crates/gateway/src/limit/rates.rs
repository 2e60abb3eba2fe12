//! What the configuration says, and what whoever is over it is told.

use std::fmt;

use doorward_limits::{Rate, Retry};
use doorward_policy::Pattern;

use crate::refuse::Failure;

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

/// Which limit is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    pub(super) most: Most,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Most {
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

pub(super) fn limited(kind: Kind, rate: Rate, retry: Retry) -> Failure {
    Failure::RateLimited(Limited {
        kind,
        retry,
        most: Most::Rate(rate),
    })
}
