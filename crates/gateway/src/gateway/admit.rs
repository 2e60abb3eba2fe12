//! From a request to a permit: who calls, and whether they may.

use std::sync::Arc;

use doorward_mcp::{Call, Object, Subscribed};
use doorward_policy::{Context, Permit, judge};
use doorward_resource_server::{Principal, bearer_token};
use doorward_types::time::UnixTime;
use http::header::AUTHORIZATION;
use http::request;

use super::entry::Entry;
use super::{Gateway, address};
use crate::handed::Holder;
use crate::refuse::Failure;

/// A call that may be forwarded.
pub(super) struct Admitted {
    pub(super) permit: Permit,
    /// The tool whose task the call is about.
    pub(super) tool: Option<Box<str>>,
}

impl Gateway {
    /// Who calls. Only a request without any credential can be anonymous: one with a bad token, or with a
    /// scheme that we do not know, is refused on every server.
    pub(super) async fn principal(
        &self,
        entry: &Entry,
        head: &request::Parts,
    ) -> Result<Arc<Principal>, Failure> {
        let token = bearer_token(&head.headers, &head.uri).map_err(Failure::Credential)?;
        match (token, &entry.anonymous) {
            (None, Some(nobody)) if !head.headers.contains_key(AUTHORIZATION) => Ok(Arc::clone(nobody)),
            (None, _) => Err(Failure::NoToken),
            (Some(token), _) => {
                let resource = &entry.protected.resource;
                let verdict = match entry.gauge.admit_unseen(head) {
                    Ok(()) => self.verifier.verify(resource, token).await,
                    Err(limited) => self.verifier.recall(resource, token).ok_or(limited)?,
                };
                verdict.map_err(|refusal| {
                    entry.gauge.count_token(head, token.expose(), refusal);
                    Failure::Token(refusal)
                })
            }
        }
    }

    /// The permit to forward a call. What of it only we know, because we saw it handed out, is looked up on the way:
    /// whose a task is (MB-14), and whose a state (MB-18).
    pub(super) fn judge(
        &self,
        entry: &Entry,
        principal: &Principal,
        head: &request::Parts,
        call: Call,
    ) -> Result<Admitted, Failure> {
        let now = self.clock.now();
        let tool = tool_of_task(entry, principal, &call, now)?;
        let context = Context {
            address: address(head),
            ..Context::new(now, call.revision())
        };
        let call = own_tasks(entry, principal, &context, call)?;
        let context = Context {
            tool: tool.as_deref(),
            ..context
        };
        let subject = principal.policy_subject();
        let permit =
            judge(&entry.protected, subject, &context, call, &*self.policy).map_err(Failure::Policy)?;
        let call = permit.call();
        if let Some(state) = call.request_state() {
            let (method, name) = (call.method().unwrap_or_default(), call.name().unwrap_or_default());
            let holder = Holder::of(principal);
            if !entry
                .standing
                .handed()
                .has_state(&holder, method, name, state, now)
            {
                return Err(Failure::UnknownState);
            }
        }
        if permit.cut() > 0 {
            tracing::info!(
                server = %entry.protected.name,
                user = %principal.subject(),
                resources = permit.cut(),
                "resources that may not be read were cut out of a subscription"
            );
        }
        Ok(Admitted { permit, tool })
    }
}

/// The tool that works on the task of a call, if it is about one of its caller's.
fn tool_of_task(
    entry: &Entry,
    principal: &Principal,
    call: &Call,
    now: UnixTime,
) -> Result<Option<Box<str>>, Failure> {
    let Some(task) = call.task() else { return Ok(None) };
    let legacy = call.revision().is_legacy();
    let tool = entry.standing.handed().tool_of(&Holder::of(principal), task, now);
    tool.map(Some).ok_or(match legacy || call.declares_tasks() {
        true => Failure::UnknownTask { legacy },
        false => Failure::TasksUndeclared,
    })
}

/// A subscription without the tasks that are not its caller's, or whose tools they may not use. All other calls stay as
/// they are.
fn own_tasks(
    entry: &Entry,
    principal: &Principal,
    context: &Context<'_>,
    call: Call,
) -> Result<Call, Failure> {
    if !call.subscribed().any(|one| matches!(one, Subscribed::Task(_))) {
        return Ok(call);
    }
    let (holder, subject) = (Holder::of(principal), principal.policy_subject());
    let cut = call.retain_subscriptions(|one| match one {
        Subscribed::Resource(_) => true,
        Subscribed::Task(task) => {
            let tool = entry.standing.handed().tool_of(&holder, task, context.now);
            tool.is_some_and(|tool| entry.rules.may_use(subject, context, Object::Tool(&tool)).is_ok())
        }
    });
    cut.map_err(Failure::Envelope)
}
