//! The wrapper: a state machine between a host and a server that speak MCP in lines.
//!
//! It reads what it must judge strictly, because a message that two readers understand differently could be judged as one call
//! and carried out as another. What it need not judge it hands on as it came.

mod answers;
mod refusal;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use doorward_mcp::message::identity;
use doorward_mcp::{Envelope, Kind, ServerMessage};
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use serde_json::Value;

use crate::entry::TOKEN;
use crate::members::Members;
use crate::settings::{Hand, Settings};

/// Most requests whose answers are remembered. A host with more of them in flight gets their answers unmarked.
const MOST_ASKED: usize = 16_384;

/// What is to be done, in order.
#[derive(Debug)]
pub enum Action {
    /// Write this line to the host.
    ToHost(Bytes),
    /// Write this line to the server.
    ToServer(Bytes),
    /// Find out whether the call may pass, and say so by [`Wrapper::judged`].
    Judge(Held),
    /// Nothing.
    Nothing,
}

/// How a client speaks, as far as authorization depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// 2026-07-28 and later.
    modern: bool,
    /// The client opens URLs for its user (elicitation in URL mode), and knows nothing of our extension.
    elicits: bool,
}

/// A call that waits for a verdict.
#[derive(Debug)]
pub struct Held {
    /// The message, without the token.
    line: Bytes,
    id: Box<str>,
    name: Box<str>,
    /// It asks for the list of tools: a server that needs a token to start is asked for nothing without one.
    listing: bool,
    dialect: Dialect,
    /// What the call needs.
    pub scopes: ScopeSet,
    /// The token that came with the request. It goes before every other source.
    pub token: Option<Secret>,
}

/// Why a call may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no token.
    NoToken,
    /// The token is expired, revoked, forged, or for somebody else (RFC 6750 `invalid_token`).
    InvalidToken,
    /// The token lacks a scope that the call needs (`insufficient_scope`).
    InsufficientScope,
    /// Nobody could be asked whether the token is good.
    Unverifiable,
}

/// The server itself found a verified token not to be enough.
#[derive(Clone, Debug)]
pub struct RefusedByServer {
    /// The token.
    pub token: Secret,
    /// Why.
    pub reason: Reason,
    /// What the call needs.
    pub scopes: ScopeSet,
}

/// Whether a held call may pass.
#[derive(Debug)]
pub enum Verdict {
    /// With this token, which was verified.
    Pass(Secret),
    /// Not now. The URL starts a login in this process, if it can run one.
    Refuse {
        /// Why.
        reason: Reason,
        /// `http://127.0.0.1:PORT/login`.
        login_url: Option<String>,
    },
}

/// What an answer that is awaited will be changed for.
enum Asked {
    Initialize,
    Discover,
    Tools,
    /// A protected call: the server itself may find that the token is not enough.
    Call {
        name: Box<str>,
        dialect: Dialect,
        scopes: ScopeSet,
        token: Secret,
    },
}

/// The state of one connection between a host and a server.
pub struct Wrapper {
    settings: Arc<Settings>,
    asked: HashMap<Box<str>, Asked>,
    /// Whether the client of a legacy session opens URLs, from its `initialize`.
    legacy_elicits: bool,
    /// Where a login starts, for refusals that the server itself makes.
    login_url: Option<String>,
    /// What the server itself refused last.
    refused: Option<RefusedByServer>,
    standing: standing::Standing,
}

impl Wrapper {
    /// A connection on which nothing was said.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            asked: HashMap::new(),
            legacy_elicits: false,
            login_url: None,
            refused: None,
            standing: standing::Standing::default(),
        }
    }

    /// Takes over newer metadata of the authorization servers.
    pub fn update(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Where this process itself starts a login, for refusals that the server makes.
    pub fn set_login_url(&mut self, url: Option<String>) {
        self.login_url = url;
    }

    /// A line of the host.
    pub fn host_line(&mut self, line: Bytes) -> Action {
        let envelope = match Envelope::read(line.clone()) {
            Ok(envelope) => envelope,
            Err(error) => return Action::ToHost(refusal::unreadable(&line, &error.to_string())),
        };
        let line = if mentions(&line, TOKEN) {
            line_and_token(&line)
        } else {
            (line, None)
        };
        match (envelope.kind(), envelope.method()) {
            (Kind::Request, Some(method)) => self.request(&envelope, method, line),
            (Kind::Notification, _) => {
                self.standing.notification(&envelope, &line.0);
                Action::ToServer(line.0)
            }
            _ => Action::ToServer(line.0),
        }
    }

    fn request(
        &mut self,
        envelope: &Envelope,
        method: &str,
        (line, token): (Bytes, Option<Secret>),
    ) -> Action {
        if method == "initialize" {
            self.legacy_elicits = elicits(&line, &["params", "capabilities"]);
        }
        let needs = self.needs(envelope, method);
        // Reading the capabilities is for those alone who may be refused.
        let dialect = match needs.is_some() || self.standing.follows() {
            true => self.dialect(envelope, &line),
            false => Dialect {
                modern: false,
                elicits: false,
            },
        };
        if let Some(scopes) = needs {
            return Action::Judge(Held {
                line: refusal::without_our_state(line),
                id: envelope.id().unwrap_or("null").into(),
                name: envelope.name().or(envelope.uri()).unwrap_or(method).into(),
                listing: false,
                dialect,
                scopes,
                token,
            });
        }
        self.standing.request(envelope, &line, dialect);
        match method {
            "initialize" => self.ask(envelope, Asked::Initialize),
            "server/discover" => self.ask(envelope, Asked::Discover),
            "tools/list" => self.ask(envelope, Asked::Tools),
            _ => {}
        }
        Action::ToServer(line)
    }

    fn dialect(&self, envelope: &Envelope, line: &Bytes) -> Dialect {
        let here = ["params", "_meta", "io.modelcontextprotocol/clientCapabilities"];
        let modern = envelope.meta_version().is_some();
        let elicits = if modern {
            elicits(line, &here)
        } else {
            self.legacy_elicits
        };
        Dialect { modern, elicits }
    }

    /// What a request needs; `None` if it needs no token.
    fn needs(&self, envelope: &Envelope, method: &str) -> Option<ScopeSet> {
        let Settings { protects, scopes, .. } = &*self.settings;
        match method {
            // A call without a name is the server's to refuse.
            "tools/call" => self.settings.needs(envelope.name().unwrap_or_default()).cloned(),
            "prompts/get" => protects.prompts.then(|| scopes.clone()),
            "resources/read" | "resources/subscribe" => protects.resources.then(|| scopes.clone()),
            "completion/complete" => (protects.prompts || protects.resources).then(|| scopes.clone()),
            _ => None,
        }
    }

    fn ask(&mut self, envelope: &Envelope, asked: Asked) {
        if let Some(id) = envelope.id()
            && self.asked.len() < MOST_ASKED
        {
            self.asked.insert(identity(id).into(), asked);
        }
    }

    /// The verdict about a call that was held.
    pub fn judged(&mut self, held: Held, verdict: Verdict) -> Action {
        match verdict {
            Verdict::Pass(token) => {
                let line = match self.settings.hand {
                    Hand::Meta => with_token(&held.line, &token),
                    Hand::Nothing | Hand::Environment(_) => held.line,
                };
                let asked = match held.listing {
                    true => Asked::Tools,
                    false => Asked::Call {
                        name: held.name,
                        dialect: held.dialect,
                        scopes: held.scopes,
                        token,
                    },
                };
                if self.asked.len() < MOST_ASKED {
                    self.asked.insert(identity(&held.id).into(), asked);
                }
                self.standing.passed(held.id, held.dialect);
                Action::ToServer(line)
            }
            Verdict::Refuse { reason, login_url } => {
                let refused = refusal::Refusal {
                    id: &held.id,
                    name: &held.name,
                    dialect: held.dialect,
                    scopes: &held.scopes,
                    reason,
                    login_url: login_url.as_deref(),
                };
                Action::ToHost(refusal::line(&self.settings, &refused))
            }
        }
    }

    /// A line of the server, as the host is to get it.
    pub fn server_line(&mut self, line: Bytes) -> Bytes {
        if self.asked.is_empty() && !self.standing.follows() {
            return line;
        }
        let Ok(message) = ServerMessage::read(line.clone()) else {
            return line;
        };
        if message.kind() != Kind::Response {
            return line;
        }
        if let Some(id) = message.id() {
            self.standing.answered(id);
        }
        let Some(asked) = message.id().and_then(|id| self.asked.remove(&*identity(id))) else {
            return line;
        };
        match asked {
            Asked::Initialize => answers::announced(&line, "experimental", &self.settings),
            Asked::Discover => answers::announced(&line, "extensions", &self.settings),
            Asked::Tools => answers::marked(&line, &self.settings),
            Asked::Call {
                name,
                dialect,
                scopes,
                token,
            } => {
                let Some((reason, named)) = answers::refused_by_server(&line) else {
                    return line;
                };
                let scopes = named.unwrap_or(scopes);
                let refused = refusal::Refusal {
                    id: message.id().unwrap_or("null"),
                    name: &name,
                    dialect,
                    scopes: &scopes,
                    reason,
                    login_url: self.login_url.as_deref(),
                };
                let answer = refusal::line(&self.settings, &refused);
                self.refused = Some(RefusedByServer {
                    token,
                    reason,
                    scopes,
                });
                answer
            }
        }
    }

    /// What the server itself refused since the last time.
    pub fn take_refused(&mut self) -> Option<RefusedByServer> {
        self.refused.take()
    }
}

/// Whether the text may hold a key. Escapes could hide it, so a backslash counts as well.
fn mentions(line: &[u8], key: &str) -> bool {
    line.contains(&b'\\') || line.windows(key.len()).any(|window| window == key.as_bytes())
}

/// The message without the token, and the token.
fn line_and_token(line: &Bytes) -> (Bytes, Option<Secret>) {
    let mut token = None;
    let mut found = false;
    let mut message = std::str::from_utf8(line).ok().and_then(Members::read);
    let Some(message) = message.as_mut() else {
        return (line.clone(), None);
    };
    if message.get("params").is_none() {
        return (line.clone(), None);
    }
    message.edit(&["params"], &mut |params| {
        if params.get("_meta").is_none() {
            return;
        }
        params.edit(&["_meta"], &mut |meta| {
            let Some(text) = meta.remove(TOKEN) else { return };
            found = true;
            token = serde_json::from_str::<String>(&text).ok().map(Secret::new);
        });
        // A `_meta` that was made for the token alone goes with it.
        if found
            && params
                .get("_meta")
                .and_then(Members::read)
                .is_some_and(|meta| meta.is_empty())
        {
            params.remove("_meta");
        }
    });
    match found {
        true => (message.text().into(), token),
        false => (line.clone(), None),
    }
}

/// The message with a verified token for a server that looks for it.
fn with_token(line: &Bytes, token: &Secret) -> Bytes {
    let Some(mut message) = std::str::from_utf8(line).ok().and_then(Members::read) else {
        return line.clone();
    };
    let text = Value::from(token.expose()).to_string();
    message.edit(&["params", "_meta"], &mut |meta| meta.set(TOKEN, text.clone()));
    message.text().into()
}

/// Whether the capabilities at `path` have elicitation in URL mode, without the extension that makes it needless.
fn elicits(line: &Bytes, path: &[&str]) -> bool {
    let capabilities = serde_json::from_slice::<Value>(line).ok();
    let Some(capabilities) = capabilities
        .as_ref()
        .and_then(|message| path.iter().try_fold(message, |value, key| value.get(key)))
    else {
        return false;
    };
    let knows_us = ["extensions", "experimental"].iter().any(|kind| {
        capabilities
            .get(kind)
            .is_some_and(|known| known.get(crate::EXTENSION).is_some())
    });
    !knows_us
        && capabilities
            .pointer("/elicitation/url")
            .is_some_and(Value::is_object)
}
