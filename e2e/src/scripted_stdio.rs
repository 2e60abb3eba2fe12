//! An MCP server on stdio that does what tests ask of it: `scripted-stdio legacy|modern|nonsense`.

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

/// How long anything is waited for: the tests give up before.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Server {
    modern: bool,
    next: AtomicU64,
    /// Who waits for the answer to a request of ours.
    asked: Mutex<HashMap<u64, mpsc::Sender<Value>>>,
    /// The calls that were cancelled, by id.
    cancelled: Mutex<Vec<Value>>,
    changed: Condvar,
    /// What `t_wait` was cancelled with.
    given_up: Mutex<Vec<Value>>,
}

fn main() {
    let era = std::env::args().nth(1).unwrap_or_default();
    if era == "nonsense" {
        write("\u{1b}[31mUsage: scripted-stdio [OPTION]");
        return;
    }
    eprintln!("scripted-stdio is up");
    let server = Arc::new(Server {
        modern: era == "modern",
        ..Server::default()
    });
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            eprintln!("a line that is no JSON");
            continue;
        };
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.hear(&message));
    }
}

fn write(line: impl ToString) {
    let mut out = std::io::stdout().lock();
    // Whoever closes our output closes our input as well.
    let _: std::io::Result<()> = writeln!(out, "{}", line.to_string()).and_then(|()| out.flush());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn hear(&self, message: &Value) {
        let id = &message["id"];
        match message["method"].as_str() {
            None => {
                let asker = id.as_u64().and_then(|id| lock(&self.asked).remove(&id));
                if let Some(asker) = asker {
                    // It may have given up.
                    drop(asker.send(message.clone()));
                }
            }
            Some("notifications/cancelled") => {
                lock(&self.cancelled).push(message["params"]["requestId"].clone());
                self.changed.notify_all();
            }
            Some(_) if id.is_null() => {}
            Some(method) => {
                if let Some(outcome) = self.answer(method, message) {
                    let (key, value) = match outcome {
                        Ok(result) => ("result", result),
                        Err((code, data)) => ("error", json!({"code": code, "message": "no", "data": data})),
                    };
                    write(json!({"jsonrpc": "2.0", "id": id, key: value}));
                }
            }
        }
    }

    fn answer(&self, method: &str, message: &Value) -> Option<Result<Value, (i32, Value)>> {
        Some(match (method, self.modern) {
            ("initialize", false) => Ok(json!({
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "scripted", "version": "1"}
            })),
            ("initialize", true) => Err((
                -32022,
                json!({"supported": ["2026-07-28"], "requested": "2025-11-25"}),
            )),
            ("server/discover", true) => Ok(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "ttlMs": 0, "cacheScope": "private", "serverInfo": {"name": "scripted", "version": "1"}
            })),
            ("ping", false) => Ok(json!({})),
            ("tools/list", _) => {
                let tool = |name: &str, reads: bool| json!({"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": reads}});
                let tools = [tool("t_read", true), tool("t_pid", true), tool("t_crash", false)];
                Ok(json!({"resultType": "complete", "tools": tools}))
            }
            ("tools/call", _) => {
                let text = self.tool(message)?;
                Ok(json!({"resultType": "complete", "content": [{"type": "text", "text": text}]}))
            }
            ("subscriptions/listen", true) => {
                self.listen(&message["id"]);
                return None;
            }
            _ => Err((-32601, Value::Null)),
        })
    }

    /// The text of a tool's result; `None` if there shall be no answer.
    fn tool(&self, message: &Value) -> Option<String> {
        let arguments = &message["params"]["arguments"];
        let marker = arguments["marker"].as_str().unwrap_or_default();
        match message["params"]["name"].as_str().unwrap_or_default() {
            "t_read" => {
                let delay = arguments["delay"].as_u64().unwrap_or(0);
                // A working tool takes its time.
                let (_nobody, never) = mpsc::channel::<()>();
                let _: Result<(), mpsc::RecvTimeoutError> = never.recv_timeout(Duration::from_millis(delay));
                Some(marker.to_owned())
            }
            "t_pid" => Some(std::process::id().to_string()),
            "t_progress" => {
                let token = &message["params"]["_meta"]["progressToken"];
                for progress in 1..=3 {
                    let params = json!({"progressToken": token, "progress": progress});
                    write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
                }
                Some("done".into())
            }
            "t_change" => {
                write(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
                Some("changed".into())
            }
            "t_wait" => {
                self.wait(&message["id"], marker);
                None
            }
            "t_given_up" => Some(Value::from(lock(&self.given_up).clone()).to_string()),
            "t_ask" => Some(self.ask()),
            "t_crash" => {
                self.note_execution(marker);
                std::process::exit(3)
            }
            "t_half" => {
                // The answer, cut off, and then the end.
                print!(
                    r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]"#,
                    message["id"]
                );
                let _: std::io::Result<()> = std::io::stdout().flush();
                std::process::exit(0)
            }
            "t_flood" => {
                let token = &message["params"]["_meta"]["progressToken"];
                let text = "x".repeat(256 << 10);
                for progress in 0..400 {
                    let params = json!({"progressToken": token, "progress": progress, "message": text});
                    write(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
                }
                Some("flooded".into())
            }
            "t_executed" => Some(std::fs::read_to_string(executed()).unwrap_or_default()),
            tool => Some(format!("there is no tool {tool}")),
        }
    }

    fn wait(&self, id: &Value, marker: &str) {
        let cancelled = lock(&self.cancelled);
        let waiting = |cancelled: &mut Vec<Value>| !cancelled.contains(id);
        let waited = self.changed.wait_timeout_while(cancelled, PATIENCE, waiting);
        if !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            lock(&self.given_up).push(marker.into());
        }
    }

    /// What the client's model says.
    fn ask(&self) -> String {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        lock(&self.asked).insert(id, sender);
        let params = json!({"messages": [], "maxTokens": 1});
        write(json!({"jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": params}));
        match receiver.recv_timeout(PATIENCE) {
            Ok(answer) => answer["result"]["content"]["text"]
                .as_str()
                .unwrap_or("an error")
                .to_owned(),
            Err(_) => "silence".into(),
        }
    }

    fn listen(&self, id: &Value) {
        let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
        for (method, more) in [
            (
                "notifications/subscriptions/acknowledged",
                json!({"toolsListChanged": true}),
            ),
            ("notifications/tools/list_changed", Value::Null),
        ] {
            let mut params = json!({"_meta": meta});
            if !more.is_null() {
                params["notifications"] = more;
            }
            write(json!({"jsonrpc": "2.0", "method": method, "params": params}));
        }
        self.wait(id, "subscription");
    }

    fn note_execution(&self, marker: &str) {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(executed());
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{marker}")) {
            eprintln!("cannot write down what was executed: {error}");
        }
    }
}

/// In the user's own folder: it outlives the process.
fn executed() -> std::path::PathBuf {
    std::path::PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join("executed")
}
