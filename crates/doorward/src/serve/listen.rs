//! Sockets: taking the port, and every connection that comes in.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::front::Front;
use crate::config::address::addresses;
use crate::config::{Config, Listen};
use crate::error::CommandError;

/// Longest wait for the head of a request, for a TLS handshake, and for the first request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for calls in flight at the end: below the 30 seconds after which supervisors kill.
const DRAIN: Duration = Duration::from_secs(25);
/// How long a peer may take nothing of what is sent to it, and how long it may be silent before it is asked
/// whether it is still there.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest head of a request: request line and header fields.
const MAX_HEAD: usize = 64 * 1024;
/// Most header fields.
const MAX_FIELDS: usize = 100;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// How often a port is tried that must be free in both families.
const PORT_ATTEMPTS: usize = 16;

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
    tls: Option<Arc<rustls::ServerConfig>>,
    front: Arc<Front>,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let tls = tls.map(TlsAcceptor::from);
    let (connections, mut accepted) = tokio::sync::mpsc::channel(64);
    let acceptors: Vec<_> = listeners
        .sockets
        .into_iter()
        .map(|socket| tokio::spawn(accept(socket, connections.clone())))
        .collect();
    drop(connections);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => break,
            next = accepted.recv() => match next {
                Some(stream) => {
                    let connection = Connection { front: Arc::clone(&front), watcher: graceful.watcher() };
                    tokio::spawn(connection.run(stream, tls.clone()));
                }
                None => break,
            },
        }
    }
    for acceptor in acceptors {
        acceptor.abort();
    }
    drop(accepted);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            "connections were cut: their calls did not finish within {} seconds",
            DRAIN.as_secs()
        );
    }
}

async fn accept(socket: TcpListener, connections: tokio::sync::mpsc::Sender<TcpStream>) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if connections.send(stream).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, or a peer that left: the next attempt may work, a busy loop would not help.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Small events leave at once; a peer that vanished, or that has stopped reading what is sent to it, is
/// given up. Without this a stream to such a peer would hold its upstream for ever, past its revocation too:
/// nobody asks a stream for its next event while the last one cannot be sent.
fn tune(stream: &TcpStream, stalled: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    let probes = socket2::TcpKeepalive::new()
        .with_time(STALL_TIMEOUT)
        .with_interval(STALL_TIMEOUT / 4);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stalled))?;
    Ok(())
}

struct Connection {
    front: Arc<Front>,
    watcher: Watcher,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        if let Err(error) = tune(&stream, STALL_TIMEOUT) {
            tracing::debug!(%error, "a socket option was refused");
        }
        match tls {
            None => self.http(stream).await,
            Some(acceptor) => match tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.http(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake timed out"),
            },
        }
    }

    async fn http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let front = self.front;
        let spoke = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&spoke);
        let service = service_fn(move |request: http::Request<Incoming>| {
            heard.store(true, Ordering::Relaxed);
            let front = Arc::clone(&front);
            async move { Ok::<_, std::convert::Infallible>(front.handle(request).await) }
        });
        let builder = builder();
        let connection = self.watcher.watch(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .into_owned(),
        );
        tokio::pin!(connection);
        let mut patience = std::pin::pin!(tokio::time::sleep(HEAD_TIMEOUT));
        let mut impatient = true;
        loop {
            tokio::select! {
                result = &mut connection => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                // A connection on which nobody speaks: the header timeout only starts with HTTP/1.
                () = &mut patience, if impatient => {
                    if !spoke.load(Ordering::Relaxed) {
                        return;
                    }
                    impatient = false;
                }
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(HEAD_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A revoked stream must not live on because its reader stopped reading.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_peer_that_stops_reading_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silent, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut stream, _) = accepted.unwrap();
        tune(&stream, Duration::from_millis(500)).unwrap();
        let piece = vec![0; 64 * 1024];
        let given_up = async { while stream.write_all(&piece).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), given_up)
            .await
            .unwrap();
        drop(silent);
    }
}
