//! What a server hands out to one caller: tasks, and the state of a call that goes on in several round trips.
//!
//! Both are handles that a client sends back in a request of its own, and whoever holds one may read what another
//! user's call brought to light (CVE-2026-52870), unless somebody remembers whose it is. We learn that from the
//! answers that pass. What is not remembered is refused: it is somebody else's, made up, altered, too old, or was
//! pushed out by newer ones of the same caller.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_resource_server::Principal;
use doorward_types::id::{ClientId, UserId};
use doorward_types::time::UnixTime;

/// How long a task is remembered at least. Servers may go on answering for one whose time is over.
const TASK: Duration = Duration::from_secs(24 * 3600);
/// And at most, however long the server means to keep it.
const TASK_AT_MOST: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the state of a call may be sent back (2026-07-28, MRTR, "a short expiry").
const STATE: Duration = Duration::from_secs(3600);
/// Longest handle that is remembered, in bytes. A longer one cannot be used through us.
const LONGEST: usize = 256 << 10;
/// Most that is remembered for one caller, in bytes: the oldest goes first, and calls before what was handed out.
const PER_HOLDER: usize = 1 << 20;
/// Most that is remembered for one server, in bytes: who holds most loses first.
const TOTAL: usize = 64 << 20;
/// What an entry takes besides its texts, in bytes.
const ENTRY: usize = 160;

/// What one server handed out to whom.
#[derive(Default)]
pub(crate) struct HandedOut {
    state: Mutex<State>,
}

/// To whom: a person (or a client that acts for itself) and the client that acts for them. Never the bytes of a
/// token, which change at every refresh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    user: UserId,
    client: ClientId,
}

#[derive(Default)]
struct State {
    holders: HashMap<Holder, Held>,
    /// Whose each task is, on servers that have all their callers' tasks in one place.
    owners: HashMap<Box<str>, Holder>,
    bytes: usize,
}

#[derive(Default)]
struct Held {
    entries: HashMap<Box<str>, Entry>,
    /// The keys of `entries`, the oldest first, but for those of calls.
    order: VecDeque<Box<str>>,
    /// The same of calls. They go first: any of them may become a task, and hardly one does.
    calls: VecDeque<Box<str>>,
    bytes: usize,
}

struct Entry {
    expires: UnixTime,
    /// What a task works for, or a call was for; empty for a state.
    tool: Box<str>,
    /// Whether `owners` has it.
    owned: bool,
}

/// A task that an answer hands out.
pub(crate) struct Task<'a> {
    pub(crate) id: &'a str,
    /// What works on it.
    pub(crate) tool: &'a str,
    /// How long the server keeps it, if it said so.
    pub(crate) lasts: Option<Duration>,
    /// Whether the server has the tasks of all its callers in one place. Then an id that it gives out again, because it
    /// began anew, is no longer whose it was. A process that only one user has counts for itself.
    pub(crate) shared: bool,
}

impl Holder {
    pub(crate) fn of(principal: &Principal) -> Self {
        Self {
            user: principal.subject(),
            client: principal.client_id().clone(),
        }
    }
}

impl HandedOut {
    /// Remembers a task for as long as the server keeps it.
    pub(crate) fn task(&self, holder: &Holder, task: &Task<'_>, now: UnixTime) {
        let lasts = task.lasts.unwrap_or_default().clamp(TASK, TASK_AT_MOST);
        let entry = Entry {
            expires: now.plus(lasts),
            tool: task.tool.into(),
            owned: task.shared,
        };
        self.remember(holder, key_of_task(task.id), entry);
    }

    /// The tool that works on a task of this caller's; `None` if the task is not known to be theirs.
    pub(crate) fn tool_of(&self, holder: &Holder, task: &str, now: UnixTime) -> Option<Box<str>> {
        self.tool_at(holder, &key_of_task(task), now)
    }

    fn tool_at(&self, holder: &Holder, key: &str, now: UnixTime) -> Option<Box<str>> {
        let state = self.state();
        let entry = state.holders.get(holder)?.entries.get(key)?;
        (now < entry.expires).then(|| entry.tool.clone())
    }

    /// Remembers the state of a call of `method` on `name`.
    pub(crate) fn request_state(
        &self,
        holder: &Holder,
        method: &str,
        name: &str,
        state: &str,
        now: UnixTime,
    ) {
        let entry = Entry::lasting(now.plus(STATE), "");
        self.remember(holder, key_of_state(method, name, state), entry);
    }

    /// Remembers a call of `tool` that may become a task, by the id that its answer will have in `session`: that may come
    /// on another stream. Of two calls with one id nobody could tell which of them it answers.
    pub(crate) fn call(&self, holder: &Holder, session: &str, id: &str, tool: &str, now: UnixTime) {
        let key = key_of_call(session, id);
        let before = self.tool_at(holder, &key, now);
        let tool = match before {
            Some(before) if *before != *tool => "",
            _ => tool,
        };
        self.remember(holder, key, Entry::lasting(now.plus(STATE), tool));
    }

    /// The tool that a call with this id was for.
    pub(crate) fn tool_of_call(
        &self,
        holder: &Holder,
        session: &str,
        id: &str,
        now: UnixTime,
    ) -> Option<Box<str>> {
        let tool = self.tool_at(holder, &key_of_call(session, id), now)?;
        (!tool.is_empty()).then_some(tool)
    }

    /// Whether this caller was given `state` for a call of `method` on `name`.
    pub(crate) fn has_state(
        &self,
        holder: &Holder,
        method: &str,
        name: &str,
        state: &str,
        now: UnixTime,
    ) -> bool {
        let key = key_of_state(method, name, state);
        let state = self.state();
        let entry = state.holders.get(holder).and_then(|held| held.entries.get(&*key));
        entry.is_some_and(|entry| now < entry.expires)
    }

    fn remember(&self, holder: &Holder, key: Box<str>, entry: Entry) {
        if key.len() > LONGEST {
            tracing::debug!("a handle that a server gave out is too long to be remembered");
            return;
        }
        let mut state = self.state();
        if entry.owned {
            state.hand_over(&key, holder);
        }
        state.change(holder, |held| held.insert(key, entry));
        if state.bytes > TOTAL {
            state.shrink();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn lasting(expires: UnixTime, tool: &str) -> Self {
        Self {
            expires,
            tool: tool.into(),
            owned: false,
        }
    }
}

impl Held {
    /// What had to go for it: keys that `owners` may have.
    fn insert(&mut self, key: Box<str>, entry: Entry) -> Vec<Box<str>> {
        let size = size(&key, &entry);
        match self.entries.insert(key.clone(), entry) {
            Some(old) => self.bytes = self.bytes.saturating_sub(self::size(&key, &old)),
            None if is_call(&key) => self.calls.push_back(key),
            None => self.order.push_back(key),
        }
        self.bytes += size;
        let mut gone = Vec::new();
        while self.bytes > PER_HOLDER && self.entries.len() > 1 {
            gone.extend(self.forget_oldest());
        }
        gone
    }

    /// The last call stays as long as there is anything else: its answer is still to come.
    fn forget_oldest(&mut self) -> Option<Box<str>> {
        let first = match self.calls.len() > 1 || self.order.is_empty() {
            true => &mut self.calls,
            false => &mut self.order,
        };
        let key = first.pop_front()?;
        let entry = self.entries.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(size(&key, &entry));
        entry.owned.then_some(key)
    }

    fn forget(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(size(key, &entry));
            let order = match is_call(key) {
                true => &mut self.calls,
                false => &mut self.order,
            };
            order.retain(|one| **one != *key);
        }
    }
}

impl State {
    /// Changes what `holder` holds; what goes with that is nobody's then.
    fn change(&mut self, holder: &Holder, change: impl FnOnce(&mut Held) -> Vec<Box<str>>) {
        let held = self.holders.entry(holder.clone()).or_default();
        let before = held.bytes;
        let gone = change(held);
        self.bytes = (self.bytes + held.bytes).saturating_sub(before);
        for key in gone {
            self.owners.remove(&key);
        }
    }

    /// Makes a task `holder`'s, and nobody else's.
    fn hand_over(&mut self, key: &str, holder: &Holder) {
        let Some(before) = self.owners.insert(key.into(), holder.clone()) else {
            return;
        };
        if before == *holder {
            return;
        }
        let Some(held) = self.holders.get_mut(&before) else {
            return;
        };
        let bytes = held.bytes;
        held.forget(key);
        self.bytes = self.bytes.saturating_sub(bytes - held.bytes);
        if held.entries.is_empty() {
            self.holders.remove(&before);
        }
    }

    /// Forgets an eighth: of those who hold most, the older half, so that nobody can push out what others hold
    /// before all of their own is gone.
    fn shrink(&mut self) {
        let mut holders: Vec<&mut Held> = self.holders.values_mut().collect();
        holders.sort_by_key(|held| std::cmp::Reverse(held.bytes));
        let mut bytes = self.bytes;
        for held in holders {
            if bytes <= TOTAL / 8 * 7 {
                break;
            }
            let before = held.bytes;
            for _ in 0..held.entries.len().div_ceil(2) {
                if let Some(key) = held.forget_oldest() {
                    self.owners.remove(&key);
                }
            }
            bytes = bytes.saturating_sub(before - held.bytes);
        }
        self.holders.retain(|_, held| !held.entries.is_empty());
        self.bytes = bytes;
    }
}

/// What stands before the last line feed of a key holds none itself: methods are ours, and names with control
/// characters are not admitted.
fn key_of_state(method: &str, name: &str, state: &str) -> Box<str> {
    format!("state\n{method}\n{name}\n{state}").into()
}

fn key_of_task(task: &str) -> Box<str> {
    format!("task\n{task}").into()
}

fn key_of_call(session: &str, id: &str) -> Box<str> {
    format!("call\n{session}\n{id}").into()
}

fn is_call(key: &str) -> bool {
    key.starts_with("call\n")
}

/// The key stands in the map and in the order, and that of a task may stand in `owners`.
fn size(key: &str, entry: &Entry) -> usize {
    match entry.owned {
        true => 3 * key.len() + entry.tool.len() + 2 * ENTRY,
        false => 2 * key.len() + entry.tool.len() + ENTRY,
    }
}

impl std::fmt::Debug for HandedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandedOut").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
