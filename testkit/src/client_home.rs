//! A person's machine on which `doorward login`, `connect` and `logout` run: a home folder, a token store, a browser that
//! writes down what it was asked to open.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{self, Finished};
use crate::http::{self, Reply};
use crate::leak::Secrets;

mod running;

pub use running::Running;

/// Longest wait for anything a client does; far beyond what it needs, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The machine.
#[derive(Debug)]
pub struct ClientHome {
    folder: TempDir,
    env: BTreeMap<String, String>,
}

impl Default for ClientHome {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientHome {
    /// A machine on which nobody has logged in.
    ///
    /// # Panics
    /// When its folders cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let folder = crate::folder("doorward-home-");
        let root = folder.path();
        for name in ["home", "opened", "tmp", "work"] {
            std::fs::create_dir(root.join(name)).expect("a folder");
        }
        // One file for each start, with every argument; it appears whole or not at all.
        let script = format!(
            "part=$(mktemp '{0}/tmp/part.XXXXXXXX') || exit 1\nprintf '%s\\0' \"$@\" > \"$part\"\n\
             mv \"$part\" \"{0}/opened/$(basename \"$part\")\"\n",
            root.display()
        );
        std::fs::write(root.join("browser.sh"), script).expect("a script");
        let mut env = BTreeMap::new();
        for (name, place) in [
            ("HOME", "home"),
            ("XDG_DATA_HOME", "home/data"),
            ("XDG_CONFIG_HOME", "home/config"),
            ("XDG_STATE_HOME", "home/state"),
            ("XDG_CACHE_HOME", "home/cache"),
            ("XDG_RUNTIME_DIR", "tmp"),
            ("TMPDIR", "tmp"),
        ] {
            env.insert(name.to_owned(), root.join(place).display().to_string());
        }
        env.insert(
            "BROWSER".into(),
            format!("/bin/sh {}/browser.sh %s", root.display()),
        );
        env.insert("NO_COLOR".into(), "1".into());
        for name in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Ok(value) = std::env::var(name) {
                env.insert(name.into(), value);
            }
        }
        Self { folder, env }
    }

    /// Sets an environment variable of every program started from now on.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Trusts a certificate authority.
    #[must_use]
    pub fn trusting(self, authority: &Path) -> Self {
        self.with_env("SSL_CERT_FILE", &authority.display().to_string())
    }

    /// Everything that belongs to the machine.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The token store that every command is given.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root().join("home/store")
    }

    /// The script that stands for the browser.
    #[must_use]
    pub fn browser_script(&self) -> PathBuf {
        self.root().join("browser.sh")
    }

    /// `doorward ARGUMENTS --store STORE`, ready to be started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(command::doorward_binary());
        command
            .args(arguments)
            .arg("--store")
            .arg(self.store())
            .env_clear()
            .envs(&self.env)
            .current_dir(self.root().join("work"));
        command
    }

    /// Another program of that person, whose token store is the same.
    #[must_use]
    pub fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .env("DOORWARD_STORE", self.store())
            .current_dir(self.root().join("work"));
        command
    }

    /// Starts `doorward ARGUMENTS --store STORE`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Starts `doorward login URL`.
    #[must_use]
    pub fn start_login(&self, url: &str, more: &[&str]) -> Running {
        self.start(&[&["login", url], more].concat())
    }

    /// Starts `doorward connect URL`.
    #[must_use]
    pub fn start_connect(&self, url: &str, more: &[&str]) -> Running {
        self.start(&[&["connect", url], more].concat())
    }

    /// Logs in with a browser that goes where it is sent.
    ///
    /// # Panics
    /// When the command does not end.
    pub async fn login(&self, url: &str, more: &[&str]) -> Finished {
        let _browsing = self.browse();
        self.start_login(url, more).ended().await
    }

    /// Runs a command to its end while nobody looks at the browser.
    ///
    /// # Panics
    /// When the command does not end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).ended().await
    }

    /// What the browser was started with, each time, oldest first.
    ///
    /// # Panics
    /// When the folder cannot be read.
    #[must_use]
    pub fn opened(&self) -> Vec<Vec<String>> {
        opened(&self.root().join("opened"))
    }

    /// The URLs that the browser was started with, each the only argument.
    ///
    /// # Panics
    /// When it was ever started with something else.
    #[track_caller]
    #[must_use]
    pub fn opened_urls(&self) -> Vec<String> {
        self.opened()
            .into_iter()
            .map(|mut arguments| {
                assert_eq!(arguments.len(), 1, "one URL and nothing else: {arguments:?}");
                arguments.remove(0)
            })
            .collect()
    }

    /// The URL of the `n`th start of the browser (from 0), when it has come.
    ///
    /// # Panics
    /// When it does not come, or the command ends meanwhile.
    pub async fn opened_url(&self, n: usize, running: &Running) -> String {
        crate::eventually("the browser is started", PATIENCE, async || {
            let found = self.opened_urls().get(n).cloned();
            assert!(
                found.is_some() || running.is_alive(),
                "it ended before the browser was started:\n{}",
                running.stderr()
            );
            found
        })
        .await
    }

    /// A person at the browser: every URL that is opened from now on is visited and its redirects followed, until the answer
    /// is dropped.
    #[must_use]
    pub fn browse(&self) -> Browsing {
        self.browse_with(|url| async move {
            visit(&url).await;
        })
    }

    /// A person at the browser who does this with every URL that is opened from now on, one after the other.
    #[must_use]
    pub fn browse_with<F>(&self, mut person: impl FnMut(String) -> F + Send + 'static) -> Browsing
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let folder = self.root().join("opened");
        // Known by name: of two that come at once the one with the older parts may appear last.
        let mut done: HashSet<PathBuf> = starts(&folder).into_iter().map(|start| start.0).collect();
        Browsing(tokio::spawn(async move {
            loop {
                for (file, arguments) in starts(&folder) {
                    if !done.insert(file) {
                        continue;
                    }
                    if let Some(url) = arguments.into_iter().find(|word| word.starts_with("http")) {
                        person(url).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }))
    }

    /// What is checked after every case: the command said nothing secret and left nothing secret outside the sealed store's
    /// ciphertext, and nothing that it started lives on.
    ///
    /// # Panics
    /// When it did not keep to that.
    pub async fn assert_clean(&self, finished: &Finished, secrets: &Secrets) {
        for (place, text) in [("stdout", &finished.stdout), ("stderr", &finished.stderr)] {
            secrets.assert_absent(place, text.as_bytes());
            for bad in ["panicked at", "stack backtrace", "\x1b"] {
                assert!(!text.contains(bad), "{place} holds {bad:?}:\n{text}");
            }
        }
        self.assert_files_clean(secrets);
        let home = format!("HOME={}", self.root().join("home").display());
        crate::eventually("everything that was started has ended", PATIENCE, async || {
            processes_with(&home).is_empty().then_some(())
        })
        .await;
    }

    /// No file of the machine holds one of these in plain.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn assert_files_clean(&self, secrets: &Secrets) {
        for file in files_under(self.root()) {
            // A file may be replaced meanwhile.
            if let Ok(bytes) = std::fs::read(&file) {
                secrets.assert_absent(&file.display().to_string(), &bytes);
            }
        }
    }
}

/// Ends the browsing when dropped.
#[derive(Debug)]
pub struct Browsing(tokio::task::JoinHandle<()>);

impl Drop for Browsing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens a URL as a browser would: redirects are followed, also to a loopback callback. The last answer, if there is one.
pub async fn visit(url: &str) -> Option<Reply> {
    let mut at = url.to_owned();
    for _ in 0..10 {
        let reply = http::get(&at).lenient().try_send().await.ok()?;
        match reply.location() {
            Some(location) if (300..400).contains(&reply.status) => {
                at = url::Url::parse(&at).ok()?.join(location).ok()?.into();
            }
            _ => return Some(reply),
        }
    }
    None
}

/// Where an authorization URL sends a browser back to, without going there.
///
/// # Panics
/// When it sends nowhere.
#[track_caller]
pub fn callback_of(url: &str) -> impl Future<Output = String> + '_ {
    let caller = std::panic::Location::caller();
    async move {
        let reply = http::get(url).lenient().send().await;
        reply.location().map_or_else(
            || panic!("a redirect from {url} (from {caller}): {}", reply.text()),
            str::to_owned,
        )
    }
}

fn opened(folder: &Path) -> Vec<Vec<String>> {
    starts(folder)
        .into_iter()
        .map(|(_, arguments)| arguments)
        .collect()
}

/// Each start of the browser with its file, oldest first.
fn starts(folder: &Path) -> Vec<(PathBuf, Vec<String>)> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("the browser's folder")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let when = path.metadata().ok()?.modified().ok()?;
            let text = String::from_utf8_lossy(&std::fs::read(&path).ok()?).into_owned();
            let mut arguments: Vec<String> = text.split('\0').map(str::to_owned).collect();
            arguments.pop();
            Some((when, path, arguments))
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(_, path, arguments)| (path, arguments))
        .collect()
}

/// Every file under a folder, symlinks not followed.
#[must_use]
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(folder) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(kind) if kind.is_file() => out.push(entry.path()),
                _ => {}
            }
        }
    }
    out
}

/// The processes in whose environment a line stands.
fn processes_with(line: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environ = std::fs::read(entry.path().join("environ")).ok()?;
            environ
                .split(|byte| *byte == 0)
                .any(|found| found == line.as_bytes())
                .then_some(pid)
        })
        .collect()
}
