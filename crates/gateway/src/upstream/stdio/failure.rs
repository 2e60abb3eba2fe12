//! What can go wrong with a command, in the words that its client reads.

use http::StatusCode;

/// Why a call to a command was not answered. Nothing in it comes from the command itself but version names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StdioFailure {
    #[error(
        "the MCP server behind this address could not be started: its operator finds the cause in the gateway's log"
    )]
    NotStarted,
    #[error(
        "the MCP server behind this address did not get ready in time: try again later, or ask its operator to look at it"
    )]
    NotReady,
    #[error(
        "the MCP server behind this address ended without an answer: its operator finds in the gateway's log what it wrote"
    )]
    EndedUnanswered,
    #[error(
        "the MCP server behind this address wrote something else than MCP messages and ended: its operator finds it in the gateway's log"
    )]
    Nonsense,
    #[error("the MCP server behind this address ended before it got this call: send it again")]
    NotTaken,
    #[error(
        "the MCP server behind this address ended while it had this call: whether the call took effect is unknown"
    )]
    Ended,
    #[error(
        "the MCP server behind this address did not answer in time: whether the call took effect is unknown"
    )]
    TimedOut,
    #[error(
        "as many processes of this MCP server are running as may: end a session that is not needed, or try again later"
    )]
    Full,
    #[error("this MCP server is working on as many calls as it may: try again when one is answered")]
    Busy,
    #[error(
        "the MCP server behind this address ended shortly after its start and is being given a rest: try again in {seconds} s"
    )]
    Resting { seconds: u32 },
    #[error("send the Mcp-Session-Id header that initialize gave you, or start with initialize")]
    NoSession,
    #[error("Unsupported protocol version: the MCP server behind this address has others")]
    Version { supported: Vec<String> },
}

impl StdioFailure {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::NotStarted | Self::EndedUnanswered | Self::Nonsense | Self::NotTaken | Self::Ended => {
                StatusCode::BAD_GATEWAY
            }
            Self::NotReady | Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Full | Self::Busy | Self::Resting { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoSession | Self::Version { .. } => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::NotStarted => "upstream_not_started",
            Self::NotReady => "upstream_not_ready",
            Self::EndedUnanswered => "upstream_ended_unanswered",
            Self::Nonsense => "upstream_not_mcp",
            Self::NotTaken => "upstream_ended_before",
            Self::Ended => "upstream_failed",
            Self::TimedOut => "upstream_timed_out",
            Self::Full => "too_many_processes",
            Self::Busy => "too_many_calls",
            Self::Resting { .. } => "upstream_resting",
            Self::NoSession => "no_session",
            Self::Version { .. } => "unsupported_version",
        }
    }

    /// Seconds after which it may be worth trying again.
    pub(crate) const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Resting { seconds } => Some(*seconds),
            Self::Busy => Some(1),
            Self::Full => Some(5),
            _ => None,
        }
    }
}
