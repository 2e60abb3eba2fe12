//! Starting children.

use std::ffi::{OsStr, OsString};
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::control::{Control, ExitReason, Shared};
use crate::family::Looks;
use crate::guard::Guard;
use crate::input::{self, Input};
use crate::launch::{self, LAUNCH};
use crate::output::Output;
use crate::process::Process;
use crate::spawner::{Spawned, Spawner};
use crate::spec::Spec;
use crate::stderr;
use crate::supervise::Running;

/// How long a child may take to confine itself and become the program. Only the file system can make it slow.
const LAUNCHING: Duration = Duration::from_secs(30);
/// How the launcher's report begins if the system gives it no namespace.
const NOT_COVERED: &str = "the system gives the child no view of the files of its own";
/// Longest report of a launcher that failed.
const REPORT: u64 = 64 * 1024;

/// What this platform offers to keep children from our data and from each other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Children see nothing of [`Confinement::hidden`](crate::Confinement::hidden).
    Full,
    /// Children can read everything that we can.
    None {
        /// What is missing, for the operator.
        why: String,
    },
}

/// Finds out what this platform offers. Cheap; the answer does not change while we run.
pub fn isolation() -> Isolation {
    match launch::isolation_missing() {
        None => Isolation::Full,
        Some(why) => Isolation::None { why },
    }
}

/// Keeps other processes of our user from our memory and descriptors, and core dumps from the disk. To be called
/// before the first secret is read. Where there is no such thing (not Linux), does nothing.
///
/// # Errors
/// What the system says.
pub fn hide_ourselves() -> Result<(), ProcessError> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|errno| ProcessError::NotHidden(errno.into()))?;
    Ok(())
}

/// Supervision cannot work here.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The thread that starts children does not start.
    #[error("cannot start the thread that starts child processes")]
    NoThread(#[source] std::io::Error),
    /// The path of our own executable is unknown.
    #[error("cannot find this executable, which starts child processes")]
    NoExecutable(#[source] std::io::Error),
    /// Our memory stays readable.
    #[error("cannot protect this process's memory")]
    NotHidden(#[source] std::io::Error),
}

/// A child was not started. The texts are for the operator: they name paths.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The platform keeps nothing from the child.
    #[error(
        "a child process could read the keys and every user's files here: {why}. Fix that, or accept it with \
         `allow_insecure_shared_uid = true`"
    )]
    NoIsolation {
        /// What is missing.
        why: String,
    },
    /// No pipe, no process.
    #[error("cannot {what} for a child process: {source}. Check the limits of open files and processes")]
    NoResources {
        /// What failed.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The launcher says why it could not become the program.
    #[error("{0}")]
    NotStarted(String),
    /// No namespace. Another start goes without one.
    #[error("{0}")]
    NotCovered(String),
    /// The launcher ended and said nothing.
    #[error(
        "the process that becomes `{program}` was ended from outside before it did; see the system's log"
    )]
    Ended {
        /// What should have been started.
        program: String,
    },
    /// The launcher hangs.
    #[error("`{program}` did not start within {} s: does a file system hang?", LAUNCHING.as_secs())]
    Hanging {
        /// What should have been started.
        program: String,
    },
}

fn no_resources(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::NoResources { what, source }
}

/// Starts children and looks after them.
#[derive(Debug)]
pub struct Supervisor {
    launcher: PathBuf,
    isolation: Isolation,
    spawner: Spawner,
    looks: Arc<Looks>,
    children: Mutex<Vec<Weak<Shared>>>,
    guard: Arc<Guard>,
    /// Whether to try to give children a mount namespace.
    covers: AtomicBool,
    told_of_no_cover: AtomicBool,
}

impl Supervisor {
    /// A supervisor whose children start as instances of our own executable: its `main` must hand over to
    /// [`launch`](crate::launch()) when its first argument is [`LAUNCH`].
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn new() -> Result<Arc<Self>, ProcessError> {
        // The link follows us when the file is replaced by a newer release.
        let launcher = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().map_err(ProcessError::NoExecutable)?
        };
        Self::with_launcher(launcher, isolation())
    }

    /// A supervisor with another executable as the launcher, and told what isolation to expect. For tests.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn with_launcher(launcher: PathBuf, isolation: Isolation) -> Result<Arc<Self>, ProcessError> {
        let guard = Arc::new(Guard::new(&launcher));
        Ok(Arc::new(Self {
            launcher,
            isolation,
            spawner: Spawner::new().map_err(ProcessError::NoThread)?,
            looks: Arc::default(),
            children: Mutex::default(),
            guard,
            covers: AtomicBool::new(cfg!(target_os = "linux")),
            told_of_no_cover: AtomicBool::new(false),
        }))
    }

    /// Starts children as on a system that gives them no mount namespace. For tests.
    pub fn without_namespaces(&self) {
        self.covers.store(false, Ordering::Relaxed);
    }

    /// What the children get.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Starts a child, confines it and waits until the program runs. Its standard error goes line by line to our
    /// log, target `child`, within the caller's current span. Dropping the future kills the child.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(&self, spec: Spec) -> Result<Process, StartError> {
        let confined = match &self.isolation {
            Isolation::Full => true,
            Isolation::None { .. } if spec.confinement.allow_insecure_shared_uid => false,
            Isolation::None { why } => return Err(StartError::NoIsolation { why: why.clone() }),
        };
        let covered = confined && self.covers.load(Ordering::Relaxed);
        match self.start_once(&spec, confined, covered).await {
            // Whoever began to enter a namespace cannot go back, so another process tries without one.
            Err(StartError::NotCovered(why)) => {
                // The next start tries again: what one child uses up must not take the others' cover for good.
                if !self.told_of_no_cover.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        why,
                        "the system gives commands no mount namespace: they cannot list the folders above what is hidden from them, nor use terminals, and may change modes and times of what is hidden"
                    );
                }
                self.start_once(&spec, confined, false).await
            }
            started => started,
        }
    }

    async fn start_once(&self, spec: &Spec, confined: bool, covered: bool) -> Result<Process, StartError> {
        let program = spec.program.to_string_lossy().into_owned();
        let (ours, theirs) = pipes().map_err(no_resources("open pipes"))?;
        let (line, launcher_line) = UnixStream::pair().map_err(no_resources("open a socket"))?;
        launch::give_input(&line, theirs.input.as_fd()).map_err(no_resources("pass a pipe"))?;
        let mut command = self.command(spec, confined, covered);
        command
            .stdin(OwnedFd::from(launcher_line))
            .stdout(theirs.output)
            .stderr(theirs.errors);
        drop(theirs.input);
        let child = self
            .spawner
            .spawn(command)
            .await
            .map_err(no_resources("start a process"))?;
        match tokio::time::timeout(LAUNCHING, report(line)).await {
            Ok(Ok(Some(failure))) if failure.is_empty() => {}
            Ok(Ok(Some(failure))) if covered && failure.starts_with(NOT_COVERED) => {
                return Err(StartError::NotCovered(failure));
            }
            Ok(Ok(Some(failure))) => return Err(StartError::NotStarted(failure)),
            Ok(Ok(None) | Err(_)) => return Err(StartError::Ended { program }),
            Err(_elapsed) => return Err(StartError::Hanging { program }),
        }
        self.run(child, ours, spec)
            .map_err(no_resources("watch over a process"))
    }

    /// Stops every child as [`Control::stop`] does, and waits until nothing of any of them is left: four seconds and
    /// a little at most, unless the kernel is stuck. For the end of the process; nothing should be started any more.
    pub async fn stop_all(&self) {
        let children: Vec<Arc<Shared>> = self.children().iter().filter_map(Weak::upgrade).collect();
        for child in &children {
            child.ask(ExitReason::Stopped);
        }
        for child in children {
            child.exited().await;
        }
    }

    fn children(&self) -> MutexGuard<'_, Vec<Weak<Shared>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The launcher that becomes the program.
    fn command(&self, spec: &Spec, confined: bool, covered: bool) -> Command {
        let mut command = Command::new(&self.launcher);
        command.arg0("doorward").arg(LAUNCH);
        let parent = std::process::id().to_string();
        command.args(["--parent", &parent, "--memory", &spec.caps.memory.to_string()]);
        command.arg("--directory").arg(&spec.working_directory);
        if confined {
            command.arg("--confine");
        }
        if covered {
            command.arg("--cover");
        }
        paths(&mut command, "--hidden", &spec.confinement.hidden);
        paths(&mut command, "--own", &spec.confinement.own);
        command.arg("--").arg(&spec.program).args(&spec.arguments);
        command.env_clear().envs(environment(&spec.environment));
        command
    }

    /// Starts the tasks around a running child.
    fn run(&self, child: Spawned, ours: Ours, spec: &Spec) -> std::io::Result<Process> {
        let shared = Shared::new();
        let (queue, queued) = mpsc::channel(input::QUEUE);
        let output = pipe::Receiver::from_owned_fd(ours.output.into())?;
        let errors = pipe::Receiver::from_owned_fd(ours.errors.into())?;
        let input = pipe::Sender::from_owned_fd(ours.input.into())?;
        let control = Control::new(Arc::clone(&shared), child.id());
        let running = Running::new(child, spec.caps, Arc::clone(&shared), Arc::clone(&self.looks))?;
        {
            let mut children = self.children();
            children.retain(|child| child.strong_count() > 0);
            children.push(Arc::downgrade(&shared));
        }
        let span = tracing::Span::current();
        let guard = Arc::clone(&self.guard);
        let group = control.pid();
        group.map_or(Ok(()), |group| guard.watch(group))?;
        let supervise = async move {
            running.supervise().await;
            if let Some(group) = group {
                guard.forget(group);
            }
        };
        tokio::spawn(supervise.instrument(span.clone()));
        tokio::spawn(input::write(input, queued, Arc::clone(&shared)).instrument(span.clone()));
        tokio::spawn(stderr::log(errors, control.pid(), Arc::clone(&shared)).instrument(span));
        Ok(Process {
            input: Input::new(queue),
            output: Output::new(output, spec.caps.line, shared),
            control,
        })
    }
}

fn paths(command: &mut Command, option: &str, paths: &[PathBuf]) {
    for path in paths {
        command.arg(option).arg(absolute(path));
    }
}

/// The launcher changes its working directory before it looks at paths.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn environment(variables: &[(OsString, OsString)]) -> impl Iterator<Item = (OsString, &OsStr)> {
    variables
        .iter()
        .map(|(name, value)| (launch::carried(name), value.as_os_str()))
}

/// Our ends of the child's pipes.
struct Ours {
    input: PipeWriter,
    output: PipeReader,
    errors: PipeReader,
}

/// The child's ends.
struct Theirs {
    input: PipeReader,
    output: PipeWriter,
    errors: PipeWriter,
}

fn pipes() -> std::io::Result<(Ours, Theirs)> {
    let (their_input, input) = std::io::pipe()?;
    let (output, their_output) = std::io::pipe()?;
    let (errors, their_errors) = std::io::pipe()?;
    let ours = Ours {
        input,
        output,
        errors,
    };
    let theirs = Theirs {
        input: their_input,
        output: their_output,
        errors: their_errors,
    };
    Ok((ours, theirs))
}

/// What the launcher says: None if it ended before it could become the program, else why it could not, or nothing
/// if it did.
async fn report(line: UnixStream) -> std::io::Result<Option<String>> {
    line.set_nonblocking(true)?;
    let mut said = Vec::new();
    let line = tokio::net::UnixStream::from_std(line)?;
    line.take(REPORT).read_to_end(&mut said).await?;
    Ok(launch::failure(&said))
}
