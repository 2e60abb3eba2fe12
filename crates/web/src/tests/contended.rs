//! A store on which others are always a little faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use doorward_records::Unit;
use doorward_storage::memory::MemoryStore;
use doorward_storage::{CommitError, Committed, Decorated, Store};

/// Answers the next `conflicts` commits with a conflict.
pub(super) struct Contended {
    pub(super) store: Arc<MemoryStore>,
    pub(super) conflicts: &'static AtomicU32,
}

#[async_trait::async_trait]
impl Decorated for Contended {
    fn inner(&self) -> &dyn Store {
        &*self.store
    }

    async fn commit_around(&self, unit: Unit) -> Result<Committed, CommitError> {
        let left = self
            .conflicts
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            Err(CommitError::Conflict)
        } else {
            self.store.commit(unit).await
        }
    }
}
