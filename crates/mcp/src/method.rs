//! The methods of each revision, and what names the thing they act on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::envelope::{Envelope, Kind};
use crate::escape::unescaped;
use crate::version::Revision;
use Revision::{V2024_11_05 as R1105, V2025_11_25 as R1125, V2026_07_28 as R0728};

/// What a request acts on: the member of `params` that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// `params.name` holds a tool's name, which has an alphabet of its own.
    Tool,
    /// `params.name` holds a prompt's name, compared byte for byte.
    Prompt,
    /// `params.uri` holds a resource's URI, compared byte for byte.
    Uri,
    /// `params.taskId`.
    Task,
}

/// What a method lets its caller do things with: what scopes and policies name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touches {
    /// Nothing: lists, handshakes, what keeps a conversation going.
    Nothing,
    /// The tool, prompt or resource that [`Method::named_by`] names.
    Named,
    /// The prompt or resource of `params.ref`.
    Reference,
    /// The resources and tasks that `params.notifications` names.
    Filter,
    /// Something that only the method itself describes: scopes name the method.
    Itself,
}

/// One method that a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Whether it is a request or a notification.
    pub kind: Kind,
    /// What names its object, if it has one. Requests of 2026-07-28 then need an `Mcp-Name` header, except
    /// for those of `resources/subscribe` and the like, which that revision does not have.
    pub named_by: Option<NamedBy>,
    /// What it lets its caller do things with.
    pub touches: Touches,
    first: Revision,
    last: Revision,
}

impl Method {
    /// Whether `revision` has it.
    #[must_use]
    pub fn is_in(&self, revision: Revision) -> bool {
        self.first <= revision && revision <= self.last
    }
}

const fn request(name: &'static str, first: Revision, last: Revision, named_by: Option<NamedBy>) -> Method {
    Method {
        name,
        kind: Kind::Request,
        named_by,
        touches: match named_by {
            Some(_) => Touches::Named,
            None => Touches::Nothing,
        },
        first,
        last,
    }
}

const fn touching(touches: Touches, method: Method) -> Method {
    Method { touches, ..method }
}

const fn notification(name: &'static str, first: Revision, last: Revision) -> Method {
    Method {
        name,
        kind: Kind::Notification,
        named_by: None,
        touches: Touches::Nothing,
        first,
        last,
    }
}

/// From `ClientRequest` and `ClientNotification` of each revision's schema, and of the official tasks
/// (SEP-2663) and skills (SEP-2640) extensions; the most frequent first.
static METHODS: [Method; 28] = [
    request("tools/call", R1105, R0728, Some(NamedBy::Tool)),
    request("tools/list", R1105, R0728, None),
    request("server/discover", R0728, R0728, None),
    request("initialize", R1105, R1125, None),
    request("ping", R1105, R1125, None),
    request("resources/read", R1105, R0728, Some(NamedBy::Uri)),
    request("resources/list", R1105, R0728, None),
    request("resources/templates/list", R1105, R0728, None),
    request("resources/subscribe", R1105, R1125, Some(NamedBy::Uri)),
    request("resources/unsubscribe", R1105, R1125, Some(NamedBy::Uri)),
    request("prompts/get", R1105, R0728, Some(NamedBy::Prompt)),
    request("prompts/list", R1105, R0728, None),
    touching(
        Touches::Reference,
        request("completion/complete", R1105, R0728, None),
    ),
    request("logging/setLevel", R1105, R1125, None),
    touching(
        Touches::Filter,
        request("subscriptions/listen", R0728, R0728, None),
    ),
    request("tasks/get", R1125, R0728, Some(NamedBy::Task)),
    request("tasks/update", R0728, R0728, Some(NamedBy::Task)),
    request("tasks/cancel", R1125, R0728, Some(NamedBy::Task)),
    request("tasks/result", R1125, R1125, Some(NamedBy::Task)),
    request("tasks/list", R1125, R1125, None),
    touching(Touches::Itself, request("skills/list", R0728, R0728, None)),
    touching(Touches::Itself, request("skills/get", R0728, R0728, None)),
    touching(
        Touches::Itself,
        request("resources/directory/read", R0728, R0728, None),
    ),
    notification("notifications/initialized", R1105, R1125),
    notification("notifications/cancelled", R1105, R0728),
    notification("notifications/progress", R1105, R1125),
    notification("notifications/roots/list_changed", R1105, R1125),
    notification("notifications/tasks/status", R1125, R1125),
];

/// The method called `name` in `revision`; byte for byte, so `tools/Call` is none.
#[must_use]
pub fn find(revision: Revision, name: &str) -> Option<&'static Method> {
    METHODS
        .iter()
        .find(|method| method.name == name)
        .filter(|method| method.is_in(revision))
}

/// Whether MCP or one of its official extensions defines the method, in whatever revision.
#[must_use]
pub fn is_defined(name: &str) -> bool {
    METHODS.iter().any(|method| method.name == name)
}

/// Whether scopes can name the method: those that MCP defines itself are opened by what they act on.
#[must_use]
pub fn is_extension(name: &str) -> bool {
    METHODS
        .iter()
        .find(|method| method.name == name)
        .is_none_or(|method| method.touches == Touches::Itself)
}

/// Methods that MCP does not define and a server's operator named. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Arc<BTreeSet<Arc<str>>>);

impl Extensions {
    /// Only what MCP and its official extensions define.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The method called so, byte for byte.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(name)
    }
}

impl<'a> FromIterator<&'a str> for Extensions {
    /// Methods that MCP defines are left out: they exist in the revisions that have them, and in no other.
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let others = names.into_iter().filter(|name| !is_defined(name));
        Self(Arc::new(others.map(Into::into).collect()))
    }
}

/// Whether a tool's name is within the specification's alphabet: 1 to 128 of `A-Z a-z 0-9 _ - .`.
///
/// Look-alikes, invisible characters and normal forms of Unicode cannot come in this way.
#[must_use]
pub fn is_tool_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Longest name or URI, in bytes.
const NAME_LIMIT: usize = 8 << 10;

/// Whether a prompt's name or a task's id can be judged at all.
pub(crate) fn acceptable_name(name: &str) -> bool {
    (1..=NAME_LIMIT).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Whether a URI can be judged at all. White space, backslashes and dot segments, however often escaped, are taken away by
/// some of those who read it and not by others: what was judged would not be what is read (MB-12). No URI needs them
/// (RFC 3986 §3.3, §5.2.4).
pub(crate) fn acceptable_uri(uri: &str) -> bool {
    let text = uri.as_bytes();
    let hides_dots = || uri.contains('%') && has_dot_segment(&unescaped(text, |_| true));
    acceptable_name(uri)
        && !uri.contains(|one: char| one.is_whitespace() || one == '\\')
        && !has_dot_segment(text)
        && !hides_dots()
}

/// Whether `.` or `..` stands between separators.
fn has_dot_segment(uri: &[u8]) -> bool {
    let is_separator = |byte: &u8| matches!(byte, b'/' | b'\\' | b'?' | b'#' | b':');
    uri.split(is_separator)
        .any(|segment| matches!(segment, b"." | b".."))
}

/// What `envelope` acts on when read as `method`: `None` if the method acts on nothing, `Err` if it must name
/// something and does not, or names it in a way that nobody should be asked to judge.
pub(crate) fn name_of<'a>(method: &Method, envelope: &'a Envelope) -> Result<Option<&'a str>, ()> {
    let Some(named_by) = method.named_by else {
        return Ok(None);
    };
    let name = match named_by {
        NamedBy::Tool | NamedBy::Prompt => envelope.name(),
        NamedBy::Uri => envelope.uri(),
        NamedBy::Task => envelope.task(),
    };
    let acceptable = |name: &&str| match named_by {
        NamedBy::Tool => is_tool_name(name),
        NamedBy::Uri => acceptable_uri(name),
        NamedBy::Prompt | NamedBy::Task => acceptable_name(name),
    };
    name.filter(acceptable).map(Some).ok_or(())
}
