//! The seam between knowing who calls and letting the call through.

use std::net::IpAddr;

use doorward_mcp::{Action, Call, Object, Revision, Subscribed, Summary};
use doorward_types::id::{ClientId, Tenant, UserId};
use doorward_types::scope::ScopeSet;
use doorward_types::time::UnixTime;

use crate::table::Needs;
use crate::uri::{bare_forms, is_readable, other_forms};
use crate::{Grounds, ListMode, Policy, ProtectedServer, Question, Refusal, ScopeTable};

/// Who calls: the facts of a verified token that policy reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account; for a client that acts for itself [`UserId::of_client`].
    pub user: UserId,
    /// Its name, for `user:` rules; for a client that acts for itself `client:` and its id.
    pub username: String,
    /// Its groups, for `group:` rules.
    pub groups: Vec<String>,
    /// The client that acts for the user.
    pub client: ClientId,
    /// Whether there is no user: the client acts for itself (RFC 6749 §4.4), for `client:` rules.
    pub for_itself: bool,
    /// What the token was granted.
    pub scopes: ScopeSet,
    /// All that this client can be granted, if an operator set a limit.
    pub client_scopes: Option<ScopeSet>,
    /// The tenant.
    pub tenant: Tenant,
    /// When the person signed in; unknown for clients that act for themselves.
    pub authenticated: Option<UnixTime>,
}

/// What is known about a call beside its message and its caller.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the decision.
    pub now: UnixTime,
    /// Where the call comes from, if that is known.
    pub address: Option<IpAddr>,
    /// The revision that is spoken.
    pub revision: Revision,
    /// The tool whose task the call is about, for `tasks/*` methods that name a task. Whoever relays answers knows
    /// which call a task came of; where there is a scope table, a task that nobody knows is refused.
    pub tool: Option<&'a str>,
}

impl Context<'_> {
    /// A decision at `now`, about something said in `revision`, of which nothing else is known.
    #[must_use]
    pub const fn new(now: UnixTime, revision: Revision) -> Self {
        Self {
            now,
            address: None,
            revision,
            tool: None,
        }
    }
}

/// A call that may be forwarded. Only [`judge`] makes one, and it owns the very call that was judged.
///
/// ```
/// # use doorward_policy::{Context, NoFurtherPolicy, Permit, ProtectedServer, Refusal, Subject, judge};
/// fn may(
///     server: &ProtectedServer,
///     subject: &Subject,
///     context: &Context<'_>,
///     call: doorward_mcp::Call,
/// ) -> Result<Permit, Refusal> {
///     judge(server, subject, context, call, &NoFurtherPolicy)
/// }
/// ```
///
/// Without the judgement there is none, a second one neither, and a call that was judged is not changed any more:
///
/// ```compile_fail,E0451
/// # fn forge(call: doorward_mcp::Call, other: doorward_policy::Permit) -> doorward_policy::Permit {
/// doorward_policy::Permit { call, ..other }
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn twice(permit: doorward_policy::Permit) -> doorward_policy::Permit {
/// permit.clone()
/// # }
/// ```
///
/// ```compile_fail,E0382
/// # fn spent(permit: doorward_policy::Permit) {
/// let forwarded = permit.into_call();
/// let again = permit.into_call();
/// # }
/// ```
///
/// ```compile_fail,E0616
/// # fn swap(mut permit: doorward_policy::Permit, other: doorward_mcp::Call) {
/// permit.call = other;
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped forwards nothing"]
pub struct Permit {
    call: Call,
    cut: usize,
    weighed: Weighed,
}

/// What let a call through.
#[derive(Debug)]
struct Weighed {
    grounds: Grounds,
    /// The scopes that it took, as bits of the server's table.
    needed: u128,
}

impl Permit {
    /// What was judged, to look at.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// How many resources were cut out of what a `subscriptions/listen` asks to hear about.
    #[must_use]
    pub const fn cut(&self) -> usize {
        self.cut
    }

    /// The policies that permit it. Empty where none has to.
    #[must_use]
    pub const fn grounds(&self) -> &Grounds {
        &self.weighed.grounds
    }

    /// The scopes that it took. `table` is that of the server it was judged for.
    #[must_use]
    pub const fn needs<'a>(&self, table: &'a ScopeTable) -> Needs<'a> {
        table.at(self.weighed.needed)
    }

    /// Releases the call to be forwarded. The permit is spent.
    #[must_use]
    pub fn into_call(self) -> Call {
        self.call
    }
}

/// May this user and client make this call on this server?
///
/// The access rule holds for every call. Then the scopes: what acts on a tool, prompt or resource, and what MCP does
/// not define, needs every scope that names it. `server/discover`, `initialize` and `ping` need none, because an
/// unexpected refusal of those makes clients fall back to an older revision; lists need none either, because they are
/// filtered ([`may_list`]). On a server without a table everything but those three needs the one scope. `policy` has the
/// last word on what all that lets through.
///
/// The call comes in by value and leaves only inside the [`Permit`]. A `subscriptions/listen` leaves without the
/// resources that its caller may not read.
pub fn judge(
    server: &ProtectedServer,
    subject: &Subject,
    context: &Context<'_>,
    call: Call,
    policy: &dyn Policy,
) -> Result<Permit, Refusal> {
    let weighed = weigh(server, subject, context, &call, policy)?;
    if call.subscribed().next().is_none() {
        let cut = 0;
        return Ok(Permit { call, cut, weighed });
    }
    let mut cut = 0;
    let cut_call = call.retain_subscriptions(|subscribed| {
        let keep = match subscribed {
            Subscribed::Resource(uri) => {
                may_use(server, subject, context, Object::Resource(uri), policy).is_ok()
            }
            // Whose a task is, only who relayed the answer that made it knows.
            Subscribed::Task(_) => true,
        };
        cut += usize::from(!keep);
        keep
    });
    // What was read once is read again: nothing that a caller could bring about.
    let call = cut_call.map_err(|_| Refusal::Unnamed)?;
    Ok(Permit { call, cut, weighed })
}

/// The same judgement without taking the call, for streams that are open already. What a `subscriptions/listen` asks to
/// hear about is not looked at.
pub fn review(
    server: &ProtectedServer,
    subject: &Subject,
    context: &Context<'_>,
    call: &Summary,
    policy: &dyn Policy,
) -> Result<(), Refusal> {
    weigh(server, subject, context, call, policy).map(drop)
}

fn weigh(
    server: &ProtectedServer,
    subject: &Subject,
    context: &Context<'_>,
    call: &Summary,
    policy: &dyn Policy,
) -> Result<Weighed, Refusal> {
    if !server.allow.admits_subject(subject) {
        return Err(Refusal::NotAllowed);
    }
    let object = match (call.object(), call.task(), context.tool) {
        (None, Some(_), Some(tool)) => Some(Object::Tool(tool)),
        (None, Some(_), None) if !server.scopes.is_whole() => return Err(Refusal::Unnamed),
        (object, ..) => object,
    };
    let needs = match object {
        Some(object) => Some(server.scopes.needs(object)),
        None if server.scopes.is_whole() && !is_open(call) => Some(server.scopes.everything()),
        None => None,
    };
    let mut needed = 0;
    if let Some(needs) = needs {
        suffices(server, subject, call.revision(), needs)?;
        needed = needs.bits();
    }
    let question = Question {
        server,
        subject,
        context,
        object,
        call: Some(call),
    };
    let grounds = policy.verdict(&question)?;
    if let Some(refusal) = against_other_forms(policy, &question, Policy::objection) {
        return Err(refusal);
    }
    Ok(Weighed { grounds, needed })
}

/// May this user and client use this tool, prompt, resource or method, now and with this token? For what is not asked
/// for by a call of its own: resources of a subscription, news about them, tasks.
pub fn may_use(
    server: &ProtectedServer,
    subject: &Subject,
    context: &Context<'_>,
    object: Object<'_>,
    policy: &dyn Policy,
) -> Result<(), Refusal> {
    if !server.allow.admits_subject(subject) {
        return Err(Refusal::NotAllowed);
    }
    suffices(server, subject, context.revision, server.scopes.needs(object))?;
    let question = Question {
        server,
        subject,
        context,
        object: Some(object),
        call: None,
    };
    let objection = policy.objection(&question);
    let objection = objection.or_else(|| against_other_forms(policy, &question, Policy::objection));
    objection.map_or(Ok(()), Err)
}

/// What `policy` says to the other forms that a reader may make of a resource's URI: a right to one of them is no right to
/// another (MB-12).
fn against_other_forms(
    policy: &dyn Policy,
    question: &Question<'_>,
    ask: fn(&dyn Policy, &Question<'_>) -> Option<Refusal>,
) -> Option<Refusal> {
    let Some(Object::Resource(uri)) = question.object.filter(|_| policy.restricts()) else {
        return None;
    };
    if !is_readable(uri) {
        return Some(Refusal::Unnamed);
    }
    let of_form = |form: &str| {
        let object = Some(Object::Resource(form));
        ask(policy, &Question { object, ..*question })
    };
    // A bare form is only looked for among what is forbidden: nobody has to permit it.
    let forbids =
        |refusal: &Refusal| !matches!(refusal, Refusal::DeniedByPolicy { policies } if policies.is_empty());
    other_forms(uri).find_map(|form| of_form(&form)).or_else(|| {
        let bare = bare_forms(uri).into_iter();
        bare.filter_map(|form| of_form(&form)).find(forbids)
    })
}

/// Whether lists show this tool, prompt, resource or template to this user and client: where the server says
/// [`ListMode::Grantable`], what they could be granted all scopes for; else what the token opens.
#[must_use]
pub fn may_list(
    server: &ProtectedServer,
    subject: &Subject,
    context: &Context<'_>,
    object: Object<'_>,
    policy: &dyn Policy,
) -> bool {
    if !server.allow.admits_subject(subject) {
        return false;
    }
    let (table, needs) = (&server.scopes, server.scopes.needs(object));
    let missing = table.missing(subject, needs);
    let shown = match server.lists {
        ListMode::Granted => missing.is_unnamed(),
        ListMode::Grantable => table.not_for_client(subject, missing).is_unnamed(),
    };
    if needs.is_unnamed() || !shown {
        return false;
    }
    let question = Question {
        server,
        subject,
        context,
        object: Some(object),
        call: None,
    };
    policy.objection_to_listing(&question).is_none()
        && against_other_forms(policy, &question, Policy::objection_to_listing).is_none()
}

/// Whether the token opens all of `needs`; if not, whether another one could.
fn suffices(
    server: &ProtectedServer,
    subject: &Subject,
    revision: Revision,
    needs: Needs<'_>,
) -> Result<(), Refusal> {
    if needs.is_unnamed() {
        return Err(Refusal::Unnamed);
    }
    let table = &server.scopes;
    let missing = table.missing(subject, needs);
    if missing.is_unnamed() {
        return Ok(());
    }
    let out_of_reach = table.not_for_user(subject, missing);
    if !out_of_reach.is_unnamed() {
        let scopes = out_of_reach.scopes();
        return Err(Refusal::NotForUser { scopes });
    }
    let out_of_reach = table.not_for_client(subject, missing);
    if !out_of_reach.is_unnamed() {
        let scopes = out_of_reach.scopes();
        return Err(Refusal::NotForClient { scopes });
    }
    let needed = table.askable(subject, needs);
    let needed = if revision.is_legacy() {
        needed.union(&subject.scopes)
    } else {
        needed
    };
    Err(Refusal::InsufficientScope { needed })
}

fn is_open(call: &Summary) -> bool {
    call.action() == Action::Request
        && matches!(call.method(), Some("server/discover" | "initialize" | "ping"))
}
