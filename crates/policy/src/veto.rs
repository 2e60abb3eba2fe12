//! The seam for rules beyond `allow` and scopes.

use std::fmt;
use std::sync::Arc;

use doorward_mcp::{Object, Revision, Summary};

use crate::{Context, ProtectedServer, Refusal, Subject};

/// What a policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where.
    pub server: &'a ProtectedServer,
    /// Who.
    pub subject: &'a Subject,
    /// When, from where, in which revision.
    pub context: &'a Context<'a>,
    /// What the call lets its caller do things with; `None` for lists, handshakes and what keeps a conversation going.
    pub object: Option<Object<'a>>,
    /// The call. `None` when it is asked whether an object may be used or shown at all.
    pub call: Option<&'a Summary>,
}

impl Question<'_> {
    /// The revision that is spoken.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.call.map_or(self.context.revision, Summary::revision)
    }
}

/// The rules that permit a call, by name, for the record. Empty where none has to. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds(Option<Arc<[String]>>);

impl Grounds {
    /// Their names.
    #[must_use]
    pub fn policies(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<Arc<[String]>> for Grounds {
    fn from(policies: Arc<[String]>) -> Self {
        Self(Some(policies))
    }
}

/// Rules that can refuse what the access rule and the scopes let through, and can let nothing through that
/// those refuse.
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// What is against it; `None` if nothing is. It is asked for
    /// every call, notifications, answers and streams included, on the path of that call: what takes long
    /// belongs somewhere else.
    ///
    /// Of a resource it is asked in several forms of its URI. Of those that leave away the fragment, the query, the slash at
    /// the end or the host of a `file:` URI, [`Refusal::DeniedByPolicy`] without policies is no answer: nothing permits
    /// them, and nothing has to.
    fn objection(&self, question: &Question<'_>) -> Option<Refusal>;

    /// The same question, for whoever keeps a record: what permits it if nothing is against it.
    fn verdict(&self, question: &Question<'_>) -> Result<Grounds, Refusal> {
        self.objection(question)
            .map_or_else(|| Ok(Grounds::default()), Err)
    }

    /// What is against showing the object in a list. What depends on the arguments of a call is not known yet: only
    /// what would be refused with any arguments has to be hidden.
    fn objection_to_listing(&self, question: &Question<'_>) -> Option<Refusal> {
        self.objection(question)
    }

    /// Whether it could object to anything at all. Lists pass untouched on servers where nothing can.
    fn restricts(&self) -> bool {
        true
    }
}

/// The access rule and the scopes say everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoFurtherPolicy;

impl Policy for NoFurtherPolicy {
    fn objection(&self, _: &Question<'_>) -> Option<Refusal> {
        None
    }

    fn restricts(&self) -> bool {
        false
    }
}
