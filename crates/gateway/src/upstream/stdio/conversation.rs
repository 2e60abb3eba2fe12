//! One process and all who talk to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::{Call, Rewrite, ServerMessage};
use doorward_process::{Control, Exit, ExitReason, Input, Output, Process};
use doorward_types::id::{ServerName, UserId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::answer::{Answer, Asked, Events};
use super::budget::Budget;
use super::failure::StdioFailure;
use super::outbox::{self, Inbox, Outcome};
use super::pool::{Pool, Seat};
use super::settings::StdioSettings;
use super::state::{Era, Over, Place, State, Way};
use crate::refuse::Escaped;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// Most lines to a process that nobody waits for, such as cancellations.
const TOLD: usize = 1024;
/// How long a process whose output has ended may take to be gone, before it is stopped.
const LAST_BREATH: Duration = Duration::from_millis(500);
/// How long a notification or a response may wait for a process that does not read.
const TELLING: Duration = Duration::from_secs(10);

/// Who is being talked to.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) server: ServerName,
    pub(super) user: UserId,
    /// Unique among the processes of one server.
    pub(super) number: u64,
}

pub(super) struct Conversation {
    pub(super) label: Label,
    pub(super) era: Era,
    pub(super) started: Instant,
    settings: StdioSettings,
    input: Input,
    control: Control,
    told: mpsc::Sender<Bytes>,
    state: Mutex<State>,
    budget: Budget,
    nonsense: AtomicU64,
    unheard: AtomicU64,
    untold: AtomicU64,
    gone: watch::Sender<bool>,
}

/// A call on the list of a conversation; dropping it tells that its client has gone.
pub(super) struct Ticket {
    conversation: Arc<Conversation>,
    number: u64,
    patience: Option<Duration>,
}

/// The stream of a GET; dropping it tells that its client has gone.
pub(super) struct Listening {
    conversation: Arc<Conversation>,
    number: u64,
}

impl Conversation {
    /// Begins to talk to a process. The conversation goes on until the process is gone, and only then gives
    /// up its `seat`.
    pub(super) fn begin(pool: &Arc<Pool>, era: Era, seat: Seat, process: Process) -> Arc<Self> {
        let Process {
            input,
            output,
            control,
        } = process;
        let (told, lines) = mpsc::channel(TOLD);
        let now = Instant::now();
        let conversation = Arc::new(Self {
            label: pool.label(seat.user()),
            era,
            started: now,
            settings: pool.settings.clone(),
            input: input.clone(),
            control,
            told,
            state: Mutex::new(State::new(era, now)),
            budget: Budget::new(pool.settings.unread),
            nonsense: AtomicU64::new(0),
            unheard: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            gone: watch::Sender::new(false),
        });
        tracing::info!(
            server = %conversation.label.server, user = %conversation.label.user,
            process = conversation.label.number, pid = conversation.control.pid(),
            session = era == Era::Legacy, "the process of an MCP server started"
        );
        pool.add(&conversation);
        tokio::spawn(tell(lines, input));
        tokio::spawn(Arc::clone(&conversation).run(output, seat, Arc::downgrade(pool)));
        conversation
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be asked something. It may be over the next moment.
    pub(super) fn is_usable(&self) -> bool {
        self.state().is_usable()
    }

    /// Sends a call and waits for the first message about it. `None`: it is over, and has not got the call.
    pub(super) async fn call(
        self: &Arc<Self>,
        call: Call,
        limit: Duration,
    ) -> Result<Option<Answer>, StdioFailure> {
        let deadline = Instant::now() + limit;
        let (outbox, mut inbox) = outbox::channel();
        let asked = Asked::of(&call);
        let number = {
            let mut state = self.state();
            if !state.is_usable() {
                return Ok(None);
            }
            if state.calls() >= self.settings.calls {
                return Err(StdioFailure::Busy);
            }
            state.enter(&call, outbox)
        };
        let mut ticket = Ticket {
            conversation: Arc::clone(self),
            number,
            patience: Some(self.settings.answer_timeout),
        };
        let own = number.to_string();
        let line = call.into_line(&Rewrite {
            id: Some(&own),
            progress_token: Some(&own),
            ..Rewrite::default()
        });
        match timeout_at(deadline, self.input.send(line)).await {
            Ok(Ok(())) => self.state().written(number),
            Ok(Err(_)) => return Ok(None),
            Err(_) => return Err(StdioFailure::TimedOut),
        }
        match timeout_at(deadline, inbox.next()).await {
            Ok(Some(item)) => Ok(Some(match item.answer {
                Some(outcome) => Answer::Whole {
                    line: item.line,
                    status: asked.status(self.era, outcome),
                    is_error: outcome != Outcome::Result,
                },
                None => Answer::Stream(Events::of_call(&item, inbox, ticket, asked)),
            })),
            Ok(None) => self.unanswered(inbox, ticket, asked),
            Err(_) => {
                // 2025-11-25 and 2026-07-28, "Timeouts": whoever stops waiting cancels.
                ticket.patience = None;
                Err(StdioFailure::TimedOut)
            }
        }
    }

    fn unanswered(&self, inbox: Inbox, ticket: Ticket, asked: Asked) -> Result<Option<Answer>, StdioFailure> {
        match self.over() {
            Some(_) => Err(StdioFailure::Ended),
            // Its client cancelled it, and the process says no more about it.
            None => Ok(Some(Answer::Stream(Events::ended(inbox, ticket, asked)))),
        }
    }

    /// Sends a notification or response of a legacy client. `false`: it is over.
    pub(super) async fn tell_for_client(
        &self,
        call: Call,
        rewrite: &Rewrite<'_>,
    ) -> Result<bool, StdioFailure> {
        let line = call.into_line(rewrite);
        match timeout_at(Instant::now() + TELLING, self.input.send(line)).await {
            Ok(sent) => Ok(sent.is_ok()),
            Err(_) => Err(StdioFailure::TimedOut),
        }
    }

    /// Opens the stream of a legacy session. `None`: it is over.
    pub(super) fn listen(self: &Arc<Self>) -> Option<Events> {
        let (outbox, inbox) = outbox::channel();
        let mut state = self.state();
        if !state.is_usable() {
            return None;
        }
        let number = state.listen(outbox);
        let listening = Listening {
            conversation: Arc::clone(self),
            number,
        };
        Some(Events::of_session(inbox, listening))
    }

    /// Why it is over, if it is.
    pub(super) fn over(&self) -> Option<Over> {
        self.state().over()
    }

    /// What to say of an `initialize` that was lost with the process. Of any other call: that nobody knows.
    pub(super) fn start_failure(&self) -> StdioFailure {
        if self.nonsense.load(Ordering::Relaxed) > 0 {
            StdioFailure::Nonsense
        } else {
            StdioFailure::EndedUnanswered
        }
    }

    /// Waits until its process has ended and all that it wrote was read.
    pub(super) async fn gone(&self) {
        let mut gone = self.gone.subscribe();
        // It is told by what `self` holds.
        let _: Result<_, watch::error::RecvError> = gone.wait_for(|gone| *gone).await.map(drop);
    }

    /// Ends it and its process.
    pub(super) fn end(&self, over: Over) {
        let first = self.state().end(over);
        if first {
            self.stop(over);
        }
    }

    /// Ends it unless it is at work; whether it did.
    pub(super) fn end_if_free(&self, over: Over) -> bool {
        let ended = self.state().end_if_free(over);
        if ended {
            self.stop(over);
        }
        ended
    }

    /// Takes no new calls and ends after those that it has.
    pub(super) fn retire(&self) {
        let ended = self.state().retire();
        if ended {
            self.stop(Over::Retired);
        }
    }

    fn stop(&self, over: Over) {
        tracing::info!(
            server = %self.label.server, user = %self.label.user, process = self.label.number,
            reason = over.as_str(), "the process of an MCP server is being stopped"
        );
        self.control.stop();
    }

    /// Tells the process something that nobody waits for.
    fn tell(&self, line: Bytes) {
        let Err(TrySendError::Full(_)) = self.told.try_send(line) else {
            return;
        };
        // A command that asks and asks and never reads is not to fill the log.
        let count = self.untold.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(
                server = %self.label.server, process = self.label.number, count,
                "an MCP server does not read its input: it is not told that calls were cancelled or that nobody takes its requests"
            );
        }
    }

    async fn run(self: Arc<Self>, mut output: Output, seat: Seat, pool: Weak<Pool>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                line = output.next() => match line {
                    Some(Ok(line)) => self.hear(line).await,
                    Some(Err(error)) => {
                        tracing::warn!(server = %self.label.server, process = self.label.number, %error, "the process of an MCP server is given up");
                        break;
                    }
                    None => break,
                },
                _ = tick.tick() => self.look(),
            }
        }
        // It is about to be gone, or has closed its output for good.
        let exited = timeout(LAST_BREATH, self.control.exited()).await;
        let unasked = self.state().end(Over::Died);
        self.control.stop();
        self.gone.send_replace(true);
        let exit = match exited {
            Ok(exit) if exit.reason == ExitReason::Stopped => {
                tracing::debug!(server = %self.label.server, process = self.label.number, "a process was stopped");
                None
            }
            Ok(exit) => Some(exit),
            Err(_) => Some(self.control.exited().await),
        };
        if let Some(exit) = exit.filter(|_| unasked) {
            self.tell_of(exit);
        }
        // First, so that nobody finds all seats taken and nobody about to leave.
        drop(seat);
        if let Some(pool) = pool.upgrade() {
            pool.remove(&self);
        }
    }

    fn tell_of(&self, exit: Exit) {
        tracing::warn!(
            server = %self.label.server, user = %self.label.user, process = self.label.number,
            code = exit.code, signal = exit.signal, reason = exit.reason.as_str(),
            lived = self.started.elapsed().as_secs(), answered = self.state().has_answered(),
            "the process of an MCP server ended"
        );
    }

    /// Sees to one line of the process.
    async fn hear(&self, line: Bytes) {
        let message = match ServerMessage::read(line.clone()) {
            Ok(message) => message,
            Err(error) => return self.nonsense(&line, &error.to_string()),
        };
        // A stream that turns out to be closed is not chosen again.
        for _ in 0..4 {
            let way = self.state().route(&message, Instant::now());
            let (place, outbox, item) = match way {
                Way::To(place, outbox, item) => (place, outbox, item),
                Way::Nowhere(why) => {
                    tracing::debug!(
                        server = %self.label.server, process = self.label.number,
                        method = message.method().map(Escaped).map(tracing::field::display), why,
                        "a message of an MCP server is dropped"
                    );
                    return;
                }
                Way::Kept { dropped, refused } => {
                    self.unheard(dropped);
                    for line in refused {
                        self.tell(line);
                    }
                    return;
                }
            };
            let item = match self.budget.hold(item).await {
                Ok(item) => item,
                Err(instead) => {
                    tracing::warn!(
                        server = %self.label.server, process = self.label.number,
                        "long messages of an MCP server wait to be read: one more is dropped"
                    );
                    match instead {
                        Some(item) => item,
                        None => return,
                    }
                }
            };
            let others = self.state().others_wait(place);
            let Err(why) = outbox.put(item, others).await else {
                return;
            };
            if why == outbox::NotSent::Slow {
                tracing::warn!(
                    server = %self.label.server, process = self.label.number,
                    "a client does not read its stream: the stream is ended"
                );
            }
            self.give_up(place);
            if place == Place::Answer {
                return;
            }
        }
    }

    fn give_up(&self, place: Place) {
        let told = self
            .state()
            .give_up(place, self.settings.answer_timeout, Instant::now());
        if let Some(line) = told {
            self.tell(line);
        }
    }

    fn nonsense(&self, line: &[u8], error: &str) {
        let count = self.nonsense.fetch_add(1, Ordering::Relaxed) + 1;
        // The first few, then ever fewer.
        if count <= 3 || count.is_power_of_two() {
            let start = String::from_utf8_lossy(line.get(..256).unwrap_or(line));
            tracing::warn!(
                server = %self.label.server, process = self.label.number, count, error, line = %Escaped(&start),
                "an MCP server wrote a line that is no message: only messages may go to standard output, all else to standard error"
            );
        }
    }

    fn unheard(&self, dropped: usize) {
        if dropped == 0 {
            return;
        }
        let count = self.unheard.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(
                server = %self.label.server, process = self.label.number, count,
                "no client listens to an MCP server: the oldest of its messages are dropped"
            );
        }
    }

    fn look(&self) {
        let due = self.state().due(self.settings.idle, Instant::now());
        for line in due.lines {
            self.tell(line);
        }
        if let Some(over) = due.over {
            self.stop(over);
        }
    }
}

/// Lines that nobody waits for, in their order.
async fn tell(mut lines: mpsc::Receiver<Bytes>, input: Input) {
    while let Some(line) = lines.recv().await {
        if input.send(line).await.is_err() {
            return;
        }
    }
}

impl Ticket {
    pub(super) fn conversation(&self) -> &Conversation {
        &self.conversation
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let told = self
            .conversation
            .state()
            .leave(self.number, self.patience, Instant::now());
        if let Some(line) = told {
            self.conversation.tell(line);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.conversation.state().unlisten(self.number, Instant::now());
    }
}
