//! Storage: the [`Store`] trait and what implements it.
//!
//! A store answers typed look-ups and applies [`Unit`](doorward_records::Unit)s. It knows no rule of OAuth.
//! What applying a unit means is said once, by the in-memory tables of `doorward_records::model`; every
//! store passes the same contract suite, which compares it with them.

#[cfg(any(test, feature = "test-support"))]
pub mod contract;
pub mod data_folder;
mod decorated;
#[cfg(any(test, feature = "test-support"))]
pub mod memory;
pub mod sqlite;
mod store;

pub use data_folder::{CLOCK_MARK, DataFolder, DataFolderError, EPOCH, Restored, restore};
pub use decorated::Decorated;
pub use doorward_records::facts::{FamilyFacts, RefreshFacts};
pub use sqlite::SqliteStore;
pub use store::{CommitError, Committed, LoadError, Store};
