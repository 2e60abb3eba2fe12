//! What each side says it can do, in the words of the other era.

use doorward_mcp::TASKS_EXTENSION;
use serde_json::Value;

use super::message::empty;
use doorward_mcp::members::{Members, Raw, raw};

/// What a client can be asked for during a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Declared {
    pub(super) roots: bool,
    sampling: bool,
    sampling_tools: bool,
    sampling_context: bool,
    form: bool,
    url: bool,
    /// `experimental` and `extensions`.
    more: [Option<Value>; 2],
}

impl Declared {
    /// Of the `capabilities` of `initialize` or of `_meta["io.modelcontextprotocol/clientCapabilities"]`.
    pub(super) fn of(capabilities: &Members) -> Self {
        let sampling = capabilities.object("sampling");
        let elicitation = capabilities.object("elicitation");
        let part = |of: &Option<Members>, name| of.as_ref().is_some_and(|members| members.has_object(name));
        let url = part(&elicitation, "url");
        Self {
            roots: capabilities.has_object("roots"),
            sampling: sampling.is_some(),
            sampling_tools: part(&sampling, "tools"),
            sampling_context: part(&sampling, "context"),
            // "An empty object is equivalent to declaring support for form mode only."
            form: elicitation.is_some() && (part(&elicitation, "form") || !url),
            url,
            more: ["experimental", "extensions"].map(|name| capabilities.value(name)),
        }
    }

    /// Whether nothing is declared here that `session` was not opened with.
    pub(super) fn is_within(&self, session: &Self) -> bool {
        let pairs = [
            (self.roots, session.roots),
            (self.sampling, session.sampling),
            (self.sampling_tools, session.sampling_tools),
            (self.sampling_context, session.sampling_context),
            (self.form, session.form),
            (self.url, session.url),
        ];
        pairs.iter().all(|(here, there)| !here || *there)
            && self.more.iter().zip(&session.more).all(|(here, there)| {
                here.as_ref()
                    .is_none_or(|here| there.as_ref().is_some_and(|there| holds(there, here)))
            })
    }

    /// What a request of the server needs and the client did not declare, as the path of the capability.
    pub(super) fn lacks(&self, method: &str, params: &Members) -> Option<&'static str> {
        let (has, path) = match method {
            "roots/list" => (self.roots, "roots"),
            "sampling/createMessage" if params.has("tools") || params.has("toolChoice") => {
                (self.sampling && self.sampling_tools, "sampling.tools")
            }
            "sampling/createMessage" => (self.sampling, "sampling"),
            _ if is_url(params) => (self.url, "elicitation.url"),
            _ => (self.form, "elicitation.form"),
        };
        (!has).then_some(path)
    }

    /// Whether a page can be opened for the user.
    pub(super) fn can_open_pages(&self) -> bool {
        self.url
    }
}

/// Whether an elicitation asks for a page to be opened.
pub(super) fn is_url(params: &Members) -> bool {
    params.text("mode").as_deref() == Some("url")
}

/// Whether every member of one is in the other, the same.
fn holds(there: &Value, here: &Value) -> bool {
    match (there, here) {
        (Value::Object(there), Value::Object(here)) => {
            here.iter().all(|(key, value)| there.get(key) == Some(value))
        }
        _ => there == here,
    }
}

/// A client's capabilities in the other era: roots no longer tell of changes there, and tasks of the two eras have
/// nothing in common.
pub(super) fn client(capabilities: &Members) -> Raw {
    let mut translated = without_tasks(capabilities);
    if translated.has_object("roots") {
        translated.set("roots", empty());
    }
    raw(&translated)
}

/// A server's capabilities in the other era. Tasks have no counterpart; all else has the same name.
pub(super) fn server(capabilities: &Members) -> Raw {
    raw(&without_tasks(capabilities))
}

fn without_tasks(capabilities: &Members) -> Members {
    let mut translated = capabilities.clone();
    translated.take("tasks");
    translated.change("extensions", |extensions| {
        extensions.take(TASKS_EXTENSION);
    });
    translated
}

/// What a server declares that decides what it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) tools_changed: bool,
    pub(super) prompts_changed: bool,
    pub(super) resources_changed: bool,
    pub(super) subscribe: bool,
    pub(super) logging: bool,
    /// 2025-11-25: `tasks.requests.tools.call`.
    pub(super) task_calls: bool,
}

impl Offered {
    pub(super) fn of(capabilities: &Members) -> Self {
        let flag = |of: &str, name: &str| {
            let part = capabilities.object(of);
            part.and_then(|part| part.value(name)) == Some(true)
        };
        let tasks = capabilities
            .object("tasks")
            .and_then(|tasks| tasks.object("requests"));
        Self {
            tools_changed: flag("tools", "listChanged"),
            prompts_changed: flag("prompts", "listChanged"),
            resources_changed: flag("resources", "listChanged"),
            subscribe: flag("resources", "subscribe"),
            logging: capabilities.has_object("logging"),
            task_calls: tasks
                .and_then(|requests| requests.object("tools"))
                .is_some_and(|tools| tools.has_object("call")),
        }
    }
}
