//! Once an hour: forget what time has ended.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_authorization_server::settings::Lifetimes;
use doorward_authorization_server::sweep;
use doorward_resource_server::RevocationSet;
use doorward_storage::Store;
use doorward_types::time::Clock;
use tokio::sync::watch;

const INTERVAL: Duration = Duration::from_secs(3600);

/// Between two parts of one sweep, for those who wait to commit.
const PAUSE: Duration = Duration::from_millis(100);

/// What is swept.
pub(crate) struct Upkeep {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) revocations: Arc<RevocationSet>,
    pub(crate) lifetimes: Arc<ArcSwap<Lifetimes>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Sweeps at the start and every hour until `stop`.
pub(crate) async fn run(upkeep: Upkeep, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
        let now = upkeep.clock.certain();
        upkeep.revocations.prune(now);
        loop {
            match upkeep
                .store
                .commit(sweep::unit(&upkeep.lifetimes.load(), now))
                .await
            {
                Ok(swept) if swept.more_to_sweep => {}
                Ok(_) => {
                    tracing::debug!("swept");
                    break;
                }
                Err(error) => {
                    tracing::warn!(cause = ?error.to_string(), "the hourly sweep failed");
                    break;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
        }
    }
}
