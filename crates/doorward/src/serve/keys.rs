//! The keys of a running server: made at the first start, rotated when they are due, and followed when another
//! process (a command, a second server on the same data) changes them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use doorward_authorization_server::keys::{self, KeyError, KeyRing};
use doorward_authorization_server::settings::Lifetimes;
use doorward_records::key::StoredKey;
use doorward_resource_server::LocalKeys;
use doorward_seal::MasterKey;
use doorward_storage::{CommitError, LoadError, Store};
use doorward_types::id::Tenant;
use tokio::sync::watch;

use super::Sources;
use crate::error::CommandError;

/// Between two looks at the database's version and at the clock.
const INTERVAL: Duration = Duration::from_secs(1);

/// Steps of rotation at once: each purpose publishes, activates and forgets at most one key.
const STEPS: usize = 16;

/// Why the keys were not brought up to date. The ones in use stay in use.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Keeps the keys of everything that signs or verifies in this process.
pub(crate) struct KeyKeeper {
    store: Arc<dyn Store>,
    master: Arc<MasterKey>,
    sources: Sources,
    /// What the authorization server makes tokens with, and publishes.
    pub(crate) ring: Arc<ArcSwap<KeyRing>>,
    /// What the resource server verifies with.
    pub(crate) verifying: Arc<LocalKeys>,
    stored: ArcSwap<Vec<StoredKey>>,
}

impl KeyKeeper {
    /// Opens the keys; makes them at the first start.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        master: Arc<MasterKey>,
        sources: Sources,
    ) -> Result<Self, CommandError> {
        let failed =
            |error: &dyn std::error::Error| CommandError::failed("the keys cannot be used").because(error);
        make_missing(&*store, &master, &sources)
            .await
            .map_err(|error| failed(&error))?;
        let stored = store.keys().await.map_err(|error| failed(&error))?;
        let ring = KeyRing::open(&stored, &master).map_err(|error| {
            failed(&error).hint(
                "put doorward.db and master.key back from one backup: with other keys every token would be void",
            )
        })?;
        Ok(Self {
            verifying: Arc::new(LocalKeys::new(ring.public().clone())),
            ring: Arc::new(ArcSwap::from_pointee(ring)),
            stored: ArcSwap::from_pointee(stored),
            store,
            master,
            sources,
        })
    }

    /// Follows and rotates until `stop`.
    pub(crate) async fn run(
        self: Arc<Self>,
        lifetimes: Arc<ArcSwap<Lifetimes>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut seen, mut failing) = (None, false);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stopped| *stopped) => return,
            }
            let lifetimes = **lifetimes.load();
            match self.look(&mut seen, &lifetimes).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let cause = error.to_string();
                        tracing::error!(?cause, "the keys were not brought up to date: those in use stay");
                    }
                }
            }
        }
    }

    /// Takes over what others changed, then makes every step that is due.
    async fn look(&self, seen: &mut Option<u64>, lifetimes: &Lifetimes) -> Result<(), KeeperError> {
        let version = self.store.version().await?;
        if *seen != Some(version) {
            self.take_over().await?;
            *seen = Some(version);
        }
        for _ in 0..STEPS {
            // What is certain: a clock that was set forward by mistake must not date keys into the future.
            let now = self.sources.clock.certain();
            let stored = self.stored.load_full();
            let random = &*self.sources.random;
            let tenant = Tenant::default_tenant();
            let Some(rotation) = keys::due(&stored, lifetimes, &tenant, &self.master, now, random)? else {
                return Ok(());
            };
            match self.store.commit(rotation.unit).await {
                Ok(_) => {
                    let (step, kid) = (rotation.step.name(), rotation.key.as_str());
                    tracing::info!(step, kid, purpose = ?rotation.purpose, "key rotation");
                }
                // Another process made a step first.
                Err(CommitError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            self.take_over().await?;
        }
        Ok(())
    }

    /// Swaps the keys in, if they changed. Who verifies comes first: a token of the new key must be good
    /// everywhere in this process as soon as there can be one.
    async fn take_over(&self) -> Result<(), KeeperError> {
        let stored = self.store.keys().await?;
        if stored == **self.stored.load() {
            return Ok(());
        }
        let ring = KeyRing::open(&stored, &self.master)?;
        self.verifying.replace(ring.public().clone());
        self.ring.store(Arc::new(ring));
        self.stored.store(Arc::new(stored));
        Ok(())
    }
}

/// Makes the active keys that are missing.
async fn make_missing(store: &dyn Store, master: &MasterKey, sources: &Sources) -> Result<(), KeeperError> {
    let stored = store.keys().await?;
    let tenant = Tenant::default_tenant();
    for unit in keys::missing(&stored, &tenant, master, sources.clock.now(), &*sources.random)? {
        match store.commit(unit).await {
            // Another process made the key first, which is as good.
            Ok(_) | Err(CommitError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use doorward_resource_server::KeySource as _;
    use doorward_storage::DataFolder;
    use doorward_types::random::SystemRandom;
    use doorward_types::time::{Clock, FixedClock, UnixTime};

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    async fn keeper(folder: &DataFolder, clock: &Arc<FixedClock>) -> KeyKeeper {
        let sources = Sources {
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom),
        };
        let master = Arc::clone(folder.master_key());
        KeyKeeper::start(folder.store(), master, sources).await.unwrap()
    }

    fn signs_with(keeper: &KeyKeeper) -> doorward_types::id::KeyId {
        keeper.ring.load().signing().key_id().clone()
    }

    fn verifies(keeper: &KeyKeeper, id: &doorward_types::id::KeyId) -> bool {
        let published = keeper.ring.load();
        let in_set = |set: &doorward_jose::JwkSet| set.keys().iter().any(|key| key.key_id() == Some(id));
        let (published, verified) = (
            in_set(published.public()),
            in_set(&keeper.verifying.current().keys),
        );
        assert_eq!(published, verified);
        verified
    }

    /// Whatever the order in which two servers on one data folder look: what one signs with, both know.
    #[tokio::test]
    async fn ft_05_no_server_signs_with_a_key_that_another_one_does_not_publish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let folders = [(); 2].map(|()| DataFolder::open_or_create(&path, &SystemRandom).unwrap());
        let clock = Arc::new(FixedClock::new(NOW));
        let keepers = [
            keeper(&folders[0], &clock).await,
            keeper(&folders[1], &clock).await,
        ];
        let lifetimes = Lifetimes {
            key_rotation: Duration::from_hours(1),
            key_publication: Duration::from_mins(10),
            ..Lifetimes::default()
        };
        let mut seen = [None, None];
        let mut used = std::collections::BTreeSet::new();
        // One looks every minute, the other one every three: well within the ten of publication.
        for minute in 0..200 {
            for (n, keeper) in keepers.iter().enumerate() {
                if n == 0 || minute % 3 == 0 {
                    keeper.look(&mut seen[n], &lifetimes).await.unwrap();
                }
                for other in &keepers {
                    assert!(verifies(other, &signs_with(keeper)), "minute {minute}");
                }
                used.insert(signs_with(keeper));
            }
            clock.advance(Duration::from_mins(1));
        }
        assert_eq!(used.len(), 4);
    }

    #[tokio::test]
    async fn a_key_that_somebody_revoked_is_unknown_after_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let folder = DataFolder::open_or_create(&folder.path().join("data"), &SystemRandom).unwrap();
        let clock = Arc::new(FixedClock::new(NOW));
        let keeper = keeper(&folder, &clock).await;
        let (mut seen, lifetimes) = (None, Lifetimes::default());
        keeper.look(&mut seen, &lifetimes).await.unwrap();
        let old = signs_with(&keeper);
        let (store, tenant) = (folder.store(), Tenant::default_tenant());
        let stored = store.keys().await.unwrap();
        let revoked = keys::revoke(&stored, &old, &tenant, folder.master_key(), NOW, &SystemRandom);
        let generation = keeper.verifying.generation();
        store.commit(revoked.unwrap().unwrap().unit).await.unwrap();
        keeper.look(&mut seen, &lifetimes).await.unwrap();
        assert!(!verifies(&keeper, &old));
        assert!(verifies(&keeper, &signs_with(&keeper)));
        assert_ne!(
            keeper.verifying.generation(),
            generation,
            "remembered tokens are verified anew"
        );
    }
}
