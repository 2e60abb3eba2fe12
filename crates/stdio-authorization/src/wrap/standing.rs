//! Servers that take their token from the environment: they are started anew for another token, and some do not even start
//! without one. What the host said at the beginning is kept, so that it notices as little of this as possible.

use std::collections::HashMap;

use bytes::Bytes;
use doorward_mcp::message::identity;
use doorward_mcp::{Envelope, Kind, ServerMessage};
use serde_json::{Value, json};

use super::{Action, Dialect, Held, Reason, Wrapper, refusal};
use crate::entry::{self, EXTENSION};
use crate::members::Members;

/// The id of the `initialize` that is repeated to a server that was started anew. No host uses it by chance.
const REPLAY: &str = "io.doorward/replay";
/// JSON-RPC 2.0, §5.1.
const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC 2.0, §5.1.
const INTERNAL_ERROR: i64 = -32603;
/// Most requests that are followed.
const MOST: usize = 16_384;

/// What was said at the beginning, and what was not answered yet.
#[derive(Default)]
pub(super) struct Standing {
    follows: bool,
    initialize: Option<Bytes>,
    initialized: Option<Bytes>,
    /// Requests in flight: identity → id as it was written, method, dialect.
    requests: HashMap<Box<str>, Request>,
}

struct Request {
    id: Box<str>,
    method: Box<str>,
    dialect: Dialect,
}

impl Standing {
    pub(super) fn request(&mut self, envelope: &Envelope, line: &Bytes, dialect: Dialect) {
        if !self.follows {
            return;
        }
        let (Some(id), Some(method)) = (envelope.id(), envelope.method()) else {
            return;
        };
        if method == "initialize" {
            self.initialize = Some(line.clone());
        }
        self.insert(id.into(), method.into(), dialect);
    }

    /// A call that was held goes on.
    pub(super) fn passed(&mut self, id: Box<str>, dialect: Dialect) {
        if self.follows {
            self.insert(id, "tools/call".into(), dialect);
        }
    }

    fn insert(&mut self, id: Box<str>, method: Box<str>, dialect: Dialect) {
        if self.requests.len() < MOST {
            let identity = identity(&id).into();
            self.requests.insert(identity, Request { id, method, dialect });
        }
    }

    pub(super) fn notification(&mut self, envelope: &Envelope, line: &Bytes) {
        if self.follows && envelope.method() == Some("notifications/initialized") {
            self.initialized = Some(line.clone());
        }
    }

    pub(super) fn answered(&mut self, id: &str) {
        self.requests.remove(&*identity(id));
    }

    pub(super) const fn follows(&self) -> bool {
        self.follows
    }
}

impl Wrapper {
    /// Keeps what [`replay`](Self::replay) and [`abandoned`](Self::abandoned) need.
    pub(crate) fn follow_requests(&mut self) {
        self.standing.follows = true;
    }

    /// Whether anything waits for an answer of the server.
    pub(crate) fn has_requests(&self) -> bool {
        !self.standing.requests.is_empty()
    }

    /// A line of the host while there is no server: it has ended because it was started without a token.
    pub(crate) fn host_line_alone(&mut self, line: Bytes) -> Action {
        match self.heard(line) {
            (Action::ToServer(line), token) => {
                let Ok(envelope) = Envelope::read(line.clone()) else {
                    return Action::Nothing;
                };
                let (Kind::Request, Some(id), Some(method)) =
                    (envelope.kind(), envelope.id(), envelope.method())
                else {
                    return Action::Nothing;
                };
                let dialect = self.dialect(&envelope, &line);
                self.standing.answered(id);
                self.asked.remove(&*identity(id));
                match self.alone(id, method) {
                    Some(answer) => Action::ToHost(answer),
                    // Everything else takes a server, and the server takes a token.
                    None => Action::Judge(Held {
                        id: id.into(),
                        name: method.into(),
                        listing: method == "tools/list",
                        last: false,
                        dialect,
                        scopes: self.settings.scopes.clone(),
                        token,
                        line,
                    }),
                }
            }
            (action, _) => action,
        }
    }

    /// What can be answered without the server.
    fn alone(&self, id: &str, method: &str) -> Option<Bytes> {
        match method {
            "initialize" => Some(self.greeting(id)),
            "ping" => Some(refusal::answer(id, "result", &json!({}))),
            // Which revisions the server speaks nobody knows yet. A client that knows both eras goes on with `initialize`.
            "server/discover" => {
                let error = json!({ "code": METHOD_NOT_FOUND, "message": "Start with initialize: the server needs a token before it starts" });
                Some(refusal::answer(id, "error", &error))
            }
            _ => None,
        }
    }

    /// Our own answer to `initialize`: tools will be there when somebody has logged in.
    fn greeting(&self, id: &str) -> Bytes {
        let asked = self.standing.initialize.as_ref();
        let asked = asked
            .and_then(|line| serde_json::from_slice::<Value>(line).ok())
            .unwrap_or_default();
        let version = asked
            .pointer("/params/protocolVersion")
            .and_then(Value::as_str)
            .unwrap_or("2025-11-25");
        let result = json!({
            "protocolVersion": version,
            "capabilities": {
                "tools": { "listChanged": true },
                "experimental": { EXTENSION: entry::capability(&self.settings) },
            },
            "serverInfo": { "name": "doorward", "version": env!("CARGO_PKG_VERSION") },
            "instructions": "The server behind this needs authorization before it starts. Calls say how to get it.",
        });
        refusal::answer(id, "result", &result)
    }

    /// The server has ended because nobody had a token for it yet, or not the right one: answers to what it has not answered.
    pub(crate) fn server_is_gone(&mut self, reason: Reason, login_url: Option<&str>) -> Vec<Bytes> {
        self.asked.clear();
        let requests = std::mem::take(&mut self.standing.requests);
        let (scopes, elicitation) = (self.settings.scopes.clone(), self.elicitation.id());
        let mut answer = |request: &Request| {
            self.alone(&request.id, &request.method).unwrap_or_else(|| {
                let refused = refusal::Refusal {
                    id: &request.id,
                    name: &request.method,
                    dialect: request.dialect,
                    scopes: &scopes,
                    reason,
                    login_url,
                    elicitation: &elicitation,
                };
                self.tell(&refused)
            })
        };
        requests.values().map(&mut answer).collect()
    }

    /// Answers to what was in flight when the server was started anew.
    pub(crate) fn abandoned(&mut self) -> Vec<Bytes> {
        self.asked.clear();
        let requests = std::mem::take(&mut self.standing.requests);
        let error = json!({
            "code": INTERNAL_ERROR,
            "message": "The server was started anew with another token before it answered. It may have done what was asked",
        });
        requests
            .values()
            .map(|request| refusal::answer(&request.id, "error", &error))
            .collect()
    }

    /// The host's `initialize`, under an id of ours, and its `notifications/initialized`: for a server that was started anew.
    pub(crate) fn replay(&self) -> Option<(Bytes, Option<Bytes>)> {
        let line = std::str::from_utf8(self.standing.initialize.as_ref()?).ok()?;
        let mut message = Members::read(line)?;
        message.set("id", Value::from(REPLAY).to_string());
        Some((message.text().into(), self.standing.initialized.clone()))
    }

    /// Whether a line of the server answers the `initialize` that was repeated.
    pub(crate) fn answers_replay(line: &Bytes) -> bool {
        let Ok(message) = ServerMessage::read(line.clone()) else {
            return false;
        };
        let ours = Value::from(REPLAY).to_string();
        message.kind() == Kind::Response && message.id().map(identity) == Some(identity(&ours))
    }

    /// What tells a host that there are tools now. Before `notifications/initialized` nothing may be told.
    pub(crate) fn lists_changed(&self) -> Vec<Bytes> {
        let line = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
        self.standing
            .initialized
            .iter()
            .map(|_| line.to_string().into())
            .collect()
    }
}
