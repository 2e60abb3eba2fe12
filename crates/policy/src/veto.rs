//! The seam for rules beyond `allow` and scopes.

use std::fmt;

use doorward_mcp::Summary;

use crate::{ProtectedServer, Refusal, Subject};

/// Rules that can refuse what the access rule and the scopes let through, and can let nothing through that
/// those refuse.
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// Why `subject` may not make `call` on `server`; `None` if there is nothing against it. It is asked for
    /// every call, notifications, answers and streams included, on the path of that call: what takes long
    /// belongs somewhere else.
    fn objection(&self, server: &ProtectedServer, subject: &Subject, call: &Summary) -> Option<Refusal>;
}

/// The access rule and the scopes say everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoFurtherPolicy;

impl Policy for NoFurtherPolicy {
    fn objection(&self, _: &ProtectedServer, _: &Subject, _: &Summary) -> Option<Refusal> {
        None
    }
}
