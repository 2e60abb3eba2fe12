//! SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::CommandError;

/// Runs `serving`; the first signal tells it to finish, the second does not wait for it.
pub(crate) async fn until_stopped(
    serving: impl Future<Output = ()>,
    stopping: watch::Sender<bool>,
) -> Result<(), CommandError> {
    let cannot = |error: std::io::Error| CommandError::failed("cannot wait for signals").because(&error);
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut serving = std::pin::pin!(serving);
    let mut asked = false;
    loop {
        tokio::select! {
            () = &mut serving => return Ok(()),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if asked {
            tracing::warn!("stopped at once, with calls in flight");
            return Ok(());
        }
        asked = true;
        tracing::info!("stopping: calls in flight finish first");
        // Nobody listens only if serving has ended, which the next turn sees.
        stopping.send_replace(true);
    }
}
