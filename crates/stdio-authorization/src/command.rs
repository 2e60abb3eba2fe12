//! A server that is a command: a child of this process with its own pipes.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use doorward_types::secret::Secret;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::run::{Pipes, Server};

/// How long a child may take to end after its input has ended, and again after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// The command of a stdio server. It gets our environment without `DOORWARD_*`, our working directory and our stderr: what the
/// host started it with, it still has.
pub struct CommandServer {
    program: OsString,
    arguments: Vec<OsString>,
    /// The variable that the token goes into.
    variable: Option<String>,
    child: Option<Child>,
}

impl CommandServer {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(program: OsString, arguments: Vec<OsString>, variable: Option<String>) -> Self {
        Self {
            program,
            arguments,
            variable,
            child: None,
        }
    }

    /// Waits for the end of the child after its input has ended, and ends it if it does not end by itself.
    pub async fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let group = group_of(child);
        let status = if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
            signal(group, Signal::KILL);
            status.ok()
        } else {
            terminate(child).await
        };
        self.child = None;
        status
    }

    /// Asks the child to end, and makes it if it does not.
    pub async fn stop(&mut self) -> Option<ExitStatus> {
        // It is ours until it has ended: whoever drops this future drops the server as well, which ends the whole group.
        let status = terminate(self.child.as_mut()?).await;
        self.child = None;
        status
    }
}

async fn terminate(child: &mut Child) -> Option<ExitStatus> {
    let group = group_of(child);
    signal(group, Signal::TERM);
    let ended = tokio::time::timeout(GRACE, child.wait()).await;
    // What the command started ends with it: a shell or a launcher is not the server.
    signal(group, Signal::KILL);
    match ended {
        Ok(status) => status.ok(),
        Err(_) => child.wait().await.ok(),
    }
}

impl Drop for CommandServer {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            signal(group_of(child), Signal::KILL);
        }
    }
}

/// The child's own process group, as long as it was not waited for.
fn group_of(child: &Child) -> Option<Pid> {
    child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _gone = kill_process_group(group, signal);
    }
}

#[async_trait]
impl Server for CommandServer {
    async fn start(&mut self, token: Option<&Secret>) -> io::Result<Pipes> {
        self.stop().await;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        // A group of its own, so that all of it can be ended.
        command.process_group(0).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DOORWARD_") {
                command.env_remove(name);
            }
        }
        if let Some(variable) = &self.variable {
            match token {
                Some(token) => command.env(variable, token.expose()),
                // A token that was there for the host is not a verified one.
                None => command.env_remove(variable),
            };
        }
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a child without pipes"));
        };
        self.child = Some(child);
        Ok(Pipes {
            input: Box::new(input),
            output: Box::new(output),
        })
    }
}
