//! The gateway in front of commands. The commands are scripts in this process that read and write lines.

use std::sync::atomic::{AtomicUsize, Ordering};

use doorward_process::{Exit, ExitReason, Process, StartError};
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::{Launcher, Launching, Owner, StdioSettings};

mod calls;
mod failures;
mod hostile;
mod legacy;
mod modern;
mod pool;
mod probe;

const VERSION: (&str, &str) = ("mcp-protocol-version", "2025-11-25");
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;

/// A command that a test plays.
struct Child {
    owner: Owner,
    input: mpsc::Receiver<Bytes>,
    output: mpsc::Sender<String>,
}

impl Child {
    /// The next line that it gets.
    async fn read(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(60), self.input.recv()).await;
        let line = line.expect("a line in time").expect("its input is open");
        assert!(!line.contains(&b'\n'), "one message is one line");
        serde_json::from_slice(&line).unwrap()
    }

    /// It gets no line for `time`.
    async fn hears_nothing(&mut self, time: Duration) {
        let line = tokio::time::timeout(time, self.input.recv()).await;
        assert!(line.is_err(), "{line:?}");
    }

    async fn write(&self, line: impl ToString) {
        self.output.send(line.to_string()).await.unwrap();
    }

    async fn answer(&self, request: &Value, result: Value) {
        self.write(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
            .await;
    }

    async fn refuse(&self, request: &Value, code: i64) {
        let error = json!({"code": code, "message": "no"});
        self.write(json!({"jsonrpc": "2.0", "id": request["id"], "error": error}))
            .await;
    }

    /// Answers the probe as a modern server.
    async fn is_modern(&mut self) {
        let discover = self.read().await;
        assert_eq!(discover["method"], "server/discover");
        self.answer(&discover, json!({"supportedVersions": ["2026-07-28"]}))
            .await;
    }

    /// It was asked to end, or its input was closed.
    async fn ends(mut self) {
        let end = async { while self.input.recv().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(10), end).await.unwrap();
    }
}

/// Hands every started child to the test.
struct Commands {
    children: mpsc::UnboundedSender<Child>,
    started: AtomicUsize,
    alive: AtomicUsize,
    broken: Mutex<Option<&'static str>>,
    /// How long a start takes.
    slow: Duration,
}

impl Commands {
    fn child(self: &Arc<Self>, owner: Owner) -> Process {
        let (to_child, input) = mpsc::channel(16);
        let (lines, to_gateway) = mpsc::channel(16);
        let (output, mut written) = mpsc::channel::<String>(16);
        let (process, ending) = Process::from_parts(to_child, to_gateway);
        self.started.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let commands = Arc::clone(self);
        tokio::spawn(async move {
            let reason = loop {
                tokio::select! {
                    biased;
                    line = written.recv() => match line {
                        Some(line) => if lines.send(Ok(line.into())).await.is_err() {
                            break ExitReason::Stopped;
                        },
                        None => break ExitReason::ItsOwn,
                    },
                    reason = ending.asked() => break reason,
                }
            };
            drop(lines);
            ending.exit(Exit {
                code: Some(1),
                signal: None,
                reason,
            });
            commands.alive.fetch_sub(1, Ordering::SeqCst);
        });
        // Nobody may be interested in this one.
        drop(self.children.send(Child { owner, input, output }));
        process
    }
}

struct Handle(Arc<Commands>);

impl Launcher for Handle {
    fn launch(&self, owner: Owner) -> Launching {
        let commands = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::time::sleep(commands.slow).await;
            let broken = *commands.broken.lock().unwrap();
            match broken {
                Some(why) => Err(StartError::NotStarted(why.into())),
                None => Ok(commands.child(owner)),
            }
        })
    }
}

/// A gateway whose server `a` is a command.
struct Stdio {
    fixture: Fixture,
    commands: Arc<Commands>,
    children: mpsc::UnboundedReceiver<Child>,
}

impl Stdio {
    fn new() -> Self {
        Self::with(StdioSettings::default())
    }

    fn with(settings: StdioSettings) -> Self {
        Self::slow(settings, Duration::ZERO)
    }

    fn slow(settings: StdioSettings, slow: Duration) -> Self {
        let (sender, children) = mpsc::unbounded_channel();
        let commands = Arc::new(Commands {
            children: sender,
            started: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
            broken: Mutex::default(),
            slow,
        });
        let launcher = Arc::new(Handle(Arc::clone(&commands)));
        let random = Arc::new(CountingRandom::default());
        let upstream = Upstream::stdio(ServerName::new("a"), launcher, settings, random);
        let mut server = unlimited(Arc::new(server("a")), upstream);
        // Thousands of calls at once are what some of these tests are about.
        server.limits.calls = None;
        server.limits.tool = None;
        let servers = vec![server];
        Self {
            fixture: Fixture::of(Arc::default(), &super::settings(), servers),
            commands,
            children,
        }
    }

    /// The next child that is started.
    async fn child(&mut self) -> Child {
        let child = tokio::time::timeout(Duration::from_secs(100), self.children.recv()).await;
        child.expect("a child is started").unwrap()
    }

    fn started(&self) -> usize {
        self.commands.started.load(Ordering::SeqCst)
    }

    /// Waits until so many children are alive.
    async fn alive(&self, count: usize) {
        let alive = async {
            while self.commands.alive.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), alive)
            .await
            .unwrap();
    }

    /// Sends a request on a task of its own. Aborting it is a client that goes away.
    fn begin(&self, request: Request<Full<Bytes>>) -> JoinHandle<Response<Body>> {
        let gateway = Arc::clone(&self.fixture.gateway);
        let route = gateway.route(request.uri().path()).unwrap();
        tokio::spawn(async move { gateway.handle(route, request).await })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Body> {
        self.begin(request).await.unwrap()
    }

    /// A legacy session, and what its client says in it.
    async fn session(&mut self, token: &'static str) -> (Session, Child) {
        let opening = self.begin(post(token, INITIALIZE, &[VERSION]));
        let mut child = self.child().await;
        let request = child.read().await;
        assert_eq!(request["method"], "initialize");
        child
            .answer(&request, json!({"protocolVersion": "2025-11-25"}))
            .await;
        let answer = opening.await.unwrap();
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        (Session { token, id }, child)
    }
}

struct Session {
    token: &'static str,
    id: String,
}

impl Session {
    fn headers(&self) -> [(&str, &str); 2] {
        [VERSION, ("mcp-session-id", &self.id)]
    }

    fn post(&self, message: impl std::borrow::Borrow<Value>) -> Request<Full<Bytes>> {
        post(self.token, &message.borrow().to_string(), &self.headers())
    }

    fn listen(&self) -> Request<Full<Bytes>> {
        let mut request = self.bare("GET");
        let accept = "text/event-stream".parse().unwrap();
        request.headers_mut().insert("accept", accept);
        request
    }

    fn bare(&self, method: &str) -> Request<Full<Bytes>> {
        request(method, "/a/mcp", self.token, "", &self.headers())
    }
}

fn call(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": {"name": "t_read", "arguments": {}}})
}

/// A modern request of `token`.
fn ask(token: &str, id: impl Into<Value>, method: &str, mut params: Value) -> Request<Full<Bytes>> {
    let meta = params
        .as_object_mut()
        .unwrap()
        .entry("_meta")
        .or_insert(json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let name = params["name"].as_str().map(ToOwned::to_owned);
    let message = json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params});
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
    post(token, &message.to_string(), &headers)
}

fn ask_tool(token: &str, id: impl Into<Value>) -> Request<Full<Bytes>> {
    ask(
        token,
        id,
        "tools/call",
        json!({"name": "t_read", "arguments": {}}),
    )
}

/// The events of a stream, as they come.
struct Events(Body);

impl Events {
    fn of(response: Response<Body>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self(response.into_body())
    }

    /// The next piece as it is.
    async fn piece(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(Duration::from_secs(400), self.0.frame()).await;
        let data = frame.expect("something in time")?.unwrap().into_data().unwrap();
        Some(String::from_utf8(data.to_vec()).unwrap())
    }

    /// The next message; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let piece = self.piece().await?;
            if piece != ":\n\n" {
                let data = piece
                    .strip_prefix("data: ")
                    .unwrap()
                    .strip_suffix("\n\n")
                    .unwrap();
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// Nothing but signs of life for `time`.
    async fn says_nothing(&mut self, time: Duration) {
        let next = tokio::time::timeout(time, self.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

async fn json_of(response: Response<Body>) -> Value {
    error(response).await
}
