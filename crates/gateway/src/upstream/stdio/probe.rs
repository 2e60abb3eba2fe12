//! Which revisions a command speaks (2026-07-28, stdio, "Backward Compatibility").

use std::time::Duration;

use bytes::Bytes;
use doorward_process::Process;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::failure::StdioFailure;

/// After so long without an answer `initialize` is sent as well: some legacy servers ignore what comes first.
const SILENCE: Duration = Duration::from_secs(5);
const DISCOVER: u8 = 1;
const INITIALIZE: u8 = 2;
/// The last revision with `initialize`; what a legacy command is taken to speak that does not say.
const LATEST_LEGACY: &str = "2025-11-25";
/// Most versions of a command that are remembered, and the longest name of one, in bytes.
const VERSIONS: usize = 16;
const NAME: usize = 32;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It speaks a revision without `initialize`. Untouched: it was not sent one.
    Modern { untouched: bool },
    /// It speaks these and no later ones.
    Legacy { versions: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// It ended without an answer.
    Died {
        /// It wrote lines that are no answer.
        nonsense: bool,
    },
    Silent,
    /// It answered everything with errors.
    Refused,
}

impl From<Error> for StdioFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::Died { nonsense: true } | Error::Refused => Self::Nonsense,
            Error::Died { nonsense: false } => Self::EndedUnanswered,
            Error::Silent => Self::NotReady,
        }
    }
}

#[derive(Deserialize)]
struct Reply {
    id: serde_json::Value,
    result: Option<Outcome>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    supported_versions: Option<Vec<String>>,
    protocol_version: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    data: Option<Versions>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    Known { supported: Vec<String> },
    Other(serde::de::IgnoredAny),
}

/// Asks with `server/discover` first.
pub(super) async fn discover(process: &mut Process, limit: Duration) -> Result<Found, Error> {
    let start = Instant::now();
    let mut probe = Probe::new(start + limit);
    probe.send(process, discover_request()).await?;
    let mut refused = match probe.answer(process, start + SILENCE.min(limit)).await {
        Ok(reply) => match reply.judge() {
            Judgement::Modern => return Ok(Found::Modern { untouched: true }),
            Judgement::Legacy(versions) => return Ok(Found::Legacy { versions }),
            Judgement::Refused => true,
        },
        Err(Error::Silent) => false,
        Err(error) => return Err(error),
    };
    probe.send(process, initialize_request()).await?;
    loop {
        match probe.answer(process, probe.deadline).await?.judge() {
            Judgement::Modern => return Ok(Found::Modern { untouched: false }),
            Judgement::Legacy(versions) => return Ok(Found::Legacy { versions }),
            Judgement::Refused if refused => return Err(Error::Refused),
            Judgement::Refused => refused = true,
        }
    }
}

/// Asks with `initialize` alone.
pub(super) async fn initialize(process: &mut Process, limit: Duration) -> Result<Found, Error> {
    let mut probe = Probe::new(Instant::now() + limit);
    probe.send(process, initialize_request()).await?;
    match probe.answer(process, probe.deadline).await?.judge() {
        Judgement::Modern => Ok(Found::Modern { untouched: false }),
        Judgement::Legacy(versions) => Ok(Found::Legacy { versions }),
        Judgement::Refused => Err(Error::Refused),
    }
}

struct Probe {
    deadline: Instant,
    nonsense: bool,
}

impl Probe {
    const fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            nonsense: false,
        }
    }

    async fn send(&self, process: &Process, line: Bytes) -> Result<(), Error> {
        match timeout_at(self.deadline, process.input.send(line)).await {
            Err(_) => Err(Error::Silent),
            // That it ended shows at its output, with what it wrote before.
            Ok(_) => Ok(()),
        }
    }

    /// The next answer to a request of ours; all else is passed over.
    async fn answer(&mut self, process: &mut Process, until: Instant) -> Result<Reply, Error> {
        loop {
            let line = timeout_at(until, process.output.next()).await;
            match line.map_err(|_| Error::Silent)? {
                None | Some(Err(_)) => {
                    return Err(Error::Died {
                        nonsense: self.nonsense,
                    });
                }
                Some(Ok(line)) => match serde_json::from_slice::<Reply>(&line) {
                    Ok(reply) if reply.is_answer() => return Ok(reply),
                    _ => self.nonsense |= doorward_mcp::ServerMessage::read(line).is_err(),
                },
            }
        }
    }
}

enum Judgement {
    Modern,
    Legacy(Vec<String>),
    Refused,
}

impl Reply {
    fn is_answer(&self) -> bool {
        let is_ours = self.id == DISCOVER || self.id == INITIALIZE;
        is_ours && (self.result.is_some() || self.error.is_some())
    }

    fn judge(self) -> Judgement {
        if let Some(error) = self.error {
            return match (error.code, error.data) {
                (-32022, Some(Versions::Known { supported })) => of_versions(supported),
                (-32022..=-32020, _) => Judgement::Modern,
                _ => Judgement::Refused,
            };
        }
        let result = self
            .result
            .map(|result| (result.supported_versions, result.protocol_version));
        match result {
            Some((Some(supported), _)) => of_versions(supported),
            Some((None, Some(version))) => legacy(names(vec![version])),
            _ => Judgement::Refused,
        }
    }
}

/// A later revision than the last legacy one is modern, whether or not it is known here. Revisions are dates:
/// their texts have the same order.
fn of_versions(versions: Vec<String>) -> Judgement {
    let versions = names(versions);
    if versions.iter().any(|version| version.as_str() > LATEST_LEGACY) {
        return Judgement::Modern;
    }
    legacy(versions)
}

fn legacy(mut versions: Vec<String>) -> Judgement {
    versions.truncate(VERSIONS);
    if versions.is_empty() {
        versions.push(LATEST_LEGACY.into());
    }
    Judgement::Legacy(versions)
}

/// What one user's process says here is remembered and told to all users: nothing but version names.
fn names(mut versions: Vec<String>) -> Vec<String> {
    versions.retain(|version| {
        (1..=NAME).contains(&version.len()) && version.bytes().all(|byte| byte.is_ascii_graphic())
    });
    versions
}

fn discover_request() -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","id":{DISCOVER},"method":"server/discover","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"doorward","version":"{}"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#,
        env!("CARGO_PKG_VERSION")
    )
    .into()
}

fn initialize_request() -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","id":{INITIALIZE},"method":"initialize","params":{{"protocolVersion":"{LATEST_LEGACY}","capabilities":{{}},"clientInfo":{{"name":"doorward","version":"{}"}}}}}}"#,
        env!("CARGO_PKG_VERSION")
    )
    .into()
}
