//! The loopback listener at the redirect URI (RFC 8252 §7.3).
//!
//! It is bound to this machine only, answers nothing but its one path under its own name, and hands on what belongs to
//! the login that is under way, which the `state` shows. The browser gets its page when the login has come to an end, so
//! that the page says how it ended.

mod serve;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::loopback;

/// Requests with a `state` that wait to be looked at.
const WAITING: usize = 16;
/// How long [`Arrival::answer`] waits for the browser to take its page.
const DELIVERY: Duration = Duration::from_secs(2);
/// How often a free port is looked for that is free in both families.
const ROUNDS: usize = 8;
/// The longest path of a redirect URI.
const MAX_PATH: usize = 200;

/// How the redirect URI spells this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallbackHost {
    /// `127.0.0.1`, which RFC 8252 §7.3 recommends.
    #[default]
    V4,
    /// `[::1]`.
    V6,
    /// `localhost`, for clients that were registered with it.
    Localhost,
}

impl CallbackHost {
    const fn text(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1",
            Self::V6 => "[::1]",
            Self::Localhost => "localhost",
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct CallbackOptions {
    /// The host of the redirect URI.
    pub host: CallbackHost,
    /// Ports in the order in which they are tried; 0 is any free one, and so is an empty list.
    pub ports: Vec<u16>,
    /// The path of the redirect URI, with its `/`.
    pub path: String,
}

impl Default for CallbackOptions {
    fn default() -> Self {
        Self {
            host: CallbackHost::V4,
            ports: Vec::new(),
            path: "/callback".to_owned(),
        }
    }
}

/// Why there is no answer of the browser.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// Not a path that can be listened at.
    #[error("{0:?} is not a path of a redirect URI: it starts with / and has no ? or #")]
    Path(String),
    /// No port.
    #[error("nothing can listen on {host} at {}: {source}", listed(.ports))]
    Bind {
        /// The host as the redirect URI spells it.
        host: &'static str,
        /// What was tried.
        ports: Vec<u16>,
        /// Why the last one did not work.
        source: std::io::Error,
    },
    /// Nobody came.
    #[error("no answer came back from the browser within {} seconds", .0.as_secs())]
    TimedOut(Duration),
}

fn listed(ports: &[u16]) -> String {
    match ports {
        [0] => "any port".to_owned(),
        [one] => format!("port {one}"),
        many => format!(
            "ports {}",
            many.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// How a login ended, for the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It worked.
    LoggedIn {
        /// What the person logged in to.
        server: String,
    },
    /// The person, or a rule of the server, said no.
    Declined {
        /// What the server said about it. It is escaped.
        words: Option<String>,
    },
    /// It did not.
    Failed {
        /// Why. It may hold what a server wrote: it is escaped.
        reason: String,
    },
}

/// What is known about how a login ended.
#[derive(Clone, Debug)]
enum Outcome {
    Told(Ending),
    /// Nobody said.
    Untold,
}

/// What a request at the redirect URI turned out to be.
#[derive(Debug)]
enum Verdict {
    NotOurs,
    Ours(watch::Receiver<Option<Outcome>>),
}

/// A request at the redirect URI with one `state`.
struct Candidate {
    query: String,
    state: String,
    verdict: oneshot::Sender<Verdict>,
}

/// The last request that belonged to a login.
struct Taken {
    query: String,
    outcome: Arc<watch::Sender<Option<Outcome>>>,
}

#[derive(Default)]
struct Desk {
    /// Whether somebody waits, or nobody has begun to.
    open: bool,
    taken: Option<Taken>,
}

/// What the listener's tasks share.
struct Shared {
    authority: String,
    path: String,
    desk: Mutex<Desk>,
    candidates: mpsc::Sender<Candidate>,
}

/// A listener at a redirect URI. It stops when it is dropped.
pub struct CallbackListener {
    redirect_uri: String,
    port: u16,
    shared: Arc<Shared>,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Candidate>>,
    tasks: Vec<AbortHandle>,
}

impl fmt::Debug for CallbackListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackListener({})", self.redirect_uri)
    }
}

impl CallbackListener {
    /// Listens on this machine at the first of the ports that is free. From now on nothing that a browser sends is lost.
    pub async fn bind(options: &CallbackOptions) -> Result<Self, CallbackError> {
        let path = options.path.as_str();
        let plain = path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~!&'()*+,;=:@%/".contains(&b));
        if !path.starts_with('/') || !plain || path.len() > MAX_PATH {
            return Err(CallbackError::Path(path.to_owned()));
        }
        let (sockets, port) = bound(options).await?;
        let host = options.host.text();
        // A browser leaves the default port out of Host.
        let authority = if port == 80 {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let (candidates, arrivals) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            desk: Mutex::new(Desk {
                open: true,
                taken: None,
            }),
            candidates,
            authority,
        });
        let tasks = sockets
            .into_iter()
            .map(|socket| tokio::spawn(loopback::serve(socket, Arc::clone(&shared))).abort_handle())
            .collect();
        Ok(Self {
            redirect_uri: format!("http://{host}:{port}{path}"),
            port,
            shared,
            arrivals: tokio::sync::Mutex::new(arrivals),
            tasks,
        })
    }

    /// The redirect URI, port included.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Waits, at most `within`, for an answer whose one `state` (decoded) `is_ours`. That compares in constant time. Others get a
    /// page that says so, and the waiting goes on (CL-06). May be called again, for the next login.
    pub async fn wait(
        &self,
        is_ours: impl Fn(&str) -> bool,
        within: Duration,
    ) -> Result<Arrival, CallbackError> {
        let mut arrivals = self.arrivals.lock().await;
        self.shared.desk().open = true;
        let first = async {
            loop {
                let Some(candidate) = arrivals.recv().await else {
                    // The sender lives as long as this listener.
                    return std::future::pending().await;
                };
                if is_ours(&candidate.state) {
                    return candidate;
                }
                let _ = candidate.verdict.send(Verdict::NotOurs);
            }
        };
        let first = tokio::time::timeout(within, first)
            .await
            .map_err(|_| CallbackError::TimedOut(within))?;
        let outcome = Arc::new(watch::Sender::new(None));
        let _ = first.verdict.send(Verdict::Ours(outcome.subscribe()));
        let mut desk = self.shared.desk();
        desk.open = false;
        desk.taken = Some(Taken {
            query: first.query.clone(),
            outcome: Arc::clone(&outcome),
        });
        // Whoever came in the meantime: the same browser once more, or somebody who is not meant.
        while let Ok(late) = arrivals.try_recv() {
            let _ = late.verdict.send(if late.query == first.query {
                Verdict::Ours(outcome.subscribe())
            } else {
                Verdict::NotOurs
            });
        }
        drop(desk);
        Ok(Arrival {
            url: format!("{}?{}", self.redirect_uri, first.query),
            query: first.query,
            outcome,
        })
    }
}

impl Drop for CallbackListener {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn desk(&self) -> std::sync::MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An authorization response that belongs to the login. Its parameters have not been looked at apart from `state`. Dropped without
/// an [`answer`](Self::answer), it lets the page say that the login did not come to an end.
pub struct Arrival {
    query: String,
    url: String,
    outcome: Arc<watch::Sender<Option<Outcome>>>,
}

impl fmt::Debug for Arrival {
    /// The code is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arrival([redacted])")
    }
}

impl Arrival {
    /// The query as it came, undecoded.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The redirect URI with the query as it came.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets the browser have its page, and waits until it has it, for at most two seconds: afterwards the program may end.
    pub async fn answer(self, ending: Ending) {
        self.outcome.send_replace(Some(Outcome::Told(ending)));
        let _ = tokio::time::timeout(DELIVERY, self.outcome.closed()).await;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.outcome.send_if_modified(|outcome| {
            let untold = outcome.is_none();
            if untold {
                *outcome = Some(Outcome::Untold);
            }
            untold
        });
    }
}

/// The sockets for the first port that is free, and that port.
async fn bound(options: &CallbackOptions) -> Result<(Vec<TcpListener>, u16), CallbackError> {
    let any = [0];
    let ports = if options.ports.is_empty() {
        &any[..]
    } else {
        &options.ports
    };
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for port in ports {
        let rounds = if *port == 0 { ROUNDS } else { 1 };
        for _ in 0..rounds {
            match bind_host(options.host, *port).await {
                Ok(bound) => return Ok(bound),
                Err(error) => last = error,
            }
        }
    }
    Err(CallbackError::Bind {
        host: options.host.text(),
        ports: ports.to_vec(),
        source: last,
    })
}

async fn bind_host(host: CallbackHost, port: u16) -> std::io::Result<(Vec<TcpListener>, u16)> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let first = TcpListener::bind((if host == CallbackHost::V6 { v6 } else { v4 }, port)).await?;
    let port = first.local_addr()?.port();
    let mut sockets = vec![first];
    if host == CallbackHost::Localhost {
        match TcpListener::bind((v6, port)).await {
            Ok(second) => sockets.push(second),
            // Somebody else would get what a browser sends to `localhost`.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(error),
            // A machine without IPv6.
            Err(_) => {}
        }
    }
    Ok((sockets, port))
}

#[cfg(test)]
mod tests;
