//! An MCP server that writes down every byte it gets, reads each body in five ways, and answers as a
//! test scripts it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

mod answer;
mod library;
mod readings;
mod recorded;

pub use answer::{Answer, Part, event, friendly};
pub use library::{library, library_in_events};
pub use readings::{Reading, readings};
pub use recorded::Recorded;

use crate::raw::find;

type Script = dyn Fn(&Recorded) -> Answer + Send + Sync;

struct Shared {
    script: Mutex<Arc<Script>>,
    special: Mutex<Vec<(String, Arc<Script>)>>,
    requests: Mutex<Vec<Recorded>>,
    open: AtomicUsize,
    hanging: AtomicUsize,
    sent: AtomicU64,
    stop: Notify,
}

/// Counts while it lives, also when its task is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The server. It lives on a thread of its own until the test process ends, or it is stopped.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({})", self.address)
    }
}

impl Upstream {
    /// One that answers like a small MCP server ([`friendly`]).
    #[must_use]
    pub fn start() -> Self {
        Self::scripted(friendly)
    }

    /// One that answers as `script` says.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn scripted(script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        Self::scripted_at(0, script)
    }

    /// One on this port of `127.0.0.1`, for servers that come back ([`crate::port::Port`]).
    ///
    /// # Panics
    /// When the port cannot be bound.
    #[must_use]
    pub fn scripted_at(port: u16, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            special: Mutex::default(),
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
            hanging: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            stop: Notify::new(),
        });
        let server = Arc::clone(&shared);
        let (bound, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = listen(port).expect("a free port");
                let address = listener.local_addr().expect("a bound socket");
                bound.send(address).expect("somebody waits for it");
                let accepting = async {
                    while let Ok((socket, _)) = listener.accept().await {
                        let shared = Arc::clone(&server);
                        tokio::spawn(async move {
                            let _counted = Counted::new(&shared.open);
                            let _ = serve(socket, &shared).await;
                        });
                    }
                };
                // The runtime goes with all its connections.
                tokio::select! {
                    () = accepting => {}
                    () = server.stop.notified() => {}
                }
            });
        });
        let address = address.recv().expect("a free port");
        Self { address, shared }
    }

    /// Ends it with all its connections, as a crash would.
    pub fn stop(&self) {
        self.shared.stop.notify_one();
    }

    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Its socket.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers otherwise from now on.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn script(&self, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().expect("no script panicked") = Arc::new(script);
    }

    /// Answers requests that hold `marker` as `script` says: tests that share a server do not meet.
    ///
    /// # Panics
    /// When a script panicked before.
    pub fn script_for(&self, marker: &str, script: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) {
        self.shared
            .special
            .lock()
            .expect("no script panicked")
            .push((marker.into(), Arc::new(script)));
    }

    /// Every request so far.
    ///
    /// # Panics
    /// When a script panicked before.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().expect("no script panicked").clone()
    }

    /// Every request so far, which is then forgotten.
    ///
    /// # Panics
    /// When a script panicked before.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.shared.requests.lock().expect("no script panicked"))
    }

    /// The requests that hold `marker` anywhere.
    #[must_use]
    pub fn with(&self, marker: &str) -> Vec<Recorded> {
        self.requests()
            .into_iter()
            .filter(|request| find(&request.bytes(), marker.as_bytes()).is_some())
            .collect()
    }

    /// The one request that holds `marker`.
    ///
    /// # Panics
    /// When there is none, or more.
    #[track_caller]
    #[must_use]
    pub fn the(&self, marker: &str) -> Recorded {
        let mut all = self.with(marker);
        assert_eq!(all.len(), 1, "one request with {marker}");
        all.remove(0)
    }

    /// Asserts that no request holds `marker`.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn assert_never_saw(&self, marker: &str) {
        let all = self.with(marker);
        assert!(
            all.is_empty(),
            "the upstream saw {marker}: {}",
            String::from_utf8_lossy(&all[0].bytes())
        );
    }

    /// Bytes of answers that the sockets took so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// How many answers hang ([`Part::Hang`], [`Part::Repeat`]) because their peer has not closed yet.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.shared.hanging.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    // Thousands may come at once.
    socket.listen(4096)
}

impl Shared {
    fn script_of(&self, request: &Recorded) -> Arc<Script> {
        let bytes = request.bytes();
        let special = self.special.lock().expect("no script panicked");
        let found = special
            .iter()
            .find(|(marker, _)| find(&bytes, marker.as_bytes()).is_some());
        match found {
            Some((_, script)) => Arc::clone(script),
            None => Arc::clone(&self.script.lock().expect("no script panicked")),
        }
    }
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read_request(&mut socket, &mut buffer).await? else {
            return Ok(());
        };
        shared
            .requests
            .lock()
            .expect("no script panicked")
            .push(request.clone());
        let script = shared.script_of(&request);
        if !answer::send(&mut socket, script(&request), shared).await? {
            return Ok(());
        }
    }
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut chunk = [0; 16 * 1024];
    let count = socket.read(&mut chunk).await?;
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count > 0)
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Recorded>> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        if !more(socket, buffer).await? {
            return Ok(None);
        }
    };
    let head = buffer[..end].to_vec();
    buffer.drain(..end + 4);
    let mut request = Recorded {
        head,
        body: Vec::new(),
    };
    if let Some(length) = request
        .values("content-length")
        .first()
        .and_then(|length| length.parse::<usize>().ok())
    {
        while buffer.len() < length {
            if !more(socket, buffer).await? {
                return Ok(None);
            }
        }
        request.body = buffer.drain(..length).collect();
    } else if !request.values("transfer-encoding").is_empty() {
        loop {
            let Some(line) = find(buffer, b"\r\n") else {
                if !more(socket, buffer).await? {
                    return Ok(None);
                }
                continue;
            };
            let size = String::from_utf8_lossy(&buffer[..line])
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let size = usize::from_str_radix(&size, 16).unwrap_or(0);
            while buffer.len() < line + 2 + size + 2 {
                if !more(socket, buffer).await? {
                    return Ok(None);
                }
            }
            request.body.extend_from_slice(&buffer[line + 2..line + 2 + size]);
            buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                break;
            }
        }
    }
    Ok(Some(request))
}
