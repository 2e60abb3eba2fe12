//! One question to the policies, in their language.

use std::net::IpAddr;
use std::sync::LazyLock;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use doorward_mcp::Object;
use doorward_types::time::UnixTime;

use super::arguments::{Tags, tags};
use super::reads::Reads;
use crate::Subject;

/// Everything that policies can look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) subject: &'a Subject,
    pub(super) server: &'a str,
    pub(super) object: Object<'a>,
    pub(super) now: UnixTime,
    pub(super) address: Option<IpAddr>,
    pub(super) revision: &'a str,
    /// JSON text of an object.
    pub(super) arguments: Option<&'a str>,
}

/// How far clocks may be apart, in seconds.
const SKEW: i64 = 60;

/// The question cannot be asked; the answer is no.
#[derive(Debug, thiserror::Error)]
#[error("the call cannot be shown to the policies")]
pub(super) struct NotAskable;

/// The names of the entity types, parsed.
struct Types {
    user: EntityTypeName,
    client: EntityTypeName,
    group: EntityTypeName,
    server: EntityTypeName,
    action: EntityTypeName,
    tool: EntityTypeName,
    prompt: EntityTypeName,
    resource: EntityTypeName,
    method: EntityTypeName,
    arguments: EntityUid,
    numbers: EntityUid,
}

static TYPES: LazyLock<Option<Types>> = LazyLock::new(|| {
    let name = |name: &str| format!("Doorward::{name}").parse().ok();
    Some(Types {
        user: name("User")?,
        client: name("Client")?,
        group: name("Group")?,
        server: name("Server")?,
        action: name("Action")?,
        tool: name("Tool")?,
        prompt: name("Prompt")?,
        resource: name("Resource")?,
        method: name("Method")?,
        arguments: uid(&name("Arguments")?, "call"),
        numbers: uid(&name("Numbers")?, "call"),
    })
});

fn uid(of: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

impl Facts<'_> {
    /// The action: what one does with such an object.
    pub(super) const fn action(&self) -> &'static str {
        match self.object {
            Object::Tool(_) => "tools/call",
            Object::Prompt(_) => "prompts/get",
            Object::Resource(_) => "resources/read",
            Object::Method(_) => "extension",
        }
    }

    /// The type of the object's entity.
    pub(super) const fn kind(&self) -> &'static str {
        match self.object {
            Object::Tool(_) => "Tool",
            Object::Prompt(_) => "Prompt",
            Object::Resource(_) => "Resource",
            Object::Method(_) => "Method",
        }
    }

    /// What the answer depends on when no policy looks at anything that changes from call to call: equal keys,
    /// equal answers.
    pub(super) fn key(&self, hopeful: bool) -> Vec<u8> {
        let subject = self.subject;
        let mut key = Vec::with_capacity(256);
        key.extend([
            u8::from(hopeful),
            u8::from(subject.for_itself),
            self.kind().as_bytes().first().copied().unwrap_or(0),
        ]);
        key.extend(subject.user.as_uuid().as_bytes());
        let mut part = |text: &str| {
            key.extend(text.len().to_le_bytes());
            key.extend(text.as_bytes());
        };
        part(self.server);
        part(self.object.name());
        part(&subject.username);
        part(subject.client.as_str());
        part(self.revision);
        part(subject.tenant.as_str());
        for scope in subject.scopes.iter() {
            part(scope.as_str());
        }
        // No scope is empty: where the scopes end and the groups begin.
        part("");
        for group in &subject.groups {
            part(group);
        }
        key
    }

    /// The question, as far as the policies that are asked look at its arguments.
    pub(super) fn request(&self, reads: &Reads) -> Result<(Request, Entities), NotAskable> {
        let types = TYPES.as_ref().ok_or(NotAskable)?;
        let mut entities = Vec::with_capacity(4);
        let principal = self.principal(types, &mut entities)?;
        let resource = self.resource(types, &mut entities)?;
        if reads.reads_arguments() {
            let Tags { texts, numbers } = tags(self.arguments, reads).map_err(|_| NotAskable)?;
            let texts = texts
                .into_iter()
                .map(|(key, text)| (key, RestrictedExpression::new_string(text)));
            let numbers = numbers
                .into_iter()
                .map(|(key, number)| (key, RestrictedExpression::new_long(number)));
            entities.push(tagged(types.arguments.clone(), texts)?);
            entities.push(tagged(types.numbers.clone(), numbers)?);
        }
        let entities = Entities::from_entities(entities, None).map_err(|_| NotAskable)?;
        let action = uid(&types.action, self.action());
        let context = self.context(types)?;
        let request = Request::new(principal, action, resource, context, None).map_err(|_| NotAskable)?;
        Ok((request, entities))
    }

    fn principal(&self, types: &Types, entities: &mut Vec<Entity>) -> Result<EntityUid, NotAskable> {
        let subject = self.subject;
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let (id, name, groups) = if subject.for_itself {
            let client = subject.client.as_str();
            (uid(&types.client, client), text(client), &[][..])
        } else {
            let id = uid(&types.user, &subject.user.to_string());
            (id, text(&subject.username), subject.groups.as_slice())
        };
        let groups = groups.iter().map(|group| uid(&types.group, group)).collect();
        let attributes = [("name".to_owned(), name)].into_iter().collect();
        entities.push(Entity::new(id.clone(), attributes, groups).map_err(|_| NotAskable)?);
        Ok(id)
    }

    fn resource(&self, types: &Types, entities: &mut Vec<Entity>) -> Result<EntityUid, NotAskable> {
        let (kind, attribute) = match self.object {
            Object::Tool(_) => (&types.tool, "name"),
            Object::Prompt(_) => (&types.prompt, "name"),
            Object::Resource(_) => (&types.resource, "uri"),
            Object::Method(_) => (&types.method, "name"),
        };
        let id = uid(kind, &format!("{}/{}", self.server, self.object.name()));
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let attributes = [
            (attribute.to_owned(), text(self.object.name())),
            ("server".to_owned(), text(self.server)),
        ];
        let server = [uid(&types.server, self.server)].into_iter().collect();
        let attributes = attributes.into_iter().collect();
        entities.push(Entity::new(id.clone(), attributes, server).map_err(|_| NotAskable)?);
        Ok(id)
    }

    fn context(&self, types: &Types) -> Result<Context, NotAskable> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let scopes = self.subject.scopes.iter().map(|scope| text(scope.as_str()));
        let mut pairs = vec![
            ("client".to_owned(), text(self.subject.client.as_str())),
            ("tenant".to_owned(), text(self.subject.tenant.as_str())),
            ("scopes".to_owned(), RestrictedExpression::new_set(scopes)),
            ("revision".to_owned(), text(self.revision)),
            ("time".to_owned(), clock(self.now)?),
            (
                "arguments".to_owned(),
                RestrictedExpression::new_entity_uid(types.arguments.clone()),
            ),
            (
                "numbers".to_owned(),
                RestrictedExpression::new_entity_uid(types.numbers.clone()),
            ),
        ];
        if let Some(address) = self.address {
            // An IPv4 client of a socket for both families is an IPv4 client.
            let address = address.to_canonical().to_string();
            pairs.push(("address".to_owned(), RestrictedExpression::new_ip(address)));
        }
        if let Some(signed_in) = self.subject.authenticated {
            let seconds = self.now.seconds().saturating_sub(signed_in.seconds());
            // Whoever signed in later than now did it by a clock that was wrong: nobody knows how long ago it was.
            if seconds >= -SKEW {
                let seconds = RestrictedExpression::new_long(seconds.max(0));
                pairs.push(("authenticated".to_owned(), seconds));
            }
        }
        Context::from_pairs(pairs).map_err(|_| NotAskable)
    }
}

fn tagged(
    id: EntityUid,
    tags: impl IntoIterator<Item = (String, RestrictedExpression)>,
) -> Result<Entity, NotAskable> {
    Entity::new_with_tags(id, [], [], tags).map_err(|_| NotAskable)
}

/// The time in UTC.
fn clock(now: UnixTime) -> Result<RestrictedExpression, NotAskable> {
    let seconds = now.seconds();
    let (day, in_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let members = [
        ("unix", seconds),
        ("hour", in_day / 3600),
        ("minute", in_day / 60 % 60),
        // The first day was a Thursday.
        ("weekday", (day + 3).rem_euclid(7) + 1),
    ]
    .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_long(value)));
    RestrictedExpression::new_record(members).map_err(|_| NotAskable)
}
