//! The wrapper: a state machine between a host and a server that speak MCP in lines.
//!
//! It reads what it must judge strictly, because a message that two readers understand differently could be judged as one call
//! and carried out as another. What it need not judge it hands on as it came.

mod answers;
mod questions;
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
use serde_json::{Value, json};

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
    /// It is not made again.
    last: bool,
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
    /// The token is good, and the server did not start with it.
    NotStarted,
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
    id: Box<str>,
    name: Box<str>,
    dialect: Dialect,
    again: Option<Bytes>,
}

impl RefusedByServer {
    /// The call, to be made with another token: the server has not done it. Once, and only where the token did not come with the
    /// request.
    pub(crate) fn once_more(&self) -> Option<Held> {
        Some(Held {
            line: self.again.clone()?,
            id: self.id.clone(),
            name: self.name.clone(),
            listing: false,
            last: true,
            dialect: self.dialect,
            scopes: self.scopes.clone(),
            token: None,
        })
    }
}

/// What a line of the server is.
#[derive(Debug)]
pub enum FromServer {
    /// For the host, as it is here.
    Line(Bytes),
    /// The server says that a token is not enough: [`Wrapper::refused`] tells the host.
    Refused(Box<RefusedByServer>),
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
        /// The call, to be made once more with a renewed token. `None` if its token came with it, or if it was made twice.
        again: Option<Bytes>,
    },
}

/// The state of one connection between a host and a server.
pub struct Wrapper {
    settings: Arc<Settings>,
    asked: HashMap<Box<str>, Asked>,
    /// Whether the client of a legacy session opens URLs, from its `initialize`.
    legacy_elicits: bool,
    elicitation: Elicitation,
    standing: standing::Standing,
    questions: questions::Questions,
}

/// The login that clients of 2025-11-25 are asked to open: one, however many calls ask for it, until somebody has logged in.
#[derive(Default)]
struct Elicitation {
    number: u64,
    /// A client was told of it.
    told: bool,
}

impl Elicitation {
    fn id(&self) -> String {
        format!("{}/{}", crate::EXTENSION, self.number)
    }
}

impl Wrapper {
    /// A connection on which nothing was said.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            asked: HashMap::new(),
            legacy_elicits: false,
            elicitation: Elicitation::default(),
            standing: standing::Standing::default(),
            questions: questions::Questions::default(),
        }
    }

    /// Takes over newer metadata of the authorization servers.
    pub fn update(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// A line of the host.
    pub fn host_line(&mut self, line: Bytes) -> Action {
        self.heard(line).0
    }

    /// What is to be done about a line of the host, and the token that was taken out of it if nobody judges by it.
    fn heard(&mut self, line: Bytes) -> (Action, Option<Secret>) {
        let envelope = match Envelope::read(line.clone()) {
            Ok(envelope) => envelope,
            Err(error) => {
                if refusal::is_answer(&line) {
                    // Nobody answers an answer.
                    let instead = refusal::unanswered(&line).and_then(|line| self.questions.answered(line));
                    return (instead.map_or(Action::Nothing, Action::ToServer), None);
                }
                let answer = refusal::unreadable(&line, &error.to_string());
                return (Action::ToHost(answer), None);
            }
        };
        let (line, token) = if mentions(&line, TOKEN) {
            line_and_token(&line)
        } else {
            (line, None)
        };
        match (envelope.kind(), envelope.method()) {
            (Kind::Request, Some(method)) => self.request(&envelope, method, line, token),
            (Kind::Notification, _) => {
                if envelope.method() == Some("notifications/cancelled") {
                    self.cancelled(&line);
                }
                self.standing.notification(&envelope, &line);
                (Action::ToServer(line), None)
            }
            (Kind::Response, _) => {
                let answer = self.questions.answered(line);
                (answer.map_or(Action::Nothing, Action::ToServer), None)
            }
            _ => (Action::ToServer(line), None),
        }
    }

    fn request(
        &mut self,
        envelope: &Envelope,
        method: &str,
        line: Bytes,
        token: Option<Secret>,
    ) -> (Action, Option<Secret>) {
        if method == "initialize" {
            self.legacy_elicits = elicits(&line, &["params", "capabilities"]);
        }
        let needs = self.needs(envelope, method, &line);
        // Reading the capabilities is for those alone who may be refused.
        let dialect = match needs.is_some() || self.standing.follows() {
            true => self.dialect(envelope, &line),
            false => Dialect {
                modern: false,
                elicits: false,
            },
        };
        if let Some(scopes) = needs {
            let held = Held {
                line: refusal::without_our_state(line),
                id: envelope.id().unwrap_or("null").into(),
                name: envelope.name().or(envelope.uri()).unwrap_or(method).into(),
                listing: false,
                last: false,
                dialect,
                scopes,
                token,
            };
            return (Action::Judge(held), None);
        }
        self.standing.request(envelope, &line, dialect);
        match method {
            "initialize" => self.ask(envelope, Asked::Initialize),
            "server/discover" => self.ask(envelope, Asked::Discover),
            "tools/list" => self.ask(envelope, Asked::Tools),
            _ => {}
        }
        (Action::ToServer(line), token)
    }

    fn dialect(&self, envelope: &Envelope, line: &Bytes) -> Dialect {
        let here = ["params", "_meta", "io.modelcontextprotocol/clientCapabilities"];
        let modern = envelope.meta_version().is_some();
        // Other requests must not be answered by a request for input (2026-07-28, "Multi Round-Trip Requests").
        let may_ask = matches!(
            envelope.method(),
            Some("tools/call" | "prompts/get" | "resources/read")
        );
        // Who declined is told plainly, and not asked again.
        let elicits = if modern {
            may_ask && elicits(line, &here) && !refusal::declined(line)
        } else {
            self.legacy_elicits
        };
        Dialect { modern, elicits }
    }

    /// What a request needs; `None` if it needs no token. What is not known to be harmless needs one: tasks, methods of
    /// extensions, and whatever a later revision brings.
    fn needs(&self, envelope: &Envelope, method: &str, line: &Bytes) -> Option<ScopeSet> {
        let Settings { protects, scopes, .. } = &*self.settings;
        let needed = match method {
            // A call without a name is the server's to refuse.
            "tools/call" => return self.settings.needs(envelope.name().unwrap_or_default()).cloned(),
            "initialize" | "ping" | "server/discover" | "logging/setLevel" => false,
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "skills/list" => {
                false
            }
            "resources/unsubscribe" => false,
            "prompts/get" => protects.prompts,
            "resources/read" | "resources/subscribe" | "resources/directory/read" => protects.resources,
            "subscriptions/listen" => names_objects(line),
            "completion/complete" => protects.prompts || protects.resources,
            _ => true,
        };
        needed.then(|| scopes.clone())
    }

    /// Nobody waits for the answer any more, and mostly none comes (2025-11-25, "Cancellation").
    fn cancelled(&mut self, line: &Bytes) {
        if self.asked.is_empty() && !self.standing.follows() {
            return;
        }
        let message = serde_json::from_slice::<Value>(line).unwrap_or_default();
        if let Some(id) = message.pointer("/params/requestId") {
            let id = id.to_string();
            self.asked.remove(&*identity(&id));
            self.standing.answered(&id);
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
                let again = (!held.last && held.token.is_none() && self.settings.hand == Hand::Meta)
                    .then(|| held.line.clone());
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
                        again,
                    },
                };
                if self.asked.len() < MOST_ASKED {
                    self.asked.insert(identity(&held.id).into(), asked);
                }
                self.standing.passed(held.id, held.dialect);
                Action::ToServer(line)
            }
            Verdict::Refuse { reason, login_url } => {
                let elicitation = self.elicitation.id();
                Action::ToHost(self.tell(&refusal::Refusal {
                    id: &held.id,
                    name: &held.name,
                    dialect: held.dialect,
                    scopes: &held.scopes,
                    reason,
                    login_url: login_url.as_deref(),
                    elicitation: &elicitation,
                }))
            }
        }
    }

    /// A line of the server.
    pub fn server_line(&mut self, line: Bytes) -> FromServer {
        if self.asked.is_empty() && !self.standing.follows() {
            return FromServer::Line(line);
        }
        let Ok(message) = ServerMessage::read(line.clone()) else {
            return FromServer::Line(line);
        };
        if message.kind() != Kind::Response {
            return FromServer::Line(match self.standing.follows() {
                true => self.questions.asked(&message, line),
                false => line,
            });
        }
        if let Some(id) = message.id() {
            self.standing.answered(id);
        }
        let Some(asked) = message.id().and_then(|id| self.asked.remove(&*identity(id))) else {
            return FromServer::Line(line);
        };
        FromServer::Line(match asked {
            Asked::Initialize => answers::announced(&line, "experimental", &self.settings),
            Asked::Discover => answers::announced(&line, "extensions", &self.settings),
            Asked::Tools => answers::marked(&line, &self.settings),
            Asked::Call {
                name,
                dialect,
                scopes,
                token,
                again,
            } => match message
                .is_error()
                .then(|| answers::refused_by_server(&line, &self.settings))
                .flatten()
            {
                None => line,
                Some((reason, named)) => {
                    return FromServer::Refused(Box::new(RefusedByServer {
                        token,
                        reason,
                        scopes: named.unwrap_or(scopes),
                        id: message.id().unwrap_or("null").into(),
                        name,
                        dialect,
                        again,
                    }));
                }
            },
        })
    }

    /// How the host is told of a call that the server itself refused.
    pub fn refused(&mut self, refused: &RefusedByServer, login_url: Option<&str>) -> Bytes {
        let elicitation = self.elicitation.id();
        self.tell(&refusal::Refusal {
            id: &refused.id,
            name: &refused.name,
            dialect: refused.dialect,
            scopes: &refused.scopes,
            reason: refused.reason,
            login_url,
            elicitation: &elicitation,
        })
    }

    fn tell(&mut self, refusal: &refusal::Refusal<'_>) -> Bytes {
        self.elicitation.told |= refusal.opens() && !refusal.dialect.modern;
        refusal::line(&self.settings, refusal)
    }

    /// Whether a client of 2025-11-25 was asked to open a URL, and waits to hear that somebody has logged in.
    pub(crate) const fn has_elicited(&self) -> bool {
        self.elicitation.told
    }

    /// Somebody has logged in: what tells the client so (2025-11-25, "Elicitation", completion notifications).
    pub(crate) fn elicitation_is_over(&mut self) -> Option<Bytes> {
        let id = self.elicitation.told.then(|| self.elicitation.id())?;
        self.elicitation = Elicitation {
            number: self.elicitation.number + 1,
            told: false,
        };
        let line = json!({
            "jsonrpc": "2.0",
            "method": "notifications/elicitation/complete",
            "params": { "elicitationId": id },
        });
        Some(line.to_string().into())
    }

    /// The server is about to be started anew.
    pub(crate) fn starts_anew(&mut self) {
        self.questions.start_anew();
    }
}

/// Whether a `subscriptions/listen` asks for more than news of lists (2026-07-28, "Subscriptions").
fn names_objects(line: &Bytes) -> bool {
    const LISTS: [&str; 3] = ["toolsListChanged", "promptsListChanged", "resourcesListChanged"];
    let message = serde_json::from_slice::<Value>(line).unwrap_or_default();
    let asked = message
        .pointer("/params/notifications")
        .and_then(Value::as_object);
    let nothing = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    asked.is_none_or(|asked| {
        asked
            .iter()
            .any(|(key, value)| !LISTS.contains(&key.as_str()) && !nothing(value))
    })
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
            // Something else than a text is a token that is not good, and no reason to take another one.
            let text = serde_json::from_str::<String>(&text).unwrap_or_default();
            token = Some(Secret::new(text));
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
