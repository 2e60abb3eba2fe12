//! Watching the clocks, and writing the floor down so that the next process knows it.

use std::sync::Arc;
use std::time::Duration;

use doorward_records::{Unit, Write};
use doorward_storage::{CLOCK_MARK, Store};
use doorward_types::time::Clock as _;
use tokio::sync::watch;

use crate::clock::{Mark, ServerClock, Standing};

/// Between two comparisons.
const INTERVAL: Duration = Duration::from_secs(1);
/// The mark is at most so old while anybody asks for the time.
const MARK_AFTER: Duration = Duration::from_secs(15);
/// And at most so old while nobody does: idle disks may sleep.
const MARK_ANYWAY_AFTER: Duration = Duration::from_mins(10);

/// Compares the clocks every second, says when somebody set one, and keeps the mark until `stop`.
pub(crate) async fn run(clock: Arc<ServerClock>, store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
    let mut said = clock.standing();
    say(said, &clock);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut marked: Option<Duration> = None;
    loop {
        let ended = tokio::select! {
            _ = ticks.tick() => false,
            _ = stop.wait_for(|stopped| *stopped) => true,
        };
        if ended {
            mark(&*store, clock.mark()).await;
            return;
        }
        clock.look();
        let standing = clock.standing();
        if std::mem::replace(&mut said, standing) != standing {
            say(standing, &clock);
            marked = None;
        }
        let age = marked.map(|marked| clock.monotonic().saturating_sub(marked));
        let due = age.is_none_or(|age| age >= MARK_ANYWAY_AFTER || (age >= MARK_AFTER && clock.was_asked()));
        if due && mark(&*store, clock.mark()).await {
            marked = Some(clock.monotonic());
        }
    }
}

fn say(standing: Standing, clock: &ServerClock) {
    let (present, certain) = (clock.now(), clock.certain());
    match standing {
        Standing::Together => {
            tracing::debug!(%present, "the clock is where it is expected");
        }
        Standing::Behind => tracing::warn!(
            %present,
            "the machine's clock was set back: time goes on from where it was, so that what has expired stays expired"
        ),
        Standing::Ahead => tracing::info!(
            %present,
            %certain,
            "the machine's clock is ahead of the time that passed: nothing is swept on its word for six hours"
        ),
    }
}

async fn mark(store: &dyn Store, mark: Mark) -> bool {
    let unit = Unit::writes(vec![Write::SetMeta {
        name: CLOCK_MARK.to_owned(),
        value: mark.to_bytes(),
    }]);
    match store.commit(unit).await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(cause = ?error.to_string(), "the time could not be written down");
            false
        }
    }
}
