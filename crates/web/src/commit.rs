//! Load, decide, commit: the loop around every decision.

use doorward_records::Unit;
use doorward_storage::{CommitError, Committed, LoadError, Store};

/// How often a decision is taken anew when rows changed between loading and committing.
const RETRIES: u32 = 3;

/// Nothing was changed, and a later attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    /// A look-up failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The database did not take the unit.
    #[error(transparent)]
    Commit(CommitError),
    /// The rows changed every time.
    #[error("the rows changed too often")]
    Contended,
}

impl Unavailable {
    /// Tells the operator; callers get a sentence without the cause.
    pub(crate) fn log(&self, step: &'static str) {
        tracing::error!(step, cause = ?self.to_string(), "storage did not answer");
    }
}

/// Counts the attempts of one decision.
#[derive(Debug, Default)]
pub(crate) struct Attempts(u32);

impl Attempts {
    /// Commits; `None` means that the rows changed: load and decide again.
    pub(crate) async fn commit(
        &mut self,
        store: &dyn Store,
        unit: Unit,
    ) -> Result<Option<Committed>, Unavailable> {
        match store.commit(unit).await {
            Ok(committed) => Ok(Some(committed)),
            Err(CommitError::Conflict) if self.0 < RETRIES => {
                self.0 += 1;
                Ok(None)
            }
            Err(CommitError::Conflict) => Err(Unavailable::Contended),
            Err(error) => Err(Unavailable::Commit(error)),
        }
    }
}
