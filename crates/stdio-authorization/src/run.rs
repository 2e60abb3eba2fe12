//! The wrapper at work: two pipes to the host, two to the server, and an authority that says who may call.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use doorward_process::{LineError, Lines};
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::settings::{Hand, Settings};
use crate::wrap::{Action, FromServer, Held, Reason, RefusedByServer, Verdict, Wrapper};

/// Longest line in either direction, in bytes.
pub const LONGEST_LINE: usize = 64 << 20;
/// Lines that wait for a slow reader. More than one, so that a line's writing and the next one's judging overlap.
const WAITING: usize = 16;
/// How long a server that was started anew may take to answer the `initialize` that is repeated to it.
const REPLAY: Duration = Duration::from_secs(30);
/// How long a server may be silent after the host has ended, before it is ended, too.
const GRACE: Duration = Duration::from_secs(5);
/// How long calls in flight may take to end before the server is started anew for another token.
const DRAIN: Duration = Duration::from_secs(5);

/// Both ends of a server that was started.
pub struct Pipes {
    /// Where it reads.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Where it writes.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
}

/// Something that speaks MCP in lines, and can be started.
#[async_trait]
pub trait Server: Send + Sync {
    /// Starts it; one that runs is ended first. `token` is given only to servers that take it from their environment.
    ///
    /// # Errors
    /// When it cannot be started.
    async fn start(&mut self, token: Option<&Secret>) -> io::Result<Pipes>;
}

/// Who says whether a call may pass.
#[async_trait]
pub trait Authority: Send + Sync {
    /// The verdict on a call that needs `scopes` and brought `presented`, if it brought a token.
    async fn judge(&self, scopes: &ScopeSet, presented: Option<&Secret>) -> Verdict;
    /// The settings, with what is known of the authorization servers by now.
    fn settings(&self) -> Arc<Settings>;
    /// Where this process itself starts a login, if it can. It listens there from now on.
    async fn login_url(&self) -> Option<String>;
    /// A token that is there without any call: from the environment, or from an earlier login. For servers that take it from
    /// their environment.
    async fn standing_token(&self) -> Option<Secret>;
    /// Completes when something changed since the last time: newer metadata, a login that succeeded.
    async fn news(&self);
    /// The server said that a token is not good, or not enough. It is not used again without being verified anew.
    async fn refused_by_server(&self, refused: &RefusedByServer);
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server cannot be started.
    #[error("the server cannot be started: {0}")]
    Start(#[source] io::Error),
    /// A pipe to the host broke.
    #[error("the host cannot be reached: {0}")]
    Host(#[source] io::Error),
    /// A line is too long.
    #[error("{0}")]
    Line(#[from] LineError),
    /// A server that was started anew did not answer.
    #[error("the server did not answer `initialize` after it was started with a token")]
    NoReplay,
}

/// Connects a host and a server until one of them ends.
///
/// # Errors
/// [`RunError`]; the end of the host's input and of the server's output are none.
pub async fn run<I, O>(
    host_in: I,
    host_out: O,
    server: &mut dyn Server,
    authority: &dyn Authority,
) -> Result<(), RunError>
where
    I: AsyncRead + Send + Unpin + 'static,
    O: AsyncWrite + Send + Unpin + 'static,
{
    let (to_host, lines) = mpsc::channel(WAITING);
    let writer = tokio::spawn(write(host_out, lines));
    let (from_host, mut host) = mpsc::channel(1);
    let reader = tokio::spawn(read(host_in, from_host));
    let mut connection = Connection {
        wrapper: Wrapper::new(authority.settings()),
        to_host,
        started: None,
        token: None,
        server,
        authority,
    };
    let ended = connection.run(&mut host).await;
    reader.abort();
    drop(connection);
    // What was said to the host arrives before we end.
    let written = writer.await.unwrap_or(Ok(()));
    ended?;
    written.map_err(RunError::Host)
}

/// A server that runs.
struct Started {
    /// `None` after the host has ended: the server then sees the end of its input.
    to_server: Option<mpsc::Sender<Bytes>>,
    from_server: mpsc::Receiver<Result<Bytes, LineError>>,
    reading: JoinHandle<()>,
}

impl Started {
    fn new(pipes: Pipes) -> Self {
        let (to_server, lines) = mpsc::channel(WAITING);
        let (sender, from_server) = mpsc::channel(1);
        tokio::spawn(async move {
            // A server that reads no more has ended, or will: its output says so.
            let _ended = write(pipes.input, lines).await;
        });
        let reading = tokio::spawn(read(pipes.output, sender));
        Self {
            to_server: Some(to_server),
            from_server,
            reading,
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The writer ends by itself when its queue is closed, after it has written what is in it.
        self.to_server = None;
        self.reading.abort();
    }
}

struct Connection<'a> {
    wrapper: Wrapper,
    to_host: mpsc::Sender<Bytes>,
    /// `None`: it ended before there was a token that it needs at its start.
    started: Option<Started>,
    /// What the server was started with.
    token: Option<Secret>,
    server: &'a mut dyn Server,
    authority: &'a dyn Authority,
}

enum Event {
    Host(Option<Result<Bytes, LineError>>),
    Server(Option<Result<Bytes, LineError>>),
    Verdict(Held, Verdict),
    News,
}

type Judging<'a> = std::pin::Pin<Box<dyn Future<Output = (Held, Verdict)> + Send + 'a>>;

impl Connection<'_> {
    fn by_environment(&self) -> bool {
        matches!(self.authority.settings().hand, Hand::Environment(_))
    }

    async fn run(&mut self, host: &mut mpsc::Receiver<Result<Bytes, LineError>>) -> Result<(), RunError> {
        if self.by_environment() {
            self.wrapper.follow_requests();
            self.token = self.authority.standing_token().await;
        }
        let pipes = self
            .server
            .start(self.token.as_ref())
            .await
            .map_err(RunError::Start)?;
        self.started = Some(Started::new(pipes));
        let authority = self.authority;
        let mut judging: Option<Judging<'_>> = None;
        let mut waiting = VecDeque::new();
        loop {
            let event = self.next(host, &mut judging).await?;
            match event {
                Event::Host(None) => return self.finish().await,
                Event::Host(Some(line)) => {
                    let line = line?;
                    let action = match self.started {
                        Some(_) => self.wrapper.host_line(line),
                        None => self.wrapper.host_line_alone(line),
                    };
                    waiting.push_back(action);
                }
                Event::Verdict(held, verdict) => {
                    judging = None;
                    let verdict = self.started_for(verdict).await?;
                    waiting.push_back(self.wrapper.judged(held, verdict));
                }
                Event::Server(Some(line)) => self.pass_to_host(line?).await,
                Event::Server(None) => {
                    if !self.by_environment() || self.token.is_some() {
                        return Ok(());
                    }
                    self.started = None;
                    let link = self.authority.login_url().await;
                    let answers = self.wrapper.server_is_gone(link.as_deref());
                    waiting.extend(answers.into_iter().map(Action::ToHost));
                }
                Event::News => self.news().await?,
            }
            while let Some(action) = waiting.pop_front() {
                match action {
                    Action::ToHost(line) => self.say(line).await,
                    Action::ToServer(line) => self.tell(line).await,
                    Action::Nothing => {}
                    Action::Judge(held) => {
                        judging = Some(Box::pin(async move {
                            let verdict = authority.judge(&held.scopes, held.token.as_ref()).await;
                            (held, verdict)
                        }));
                    }
                }
            }
        }
    }

    /// A server that takes its token from the environment is started with the one of the verdict.
    async fn started_for(&mut self, verdict: Verdict) -> Result<Verdict, RunError> {
        let Verdict::Pass(token) = &verdict else {
            return Ok(verdict);
        };
        if !self.by_environment() || (self.started.is_some() && self.token.as_ref() == Some(token)) {
            return Ok(verdict);
        }
        match self.start_anew(token.clone()).await {
            Ok(()) => Ok(verdict),
            // It does not like the token, or cannot be started at all: the host keeps its connection, and is told.
            Err(RunError::NoReplay | RunError::Start(_)) => {
                (self.started, self.token) = (None, None);
                Ok(Verdict::Refuse {
                    reason: Reason::NotStarted,
                    login_url: self.authority.login_url().await,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// What happens next. While a call is judged, nothing of the host is read, so that its messages keep their order; the
    /// server is heard all the time.
    async fn next(
        &mut self,
        host: &mut mpsc::Receiver<Result<Bytes, LineError>>,
        judging: &mut Option<Judging<'_>>,
    ) -> Result<Event, RunError> {
        let is_judging = judging.is_some();
        let verdict = async {
            match judging {
                Some(judging) => judging.await,
                None => pending().await,
            }
        };
        let (room, line) = match &mut self.started {
            Some(Started {
                to_server,
                from_server,
                ..
            }) => (to_server.clone(), Some(from_server)),
            None => (None, None),
        };
        let from_server = async {
            match line {
                Some(line) => line.recv().await,
                None => pending().await,
            }
        };
        let from_host = async {
            // Nothing is taken from the host that the server has no room for.
            let _room = match &room {
                Some(room) => room.reserve().await.ok(),
                None => None,
            };
            host.recv().await
        };
        tokio::select! {
            line = from_server => Ok(Event::Server(line)),
            (held, verdict) = verdict, if is_judging => Ok(Event::Verdict(held, verdict)),
            () = self.authority.news() => Ok(Event::News),
            line = from_host, if !is_judging => Ok(Event::Host(line)),
        }
    }

    /// A line of the server on its way to the host.
    async fn pass_to_host(&mut self, line: Bytes) {
        match self.wrapper.server_line(line) {
            FromServer::Line(line) => self.say(line).await,
            FromServer::Refused(refused) => {
                self.authority.refused_by_server(&refused).await;
                if refused.reason == Reason::InvalidToken
                    && let Some(held) = refused.once_more()
                    && let Verdict::Pass(token) = self.authority.judge(&held.scopes, None).await
                    && token != refused.token
                    && let Action::ToServer(line) = self.wrapper.judged(held, Verdict::Pass(token))
                {
                    return self.tell(line).await;
                }
                let link = self.authority.login_url().await;
                self.say(self.wrapper.refused(&refused, link.as_deref())).await;
            }
        }
    }

    async fn say(&self, line: Bytes) {
        // A host that is gone shows in its input.
        let _gone = self.to_host.send(line).await;
    }

    async fn tell(&self, line: Bytes) {
        if let Some(to_server) = self
            .started
            .as_ref()
            .and_then(|started| started.to_server.as_ref())
        {
            let _gone = to_server.send(line).await;
        }
    }

    /// The host has said all it had to say: the server sees the end of its input and may still answer.
    async fn finish(&mut self) -> Result<(), RunError> {
        // What stands in the way of the borrow is taken out: nothing else reads it any more.
        let Some(mut started) = self.started.take() else {
            return Ok(());
        };
        started.to_server = None;
        // One that neither ends nor says anything is ended by whoever started it.
        while let Ok(Some(line)) = tokio::time::timeout(GRACE, started.from_server.recv()).await {
            self.pass_to_host(line?).await;
        }
        Ok(())
    }

    async fn news(&mut self) -> Result<(), RunError> {
        self.wrapper.update(self.authority.settings());
        if !self.by_environment() {
            return Ok(());
        }
        let Some(token) = self.authority.standing_token().await else {
            return Ok(());
        };
        // A server that runs is disturbed only by a call that needs the new token.
        if self.started.is_none() {
            self.start_anew(token).await?;
            for line in self.wrapper.lists_changed() {
                self.say(line).await;
            }
        }
        Ok(())
    }

    /// Starts the server with another token, and repeats to it what the host said at the start.
    async fn start_anew(&mut self, token: Secret) -> Result<(), RunError> {
        self.drain().await?;
        self.started = None;
        for line in self.wrapper.abandoned() {
            self.say(line).await;
        }
        let pipes = self.server.start(Some(&token)).await.map_err(RunError::Start)?;
        self.started = Some(Started::new(pipes));
        self.token = Some(token);
        let Some((initialize, initialized)) = self.wrapper.replay() else {
            return Ok(());
        };
        self.tell(initialize).await;
        let answered = tokio::time::timeout(REPLAY, async {
            while let Some(started) = &mut self.started {
                let line = match started.from_server.recv().await {
                    Some(line) => line?,
                    None => return Err(RunError::NoReplay),
                };
                if Wrapper::answers_replay(&line) {
                    return Ok(());
                }
                let _gone = self.to_host.send(line).await;
            }
            Ok(())
        });
        answered.await.unwrap_or(Err(RunError::NoReplay))?;
        if let Some(initialized) = initialized {
            self.tell(initialized).await;
        }
        Ok(())
    }

    /// Gives calls in flight a moment to end.
    async fn drain(&mut self) -> Result<(), RunError> {
        let end = tokio::time::Instant::now() + DRAIN;
        while self.wrapper.has_requests() {
            let Some(started) = &mut self.started else {
                return Ok(());
            };
            let Ok(Some(line)) = tokio::time::timeout_at(end, started.from_server.recv()).await else {
                return Ok(());
            };
            self.pass_to_host(line?).await;
        }
        Ok(())
    }
}

/// Reads lines until the end.
async fn read<R: AsyncRead + Unpin>(mut from: R, to: mpsc::Sender<Result<Bytes, LineError>>) {
    let mut lines = Lines::new(LONGEST_LINE);
    loop {
        loop {
            match lines.next_line() {
                Ok(Some(line)) => {
                    if to.send(Ok(line)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let _gone = to.send(Err(error)).await;
                    return;
                }
            }
        }
        match from.read_buf(lines.room()).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                let _gone = to.send(Err(LineError::Unreadable(error.kind()))).await;
                return;
            }
        }
    }
    if let Ok(Some(line)) = lines.rest() {
        let _gone = to.send(Ok(line)).await;
    }
}

/// Writes lines until there are no more.
async fn write<W: AsyncWrite + Unpin>(mut to: W, mut lines: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(line) = lines.recv().await {
        buffer.clear();
        buffer.extend_from_slice(&line);
        buffer.push(b'\n');
        // Lines that are there go in one write.
        while let Ok(line) = lines.try_recv() {
            buffer.extend_from_slice(&line);
            buffer.push(b'\n');
        }
        to.write_all(&buffer).await?;
        to.flush().await?;
        // A long line does not keep its room for ever.
        buffer.shrink_to(64 * 1024);
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests;
