//! The launcher: what our executable does as a child, before it becomes the program.
//!
//! Its standard input is a socket to the supervisor, the *line*. Over it comes the descriptor that is to be the
//! program's standard input, and back goes [`READY`] followed by nothing (the program runs: the line closed on
//! `exec`) or by why it does not.

#[cfg(target_os = "linux")]
mod cover;
mod error;
#[cfg(target_os = "linux")]
mod landlock;
mod line;
#[cfg(target_os = "linux")]
mod mounts;
mod options;
mod program;
mod rights;
#[cfg(target_os = "linux")]
mod syscalls;
mod visible;

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

pub use error::LaunchError;
pub(crate) use line::{failure, give_input};
pub(crate) use options::carried;

use crate::guard;
use line::Line;
use options::Options;
use visible::Visible;

/// The first argument that makes our executable the launcher.
pub const LAUNCH: &str = "__launch";

/// Says that all is prepared and `exec` comes next.
const READY: u8 = b'R';

/// Becomes the program that `arguments` (those after [`LAUNCH`]) describe, with the rights left to it. To be called by
/// `main` before anything else, while the process has one thread. Returns only on failure, which the supervisor
/// has been told; whoever typed the command can be told as well.
pub fn launch(arguments: impl Iterator<Item = OsString>) -> LaunchError {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == guard::GUARD).is_some() {
        guard::keep_guard();
        std::process::exit(0);
    }
    let line = match Line::take() {
        Ok(line) => line,
        Err(error) => return error,
    };
    match become_program(arguments, &line) {
        Ok(never) => match never {},
        Err(error) => {
            line.report(&error);
            error
        }
    }
}

/// What is missing for isolation on this platform. None: nothing.
pub(crate) fn isolation_missing() -> Option<String> {
    #[cfg(target_os = "linux")]
    return landlock::missing();
    #[cfg(not(target_os = "linux"))]
    Some("isolation needs Linux with Landlock".to_owned())
}

fn become_program(arguments: impl Iterator<Item = OsString>, line: &Line) -> Result<Infallible, LaunchError> {
    let options = Options::parse(arguments)?;
    rights::end_with_parent(options.parent)?;
    rights::own_session()?;
    rights::default_signals()?;
    rights::go_first();
    std::env::set_current_dir(&options.directory)
        .map_err(|error| LaunchError::directory(&options.directory, &error))?;
    let visible = Visible::new(&options.hidden, &options.own)?;
    visible.check_directory()?;
    let program = program::find(&options.program)?;
    visible.check_program(&program)?;
    if options.confine {
        confine(&visible, &program, &options)?;
    }
    rights::drop_capabilities()?;
    rights::limit(options.memory)?;
    #[cfg(target_os = "linux")]
    if options.confine {
        syscalls::restrict()?;
    }
    line.ready();
    let mut command = Command::new(&program);
    command.arg0(&options.program).args(&options.arguments);
    for (name, value) in std::env::vars_os() {
        if let Some(own) = options::not_for_us(&name) {
            command.env_remove(&name).env(own, value);
        }
    }
    let error = command.exec();
    Err(LaunchError::Program {
        program: program.display().to_string(),
        why: program::why_not_run(&error),
    })
}

#[cfg(target_os = "linux")]
fn confine(visible: &Visible, program: &std::path::Path, options: &Options) -> Result<(), LaunchError> {
    let covered = if options.cover {
        Some(cover::cover(visible, options.memory)?)
    } else {
        None
    };
    landlock::restrict(visible, program, covered)
}

#[cfg(not(target_os = "linux"))]
fn confine(_: &Visible, _: &std::path::Path, _: &Options) -> Result<(), LaunchError> {
    Err(LaunchError::Landlock {
        why: "isolation needs Linux with Landlock".to_owned(),
    })
}
