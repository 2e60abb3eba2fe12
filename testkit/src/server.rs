//! The real binary, started, watched, killed and started again.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{self, Finished};
use crate::disk::Disk;
use crate::http::Site;
use crate::port::Port;

mod builder;

use builder::Surroundings;
pub use builder::{Builder, Output};

/// Longest wait for `/readyz`, or for a line of the log; generous, because a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

struct Running {
    child: Child,
    /// Ends the server when this process goes away in any manner: fixtures in statics are never dropped.
    watchdog: Child,
    /// Held open: its end is what the watchdog waits for.
    _leash: ChildStdin,
}

/// A server under test. It ends with this value, or with the test process.
pub struct Doorward {
    site: Site,
    /// Its data folder.
    pub data: PathBuf,
    /// The folder it and its commands run in.
    pub work: PathBuf,
    /// The socket it listens on.
    pub address: SocketAddr,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    binary: PathBuf,
    surroundings: Surroundings,
    disk: Option<Disk>,
    clock: Option<PathBuf>,
    /// Seconds between the wall clock that the server sees and the real one.
    offset: Mutex<f64>,
    running: Mutex<Option<Running>>,
    _port: Port,
    home: TempDir,
}

impl std::fmt::Debug for Doorward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorward")
            .field("site", &self.site.public_url)
            .field("data", &self.data)
            .finish()
    }
}

impl Deref for Doorward {
    type Target = Site;
    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Doorward {
    /// A server that is told nothing yet.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How clients see it.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The folder that everything of this server lies in.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts the process; does not wait for it to be ready.
    ///
    /// # Panics
    /// When it cannot be started, or runs already.
    pub fn spawn(&self) {
        let mut running = self.running.lock().expect("the harness did not panic");
        assert!(running.is_none(), "it runs already");
        let mut command = command::hermetic_of(&self.binary, &self.work);
        command.args(&self.args).envs(&self.env);
        if let Some(clock) = &self.clock {
            command
                .env("LD_PRELOAD", faketime_library())
                .env("FAKETIME_TIMESTAMP_FILE", clock)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        if self.surroundings != Surroundings::default() {
            command = self.surroundings.around(&command);
        }
        if let Some(disk) = &self.disk {
            command = disk.within(&command);
        }
        command
            .stdin(Stdio::null())
            .stdout(self.output(self.surroundings.stdout, "stdout.log"))
            .stderr(self.output(self.surroundings.stderr, "stderr.log"));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} starts: {error}"));
        let mut watchdog = Command::new("sh")
            .args(["-c", &format!("read never; kill -9 {} 2>/dev/null", child.id())])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let leash = watchdog.stdin.take().expect("stdin was asked for");
        *running = Some(Running {
            child,
            watchdog,
            _leash: leash,
        });
    }

    fn output(&self, output: Output, name: &str) -> Stdio {
        match output {
            Output::Unread => Stdio::piped(),
            Output::File | Output::Closed => self.log_file(name).into(),
        }
    }

    fn log_file(&self, name: &str) -> std::fs::File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home().join(name))
            .expect("a log file")
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Panics
    /// When the process ends or the deadline passes first; the message holds its output.
    pub async fn ready(&self) {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(code) = self.exited() {
                panic!(
                    "the server ended with {code} before it was ready:\n{}",
                    self.logs()
                );
            }
            if self
                .get("/readyz")
                .try_send()
                .await
                .is_ok_and(|reply| reply.status == 200)
            {
                return;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "ready within {PATIENCE:?}:\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// The exit status if the process has ended (then it counts as stopped).
    ///
    /// # Panics
    /// When it was not started.
    pub fn exited(&self) -> Option<i32> {
        let mut guard = self.running.lock().expect("the harness did not panic");
        let running = guard.as_mut().expect("it was started");
        let status = running.child.try_wait().expect("a child can be waited for")?;
        if let Some(running) = guard.take() {
            running.end();
        }
        Some(command::exit_code(status))
    }

    /// Whether the process runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut guard = self.running.lock().expect("the harness did not panic");
        guard
            .as_mut()
            .is_some_and(|running| running.child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running
            .lock()
            .expect("the harness did not panic")
            .as_ref()
            .expect("it runs")
            .child
            .id()
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let running = self.running.lock().expect("the harness did not panic").take();
        running.expect("it runs").end();
    }

    /// The configuration file that [`Builder::config`] made.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.home().join("doorward.toml")
    }

    /// SIGHUP: it reads its configuration again, and says in its log what came of it.
    pub fn hang_up(&self) {
        command::kill(self.pid(), "HUP");
    }

    /// SIGTERM; [`Doorward::wait`] tells how it ended.
    pub fn terminate(&self) {
        command::kill(self.pid(), "TERM");
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub async fn wait(&self, deadline: Duration) -> i32 {
        crate::eventually("the server ends", deadline, || async { self.exited() }).await
    }

    /// Starts it again on the same data and port and waits until it is ready.
    ///
    /// # Panics
    /// When it runs still, or does not become ready.
    pub async fn start_again(&self) {
        self.spawn();
        self.ready().await;
    }

    /// Moves the server's wall clock forward. Needs [`Builder::faketime`].
    ///
    /// # Panics
    /// When it was not started with a clock that can be moved.
    pub fn advance(&self, by: Duration) {
        // Read first: the lock would be held to the end of the statement.
        let offset = *self.offset.lock().expect("the harness did not panic");
        self.set_clock(offset + by.as_secs_f64());
    }

    /// Sets the server's wall clock so many seconds before or after the real one. Needs [`Builder::faketime`].
    ///
    /// # Panics
    /// When it was not started with a clock that can be moved.
    pub fn set_clock(&self, seconds: f64) {
        let clock = self.clock.as_ref().expect("started with faketime()");
        *self.offset.lock().expect("the harness did not panic") = seconds;
        // A rename, so that the server never reads half a number.
        let next = clock.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}")).expect("the clock file");
        std::fs::rename(next, clock).expect("the clock file");
    }

    /// A file of the data folder, as this process finds it: also on a disk that only the server sees.
    #[must_use]
    pub fn data_file(&self, name: &str) -> PathBuf {
        let path = self.data.join(name);
        self.disk
            .as_ref()
            .map_or_else(|| path.clone(), |disk| disk.seen(&path))
    }

    /// Leaves no room on the data folder's disk. Needs [`Builder::disk`].
    ///
    /// # Panics
    /// When it has no disk of its own.
    pub fn fill_disk(&self) {
        self.disk.as_ref().expect("started with a disk of its own").fill();
    }

    /// Takes away what [`Doorward::fill_disk`] put there.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn free_disk(&self) {
        self.disk.as_ref().expect("started with a disk of its own").free();
    }

    /// Everything it printed so far, over all its starts.
    #[must_use]
    pub fn logs(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }

    /// Waits until what it printed holds `words`, which a thread of its own writes a little later; all of it so far.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn logged(&self, words: &str) -> String {
        self.logged_if(words, |logs| logs.contains(words)).await
    }

    /// Waits until what it printed is as `fits` wants it.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn logged_if(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let logs = self.logs();
            if fits(&logs) {
                return logs;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "not within {PATIENCE:?} in the log: {what}\n{logs}"
            );
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Begins to read the stderr that nobody read ([`Output::Unread`]), into what [`Doorward::stderr`] shows.
    ///
    /// # Panics
    /// When it does not run, or its stderr is read already.
    pub fn read_stderr(&self) {
        let mut running = self.running.lock().expect("the harness did not panic");
        let child = &mut running.as_mut().expect("it runs").child;
        let mut pipe = child.stderr.take().expect("an unread stderr");
        let mut file = self.log_file("stderr.log");
        // It ends with the process.
        std::thread::spawn(move || std::io::copy(&mut pipe, &mut file));
    }

    /// What it printed to stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.read_log("stdout.log")
    }

    /// What it printed to stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.read_log("stderr.log")
    }

    fn read_log(&self, name: &str) -> String {
        let bytes = std::fs::read(self.home().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs `doorward ARGS --data DIR` on this server's data.
    #[track_caller]
    pub fn command(&self, args: &[&str]) -> Finished {
        self.command_with(args, "")
    }

    /// [`Doorward::command`] with text on stdin.
    #[track_caller]
    pub fn command_with(&self, args: &[&str], stdin: &str) -> Finished {
        let data = self.data.display().to_string();
        let mut all = args.to_vec();
        all.extend(["--data", &data]);
        let mut command = command::hermetic_of(&self.binary, &self.work);
        command.args(all);
        if let Some(disk) = &self.disk {
            command = disk.within(&command);
        }
        command::run_to_its_end(command, stdin)
    }

    /// `doorward user add NAME --password-stdin`.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn add_user(&self, name: &str, password: &str, groups: &[&str]) {
        let mut args = vec!["user", "add", name, "--password-stdin"];
        for group in groups {
            args.extend(["--group", group]);
        }
        self.command_with(&args, &format!("{password}\n")).ok();
    }
}

impl Drop for Doorward {
    fn drop(&mut self) {
        if let Ok(mut running) = self.running.lock()
            && let Some(running) = running.take()
        {
            running.end();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- server output, {}\n{}",
                self.site.public_url,
                tail(&self.logs())
            );
        }
    }
}

impl Running {
    fn end(mut self) {
        // At once, because crash tests aim at a moment; then the watchdog before the server is reaped,
        // because after that its number may belong to somebody else.
        let _ = self.child.kill();
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.wait();
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn faketime_library() -> PathBuf {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    places
        .iter()
        .map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.is_file())
        .expect("libfaketime is installed (Debian package libfaketime): run `cargo xtask test --install`")
}

/// A server that is started with exactly these arguments, in `work`; it ends with this value.
#[derive(Debug)]
pub struct Background(Child);

impl Background {
    /// Starts it; does not wait for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(work: &Path, args: &[&str]) -> Self {
        let mut command = command::hermetic(work);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?} starts: {error}")),
        )
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
