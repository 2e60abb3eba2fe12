//! One connection: its socket, its TLS, its HTTP, and when it is given up.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::front::{self, Front};
use super::limits::{Asker, Caps, Place};
use super::pace::{Streams, Told};
use super::wire::{HEAD_TIMEOUT, Seen, Socket, Wire};

/// How long a peer may take nothing of what is sent to it. One that is silent is asked within that time, several
/// times, whether it is still there: a question can be lost on the way.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection without requests is kept. Longer than proxies keep theirs (60 s is usual), so that it is
/// they who close, and no request crosses our close.
const IDLE: Duration = Duration::from_secs(75);
/// How long a peer may take to close a connection that we said we end.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long the first bytes of a connection are waited for before its HTTP version is known.
const FIRST_BYTES: Duration = Duration::from_secs(1);
/// No method of HTTP/1 begins like the connection preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8; 4] = b"PRI ";
/// Largest head of a request: request line and header fields.
const MAX_HEAD: usize = 64 * 1024;
/// Most header fields.
const MAX_FIELDS: usize = 100;
/// Requests at once on one HTTP/2 connection. A peer that takes no answer holds some kilobytes with each.
const MAX_STREAMS: u32 = 128;
/// Stream resets of the peer that wait for us, and our own that the peer provoked (CVE-2023-44487,
/// CVE-2025-8671), before the connection is ended.
const MAX_RESETS: usize = 64;
/// Most that is held of one stream until its peer takes it (DS-08).
const SEND_BUFFER: usize = 256 * 1024;

/// What a connection needs.
pub(super) struct Connection {
    pub(super) front: Arc<Front>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) place: Place,
    pub(super) caps: Caps,
    pub(super) peer: IpAddr,
    /// Closed when every connection has ended.
    pub(super) alive: mpsc::Sender<()>,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        if let Err(error) = tune(&stream, STALL_TIMEOUT) {
            tracing::debug!(%error, "a socket option was refused");
        }
        match tls {
            None => {
                let spoken = Spoken::on(&stream).await;
                self.http(stream, spoken).await;
            }
            // On the heap, so that connections without TLS do not hold room for it.
            Some(acceptor) => Box::pin(self.tls(stream, acceptor)).await,
        }
    }

    async fn tls(self, stream: TcpStream, acceptor: TlsAcceptor) {
        match tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let spoken = Spoken::agreed(stream.get_ref().1.alpn_protocol());
                self.http(stream, spoken).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    async fn http(self, stream: impl Socket, spoken: Spoken) {
        let room = (self.place.asker(), self.caps);
        let wire = Wire::new(stream, Some(self.place));
        let service = service(self.front, wire.seen(), room, self.peer);
        converse(wire, spoken, service, self.stop).await;
        drop(self.alive);
    }
}

/// Which HTTP a peer speaks. Who knows need not look for it in the first bytes, which would leave a read buffer of
/// twice the size with every connection; ten thousand streams notice that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    Unknown,
}

impl Spoken {
    /// By the first bytes, if they come at once. They stay where they are.
    async fn on(stream: &TcpStream) -> Self {
        let mut start = [0; PREFACE.len()];
        match tokio::time::timeout(FIRST_BYTES, stream.peek(&mut start)).await {
            Ok(Ok(length)) => Self::of(start.get(..length).unwrap_or_default()),
            _ => Self::Unknown,
        }
    }

    fn of(start: &[u8]) -> Self {
        match start {
            [] => Self::Unknown,
            start if start == PREFACE => Self::Http2,
            start if PREFACE.starts_with(start) => Self::Unknown,
            _ => Self::Http1,
        }
    }

    /// By what TLS agreed on.
    fn agreed(protocol: Option<&[u8]>) -> Self {
        match protocol {
            Some(b"h2") => Self::Http2,
            Some(b"http/1.1") => Self::Http1,
            _ => Self::Unknown,
        }
    }
}

/// Speaks HTTP until the peer ends it, has nothing to say any more, or we are stopped.
async fn converse<S, B>(wire: Wire<impl Socket>, spoken: Spoken, service: S, mut stop: watch::Receiver<bool>)
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let seen = wire.seen();
    let streams = Streams::new(STALL_TIMEOUT);
    let builder = match spoken {
        Spoken::Http1 => builder(streams.clone()).http1_only(),
        Spoken::Http2 => builder(streams.clone()).http2_only(),
        Spoken::Unknown => builder(streams.clone()),
    };
    let connection = builder.serve_connection(TokioIo::new(wire), service);
    tokio::pin!(connection);
    let mut stopped = std::pin::pin!(stop.wait_for(|stopped| *stopped));
    let mut ending = false;
    let mut idle = std::pin::pin!(tokio::time::sleep(IDLE));
    let mut requests = 0;
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                break;
            }
            _ = &mut stopped, if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            // HTTP/1 has a timer of its own for this; an HTTP/2 connection would idle for ever.
            () = &mut idle => {
                let before = std::mem::replace(&mut requests, seen.requests());
                let is_idle = seen.is_http2() && streams.open() == 0 && before == requests;
                if is_idle && ending {
                    break;
                }
                ending |= is_idle;
                if is_idle {
                    connection.as_mut().graceful_shutdown();
                }
                idle.as_mut().reset(Instant::now() + if is_idle { GOODBYE } else { IDLE });
            }
        }
    }
}

type Answer = http::Response<Told<front::FrontBody>>;

/// Answers the requests of one connection.
fn service(
    front: Arc<Front>,
    seen: Arc<Seen>,
    (asker, caps): (Asker, Caps),
    peer: IpAddr,
) -> impl Service<
    http::Request<Incoming>,
    Response = Answer,
    Error = Infallible,
    Future: Future<Output = Result<Answer, Infallible>> + Send,
> {
    let answered = AtomicU64::new(0);
    service_fn(move |request: http::Request<Incoming>| {
        let number = answered.fetch_add(1, Ordering::Relaxed);
        let misframed = request.version() < http::Version::HTTP_2 && !seen.is_plainly_framed(number);
        let answering = asker.answer(caps);
        let front = Arc::clone(&front);
        async move {
            let response = match answering {
                _ if misframed => front::misframed(),
                None => front::busy(),
                Some(_) => front.handle(request, peer).await,
            };
            Ok(response.map(|body| Told::new(body, answering)))
        }
    })
}

fn builder(streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(HEAD_TIMEOUT);
    builder
}

/// Small events leave at once; a peer that vanished, or that has stopped reading what is sent to it, is
/// given up. Without this a stream to such a peer would hold its upstream for ever, past its revocation too:
/// nobody asks a stream for its next event while the last one cannot be sent.
fn tune(stream: &TcpStream, stalled: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    let probes = socket2::TcpKeepalive::new()
        .with_time(STALL_TIMEOUT / 2)
        .with_interval(STALL_TIMEOUT / 8);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(stalled))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::net::TcpListener;

    use super::*;

    /// A connection on which every request is answered, what ends it, and its task.
    fn conversation() -> (DuplexStream, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let (ours, peers) = tokio::io::duplex(1 << 16);
        let (stopping, stop) = watch::channel(false);
        let service = service_fn(async |_| {
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"answer"))))
        });
        (
            peers,
            stopping,
            tokio::spawn(converse(Wire::new(ours, None), Spoken::Unknown, service, stop)),
        )
    }

    /// Ten thousand streams that wait are ten thousand of these.
    #[test]
    fn a_connection_is_small() {
        const fn size<F: FnOnce(Connection, TcpStream) -> R, R>(_: &F) -> usize {
            std::mem::size_of::<R>()
        }
        let size = size(&|connection: Connection, stream| connection.run(stream, None));
        assert!(size <= 6 * 1024, "{size} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn ds_02_connections_that_idle_are_ended() {
        let (mut peer, _stopping, over) = conversation();
        let begun = Instant::now();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"answer"));
        over.await.unwrap();
        assert_eq!(begun.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn ds_02_connections_of_http2_that_idle_are_ended() {
        let (peer, _stopping, over) = conversation();
        let begun = Instant::now();
        // This client answers pings for ever.
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), TokioIo::new(peer))
                .await
                .unwrap();
        let client_ends = tokio::spawn(connection);
        let request = http::Request::get("http://h/")
            .body(Full::<Bytes>::default())
            .unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status(), 200);
        assert!(client_ends.await.unwrap().is_ok(), "a farewell, not a cut");
        over.await.unwrap();
        assert!(
            begun.elapsed() >= IDLE && begun.elapsed() <= IDLE * 2 + GOODBYE,
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_connections_that_idle_at_once() {
        for spoke in [true, false] {
            let (mut peer, stopping, over) = conversation();
            if spoke {
                peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                    .await
                    .unwrap();
                let mut buffer = [0; 1024];
                assert!(peer.read(&mut buffer).await.unwrap() > 0);
            }
            let begun = Instant::now();
            stopping.send_replace(true);
            over.await.unwrap();
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[test]
    fn the_first_bytes_tell_which_http_it_is() {
        for (start, spoken) in [
            (&b""[..], Spoken::Unknown),
            (b"P", Spoken::Unknown),
            (b"PRI", Spoken::Unknown),
            (b"PRI ", Spoken::Http2),
            (b"POST", Spoken::Http1),
            (b"PRIX", Spoken::Http1),
            (b"G", Spoken::Http1),
            (b"\x16", Spoken::Http1),
        ] {
            assert_eq!(Spoken::of(start), spoken, "{start:?}");
        }
        assert_eq!(Spoken::agreed(Some(b"h2")), Spoken::Http2);
        assert_eq!(Spoken::agreed(None), Spoken::Unknown);
    }

    /// Once the user timeout is over, the kernel gives up a silent peer for a single question without an answer.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn one_lost_packet_is_not_the_end_of_a_quiet_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream, STALL_TIMEOUT).unwrap();
        let socket = socket2::SockRef::from(&stream);
        let third = socket.tcp_keepalive_time().unwrap() + 2 * socket.tcp_keepalive_interval().unwrap();
        let given_up = socket.tcp_user_timeout().unwrap().unwrap();
        assert!(
            third < given_up,
            "asked for the third time after {third:?}, given up after {given_up:?}"
        );
    }

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
