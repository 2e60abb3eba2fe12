//! What the tests share.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doorward_process::{Caps, Confinement, Exit, Process, Spec, Supervisor};
use tempfile::TempDir;

/// A variable of our own environment that must never be seen by a child.
pub(crate) const CANARY: &str = "DOORWARD_TEST_CANARY";
/// Nothing takes that long, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const LINE: usize = 4 << 20;

/// A value not found in any executable or argument.
pub(crate) fn canary_value() -> String {
    format!("canary-{}-of-ours", std::process::id())
}

pub(crate) fn canary() -> String {
    std::env::var(CANARY).unwrap()
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(LONG * 2, future).await.unwrap() })
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + LONG;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(tokio::time::Instant::now() < until, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A data folder with two users' folders in it, beside other things.
pub(crate) struct Folders {
    _root: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) alice: PathBuf,
    pub(crate) bob: PathBuf,
    pub(crate) elsewhere: PathBuf,
}

/// In files that children must not read.
pub(crate) const SECRET: &str = "secret-of-the-data-folder";

impl Folders {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let folders = Self {
            data: root.join("data"),
            alice: root.join("data/children/alice"),
            bob: root.join("data/children/bob"),
            elsewhere: root.join("elsewhere"),
            root,
            _root: dir,
        };
        for folder in [&folders.alice, &folders.bob, &folders.elsewhere] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for file in ["master.key", "doorward.db", "children/bob/token"] {
            std::fs::write(folders.data.join(file), SECRET).unwrap();
        }
        folders
    }

    /// A shell script as a child of alice's.
    pub(crate) fn script(&self, script: &str) -> Spec {
        self.spec("sh", &["-c", script])
    }

    pub(crate) fn spec(&self, program: &str, arguments: &[&str]) -> Spec {
        let variable = |name: &str, value: &Path| (OsString::from(name), value.as_os_str().to_owned());
        Spec {
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
            environment: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                variable("HOME", &self.alice),
                variable("DATA", &self.data),
                variable("BOB", &self.bob),
                variable("ROOT", &self.root),
            ],
            working_directory: self.alice.clone(),
            confinement: Confinement {
                hidden: vec![self.data.clone()],
                own: vec![self.alice.clone()],
                allow_insecure_shared_uid: false,
            },
            caps: Caps {
                memory: 1 << 30,
                processes: 500,
                line: LINE,
            },
        }
    }
}

pub(crate) async fn start(spec: Spec) -> Process {
    Supervisor::new().unwrap().start(spec).await.unwrap()
}

/// With mount namespaces, and as on a system that gives none.
pub(crate) fn supervisors() -> [Arc<Supervisor>; 2] {
    let without = Supervisor::new().unwrap();
    without.without_namespaces();
    [Supervisor::new().unwrap(), without]
}

/// All lines until the end, as text.
pub(crate) async fn lines(process: &mut Process) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = process.output.next().await {
        lines.push(String::from_utf8_lossy(&line.unwrap()).into_owned());
    }
    lines
}

/// The next line, as text.
pub(crate) async fn line(process: &mut Process) -> String {
    let line = process.output.next().await.unwrap().unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

/// What a script prints, and how it ends.
pub(crate) async fn run(spec: Spec) -> (String, Exit) {
    run_by(&Supervisor::new().unwrap(), spec).await
}

pub(crate) async fn run_by(supervisor: &Supervisor, spec: Spec) -> (String, Exit) {
    let mut process = supervisor.start(spec).await.unwrap();
    let text = lines(&mut process).await.join("\n");
    (text, process.control.exited().await)
}

/// Whether a process is there and has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with(['Z', 'X'])
    })
}

pub(crate) async fn gone(pid: u32) {
    eventually("the process ends", || (!is_alive(pid)).then_some(())).await;
}

/// Processes that have this among their arguments.
pub(crate) fn with_argument(marker: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let has = arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == marker.as_bytes());
        if has && is_alive(pid) {
            found.push(pid);
        }
    }
    found
}

/// This executable in another of its modes.
pub(crate) fn ourselves() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// What has been logged.
#[derive(Clone, Copy)]
pub(crate) struct Log;

pub(crate) const LOG: Log = Log;
static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn logged() -> Arc<str> {
    String::from_utf8_lossy(&LOGGED.lock().unwrap()).into()
}
