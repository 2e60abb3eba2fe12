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
        match upkeep
            .store
            .commit(sweep::unit(&upkeep.lifetimes.load(), now))
            .await
        {
            Ok(_) => tracing::debug!("swept"),
            Err(error) => tracing::warn!(cause = ?error.to_string(), "the hourly sweep failed"),
        }
    }
}
