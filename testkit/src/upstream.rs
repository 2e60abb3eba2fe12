//! An MCP server that writes down every byte it gets, reads each body in five ways, and answers as a
//! test scripts it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

mod answer;
mod readings;
mod recorded;

pub use answer::{Answer, Part, event, friendly};
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
}

/// The server. It lives on a thread of its own until the test process ends.
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
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            special: Mutex::default(),
            requests: Mutex::default(),
            open: AtomicUsize::new(0),
            hanging: AtomicUsize::new(0),
        });
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be set");
        let address = listener.local_addr().expect("a bound socket");
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((socket, _)) = listener.accept().await {
                    let shared = Arc::clone(&server);
                    tokio::spawn(async move {
                        shared.open.fetch_add(1, Ordering::SeqCst);
                        let _ = serve(socket, &shared).await;
                        shared.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        });
        Self { address, shared }
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

    /// How many answers hang ([`Part::Hang`]) because their peer has not closed yet.
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
        if !answer(&mut socket, script(&request), &shared.hanging).await? {
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

/// Sends one answer; whether the connection can carry another.
async fn answer(socket: &mut TcpStream, answer: Answer, hanging: &AtomicUsize) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if answer.chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    } else {
        let length: usize = answer
            .parts
            .iter()
            .map(|part| {
                if let Part::Bytes(bytes) = part {
                    bytes.len()
                } else {
                    0
                }
            })
            .sum();
        head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
    }
    socket.write_all(head.as_bytes()).await?;
    for part in answer.parts {
        match part {
            Part::Bytes(bytes) if answer.chunked => {
                socket
                    .write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
                    .await?;
                socket.write_all(&bytes).await?;
                socket.write_all(b"\r\n").await?;
            }
            Part::Bytes(bytes) => socket.write_all(&bytes).await?,
            Part::Wait(signal) => {
                // The peer may give up meanwhile; then there is nobody to answer.
                tokio::select! {
                    () = signal.notified() => {}
                    () = closed(socket) => return Ok(false),
                }
            }
            Part::Hang => {
                hanging.fetch_add(1, Ordering::SeqCst);
                closed(socket).await;
                hanging.fetch_sub(1, Ordering::SeqCst);
                return Ok(false);
            }
            Part::Cut => return Ok(false),
        }
    }
    if answer.chunked {
        socket.write_all(b"0\r\n\r\n").await?;
    }
    Ok(true)
}

async fn closed(socket: &TcpStream) {
    let mut byte = [0; 1];
    loop {
        match socket.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
