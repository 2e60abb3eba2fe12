//! One-shot commands: `doorward user add …` and the rest.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a command; far beyond what any needs, so that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test: `DOORWARD_BIN`, else beside the test executable.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn doorward_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("DOORWARD_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let found = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("doorward"))
        .find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no doorward binary beside {}: run `cargo xtask test`, or build it and set DOORWARD_BIN",
            test.display()
        )
    })
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit status; 128 + signal if it was killed.
    pub code: i32,
    /// What it printed for people or scripts.
    pub stdout: String,
    /// What it printed about progress and failure.
    pub stderr: String,
}

impl Finished {
    /// Asserts exit 0.
    ///
    /// # Panics
    /// When it ended otherwise, with what it printed.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// stdout as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "stdout is JSON ({error}):\n{}\nstderr:\n{}",
                self.stdout, self.stderr
            )
        })
    }
}

/// A command that has only the environment that tests share: `PATH` and a `HOME` of its own.
#[must_use]
pub fn hermetic(work: &Path) -> Command {
    hermetic_of(&doorward_binary(), work)
}

/// [`hermetic`] with a binary of the caller's choice.
pub(crate) fn hermetic_of(binary: &Path, work: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("HOME", work)
        .env("NO_COLOR", "1")
        .current_dir(work);
    for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs `doorward ARGS` in `work` to its end.
///
/// # Panics
/// When it does not end within two minutes.
#[track_caller]
pub fn run<A: AsRef<std::ffi::OsStr>>(
    work: &Path,
    args: impl IntoIterator<Item = A>,
    stdin: &str,
) -> Finished {
    run_with(work, args, stdin, &[])
}

/// [`run`] with environment variables.
///
/// # Panics
/// When it does not end within two minutes.
#[track_caller]
pub fn run_with<A: AsRef<std::ffi::OsStr>>(
    work: &Path,
    args: impl IntoIterator<Item = A>,
    stdin: &str,
    env: &[(&str, &str)],
) -> Finished {
    let mut command = hermetic(work);
    command.args(args).envs(env.iter().copied());
    run_to_its_end(command, stdin)
}

/// Runs a command that was made ready.
#[track_caller]
pub(crate) fn run_to_its_end(mut command: Command, stdin: &str) -> Finished {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} starts: {error}"));
    let mut input = child.stdin.take().expect("stdin was asked for");
    // A command that wants no input may be gone already.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    let pid = child.id();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(child.wait_with_output()));
    let output = match receive.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("output can be read"),
        Err(_) => {
            kill(pid, "KILL");
            let output = receive
                .recv()
                .expect("the waiter lives")
                .expect("output can be read");
            panic!(
                "{command:?} did not end within {PATIENCE:?}\nstdout:\n{}\nstderr:\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    };
    Finished {
        code: exit_code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The exit status as a shell would tell it.
#[must_use]
pub fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Sends `signal` (`TERM`, `KILL`, `INT`) to one process.
///
/// # Panics
/// When `kill` cannot be run.
pub fn kill(pid: u32, signal: &str) {
    let _ = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .expect("kill can be run");
}

/// Polls `probe` until it gives something, on a plain thread.
///
/// # Panics
/// When `what` has not happened after `deadline`.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        #[allow(clippy::disallowed_methods, reason = "the poll of a deadline")]
        std::thread::sleep(Duration::from_millis(10));
    }
}
