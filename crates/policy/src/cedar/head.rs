//! What a policy's head (`permit(principal, action, resource)`) lets it be about.

use cedar_policy::pst::{ActionConstraint, EntityOrSlot, EntityUID, ResourceConstraint, Template};

use super::request::Facts;

/// Which calls a policy may concern; decided without looking at the person.
#[derive(Clone, Debug)]
pub(super) struct Head {
    actions: Option<Vec<String>>,
    kind: Option<String>,
    /// The object itself, or a server that it must belong to.
    within: Within,
}

#[derive(Clone, Debug)]
enum Within {
    Anything,
    /// `==`
    Exactly(EntityUID),
    /// `in`
    In(EntityUID),
    /// A slot: a template that is no policy.
    Nothing,
}

impl Head {
    pub(super) fn of(template: &Template) -> Self {
        let named = |entity: &EntityOrSlot, within: fn(EntityUID) -> Within| match entity {
            EntityOrSlot::Entity(uid) => within(uid.clone()),
            EntityOrSlot::Slot(_) => Within::Nothing,
        };
        let (kind, within) = match &template.resource {
            ResourceConstraint::Any => (None, Within::Anything),
            ResourceConstraint::Eq(entity) => (None, named(entity, Within::Exactly)),
            ResourceConstraint::In(entity) => (None, named(entity, Within::In)),
            ResourceConstraint::Is(kind) => (Some(kind.0.id.as_str().to_owned()), Within::Anything),
            ResourceConstraint::IsIn(kind, entity) => {
                (Some(kind.0.id.as_str().to_owned()), named(entity, Within::In))
            }
        };
        let actions = match &template.action {
            ActionConstraint::Any => None,
            ActionConstraint::Eq(action) => Some(vec![action.eid.to_string()]),
            ActionConstraint::In(actions) => {
                Some(actions.iter().map(|action| action.eid.to_string()).collect())
            }
        };
        Self {
            actions,
            kind,
            within,
        }
    }

    /// Whether the policy may concern this object of this server.
    pub(super) fn concerns(&self, facts: &Facts<'_>) -> bool {
        let action = self
            .actions
            .as_ref()
            .is_none_or(|actions| actions.iter().any(|action| action == facts.action()));
        let kind = self.kind.as_deref().is_none_or(|kind| kind == facts.kind());
        action && kind && self.holds(facts)
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        let is_object = |uid: &EntityUID| {
            let rest = uid
                .eid
                .strip_prefix(facts.server)
                .and_then(|rest| rest.strip_prefix('/'));
            uid.ty.0.id.as_str() == facts.kind() && rest == Some(facts.object.name())
        };
        match &self.within {
            Within::Anything => true,
            Within::Exactly(uid) => is_object(uid),
            Within::In(uid) => {
                is_object(uid) || (uid.ty.0.id.as_str() == "Server" && uid.eid == facts.server)
            }
            Within::Nothing => false,
        }
    }
}
