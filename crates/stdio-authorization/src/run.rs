//! The wrapper at work: two pipes to the host, two to the server, and an authority that says who may call.

mod pipes;

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use doorward_process::LineError;
use doorward_types::scope::ScopeSet;
use doorward_types::secret::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use self::pipes::{Started, WAITING, read, write};
use crate::settings::{Hand, Settings};
use crate::wrap::{Action, FromServer, Held, Reason, RefusedByServer, Verdict, Wrapper};

/// Longest line in either direction, in bytes.
pub const LONGEST_LINE: usize = 64 << 20;
/// How long a server that was started anew may take to answer the `initialize` that is repeated to it.
const REPLAY: Duration = Duration::from_secs(30);
/// How long a server may be silent after the host has ended, before it is ended, too.
const GRACE: Duration = Duration::from_secs(5);
/// How long calls in flight may take to end before the server is started anew for another token.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the start of the server waits for a token that is there without any call: the host waits for its first answer.
const FIRST: Duration = Duration::from_secs(2);
/// How long it may take after a login.
const LATER: Duration = Duration::from_secs(10);

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
        has_spoken: false,
        server,
        authority,
    };
    let ended = connection.run(&mut host).await;
    reader.abort();
    drop(connection);
    // What was said to the host arrives before we end.
    let written = writer.await.unwrap_or(Ok(()));
    ended?;
    match written {
        // A host that is gone: no end could be more ordinary.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(RunError::Host),
    }
}

struct Connection<'a> {
    wrapper: Wrapper,
    to_host: mpsc::Sender<Bytes>,
    /// `None`: it ended before there was a token that it needs at its start.
    started: Option<Started>,
    /// What the server was started with.
    token: Option<Secret>,
    /// Whether it has said anything since: who has not did not like what it was started with.
    has_spoken: bool,
    server: &'a mut dyn Server,
    authority: &'a dyn Authority,
}

enum Event {
    Host(Option<Result<Bytes, LineError>>),
    /// It reads no more.
    HostGone,
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
            // Whoever cannot be asked in time is asked at the first call.
            self.token = self.standing_token(FIRST).await;
        }
        let pipes = self
            .server
            .start(self.token.as_ref())
            .await
            .map_err(RunError::Start)?;
        self.started = Some(Started::new(pipes));
        let authority = self.authority;
        let mut judging: Option<Judging<'_>> = None;
        // What the server refused while a call was judged. Whoever judges may hold what the answer needs, and goes on only while
        // it is waited for: to wait for the answer then would be for ever.
        let mut refused_meanwhile = VecDeque::new();
        let mut waiting = VecDeque::new();
        loop {
            let event = self.next(host, &mut judging).await;
            match event {
                Event::Host(None) | Event::HostGone => {
                    drop(judging.take());
                    self.refused_all(&mut refused_meanwhile).await;
                    return self.finish().await;
                }
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
                Event::Server(Some(line)) => {
                    self.has_spoken = true;
                    match self.wrapper.server_line(line?) {
                        FromServer::Line(line) => self.say(line).await,
                        FromServer::Refused(refused) if judging.is_some() => {
                            refused_meanwhile.push_back(refused);
                        }
                        FromServer::Refused(refused) => self.refused(refused).await,
                    }
                }
                Event::Server(None) => {
                    if !self.by_environment() || (self.token.is_some() && self.has_spoken) {
                        drop(judging.take());
                        self.refused_all(&mut refused_meanwhile).await;
                        return Ok(());
                    }
                    let reason = match self.token.take() {
                        Some(_) => Reason::NotStarted,
                        None => Reason::NoToken,
                    };
                    self.started = None;
                    let link = self.authority.login_url().await;
                    let answers = self.wrapper.server_is_gone(reason, link.as_deref());
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
            if judging.is_none() {
                self.refused_all(&mut refused_meanwhile).await;
            }
        }
    }

    /// One after the other, in the order in which the server refused them.
    async fn refused_all(&mut self, refused: &mut VecDeque<Box<RefusedByServer>>) {
        while let Some(refused) = refused.pop_front() {
            self.refused(refused).await;
        }
    }

    async fn standing_token(&self, patience: Duration) -> Option<Secret> {
        let asking = self.authority.standing_token();
        tokio::time::timeout(patience, asking).await.ok().flatten()
    }

    /// A server that takes its token from the environment is started with the one of the verdict.
    async fn started_for(&mut self, verdict: Verdict) -> Result<Verdict, RunError> {
        let Verdict::Pass(token) = &verdict else {
            return Ok(verdict);
        };
        if !self.by_environment() || (self.started.is_some() && self.token.as_ref() == Some(token)) {
            return Ok(verdict);
        }
        if self.starts_with(token.clone()).await? {
            return Ok(verdict);
        }
        Ok(Verdict::Refuse {
            reason: Reason::NotStarted,
            login_url: self.authority.login_url().await,
        })
    }

    /// Whether the server starts with this token. If it does not like it, or cannot be started at all, the host keeps its
    /// connection, and there is no server until there is another token.
    async fn starts_with(&mut self, token: Secret) -> Result<bool, RunError> {
        match self.start_anew(token).await {
            Ok(()) => Ok(true),
            Err(error @ (RunError::NoReplay | RunError::Start(_))) => {
                tracing::warn!(%error, "stdio: the server does not start with a good token");
                (self.started, self.token) = (None, None);
                Ok(false)
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
    ) -> Event {
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
            line = from_server => Event::Server(line),
            (held, verdict) = verdict, if is_judging => Event::Verdict(held, verdict),
            // News wait for the verdict, as refusals do.
            () = self.authority.news(), if !is_judging => Event::News,
            () = self.to_host.closed() => Event::HostGone,
            line = from_host, if !is_judging => Event::Host(line),
        }
    }

    /// A line of the server on its way to the host, while no call is judged.
    async fn pass_to_host(&mut self, line: Bytes) {
        self.has_spoken = true;
        match self.wrapper.server_line(line) {
            FromServer::Line(line) => self.say(line).await,
            FromServer::Refused(refused) => self.refused(refused).await,
        }
    }

    /// The server refused a token: the call is made once more with another one, or the host is told what is needed. While no call is judged.
    async fn refused(&mut self, refused: Box<RefusedByServer>) {
        self.authority.refused_by_server(&refused).await;
        if self.hears()
            && refused.reason == Reason::InvalidToken
            && let Some(held) = refused.once_more()
            && let Verdict::Pass(token) = self.authority.judge(&held.scopes, None).await
            && token != refused.token
            && let Action::ToServer(line) = self.wrapper.judged(held, Verdict::Pass(token))
        {
            return self.tell(line).await;
        }
        let link = self.authority.login_url().await;
        let line = self.wrapper.refused(&refused, link.as_deref());
        self.say(line).await;
    }

    /// Whether the server can still be told anything.
    fn hears(&self) -> bool {
        let started = self.started.as_ref();
        started.is_some_and(|started| started.to_server.is_some())
    }

    async fn say(&self, line: Bytes) {
        // A host that is gone is an event of its own.
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
        // One that neither ends nor says anything is ended by whoever started it, and so is one that talks to nobody.
        while !self.to_host.is_closed()
            && let Ok(Some(line)) = tokio::time::timeout(GRACE, started.from_server.recv()).await
        {
            self.pass_to_host(line?).await;
        }
        Ok(())
    }

    async fn news(&mut self) -> Result<(), RunError> {
        self.wrapper.update(self.authority.settings());
        // A server that runs is disturbed only by a call that needs the new token.
        let waits = self.by_environment() && self.started.is_none();
        if !waits && !self.wrapper.has_elicited() {
            return Ok(());
        }
        let Some(token) = self.standing_token(LATER).await else {
            return Ok(());
        };
        if let Some(line) = self.wrapper.elicitation_is_over() {
            self.say(line).await;
        }
        if waits && self.starts_with(token).await? {
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
        self.wrapper.starts_anew();
        for line in self.wrapper.abandoned() {
            self.say(line).await;
        }
        let pipes = self.server.start(Some(&token)).await.map_err(RunError::Start)?;
        self.started = Some(Started::new(pipes));
        (self.token, self.has_spoken) = (Some(token), false);
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
                self.has_spoken = true;
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

#[cfg(test)]
mod tests;
