//! Following the revocation feed: all of it before the first call, our own commits at once, other
//! processes' within a second or two.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use doorward_records::{Unit, Write};
use doorward_resource_server::RevocationSet;
use doorward_storage::{CommitError, Committed, Decorated, LoadError, Store};
use doorward_types::time::Clock;

/// Between two looks at the database's version.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps a [`RevocationSet`] at the end of the feed.
pub(crate) struct Follower {
    store: Arc<dyn Store>,
    set: Arc<RevocationSet>,
    clock: Arc<dyn Clock>,
}

impl Follower {
    /// Loads the whole feed.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        set: Arc<RevocationSet>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LoadError> {
        let follower = Self { store, set, clock };
        follower.catch_up().await?;
        Ok(follower)
    }

    /// Reads what is new. The feed is in commit order, so what comes after the last entry is all of it.
    async fn catch_up(&self) -> Result<(), LoadError> {
        // Before reading: what is committed from now on may be missing from what is read.
        let now = self.clock.monotonic();
        let (new, _) = self.store.revocations_after(self.set.sequence()).await?;
        self.set.apply(&new);
        self.set.heard(now);
        Ok(())
    }

    /// Polls for ever. While the database does not answer nothing is heard, and after a minute the
    /// verifier refuses everything by itself.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut seen, mut silent) = (None, false);
        loop {
            ticks.tick().await;
            match self.poll(&mut seen).await {
                Ok(()) => {
                    if std::mem::take(&mut silent) {
                        tracing::info!("the database answers again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut silent, true) {
                        tracing::error!(cause = ?error.to_string(), "revocations cannot be read: calls end in a minute");
                    }
                }
            }
        }
    }

    async fn poll(&self, seen: &mut Option<u64>) -> Result<(), LoadError> {
        let now = self.clock.monotonic();
        let version = self.store.version().await?;
        if *seen == Some(version) {
            self.set.heard(now);
            return Ok(());
        }
        self.catch_up().await?;
        *seen = Some(version);
        Ok(())
    }
}

/// A store whose revocations are in force when the commit returns: whoever is told "revoked" can rely on it.
pub(crate) struct FollowedStore {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) follower: Arc<Follower>,
}

#[async_trait]
impl Decorated for FollowedStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn commit_around(&self, unit: Unit) -> Result<Committed, CommitError> {
        let revokes = unit
            .writes
            .iter()
            .any(|write| matches!(write, Write::AppendRevocation { .. }));
        let committed = self.inner.commit(unit).await?;
        if revokes && let Err(error) = self.follower.catch_up().await {
            // It is durable; the poll brings it in as soon as the database answers.
            tracing::error!(cause = ?error.to_string(), "a revocation was committed and could not be read back yet");
        }
        Ok(committed)
    }
}

#[cfg(test)]
mod tests {
    use doorward_records::revocation::Revoked;
    use doorward_resource_server::Revocations as _;
    use doorward_storage::DataFolder;
    use doorward_types::id::FamilyId;
    use doorward_types::random::CountingRandom;
    use doorward_types::time::{FixedClock, UnixTime};

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn revocation(family: FamilyId) -> Unit {
        let expires = NOW.plus(Duration::from_secs(900));
        Unit::writes(vec![Write::AppendRevocation {
            revoked: Revoked::Family(family),
            at: NOW,
            expires,
        }])
    }

    #[tokio::test]
    async fn revocations_are_known_before_the_first_call_at_once_and_by_polling() {
        let folder = tempfile::tempdir().unwrap();
        let random = CountingRandom::default();
        let data = DataFolder::open_or_create(&folder.path().join("data"), &random).unwrap();
        let database: Arc<dyn Store> = data.store();
        let family = || FamilyId::generate(NOW, &random);
        database.commit(revocation(family())).await.unwrap();

        let set = Arc::new(RevocationSet::new());
        let clock = Arc::new(FixedClock::new(NOW));
        let (follower_set, follower_clock) = (Arc::clone(&set), Arc::clone(&clock) as Arc<dyn Clock>);
        let follower = Follower::start(Arc::clone(&database), follower_set, follower_clock)
            .await
            .unwrap();
        assert_eq!(
            (set.len(), set.heard_at()),
            (1, Some(Duration::ZERO)),
            "all of the feed before the first call"
        );

        let follower = Arc::new(follower);
        let store = FollowedStore {
            inner: Arc::clone(&database),
            follower: Arc::clone(&follower),
        };
        store.commit(revocation(family())).await.unwrap();
        assert_eq!(set.len(), 2, "in force when the commit returns");

        // Another process on the same data.
        let mut seen = None;
        follower.poll(&mut seen).await.unwrap();
        let other = DataFolder::open(&folder.path().join("data")).unwrap();
        other.store().commit(revocation(family())).await.unwrap();
        assert_eq!(set.len(), 2);
        clock.advance(Duration::from_secs(1));
        follower.poll(&mut seen).await.unwrap();
        assert_eq!((set.len(), set.heard_at()), (3, Some(clock.monotonic())));
        clock.advance(Duration::from_secs(1));
        follower.poll(&mut seen).await.unwrap();
        assert_eq!(
            set.heard_at(),
            Some(clock.monotonic()),
            "nothing new was heard too"
        );
    }
}
