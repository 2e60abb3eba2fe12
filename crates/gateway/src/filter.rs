//! What of a server's messages its caller may see: lists without what they may not use, and no word of resources and
//! tasks that are not theirs.
//!
//! On a server that nothing restricts, nothing is looked at.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_mcp::answer::{self, Facts};
use doorward_mcp::list::{self, Keep, Kind};
use doorward_mcp::sse::{EventTooLong, Events, Verdict};
use doorward_mcp::{Action, Object, Revision, Summary};
use doorward_policy::{Context, may_list};
use doorward_resource_server::Principal;
use doorward_types::time::Clock;
use memchr::memmem;

use crate::body::{Pieces, UpstreamBody};
use crate::handed::Holder;
use crate::refuse::Failure;
use crate::rules::Rules;
use crate::standing::Standing;

/// Longest list, in bytes, in whatever way it comes. What is longer does not pass.
const LIMIT: usize = 16 << 20;

/// The same for streams that answer anything but a list.
const EVENT_LIMIT: usize = 1 << 20;
/// Longest list that is filtered where it arrives, in bytes. Longer ones wait for a turn, and take a thread.
const AT_ONCE: usize = 8 << 10;

/// A message in which something may have to be left out cannot be read with certainty, or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the upstream that may have to be filtered cannot be read")]
pub(crate) struct Unreadable;

impl From<EventTooLong> for Unreadable {
    fn from(_: EventTooLong) -> Self {
        Self
    }
}

/// Who is to see it.
pub(crate) struct Recipient {
    pub(crate) principal: Arc<Principal>,
    pub(crate) address: Option<IpAddr>,
    /// That it speaks.
    pub(crate) revision: Revision,
}

/// Lets pass what one caller may see.
pub(crate) struct Sieve {
    recipient: Recipient,
    /// Those under which the call was let in; the newest are asked of `standing`.
    rules: Rules,
    standing: Arc<Standing>,
    clock: Arc<dyn Clock>,
    /// The list that was asked for: an answer has to hold it. `None`: whatever comes, by its shape.
    asked: Option<Kind>,
}

/// What has to be looked at in the answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In a whole answer: that list, or whatever has the shape of one.
    pub(crate) whole: Option<Option<Kind>>,
    /// Whether a stream is looked at.
    pub(crate) stream: bool,
}

impl Plan {
    /// Tasks are one caller's whatever else is restricted, so their list is always looked at: also where it is
    /// told again on a stream that is resumed.
    pub(crate) fn of(call: &Summary, restricted: bool, resumed: bool) -> Self {
        let kind = call.method().and_then(Kind::of_method);
        let is_folder = call.method() == Some("resources/directory/read");
        let is_tasks = kind == Some(Kind::Tasks);
        Self {
            whole: match kind {
                Some(kind) if restricted || is_tasks => Some(Some(kind)),
                None if restricted && is_folder => Some(None),
                _ => None,
            },
            stream: restricted || is_tasks || (resumed && call.action() == Action::OpenStream),
        }
    }
}

impl Sieve {
    pub(crate) fn new(
        recipient: Recipient,
        rules: Rules,
        standing: Arc<Standing>,
        clock: Arc<dyn Clock>,
        asked: Option<Kind>,
    ) -> Self {
        Self {
            recipient,
            rules,
            standing,
            clock,
            asked,
        }
    }

    /// What becomes of one message.
    pub(crate) fn message(&self, message: &[u8]) -> Result<Verdict, Unreadable> {
        let newest = self.standing.rules();
        let rules = newest.as_ref().unwrap_or(&self.rules);
        // What was asked for is read whatever it looks like: in another encoding no word would be found.
        if self.asked.is_none() && !may_matter(message, rules.restrict()) {
            return Ok(Verdict::Pass);
        }
        let context = Context {
            address: self.recipient.address,
            ..Context::new(self.clock.now(), self.recipient.revision)
        };
        let facts = answer::facts(message).map_err(|error| unreadable(&error))?;
        if self.is_unheard(&facts, rules, &context) {
            return Ok(Verdict::Drop);
        }
        let listed = list::filter(message, self.asked, &mut |kind, name| {
            self.keep(rules, &context, kind, name)
        });
        Ok(match listed.map_err(|error| unreadable(&error))? {
            Some(filtered) => Verdict::Replace(filtered),
            None => Verdict::Pass,
        })
    }

    /// Whether it tells of a resource that the caller may not read, or of somebody else's task.
    fn is_unheard(&self, facts: &Facts, rules: &Rules, context: &Context<'_>) -> bool {
        let unreadable = facts
            .updated
            .as_deref()
            .is_some_and(|uri| rules.restrict() && !self.may_use(rules, context, Object::Resource(uri)));
        let foreign = facts
            .task_status
            .as_deref()
            .is_some_and(|task| !self.has_task(rules, context, task));
        unreadable || foreign
    }

    fn keep(&self, rules: &Rules, context: &Context<'_>, kind: Kind, name: &str) -> Keep {
        let object = match kind {
            Kind::Tools => Object::Tool(name),
            Kind::Prompts => Object::Prompt(name),
            Kind::Resources | Kind::ResourceTemplates => Object::Resource(name),
            Kind::Tasks => {
                let own = self.has_task(rules, context, name);
                return if own { Keep::Keep } else { Keep::Drop };
            }
        };
        if !rules.restrict() {
            return Keep::Keep;
        }
        let (server, subject) = (&rules.server, self.recipient.principal.policy_subject());
        if !may_list(server, subject, context, object, &*rules.policy) {
            return Keep::Drop;
        }
        rules.mark(object)
    }

    fn has_task(&self, rules: &Rules, context: &Context<'_>, task: &str) -> bool {
        let holder = Holder::of(&self.recipient.principal);
        let tool = self.standing.handed().tool_of(&holder, task, context.now);
        tool.is_some_and(|tool| !rules.restrict() || self.may_use(rules, context, Object::Tool(&tool)))
    }

    fn may_use(&self, rules: &Rules, context: &Context<'_>, object: Object<'_>) -> bool {
        let subject = self.recipient.principal.policy_subject();
        rules.may_use(subject, context, object).is_ok()
    }

    /// A whole answer that may be, or hold, a list. It is taken in first, so that what cannot be read becomes an
    /// answer of ours and never half of one.
    pub(crate) async fn whole(
        self,
        mut body: UpstreamBody,
        limit: Duration,
    ) -> Result<UpstreamBody, Failure> {
        let standing = Arc::clone(&self.standing);
        let collected = async {
            let mut pieces = Pieces::default();
            while let Some(frame) = std::future::poll_fn(|context| body.poll_data(context)).await {
                let frame = frame.map_err(|error| Failure::UpstreamFailed(error.into()))?;
                let Ok(data) = frame.into_data() else { continue };
                pieces.push(data);
                if pieces.len() > LIMIT {
                    return Err(Failure::UpstreamUnreadable);
                }
            }
            let whole = pieces.whole();
            // It may take as long as thousands of decisions: others have their turn meanwhile.
            let turn = match whole.len() > AT_ONCE {
                true => standing.turn().await,
                false => None,
            };
            Ok((whole, turn))
        };
        let (whole, turn) = tokio::time::timeout(limit, collected)
            .await
            .unwrap_or(Err(Failure::UpstreamTimedOut))?;
        let judged = match turn {
            None => self.message(&whole),
            Some(turn) => {
                let message = whole.clone();
                let judging = tokio::task::spawn_blocking(move || {
                    // Also if nobody waits any more: what was begun takes a thread until it is done.
                    let _turn = turn;
                    self.message(&message)
                });
                judging.await.unwrap_or(Err(Unreadable))
            }
        };
        match judged {
            Ok(Verdict::Pass) => Ok(UpstreamBody::ready(whole)),
            Ok(Verdict::Replace(filtered)) => Ok(UpstreamBody::ready(filtered.into())),
            Ok(Verdict::Drop) | Err(Unreadable) => Err(Failure::UpstreamUnreadable),
        }
    }

    /// The same for a stream.
    pub(crate) fn stream(self) -> StreamSieve {
        let limit = match self.asked {
            Some(_) => LIMIT,
            None => EVENT_LIMIT,
        };
        StreamSieve {
            sieve: self,
            events: Events::new(limit),
        }
    }
}

/// A [`Sieve`] in a stream of events.
pub(crate) struct StreamSieve {
    sieve: Sieve,
    events: Events,
}

impl StreamSieve {
    /// What passes with this piece: nothing, while an event is not whole.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Bytes, Unreadable> {
        let Self { sieve, events } = self;
        let mut out = Vec::with_capacity(piece.len());
        // The first event of a stream that can be resumed holds an id and no message (2025-11-25, "Sending Messages").
        let mut judge = |data: &[u8]| match data {
            [] => Ok(Verdict::Pass),
            message => sieve.message(message),
        };
        events.push(piece, &mut out, &mut judge)?;
        Ok(out.into())
    }
}

/// Whether a message may hold a list, or tell of a resource or a task: whether one of the words stands anywhere in
/// it, or an escape that may hide one. Most messages hold none, and are then not read. Where nothing is `restricted`, tasks
/// alone are somebody's.
fn may_matter(message: &[u8], restricted: bool) -> bool {
    const WORDS: [&[u8]; 5] = [b"task", b"\\u", b"tools", b"prompts", b"resource"];
    let words = if restricted { &WORDS[..] } else { &WORDS[..2] };
    words.iter().any(|word| memmem::find(message, word).is_some())
}

fn unreadable(error: &dyn std::error::Error) -> Unreadable {
    tracing::warn!(%error, "a message of the upstream that may have to be filtered cannot be read: it does not pass");
    Unreadable
}

impl std::fmt::Debug for StreamSieve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSieve").finish_non_exhaustive()
    }
}
