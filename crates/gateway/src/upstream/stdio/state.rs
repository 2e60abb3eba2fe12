//! What is going on with one process, and where each of its messages belongs. No I/O.
//!
//! Every call gets a number of ours, unique in its process: it is the call's id, progress token and
//! subscription id there (MB-15: no two clients' ids can meet). What comes back gets the client's own again.

mod routes;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::Call;
use doorward_mcp::message::identity;
use tokio::time::Instant;

use super::outbox::{Item, Outbox, Outcome};
use super::unread::Unread;

/// The numbers below are used by the probe.
const FIRST_NUMBER: u64 = 3;
/// Most requests of a server that wait for a client.
const ASKED: usize = 256;
/// How many progress tokens of answered calls are remembered: tasks report on after the answer (2025-11-25).
const LASTING: usize = 256;
/// Longest progress token and server's id that is remembered, in bytes.
const LONGEST: usize = 1024;
/// How long the answer to a call is still waited for after its client cancelled it.
const CANCELLED: Duration = Duration::from_secs(10);
/// How long a server's request waits for a client that could take it.
const UNHEARD: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    Legacy,
    Modern,
}

/// Why a process is no longer used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Its client ended the session.
    Closed,
    /// Nothing was asked of it for long.
    Idle,
    /// It made room for another one.
    Evicted,
    /// Its server was taken out of the configuration, or we end.
    Retired,
    /// It came to nothing: its first call failed.
    Abandoned,
    /// It ended, not asked to.
    Died,
}

impl Over {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Retired => "retired",
            Self::Abandoned => "abandoned",
            Self::Died => "died",
        }
    }
}

/// One call that is not answered yet.
struct Slot {
    /// The client's id, as JSON text.
    id: Box<str>,
    token: Option<Box<str>>,
    is_listen: bool,
    wants_log: bool,
    /// Whether the process may have it.
    written: bool,
    /// `None`: nobody waits for it any more.
    outbox: Option<Outbox>,
    /// When it is given up.
    until: Option<Instant>,
    cancelled: bool,
}

impl Slot {
    fn is_attended(&self) -> bool {
        self.outbox.as_ref().is_some_and(Outbox::is_open)
    }
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The stream of a call.
    Call(u64),
    /// The stream that a GET opened.
    Listener(u64),
    /// The end of a call, which is no longer on the list.
    Answer,
}

/// What is to be done with a message.
#[derive(Debug)]
pub(super) enum Way {
    To(Place, Outbox, Item),
    /// It waits for a GET; so many others had to give way, and these are to be told.
    Kept {
        dropped: usize,
        refused: Vec<Bytes>,
    },
    Nowhere(&'static str),
}

/// What a look at the clock brought up.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// To be told to the server.
    pub(super) lines: Vec<Bytes>,
    pub(super) over: Option<Over>,
}

/// A request of the server.
struct Asked {
    /// Where it went.
    place: Option<Place>,
    number: u64,
}

pub(super) struct State {
    era: Era,
    next: u64,
    calls: BTreeMap<u64, Slot>,
    /// Progress tokens of calls that were answered (legacy).
    lasting: BTreeMap<u64, Box<str>>,
    listener: Option<(u64, Outbox)>,
    unread: Unread,
    /// Ids of the server's requests that no client has answered.
    asked: HashMap<String, Asked>,
    quiet_since: Instant,
    over: Option<Over>,
    retired: bool,
    answered: bool,
}

impl State {
    pub(super) fn new(era: Era, now: Instant) -> Self {
        Self {
            era,
            next: FIRST_NUMBER,
            calls: BTreeMap::new(),
            lasting: BTreeMap::new(),
            listener: None,
            unread: Unread::default(),
            asked: HashMap::new(),
            quiet_since: now,
            over: None,
            retired: false,
            answered: false,
        }
    }

    pub(super) const fn over(&self) -> Option<Over> {
        self.over
    }

    /// Whether the process ever wrote a message.
    pub(super) const fn has_answered(&self) -> bool {
        self.answered
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether anybody but the client of `place` may be waiting for an answer. A session has one client.
    pub(super) fn others_wait(&self, place: Place) -> bool {
        let other = |(number, slot): (&u64, &Slot)| !slot.is_listen && place != Place::Call(*number);
        self.era == Era::Modern && self.calls.iter().any(other)
    }

    pub(super) fn is_listened_to(&self) -> bool {
        self.listener.as_ref().is_some_and(|(_, outbox)| outbox.is_open())
    }

    pub(super) const fn quiet_since(&self) -> Instant {
        self.quiet_since
    }

    /// Whether new calls may come.
    pub(super) const fn is_usable(&self) -> bool {
        self.over.is_none() && !self.retired
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Puts a call on the list.
    pub(super) fn enter(&mut self, call: &Call, outbox: Outbox) -> u64 {
        let number = self.number();
        self.calls.insert(
            number,
            Slot {
                id: call.id().unwrap_or("null").into(),
                token: call
                    .progress_token()
                    .filter(|token| token.len() <= LONGEST)
                    .map(Into::into),
                is_listen: call.method() == Some("subscriptions/listen"),
                wants_log: self.era == Era::Modern && asks_for_log(call.body()),
                written: false,
                outbox: Some(outbox),
                until: None,
                cancelled: false,
            },
        );
        number
    }

    /// From here on the process may act on the call.
    pub(super) fn written(&mut self, number: u64) {
        if let Some(slot) = self.calls.get_mut(&number) {
            slot.written = true;
        }
    }

    /// The client of a call has gone. What the server is to be told of it: a modern client cancels by leaving
    /// (2026-07-28, Streamable HTTP, "Cancellation"), a legacy one does not, and its call gets `patience`.
    pub(super) fn leave(&mut self, number: u64, patience: Option<Duration>, now: Instant) -> Option<Bytes> {
        let slot = self.calls.get_mut(&number)?;
        slot.outbox = None;
        match patience {
            Some(patience) if slot.written && self.era == Era::Legacy => {
                slot.until.get_or_insert(now + patience);
                None
            }
            _ => {
                let slot = self.calls.remove(&number)?;
                self.quiet_since = now;
                (slot.written && !slot.cancelled).then(|| cancelled(number))
            }
        }
    }

    /// A client of a legacy session cancels: the number of the call it means, if that is still going on.
    pub(super) fn cancel(&mut self, id: &str, now: Instant) -> Option<u64> {
        let id = identity(id);
        let (number, slot) = self
            .calls
            .iter_mut()
            .rev()
            .find(|(_, slot)| slot.written && !slot.cancelled && identity(&slot.id) == id)?;
        slot.cancelled = true;
        slot.until = Some(now + CANCELLED);
        Some(*number)
    }

    /// A client answers: whether the server asked that.
    pub(super) fn reply(&mut self, id: &str) -> bool {
        self.asked.remove(&*identity(id)).is_some()
    }

    /// A GET opens the stream of the session; an older one ends. What was kept goes into it.
    pub(super) fn listen(&mut self, outbox: Outbox) -> u64 {
        let number = self.number();
        for kept in self.unread.take() {
            if let Some(asked) = kept.asked.and_then(|id| self.asked.get_mut(&id)) {
                asked.place = Some(Place::Listener(number));
            }
            // The stream has more room than what is kept can fill.
            outbox.try_put(Item::message(kept.line));
        }
        self.listener = Some((number, outbox));
        number
    }

    pub(super) fn unlisten(&mut self, number: u64, now: Instant) {
        if self
            .listener
            .as_ref()
            .is_some_and(|(listener, _)| *listener == number)
        {
            self.listener = None;
            self.quiet_since = now;
        }
    }

    /// The stream of a place does not take messages: it ends. What the server is to be told of it.
    pub(super) fn give_up(&mut self, place: Place, patience: Duration, now: Instant) -> Option<Bytes> {
        match place {
            Place::Call(number) => self.leave(number, Some(patience), now),
            Place::Listener(number) => {
                self.unlisten(number, now);
                None
            }
            Place::Answer => None,
        }
    }

    /// What has waited long enough.
    pub(super) fn due(&mut self, idle: Duration, now: Instant) -> Due {
        let mut due = Due::default();
        let calls = self.calls.len();
        self.calls.retain(|number, slot| {
            let keep = slot.until.is_none_or(|until| now < until);
            if !keep && slot.written && !slot.cancelled {
                due.lines.push(cancelled(*number));
            }
            keep
        });
        if self.calls.len() < calls {
            self.quiet_since = now;
        }
        for (key, id) in self
            .unread
            .expired(now, UNHEARD)
            .iter()
            .filter_map(|kept| kept.request())
        {
            self.asked.remove(key);
            due.lines.push(refusal(id, "no client took this request in time"));
        }
        let over = match self.retired {
            true => Over::Retired,
            false => Over::Idle,
        };
        let rested = self.retired || now.duration_since(self.quiet_since) >= idle;
        if rested && self.over.is_none() && self.calls.is_empty() && !self.is_listened_to() {
            self.end(over);
            due.over = Some(over);
        }
        due
    }

    /// Ends it unless it is at work.
    pub(super) fn end_if_free(&mut self, over: Over) -> bool {
        self.calls.is_empty() && self.is_usable() && self.end(over)
    }

    /// No new calls; streams that only listen end, each in its way. Whether nothing is left.
    pub(super) fn retire(&mut self) -> bool {
        self.retired = true;
        self.listener = None;
        self.complete_subscriptions();
        self.calls.is_empty() && self.end(Over::Retired)
    }

    /// It is over, for the first reason given: everything that waits learns of it. Whether it was not before.
    pub(super) fn end(&mut self, over: Over) -> bool {
        let first = self.over.is_none();
        self.over.get_or_insert(over);
        if self.over != Some(Over::Died) {
            self.complete_subscriptions();
        }
        self.calls.clear();
        self.listener = None;
        self.asked.clear();
        self.unread = Unread::default();
        first
    }

    fn complete_subscriptions(&mut self) {
        self.calls.retain(|_, slot| {
            if slot.is_listen
                && let Some(outbox) = &slot.outbox
            {
                outbox.try_put(completion(&slot.id));
            }
            !slot.is_listen
        });
    }
}

/// A substring is enough: what else could hold it only gets a log message more.
fn asks_for_log(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"io.modelcontextprotocol/logLevel\"").is_some()
}

fn cancelled(number: u64) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"nobody waits for the answer any more"}}}}"#
    )
    .into()
}

/// Our answer to a server's request. `id` is JSON text, `why` has nothing to escape.
fn refusal(id: &str, why: &'static str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":504,"message":"{why}"}}}}"#).into()
}

/// 2026-07-28, Subscriptions, "Graceful Closure".
fn completion(id: &str) -> Item {
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
    );
    Item {
        line: line.into(),
        answer: Some(Outcome::Result),
    }
}
