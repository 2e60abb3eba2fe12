//! The one task that routes: lines of the host and events of the network into the state machine, what it wants done out.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_client::authorizer::Authorizer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::conversation::Conversation;
use crate::era;
use crate::event::{Action, Due, Event};
use crate::exchange::Exchanges;
use crate::failure::Failure;
use crate::http::Http;
use crate::lines::Lines;
use crate::memory::Share;
use crate::settings::Settings;

/// Events that wait for the routing task; whoever has another one waits.
const EVENTS: usize = 32;
/// Lines that wait for the host to read them. With more, nothing is taken from the network.
const UNREAD: usize = 64;
/// Bytes of such lines.
const UNREAD_BYTES: usize = 1 << 20;
/// How often the state machine hears of the time.
const TICK: Duration = Duration::from_secs(5);
/// How long answers may take that are under way when the host closes our input.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How long the server may take to hear of the end of the session.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a bridge is made of.
pub struct Parts {
    /// What is bridged, and how.
    pub settings: Settings,
    /// The network.
    pub http: Arc<dyn Http>,
    /// Who sees to authorization; `None` if the user's own headers do.
    pub authorizer: Option<Arc<dyn Authorizer>>,
    /// What the translation between eras needs to know.
    pub era: era::Settings,
}

/// Bridges until the host closes `input`, or `stop` completes. `output` gets one JSON-RPC message a line and nothing else.
/// Ends the session with the server before it returns. Gives the reason if the host asked and never got through to the server.
pub async fn run<R, W>(
    parts: Parts,
    input: R,
    output: W,
    stop: impl Future<Output = ()> + Send,
) -> Option<Failure>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let settings = Arc::new(parts.settings);
    let (events, receive) = mpsc::channel(EVENTS);
    let (lines, unread) = mpsc::channel(1);
    let (closed, open) = watch::channel(());
    let exchanges = Arc::new(Exchanges::new(
        Arc::clone(&settings),
        parts.http,
        parts.authorizer,
        open,
        events,
    ));
    let bridge = Bridge {
        lines: Lines::new(settings.longest_message),
        conversation: Conversation::new(Arc::clone(&settings), parts.era),
        exchanges,
        tasks: JoinSet::new(),
        under_way: HashMap::new(),
        timers: JoinSet::new(),
        unread: VecDeque::new(),
        unread_bytes: 0,
        settings,
    };
    let writer = tokio::spawn(write(unread, output));
    let shut_out = bridge.route(input, receive, lines, writer, stop).await;
    drop(closed);
    shut_out
}

struct Bridge {
    settings: Arc<Settings>,
    lines: Lines,
    conversation: Conversation,
    exchanges: Arc<Exchanges>,
    tasks: JoinSet<()>,
    under_way: HashMap<u64, AbortHandle>,
    timers: JoinSet<Due>,
    unread: VecDeque<(Bytes, Share)>,
    unread_bytes: usize,
}

impl Bridge {
    async fn route(
        mut self,
        mut input: impl AsyncRead + Unpin + Send,
        mut events: mpsc::Receiver<Event>,
        lines: mpsc::Sender<(Bytes, Share)>,
        writer: JoinHandle<()>,
        stop: impl Future<Output = ()> + Send,
    ) -> Option<Failure> {
        tokio::pin!(stop);
        let mut tick = ticks(TICK);
        let mut told = Instant::now();
        let mut alive = self.settings.keep_alive.map(ticks);
        let mut end = None;
        loop {
            self.act();
            let has_room = self.unread.len() < UNREAD && self.unread_bytes < UNREAD_BYTES;
            let is_over = end.is_some() && !self.conversation.is_asked() && self.unread.is_empty();
            if is_over {
                break;
            }
            tokio::select! {
                () = &mut stop => break,
                read = input.read_buf(self.lines.room()), if end.is_none() && has_room && self.conversation.wants_more() => {
                    // Input that cannot be read any more has ended as well.
                    let ended = !matches!(read, Ok(1..));
                    while let Some(line) = self.lines.next(ended) {
                        self.conversation.host_line(line);
                    }
                    if ended {
                        end = Some(Box::pin(tokio::time::sleep(LAST_ANSWERS)));
                    }
                }
                event = events.recv(), if has_room => {
                    if let Some(event) = event {
                        if let Event::Ended(number, _) = &event {
                            self.under_way.remove(number);
                        }
                        self.conversation.event(event);
                    }
                }
                permit = lines.reserve(), if !self.unread.is_empty() => {
                    let Ok(permit) = permit else {
                        tracing::debug!("the host does not read any more");
                        break;
                    };
                    if let Some((line, share)) = self.unread.pop_front() {
                        self.unread_bytes = self.unread_bytes.saturating_sub(line.len());
                        permit.send((line, share));
                    }
                }
                Some(due) = self.timers.join_next(), if !self.timers.is_empty() => {
                    if let Ok(due) = due {
                        self.conversation.due(due);
                    }
                }
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if done.is_err_and(|error| error.is_panic()) {
                        tracing::error!("an exchange with the server failed within: please report this");
                    }
                }
                now = tick.tick() => {
                    self.conversation.elapsed(now.saturating_duration_since(told));
                    told = now;
                }
                () = next(&mut alive) => self.conversation.keep_alive(),
                () = expired(&mut end) => break,
            }
        }
        drop(events);
        let shut_out = self.conversation.shut_out().cloned();
        self.leave(lines, writer).await;
        shut_out
    }

    /// Does what the state machine wants done.
    fn act(&mut self) {
        for action in self.conversation.take_actions() {
            let exchanges = Arc::clone(&self.exchanges);
            match action {
                Action::ToHost(line, share) => {
                    let line = doorward_mcp::on_one_line(&line);
                    self.unread_bytes += line.len();
                    self.unread.push_back((line, share));
                }
                Action::Post(post) => {
                    let number = post.number;
                    let handle = self.tasks.spawn(exchanges.post(post));
                    self.under_way.insert(number, handle);
                }
                Action::Listen(listen) => {
                    let number = listen.number;
                    let handle = self.tasks.spawn(exchanges.listen(listen));
                    self.under_way.insert(number, handle);
                }
                Action::Abort(number) => {
                    if let Some(handle) = self.under_way.remove(&number) {
                        handle.abort();
                    }
                }
                Action::Delete(delete) => {
                    self.tasks.spawn(async move {
                        let _: Result<(), _> = timeout(FAREWELL, exchanges.delete(delete)).await;
                    });
                }
                Action::Later(delay, due) => {
                    self.timers.spawn(async move {
                        tokio::time::sleep(delay).await;
                        due
                    });
                }
            }
        }
    }

    /// Ends everything: what is under way first, then the session, then our output.
    async fn leave(mut self, lines: mpsc::Sender<(Bytes, Share)>, writer: JoinHandle<()>) {
        let farewell = self.conversation.close();
        self.act();
        self.timers.abort_all();
        self.tasks.abort_all();
        let last = async {
            for line in self.unread.drain(..) {
                if lines.send(line).await.is_err() {
                    break;
                }
            }
            drop(lines);
            let _: Result<(), _> = writer.await;
        };
        let goodbye = async {
            if let Some(delete) = farewell {
                self.exchanges.delete(delete).await;
            }
        };
        let _: (Result<(), _>, Result<(), _>) =
            tokio::join!(timeout(FAREWELL, last), timeout(FAREWELL, goodbye));
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn next(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn expired(end: &mut Option<std::pin::Pin<Box<tokio::time::Sleep>>>) {
    match end {
        Some(end) => end.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Writes lines until there are no more or nobody reads.
async fn write(mut lines: mpsc::Receiver<(Bytes, Share)>, mut output: impl AsyncWrite + Unpin) {
    while let Some((line, share)) = lines.recv().await {
        if write_line(&mut output, &line).await.is_err() {
            return;
        }
        drop(share);
    }
}

async fn write_line(output: &mut (impl AsyncWrite + Unpin), line: &[u8]) -> std::io::Result<()> {
    /// Up to here a line and its end are written at once.
    const TOGETHER: usize = 64 << 10;
    if line.len() < TOGETHER {
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        output.write_all(&whole).await?;
    } else {
        output.write_all(line).await?;
        output.write_all(b"\n").await?;
    }
    output.flush().await
}
