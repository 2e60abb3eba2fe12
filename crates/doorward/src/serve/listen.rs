//! Sockets: taking the port, and who is let in.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_limits::TrustedProxies;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::connection::Connection;
use super::front::Front;
use super::limits::{Admission, Caps, Refused};
use super::wire::linger;
use crate::config::address::addresses;
use crate::config::{Config, Listen};
use crate::error::CommandError;

/// Longest wait for calls in flight at the end: below the 30 seconds after which supervisors kill.
const DRAIN: Duration = Duration::from_secs(25);
/// How often a port is tried that must be free in both families.
const PORT_ATTEMPTS: usize = 16;
/// How often refused connections are logged, whoever causes them.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Pause after a failure to accept: the next attempt may work, a busy loop would not help.
const PAUSE: Duration = Duration::from_millis(50);
/// Refused peers that may still read their answer.
const LINGERING: usize = 8;
/// Connections that are turned away between two pauses while there are no descriptors.
const TURNED_AWAY: usize = 64;
/// What a connection that is one too many gets. Nothing is read before: it may be an attack.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: 53\r\n\r\n\
    too many connections are open: try again in a moment\n";

/// What may change while we run; each connection takes what is true when it comes.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) caps: Caps,
    pub(crate) trusted_proxies: TrustedProxies,
}

/// The sockets that were taken.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<TcpListener>,
    /// The port, also when the system chose it.
    pub(crate) port: u16,
}

/// Takes the port on every address that `listen` stands for.
pub(crate) async fn bind(config: &Config) -> Result<Listeners, CommandError> {
    let listen = config.listen.value;
    let mut attempt = 1;
    loop {
        match try_bind(config, listen).await {
            // The system chose a port that is taken in the other family: another one will do.
            Err((_, error))
                if listen.port() == 0 && error.kind() == ErrorKind::AddrInUse && attempt < PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err((address, error)) => return Err(cannot_listen(address, &error)),
            Ok(listeners) => return Ok(listeners),
        }
    }
}

async fn try_bind(config: &Config, listen: Listen) -> Result<Listeners, (SocketAddr, std::io::Error)> {
    let (first, second) = addresses(listen, &config.public_url.value);
    let socket = TcpListener::bind(first).await.map_err(|error| (first, error))?;
    let port = socket.local_addr().map_err(|error| (first, error))?.port();
    let mut sockets = vec![socket];
    if let Some(mut second) = second {
        second.set_port(port);
        match TcpListener::bind(second).await {
            Ok(socket) => sockets.push(socket),
            // A machine without this family; nobody can come in by it, friend or impostor.
            Err(error) if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported) => {
                tracing::debug!(%second, "this machine has no such address");
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
                tracing::debug!(%second, "this machine has no such address family");
            }
            Err(error) => return Err((second, error)),
        }
    }
    Ok(Listeners { sockets, port })
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> CommandError {
    let failed = CommandError::failed(format!("cannot listen on {address}"));
    match error.kind() {
        ErrorKind::AddrInUse => CommandError::failed(format!("port {} of {} is taken", address.port(), address.ip()))
            .hint("another program listens there, perhaps another Doorward: stop it")
            .hint(format!("or choose another port: `--listen localhost:{}`", address.port().checked_add(1).unwrap_or(8080))),
        ErrorKind::PermissionDenied => failed
            .because(error)
            .hint("ports below 1024 need a privilege: choose a higher one with `--listen`, or grant CAP_NET_BIND_SERVICE"),
        ErrorKind::AddrNotAvailable => {
            failed.because(error).hint("this machine does not have that address: choose another one with `--listen`")
        }
        _ => failed.because(error),
    }
}

/// Accepts connections until `stop` says so, then lets calls in flight finish for at most 25 seconds.
pub(crate) async fn serve(
    listeners: Listeners,
    live: Arc<ArcSwap<Live>>,
    front: Arc<Front>,
    admission: Arc<Admission>,
    mut stop: watch::Receiver<bool>,
) {
    let (alive, mut all_ended) = mpsc::channel(1);
    let refusals = Arc::new(Refusals::default());
    let door = Arc::new(Door {
        live,
        front,
        stop: stop.clone(),
        admission,
        refusals: Arc::clone(&refusals),
        lingering: Arc::new(Semaphore::new(LINGERING)),
    });
    let report = tokio::spawn(async move { refusals.report().await });
    let acceptors: Vec<_> = listeners
        .sockets
        .into_iter()
        .map(|socket| tokio::spawn(Arc::clone(&door).accept(socket, alive.clone())))
        .collect();
    drop((door, alive));
    // If the sender is gone the process is ending.
    let _: Result<watch::Ref<'_, bool>, watch::error::RecvError> = stop.wait_for(|stopped| *stopped).await;
    for acceptor in acceptors {
        acceptor.abort();
    }
    if tokio::time::timeout(DRAIN, all_ended.recv()).await.is_err() {
        tracing::warn!(
            "connections were cut: their calls did not finish within {} seconds",
            DRAIN.as_secs()
        );
    }
    report.abort();
}

/// Lets connections in, or turns them away.
struct Door {
    live: Arc<ArcSwap<Live>>,
    front: Arc<Front>,
    stop: watch::Receiver<bool>,
    admission: Arc<Admission>,
    refusals: Arc<Refusals>,
    lingering: Arc<Semaphore>,
}

impl Door {
    async fn accept(self: Arc<Self>, socket: TcpListener, alive: mpsc::Sender<()>) {
        let mut spare = spare();
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => self.let_in(stream, peer, &alive),
                Err(error) if is_exhausted(&error) => {
                    // Without a descriptor nobody can even be turned away, and those who wait fill the
                    // queue: the spare one is there for that.
                    spare.take();
                    self.turn_away(&socket).await;
                    spare = self::spare();
                    tokio::time::sleep(PAUSE).await;
                }
                // Mostly a peer that left before it was its turn.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn let_in(&self, stream: TcpStream, peer: SocketAddr, alive: &mpsc::Sender<()>) {
        let live = self.live.load();
        // A proxy of ours speaks for everybody, as one on loopback does.
        let is_proxy = live.trusted_proxies.trusts(peer.ip());
        let counted = if is_proxy {
            Ipv4Addr::LOCALHOST.into()
        } else {
            peer.ip()
        };
        let place = match self.admission.admit(counted, live.caps) {
            Ok(place) => place,
            Err(refused) => {
                self.refusals.note(match refused {
                    Refused::Total => &self.refusals.total,
                    Refused::Address => &self.refusals.address,
                });
                return self.refuse(stream, live.tls.is_some());
            }
        };
        let connection = Connection {
            front: Arc::clone(&self.front),
            stop: self.stop.clone(),
            place,
            caps: live.caps,
            peer: peer.ip(),
            alive: alive.clone(),
        };
        tokio::spawn(connection.run(stream, live.tls.clone().map(TlsAcceptor::from)));
    }

    /// 503, as far as that is cheap: not over TLS, and only a few may take their time to read it.
    fn refuse(&self, stream: TcpStream, tls: bool) {
        if tls || stream.try_write(BUSY).is_err() {
            return;
        }
        if let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() {
            tokio::spawn(async move {
                linger(stream).await;
                drop(permit);
            });
        }
    }

    async fn turn_away(&self, socket: &TcpListener) {
        let tls = self.live.load().tls.is_some();
        for _ in 0..TURNED_AWAY {
            self.refusals.note(&self.refusals.descriptors);
            match tokio::time::timeout(PAUSE, socket.accept()).await {
                Ok(Ok((stream, _))) if !tls => {
                    // The answer may be lost to a reset; the descriptor is needed for the next one.
                    let _: std::io::Result<usize> = stream.try_write(BUSY);
                }
                Ok(Ok(_)) => {}
                _ => return,
            }
        }
    }
}

/// A descriptor that is held for the moment when there is no other.
fn spare() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}

fn is_exhausted(error: &std::io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Counts who was turned away, so that a flood of connections is no flood of log lines.
#[derive(Default)]
struct Refusals {
    total: AtomicU64,
    address: AtomicU64,
    descriptors: AtomicU64,
    noted: Notify,
}

impl Refusals {
    fn note(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.noted.notify_one();
    }

    async fn report(&self) {
        loop {
            self.noted.notified().await;
            let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
            let (total, address, descriptors) =
                (take(&self.total), take(&self.address), take(&self.descriptors));
            if total + address + descriptors > 0 {
                tracing::warn!(
                    max_connections = total,
                    max_connections_per_address = address,
                    descriptors,
                    "connections were turned away"
                );
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    }
}
