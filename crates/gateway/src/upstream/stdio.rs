//! MCP servers that are commands: what their clients see is Streamable HTTP.
//!
//! A legacy session has a process of its own; all modern calls of a user share one (a user's processes are
//! never another user's). A process starts with the first call that needs it and ends after a time without
//! any. A call is written once, whatever happens to it.

mod answer;
mod budget;
mod conversation;
mod failure;
mod legacy;
mod modern;
mod outbox;
mod pool;
mod probe;
mod settings;
mod state;
mod unread;

use std::pin::Pin;
use std::sync::Arc;

use doorward_policy::Permit;
use doorward_process::{Process, StartError};
use doorward_resource_server::Principal;
use doorward_types::id::{ServerName, UserId};
use doorward_types::random::Random;
use http::{HeaderMap, Response};

pub(crate) use failure::StdioFailure;
pub use settings::StdioSettings;

use crate::body::UpstreamBody;
use crate::refuse::Failure;
use pool::Pool;

/// Whose process is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user whose calls it will get, and nobody else's.
    pub user: UserId,
}

/// A process on its way.
pub type Launching = Pin<Box<dyn Future<Output = Result<Process, StartError>> + Send>>;

/// Starts a command. Whoever implements it decides on its folders, environment and isolation.
pub trait Launcher: Send + Sync + 'static {
    /// Starts one more process. Dropping the future, or the process, ends it.
    fn launch(&self, owner: Owner) -> Launching;
}

/// A command and its processes. They end with it, each after the calls that it is working on.
pub struct Stdio {
    pool: Arc<Pool>,
}

impl Stdio {
    pub(super) fn new(
        name: ServerName,
        launcher: Arc<dyn Launcher>,
        settings: StdioSettings,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            pool: Pool::new(name, launcher, settings, random),
        }
    }

    pub(super) async fn send(
        &self,
        permit: Permit,
        headers: &HeaderMap,
        principal: &Principal,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let call = permit.into_call();
        let user = principal.subject();
        if call.revision().is_legacy() {
            return legacy::send(&self.pool, call, headers, user).await;
        }
        modern::send(&self.pool, call, user).await
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        self.pool.retire();
    }
}
