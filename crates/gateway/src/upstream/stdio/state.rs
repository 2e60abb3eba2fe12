//! What is going on with one process, and where each of its messages belongs. No I/O.
//!
//! Every call gets a number of ours, unique in its process: it is the call's id, progress token and
//! subscription id there (MB-15: no two clients' ids can meet). What comes back gets the client's own again.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::message::identity;
use doorward_mcp::{Call, Kind, Rewrite, ServerMessage};
use tokio::time::Instant;

use super::outbox::{Item, Outbox, Outcome};
use super::unread::Unread;

/// The numbers below are used by the probe.
const FIRST_NUMBER: u64 = 3;
/// Most requests of a server that wait for a client.
const ASKED: usize = 256;
/// How many progress tokens of answered calls are remembered: tasks report on after the answer (2025-11-25).
const LASTING: usize = 256;
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
                token: call.progress_token().map(Into::into),
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

    /// Where a message of the process belongs.
    pub(super) fn route(&mut self, message: &ServerMessage, now: Instant) -> Way {
        self.answered = true;
        match message.kind() {
            Kind::Response => self.response(message, now),
            Kind::Request => self.request(message, now),
            Kind::Notification => self.notification(message, now),
        }
    }

    fn response(&mut self, message: &ServerMessage, now: Instant) -> Way {
        let slot = ours(message.id()).and_then(|number| Some((number, self.calls.remove(&number)?)));
        let Some((number, slot)) = slot else {
            return Way::Nowhere("an answer that nobody waits for");
        };
        self.quiet_since = now;
        let line = message.rewritten(&Rewrite {
            id: Some(&slot.id),
            subscription: slot.is_listen.then_some(&*slot.id),
            ..Rewrite::default()
        });
        if let (Era::Legacy, Some(token)) = (self.era, slot.token) {
            self.lasting.insert(number, token);
            if self.lasting.len() > LASTING {
                self.lasting.pop_first();
            }
        }
        let outcome = match message.is_error() {
            true => Outcome::Error(message.error_code()),
            false => Outcome::Result,
        };
        let item = Item {
            line,
            answer: Some(outcome),
        };
        match slot.outbox {
            Some(outbox) => Way::To(Place::Answer, outbox, item),
            None => Way::Nowhere("an answer whose client has gone"),
        }
    }

    fn request(&mut self, message: &ServerMessage, now: Instant) -> Way {
        // 2026-07-28, stdio: servers must not, and clients must not write responses.
        let (Era::Legacy, Some(id)) = (self.era, message.id()) else {
            return Way::Nowhere("a request, which servers of this revision do not make");
        };
        let key = identity(id).into_owned();
        if self.asked.len() >= ASKED {
            // Whoever was to answer the oldest has had more than its time.
            let oldest = self.asked.iter().min_by_key(|(_, asked)| asked.number);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.asked.remove(&oldest);
            }
        }
        let place = self.related();
        let number = self.number();
        self.asked.insert(key.clone(), Asked { place, number });
        match place.and_then(|place| Some((place, self.outbox(place)?))) {
            Some((place, outbox)) => Way::To(place, outbox, Item::message(message.line().clone())),
            None => self.keep(message, Some((key, id)), now),
        }
    }

    fn notification(&mut self, message: &ServerMessage, now: Instant) -> Way {
        match (message.method().unwrap_or_default(), self.era) {
            ("notifications/progress", _) => self.progress(message),
            ("notifications/cancelled", Era::Modern) => self.subscription_over(message, now),
            ("notifications/cancelled", Era::Legacy) => self.withdrawn(message, now),
            (method, Era::Modern) => self.modern(method, message),
            (method, Era::Legacy) => {
                let place = if is_unasked(method) {
                    self.listener.as_ref().map(|(number, _)| Place::Listener(*number))
                } else {
                    self.related()
                };
                match place.and_then(|place| Some((place, self.outbox(place)?))) {
                    Some((place, outbox)) => Way::To(place, outbox, Item::message(message.line().clone())),
                    None => self.keep(message, None, now),
                }
            }
        }
    }

    fn progress(&self, message: &ServerMessage) -> Way {
        let number = ours(message.progress_token());
        let (place, token) = match number {
            Some(number) if self.calls.contains_key(&number) => {
                let token = self.calls.get(&number).and_then(|slot| slot.token.as_deref());
                (Some(Place::Call(number)), token)
            }
            Some(number) => {
                let listener = self.listener.as_ref().map(|(number, _)| Place::Listener(*number));
                (listener, self.lasting.get(&number).map(AsRef::as_ref))
            }
            None => (None, None),
        };
        let outbox = place.and_then(|place| Some((place, self.outbox(place)?)));
        match (outbox, token) {
            (Some((place, outbox)), Some(token)) => {
                let line = message.rewritten(&Rewrite {
                    progress_token: Some(token),
                    ..Rewrite::default()
                });
                Way::To(place, outbox, Item::message(line))
            }
            _ => Way::Nowhere("progress that nobody waits for"),
        }
    }

    /// 2026-07-28, Cancellation: a server tears down a subscription. Over HTTP that is a completion.
    fn subscription_over(&mut self, message: &ServerMessage, now: Instant) -> Way {
        let number = ours(message.cancelled_request());
        let slot = number.filter(|number| self.calls.get(number).is_some_and(|slot| slot.is_listen));
        let Some(slot) = slot.and_then(|number| self.calls.remove(&number)) else {
            return Way::Nowhere("the end of no subscription");
        };
        self.quiet_since = now;
        match slot.outbox {
            Some(outbox) => Way::To(Place::Answer, outbox, completion(&slot.id)),
            None => Way::Nowhere("the end of a subscription whose client has gone"),
        }
    }

    /// A legacy server cancels a request of its own: that goes where the request went.
    fn withdrawn(&mut self, message: &ServerMessage, now: Instant) -> Way {
        let key = message.cancelled_request().map(|id| identity(id).into_owned());
        let Some(asked) = key.as_ref().and_then(|key| self.asked.remove(key)) else {
            return Way::Nowhere("the end of a request that is not open");
        };
        if let Some(key) = key
            && self.unread.remove(&key)
        {
            return Way::Nowhere("the end of a request that nobody was told of");
        }
        let place = asked
            .place
            .filter(|place| self.outbox(*place).is_some())
            .or_else(|| self.related());
        match place.and_then(|place| Some((place, self.outbox(place)?))) {
            Some((place, outbox)) => Way::To(place, outbox, Item::message(message.line().clone())),
            None => self.keep(message, None, now),
        }
    }

    fn modern(&self, method: &str, message: &ServerMessage) -> Way {
        let place = if let Some(id) = message.subscription_id() {
            ours(Some(id)).filter(|number| self.calls.get(number).is_some_and(|slot| slot.is_listen))
        } else if method == "notifications/message" {
            // It may go to the call that asked for it only, and does not say which: if there are several,
            // nobody gets it.
            let mut asked = self.calls.iter().filter(|(_, slot)| slot.wants_log);
            let first = asked.next().map(|(number, _)| *number);
            first.filter(|_| asked.next().is_none())
        } else {
            None
        };
        let slot = place.and_then(|number| Some((number, self.calls.get(&number)?)));
        match slot.and_then(|(number, slot)| Some((number, slot, slot.outbox.clone()?))) {
            Some((number, slot, outbox)) => {
                let line = message.rewritten(&Rewrite {
                    subscription: Some(&slot.id),
                    ..Rewrite::default()
                });
                Way::To(Place::Call(number), outbox, Item::message(line))
            }
            None => Way::Nowhere("a notification that belongs to no call"),
        }
    }

    /// Where a client listens that what a legacy server sends next may be about.
    fn related(&self) -> Option<Place> {
        let newest = self.calls.iter().rev().find(|(_, slot)| slot.is_attended());
        let newest = newest.map(|(number, _)| Place::Call(*number));
        let listener = self.listener.as_ref().filter(|(_, outbox)| outbox.is_open());
        let listener = listener.map(|(number, _)| Place::Listener(*number));
        if self.calls.len() == 1 {
            return newest.or(listener);
        }
        listener.or(newest)
    }

    fn outbox(&self, place: Place) -> Option<Outbox> {
        let outbox = match place {
            Place::Call(number) => self.calls.get(&number)?.outbox.as_ref()?,
            Place::Listener(number) => {
                let (listener, outbox) = self.listener.as_ref()?;
                (*listener == number).then_some(outbox)?
            }
            Place::Answer => return None,
        };
        outbox.is_open().then(|| outbox.clone())
    }

    fn keep(&mut self, message: &ServerMessage, asked: Option<(String, &str)>, now: Instant) -> Way {
        let asked = asked.map(|(key, id)| (key, Box::from(id)));
        let dropped = self.unread.push(message.line().clone(), asked, now);
        let mut refused = Vec::new();
        for (key, id) in dropped.iter().filter_map(|kept| kept.request()) {
            self.asked.remove(key);
            refused.push(refusal(id, "too many messages wait for a client"));
        }
        Way::Kept {
            dropped: dropped.len(),
            refused,
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

/// Our number in what a server repeats.
fn ours(raw: Option<&str>) -> Option<u64> {
    identity(raw?).parse().ok()
}

/// A substring is enough: what else could hold it only gets a log message more.
fn asks_for_log(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"io.modelcontextprotocol/logLevel\"").is_some()
}

/// What is about the session rather than about a call.
fn is_unasked(method: &str) -> bool {
    method.ends_with("/list_changed")
        || matches!(
            method,
            "notifications/resources/updated" | "notifications/tasks/status"
        )
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
