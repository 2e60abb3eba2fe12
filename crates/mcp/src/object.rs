//! What a call lets its caller do things with, and what policy therefore judges.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::call::{Call, MethodOf, Summary};
use crate::envelope::{Envelope, EnvelopeError, Listed, Reference, SubscriptionFilter, Text, slice};
use crate::method::{Method, NamedBy, Touches, acceptable_name, acceptable_uri};
use crate::rewrite::replace;

/// Longest that the names in a `subscriptions/listen` may be in all, in bytes: they are remembered as long as it lasts.
const SUBSCRIBED_LIMIT: usize = 64 << 10;

/// One thing that scopes and policies can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object<'a> {
    /// A tool, by its name.
    Tool(&'a str),
    /// A prompt, by its name.
    Prompt(&'a str),
    /// A resource, by its URI, or a template of resources, by its `uriTemplate`: byte for byte.
    Resource(&'a str),
    /// A method that MCP itself does not define.
    Method(&'a str),
}

impl<'a> Object<'a> {
    /// Its name, URI or method.
    #[must_use]
    pub const fn name(self) -> &'a str {
        match self {
            Self::Tool(name) | Self::Prompt(name) | Self::Resource(name) | Self::Method(name) => name,
        }
    }

    /// What people call such a thing.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Tool(_) => "tool",
            Self::Prompt(_) => "prompt",
            Self::Resource(_) => "resource",
            Self::Method(_) => "method",
        }
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// One thing that `subscriptions/listen` asks to hear about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed<'a> {
    /// A resource, by its URI.
    Resource(&'a str),
    /// A task, by its id (SEP-2663).
    Task(&'a str),
}

/// What of a call is judged beside its method and name.
#[derive(Clone)]
pub(crate) enum Touched {
    Nothing,
    /// The prompt or resource that is completed.
    Reference {
        is_prompt: bool,
        name: Text,
    },
    Filter(Arc<SubscriptionFilter>),
}

impl Touched {
    /// Whether the message says what its method touches, in a way that can be judged.
    pub(crate) fn is_named(method: &Method, envelope: &Envelope) -> bool {
        let params = &envelope.params;
        match method.touches {
            Touches::Nothing | Touches::Named | Touches::Itself => true,
            Touches::Reference => params.reference.as_ref().is_some_and(|reference| {
                referenced(reference, &envelope.body).is_some_and(|(is_prompt, name)| {
                    let name = name.of(&envelope.body);
                    if is_prompt {
                        acceptable_name(name)
                    } else {
                        acceptable_uri(name)
                    }
                })
            }),
            Touches::Filter => params.filter.as_ref().is_some_and(|filter| {
                let mut length = 0;
                let mut are_named = |listed: &Option<Listed>, acceptable: fn(&str) -> bool| {
                    let Some(listed) = listed else { return true };
                    let mut names = listed.items.iter().map(|(_, text)| text.of(&envelope.body));
                    !listed.foreign
                        && names.all(|name| {
                            length += name.len();
                            acceptable(name)
                        })
                };
                are_named(&filter.resources, acceptable_uri)
                    && are_named(&filter.tasks, acceptable_name)
                    && length <= SUBSCRIBED_LIMIT
            }),
        }
    }

    /// The same, apart from the body that it stands in.
    pub(crate) fn copied(&self, body: &Bytes) -> Self {
        let copy = |text: &Text| Text::Resolved(text.of(body).into());
        let copies = |listed: &Listed| Listed {
            range: 0..0,
            items: listed.items.iter().map(|(_, text)| (0..0, copy(text))).collect(),
            foreign: listed.foreign,
        };
        match self {
            Self::Nothing => Self::Nothing,
            Self::Reference { is_prompt, name } => Self::Reference {
                is_prompt: *is_prompt,
                name: copy(name),
            },
            Self::Filter(filter) => Self::Filter(Arc::new(SubscriptionFilter {
                resources: filter.resources.as_ref().map(copies),
                tasks: filter.tasks.as_ref().map(copies),
            })),
        }
    }

    pub(crate) fn of(
        method: Option<&'static Method>,
        body: &Bytes,
        reference: Option<Reference>,
        filter: Option<Box<SubscriptionFilter>>,
    ) -> Self {
        let touches = method.map_or(Touches::Nothing, |method| method.touches);
        match (touches, reference, filter) {
            (Touches::Reference, Some(reference), _) => match referenced(&reference, body) {
                Some((is_prompt, name)) => Self::Reference {
                    is_prompt,
                    name: name.clone(),
                },
                None => Self::Nothing,
            },
            (Touches::Filter, _, Some(filter)) => Self::Filter(filter.into()),
            _ => Self::Nothing,
        }
    }
}

/// Whether a reference is one to a prompt, and its name or URI. Both members at once are refused, whatever the type:
/// the server may look at the other one.
fn referenced<'r>(reference: &'r Reference, body: &Bytes) -> Option<(bool, &'r Text)> {
    let kind = reference.kind.as_ref()?.of(body);
    match (kind, &reference.name, &reference.uri) {
        ("ref/prompt", Some(name), None) => Some((true, name)),
        ("ref/resource", None, Some(uri)) => Some((false, uri)),
        _ => None,
    }
}

impl Summary {
    /// What the call lets its caller do things with: `None` for lists, handshakes and what keeps a conversation
    /// going; for tasks, whose tool only who handed them out knows ([`Summary::task`]); and for
    /// `subscriptions/listen` ([`Summary::subscribed`]).
    #[must_use]
    pub fn object(&self) -> Option<Object<'_>> {
        let method = match self.method.as_ref()? {
            MethodOf::Extension(name) => return Some(Object::Method(name)),
            MethodOf::Defined(method) => *method,
        };
        match method.touches {
            Touches::Nothing | Touches::Filter => None,
            Touches::Itself => Some(Object::Method(method.name)),
            Touches::Named => {
                let name = self.name().unwrap_or_default();
                match method.named_by? {
                    NamedBy::Tool => Some(Object::Tool(name)),
                    NamedBy::Prompt => Some(Object::Prompt(name)),
                    NamedBy::Uri => Some(Object::Resource(name)),
                    NamedBy::Task => None,
                }
            }
            Touches::Reference => match &self.touched {
                Touched::Reference {
                    is_prompt: true,
                    name,
                } => Some(Object::Prompt(name.of(&self.body))),
                Touched::Reference { name, .. } => Some(Object::Resource(name.of(&self.body))),
                // Not admitted: fails closed all the same.
                _ => Some(Object::Method(method.name)),
            },
        }
    }

    /// The task that the call is about.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        match self.method.as_ref()? {
            MethodOf::Defined(method) if method.named_by == Some(NamedBy::Task) => self.name(),
            _ => None,
        }
    }

    /// What a `subscriptions/listen` asks to hear about, in its order: resources, then tasks.
    pub fn subscribed(&self) -> impl Iterator<Item = Subscribed<'_>> {
        let filter = match &self.touched {
            Touched::Filter(filter) => Some(&**filter),
            _ => None,
        };
        let resources = items(filter.and_then(|filter| filter.resources.as_ref()));
        let tasks = items(filter.and_then(|filter| filter.tasks.as_ref()));
        let resources = resources
            .iter()
            .map(|(_, uri)| Subscribed::Resource(uri.of(&self.body)));
        resources.chain(tasks.iter().map(|(_, id)| Subscribed::Task(id.of(&self.body))))
    }
}

fn items(listed: Option<&Listed>) -> &[(Range<usize>, Text)] {
    listed.map_or(&[], |listed| &listed.items)
}

impl Call {
    /// The call without those of the things that a `subscriptions/listen` asks to hear about that `keep` does not
    /// keep. Nothing else of its body changes, and it is the very same body if everything stays. No header mirrors
    /// what is cut.
    pub fn retain_subscriptions(
        self,
        mut keep: impl FnMut(Subscribed<'_>) -> bool,
    ) -> Result<Self, EnvelopeError> {
        let Touched::Filter(filter) = &self.touched else {
            return Ok(self);
        };
        let body = self.body();
        let resources = cut(body, filter.resources.as_ref(), &mut |uri| {
            keep(Subscribed::Resource(uri))
        });
        let tasks = cut(body, filter.tasks.as_ref(), &mut |id| keep(Subscribed::Task(id)));
        let range = |listed: &Option<Listed>| listed.as_ref().map(|listed| listed.range.clone());
        let (at_resources, at_tasks) = (range(&filter.resources), range(&filter.tasks));
        if resources.is_none() && tasks.is_none() {
            return Ok(self);
        }
        let cut = replace(
            body,
            [
                (at_resources.as_ref(), resources.as_deref()),
                (at_tasks.as_ref(), tasks.as_deref()),
            ],
        );
        self.with_body(cut)
    }
}

/// The array without what is not kept; `None` if everything is.
fn cut(body: &Bytes, listed: Option<&Listed>, keep: &mut dyn FnMut(&str) -> bool) -> Option<String> {
    let listed = listed?;
    let kept: Vec<&str> = listed
        .items
        .iter()
        .filter(|(_, text)| keep(text.of(body)))
        .map(|(range, _)| slice(body, range))
        .collect();
    (kept.len() < listed.items.len()).then(|| format!("[{}]", kept.join(",")))
}

#[cfg(test)]
mod tests;
