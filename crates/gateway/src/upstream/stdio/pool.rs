//! The processes of one command: whose they are, how many there may be, and which one makes room.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use doorward_process::{Process, StartError};
use doorward_types::id::{ServerName, UserId};
use doorward_types::random::{self, Random};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::conversation::{Conversation, Label};
use super::failure::StdioFailure;
use super::settings::StdioSettings;
use super::state::Over;
use super::{Launcher, Owner};

/// How long a process that was told to make room may take to be gone.
const ROOM: Duration = Duration::from_secs(10);
/// A process that ends sooner than this died young.
const YOUNG: Duration = Duration::from_secs(60);
/// The rest after the first young death; it doubles with each.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// For so long it is believed that a command speaks legacy revisions only.
const LEGACY_FOR: Duration = Duration::from_secs(3600);
/// Between two records that the command cannot be started.
const COMPLAIN: Duration = Duration::from_secs(10);

pub(super) struct Pool {
    pub(super) settings: StdioSettings,
    name: ServerName,
    launcher: Arc<dyn Launcher>,
    random: Arc<dyn Random>,
    inner: Mutex<Inner>,
    freed: Notify,
}

#[derive(Default)]
struct Inner {
    /// Every process that is not gone, by its number.
    all: HashMap<u64, Arc<Conversation>>,
    /// The processes of legacy sessions, by session id.
    sessions: HashMap<Box<str>, u64>,
    /// The one process for all modern calls of a user.
    shared: HashMap<UserId, Shared>,
    /// How many seats each user has taken.
    seats: HashMap<UserId, usize>,
    taken: usize,
    next: u64,
    rests: HashMap<UserId, Rest>,
    speaks: Option<Speaks>,
    complained: Option<Instant>,
    retired: bool,
}

#[derive(Clone)]
pub(super) enum Shared {
    Starting(watch::Receiver<Option<Result<Arc<Conversation>, StdioFailure>>>),
    Running(Arc<Conversation>),
}

/// After young deaths.
struct Rest {
    deaths: u32,
    until: Instant,
}

/// What was found out about the command.
#[derive(Clone)]
pub(super) enum Speaks {
    Modern,
    Legacy { versions: Vec<String>, until: Instant },
}

/// The right to one process of a user, until it is gone.
pub(super) struct Seat {
    pool: Weak<Pool>,
    user: UserId,
}

impl Seat {
    pub(super) const fn user(&self) -> UserId {
        self.user
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        {
            let mut inner = pool.inner();
            inner.taken = inner.taken.saturating_sub(1);
            if let Some(seats) = inner.seats.get_mut(&self.user) {
                *seats = seats.saturating_sub(1);
                if *seats == 0 {
                    inner.seats.remove(&self.user);
                }
            }
        }
        pool.freed.notify_waiters();
    }
}

impl Inner {
    fn is_rested(&self, user: UserId) -> Result<(), StdioFailure> {
        let rest = self.rests.get(&user);
        let left = rest.map(|rest| rest.until.saturating_duration_since(Instant::now()));
        match left.filter(|left| !left.is_zero()) {
            None => Ok(()),
            Some(left) => Err(StdioFailure::Resting {
                seconds: u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX),
            }),
        }
    }
}

enum Room {
    Seat(Seat),
    /// One is about to be free.
    Soon,
    None,
}

impl Pool {
    pub(super) fn new(
        name: ServerName,
        launcher: Arc<dyn Launcher>,
        settings: StdioSettings,
        random: Arc<dyn Random>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            name,
            launcher,
            random,
            inner: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn label(&self, user: UserId) -> Label {
        let mut inner = self.inner();
        inner.next += 1;
        Label {
            server: self.name.clone(),
            user,
            number: inner.next,
        }
    }

    pub(super) fn add(&self, conversation: &Arc<Conversation>) {
        let retired = {
            let mut inner = self.inner();
            inner
                .all
                .insert(conversation.label.number, Arc::clone(conversation));
            inner.retired
        };
        if retired {
            conversation.retire();
        }
    }

    /// A process is gone.
    pub(super) fn remove(&self, conversation: &Conversation) {
        let number = conversation.label.number;
        let mut inner = self.inner();
        inner.all.remove(&number);
        inner.sessions.retain(|_, session| *session != number);
        let user = conversation.label.user;
        let is_current = matches!(
            inner.shared.get(&user),
            Some(Shared::Running(shared)) if shared.label.number == number
        );
        if is_current {
            inner.shared.remove(&user);
        }
        drop(inner);
        // Its seat is free since before: nobody is to wait any longer for it.
        self.freed.notify_waiters();
        if conversation.over() == Some(Over::Died) {
            self.died(conversation);
        }
    }

    fn died(&self, conversation: &Conversation) {
        let young = conversation.started.elapsed() < YOUNG;
        let modern = conversation.era == super::state::Era::Modern;
        if young && (modern || !conversation.state().has_answered()) {
            self.rest(conversation.label.user);
        }
    }

    /// A process of the user died young: the next one waits. What is known about the command may be wrong.
    pub(super) fn rest(&self, user: UserId) {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.speaks = None;
        inner.rests.retain(|_, rest| now < rest.until + YOUNG);
        let rest = inner.rests.entry(user).or_insert(Rest {
            deaths: 0,
            until: now,
        });
        let length = FIRST_REST
            .saturating_mul(1 << rest.deaths.min(16))
            .min(LONGEST_REST);
        rest.deaths += 1;
        rest.until = now + length;
    }

    pub(super) fn speaks(&self) -> Option<Speaks> {
        let mut inner = self.inner();
        if let Some(Speaks::Legacy { until, .. }) = inner.speaks
            && until <= Instant::now()
        {
            inner.speaks = None;
        }
        inner.speaks.clone()
    }

    pub(super) fn learn_modern(&self) {
        self.inner().speaks = Some(Speaks::Modern);
    }

    pub(super) fn learn_legacy(&self, versions: Vec<String>) {
        let until = Instant::now() + LEGACY_FOR;
        self.inner().speaks = Some(Speaks::Legacy { versions, until });
    }

    /// A new session with a process: its id, of 256 random bits.
    pub(super) fn open_session(&self, conversation: &Conversation) -> String {
        let bytes: [u8; 32] = random::bytes(&*self.random);
        let mut id = String::with_capacity(64);
        for byte in bytes {
            // Writing to a string does not fail.
            let _: std::fmt::Result = write!(id, "{byte:02x}");
        }
        let number = conversation.label.number;
        let mut inner = self.inner();
        // Its process may be gone already: nobody would take the session out again.
        if inner.all.contains_key(&number) {
            inner.sessions.insert(id.as_str().into(), number);
        }
        id
    }

    /// The process of a user's session.
    pub(super) fn session(&self, id: &str, user: UserId) -> Option<Arc<Conversation>> {
        let conversation = {
            let inner = self.inner();
            Arc::clone(inner.all.get(inner.sessions.get(id)?)?)
        };
        (conversation.label.user == user && conversation.is_usable()).then_some(conversation)
    }

    /// The user's process for modern calls. If there is none, `start` is begun, on a task of its own: whoever
    /// waits for it may leave without stopping it for the others.
    pub(super) fn shared(
        self: &Arc<Self>,
        user: UserId,
        start: impl Future<Output = Result<Arc<Conversation>, StdioFailure>> + Send + 'static,
    ) -> Result<Shared, StdioFailure> {
        let (tell, told) = watch::channel(None);
        {
            let mut inner = self.inner();
            match inner.shared.get(&user) {
                Some(Shared::Running(conversation)) if conversation.is_usable() => {
                    return Ok(Shared::Running(Arc::clone(conversation)));
                }
                // Unless the task that starts it came to an end without a word.
                Some(starting @ Shared::Starting(told)) if told.has_changed().is_ok() => {
                    return Ok(starting.clone());
                }
                _ => {}
            }
            // What runs is not to suffer from the deaths of others.
            inner.is_rested(user)?;
            inner.shared.insert(user, Shared::Starting(told.clone()));
        }
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let started = start.await;
            {
                let mut inner = pool.inner();
                match &started {
                    Ok(conversation) if inner.all.contains_key(&conversation.label.number) => {
                        let running = Shared::Running(Arc::clone(conversation));
                        inner.shared.insert(user, running);
                    }
                    // It came to nothing, or is gone again.
                    _ => {
                        inner.shared.remove(&user);
                    }
                }
            }
            tell.send_replace(Some(started));
        });
        Ok(Shared::Starting(told))
    }

    /// Starts the command for a user, if there may be one more process.
    pub(super) async fn launch(self: &Arc<Self>, user: UserId) -> Result<(Seat, Process), StdioFailure> {
        self.inner().is_rested(user)?;
        let seat = self.seat(user).await?;
        self.start(user).await.map(|process| (seat, process))
    }

    /// Starts the command for somebody who has a seat.
    pub(super) async fn start(&self, user: UserId) -> Result<Process, StdioFailure> {
        let launching = self.launcher.launch(Owner { user });
        match timeout(self.settings.start_timeout, launching).await {
            Ok(Ok(process)) => Ok(process),
            Ok(Err(error)) => {
                self.complain(&error);
                Err(StdioFailure::NotStarted)
            }
            Err(_) => Err(StdioFailure::NotReady),
        }
    }

    fn complain(&self, error: &StartError) {
        let now = Instant::now();
        {
            let mut inner = self.inner();
            if inner
                .complained
                .is_some_and(|last| now.duration_since(last) < COMPLAIN)
            {
                return;
            }
            inner.complained = Some(now);
        }
        tracing::error!(
            server = %self.name, %error,
            "the command of an MCP server cannot be started: check `command`, `env` and `working_directory` of this server"
        );
    }

    async fn seat(self: &Arc<Self>, user: UserId) -> Result<Seat, StdioFailure> {
        let deadline = Instant::now() + ROOM;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.room(user) {
                Room::Seat(seat) => return Ok(seat),
                Room::Soon => timeout_at(deadline, freed)
                    .await
                    .map_err(|_| StdioFailure::Full)?,
                Room::None => return Err(StdioFailure::Full),
            }
        }
    }

    /// A seat, if one is free; else somebody who does nothing is asked to leave, unless somebody is about to.
    /// A seat that becomes free may go to whoever came later: then another one is asked.
    fn room(self: &Arc<Self>, user: UserId) -> Room {
        let mut inner = self.inner();
        let own = inner.seats.get(&user).copied().unwrap_or(0);
        let own_full = own >= self.settings.per_user;
        if !own_full && inner.taken < self.settings.total {
            inner.taken += 1;
            *inner.seats.entry(user).or_insert(0) += 1;
            let pool = Arc::downgrade(self);
            return Room::Seat(Seat { pool, user });
        }
        let all: Vec<_> = inner.all.values().map(Arc::clone).collect();
        drop(inner);
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.label.user == user);
        let others = if own_full { Vec::new() } else { others };
        if own.iter().chain(&others).any(|one| one.over().is_some()) {
            return Room::Soon;
        }
        if make_room(own, true) || make_room(others, false) {
            return Room::Soon;
        }
        Room::None
    }

    /// Every process ends when it has answered what it was asked; nothing new is begun.
    pub(super) fn retire(&self) {
        let all: Vec<_> = {
            let mut inner = self.inner();
            inner.retired = true;
            inner.all.values().map(Arc::clone).collect()
        };
        for conversation in all {
            conversation.retire();
        }
    }
}

/// Ends the one that has been quiet for longest. With `listened_to`, also one whose client is still there to
/// listen, if there is no other.
fn make_room(mut from: Vec<Arc<Conversation>>, listened_to: bool) -> bool {
    from.sort_by_key(|one| {
        let state = one.state();
        (state.is_listened_to(), state.quiet_since())
    });
    from.iter()
        .filter(|one| listened_to || !one.state().is_listened_to())
        .any(|one| one.end_if_free(Over::Evicted))
}
