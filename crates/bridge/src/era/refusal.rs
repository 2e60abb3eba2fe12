//! What cannot be bridged, in words for the person in front of the host.

use doorward_mcp::Revision;
use serde_json::json;

use super::message::error_object;
use doorward_mcp::members::{Members, Raw, raw};

/// A request that gets this answer instead of the other side's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// A method of the other era for which there is nothing to translate it to.
    #[error("`{method}` cannot be bridged: {reason}")]
    NoCounterpart { method: String, reason: &'static str },
    /// A method that the host's own revision does not have.
    #[error("`{0}` is no method of the protocol revision that this host speaks")]
    NotInRevision(String),
    /// Nothing may come before.
    #[error("`{0}` came before `initialize`")]
    NotInitialized(String),
    /// It was answered before.
    #[error("`initialize` was answered before; start the bridge anew for another one")]
    InitializedTwice,
    /// Params, or a member of them, that cannot be understood.
    #[error("{0}")]
    BadParams(&'static str),
    /// The server did not declare what the method needs.
    #[error("the server does not declare `{0}`")]
    NotDeclared(&'static str),
    /// `_meta` names another revision than the one that is bridged.
    #[error("protocol revision {0:?} is not spoken here, {supported} is", supported = Revision::V2026_07_28)]
    Version(String),
    /// The server speaks no revision that we know.
    #[error("the server speaks none of the protocol revisions that can be bridged: it names {0}")]
    ServerVersion(String),
    /// The server no longer knows the revision that it was found to speak.
    #[error("the server no longer speaks MCP {spoken} (it says: {0}); start the bridge anew", spoken = Revision::V2026_07_28)]
    ServerChanged(String),
    /// The server's answer to the opening request is an error.
    #[error("the server refused {method}: {told}")]
    Opening { method: &'static str, told: String },
    /// The server broke a rule of its revision.
    #[error("the server breaks the specification: {0}")]
    Server(String),
    /// The host did not give what the server asked for.
    #[error("the server needs `{method}` for this call, and the host refused: {told}")]
    Input { method: String, told: String },
    /// The user said no to a URL that a legacy server wants opened first.
    #[error("the server needs a page to be opened in a browser for this call, and that was not accepted")]
    PageDeclined,
    /// The call needs more than the host declared.
    #[error("this call needs a client capability that the request does not declare: {0}")]
    MissingCapability(&'static str),
    /// Something here is full.
    #[error("too many {0} at a time")]
    TooMany(&'static str),
    /// `requestState` names no call that waits.
    #[error(
        "`requestState` names no call that waits for input here: it was answered, has expired, or belongs to another process; repeat the call without it"
    )]
    UnknownState,
    /// `requestState` came with another call.
    #[error("`requestState` belongs to another call")]
    ForeignState,
    /// A session cannot be changed under calls that run in it.
    #[error(
        "the client capabilities of this request go beyond those that the server's session was opened with, and other calls run in that session: repeat it when they are done"
    )]
    OtherCapabilities,
    /// The host says nothing for too long.
    #[error("the host did not answer in time")]
    Expired,
    /// A question of a legacy server that no running call of the host can carry.
    #[error("{0}")]
    NoCarrier(&'static str),
}

impl Refusal {
    fn code(&self) -> i64 {
        match self {
            Self::NoCounterpart { .. } | Self::NotInRevision(_) | Self::NotDeclared(_) => -32601,
            Self::NotInitialized(_) | Self::InitializedTwice | Self::OtherCapabilities => -32600,
            Self::BadParams(_) | Self::UnknownState | Self::ForeignState => -32602,
            Self::Version(_) => -32022,
            Self::MissingCapability(_) => -32021,
            Self::ServerVersion(_)
            | Self::ServerChanged(_)
            | Self::Opening { .. }
            | Self::Server(_)
            | Self::Input { .. }
            | Self::PageDeclined
            | Self::TooMany(_)
            | Self::Expired
            | Self::NoCarrier(_) => -32603,
        }
    }

    fn data(&self) -> Option<Raw> {
        let data = match self {
            Self::Version(requested) => {
                json!({ "supported": [Revision::V2026_07_28.as_str()], "requested": requested })
            }
            Self::MissingCapability(path) => {
                let capability = path
                    .rsplit('.')
                    .fold(json!({}), |inner, name| json!({ name: inner }));
                json!({ "requiredCapabilities": capability })
            }
            _ => return None,
        };
        Some(raw(&data))
    }

    /// The `error` member of the answer.
    pub(super) fn object(&self) -> Members {
        error_object(self.code(), &self.to_string(), self.data())
    }
}
