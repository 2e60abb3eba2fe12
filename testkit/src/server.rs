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
use crate::http::{Destination, Site};
use crate::port::Port;

/// Longest wait for `/readyz`; generous, because a loaded machine starts slowly.
const START: Duration = Duration::from_secs(60);

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct Builder {
    args: Vec<String>,
    config: Option<String>,
    public_url: Option<String>,
    users: Vec<(String, String, Vec<String>)>,
    env: BTreeMap<String, String>,
    faketime: bool,
    tls: Option<rustls::pki_types::CertificateDer<'static>>,
    disk: Option<u32>,
    binary: Option<PathBuf>,
    surroundings: Surroundings,
}

/// Where the output of a server goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Into a file, which [`Doorward::logs`] shows.
    #[default]
    File,
    /// Into a pipe that nobody reads.
    Unread,
    /// Nowhere: the descriptor is closed.
    Closed,
}

/// What the process finds when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Surroundings {
    descriptors: Option<u32>,
    stdout: Output,
    stderr: Output,
}

impl Surroundings {
    /// The command in a shell that sets things up and then becomes it.
    fn around(self, command: &Command) -> Command {
        let mut script = String::new();
        if let Some(descriptors) = self.descriptors {
            script.push_str(&format!("ulimit -n {descriptors} && "));
        }
        script.push_str("exec \"$0\" \"$@\"");
        for (output, number) in [(self.stdout, 1), (self.stderr, 2)] {
            if output == Output::Closed {
                script.push_str(&format!(" {number}>&-"));
            }
        }
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &script])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                shell.env(name, value);
            }
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        shell
    }
}

impl Builder {
    /// At most so many descriptors.
    #[must_use]
    pub const fn descriptors(mut self, most: u32) -> Self {
        self.surroundings.descriptors = Some(most);
        self
    }

    /// Where stdout goes.
    #[must_use]
    pub const fn stdout(mut self, output: Output) -> Self {
        self.surroundings.stdout = output;
        self
    }

    /// Where stderr goes.
    #[must_use]
    pub const fn stderr(mut self, output: Output) -> Self {
        self.surroundings.stderr = output;
        self
    }

    /// The built-in server: `--demo`.
    #[must_use]
    pub fn demo(self) -> Self {
        self.arg("--demo")
    }

    /// `--upstream URL`.
    #[must_use]
    pub fn upstream(self, url: &str) -> Self {
        self.arg("--upstream").arg(url)
    }

    /// `-- COMMAND ARGUMENTS`: a server that speaks stdio. To be called last among those that add arguments.
    #[must_use]
    pub fn command<A: AsRef<str>>(self, words: impl IntoIterator<Item = A>) -> Self {
        words
            .into_iter()
            .fold(self.arg("--"), |builder, word| builder.arg(word.as_ref()))
    }

    /// A configuration file with this text. `listen`, `public_url` and `data` come by flag.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.into());
        self
    }

    /// Another public URL than `http://127.0.0.1:PORT`; `{port}` is filled in.
    #[must_use]
    pub fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// A local account that is there before the start.
    #[must_use]
    pub fn user(self, name: &str, password: &str) -> Self {
        self.user_in(name, password, &[])
    }

    /// A local account with groups.
    #[must_use]
    pub fn user_in(mut self, name: &str, password: &str, groups: &[&str]) -> Self {
        self.users.push((
            name.into(),
            password.into(),
            groups.iter().map(|&group| group.into()).collect(),
        ));
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The data folder lies on a disk of its own with so many KiB, which [`Doorward::fill_disk`] fills.
    #[must_use]
    pub const fn disk(mut self, kib: u32) -> Self {
        self.disk = Some(kib);
        self
    }

    /// Another binary than the one under test, such as that of an older build.
    #[must_use]
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.into());
        self
    }

    /// Starts under libfaketime, so that [`Doorward::advance`] can move its wall clock.
    #[must_use]
    pub const fn faketime(mut self) -> Self {
        self.faketime = true;
        self
    }

    /// The server speaks TLS with this certificate (its files are given by configuration).
    #[must_use]
    pub fn tls(mut self, certificate: rustls::pki_types::CertificateDer<'static>) -> Self {
        self.tls = Some(certificate);
        self
    }

    /// Makes the folders and the accounts, starts the server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message holds its output.
    pub async fn start(self) -> Doorward {
        let doorward = self.prepare();
        doorward.spawn();
        doorward.ready().await;
        doorward
    }

    /// Everything of [`Builder::start`] but the start.
    ///
    /// # Panics
    /// When a folder or an account cannot be made.
    #[must_use]
    pub fn prepare(self) -> Doorward {
        let home = tempfile::Builder::new()
            .prefix("doorward-e2e-")
            .tempdir()
            .expect("a temporary folder");
        let port = Port::reserve();
        let number = port.number();
        let public_url = self
            .public_url
            .unwrap_or_else(|| "http://127.0.0.1:{port}".into())
            .replace("{port}", &number.to_string());
        let work = home.path().join("work");
        let disk = self.disk.map(|kib| Disk::mount(&home.path().join("disk"), kib));
        let data = home
            .path()
            .join(if disk.is_some() { "disk/data" } else { "data" });
        std::fs::create_dir(&work).expect("a working folder");
        let address = SocketAddr::from(([127, 0, 0, 1], number));
        let mut args = vec!["serve".to_owned()];
        if let Some(config) = self.config {
            let file = home.path().join("doorward.toml");
            std::fs::write(&file, config).expect("a configuration file");
            args.extend(["--config".into(), file.display().to_string()]);
        }
        args.extend([
            "--listen".into(),
            address.to_string(),
            "--public-url".into(),
            public_url.clone(),
        ]);
        args.extend(["--data".into(), data.display().to_string()]);
        args.extend(self.args);
        let clock = self.faketime.then(|| {
            let file = home.path().join("clock");
            std::fs::write(&file, "+0").expect("a clock file");
            file
        });
        let mut env = self.env;
        if self.binary.is_none() {
            // Servers run side by side here, and only one could have the default port. Another build may not know
            // the variable.
            env.entry("DOORWARD_ADMIN_LISTEN".into())
                .or_insert_with(|| "off".into());
        }
        let doorward = Doorward {
            site: Site::at(
                &public_url,
                Destination {
                    address,
                    tls: self.tls,
                },
            ),
            data,
            work,
            address,
            args,
            env,
            binary: self.binary.unwrap_or_else(command::doorward_binary),
            surroundings: self.surroundings,
            disk,
            clock,
            offset: Mutex::new(0.0),
            running: Mutex::new(None),
            _port: port,
            home,
        };
        for (name, password, groups) in &self.users {
            let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
            doorward.add_user(name, password, &groups);
        }
        doorward
    }
}

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
        let end = tokio::time::Instant::now() + START;
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
                "ready within {START:?}:\n{}",
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
