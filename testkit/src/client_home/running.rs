//! A command that runs, with everything it has said.

use std::io::{Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;
use crate::command::{Finished, exit_code, kill};
use crate::eventually;
use crate::leak::Secrets;

#[derive(Clone, Debug, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> (Self, std::thread::JoinHandle<()>) {
        let output = Self::default();
        let buffer = output.clone();
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                if let Some(read) = chunk.get(..count) {
                    buffer
                        .0
                        .lock()
                        .expect("no reader panicked")
                        .extend_from_slice(read);
                }
            }
        });
        (output, reader)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no reader panicked").clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// A command that was started. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Mutex<Child>,
    stdin: Mutex<Option<ChildStdin>>,
    stdout: Output,
    stderr: Output,
    readers: Mutex<Vec<std::thread::JoinHandle<()>>>,
    pid: u32,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    /// Starts a command with pipes.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} starts: {error}"));
        let (stdout, out) = Output::of(child.stdout.take().expect("a pipe"));
        let (stderr, err) = Output::of(child.stderr.take().expect("a pipe"));
        Self {
            pid: child.id(),
            stdin: Mutex::new(child.stdin.take()),
            child: Mutex::new(child),
            stdout,
            stderr,
            readers: Mutex::new(vec![out, err]),
        }
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// What it wrote to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// The same, byte for byte.
    #[must_use]
    pub fn stdout_bytes(&self) -> Vec<u8> {
        self.stdout.bytes()
    }

    /// What it wrote to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it has not ended.
    ///
    /// # Panics
    /// When it cannot be asked.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut child = self.child.lock().expect("no holder panicked");
        child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Ends it at once, as `kill -9` does.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("no holder panicked");
        let _ = child.kill();
        child.wait().expect("a child can be waited for");
    }

    /// Sends a signal by name (`TERM`, `INT`).
    pub fn signal(&self, name: &str) {
        kill(self.pid, name);
    }

    /// Ends its stdin.
    ///
    /// # Panics
    /// When a writer panicked.
    pub fn close_stdin(&self) {
        self.stdin.lock().expect("no writer panicked").take();
    }

    /// Writes a line to its stdin; a peer that is gone is none of the writer's business.
    ///
    /// # Panics
    /// When a writer panicked.
    pub fn write_line(&self, line: &str) {
        if let Some(stdin) = self.stdin.lock().expect("no writer panicked").as_mut() {
            let _ = stdin.write_all(format!("{line}\n").as_bytes());
            let _ = stdin.flush();
        }
    }

    /// Writes a message to its stdin.
    pub fn send(&self, message: &Value) {
        self.write_line(&message.to_string());
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&self) -> Finished {
        self.ended_within(PATIENCE).await
    }

    /// [`Running::ended`] with a deadline of the caller's.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended_within(&self, deadline: Duration) -> Finished {
        let end = tokio::time::Instant::now() + deadline;
        let status = loop {
            let status = {
                let mut child = self.child.lock().expect("no holder panicked");
                child.try_wait().expect("a child can be waited for")
            };
            if let Some(status) = status {
                break status;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "it does not end\nstdout:\n{:.2000}\nstderr:\n{}",
                self.stdout(),
                self.stderr()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // A grandchild may still hold the pipes.
        let readers = std::mem::take(&mut *self.readers.lock().expect("no holder panicked"));
        eventually("its output ends", PATIENCE, async || {
            readers
                .iter()
                .all(std::thread::JoinHandle::is_finished)
                .then_some(())
        })
        .await;
        Finished {
            code: exit_code(status),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Waits until stderr holds `words` on a line that is whole: what is unbuffered comes in pieces.
    ///
    /// # Panics
    /// When it does not.
    pub async fn says(&self, words: &str) {
        let end = tokio::time::Instant::now() + PATIENCE;
        let said = || {
            let text = self.stderr();
            text.rsplit_once('\n')
                .is_some_and(|(whole, _)| whole.contains(words))
        };
        while !said() {
            assert!(
                tokio::time::Instant::now() < end && self.is_alive(),
                "{words:?} on stderr:\n{}",
                self.stderr()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every line of stdout so far; each is one JSON-RPC message.
    ///
    /// # Panics
    /// When one is not.
    #[track_caller]
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        let bytes = self.stdout_bytes();
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(&[][..], |end| &bytes[..=end]);
        let mut out = Vec::new();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let text = std::str::from_utf8(line).unwrap_or_else(|error| panic!("stdout is UTF-8: {error}"));
            let value: Value = serde_json::from_str(text).unwrap_or_else(|error| {
                panic!(
                    "a line of stdout is no JSON ({error}): {:.300}\nstderr:\n{}",
                    text,
                    self.stderr()
                )
            });
            assert_eq!(value["jsonrpc"], "2.0", "a JSON-RPC message: {text:.300}");
            out.push(value);
        }
        out
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Panics
    /// When none comes.
    pub async fn ask(&self, request: &Value) -> Value {
        self.send(request);
        self.answer(&request["id"]).await
    }

    /// Waits for the answer with this id.
    ///
    /// # Panics
    /// When none comes.
    pub async fn answer(&self, id: &Value) -> Value {
        self.answer_within(id, PATIENCE).await
    }

    /// [`Running::answer`] with a deadline of the caller's.
    ///
    /// # Panics
    /// When none comes.
    pub async fn answer_within(&self, id: &Value, deadline: Duration) -> Value {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let found = self.messages().into_iter().find(|message| {
                message["id"] == *id && (message.get("result").is_some() || message.get("error").is_some())
            });
            if let Some(found) = found {
                return found;
            }
            assert!(
                tokio::time::Instant::now() < end && self.is_alive(),
                "an answer to {id}; stdout:\n{:.2000}\nstderr:\n{}",
                self.stdout(),
                self.stderr()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its arguments and its environment hold none of these.
    ///
    /// # Panics
    /// When one does, or it is gone.
    #[track_caller]
    pub fn assert_proc_clean(&self, secrets: &Secrets) {
        for file in ["cmdline", "environ"] {
            let bytes =
                std::fs::read(format!("/proc/{}/{file}", self.pid)).expect("our own child can be read");
            secrets.assert_absent(file, &bytes);
        }
    }
}
