//! Child processes that speak in lines: framing, supervision, isolation. Knows no MCP.
//!
//! A [`Supervisor`] starts what a [`Spec`] describes and hands back a [`Process`]: an [`Input`] for lines to the
//! child, an [`Output`] for its lines, and a [`Control`] that stops it and tells how it ended.
//!
//! **Isolation.** Every child runs under our own user id, so what keeps it from our keys is this: it gets no
//! environment and no descriptor of ours, cannot look into our memory ([`hide_ourselves`]), and on Linux runs
//! under Landlock, where the folders of [`Confinement::hidden`] do not exist for it, neither do other processes'
//! `/proc` entries with secrets, and (from Linux 6.12 on) it can signal nobody but its own. No code runs between
//! `fork` and `exec`: the child starts as a second instance of our own executable, the *launcher* ([`launch`](launch())),
//! which takes its rights away and then becomes the program.
//!
//! **Supervision.** A child is a session of its own and dies as one: with its last [`Control`], with us, or over one of
//! its [`Caps`].

mod asked;
mod control;
mod family;
mod framing;
mod guard;
mod input;
mod launch;
mod mark;
mod output;
mod process;
mod spawner;
mod spec;
mod stderr;
mod supervise;
mod supervisor;

pub use asked::asked_to_end;
pub use control::{Control, Exit, ExitReason};
pub use framing::{LineError, Lines};
pub use input::{Gone, Input};
pub use launch::{LAUNCH, LaunchError, launch};
pub use output::Output;
pub use process::{Ending, Process};
pub use spec::{Caps, Confinement, Spec};
pub use supervisor::{Isolation, ProcessError, StartError, Supervisor, hide_ourselves, isolation};
