//! What is known of the host, the server and what is under way between them: a state machine without input, output or
//! clock. Lines of the host and events of the network go in, [`Action`]s come out.

mod answers;
mod eras;
mod lookup;
mod reopening;
mod sending;
mod session;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::ServerMessage as Message;
use doorward_mcp::envelope::Kind;
use doorward_mcp::message::identity;
use http::{HeaderName, HeaderValue};

use self::lookup::Lookup;
use self::session::{Phase, Session};
use crate::adapter::{Adapter, Step};
use crate::era;
use crate::event::{Action, Delete, Due};
use crate::failure::Failure;
use crate::learner::Learner;
use crate::lines::{self, Line};
use crate::memory::Share;
use crate::reading::Params;
use crate::settings::Settings;

/// Most messages of the host that wait, be it to be sent or to be answered; then no more are read.
const WAITING: usize = 256;
/// Most bytes of those that wait to be sent.
const WAITING_BYTES: usize = 8 << 20;
/// How long a server may take to end what was cancelled.
const CANCELLED: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Conversation {
    settings: Arc<Settings>,
    era_settings: era::Settings,
    /// Between the eras, once they are known.
    adapter: Option<Box<dyn Adapter>>,
    /// The message whose answer shows the server's era, and the number of its exchange.
    first: Option<(u64, Arc<Message>)>,
    /// The server did not take a modern request, so it is taken for a legacy one; it has not opened a session yet.
    is_guess: bool,
    /// What the host wrote after it.
    queue: VecDeque<Arc<Message>>,
    wire: Wire,
    /// What is under way.
    sent: BTreeMap<u64, Sent>,
    /// What waits for the session.
    held: VecDeque<Held>,
    learner: Learner,
    lookup: Option<Lookup>,
    /// The version that the last modern request named.
    modern_version: Option<String>,
    next: u64,
    actions: Vec<Action>,
    /// Why the host never got through.
    shut_out: Option<Failure>,
    /// A login came to nothing, and the host has not written since: nothing is begun that could ask for another one.
    unattended: bool,
}

/// How the server is spoken to.
enum Wire {
    Unknown,
    Legacy(Box<Session>),
    Modern,
}

/// Why something was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The host or the adapter wants it.
    Passed,
    /// It opens a session again that the server has forgotten.
    Reopen,
    /// It ends that opening.
    Reconfirm,
    /// It finds out which headers tools want.
    Lookup,
    /// It keeps a session alive.
    Ping,
    /// It is a stream of the session.
    Stream,
}

/// One exchange.
struct Sent {
    /// `None` for streams.
    message: Option<Arc<Message>>,
    purpose: Purpose,
    /// Which opening of the session it belongs to.
    generation: u32,
    /// It named a session.
    in_session: bool,
    /// It is sent for the second time.
    again: bool,
    /// The session that its answer named.
    named: Option<HeaderValue>,
    answered: bool,
    /// Its answer comes on the stream of HTTP+SSE.
    elsewhere: bool,
    /// The `Mcp-Param-*` headers it went with.
    parameters: Vec<(HeaderName, HeaderValue)>,
}

/// A message that waits for a session.
struct Held {
    message: Arc<Message>,
    again: bool,
}

impl Conversation {
    pub(crate) fn new(settings: Arc<Settings>, era_settings: era::Settings) -> Self {
        Self {
            settings,
            era_settings,
            adapter: None,
            first: None,
            is_guess: false,
            queue: VecDeque::new(),
            wire: Wire::Unknown,
            sent: BTreeMap::new(),
            held: VecDeque::new(),
            learner: Learner::default(),
            lookup: None,
            modern_version: None,
            next: 0,
            actions: Vec::new(),
            shut_out: None,
            unattended: false,
        }
    }

    /// Why the host did not get through to the server at all, if it tried.
    pub(crate) fn shut_out(&self) -> Option<&Failure> {
        self.shut_out.as_ref()
    }

    /// What there is to do, in its order.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Whether another line of the host may be read.
    pub(crate) fn wants_more(&self) -> bool {
        let waiting = self
            .queue
            .iter()
            .chain(self.held.iter().map(|held| &held.message))
            .chain(self.lookup.iter().flat_map(Lookup::calls));
        let (count, bytes) = waiting.fold((0, 0), |(count, bytes), message| {
            (count + 1, bytes + message.line().len())
        });
        count + self.sent.len() < WAITING && bytes < WAITING_BYTES
    }

    /// Whether the host waits for an answer that may still come.
    pub(crate) fn is_asked(&self) -> bool {
        let is_request = |message: &Message| {
            message.kind() == Kind::Request && message.method() != Some("subscriptions/listen")
        };
        let passed = |sent: &Sent| sent.purpose == Purpose::Passed && !sent.answered;
        let sent = self
            .sent
            .values()
            .filter(|sent| passed(sent))
            .filter_map(|sent| sent.message.as_ref());
        let held = self.held.iter().map(|held| &held.message);
        sent.chain(held)
            .chain(&self.queue)
            .chain(self.lookup.iter().flat_map(Lookup::calls))
            .any(|message| is_request(message))
    }

    /// One line of the host.
    pub(crate) fn host_line(&mut self, line: Line) {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong => {
                tracing::error!(
                    limit = self.settings.longest_message,
                    "the host wrote a line that is too long: it is not passed (--max-message)"
                );
                return;
            }
        };
        match lines::read(&line) {
            Ok(message) => self.host(Arc::new(message)),
            Err((Some(answer), _)) => self.tell_host(answer),
            Err((None, words)) => {
                tracing::error!(
                    problem = words,
                    "the host wrote a line that is no message: it is not passed"
                );
            }
        }
    }

    fn host(&mut self, message: Arc<Message>) {
        if std::mem::take(&mut self.unattended) {
            self.stream_again();
        }
        if self.refuse_ignored(&message) {
            return;
        }
        if let Some(adapter) = &mut self.adapter {
            let steps = adapter.host(&message);
            self.take_steps(steps, Share::default());
        } else {
            self.before_eras(message);
        }
    }

    /// Answers calls of tools that the host does not get to see.
    fn refuse_ignored(&mut self, message: &Message) -> bool {
        if self.settings.ignored_tools.is_empty() || message.method() != Some("tools/call") {
            return false;
        }
        let Some(name) = Params::of(message).name else {
            return false;
        };
        if !self.settings.ignores(&name) {
            return false;
        }
        if let Some(id) = message.id() {
            let words = format!("Unknown tool: {} (hidden by --ignore-tool)", name.escape_debug());
            self.tell_host(Failure::new(-32602, words).answer(id));
        }
        true
    }

    fn tell_host(&mut self, line: Bytes) {
        self.actions.push(Action::ToHost(line, Share::default()));
    }

    fn take_steps(&mut self, steps: Vec<Step>, mut share: Share) {
        for step in steps {
            match step {
                Step::ToHost(line) => self.actions.push(Action::ToHost(line, share.take())),
                Step::ToServer(body) => self.tell_server(body),
                Step::ToServerIn(delay, body) => self.actions.push(Action::Later(delay, Due::Send(body))),
            }
        }
    }

    /// Something of [`Action::Later`] is due.
    pub(crate) fn due(&mut self, due: Due) {
        match due {
            Due::Send(body) => self.tell_server(body),
            Due::Attached(generation) => self.attached(generation),
            Due::Reopen(generation) => self.reopen_if_lost(generation),
            Due::Abort(number) => {
                if self.sent.remove(&number).is_some() {
                    self.actions.push(Action::Abort(number));
                }
            }
        }
    }

    /// So much time went by since it was told the last time.
    pub(crate) fn elapsed(&mut self, time: Duration) {
        if let Some(adapter) = &mut self.adapter {
            let steps = adapter.elapsed(time);
            self.take_steps(steps, Share::default());
        }
    }

    /// The host is gone: ends everything, and says how to end the session.
    pub(crate) fn close(&mut self) -> Option<Delete> {
        for number in std::mem::take(&mut self.sent).into_keys() {
            self.actions.push(Action::Abort(number));
        }
        match &self.wire {
            Wire::Legacy(session) => session.farewell(&self.settings.url),
            Wire::Modern | Wire::Unknown => None,
        }
    }

    /// The exchange under way of the request with this id.
    fn number_of(&self, id: &str) -> Option<u64> {
        let wanted = identity(id);
        let is_it = |sent: &Sent| {
            let message = sent.message.as_ref();
            message.is_some_and(|message| {
                message.kind() == Kind::Request && message.id().is_some_and(|id| identity(id) == wanted)
            })
        };
        let found = self.sent.iter().find(|(_, sent)| is_it(sent));
        found.map(|(number, _)| *number)
    }

    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.wire {
            Wire::Legacy(session) => Some(session),
            Wire::Modern | Wire::Unknown => None,
        }
    }

    /// Nothing happens to be under way in a session that is open: a sign of life is in place.
    pub(crate) fn keep_alive(&mut self) {
        let is_open = self
            .session()
            .is_some_and(|session| session.phase == Phase::Ready);
        let is_quiet = self.sent.values().all(|sent| sent.purpose == Purpose::Stream);
        if is_open && is_quiet && !self.unattended {
            let id = self.own_id();
            let ping = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{id}\",\"method\":\"ping\"}}");
            if let Ok(ping) = Message::read(ping.into()) {
                self.post(Arc::new(ping), Purpose::Ping, false);
            }
        }
    }

    fn own_id(&mut self) -> String {
        self.next += 1;
        format!("doorward:{}", self.next)
    }
}

#[cfg(test)]
mod tests;
