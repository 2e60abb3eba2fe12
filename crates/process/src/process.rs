//! A running child, in three parts.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::control::{Control, Exit, ExitReason, Shared};
use crate::framing::LineError;
use crate::input::Input;
use crate::output::Output;

/// A running child.
#[derive(Debug)]
pub struct Process {
    /// Lines to it.
    pub input: Input,
    /// Lines from it.
    pub output: Output,
    /// Stops it; it lives no longer than this and its clones.
    pub control: Control,
}

impl Process {
    /// A process that is two channels and no child, for tests of whoever uses one. What is given to
    /// [`Input::send`] arrives at the other end of `input` (until the receiver is dropped); what is sent into
    /// `output` comes out of [`Output::next`]. The [`Ending`] plays the part of the child's end.
    pub fn from_parts(
        input: mpsc::Sender<Bytes>,
        output: mpsc::Receiver<Result<Bytes, LineError>>,
    ) -> (Self, Ending) {
        let shared = Shared::new();
        let process = Self {
            input: Input::new(input),
            output: Output::from_channel(output),
            control: Control::new(Arc::clone(&shared), None),
        };
        (process, Ending { shared })
    }
}

/// The end of a process made by [`Process::from_parts`].
#[derive(Clone, Debug)]
pub struct Ending {
    shared: Arc<Shared>,
}

impl Ending {
    /// Waits until the process is asked to end, by [`Control::stop`] or by dropping every [`Control`].
    pub async fn asked(&self) -> ExitReason {
        self.shared.asked().await
    }

    /// Ends it: [`Control::exited`] returns this.
    pub fn exit(&self, exit: Exit) {
        self.shared.finish(exit);
    }
}
